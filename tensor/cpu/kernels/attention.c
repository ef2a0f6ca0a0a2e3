#include "tensor/cpu/kernels/attention.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "tensor/cpu/kernels/attention_tile.h"
#include "tensor/cpu/kernels/block.h"

static enum attention_form form(enum dtype q, enum dtype keys, int head_dim) {
    bool pairs = PAIRS && q == DTYPE_BF16 && keys == DTYPE_BF16 && head_dim % 8 == 0;
    return pairs ? ATTENTION_PAIRS : ATTENTION_FLOATS;
}

/* ---- Tiles: `rows`, `both` and `form` are constants once inlined --------------------------------------- */

/* out[r] = out[r] * decay[r] + sum of weight[r][k] * value[k] for one or two vectors of columns; `terms`
 * keys, or pairs of them. */
static inline __attribute__((always_inline)) void value_tile(float *out, const float *decay,
                                                             const float *weight, const float *value,
                                                             int terms, const int rows, const bool both,
                                                             const enum attention_form form) {
    vector sum[TILE_ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        sum[r][0] = load_vector(out + r * STRIDE) * decay[r];
        if (both) sum[r][1] = load_vector(out + r * STRIDE + LANES) * decay[r];
    }
    for (int k = 0; k < terms; k++) {
        vector low = load_vector(value + k * PANEL), high = low;
        if (both) high = load_vector(value + k * PANEL + LANES);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            sum[r][0] = add_product(sum[r][0], low, weight + r * KEYS + k, form);
            if (both) sum[r][1] = add_product(sum[r][1], high, weight + r * KEYS + k, form);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        store_vector(out + r * STRIDE, sum[r][0]);
        if (both) store_vector(out + r * STRIDE + LANES, sum[r][1]);
    }
}

/* Turns a row of `count` scores (whole panels) into weights; returns by how much earlier sums shrink. */
static inline float weigh_row(float *scores, int count, int visible, float factor, float *maximum,
                              float *sum) {
    if (factor != 1)
        for (int j = 0; j < visible; j += LANES) store_vector(scores + j, load_vector(scores + j) * factor);
    for (int j = visible; j < count; j++) scores[j] = -INFINITY;
    float largest = vector_largest_of(scores, count);
    largest = *maximum > largest ? *maximum : largest;
    float shift = largest == -INFINITY ? 0 : largest;
    vector total = {0};
    for (int j = 0; j < count; j += LANES) {
        vector weight = exp2_vector(load_vector(scores + j) - shift);
        store_vector(scores + j, weight);
        total += weight;
    }
    vector decay = exp2_vector((vector){0} + (*maximum - shift));
    *maximum = largest;
    *sum = *sum * decay[0] + vector_sum(total);
    return decay[0];
}

/* Weights become pairs in their own place. */
static inline void pair_weights(float *weights, int count) {
    for (int j = 0; j < count; j += 2 * LANES)
        store_vector(weights + j / 2,
                     (vector)pair_neighbours(load_vector(weights + j), load_vector(weights + j + LANES)));
}

/* Some rows against one block of packed keys. */
struct tile {
    const float *q, *key, *value;
    float *scores;
    struct attention_state state;
    int head_dim;
    float factor;
    int visible[TILE_ROWS]; /* keys of the block that each row sees */
    int seen;               /* the most of them */
};

static inline __attribute__((always_inline)) void attend_tile(struct tile *tile, const int rows,
                                                              const enum attention_form form) {
    const int parts = form == ATTENTION_PAIRS ? 2 : 1; /* elements of a factor */
    int count = (tile->seen + PANEL - 1) / PANEL * PANEL, width = tile->head_dim / parts;
    for (int j = 0; j < count; j += PANEL)
        score_tile(tile->scores + j, tile->q, tile->key + j * width, width, rows, form);
    float decay[TILE_ROWS];
    for (int r = 0; r < rows; r++) {
        float *weights = tile->scores + r * KEYS;
        decay[r] = weigh_row(weights, count, tile->visible[r], tile->factor, &tile->state.maximum[r],
                             &tile->state.sum[r]);
        if (form == ATTENTION_PAIRS) pair_weights(weights, count);
    }
    const float *value = tile->value;
    float *out = tile->state.value;
    int left = tile->head_dim, terms = (tile->seen + parts - 1) / parts;
    for (; left > LANES; left -= PANEL, out += PANEL, value += VALUE_PANEL)
        value_tile(out, decay, tile->scores, value, terms, rows, true, form);
    if (left > 0) value_tile(out, decay, tile->scores, value, terms, rows, false, form);
}

/* A copy of the body for each height of a tile: the sums are laid out in registers. */
static inline __attribute__((always_inline)) void attend_form(struct tile *tile, int rows,
                                                              const enum attention_form form) {
    switch (rows) {
    case 1: attend_tile(tile, 1, form); break;
    case 2: attend_tile(tile, 2, form); break;
    case 3: attend_tile(tile, 3, form); break;
    case 4: attend_tile(tile, 4, form); break;
    case 5: attend_tile(tile, 5, form); break;
    case 6: attend_tile(tile, 6, form); break;
#if defined(__AVX512F__)
    case 7: attend_tile(tile, 7, form); break;
    case 8: attend_tile(tile, 8, form); break;
    case 9: attend_tile(tile, 9, form); break;
    case 10: attend_tile(tile, 10, form); break;
    case 11: attend_tile(tile, 11, form); break;
    case 12: attend_tile(tile, 12, form); break;
#endif
    }
}

