/* Kernels of attention: softmax(q k^T) v for a block of query rows that share a key head, over one chunk of
 * keys, keeping what is needed to join chunks (Dao et al., "FlashAttention", 2022; Milakov and Gimelshein,
 * "Online normalizer calculation for softmax", 2018). Scores are kept in units of log 2: queries are loaded
 * times scale * log2(e), and every exponential is a power of two.
 *
 * Between bf16, where the processor multiplies pairs of them, queries are taken as they are (scores meet the
 * factor afterwards) and weights are rounded to bf16 before they meet the values, as PyTorch does on the CPU.
 *
 * A row's result is a function of its query and the chunk's keys alone: neither the other rows of the block
 * nor the row's place in it change a bit. */
#ifndef VS2_TENSOR_CPU_KERNELS_ATTENTION_H
#define VS2_TENSOR_CPU_KERNELS_ATTENTION_H

#include <stdint.h>

#include "tensor/cpu/kernels/isa.h"
#include "tensor/tensor.h"

enum {
    ATTENTION_ROWS = 192,        /* query rows of a block, at most; a multiple of every tile's height */
    ATTENTION_KEYS = 64,         /* keys worked on at a time */
    ATTENTION_WIDTH = 256,       /* head_dim, at most */
    ATTENTION_STRIDE = 256 + 16, /* from row to row of q and value: not a power of two, so that the
                                    rows of a tile do not fall into the same lines of the cache */
    ATTENTION_SCRATCH = 1024 + 2 * ATTENTION_KEYS * ATTENTION_WIDTH + 16 * ATTENTION_KEYS, /* floats */
};

/* What products are made of. */
enum attention_form {
    ATTENTION_FLOATS, /* f32; bf16 is made f32 on the way */
    ATTENTION_PAIRS,  /* pairs of bf16: rows of q, and all that is packed, are words that hold them */
};

/* For some query rows: the largest score, the sum of 2^(score - maximum), and the sum of that times value.
 * Over no key: -inf, 0, zeros. Arrays are aligned to 64 bytes. */
struct attention_state {
    float *maximum, *sum; /* [rows] */
    float *value;         /* [rows, ATTENTION_STRIDE] */
};

struct attention_chunk {
    enum attention_form form;
    float factor; /* of the scores: 1, or for pairs scale * log2(e) */
    /* [rows, ATTENTION_STRIDE], aligned to 64 bytes: loaded times scale * log2(e), or pairs. */
    const float *q;
    int rows, head_dim;
    const void *key, *value; /* the head's columns of the first key, of `kind` */
    enum dtype kind;
    int64_t key_stride, value_stride; /* elements */
    int keys;
    const int32_t *visible; /* [rows], not falling: row r sees keys [0, visible[r]); NULL: all see all */
    float *scratch;         /* ATTENTION_SCRATCH floats, aligned to 64 bytes */
};

struct attention_kernels {
    /* The form for these types and width. */
    enum attention_form (*form)(enum dtype q, enum dtype keys, int head_dim);
    /* to[i] = from[i] * factor. */
    void (*load)(float *to, const void *from, enum dtype kind, int64_t count, float factor);
    /* Sets the state of the chunk's rows. */
    void (*chunk)(const struct attention_chunk *chunk, struct attention_state state);
    /* state = the state over the keys of both; later is over the keys that come later. */
    void (*join)(struct attention_state state, struct attention_state later, int rows, int head_dim);
    /* to[i] = from[i] * factor, to f32 or bf16. */
    void (*store)(void *to, enum dtype kind, const float *from, int64_t count, float factor);
};

KERNELS_DECLARE(attention_kernels);

#endif
