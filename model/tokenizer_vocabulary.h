/* The tokens and merges of a byte-level BPE: texts by id, ids by text, and what two tokens merge into. */
#ifndef VS2_MODEL_TOKENIZER_VOCABULARY_H
#define VS2_MODEL_TOKENIZER_VOCABULARY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { VOCABULARY_MAX_TOKENS = 1 << 22 }; /* ids lie below this */

static const uint32_t MERGE_NONE = UINT32_MAX; /* the order of two tokens that do not merge */

/* A token's text as the file spells it: ordinary ones have a character for every byte (byte_spelling). */
struct vocabulary_token {
    uint32_t offset; /* into texts */
    uint32_t length; /* 0: no token has this id */
};

/* Texts of up to 8 bytes are compared in the slot itself: a lookup is then one miss of the cache, not three.
 */
struct vocabulary_slot {
    uint64_t beginning;   /* the first 8 bytes of the text, zeros behind its end */
    uint32_t hash;        /* its last bits tell texts of up to 8 bytes by length (see hash_text) */
    uint32_t id_plus_one; /* 0: free */
};

struct merge_slot {
    uint64_t pair;           /* left << 32 | right */
    uint32_t order_plus_one; /* 0: free */
    int32_t id;
};

struct vocabulary {
    struct vocabulary_token *tokens; /* by id */
    size_t token_capacity;
    int32_t limit; /* ids are below this */

    char *texts;
    size_t texts_length, texts_capacity;

    struct vocabulary_slot *slots; /* open addressing; the size is a power of two, as below */
    size_t slot_count, token_count;

    struct merge_slot *merges;
    size_t merge_slot_count, merge_count;
    int32_t last_merged; /* what the merge that was added last makes */
};

/* Makes the tables of an empty vocabulary; they grow when more comes. */
enum status vocabulary_create(struct vocabulary *vocabulary, size_t tokens, size_t merges, struct error *err);
void vocabulary_free(struct vocabulary *vocabulary);

/* Adds a token. A text or an id that is there already is an error; errors carry no place. */
enum status vocabulary_add(struct vocabulary *vocabulary, const char *text, size_t length, int64_t id,
                           struct error *err);

/* Adds the merge of two tokens, given by their texts, which must be known and so must be the text that they
 * make together. Merges of lower order come first; of two for the same pair the later one holds. */
enum status vocabulary_add_merge(struct vocabulary *vocabulary, const char *left, size_t left_length,
                                 const char *right, size_t right_length, uint32_t order, struct error *err);

/* The id of a text, -1: none. */
int32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t length);

/* The text of an id, NULL: none. It is not terminated. */
const char *vocabulary_text(const struct vocabulary *vocabulary, int32_t id, size_t *length);

/* The order in which two neighbours merge, and *id what into; MERGE_NONE when they do not. */
uint32_t vocabulary_merge(const struct vocabulary *vocabulary, int32_t left, int32_t right, int32_t *id);

/* The character that spells a byte in an ordinary token: itself where it is printable in Latin-1, else one
 * from U+0100 on (GPT-2's alphabet, which Hugging Face calls ByteLevel). */
uint32_t byte_spelling(unsigned char byte);

/* The byte that a character spells, -1: none. */
int byte_spelled(uint32_t code);

#endif
