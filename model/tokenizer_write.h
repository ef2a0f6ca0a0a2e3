/* Writes the tokenizer files of a checkpoint folder, for models that the project makes itself:
 * tokenizer.json, tokenizer_config.json and chat_template.json, as transformers' AutoProcessor and
 * tokenizer_load read them. */
#ifndef VS2_MODEL_TOKENIZER_WRITE_H
#define VS2_MODEL_TOKENIZER_WRITE_H

#include <stdint.h>

#include "base/error.h"
#include "model/config.h"

/* The ids of the special tokens in a tokenizer of `ordinary` ordinary tokens, which they follow. */
struct special_tokens {
    int32_t end_of_text, turn_end; /* <|endoftext|>, <|im_end|>: where generation stops */
    int32_t image, video, vision_start, vision_end;
    int32_t count; /* of all tokens: ids are below this */
};

struct special_tokens special_tokens_after(int32_t ordinary);

/* Writes a byte-level tokenizer without merges: 256 ordinary tokens, one a byte, in Qwen's order. */
enum status tokenizer_write_bytes(const char *folder, struct error *err);

#endif
