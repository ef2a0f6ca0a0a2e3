#include "model/tokenizer_vocabulary.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

enum { LEAST_SLOTS = 512, FULL_THIRDS = 2 /* tables grow when two thirds are taken */ };

/* A power of two of which `count` entries fill less than two thirds. */
static size_t slots_for(size_t count) {
    size_t slots = LEAST_SLOTS;
    while (slots / 3 * FULL_THIRDS <= count) slots *= 2;
    return slots;
}

/* The finishing steps of MurmurHash3 (Austin Appleby): every bit of the input reaches every bit of the hash.
 */
static uint64_t mix(uint64_t value) {
    value ^= value >> 33;
    value *= 0xFF51AFD7ED558CCDU;
    value ^= value >> 33;
    value *= 0xC4CEB9FE1A85EC53U;
    return value ^ value >> 33;
}

/* The first bytes of a text as a word, zeros behind its end; without a branch for each length, since lengths
 * are as good as random. Bytes that are read twice fall on the same place. */
static uint64_t load_word(const char *text, size_t length) {
    uint64_t word = 0;
    uint32_t first, last;
    if (length >= sizeof word) {
        memcpy(&word, text, sizeof word);
        return word;
    }
    if (length >= sizeof first) {
        memcpy(&first, text, sizeof first);
        memcpy(&last, text + length - sizeof last, sizeof last);
        return first | (uint64_t)last << 8 * (length - sizeof last);
    }
    if (length == 0) return 0;
    size_t middle = length / 2, end = length - 1;
    return (unsigned char)text[0] | (uint64_t)(unsigned char)text[middle] << 8 * middle |
           (uint64_t)(unsigned char)text[end] << 8 * end;
}

/* The low four bits are the length, 15 for all longer texts. */
static uint32_t hash_text(const char *text, size_t length) {
    uint64_t hash = length;
    uint32_t length_bits = length < 15 ? (uint32_t)length : 15;
    while (length > 0) {
        size_t take = length < sizeof hash ? length : sizeof hash;
        hash = mix(hash ^ load_word(text, take));
        text += take;
        length -= take;
    }
    return (uint32_t)(hash << 4) | length_bits;
}

/* Where the search for a hash begins. */
static size_t first_slot(uint32_t hash, size_t count) {
    return hash >> 4 & (count - 1);
}

enum status vocabulary_create(struct vocabulary *vocabulary, size_t tokens, size_t merges,
                              struct error *err) {
    *vocabulary = (struct vocabulary){.slot_count = slots_for(tokens), .merge_slot_count = slots_for(merges)};
    vocabulary->slots = memory_new(vocabulary->slot_count, sizeof *vocabulary->slots, "the vocabulary", err);
    if (!vocabulary->slots) return STATUS_FAILED;
    vocabulary->merges =
        memory_new(vocabulary->merge_slot_count, sizeof *vocabulary->merges, "the merges", err);
    return vocabulary->merges ? STATUS_OK : STATUS_FAILED;
}

void vocabulary_free(struct vocabulary *vocabulary) {
    free(vocabulary->tokens);
    free(vocabulary->texts);
    free(vocabulary->slots);
    free(vocabulary->merges);
    *vocabulary = (struct vocabulary){0};
}

/* The slot that holds the text, or the free one where it belongs. */
static struct vocabulary_slot *find_slot(const struct vocabulary *vocabulary, const char *text, size_t length,
                                         uint32_t hash) {
    uint64_t beginning = load_word(text, length);
    size_t mask = vocabulary->slot_count - 1;
    for (size_t at = first_slot(hash, vocabulary->slot_count);; at = (at + 1) & mask) {
        struct vocabulary_slot *slot = &vocabulary->slots[at];
        if (!slot->id_plus_one) return slot;
        if (slot->hash != hash || slot->beginning != beginning) continue;
        if (length <= sizeof beginning) return slot; /* the hash has the length in it */
        const struct vocabulary_token *token = &vocabulary->tokens[slot->id_plus_one - 1];
        if (token->length == length && memcmp(vocabulary->texts + token->offset, text, length) == 0)
            return slot;
    }
}

