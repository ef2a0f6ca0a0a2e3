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
static inline __attribute__((always_inline)) void
sum_tile(float *out, int64_t out_stride, const float *weight, const float *value, const struct layout layout,
         int64_t terms, const int rows, const bool both, const enum attention_form form) {
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
            sum[r][0] = add_product(sum[r][0], low, factor + r * layout.weight_row, form);
            if (both) sum[r][1] = add_product(sum[r][1], high, factor + r * layout.weight_row, form);
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
                                                              int64_t terms, int head_dim, const int rows,
                                                              const enum attention_form form) {
    int left = head_dim;
    for (; left > LANES; left -= PANEL, out += PANEL, value += value_panel)
        sum_tile(out, out_stride, weight, value, layout, terms, rows, true, form);
    if (left > 0) sum_tile(out, out_stride, weight, value, layout, terms, rows, false, form);
}

/* Some rows of a result; keys and queries are counted one by one, whatever the form. */
struct tile {
    float *out;
    int64_t out_stride;
    const float *weight, *value;
    int64_t terms; /* keys or queries */
    int head_dim;
};

/* Elements of a factor. */
static inline int elements_of(const enum attention_form form) {
    return form == ATTENTION_PAIRS ? 2 : 1;
}

/* Scores: rows of q (or dO) times key (or value) columns; `terms` keys, in whole panels. */
static inline __attribute__((always_inline)) void score_rows(const struct tile *t, const int rows,
                                                             const enum attention_form form) {
    int width = t->head_dim / elements_of(form);
    for (int64_t j = 0; j < t->terms; j += PANEL)
        score_tile(t->out + j, t->weight, t->value + j * width, width, rows, form);
}

/* Query rows: sums over keys. */
static inline __attribute__((always_inline)) void query_rows(const struct tile *t, const int rows,
                                                             const enum attention_form form) {
    const int each = elements_of(form);
    const struct layout layout = {KEYS / each, 1, PANEL};
    sum_columns(t->out, t->out_stride, t->weight, t->value, layout, VALUE_PANEL, (t->terms + each - 1) / each,
                t->head_dim, rows, form);
}

/* Key rows: sums over queries; a row of pairs takes the place of two. */
static inline __attribute__((always_inline)) void key_rows(const struct tile *t, const int rows,
                                                           const enum attention_form form) {
    const int each = elements_of(form);
    const struct layout layout = {1, KEYS * each, STRIDE};
    sum_columns(t->out, STRIDE, t->weight, t->value, layout, PANEL, (t->terms + each - 1) / each, t->head_dim,
                rows, form);
}

/* A copy of the body for each height of a tile: the sums are laid out in registers. */
static inline __attribute__((always_inline)) void
at_height(void (*const body)(const struct tile *, int, enum attention_form), const struct tile *t, int rows,
          const enum attention_form form) {
    switch (rows) {
    case 1: body(t, 1, form); break;
    case 2: body(t, 2, form); break;
    case 3: body(t, 3, form); break;
    case 4: body(t, 4, form); break;
    case 5: body(t, 5, form); break;
    case 6: body(t, 6, form); break;
#if defined(__AVX512F__)
    case 7: body(t, 7, form); break;
    case 8: body(t, 8, form); break;
    case 9: body(t, 9, form); break;
    case 10: body(t, 10, form); break;
    case 11: body(t, 11, form); break;
    case 12: body(t, 12, form); break;
#endif
    }
}

/* And for each form. */
static inline __attribute__((always_inline)) void
in_form(void (*const body)(const struct tile *, int, enum attention_form), const struct tile *t, int rows,
        enum attention_form form) {
    if (PAIRS && form == ATTENTION_PAIRS)
        at_height(body, t, rows, ATTENTION_PAIRS);
    else
        at_height(body, t, rows, ATTENTION_FLOATS);
}

static void score_tiles(const struct tile *t, int rows, enum attention_form form) {
    in_form(score_rows, t, rows, form);
}
static void query_tiles(const struct tile *t, int rows, enum attention_form form) {
    in_form(query_rows, t, rows, form);
}
static void key_tiles(const struct tile *t, int rows, enum attention_form form) {
    in_form(key_rows, t, rows, form);
}

/* ---- Weights ----------------------------------------------------------------------------------------- */

/* Scores into weights, and dO value^T into the gradient of the scores; zeros where a key is not seen. */
static inline void weigh_row(float *weight, float *d_score, int keys, int visible, float factor,
                             float log_sum, float delta) {
    for (int j = 0; j < visible; j += LANES) {
        vector p = exp2_vector(load_vector(weight + j) * factor - log_sum);
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
        score_tiles(&tile, rows, keys->form);
        tile.out = queries->d_score + r * KEYS;
        tile.weight = queries->d_out + r * STRIDE;
        tile.value = keys->value_columns;
        score_tiles(&tile, rows, keys->form);
        for (int i = r; i < r + rows; i++)
            weigh_row(queries->weight + i * KEYS, queries->d_score + i * KEYS, (keys->keys + 1) / 2 * 2,
                      queries->visible[i], queries->factor, queries->log_sum[i], queries->delta[i]);
    }
}

/* Rows of weight and d_score become pairs, two rows in the place of the first; and those of d_score also
 * pairs along the keys. */
