#include "model/tokenizer_added.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "model/tokenizer_split.h"

enum status added_set_add(struct added_set *set, struct added_token token, struct error *err) {
    if (memory_grow(&set->tokens, &set->capacity, set->count + 1, sizeof token, "added tokens", err) !=
        STATUS_OK)
        return STATUS_FAILED;
    token.text = memory_text(token.text, token.length, "added tokens", err);
    if (!token.text) return STATUS_FAILED;
    set->begins[(unsigned char)token.text[0]] = true;
    set->tokens[set->count++] = token;
    return STATUS_OK;
}

/* By bytes, a prefix before what it begins. */
static int compare_tokens(const void *a, const void *b) {
    const struct added_token *left = a, *right = b;
    size_t shorter = left->length < right->length ? left->length : right->length;
    int order = memcmp(left->text, right->text, shorter);
    if (order != 0) return order;
    return left->length < right->length ? -1 : left->length > right->length;
}

void added_set_sort(struct added_set *set) {
    if (set->count > 1) qsort(set->tokens, set->count, sizeof *set->tokens, compare_tokens);
}

void added_set_free(struct added_set *set) {
    for (size_t i = 0; i < set->count; i++) free(set->tokens[i].text);
    free(set->tokens);
    *set = (struct added_set){0};
}

/* The first index in [low, high) whose byte at `depth` is above `byte` (or not below it, with `equal`). All
 * of them are longer than depth and agree before it. */
static size_t bound(const struct added_set *set, size_t low, size_t high, size_t depth, unsigned char byte,
                    bool equal) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        unsigned char other = (unsigned char)set->tokens[middle].text[depth];
        if (other > byte || (equal && other == byte))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The longest token that the text begins with, or NULL. */
static const struct added_token *longest_prefix(const struct added_set *set, const char *text,
                                                size_t length) {
    const struct added_token *found = NULL;
    size_t low = 0, high = set->count;
    for (size_t depth = 0; low < high; depth++) {
        if (set->tokens[low].length == depth) found = &set->tokens[low++];
        if (depth == length) break;
        unsigned char byte = (unsigned char)text[depth];
        low = bound(set, low, high, depth, byte, true);
        high = bound(set, low, high, depth, byte, false);
    }
    return found;
}

/* Where the white space that ends at `at` begins, not below `floor`. */
static size_t space_start(const uint8_t *classes, const char *text, size_t floor, size_t at) {
    while (at > floor) {
        uint32_t code;
        size_t start = at - 1;
        while (start > floor && ((unsigned char)text[start] & 0xC0) == 0x80) start--;
        utf8_decode(text + start, at - start, &code);
        if (code >= CHARACTER_COUNT || !(classes[code] & CHARACTER_SPACE)) break;
        at = start;
    }
    return at;
}

static size_t space_end(const uint8_t *classes, const char *text, size_t length, size_t at) {
    while (at < length) {
        uint32_t code;
        size_t size = utf8_decode(text + at, length - at, &code);
        if (code >= CHARACTER_COUNT || !(classes[code] & CHARACTER_SPACE)) break;
        at += size;
    }
    return at;
}

struct added_match added_set_find(const struct added_set *set, const uint8_t *classes, const char *text,
                                  size_t length, size_t floor, size_t *from) {
    for (size_t at = *from; set->count > 0 && at < length; at++) {
        if (!set->begins[(unsigned char)text[at]]) continue;
        const struct added_token *token = longest_prefix(set, text + at, length - at);
        if (!token) continue;
        size_t end = at + token->length;
        *from = end;
        return (struct added_match){.start = token->left ? space_start(classes, text, floor, at) : at,
                                    .end = token->right ? space_end(classes, text, length, end) : end,
                                    .token = token};
    }
    *from = length;
    return (struct added_match){.start = length, .end = length};
}
