/* Stands in for tensor/cuda/hardware.cuh: what only nvcc can compile. */
#ifndef VS2_TESTS_EMULATOR_HARDWARE_CUH
#define VS2_TESTS_EMULATOR_HARDWARE_CUH

#include "cuda_runtime.h"

static inline float *shared_floats(void) {
    return static_cast<float *>(emulator_shared_memory());
}

struct emulator_mma {
    float sum[4];
    const unsigned *a, *b;
};

static inline float emulator_half(unsigned pair, int which) {
    return __uint_as_float(which ? pair & 0xffff0000u : pair << 16);
}

/* Element (row, k) of A: register (row / 8) + 2 (k / 8) of lane 4 (row % 8) + k % 8 / 2, half k % 2. */
static inline float emulator_mma_a(void *const lanes[EMULATOR_WARP], int row, int k) {
    const auto *owner = static_cast<const emulator_mma *>(lanes[row % 8 * 4 + k % 8 / 2]);
    return emulator_half(owner->a[row / 8 + k / 8 * 2], k % 2);
}

/* Element (k, col) of B: register k / 8 of lane 4 col + k % 8 / 2, half k % 2. */
static inline float emulator_mma_b(void *const lanes[EMULATOR_WARP], int k, int col) {
    const auto *owner = static_cast<const emulator_mma *>(lanes[col * 4 + k % 8 / 2]);
    return emulator_half(owner->b[k / 8], k % 2);
}

static inline void emulator_mma_all(void *const lanes[EMULATOR_WARP]) {
    float a[16][16], b[16][8];
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < 16; k++) a[row][k] = emulator_mma_a(lanes, row, k);
    for (int k = 0; k < 16; k++)
        for (int col = 0; col < 8; col++) b[k][col] = emulator_mma_b(lanes, k, col);
    for (int lane = 0; lane < EMULATOR_WARP; lane++) {
        auto *own = static_cast<emulator_mma *>(lanes[lane]);
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
            float sum = 0;
            for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][col];
            own->sum[i] += sum;
        }
    }
}

static inline void mma_bf16(float sum[4], const unsigned a[4], const unsigned b[2]) {
    emulator_mma own = {{sum[0], sum[1], sum[2], sum[3]}, a, b};
    emulator_warp(emulator_mma_all, 0xffffffffu, &own, __FILE__, __LINE__);
    for (int i = 0; i < 4; i++) sum[i] = own.sum[i];
}

/* ---- Matrices of shared memory ----------------------------------------------------------------------- */

struct emulator_matrices {
    unsigned *to;
    const unsigned short *row;
};

/* Element (row, column) of a matrix: lane 8 matrix + row names where its row lies. */
static inline unsigned emulator_element(void *const lanes[EMULATOR_WARP], int matrix, int row, int column) {
    return static_cast<const emulator_matrices *>(lanes[matrix * 8 + row])->row[column];
}

template <bool TRANSPOSED> static inline void emulator_matrices_all(void *const lanes[EMULATOR_WARP]) {
    for (int lane = 0; lane < EMULATOR_WARP; lane++) {
        for (int i = 0; i < 4; i++) {
            int major = lane / 4, minor = lane % 4 * 2;
            unsigned low = TRANSPOSED ? emulator_element(lanes, i, minor, major)
                                      : emulator_element(lanes, i, major, minor);
            unsigned high = TRANSPOSED ? emulator_element(lanes, i, minor + 1, major)
                                       : emulator_element(lanes, i, major, minor + 1);
            static_cast<emulator_matrices *>(lanes[lane])->to[i] = low | high << 16;
        }
    }
}

static inline void load_matrices(unsigned to[4], const void *row) {
    emulator_check_shared("a row of a matrix", row, 16);
    emulator_matrices own = {to, static_cast<const unsigned short *>(row)};
    emulator_warp(emulator_matrices_all<false>, 0xffffffffu, &own, __FILE__, __LINE__);
}

static inline void load_matrices_transposed(unsigned to[4], const void *row) {
    emulator_check_shared("a row of a matrix", row, 16);
    emulator_matrices own = {to, static_cast<const unsigned short *>(row)};
    emulator_warp(emulator_matrices_all<true>, 0xffffffffu, &own, __FILE__, __LINE__);
}

/* ---- Copies beside the threads ----------------------------------------------------------------------- */

static inline void copy_16(void *to, const void *from, bool there) {
    emulator_copy(to, from, 16, there);
}

static inline void copy_8(void *to, const void *from, bool there) {
    emulator_copy(to, from, 8, there);
}

static inline void copies_commit(void) {
    emulator_copies_commit();
}

template <int LEFT> static inline void copies_wait(void) {
    emulator_copies_wait(LEFT);
}

#endif
