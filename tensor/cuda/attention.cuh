/* What the kernels of attention share: their arguments; and tiles of rows in shared memory, as f32. */
#ifndef VS2_TENSOR_CUDA_ATTENTION_CUH
#define VS2_TENSOR_CUDA_ATTENTION_CUH

extern "C" {
#include "tensor/cuda/attention_plan.h"
}
#include "tensor/cuda/block.cuh"

/* Blocks a multiprocessor at least: for more of them ptxas would keep registers in memory. */
enum { ATTENTION_THREADS = 128, ATTENTION_WARPS = ATTENTION_THREADS / WARP, ATTENTION_BLOCKS = 2 };
#define LOG2_E 1.44269504088896341f
#define LN_2   0.69314718055994531f

struct forward_arguments {
    struct tensor out, q, k, v;
    float *log_sum; /* or NULL */
    int64_t log_sum_stride;
    const struct attention_item *items;
    const struct attention_join *joins;
    float *partial; /* a row: maximum, sum, head_dim values */
    int head_dim, group;
    float scale;
    bool wide; /* rows can be read as vectors of 4 values; on tensor cores, of 8 */
};

struct backward_arguments {
    struct tensor d_q, d_k, d_v, d_out, q, k, v;
    const float *log_sum;
    int64_t log_sum_stride;
    float *delta; /* [tokens, heads]: d_out . out */
    const struct attention_item *items;
    const struct attention_tile *tiles;
    const struct attention_part *parts;
    int head_dim, group, heads;
    float scale;
    bool wide; /* as above, of q, k, v and d_out */
};

/* Keys that a row of the segment sees. */
static __device__ __forceinline__ int64_t visible_to(const struct attention_view *view, int64_t row,
                                                     int group) {
    return view->visible + view->causal * (row / group);
}

/* Where a key of the segment lies in k and v. */
static __device__ __forceinline__ int64_t key_row(const struct attention_view *view, int64_t key) {
    return key < view->prefix_keys ? view->prefix + key : view->key + key - view->prefix_keys;
}

static inline bool is_wide_by_4(struct tensor t) {
    return (uintptr_t)t.data % (4 * dtype_size(t.dtype)) == 0 && (t.stride % 4 == 0 || t.rows <= 1);
}

/* ---- On tensor cores --------------------------------------------------------------------------------- */

enum { ATTENTION_BF16_ROWS = 64 }; /* of an item, and of a tile of keys of the backward pass */

/* Whether the kernels on tensor cores take these tensors: bf16, with heads and rows of whole vectors of 4. */
static inline bool are_for_tensor_cores(const struct tensor *tensors, int count, int head_dim) {
    for (int i = 0; i < count; i++)
        if (tensors[i].dtype != DTYPE_BF16 || !is_wide_by_4(tensors[i])) return false;
    return head_dim <= 128;
}

/* Whether their heads are whole vectors of 8. */
static inline bool are_wide_by_8(const struct tensor *tensors, int count, int head_dim) {
    for (int i = 0; i < count; i++)
        if (!is_wide(tensors[i])) return false;
    return head_dim % RUN == 0;
}

/* Computes the plan's items, of ATTENTION_BF16_ROWS rows at most; joins are the caller's. */
void attention_bf16_forward(struct device *device, const struct forward_arguments *arguments,
                            const struct attention_tables *tables, int kv_heads);

/* Sets the gradients of all rows of the plan's items and tiles; delta is there. */
void attention_bf16_backward(struct device *device, const struct backward_arguments *arguments,
                             const struct attention_tables *tables, int kv_heads);

/* ---- In f32 ------------------------------------------------------------------------------------------ */

/* Rows of a tile of `columns` * 32 columns lie so far apart: vectors of 4 in 8 neighbouring rows fall into
 * different banks. */
static constexpr __host__ __device__ int pitch_of(int columns) {
    return columns * WARP + 4;
}

static __device__ __forceinline__ float4 load_4(struct tensor t, int64_t row, int64_t col, bool wide) {
    if (!wide)
        return make_float4(load(t, row, col), load(t, row, col + 1), load(t, row, col + 2),
                           load(t, row, col + 3));
    const char *at = address(t, row, col);
    if (t.dtype == DTYPE_F32) return *(const float4 *)at;
    uint2 v = *(const uint2 *)at;
    return make_float4(low_half(v.x), high_half(v.x), low_half(v.y), high_half(v.y));
}

/* Rows of a tile: of q, d_out and the like, or of k and v. */
struct tile_rows {
    struct attention_view view;
    int64_t first, count; /* rows of the segment, or its keys; those beyond count are zero */
    int head, group;      /* the key head */
};

/* A tile of `rows` query rows times `factor`. */
static __device__ __forceinline__ void load_queries(float *tile, int rows, int pitch, struct tensor t,
                                                    bool wide, struct tile_rows which, int head_dim,
                                                    float factor) {
    int fours = head_dim / 4;
    for (int e = (int)threadIdx.x; e < rows * fours; e += ATTENTION_THREADS) {
        int r = e / fours, c = e % fours * 4;
        float4 v = make_float4(0, 0, 0, 0);
        if (r < which.count) {
            int64_t row = which.first + r;
            int64_t head = (int64_t)which.head * which.group + row % which.group;
            v = load_4(t, which.view.query + row / which.group, head * head_dim + c, wide);
        }
        *(float4 *)(tile + r * pitch + c) =
            make_float4(v.x * factor, v.y * factor, v.z * factor, v.w * factor);
    }
}

/* A tile of `rows` keys or values, counted through the segment. */
static __device__ __forceinline__ void load_keys(float *tile, int rows, int pitch, struct tensor t, bool wide,
                                                 struct tile_rows which, int head_dim) {
    int fours = head_dim / 4;
    for (int e = (int)threadIdx.x; e < rows * fours; e += ATTENTION_THREADS) {
        int r = e / fours, c = e % fours * 4;
        float4 v = make_float4(0, 0, 0, 0);
        if (r < which.count)
            v = load_4(t, key_row(&which.view, which.first + r), (int64_t)which.head * head_dim + c, wide);
        *(float4 *)(tile + r * pitch + c) = v;
    }
}

static __device__ __forceinline__ float dot(const float *a, const float *b, int head_dim) {
    float sum = 0;
    for (int d = 0; d < head_dim; d += 4) {
        float4 x = *(const float4 *)(a + d), y = *(const float4 *)(b + d);
        sum += x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
    }
    return sum;
}

#endif
