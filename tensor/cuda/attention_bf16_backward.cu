/* Attention, backward, on tensor cores: divided as attention_backward.cu divides it, and like it without
 * atomic additions. The weights and the gradients of the scores are rounded to bf16 for the products they go
 * into.
 *
 * A block of 4 warps has 64 rows (or keys), 16 a warp, and goes over the keys (or rows) in stages: one is
 * copied while the other is used. Since the log of the weights' sum is known, 16 keys at a time go the whole
 * way from scores to gradients and nothing is kept between them; for keys the scores are made transposed, so
 * that they too become the left side of the next product without leaving registers.
 *
 * What a block keeps comes in through the memory of the stages and stays in registers, but for the values,
 * which next to two sums of 16 by 128 would not fit: they stay in shared memory, and stages are shorter for
 * it. Either kernel takes 34 KB for a head of 128, so that the register file (2 blocks a multiprocessor)
 * decides, not shared memory. A stage is read once for 64 rows or keys: 96 operations a byte for queries, 128
 * for keys. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/attention_bf16.cuh"

enum { STAGES = 2, KEYS = 32, ROWS = 16 }; /* of a stage */
static_assert((int)STAGES * KEYS == (int)BLOCK_TILE, "queries and d_out come in through a stage each");
static_assert((int)STAGES * 2 * ROWS == (int)BLOCK_TILE, "keys come in through all stages");

/* Rows of two matrices, in shared memory. */
template <int HEAD, int COUNT> struct pair_of_tiles {
    __nv_bfloat16 first[COUNT * bf16_pitch(HEAD)], second[COUNT * bf16_pitch(HEAD)];
};

/* What a row's scores need. */
struct row_of_scores {
    float log_sum; /* by exp2 */
    float delta;
    int seen; /* keys of the tile, from its first on */
};

static __device__ __forceinline__ struct row_of_scores read_row(const struct backward_arguments *a,
                                                                const struct tile_rows *rows, int r) {
    int64_t row = rows->first + r, query = rows->view.query + row / a->group;
    int64_t head = (int64_t)rows->head * a->group + row % a->group;
    struct row_of_scores scores = {};
    if (r >= rows->count) return scores;
    scores.log_sum = a->log_sum[query * a->log_sum_stride + head] * LOG2_E;
    scores.delta = a->delta[query * a->heads + head];
    return scores;
}

/* ---- Queries ----------------------------------------------------------------------------------------- */

/* Scores of 16 rows and 16 keys, and the gradients of their weights, become the gradients of the scores. Of
 * row g (+ 8) the first seen[0] (seen[1]) keys are seen. */
static __device__ __forceinline__ void row_gradients(float (&score)[2][4], const float (&d_weight)[2][4],
                                                     const struct row_of_scores (&rows)[2],
                                                     const int (&seen)[2], float factor) {
    int column = (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        int half = i % 4 / 2, key = i / 4 * 8 + column + i % 2;
        float *x = &score[i / 4][i % 4];
        float weight = exp2f(*x * factor - rows[half].log_sum);
        *x = key < seen[half] ? weight * (d_weight[i / 4][i % 4] - rows[half].delta) : 0;
    }
}

