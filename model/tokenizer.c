#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/activity.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "model/tokenizer_merge.h"
#include "model/tokenizer_normalize.h"
#include "model/tokenizer_parts.h"

enum status token_list_push(struct token_list *list, int32_t id, struct error *err) {
    if (memory_grow(&list->ids, &list->capacity, list->count + 1, sizeof id, "tokens", err) != STATUS_OK)
        return STATUS_FAILED;
    list->ids[list->count++] = id;
    return STATUS_OK;
}

void token_list_free(struct token_list *list) {
    free(list->ids);
    *list = (struct token_list){0};
}

static enum status read_tokenizer(struct tokenizer *tokenizer, const char *folder, struct error *err) {
    struct text path = {0};
    text_format(&path, "%s/tokenizer.json", folder);
    enum status status = text_check(&path, "a path", err);
    if (status == STATUS_OK)
        status = access(path.data, F_OK) == 0 ? tokenizer_read_json(tokenizer, path.data, err)
                                              : tokenizer_read_files(tokenizer, folder, err);
    text_free(&path);
    return status;
}

struct tokenizer *tokenizer_load(const char *folder, struct error *err) {
    struct tokenizer *tokenizer = memory_new(1, sizeof *tokenizer, "the tokenizer", err);
    if (!tokenizer) return NULL;
    tokenizer->classes = memory_new(CHARACTER_COUNT, 1, "the tokenizer", err);
    if (!tokenizer->classes) goto err;
    character_classes_fill(tokenizer->classes);
    if (read_tokenizer(tokenizer, folder, err) != STATUS_OK) goto err;
    return tokenizer;
err:
    tokenizer_free(tokenizer);
    return NULL;
}

void tokenizer_free(struct tokenizer *tokenizer) {
    if (!tokenizer) return;
    vocabulary_free(&tokenizer->vocabulary);
    added_set_free(&tokenizer->raw);
    added_set_free(&tokenizer->normalized);
    free(tokenizer->special);
    free(tokenizer->classes);
    free(tokenizer);
}

int32_t tokenizer_size(const struct tokenizer *tokenizer) {
    return tokenizer->vocabulary.limit;
}

int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *token) {
    return vocabulary_find(&tokenizer->vocabulary, token, strlen(token));
}

bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id) {
    return id >= 0 && id < tokenizer->vocabulary.limit && tokenizer->special[id];
}

/* One call of tokenizer_encode. */
struct encoder {
    const struct tokenizer *tokenizer;
    struct token_list *list;
    struct text repaired; /* the text, when it was not valid UTF-8 */
    struct text normal;   /* the part at hand in NFC, when that differs */
    struct text spelled;  /* the piece at hand, for ignore_merges */
};

/* The token that is spelled like the piece, -1: none. */
static int32_t find_piece(struct encoder *encoder, const char *piece, size_t length) {
    encoder->spelled.length = 0;
    for (size_t i = 0; i < length; i++) {
        char bytes[4];
        text_append(&encoder->spelled, bytes, utf8_encode(byte_spelling((unsigned char)piece[i]), bytes));
    }
    if (encoder->spelled.failed) return -1;
    return vocabulary_find(&encoder->tokenizer->vocabulary, encoder->spelled.data, encoder->spelled.length);
}

/* Text without added tokens. */
static enum status encode_plain(struct encoder *encoder, const char *text, size_t length, struct error *err) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    while (length > 0) {
        size_t size = split_piece(tokenizer->classes, text, length);
        int32_t whole = tokenizer->ignore_merges ? find_piece(encoder, text, size) : -1;
        enum status status = whole >= 0 ? token_list_push(encoder->list, whole, err)
                                        : merge_piece(&tokenizer->vocabulary, tokenizer->byte_ids, text, size,
                                                      encoder->list, err);
        if (status != STATUS_OK) return status;
        text += size;
        length -= size;
    }
    return text_check(&encoder->spelled, "a text's tokens", err);
}

typedef enum status encode_part(struct encoder *encoder, const char *text, size_t length, struct error *err);

/* Cuts the text at the added tokens of the set; the parts between them go to `encode`. */
static enum status encode_around(struct encoder *encoder, const struct added_set *set, const char *text,
                                 size_t length, encode_part *encode, struct error *err) {
    size_t done = 0, from = 0;
    while (done < length || from < length) {
        struct added_match match =
            added_set_find(set, encoder->tokenizer->classes, text, length, done, &from);
        if (match.start > done && encode(encoder, text + done, match.start - done, err) != STATUS_OK)
            return STATUS_FAILED;
        if (match.token && token_list_push(encoder->list, match.token->id, err) != STATUS_OK)
            return STATUS_FAILED;
        done = match.end;
    }
    return STATUS_OK;
}

static enum status encode_normalized(struct encoder *encoder, const char *text, size_t length,
                                     struct error *err) {
    const struct tokenizer *tokenizer = encoder->tokenizer;
    if (tokenizer->nfc &&
        normalize_nfc(tokenizer->classes, &text, &length, &encoder->normal, err) != STATUS_OK)
        return STATUS_FAILED;
    return encode_around(encoder, &tokenizer->normalized, text, length, encode_plain, err);
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                             struct token_list *list, struct error *err) {
    enum status status = STATUS_OK;
    struct encoder encoder = {.tokenizer = tokenizer, .list = list};
    size_t old_count = list->count;
    activity_step();
    if (utf8_valid_prefix(text, length) < length) {
        utf8_append_lossy(&encoder.repaired, text, length);
        status = text_check(&encoder.repaired, "a text's tokens", err);
        text = encoder.repaired.data;
        length = encoder.repaired.length;
    }
    if (status == STATUS_OK)
        status = encode_around(&encoder, &tokenizer->raw, text, length, encode_normalized, err);
    if (status != STATUS_OK) list->count = old_count;
    text_free(&encoder.repaired);
    text_free(&encoder.normal);
    text_free(&encoder.spelled);
    return status;
}

/* Appends the bytes that a token stands for: those that its characters spell, or, when one of them spells
 * none, its text as it is. */
static void append_bytes(struct text *bytes, const char *text, size_t length) {
    size_t start = bytes->length;
    for (size_t at = 0; at < length;) {
        uint32_t code;
        at += utf8_decode(text + at, length - at, &code);
        int byte = byte_spelled(code);
        if (byte < 0) {
            if (!bytes->failed) bytes->length = start;
            text_append(bytes, text, length);
            return;
        }
        char one = (char)byte;
        text_append(bytes, &one, 1);
    }
}

void tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                      struct text *text) {
    struct text bytes = {0};
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const char *token = vocabulary_text(&tokenizer->vocabulary, ids[i], &length);
        if (token && !(skip_special && tokenizer->special[ids[i]])) append_bytes(&bytes, token, length);
    }
    utf8_append_lossy(text, bytes.data, bytes.length);
    if (bytes.failed) text->failed = true;
    text_free(&bytes);
}
