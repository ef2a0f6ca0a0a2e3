#include "tensor/cpu/kernels/attention_backward.h"

#include <stdbool.h>
#include <string.h>

#include "tensor/cpu/kernels/attention_tile.h"
#include "tensor/cpu/kernels/block.h"

/* How the weights and the values of a sum lie in memory, in floats; constants where they are inlined. */
struct layout {
    int64_t weight_row, weight_step; /* from row to row of the result, and from term to term */
    int64_t value_step;              /* from term to term */
};

/* out[r] += sum over t of weight[r][t] * value[t], for one or two vectors of columns. */
static inline __attribute__((always_inline)) void sum_tile(float *out, int64_t out_stride,
                                                           const float *weight, const float *value,
                                                           const struct layout layout, int64_t terms,
                                                           const int rows, const bool both) {
    vector sum[TILE_ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        sum[r][0] = load_vector(out + r * out_stride);
        if (both) sum[r][1] = load_vector(out + r * out_stride + LANES);
    }
    for (int64_t t = 0; t < terms; t++) {
        vector low = load_vector(value + t * layout.value_step), high = low;
        if (both) high = load_vector(value + t * layout.value_step + LANES);
        const float *factor = weight + t * layout.weight_step;
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            sum[r][0] += low * factor[r * layout.weight_row];
            if (both) sum[r][1] += high * factor[r * layout.weight_row];
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        store_vector(out + r * out_stride, sum[r][0]);
        if (both) store_vector(out + r * out_stride + LANES, sum[r][1]);
    }
}

/* The same over all columns; from panel to panel of the values is value_panel floats. */
static inline __attribute__((always_inline)) void sum_columns(float *out, int64_t out_stride,
                                                              const float *weight, const float *value,
                                                              const struct layout layout, int64_t value_panel,
                                                              int64_t terms, int head_dim, const int rows) {
    int left = head_dim;
    for (; left > LANES; left -= PANEL, out += PANEL, value += value_panel)
        sum_tile(out, out_stride, weight, value, layout, terms, rows, true);
    if (left > 0) sum_tile(out, out_stride, weight, value, layout, terms, rows, false);
}

/* Some rows of a result. */
struct tile {
    float *out;
    int64_t out_stride;
    const float *weight, *value;
    int64_t terms;
    int head_dim;
};

/* Scores: rows of q (or dO) times key (or value) columns; `terms` keys, in whole panels. */
static inline __attribute__((always_inline)) void score_rows(const struct tile *t, const int rows) {
    for (int64_t j = 0; j < t->terms; j += PANEL)
        score_tile(t->out + j, t->weight, t->value + j * t->head_dim, t->head_dim, rows);
}

/* Query rows: sums over keys. */
static inline __attribute__((always_inline)) void query_rows(const struct tile *t, const int rows) {
    const struct layout layout = {KEYS, 1, PANEL};
    sum_columns(t->out, t->out_stride, t->weight, t->value, layout, VALUE_PANEL, t->terms, t->head_dim, rows);
}

/* Key rows: sums over queries. */
static inline __attribute__((always_inline)) void key_rows(const struct tile *t, const int rows) {
    const struct layout layout = {1, KEYS, STRIDE};
    sum_columns(t->out, STRIDE, t->weight, t->value, layout, PANEL, t->terms, t->head_dim, rows);
}

/* A copy of the body for each height of a tile: the sums are laid out in registers. */
static inline __attribute__((always_inline)) void at_height(void (*const body)(const struct tile *, int),
                                                            const struct tile *t, int rows) {
    switch (rows) {
    case 1: body(t, 1); break;
    case 2: body(t, 2); break;
    case 3: body(t, 3); break;
    case 4: body(t, 4); break;
    case 5: body(t, 5); break;
    case 6: body(t, 6); break;
#if defined(__AVX512F__)
    case 7: body(t, 7); break;
    case 8: body(t, 8); break;
    case 9: body(t, 9); break;
    case 10: body(t, 10); break;
    case 11: body(t, 11); break;
    case 12: body(t, 12); break;
#endif
    }
}

static void score_tiles(const struct tile *t, int rows) {
    at_height(score_rows, t, rows);
}
static void query_tiles(const struct tile *t, int rows) {
    at_height(query_rows, t, rows);
}
static void key_tiles(const struct tile *t, int rows) {
    at_height(key_rows, t, rows);
}

/* ---- Weights ----------------------------------------------------------------------------------------- */

