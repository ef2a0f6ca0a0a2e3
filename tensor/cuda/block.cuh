/* Sums and maxima over the threads of a block, in an order that depends on its size alone. Blocks are whole
 * warps. */
#ifndef VS2_TENSOR_CUDA_BLOCK_CUH
#define VS2_TENSOR_CUDA_BLOCK_CUH

#include "tensor/cuda/values.cuh"

enum { WARP = 32, BLOCK_SCRATCH_BYTES = WARP * 8 };
static const unsigned ALL_LANES = 0xffffffffu;

struct sum_of {
    template <typename T> __device__ T operator()(T a, T b) const { return a + b; }
};
struct largest_of {
    template <typename T> __device__ T operator()(T a, T b) const {
        return a > b ? a : b; /* of a NaN and a number the second */
    }
};
struct least_of {
    template <typename T> __device__ T operator()(T a, T b) const { return a < b ? a : b; }
};

/* The same in all lanes. */
template <typename T, typename Join> static __device__ __forceinline__ T warp_join(T value, Join join) {
    for (int bits = WARP / 2; bits > 0; bits /= 2)
        value = join(value, __shfl_xor_sync(ALL_LANES, value, bits));
    return value;
}

/* The same in all threads. `scratch`: BLOCK_SCRATCH_BYTES of shared memory; all threads have come when it is
 * used, and it is free again on return. */
template <typename T, typename Join>
static __device__ __forceinline__ T block_join(T value, Join join, void *scratch) {
    T *warps = (T *)scratch;
    value = warp_join(value, join);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = value;
    __syncthreads();
    value = warps[0];
    for (unsigned i = 1; i < blockDim.x / WARP; i++) value = join(value, warps[i]);
    __syncthreads();
    return value;
}

#endif
