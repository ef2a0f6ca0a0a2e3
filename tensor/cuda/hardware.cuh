/* What only nvcc can compile; tests/emulator has a stand-in. */
#ifndef VS2_TENSOR_CUDA_HARDWARE_CUH
#define VS2_TENSOR_CUDA_HARDWARE_CUH

#include <cuda_runtime.h>

/* The block's dynamic shared memory, aligned to 16 bytes. */
static __device__ __forceinline__ float *shared_floats(void) {
    extern __shared__ float4 shared_memory[];
    return (float *)shared_memory;
}

/* sum (16 by 8, f32) += a (16 by 16) b (16 by 8), both bf16, by one warp on its tensor cores. With g = lane /
 * 4 and t = lane % 4, each register two neighbours, the lower half first: a: (row g, k 2t), (row g + 8, k
 * 2t), (row g, k 2t + 8), (row g + 8, k 2t + 8) b: (k 2t, column g), (k 2t + 8, column g) sum: (row g, column
 * 2t and 2t + 1), (row g + 8, the same). PTX ISA, mma.m16n8k16. */
static __device__ __forceinline__ void mma_bf16(float sum[4], const unsigned a[4], const unsigned b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
