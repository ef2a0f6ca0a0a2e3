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

static __device__ __forceinline__ unsigned shared_address(const void *at) {
    return (unsigned)__cvta_generic_to_shared(at);
}

/* Four matrices of 8 by 8 elements of 2 bytes from shared memory, by one warp: lane l names row l % 8 of
 * matrix l / 8, 16 aligned bytes. Register i has, of matrix i, the elements 2 (l % 4) and the next of row l /
 * 4; transposed, those of column l / 4. PTX ISA, ldmatrix. */
static __device__ __forceinline__ void load_matrices(unsigned to[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

static __device__ __forceinline__ void load_matrices_transposed(unsigned to[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* Copies from global to shared memory, both aligned to their size, that run beside the thread; without
 * `there` the bytes become zero. A thread's copies since its last copies_commit are a group. PTX ISA,
 * cp.async. */
static __device__ __forceinline__ void copy_16(void *to, const void *from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n"
                 :
                 : "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(there ? 16 : 0)
                 : "memory");
}

static __device__ __forceinline__ void copy_8(void *to, const void *from, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;\n"
                 :
                 : "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(there ? 8 : 0)
                 : "memory");
}

static __device__ __forceinline__ void copies_commit(void) {
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}

/* Until all of this thread's groups but the last LEFT have been copied; other threads see it after a barrier.
 */
template <int LEFT> static __device__ __forceinline__ void copies_wait(void) {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(LEFT) : "memory");
}

#endif
