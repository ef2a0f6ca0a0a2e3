/* Kernels of the gradients of attention, for query rows that share a key head, over one block of keys (Dao et
 * al., "FlashAttention", 2022): the weights are made anew from the scores and the forward pass's log-sums,
 * and nothing of size queries times keys is kept.
 *
 * With P the weights of a block, dO the gradient of the output and delta = rowsum(dO * out):
 *   d_value = P^T dO,  D = P * (dO value^T - delta),  d_q = D key,  d_key = D^T q.
 *
 * With ATTENTION_PAIRS all factors of these products are pairs of bf16, P and D rounded to it. */
#ifndef VS2_TENSOR_CPU_KERNELS_ATTENTION_BACKWARD_H
#define VS2_TENSOR_CPU_KERNELS_ATTENTION_BACKWARD_H

#include <stdint.h>

#include "tensor/cpu/kernels/attention.h"
#include "tensor/cpu/kernels/isa.h"
#include "tensor/tensor.h"

enum {
    GRADIENT_ROWS = 96, /* query rows worked on at a time; a multiple of every tile's height */
    GRADIENT_PACKED = ATTENTION_KEYS * ATTENTION_WIDTH,
    GRADIENT_PANELS = GRADIENT_PACKED + 16 * ATTENTION_WIDTH / 8, /* with gaps between panels */
};

/* At most ATTENTION_KEYS keys of a head, packed, and their gradients as far as they are summed up. All arrays
 * are aligned to 64 bytes. */
struct gradient_keys {
    enum attention_form form;
    int keys, head_dim;
    float *key_columns, *value_columns; /* GRADIENT_PACKED */
    float *key_rows;                    /* GRADIENT_PANELS */
    float *d_key, *d_value;             /* [ATTENTION_KEYS, ATTENTION_STRIDE] */
};

/* The head's columns of the first key, f32 or bf16, and the elements from row to row. */
struct gradient_source {
    const void *key, *value;
    enum dtype kind;
    int64_t key_stride, value_stride;
};

/* At most GRADIENT_ROWS query rows. */
struct gradient_queries {
    int rows;
    float factor;     /* of the scores: 1, or for pairs scale * log2(e) */
    float *q, *d_out; /* [rows, ATTENTION_STRIDE]; q times scale * log2(e); zeros up to a multiple of 16; or
                         rows of pairs */
    float *log_sum, *delta;  /* [rows]; log_sum to the base 2 */
    int32_t *visible;        /* [rows], not falling: row r sees keys [0, visible[r]) */
    float *weight, *d_score; /* [rows, ATTENTION_KEYS] */
    /* Pairs alone: two rows of q and d_out as one, [rows / 2, ATTENTION_STRIDE], and d_score with its keys in
     * pairs, [rows, ATTENTION_KEYS / 2]. */
    float *q_pairs, *d_out_pairs, *d_score_pairs;
};

struct attention_backward_kernels {
    /* The sum of a[i] * b[i]. */
    float (*dot)(const void *a, enum dtype a_kind, const void *b, enum dtype b_kind, int64_t count);
    /* Packs the keys and clears their gradients. */
    void (*pack)(const struct gradient_keys *keys, const struct gradient_source *source);
    /* Sets q_pairs and d_out_pairs. */
    void (*pair)(const struct gradient_queries *queries, int head_dim);
    /* Sets weight, d_score and d_score_pairs of the rows; d_key and d_value += theirs. */
    void (*weigh)(const struct gradient_keys *keys, const struct gradient_queries *queries);
    /* d_q += d_score times key, in rows of `stride` floats that are a multiple of 16 long. */
    void (*collect)(const struct gradient_keys *keys, const struct gradient_queries *queries, float *d_q,
                    int64_t stride);
};

KERNELS_DECLARE(attention_backward_kernels);

#endif
