/* What the kernels of attention on tensor cores share. All tensors are bf16; products are exact and are
 * summed in f32. A tile is rows of a matrix in shared memory, `pitch` elements apart. A warp has 16 rows of a
 * product: with g = lane / 4 and t = lane % 4 a lane has, of each 8 columns, 2t and the next of row g
 * (elements 0 and 1) and of row g + 8 (2 and 3). HEAD is the head's size rounded up to what there is a kernel
 * for; the columns that are not there are zero. */
#ifndef VS2_TENSOR_CUDA_ATTENTION_BF16_CUH
#define VS2_TENSOR_CUDA_ATTENTION_BF16_CUH

#include "tensor/cuda/attention.cuh"

enum { WARP_TILE = 16, BLOCK_TILE = ATTENTION_WARPS * WARP_TILE };

/* Rows lie an odd number of 16 bytes apart: the 8 rows of a matrix fall into different banks. */
static constexpr __host__ __device__ int bf16_pitch(int head) {
    return head + 8;
}

/* ---- Tiles ------------------------------------------------------------------------------------------- */

/* 4 neighbouring threads copy a row. */
template <int HEAD>
static __device__ __forceinline__ void copy_row(__nv_bfloat16 *to, struct tensor t, bool wide, bool there,
                                                int64_t row, int64_t col, int head_dim) {
    const char *from = there ? address(t, row, col) : (const char *)t.data;
    int part = (int)threadIdx.x % 4;
    if (wide) {
        for (int c = part * 8; c < HEAD; c += 32)
            copy_16(to + c, c < head_dim ? from + 2 * c : from, there && c < head_dim);
    } else {
        for (int c = part * 4; c < HEAD; c += 16)
            copy_8(to + c, c < head_dim ? from + 2 * c : from, there && c < head_dim);
    }
}

/* Queues copies of `rows` query rows. */
template <int HEAD>
static __device__ __forceinline__ void copy_queries(__nv_bfloat16 *tile, int rows, struct tensor t, bool wide,
                                                    struct tile_rows which, int head_dim) {
    int64_t query = which.view.query + which.first / which.group;
    unsigned group = (unsigned)which.group, rest = (unsigned)(which.first % which.group);
    for (int r = (int)threadIdx.x / 4; r < rows; r += ATTENTION_THREADS / 4) {
        unsigned row = rest + (unsigned)r;
        int64_t head = (int64_t)which.head * group + row % group;
        copy_row<HEAD>(tile + r * bf16_pitch(HEAD), t, wide, r < which.count, query + row / group,
                       head * head_dim, head_dim);
    }
}

/* Queues copies of `rows` keys or values. */
template <int HEAD>
static __device__ __forceinline__ void copy_keys(__nv_bfloat16 *tile, int rows, struct tensor t, bool wide,
                                                 struct tile_rows which, int head_dim) {
    for (int r = (int)threadIdx.x / 4; r < rows; r += ATTENTION_THREADS / 4)
        copy_row<HEAD>(tile + r * bf16_pitch(HEAD), t, wide, r < which.count,
                       key_row(&which.view, which.first + r), (int64_t)which.head * head_dim, head_dim);
}

/* Until all that the block's threads queued is there. */
static __device__ __forceinline__ void copies_arrive(void) {
    copies_commit();
    copies_wait<0>();
    __syncthreads();
}

/* ---- Products ---------------------------------------------------------------------------------------- */

/* The first 16 rows of a tile, as the left side of products. */
template <int HEAD>
static __device__ __forceinline__ void load_left(unsigned (&left)[HEAD / 16][4], const __nv_bfloat16 *tile) {
    int lane = (int)threadIdx.x % WARP;
    const __nv_bfloat16 *from = tile + lane % 16 * bf16_pitch(HEAD) + lane / 16 * 8;
#pragma unroll
    for (int i = 0; i < HEAD / 16; i++) load_matrices(left[i], from + i * 16);
}

/* A 16 by 16 product as the left side of the next, rounded. */
static __device__ __forceinline__ void round_left(unsigned (&left)[4], const float (&x)[2][4]) {
    left[0] = bf16_pair(x[0][0], x[0][1]);
    left[1] = bf16_pair(x[0][2], x[0][3]);
    left[2] = bf16_pair(x[1][0], x[1][1]);
    left[3] = bf16_pair(x[1][2], x[1][3]);
}

/* product (16 by 16) = left (16 by HEAD) times the first 16 rows of a tile, transposed. */
template <int HEAD>
static __device__ __forceinline__ void
multiply_rows(float (&product)[2][4], const unsigned (&left)[HEAD / 16][4], const __nv_bfloat16 *tile) {
    int lane = (int)threadIdx.x % WARP;
    const __nv_bfloat16 *from = tile + (lane / 16 * 8 + lane % 8) * bf16_pitch(HEAD) + lane / 8 % 2 * 8;
#pragma unroll
    for (int i = 0; i < 8; i++) product[i / 4][i % 4] = 0;
#pragma unroll
    for (int i = 0; i < HEAD / 16; i++) {
        unsigned right[4];
        load_matrices(right, from + i * 16);
        mma_bf16(product[0], left[i], right);
        mma_bf16(product[1], left[i], right + 2);
    }
}

/* sum (16 by HEAD) += left (16 by 16) times the first 16 rows of a tile. */
template <int HEAD>
static __device__ __forceinline__ void multiply_columns(float (&sum)[HEAD / 8][4], const unsigned (&left)[4],
                                                        const __nv_bfloat16 *tile) {
    int lane = (int)threadIdx.x % WARP;
    const __nv_bfloat16 *from = tile + lane % 16 * bf16_pitch(HEAD) + lane / 16 * 8;
#pragma unroll
    for (int i = 0; i < HEAD / 16; i++) {
        unsigned right[4];
        load_matrices_transposed(right, from + i * 16);
        mma_bf16(sum[2 * i], left, right);
        mma_bf16(sum[2 * i + 1], left, right + 2);
    }
}

/* Row g (half 0) or g + 8 (half 1) of a sum, times factor, to where the row begins in global memory. */
template <int HEAD>
static __device__ __forceinline__ void store_row(char *to, const float (&sum)[HEAD / 8][4], int half,
                                                 float factor, int head_dim) {
    int first = (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < HEAD / 8; i++)
        if (i * 8 + first < head_dim)
            ((unsigned *)to)[(i * 8 + first) / 2] =
                bf16_pair(sum[i][2 * half] * factor, sum[i][2 * half + 1] * factor);
}

/* x kept within [0, most]. */
static __device__ __forceinline__ int within(int64_t x, int most) {
    return x < 0 ? 0 : x > most ? most : (int)x;
}

/* LAUNCH<HEAD>::run with the arguments, HEAD being the least that a kernel is made for and head_dim columns
 * fit into. */
template <template <int HEAD> class LAUNCH, class... ARGUMENTS>
static void launch_for_head(int head_dim, ARGUMENTS... arguments) {
    if (head_dim <= 32)
        LAUNCH<32>::run(arguments...);
    else if (head_dim <= 64)
        LAUNCH<64>::run(arguments...);
    else if (head_dim <= 80)
        LAUNCH<80>::run(arguments...);
    else
        LAUNCH<128>::run(arguments...);
}

#endif
