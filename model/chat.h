/* From messages to tokens, in the chat format of the pipeline (ChatML; LLaMA-Factory's template qwen2_vl):
 *
 *     <|im_start|>system\nYou are a helpful assistant.<|im_end|>\n
 *     <|im_start|>user\n...<|im_end|>\n
 *     <|im_start|>assistant\n...<|im_end|>\n
 *
 * where each <image> and <video> becomes <|vision_start|>, one <|image_pad|> or <|video_pad|> for each merged
 * patch of the picture or the clip, and <|vision_end|>. As in LLaMA-Factory each turn is tokenized by itself.
 * transformers tokenizes the conversation as one text; the ids are the same for prompts (a system and a user
 * turn), and differ where an answer begins with white space: the newline after "assistant" and one at the
 * beginning of the answer are two tokens here, one there.
 */
#ifndef VS2_MODEL_CHAT_H
#define VS2_MODEL_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/tokenizer.h"

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT };

struct chat_message {
    enum chat_role role;
    const char *text; /* UTF-8; texts of special tokens in it become these tokens, as in both references */
    size_t length;
    /* All visuals come before this text, images first, and marks in the texts are plain text: transformers'
     * content list of a video and a text. Without it they come where their marks stand. One message at most.
     */
    bool visuals_first;
};

/* How many pads each image and each video has, in the order of their marks. */
struct chat_visuals {
    const int64_t *image_pads;
    size_t image_count;
    const int64_t *video_pads;
    size_t video_count;
};

/* Where an answer lies in the list: its tokens, <|im_end|> and the newline after it. These carry labels. */
struct chat_answer {
    size_t begin, end; /* [begin, end) */
};

struct chat_answers {
    struct chat_answer *items; /* free() through chat_answers_free */
    size_t count, capacity;
};

void chat_answers_free(struct chat_answers *answers);

/* The pads of a grid of patches: time * height * width / merge^2. */
int64_t chat_pads(int64_t time, int64_t height, int64_t width, int64_t merge);

/* Appends the tokens of a conversation: a system message or none (then, or when it is empty, the default),
 * and user and assistant in turn. After a user's turn at the end the list ends where the answer begins.
 * `answers` gets an item for each assistant's message; it may be NULL.
 *
 * Errors: messages in another order; marks that are not as many as the visuals; pads in the texts themselves,
 * which no visual would fill. The list is then as it was before. */
enum status chat_encode(const struct tokenizer *tokenizer, const struct chat_message *messages, size_t count,
                        const struct chat_visuals *visuals, struct token_list *list,
                        struct chat_answers *answers, struct error *err);

#endif
