/* Trains a byte-level BPE on texts, for models that the project makes itself. */
#ifndef VS2_MODEL_TOKENIZER_TRAIN_H
#define VS2_MODEL_TOKENIZER_TRAIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Two tokens that become one. Ids 0 to 255 are the bytes in Qwen's order; merge i makes the token 256 + i. */
struct tokenizer_merge {
    int32_t left, right;
};

struct tokenizer_merges {
    struct tokenizer_merge *items; /* free() through tokenizer_merges_free */
    int32_t count;
};

/* Counts the pieces of texts. */
struct tokenizer_trainer;

struct tokenizer_trainer *tokenizer_trainer_new(struct error *err);
void tokenizer_trainer_free(struct tokenizer_trainer *trainer);

/* Adds a text of valid UTF-8. It is cut into pieces as Qwen2's tokenizer does; no merge goes beyond one. */
enum status tokenizer_trainer_add(struct tokenizer_trainer *trainer, const char *text, size_t length,
                                  struct error *err);

/* Finds up to `most` merges, each of the most frequent pair (the lowest ids of several), until no pair is
 * there twice. */
enum status tokenizer_trainer_finish(struct tokenizer_trainer *trainer, int32_t most,
                                     struct tokenizer_merges *merges, struct error *err);

void tokenizer_merges_free(struct tokenizer_merges *merges);

#endif
