/* Elements of tensors in kernels: loads make f32 of any dtype, stores round once. Runs of 8 elements go as
 * whole 16-byte vectors where the tensors are aligned for it. */
#ifndef VS2_TENSOR_CUDA_VALUES_CUH
#define VS2_TENSOR_CUDA_VALUES_CUH

#include <cuda_bf16.h>

#include "tensor/cuda/hardware.cuh"

enum { RUN = 8 };

/* ---- Launching --------------------------------------------------------------------------------------- */

template <typename T> struct parameter { typedef T type; };

/* Queues a kernel; arguments become the kernel's parameter types. */
template <typename... P>
static void cuda_launch(struct device *device, void (*kernel)(P...), dim3 grid, unsigned threads,
                        size_t shared, typename parameter<P>::type... arguments) {
    enum { SHARED_WITHOUT_ASKING = 48 << 10 };
    void *list[] = {&arguments...};
    cudaError_t error = cudaSuccess;
    if (shared > SHARED_WITHOUT_ASKING)
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (error == cudaSuccess)
        error = cudaLaunchKernel(kernel, grid, dim3(threads), list, shared, cuda_state(device)->stream);
    cuda_check(device, error, "a kernel");
}

/* How many times `part` goes into `whole`, rounded up. */
static inline __host__ __device__ int64_t parts(int64_t whole, int64_t part) {
    return (whole + part - 1) / part;
}

/* Rows cut into blocks of threads, each thread with a run of `width` elements. */
struct row_grid {
    dim3 grid;
    unsigned threads, blocks_a_row;
};

static inline struct row_grid row_grid(int64_t rows, int64_t cols, int width) {
    int64_t runs = parts(cols, width), threads = runs < 256 ? parts(runs, 32) * 32 : 256;
    int64_t blocks = parts(runs, threads);
    struct row_grid grid = {dim3((unsigned)(rows * blocks)), (unsigned)threads, (unsigned)blocks};
    return grid;
}

/* The row of this block, and the first column of this thread. */
struct place {
    int64_t row, col;
};

static __device__ __forceinline__ struct place place_in(unsigned blocks_a_row, int width) {
    unsigned row = blockIdx.x / blocks_a_row, block = blockIdx.x % blocks_a_row;
    struct place place = {row, ((int64_t)block * blockDim.x + threadIdx.x) * width};
    return place;
}

/* Whether runs of RUN elements fill whole vectors, in every row. */
static inline bool is_wide(struct tensor t) {
    return (uintptr_t)t.data % 16 == 0 && t.cols % RUN == 0 && (t.stride % RUN == 0 || t.rows <= 1);
}

static inline bool is_contiguous(struct tensor t) {
    return t.stride == t.cols || t.rows <= 1;
}

/* The same elements in one row. */
static inline struct tensor flat(struct tensor t) {
    return t.data ? tensor_at(t.data, t.dtype, 1, t.rows * t.cols) : t;
}

/* ---- Elements ---------------------------------------------------------------------------------------- */

static __device__ __forceinline__ float low_half(unsigned pair) {
    return __uint_as_float(pair << 16);
}

static __device__ __forceinline__ float high_half(unsigned pair) {
    return __uint_as_float(pair & 0xffff0000u);
}

static __device__ __forceinline__ unsigned bf16_bits(float value) {
    __nv_bfloat16 half = __float2bfloat16_rn(value);
    unsigned short bits;
    memcpy(&bits, &half, sizeof bits);
    return bits;
}

static __device__ __forceinline__ unsigned bf16_pair(float low, float high) {
    return bf16_bits(low) | bf16_bits(high) << 16;
}

/* What a type makes of a value. */
static __device__ __forceinline__ float rounded(float value, enum dtype dtype) {
    return dtype == DTYPE_BF16 ? __uint_as_float(bf16_bits(value) << 16) : value;
}

