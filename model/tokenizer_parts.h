/* What a tokenizer is made of; for the files model/tokenizer*.c alone. */
#ifndef VS2_MODEL_TOKENIZER_PARTS_H
#define VS2_MODEL_TOKENIZER_PARTS_H

#include "model/tokenizer.h"
#include "model/tokenizer_added.h"
#include "model/tokenizer_split.h"
#include "model/tokenizer_vocabulary.h"

struct tokenizer {
    struct vocabulary vocabulary; /* added tokens too */
    int32_t byte_ids[256];        /* the token of each byte */
    struct added_set raw;         /* added tokens looked for in the text as it is */
    struct added_set normalized;  /* and in normalised text */
    uint8_t *special;             /* by id: 1 for special tokens; vocabulary.limit of them */
    bool nfc;                     /* text is normalised first */
    bool ignore_merges;           /* a piece that is a token becomes it without merging */
    uint8_t *classes;             /* [CHARACTER_COUNT], enum character_class */
};

/* Fills an empty tokenizer from tokenizer.json. */
enum status tokenizer_read_json(struct tokenizer *tokenizer, const char *path, struct error *err);

/* Fills an empty tokenizer from the older files in the folder: vocab.json, merges.txt, and the added tokens
 * of tokenizer_config.json or added_tokens.json. */
enum status tokenizer_read_files(struct tokenizer *tokenizer, const char *folder, struct error *err);

#endif
