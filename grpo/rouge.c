#include "grpo/rouge.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "grpo/stemmer.h"

enum { SHORTEST_STEMMED = 4 };

/* The words of both texts, in one list; equal words have equal numbers. */
struct vocabulary {
    char *letters; /* in lower case, stemmed */
    struct passage *words;
    struct passage **sorted;
    uint64_t *numbers; /* [count] */
    size_t count;
};

static void vocabulary_free(struct vocabulary *vocabulary) {
    free(vocabulary->letters);
    free(vocabulary->words);
    free(vocabulary->sorted);
    free(vocabulary->numbers);
}

static enum status vocabulary_make(size_t length, struct vocabulary *vocabulary, struct error *err) {
    size_t most = length / 2 + 2; /* each of two texts may end in a word of one letter */
    vocabulary->letters = memory_new(length, 1, "words", err);
    vocabulary->words = memory_new(most, sizeof *vocabulary->words, "words", err);
    vocabulary->sorted = memory_new(most, sizeof(struct passage *), "words", err);
    vocabulary->numbers = memory_new(most, sizeof *vocabulary->numbers, "words", err);
    return vocabulary->letters && vocabulary->words && vocabulary->sorted && vocabulary->numbers
               ? STATUS_OK
               : STATUS_FAILED;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Adds the words of a text, whose letters go to `letters`. */
static void add_words(struct vocabulary *vocabulary, struct passage text, char *letters) {
    for (size_t i = 0; i < text.length; i++) letters[i] = lower(text.text[i]);
    for (size_t at = 0; at < text.length;) {
        size_t end = at;
        while (end < text.length && is_letter(letters[end])) end++;
        size_t length = end - at;
        if (length >= SHORTEST_STEMMED) length = stem_word(letters + at, length);
        if (length > 0) vocabulary->words[vocabulary->count++] = (struct passage){letters + at, length};
        at = end + 1;
    }
}

static int compare_words(const void *left, const void *right) {
    const struct passage *a = *(struct passage *const *)left, *b = *(struct passage *const *)right;
    size_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->text, b->text, shorter);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

static void number_words(struct vocabulary *vocabulary) {
    uint64_t number = 0;
    for (size_t i = 0; i < vocabulary->count; i++) vocabulary->sorted[i] = &vocabulary->words[i];
    qsort(vocabulary->sorted, vocabulary->count, sizeof(struct passage *), compare_words);
    for (size_t i = 0; i < vocabulary->count; i++) {
        if (i > 0 && compare_words(&vocabulary->sorted[i - 1], &vocabulary->sorted[i]) != 0) number++;
        vocabulary->numbers[vocabulary->sorted[i] - vocabulary->words] = number;
    }
}

static double f1(size_t shared, size_t wanted, size_t written) {
    return shared > 0 ? 2 * (double)shared / (double)(wanted + written) : 0;
}

static int compare_numbers(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* How many both lists share; sorts them. */
static size_t count_shared(uint64_t *a, size_t a_count, uint64_t *b, size_t b_count) {
    size_t i = 0, j = 0, shared = 0;
    qsort(a, a_count, sizeof *a, compare_numbers);
    qsort(b, b_count, sizeof *b, compare_numbers);
    while (i < a_count && j < b_count) {
        shared += a[i] == b[j];
        uint64_t first = a[i], second = b[j];
        i += first <= second;
        j += second <= first;
    }
    return shared;
}

/* The longest common subsequence; row has room for b_count + 1. */
static size_t count_in_order(const uint64_t *a, size_t a_count, const uint64_t *b, size_t b_count,
                             uint64_t *row) {
    memset(row, 0, (b_count + 1) * sizeof *row);
    for (size_t i = 0; i < a_count; i++) {
        uint64_t corner = 0;
        for (size_t j = 0; j < b_count; j++) {
            uint64_t above = row[j + 1];
            row[j + 1] = a[i] == b[j] ? corner + 1 : above > row[j] ? above : row[j];
            corner = above;
        }
    }
    return (size_t)row[b_count];
}

/* Makes pairs of neighbours of a list, one fewer than it has words. */
static size_t make_pairs(const uint64_t *numbers, size_t count, uint64_t words, uint64_t *pairs) {
    for (size_t i = 0; i + 1 < count; i++) pairs[i] = numbers[i] * words + numbers[i + 1];
    return count > 0 ? count - 1 : 0;
}

/* The words of the reference come first, `wanted` of them. */
static enum status compare(const struct vocabulary *vocabulary, size_t wanted, struct rouge *rouge,
                           struct error *err) {
    size_t written = vocabulary->count - wanted;
    uint64_t *a = vocabulary->numbers, *b = a + wanted;
    uint64_t *scratch = memory_new(vocabulary->count + 2, sizeof *scratch, "words", err);
    if (!scratch) return STATUS_FAILED;
    rouge->fl = f1(count_in_order(a, wanted, b, written, scratch), wanted, written);
    size_t pairs = make_pairs(a, wanted, vocabulary->count, scratch);
    size_t written_pairs = make_pairs(b, written, vocabulary->count, scratch + pairs);
    rouge->f2 = f1(count_shared(scratch, pairs, scratch + pairs, written_pairs), pairs, written_pairs);
    rouge->f1 = f1(count_shared(a, wanted, b, written), wanted, written);
    free(scratch);
    return STATUS_OK;
}

enum status rouge_compute(struct passage reference, struct passage text, struct rouge *rouge,
                          struct error *err) {
    struct vocabulary vocabulary = {0};
    enum status status = vocabulary_make(reference.length + text.length, &vocabulary, err);
    if (status == STATUS_OK) {
        add_words(&vocabulary, reference, vocabulary.letters);
        size_t wanted = vocabulary.count;
        add_words(&vocabulary, text, vocabulary.letters + reference.length);
        number_words(&vocabulary);
        status = compare(&vocabulary, wanted, rouge, err);
    }
    vocabulary_free(&vocabulary);
    return status;
}