template <int HEAD>
static __global__ void __launch_bounds__(ATTENTION_THREADS, ATTENTION_BLOCKS)
    bf16_d_query_kernel(struct backward_arguments a) {
    const int pitch = bf16_pitch(HEAD);
    auto *stages = (struct pair_of_tiles<HEAD, KEYS> *)shared_floats();
    const struct attention_item item = a.items[blockIdx.x];
    int lane = (int)threadIdx.x % WARP, first = (int)threadIdx.x / WARP * WARP_TILE, stage = 0;
    struct tile_rows rows = {item.view, item.first, item.rows, (int)blockIdx.y, a.group}, keys = rows;
    unsigned q[HEAD / 16][4], d_out[HEAD / 16][4];
    float d_q[HEAD / 8][4] = {};
    struct row_of_scores scores[2];
    int64_t limit[2] = {0, 0};
    copy_queries<HEAD>(stages[0].first, BLOCK_TILE, a.q, a.wide, rows, a.head_dim);
    copy_queries<HEAD>(stages[1].first, BLOCK_TILE, a.d_out, a.wide, rows, a.head_dim);
    for (int half = 0; half < 2; half++) {
        int row = first + lane / 4 + half * 8;
        scores[half] = read_row(&a, &rows, row);
        if (row < item.rows) limit[half] = min(item.end, visible_to(&item.view, item.first + row, a.group));
    }
    copies_arrive();
    load_left<HEAD>(q, stages[0].first + first * pitch);
    load_left<HEAD>(d_out, stages[1].first + first * pitch);
    __syncthreads();
    for (int64_t key = item.begin - KEYS; key < item.end; key += KEYS, stage ^= 1) {
        struct pair_of_tiles<HEAD, KEYS> *now = &stages[stage ^ 1], *next = &stages[stage];
        keys.first = key + KEYS, keys.count = item.end - keys.first;
        copies_arrive();
        if (keys.count > 0) {
            copy_keys<HEAD>(next->first, KEYS, a.k, a.wide, keys, a.head_dim);
            copy_keys<HEAD>(next->second, KEYS, a.v, a.wide, keys, a.head_dim);
        }
        if (key < item.begin || first >= item.rows)
            continue; /* nothing is there yet, or the warp has no row */
#pragma unroll
        for (int n = 0; n < KEYS; n += 16) {
            float score[2][4], d_weight[2][4];
            unsigned left[4];
            int seen[2] = {within(limit[0] - key - n, 16), within(limit[1] - key - n, 16)};
            multiply_rows<HEAD>(score, q, now->first + n * pitch);
            multiply_rows<HEAD>(d_weight, d_out, now->second + n * pitch);
            row_gradients(score, d_weight, scores, seen, a.scale * LOG2_E);
            round_left(left, score);
            multiply_columns<HEAD>(d_q, left, now->first + n * pitch);
        }
    }
    for (int half = 0; half < 2; half++) {
        int64_t row = item.first + first + lane / 4 + half * 8, query = item.view.query + row / a.group;
        int64_t head = (int64_t)blockIdx.y * a.group + row % a.group;
        if (row < item.first + item.rows)
            store_row<HEAD>(address(a.d_q, query, head * a.head_dim), d_q, half, a.scale, a.head_dim);
    }
}

/* ---- Keys and values --------------------------------------------------------------------------------- */

/* Shared memory. */
template <int HEAD> struct key_tiles {
    __nv_bfloat16 values[BLOCK_TILE * bf16_pitch(HEAD)];
    struct pair_of_tiles<HEAD, ROWS> stages[STAGES];
    struct row_of_scores rows[STAGES][ROWS];
};

/* Queues copies of the part's rows from `first` on, and reads what their scores need; of the block's keys the
 * part has [low, high). */
template <int HEAD>
static __device__ __forceinline__ void
copy_stage(struct key_tiles<HEAD> *tiles, int stage, const struct backward_arguments *a,
           const struct attention_part *part, int64_t first, int low, int high) {
    struct tile_rows rows = {part->view, first, part->view.rows - first, (int)blockIdx.y, a->group};
    int r = (int)threadIdx.x;
    copy_queries<HEAD>(tiles->stages[stage].first, ROWS, a->q, a->wide, rows, a->head_dim);
    copy_queries<HEAD>(tiles->stages[stage].second, ROWS, a->d_out, a->wide, rows, a->head_dim);
    if (r >= ROWS) return;
    struct row_of_scores scores = read_row(a, &rows, r);
    if (r < rows.count)
        scores.seen = within(visible_to(&rows.view, first + r, a->group) - part->offset + low, high);
    tiles->rows[stage][r] = scores;
}

/* Scores of 16 keys, `key` the tile's first of them, and 16 rows become weights. Keys before `low` are not
 * the part's. */
static __device__ __forceinline__ void key_weights(float (&score)[2][4], const struct row_of_scores *rows,
                                                   int key, int low, float factor) {
    int lane = (int)threadIdx.x % WARP;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const struct row_of_scores *row = &rows[i / 4 * 8 + lane % 4 * 2 + i % 2];
        int own = key + lane / 4 + i % 4 / 2 * 8;
        float *x = &score[i / 4][i % 4];
        *x = own >= low && own < row->seen ? exp2f(*x * factor - row->log_sum) : 0;
    }
}

/* And the gradients of the weights those of the scores. */
static __device__ __forceinline__ void key_gradients(float (&d_weight)[2][4], const float (&weight)[2][4],
                                                     const struct row_of_scores *rows) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float *d = &d_weight[i / 4][i % 4], w = weight[i / 4][i % 4];
        *d = w == 0 ? 0 : w * (*d - rows[i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2].delta);
    }
}

template <int HEAD> struct key_sums { float d_k[HEAD / 8][4], d_v[HEAD / 8][4]; };

