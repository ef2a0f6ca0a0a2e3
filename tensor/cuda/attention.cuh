/* What the kernels of attention share: tiles of rows in shared memory, as f32. */
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

/* Rows of a tile of `columns` * 32 columns lie so far apart: vectors of 4 in 8 neighbouring rows fall into
 * different banks. */
static constexpr __host__ __device__ int pitch_of(int columns) {
    return columns * WARP + 4;
}

static inline bool is_wide_by_4(struct tensor t) {
    return (uintptr_t)t.data % (4 * dtype_size(t.dtype)) == 0 && (t.stride % 4 == 0 || t.rows <= 1);
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
        int64_t key = which.first + r;
        int64_t row = key < which.view.prefix_keys ? which.view.prefix + key
                                                   : which.view.key + key - which.view.prefix_keys;
        float4 v = make_float4(0, 0, 0, 0);
        if (r < which.count) v = load_4(t, row, (int64_t)which.head * head_dim + c, wide);
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

/* Keys that a row of the segment sees. */
static __device__ __forceinline__ int64_t visible_to(const struct attention_view *view, int64_t row,
                                                     int group) {
    return view->visible + view->causal * (row / group);
}

#endif
