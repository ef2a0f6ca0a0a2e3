#include "model/tokenizer_train.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/tokenizer.h"
#include "model/tokenizer_split.h"
#include "model/tokenizer_vocabulary.h"
#include "model/tokenizer_write.h"

/* A piece that occurs in the texts, as the tokens that it is made of so far. */
struct piece {
    size_t first, length; /* in trainer.symbols */
    int64_t count;
};

struct tokenizer_trainer {
    uint8_t *classes;        /* for split_piece */
    struct vocabulary found; /* the pieces by their text; ids are places in `pieces` */
    struct piece *pieces;
    size_t piece_capacity;
    int32_t piece_count;
    int32_t *symbols;
    size_t symbol_count, symbol_capacity;
};

struct tokenizer_trainer *tokenizer_trainer_new(struct error *err) {
    struct tokenizer_trainer *trainer = memory_new(1, sizeof *trainer, "the tokenizer's training", err);
    if (!trainer) return NULL;
    trainer->classes = memory_new(CHARACTER_COUNT, 1, "character classes", err);
    if (!trainer->classes || vocabulary_create(&trainer->found, 0, 0, err) != STATUS_OK) {
        tokenizer_trainer_free(trainer);
        return NULL;
    }
    character_classes_fill(trainer->classes);
    return trainer;
}

void tokenizer_trainer_free(struct tokenizer_trainer *trainer) {
    if (!trainer) return;
    vocabulary_free(&trainer->found);
    free(trainer->classes);
    free(trainer->pieces);
    free(trainer->symbols);
    free(trainer);
}

static enum status add_piece(struct tokenizer_trainer *trainer, const char *text, size_t length,
                             struct error *err) {
    int32_t id = vocabulary_find(&trainer->found, text, length);
    if (id >= 0) {
        trainer->pieces[id].count++;
        return STATUS_OK;
    }
    if (memory_grow(&trainer->pieces, &trainer->piece_capacity, (size_t)trainer->piece_count + 1,
                    sizeof *trainer->pieces, "words", err) != STATUS_OK ||
        memory_grow(&trainer->symbols, &trainer->symbol_capacity, trainer->symbol_count + length,
                    sizeof *trainer->symbols, "words", err) != STATUS_OK ||
        vocabulary_add(&trainer->found, text, length, trainer->piece_count, err) != STATUS_OK)
        return STATUS_FAILED;
    trainer->pieces[trainer->piece_count++] =
        (struct piece){.first = trainer->symbol_count, .length = length, .count = 1};
    for (size_t i = 0; i < length; i++)
        trainer->symbols[trainer->symbol_count++] = tokenizer_byte_id((unsigned char)text[i]);
    return STATUS_OK;
}

enum status tokenizer_trainer_add(struct tokenizer_trainer *trainer, const char *text, size_t length,
                                  struct error *err) {
    while (length > 0) {
        size_t piece = split_piece(trainer->classes, text, length);
        if (add_piece(trainer, text, piece, err) != STATUS_OK) return STATUS_FAILED;
        text += piece;
        length -= piece;
    }
    return STATUS_OK;
}

/* Two neighbours and how often they stand so. */
struct pair {
    struct tokenizer_merge merge;
    int64_t count;
};

static int compare_pairs(const void *a, const void *b) {
    const struct tokenizer_merge *x = a, *y = b;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right != y->right ? (x->right < y->right ? -1 : 1) : 0;
}

/* The most frequent pair of all pieces; `pairs` has room for one a symbol. */
static struct pair most_frequent(const struct tokenizer_trainer *trainer, struct pair *pairs) {
    struct pair best = {.count = 0};
    size_t count = 0;
    for (int32_t i = 0; i < trainer->piece_count; i++) {
        const struct piece *piece = &trainer->pieces[i];
        const int32_t *symbols = trainer->symbols + piece->first;
        for (size_t k = 1; k < piece->length; k++)
            pairs[count++] = (struct pair){.merge = {symbols[k - 1], symbols[k]}, .count = piece->count};
    }
    qsort(pairs, count, sizeof *pairs, compare_pairs);
    for (size_t i = 0, next; i < count; i = next) {
        struct pair sum = pairs[i];
        for (next = i + 1; next < count && compare_pairs(&pairs[next], &sum) == 0; next++)
            sum.count += pairs[next].count;
        if (sum.count > best.count) best = sum;
    }
    return best;
}

/* Puts the token in place of each such pair, from the left. */
static void apply_merge(struct tokenizer_trainer *trainer, struct tokenizer_merge merge, int32_t token) {
    for (int32_t i = 0; i < trainer->piece_count; i++) {
        struct piece *piece = &trainer->pieces[i];
        int32_t *symbols = trainer->symbols + piece->first;
        size_t kept = 0;
        for (size_t k = 0; k < piece->length; k++) {
            if (k + 1 < piece->length && symbols[k] == merge.left && symbols[k + 1] == merge.right) {
                symbols[kept++] = token;
                k++;
            } else {
                symbols[kept++] = symbols[k];
            }
        }
        piece->length = kept;
    }
}

enum status tokenizer_trainer_finish(struct tokenizer_trainer *trainer, int32_t most,
                                     struct tokenizer_merges *merges, struct error *err) {
    assert(most >= 0 && most < VOCABULARY_MAX_TOKENS / 2);
    struct pair *pairs = memory_new(trainer->symbol_count, sizeof *pairs, "pairs of tokens", err);
    *merges = (struct tokenizer_merges){
        .items = memory_new((size_t)most, sizeof *merges->items, "the merges", err)};
    if (!pairs || !merges->items) {
        free(pairs);
        tokenizer_merges_free(merges);
        return STATUS_FAILED;
    }
    while (merges->count < most) {
        struct pair best = most_frequent(trainer, pairs);
        if (best.count < 2) break;
        apply_merge(trainer, best.merge, TOKENIZER_BYTES + merges->count);
        merges->items[merges->count++] = best.merge;
    }
    free(pairs);
    return STATUS_OK;
}

void tokenizer_merges_free(struct tokenizer_merges *merges) {
    free(merges->items);
    *merges = (struct tokenizer_merges){0};
}
