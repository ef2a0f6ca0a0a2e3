/* The merging of byte-level BPE: from the bytes of one piece to its tokens. */
#ifndef VS2_MODEL_TOKENIZER_MERGE_H
#define VS2_MODEL_TOKENIZER_MERGE_H

#include "model/tokenizer.h"
#include "model/tokenizer_vocabulary.h"

/* Appends the tokens of a piece to the list. byte_ids has the token of each of the 256 bytes. Of all
 * neighbours that merge, those of the lowest order do first, the leftmost of them before the others, as in
 * Hugging Face: O(n log n) for n bytes. */
enum status merge_piece(const struct vocabulary *vocabulary, const int32_t byte_ids[256], const char *piece,
                        size_t length, struct token_list *list, struct error *err);

#endif