static void pair_weights(const struct gradient_queries *queries) {
    float *last = queries->weight + queries->rows * KEYS, *d_last = queries->d_score + queries->rows * KEYS;
    if (queries->rows % 2) {
        memset(last, 0, KEYS * sizeof *last);
        memset(d_last, 0, KEYS * sizeof *d_last);
    }
    for (int r = 0; r < queries->rows; r++) {
        const float *row = queries->d_score + r * KEYS;
        for (int j = 0; j < KEYS; j += 2 * LANES)
            store_vector(queries->d_score_pairs + (r * KEYS + j) / 2,
                         (vector)pair_neighbours(load_vector(row + j), load_vector(row + j + LANES)));
    }
    for (int r = 0; r < queries->rows; r += 2) {
        float *weight = queries->weight + r * KEYS, *d_score = queries->d_score + r * KEYS;
        for (int j = 0; j < KEYS; j += LANES) {
            store_vector(weight + j,
                         (vector)pair_lanes(load_vector(weight + j), load_vector(weight + KEYS + j)));
            store_vector(d_score + j,
                         (vector)pair_lanes(load_vector(d_score + j), load_vector(d_score + KEYS + j)));
        }
    }
}

static void weigh(const struct gradient_keys *keys, const struct gradient_queries *queries) {
    bool pairs = PAIRS && keys->form == ATTENTION_PAIRS;
    weigh_all(keys, queries);
    if (pairs) pair_weights(queries);
    for (int k = 0, rows, seeing = 0; k < keys->keys; k += rows) {
        rows = tile_height(keys->keys - k);
        while (seeing < queries->rows && queries->visible[seeing] <= k) seeing++;
        int first = pairs ? seeing / 2 * 2 : seeing;
        struct tile tile = {.out = keys->d_value + k * STRIDE,
                            .weight = queries->weight + first * KEYS + k,
                            .value = pairs ? queries->d_out_pairs + first / 2 * STRIDE
                                           : queries->d_out + first * STRIDE,
                            .terms = queries->rows - first,
                            .head_dim = keys->head_dim};
        key_tiles(&tile, rows, keys->form);
        tile.out = keys->d_key + k * STRIDE;
        tile.weight = queries->d_score + first * KEYS + k;
        tile.value = pairs ? queries->q_pairs + first / 2 * STRIDE : queries->q + first * STRIDE;
        key_tiles(&tile, rows, keys->form);
    }
}

static void collect(const struct gradient_keys *keys, const struct gradient_queries *queries, float *d_q,
                    int64_t stride) {
    bool pairs = PAIRS && keys->form == ATTENTION_PAIRS;
    for (int r = 0, rows; r < queries->rows; r += rows) {
        rows = tile_height(queries->rows - r);
        struct tile tile = {.out = d_q + r * stride,
                            .out_stride = stride,
                            .weight =
                                pairs ? queries->d_score_pairs + r * KEYS / 2 : queries->d_score + r * KEYS,
                            .value = keys->key_rows,
                            .terms = queries->visible[r + rows - 1],
                            .head_dim = keys->head_dim};
        if (tile.terms) query_tiles(&tile, rows, keys->form);
    }
}

/* ---- Packing ----------------------------------------------------------------------------------------- */

static inline void pack_kind(const struct gradient_keys *keys, const struct gradient_source *source,
                             enum dtype kind) {
    size_t key_bytes = (size_t)source->key_stride * dtype_size(kind);
    size_t value_bytes = (size_t)source->value_stride * dtype_size(kind);
    enum attention_form form = kind == DTYPE_BF16 ? keys->form : ATTENTION_FLOATS;
    pack_key_columns(keys->key_columns, source->key, key_bytes, kind, keys->keys, keys->head_dim, form);
    pack_key_columns(keys->value_columns, source->value, value_bytes, kind, keys->keys, keys->head_dim, form);
    pack_value_rows(keys->key_rows, source->key, key_bytes, kind, keys->keys, keys->head_dim, form);
}

static void pack(const struct gradient_keys *keys, const struct gradient_source *source) {
    if (source->kind == DTYPE_F32)
        pack_kind(keys, source, DTYPE_F32);
    else
        pack_kind(keys, source, DTYPE_BF16);
    memset(keys->d_key, 0, (size_t)keys->keys * STRIDE * sizeof(float));
    memset(keys->d_value, 0, (size_t)keys->keys * STRIDE * sizeof(float));
}

/* A row of bf16 and the next one, or zeros when there are not two. */
static void pair_two(float *to, const float *from, bool two, int head_dim) {
    const uint16_t *row = (const uint16_t *)(const void *)from;
    pair_rows((uint32_t *)(void *)to, row, two ? row + 2 * STRIDE : zero_row, head_dim,
              (head_dim + LANES - 1) / LANES * LANES);
}

static void pair(const struct gradient_queries *queries, int head_dim) {
    for (int r = 0; r < queries->rows; r += 2) {
        bool two = r + 1 < queries->rows;
        pair_two(queries->q_pairs + r / 2 * STRIDE, queries->q + r * STRIDE, two, head_dim);
        pair_two(queries->d_out_pairs + r / 2 * STRIDE, queries->d_out + r * STRIDE, two, head_dim);
    }
}

static float dot(const void *a, enum dtype a_kind, const void *b, enum dtype b_kind, int64_t count) {
    float a_scratch[ATTENTION_WIDTH], b_scratch[ATTENTION_WIDTH], sum = 0;
    const float *x = block_read(a_scratch, a, a_kind, 0, count);
    const float *y = block_read(b_scratch, b, b_kind, 0, count);
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

const struct attention_backward_kernels KERNELS_TABLE(attention_backward_kernels) = {dot, pack, pair, weigh,
                                                                                     collect};