/* IEEE binary16: the product moves the exponent's bias and makes subnormals normal, exactly. */
static __device__ __forceinline__ float float_from_half(unsigned short half) {
    unsigned magnitude = (unsigned)(half & 0x7fff) << 13, sign = (unsigned)(half & 0x8000) << 16;
    unsigned finite = __float_as_uint(__uint_as_float(magnitude) * 0x1p112f);
    return __uint_as_float(sign | ((half & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000u : finite));
}

static __device__ __forceinline__ char *address(struct tensor t, int64_t row, int64_t col) {
    int64_t size = t.dtype == DTYPE_F32 || t.dtype == DTYPE_I32 ? 4 : 2;
    return (char *)t.data + (row * t.stride + col) * size;
}

/* I32 is passed through as bits. */
static __device__ __forceinline__ float load(struct tensor t, int64_t row, int64_t col) {
    const char *at = address(t, row, col);
    if (t.dtype == DTYPE_BF16) return low_half(*(const unsigned short *)at);
    if (t.dtype == DTYPE_F16) return float_from_half(*(const unsigned short *)at);
    return *(const float *)at;
}

static __device__ __forceinline__ void store(struct tensor t, int64_t row, int64_t col, float value) {
    char *at = address(t, row, col);
    if (t.dtype == DTYPE_BF16)
        *(unsigned short *)at = (unsigned short)bf16_bits(value);
    else
        *(float *)at = value;
}

static __device__ __forceinline__ void load_bf16_pair(float *x, unsigned pair) {
    x[0] = low_half(pair);
    x[1] = high_half(pair);
}

static __device__ __forceinline__ void load_f16_pair(float *x, unsigned pair) {
    x[0] = float_from_half((unsigned short)(pair & 0xffff));
    x[1] = float_from_half((unsigned short)(pair >> 16));
}

static __device__ __forceinline__ void load_four(float *x, float4 v) {
    x[0] = v.x;
    x[1] = v.y;
    x[2] = v.z;
    x[3] = v.w;
}

/* A run of WIDTH elements: RUN of them as vectors, one as it lies. One branch for all of them. */
template <int WIDTH>
static __device__ __forceinline__ void load_run(float (&x)[WIDTH], struct tensor t, int64_t row,
                                                int64_t col) {
    if constexpr (WIDTH == 1) {
        x[0] = load(t, row, col);
    } else {
        const char *at = address(t, row, col);
        if (t.dtype == DTYPE_BF16) {
            uint4 v = *(const uint4 *)at;
            load_bf16_pair(x, v.x);
            load_bf16_pair(x + 2, v.y);
            load_bf16_pair(x + 4, v.z);
            load_bf16_pair(x + 6, v.w);
        } else if (t.dtype == DTYPE_F16) {
            uint4 v = *(const uint4 *)at;
            load_f16_pair(x, v.x);
            load_f16_pair(x + 2, v.y);
            load_f16_pair(x + 4, v.z);
            load_f16_pair(x + 6, v.w);
        } else {
            load_four(x, ((const float4 *)at)[0]);
            load_four(x + 4, ((const float4 *)at)[1]);
        }
    }
}

template <int WIDTH>
static __device__ __forceinline__ void store_run(struct tensor t, int64_t row, int64_t col,
                                                 const float (&x)[WIDTH]) {
    if constexpr (WIDTH == 1) {
        store(t, row, col, x[0]);
    } else {
        char *at = address(t, row, col);
        if (t.dtype == DTYPE_BF16) {
            uint4 v = {bf16_pair(x[0], x[1]), bf16_pair(x[2], x[3]), bf16_pair(x[4], x[5]),
                       bf16_pair(x[6], x[7])};
            *(uint4 *)at = v;
        } else {
            ((float4 *)at)[0] = make_float4(x[0], x[1], x[2], x[3]);
            ((float4 *)at)[1] = make_float4(x[4], x[5], x[6], x[7]);
        }
    }
}

/* ---- Faults ------------------------------------------------------------------------------------------ */

/* Notes a value that is not in [low, limit), unless there is one already; true: pass it over. */
static __device__ __forceinline__ bool is_fault(struct cuda_fault *fault, enum cuda_fault_kind kind,
                                                int64_t index, int32_t value, int32_t low, int64_t limit) {
    if (value >= low && value < limit) return false;
    if (atomicCAS(&fault->kind, (unsigned)FAULT_NONE, (unsigned)kind) == (unsigned)FAULT_NONE) {
        fault->index = index;
        fault->value = value;
        fault->low = low;
        fault->limit = limit;
    }
    return true;
}

#endif