static enum status grow_slots(struct vocabulary *vocabulary, struct error *err) {
    size_t count = slots_for(vocabulary->token_count + 1);
    if (count <= vocabulary->slot_count) return STATUS_OK;
    struct vocabulary_slot *slots = memory_new(count, sizeof *slots, "the vocabulary", err);
    if (!slots) return STATUS_FAILED;
    for (size_t i = 0; i < vocabulary->slot_count; i++) {
        struct vocabulary_slot slot = vocabulary->slots[i];
        size_t at = first_slot(slot.hash, count);
        if (!slot.id_plus_one) continue;
        while (slots[at].id_plus_one) at = (at + 1) & (count - 1);
        slots[at] = slot;
    }
    free(vocabulary->slots);
    vocabulary->slots = slots;
    vocabulary->slot_count = count;
    return STATUS_OK;
}

/* Makes room for an id and a text of `length` bytes. */
static enum status make_room(struct vocabulary *vocabulary, int32_t id, size_t length, struct error *err) {
    if (length > UINT32_MAX - vocabulary->texts_length)
        return error_set(err, "the tokens' texts are too long");
    if (grow_slots(vocabulary, err) != STATUS_OK ||
        memory_grow(&vocabulary->texts, &vocabulary->texts_capacity, vocabulary->texts_length + length, 1,
                    "the vocabulary", err) != STATUS_OK ||
        memory_grow(&vocabulary->tokens, &vocabulary->token_capacity, (size_t)id + 1,
                    sizeof *vocabulary->tokens, "the vocabulary", err) != STATUS_OK)
        return STATUS_FAILED;
    for (; vocabulary->limit <= id; vocabulary->limit++)
        vocabulary->tokens[vocabulary->limit] = (struct vocabulary_token){0};
    return STATUS_OK;
}

enum status vocabulary_add(struct vocabulary *vocabulary, const char *text, size_t length, int64_t id,
                           struct error *err) {
    if (length == 0) return error_set(err, "token %lld is empty", (long long)id);
    if (id < 0 || id >= VOCABULARY_MAX_TOKENS)
        return error_set(err, "token '%.*s' has id %lld, allowed are 0 to %d",
                         (int)(length < 64 ? length : 64), text, (long long)id, VOCABULARY_MAX_TOKENS - 1);
    if (make_room(vocabulary, (int32_t)id, length, err) != STATUS_OK) return STATUS_FAILED;

    uint32_t hash = hash_text(text, length);
    struct vocabulary_slot *slot = find_slot(vocabulary, text, length, hash);
    struct vocabulary_token *token = &vocabulary->tokens[id];
    if (slot->id_plus_one)
        return error_set(err, "token '%.*s' is there twice, as %u and %lld", (int)(length < 64 ? length : 64),
                         text, slot->id_plus_one - 1, (long long)id);
    if (token->length)
        return error_set(err, "id %lld has two tokens, '%.*s' and '%.*s'", (long long)id,
                         (int)(token->length < 64 ? token->length : 64), vocabulary->texts + token->offset,
                         (int)(length < 64 ? length : 64), text);
    *slot = (struct vocabulary_slot){load_word(text, length), hash, (uint32_t)id + 1};
    *token = (struct vocabulary_token){(uint32_t)vocabulary->texts_length, (uint32_t)length};
    memcpy(vocabulary->texts + vocabulary->texts_length, text, length);
    vocabulary->texts_length += length;
    vocabulary->token_count++;
    return STATUS_OK;
}

int32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t length) {
    return (int32_t)find_slot(vocabulary, text, length, hash_text(text, length))->id_plus_one - 1;
}

const char *vocabulary_text(const struct vocabulary *vocabulary, int32_t id, size_t *length) {
    if (id < 0 || id >= vocabulary->limit || vocabulary->tokens[id].length == 0) return NULL;
    *length = vocabulary->tokens[id].length;
    return vocabulary->texts + vocabulary->tokens[id].offset;
}

/* The slot that holds the pair, or the free one where it belongs. */
static struct merge_slot *find_merge(struct merge_slot *slots, size_t count, uint64_t pair) {
    size_t mask = count - 1;
    size_t at = mix(pair) & mask;
    while (slots[at].order_plus_one && slots[at].pair != pair) at = (at + 1) & mask;
    return &slots[at];
}