/* What the rows of a stage add to a warp's 16 keys, `first` the tile's first of them. */
template <int HEAD>
static __device__ __forceinline__ void
add_stage(struct key_sums<HEAD> *sums, const struct key_tiles<HEAD> *tiles, int stage,
          const unsigned (&k)[HEAD / 16][4], int first, int low, float factor) {
    const struct row_of_scores *rows = tiles->rows[stage];
    const struct pair_of_tiles<HEAD, ROWS> *pair = &tiles->stages[stage];
    float weight[2][4], d_weight[2][4];
    unsigned left[4], v[HEAD / 16][4];
    if (!__any_sync(ALL_LANES, rows[threadIdx.x % ROWS].seen > first)) return;
    multiply_rows<HEAD>(weight, k, pair->first);
    key_weights(weight, rows, first, low, factor);
    round_left(left, weight);
    multiply_columns<HEAD>(sums->d_v, left, pair->second);
    load_left<HEAD>(v, tiles->values + first * bf16_pitch(HEAD));
    multiply_rows<HEAD>(d_weight, v, pair->second);
    key_gradients(d_weight, weight, rows);
    round_left(left, d_weight);
    multiply_columns<HEAD>(sums->d_k, left, pair->first);
}

template <int HEAD>
static __global__ void __launch_bounds__(ATTENTION_THREADS, ATTENTION_BLOCKS)
    bf16_d_key_kernel(struct backward_arguments a) {
    auto *tiles = (struct key_tiles<HEAD> *)shared_floats();
    int first = (int)threadIdx.x / WARP * WARP_TILE, stage = 0;
    int64_t begin = (int64_t)blockIdx.x * BLOCK_TILE;
    struct tile_rows keys = {}; /* rows of k and v as they lie */
    unsigned k[HEAD / 16][4];
    struct key_sums<HEAD> sums = {};
    keys.view.key = begin, keys.count = a.k.rows - begin, keys.head = (int)blockIdx.y;
    copy_keys<HEAD>(tiles->stages[0].first, BLOCK_TILE, a.k, a.wide, keys, a.head_dim);
    copy_keys<HEAD>(tiles->values, BLOCK_TILE, a.v, a.wide, keys, a.head_dim);
    copies_arrive();
    load_left<HEAD>(k, tiles->stages[0].first + first * bf16_pitch(HEAD));
    __syncthreads();
    const struct attention_part *part = a.parts + a.tiles[blockIdx.x].part;
    for (int64_t left = a.tiles[blockIdx.x].parts; left > 0; left--, part++) {
        int low = (int)(part->key - begin), high = low + (int)part->keys;
        int64_t row = 0, unseen = part->offset + 1 - part->view.visible;
        if (part->view.causal && unseen > 0) row = unseen * a.group; /* the first that sees the part */
        if (row < part->view.rows) copy_stage<HEAD>(tiles, stage, &a, part, row, low, high);
        for (; row < part->view.rows; row += ROWS, stage ^= 1) {
            copies_arrive();
            if (row + ROWS < part->view.rows)
                copy_stage<HEAD>(tiles, stage ^ 1, &a, part, row + ROWS, low, high);
            if (first < high && first + WARP_TILE > low) /* else the part has none of the warp's keys */
                add_stage<HEAD>(&sums, tiles, stage, k, first, low, a.scale * LOG2_E);
        }
    }
    for (int half = 0; half < 2; half++) {
        int64_t row = begin + first + (int)threadIdx.x % WARP / 4 + half * 8;
        int64_t col = (int64_t)blockIdx.y * a.head_dim;
        if (row >= a.k.rows) break;
        store_row<HEAD>(address(a.d_k, row, col), sums.d_k, half, a.scale, a.head_dim);
        store_row<HEAD>(address(a.d_v, row, col), sums.d_v, half, 1, a.head_dim);
    }
}

/* ---- The operation ----------------------------------------------------------------------------------- */

template <int HEAD> struct launch_backward {
    static void run(struct device *device, const struct backward_arguments *a,
                    const struct attention_tables *t, int kv_heads) {
        if (t->item_count)
            cuda_launch(device, bf16_d_query_kernel<HEAD>, dim3((unsigned)t->item_count, (unsigned)kv_heads),
                        ATTENTION_THREADS, STAGES * sizeof(struct pair_of_tiles<HEAD, KEYS>), *a);
        if (t->tile_count)
            cuda_launch(device, bf16_d_key_kernel<HEAD>, dim3((unsigned)t->tile_count, (unsigned)kv_heads),
                        ATTENTION_THREADS, sizeof(struct key_tiles<HEAD>), *a);
    }
};

void attention_bf16_backward(struct device *device, const struct backward_arguments *a,
                             const struct attention_tables *t, int kv_heads) {
    launch_for_head<launch_backward>(a->head_dim, device, a, t, kv_heads);
}
