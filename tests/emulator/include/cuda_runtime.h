/* Stands in for CUDA's header of this name: the language of kernels, as far as tensor/cuda uses it, on top of
 * tests/emulator/emulator.h. C++, as nvcc's input is. */
#ifndef VS2_TESTS_EMULATOR_CUDA_RUNTIME_H
#define VS2_TESTS_EMULATOR_CUDA_RUNTIME_H

#include <math.h>
#include <string.h>

#include <tuple>
#include <type_traits>
#include <utility>

#include "cuda_runtime_api.h"
#include "tests/emulator/emulator.h"

#define __global__
#define __device__
#define __host__
#define __shared__      static /* one block runs at a time */
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

#define threadIdx (emulator_here.thread)
#define blockIdx  (emulator_here.block)
#define blockDim  (emulator_here.block_size)
#define gridDim   (emulator_here.grid_size)

/* ---- Vectors ----------------------------------------------------------------------------------------- */

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(4) uchar4 {
    unsigned char x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

static inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) {
    return uchar4{x, y, z, w};
}
static inline float2 make_float2(float x, float y) {
    return float2{x, y};
}
static inline float4 make_float4(float x, float y, float z, float w) {
    return float4{x, y, z, w};
}

/* ---- Launching --------------------------------------------------------------------------------------- */

template <typename... Parameters> struct emulator_packed {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
};

template <typename... Parameters> void emulator_run(const void *packed) {
    const auto *p = static_cast<const emulator_packed<Parameters...> *>(packed);
    std::apply(p->kernel, p->arguments);
}

template <typename... Parameters, size_t... Index>
emulator_packed<Parameters...> emulator_pack(void (*kernel)(Parameters...), void **arguments,
                                             std::index_sequence<Index...>) {
    static_assert((std::is_trivially_copyable<Parameters>::value && ...), "arguments are copied as bytes");
    return {kernel, std::tuple<Parameters...>(*static_cast<Parameters *>(arguments[Index])...)};
}

template <typename... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, void **arguments,
                             size_t shared, cudaStream_t stream) {
    auto packed = emulator_pack(kernel, arguments, std::index_sequence_for<Parameters...>());
    return emulator_launch(reinterpret_cast<const void *>(kernel), emulator_run<Parameters...>, &packed,
                           sizeof packed, grid, block, shared, stream);
}

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, int value) {
    return emulator_opt_in(reinterpret_cast<const void *>(kernel), value);
}

/* ---- Barriers and warps ------------------------------------------------------------------------------ */

#define __syncthreads()        static_cast<void>(emulator_barrier(false, __FILE__, __LINE__))
#define __syncthreads_or(vote) emulator_barrier(vote, __FILE__, __LINE__)

struct emulator_exchange {
    unsigned long long value, result;
    int source; /* the lane whose value is wanted */
};

static inline void emulator_exchange_all(void *const lanes[EMULATOR_WARP]) {
    for (int lane = 0; lane < EMULATOR_WARP; lane++) {
        auto *own = static_cast<emulator_exchange *>(lanes[lane]);
        if (!own) continue;
        const auto *other = static_cast<const emulator_exchange *>(lanes[own->source & (EMULATOR_WARP - 1)]);
        own->result = other ? other->value : 0xdeadbeefdeadbeefull; /* undefined, says CUDA */
    }
}

template <typename T>
static inline T emulator_shuffle(unsigned mask, T value, int source, const char *file, int line) {
    static_assert(sizeof(T) <= sizeof(unsigned long long), "a shuffle moves up to 8 bytes");
    emulator_exchange exchange = {0, 0, source};
    memcpy(&exchange.value, &value, sizeof value);
    emulator_warp(emulator_exchange_all, mask, &exchange, file, line);
    memcpy(&value, &exchange.result, sizeof value);
    return value;
}

static inline int emulator_lane(void) {
    const uint3 &t = threadIdx;
    return static_cast<int>((t.x + blockDim.x * (t.y + blockDim.y * t.z)) % EMULATOR_WARP);
}

#define __shfl_sync(mask, value, source) emulator_shuffle(mask, value, source, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, bits)                                                                   \
    emulator_shuffle(mask, value, emulator_lane() ^ (bits), __FILE__, __LINE__)

struct emulator_vote {
    bool vote;
    unsigned ballot;
};

static inline void emulator_count(void *const lanes[EMULATOR_WARP]) {
    unsigned ballot = 0;
    for (int lane = 0; lane < EMULATOR_WARP; lane++)
        if (lanes[lane] && static_cast<emulator_vote *>(lanes[lane])->vote) ballot |= 1u << lane;
    for (int lane = 0; lane < EMULATOR_WARP; lane++)
        if (lanes[lane]) static_cast<emulator_vote *>(lanes[lane])->ballot = ballot;
}

static inline unsigned emulator_ballot(unsigned mask, bool vote, const char *file, int line) {
    emulator_vote own = {vote, 0};
    emulator_warp(emulator_count, mask, &own, file, line);
    return own.ballot;
}

#define __ballot_sync(mask, vote) emulator_ballot(mask, vote, __FILE__, __LINE__)
#define __any_sync(mask, vote)    (emulator_ballot(mask, vote, __FILE__, __LINE__) != 0)

static inline void emulator_meet(void *const[EMULATOR_WARP]) {}
#define __syncwarp() emulator_warp(emulator_meet, 0xffffffffu, nullptr, __FILE__, __LINE__)

/* ---- Atomics: one thread runs at a time --------------------------------------------------------------- */

template <typename T> static inline T atomicAdd(T *at, T value) {
    T old = *at;
    *at = old + value;
    return old;
}
template <typename T> static inline T atomicMin(T *at, T value) {
    T old = *at;
    if (value < old) *at = value;
    return old;
}
template <typename T> static inline T atomicCAS(T *at, T expected, T value) {
    T old = *at;
    if (old == expected) *at = value;
    return old;
}

/* ---- Arithmetic: the build keeps the compiler from contracting ---------------------------------------- */

static inline float __fmaf_rn(float a, float b, float c) {
    return fmaf(a, b, c);
}
static inline float __fmul_rn(float a, float b) {
    return a * b;
}
static inline float __fadd_rn(float a, float b) {
    return a + b;
}
static inline float __fdiv_rn(float a, float b) {
    return a / b;
}
static inline float __fsqrt_rn(float a) {
    return sqrtf(a);
}
static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
template <typename T> static inline T min(T a, T b) {
    return b < a ? b : a;
}
template <typename T> static inline T max(T a, T b) {
    return a < b ? b : a;
}

#endif
