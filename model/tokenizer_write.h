/* Writes the tokenizer files of a checkpoint folder, for models that the project makes itself:
 * tokenizer.json, the older vocab.json and merges.txt, tokenizer_config.json and chat_template.json, as
 * transformers' AutoProcessor and tokenizer_load read them. */
#ifndef VS2_MODEL_TOKENIZER_WRITE_H
#define VS2_MODEL_TOKENIZER_WRITE_H

#include <stdint.h>

#include "base/error.h"
#include "model/config.h"
#include "model/tokenizer_train.h"

enum { TOKENIZER_BYTES = 256 }; /* the first ids are the bytes */

/* The id of a byte in Qwen's order: those that byte_spelling shows as themselves, then the others. */
int32_t tokenizer_byte_id(unsigned char byte);

/* The ids of the special tokens in a tokenizer of `ordinary` ordinary tokens, which they follow. */
struct special_tokens {
    int32_t end_of_text, turn_end; /* <|endoftext|>, <|im_end|>: where generation stops */
    int32_t image, video, vision_start, vision_end;
    int32_t count; /* of all tokens: ids are below this */
};

struct special_tokens special_tokens_after(int32_t ordinary);

/* Writes the byte-level tokenizer of the merges (NULL: none): TOKENIZER_BYTES + merges->count ordinary
 * tokens, and the special ones after them. */
enum status tokenizer_write(const char *folder, const struct tokenizer_merges *merges, struct error *err);

#endif
