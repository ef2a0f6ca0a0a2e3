/* The machine's limits, measured with all threads at once. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

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
    peak->bytes = measure_read(kernels);
}