/* Scores into weights, and dO value^T into the gradient of the scores; zeros where a key is not seen. */
static inline void weigh_row(float *weight, float *d_score, int keys, int visible, float log_sum,
                             float delta) {
    for (int j = 0; j < visible; j += LANES) {
        vector p = exp2_vector(load_vector(weight + j) - log_sum);
        store_vector(weight + j, p);
        store_vector(d_score + j, p * (load_vector(d_score + j) - delta));
    }
    for (int j = visible; j < keys; j++) weight[j] = d_score[j] = 0;
}

/* Sets weight and d_score. */
static void weigh_all(const struct gradient_keys *keys, const struct gradient_queries *queries) {
    for (int r = 0, rows; r < queries->rows; r += rows) {
        rows = tile_height(queries->rows - r);
        int seen = queries->visible[r + rows - 1];
        struct tile tile = {.out = queries->weight + r * KEYS,
                            .weight = queries->q + r * STRIDE,
                            .value = keys->key_columns,
                            .terms = (seen + PANEL - 1) / PANEL * PANEL,
                            .head_dim = keys->head_dim};
        score_tiles(&tile, rows);
        tile.out = queries->d_score + r * KEYS;
        tile.weight = queries->d_out + r * STRIDE;
        tile.value = keys->value_columns;
        score_tiles(&tile, rows);
        for (int i = r; i < r + rows; i++)
            weigh_row(queries->weight + i * KEYS, queries->d_score + i * KEYS, keys->keys,
                      queries->visible[i], queries->log_sum[i], queries->delta[i]);
    }
}

static void weigh(const struct gradient_keys *keys, const struct gradient_queries *queries) {
    weigh_all(keys, queries);
    for (int k = 0, rows, first = 0; k < keys->keys; k += rows) {
        rows = tile_height(keys->keys - k);
        while (first < queries->rows && queries->visible[first] <= k) first++;
        struct tile tile = {.out = keys->d_value + k * STRIDE,
                            .weight = queries->weight + first * KEYS + k,
                            .value = queries->d_out + first * STRIDE,
                            .terms = queries->rows - first,
                            .head_dim = keys->head_dim};
        key_tiles(&tile, rows);
        tile.out = keys->d_key + k * STRIDE;
        tile.weight = queries->d_score + first * KEYS + k;
        tile.value = queries->q + first * STRIDE;
        key_tiles(&tile, rows);
    }
}

static void collect(const struct gradient_keys *keys, const struct gradient_queries *queries, float *d_q,
                    int64_t stride) {
    for (int r = 0, rows; r < queries->rows; r += rows) {
        rows = tile_height(queries->rows - r);
        struct tile tile = {.out = d_q + r * stride,
                            .out_stride = stride,
                            .weight = queries->d_score + r * KEYS,
                            .value = keys->key_rows,
                            .terms = queries->visible[r + rows - 1],
                            .head_dim = keys->head_dim};
        if (tile.terms) query_tiles(&tile, rows);
    }
}

/* ---- Packing ----------------------------------------------------------------------------------------- */

static inline void pack_kind(const struct gradient_keys *keys, const struct gradient_source *source,
                             enum dtype kind) {
    size_t key_bytes = (size_t)source->key_stride * dtype_size(kind);
    size_t value_bytes = (size_t)source->value_stride * dtype_size(kind);
    pack_keys(keys->key_columns, source->key, key_bytes, kind, keys->keys, keys->head_dim);
    pack_keys(keys->value_columns, source->value, value_bytes, kind, keys->keys, keys->head_dim);
    pack_values(keys->key_rows, source->key, key_bytes, kind, keys->keys, keys->head_dim);
}

static void pack(const struct gradient_keys *keys, const struct gradient_source *source) {
    if (source->kind == DTYPE_F32)
        pack_kind(keys, source, DTYPE_F32);
    else
        pack_kind(keys, source, DTYPE_BF16);
    memset(keys->d_key, 0, (size_t)keys->keys * STRIDE * sizeof(float));
    memset(keys->d_value, 0, (size_t)keys->keys * STRIDE * sizeof(float));
}

static float dot(const void *a, enum dtype a_kind, const void *b, enum dtype b_kind, int64_t count) {
    float a_scratch[ATTENTION_WIDTH], b_scratch[ATTENTION_WIDTH], sum = 0;
    const float *x = block_read(a_scratch, a, a_kind, 0, count);
    const float *y = block_read(b_scratch, b, b_kind, 0, count);
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

const struct attention_backward_kernels KERNELS_TABLE(attention_backward_kernels) = {dot, pack, weigh,
                                                                                     collect};
