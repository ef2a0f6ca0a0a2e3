/* The machine's limits, measured with all threads at once. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tensor/cpu/cpu.h"

enum { TRIES = 5, ROUNDS = 4 << 20, READ_BYTES = 256 << 20, PIECE = 1 << 20 };

/* Operations a second on all threads. */
static double measure_flops(const struct peak_kernels *peak) {
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        double operations = 0, start = omp_get_wtime();
        float sum = 0;
#pragma omp parallel reduction(+ : operations, sum)
        operations += peak->multiply_add(ROUNDS, &sum);
        double seconds = omp_get_wtime() - start;
        if (sum == sum && operations / seconds > best) best = operations / seconds;
    }
    return best;
}

/* Operations a second of the fastest of some bf16 products that the caches hold; 0 where they cannot be had.
 * The units are reached through oneDNN, so this is its best, a little below what they could do. */
static double measure_bf16_flops(struct device *device) {
    enum { SIDE = 1024, PRODUCTS = 4 };
    const size_t bytes = (size_t)SIDE * SIDE * 2;
    char *memory = aligned_alloc(64, 3 * bytes);
    if (!memory) return 0;
    memset(memory, 0, 3 * bytes);
    struct tensor matrices[3];
    for (size_t i = 0; i < 3; i++) matrices[i] = tensor_at(memory + i * bytes, DTYPE_BF16, SIDE, SIDE);
    double best = 0;
    for (int i = 0; i <= TRIES; i++) { /* the first one makes the primitive */
        double start = clock_seconds();
        for (int n = 0; n < PRODUCTS; n++)
            cpu_matmul(device, matrices[0], matrices[1], matrices[2],
                       (struct matmul_options){.transpose_b = true});
        double flops = PRODUCTS * 2.0 * SIDE * SIDE * SIDE / (clock_seconds() - start);
        if (i > 0 && flops > best) best = flops;
    }
    free(memory);
    return best;
}

/* Bytes a second, from memory that no cache holds. */
static double measure_read(const struct peak_kernels *peak) {
    char *memory = aligned_alloc(64, READ_BYTES);
    if (!memory) return 0;
    double best = 0;
    uint32_t sum = 0;
    for (int i = 0; i <= TRIES; i++) { /* the first one writes, and so brings the pages */
        double start = omp_get_wtime();
#pragma omp parallel for reduction(+ : sum)
        for (size_t piece = 0; piece < READ_BYTES / PIECE; piece++) {
            char *at = memory + piece * PIECE;
            if (i == 0)
                memset(at, 1, PIECE);
            else
                sum += peak->read(at, PIECE);
        }
        double seconds = omp_get_wtime() - start;
        if (i > 0 && READ_BYTES / seconds > best) best = READ_BYTES / seconds;
    }
    free(memory);
    return sum ? best : 0;
}

void cpu_measure(struct device *device, struct device_peak *peak) {
    const struct peak_kernels *kernels = cpu_kernels(device)->peak;
    peak->flops = measure_flops(kernels);
    peak->bf16_flops = cpu_state(device)->native_bf16 ? measure_bf16_flops(device) : 0;
    if (peak->bf16_flops < peak->flops) peak->bf16_flops = peak->flops;
    peak->bytes = measure_read(kernels);
}
