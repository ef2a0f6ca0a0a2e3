/* The tokenizer of Qwen2.5-VL: byte-level BPE over NFC text, with added and special tokens, read from
 * tokenizer.json, or from vocab.json + merges.txt (+ added_tokens.json / tokenizer_config.json).
 *
 * Ids and texts equal those of Hugging Face's tokenizers 0.22. What a tokenizer.json asks for and this does
 * not do is an error on loading: another model than BPE, another normalizer than NFC or none, another
 * pre_tokenizer than Qwen2's, dropout, prefixes and suffixes of words, single_word added tokens. Its
 * post_processor is not looked at: no tokens are put around a text. */
#ifndef VS2_MODEL_TOKENIZER_H
#define VS2_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct tokenizer;

/* A growing list of token ids. */
struct token_list {
    int32_t *ids; /* free() through token_list_free */
    size_t count, capacity;
};

enum status token_list_push(struct token_list *list, int32_t id, struct error *err);
void token_list_free(struct token_list *list);

/* Loads the tokenizer of a checkpoint folder; NULL with err set when it is broken. One tokenizer may be used
 * by several threads at once. */
struct tokenizer *tokenizer_load(const char *folder, struct error *err);
void tokenizer_free(struct tokenizer *tokenizer);

/* Ids below this are known, gaps aside. */
int32_t tokenizer_size(const struct tokenizer *tokenizer);

/* The id of a whole token by its text ("<|im_end|>", or the byte-level spelling of an ordinary one), -1:
 * none. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *token);

/* Whether decoding with skip_special leaves the id out. */
bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id);

/* Appends the ids of `length` bytes of UTF-8 to the list. Added tokens in the text become their ids, as in
 * Hugging Face. Invalid UTF-8 is read as U+FFFD. */
enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                             struct token_list *list, struct error *err);

/* Appends the text of the ids; bytes that are not UTF-8 become U+FFFD as Hugging Face writes them.
 * skip_special leaves special tokens out. Ids that are not known are left out. */
void tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                      struct text *text);

#endif