static enum status grow_merges(struct vocabulary *vocabulary, struct error *err) {
    size_t count = slots_for(vocabulary->merge_count + 1);
    if (count <= vocabulary->merge_slot_count) return STATUS_OK;
    struct merge_slot *slots = memory_new(count, sizeof *slots, "the merges", err);
    if (!slots) return STATUS_FAILED;
    for (size_t i = 0; i < vocabulary->merge_slot_count; i++)
        if (vocabulary->merges[i].order_plus_one)
            *find_merge(slots, count, vocabulary->merges[i].pair) = vocabulary->merges[i];
    free(vocabulary->merges);
    vocabulary->merges = slots;
    vocabulary->merge_slot_count = count;
    return STATUS_OK;
}

static enum status unknown_token(const char *text, size_t length, struct error *err) {
    return error_set(err, "the merge names '%.*s', which is no token", (int)(length < 64 ? length : 64),
                     text);
}

static bool is_joined(const struct vocabulary *vocabulary, int32_t id, const char *left, size_t left_length,
                      const char *right, size_t right_length) {
    size_t length;
    const char *text = vocabulary_text(vocabulary, id, &length);
    return text && length == left_length + right_length && memcmp(text, left, left_length) == 0 &&
           memcmp(text + left_length, right, right_length) == 0;
}

/* The id of two texts put together. Merges mostly make tokens in the order of their ids: the one after `last`
 * is tried first. */
static int32_t find_joined(const struct vocabulary *vocabulary, int32_t last, const char *left,
                           size_t left_length, const char *right, size_t right_length) {
    struct text joined = {0};
    if (is_joined(vocabulary, last + 1, left, left_length, right, right_length)) return last + 1;
    text_append(&joined, left, left_length);
    text_append(&joined, right, right_length);
    int32_t id = joined.failed ? -1 : vocabulary_find(vocabulary, joined.data, joined.length);
    text_free(&joined);
    return id;
}

enum status vocabulary_add_merge(struct vocabulary *vocabulary, const char *left, size_t left_length,
                                 const char *right, size_t right_length, uint32_t order, struct error *err) {
    int32_t left_id = vocabulary_find(vocabulary, left, left_length);
    int32_t right_id = vocabulary_find(vocabulary, right, right_length);
    if (left_id < 0) return unknown_token(left, left_length, err);
    if (right_id < 0) return unknown_token(right, right_length, err);
    int32_t id = find_joined(vocabulary, vocabulary->last_merged, left, left_length, right, right_length);
    if (id < 0)
        return error_set(err, "the merge of '%.*s' and '%.*s' makes no token",
                         (int)(left_length < 64 ? left_length : 64), left,
                         (int)(right_length < 64 ? right_length : 64), right);
    if (grow_merges(vocabulary, err) != STATUS_OK) return STATUS_FAILED;

    uint64_t pair = (uint64_t)left_id << 32 | (uint32_t)right_id;
    struct merge_slot *slot = find_merge(vocabulary->merges, vocabulary->merge_slot_count, pair);
    if (!slot->order_plus_one) vocabulary->merge_count++;
    *slot = (struct merge_slot){pair, order + 1, id};
    vocabulary->last_merged = id;
    return STATUS_OK;
}

uint32_t vocabulary_merge(const struct vocabulary *vocabulary, int32_t left, int32_t right, int32_t *id) {
    uint64_t pair = (uint64_t)left << 32 | (uint32_t)right;
    const struct merge_slot *slot = find_merge(vocabulary->merges, vocabulary->merge_slot_count, pair);
    *id = slot->id;
    return slot->order_plus_one - 1; /* a free slot gives MERGE_NONE */
}

/* Bytes that spell themselves. */
static int is_printable(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* The others are numbered from U+0100 on, in order: 0x00-0x20, 0x7F-0xA0, 0xAD. */
uint32_t byte_spelling(unsigned char byte) {
    if (is_printable(byte)) return byte;
    if (byte <= 0x20) return 0x100U + byte;
    return byte <= 0xA0 ? 0x121U + byte - 0x7F : 0x143U;
}

int byte_spelled(uint32_t code) {
    if (code < 0x100) return is_printable(code) ? (int)code : -1;
    if (code <= 0x120) return (int)(code - 0x100);
    if (code <= 0x142) return (int)(code - 0x121 + 0x7F);
    return code == 0x143 ? 0xAD : -1;
}