static void attend_rows(struct tile *tile, int rows) {
    attend_form(tile, rows, ATTENTION_FLOATS);
}
static void attend_pairs(struct tile *tile, int rows) {
    attend_form(tile, rows, ATTENTION_PAIRS);
}

/* ---- The table --------------------------------------------------------------------------------------- */

static void reset(struct attention_state state, int rows, int head_dim) {
    size_t width = (size_t)((head_dim + LANES - 1) / LANES * LANES);
    for (int r = 0; r < rows; r++) {
        state.maximum[r] = -INFINITY;
        state.sum[r] = 0;
        memset(state.value + r * STRIDE, 0, width * sizeof(float));
    }
}

/* All rows against the packed keys [first, first + count) of the chunk. */
static void attend_block(const struct attention_chunk *chunk, struct attention_state state, int first,
                         int count) {
    struct tile tile = {.key = chunk->scratch, .head_dim = chunk->head_dim, .factor = chunk->factor};
    tile.value = tile.key + KEYS * ATTENTION_WIDTH;
    tile.scores = chunk->scratch + ATTENTION_SCRATCH - 16 * KEYS;
    for (int r = 0, rows; r < chunk->rows; r += rows) {
        rows = tile_height(chunk->rows - r);
        tile.seen = 0;
        for (int i = 0; i < rows; i++) {
            int sight = chunk->visible ? chunk->visible[r + i] - first : count;
            tile.visible[i] = sight < 0 ? 0 : sight > count ? count : sight;
            tile.seen = tile.visible[i] > tile.seen ? tile.visible[i] : tile.seen;
        }
        if (!tile.seen) continue;
        tile.q = chunk->q + r * STRIDE;
        tile.state = (struct attention_state){state.maximum + r, state.sum + r, state.value + r * STRIDE};
        if (PAIRS && chunk->form == ATTENTION_PAIRS)
            attend_pairs(&tile, rows);
        else
            attend_rows(&tile, rows);
    }
}

static void attend_chunk(const struct attention_chunk *chunk, struct attention_state state) {
    size_t size = dtype_size(chunk->kind);
    size_t key_bytes = (size_t)chunk->key_stride * size, value_bytes = (size_t)chunk->value_stride * size;
    float *key = chunk->scratch, *value = key + KEYS * ATTENTION_WIDTH;
    reset(state, chunk->rows, chunk->head_dim);
    for (int first = 0; first < chunk->keys; first += KEYS) {
        int count = chunk->keys - first < KEYS ? chunk->keys - first : KEYS;
        const char *keys = (const char *)chunk->key + (size_t)first * key_bytes;
        const char *values = (const char *)chunk->value + (size_t)first * value_bytes;
        if (chunk->kind == DTYPE_F32) {
            pack_keys(key, keys, key_bytes, DTYPE_F32, count, chunk->head_dim);
            pack_values(value, values, value_bytes, DTYPE_F32, count, chunk->head_dim);
        } else {
            pack_key_columns(key, keys, key_bytes, DTYPE_BF16, count, chunk->head_dim, chunk->form);
            pack_value_rows(value, values, value_bytes, DTYPE_BF16, count, chunk->head_dim, chunk->form);
        }
        attend_block(chunk, state, first, count);
    }
}

static void join_rows(struct attention_state state, struct attention_state later, int rows, int head_dim) {
    for (int r = 0; r < rows; r++) {
        if (later.sum[r] == 0) continue;
        float a = state.maximum[r], b = later.maximum[r], largest = a > b ? a : b;
        float shift = largest == -INFINITY ? 0 : largest;
        vector differences = {a - shift, b - shift};
        vector factors = exp2_vector(differences);
        state.maximum[r] = largest;
        state.sum[r] = state.sum[r] * factors[0] + later.sum[r] * factors[1];
        float *to = state.value + r * STRIDE;
        const float *from = later.value + r * STRIDE;
        for (int i = 0; i < head_dim; i += LANES)
            store_vector(to + i, load_vector(to + i) * factors[0] + load_vector(from + i) * factors[1]);
    }
}

static void load_row(float *to, const void *from, enum dtype kind, int64_t count, float factor) {
    block_load(to, from, kind, 0, count);
    for (int64_t i = 0; i < count; i++) to[i] *= factor;
}

static void store_row(void *to, enum dtype kind, const float *from, int64_t count, float factor) {
    float row[ATTENTION_WIDTH];
    for (int64_t i = 0; i < count; i++) row[i] = from[i] * factor;
    block_store(to, kind, 0, row, count);
}

const struct attention_kernels KERNELS_TABLE(attention_kernels) = {form, load_row, attend_chunk, join_rows,
                                                                   store_row};
