/* What tests of operations share: devices of every instruction set, and matrices as doubles. */
#ifndef VS2_TESTS_TENSOR_SUPPORT_H
#define VS2_TESTS_TENSOR_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/arena.h"
#include "tensor/ops.h"
#include "tests/device.h"

/* Opens a device and an arena; the test fails when it cannot. The device is that of test_device(kind). */
struct bench {
    struct device device;
    struct arena arena;
};
void bench_open(struct bench *bench, const char *kind);
void bench_close(struct bench *bench);

/* Runs the test on the CPU with each instruction set that this machine has (VS2_CPU_ISA), and on the guard
 * device; or on the device that tests/device.h names alone. */
void on_every_device(void (*test)(struct bench *bench));

/* Values of a tensor on the host, as doubles, contiguous; free() the result. */
double *values_read(struct bench *bench, struct tensor t);

/* A tensor of random values in [-scale, scale], rounded to its type, drawn by `seed`; `pad` columns of
 * other values lie between its rows, so that it is a view. */
struct tensor random_tensor(struct bench *bench, enum dtype dtype, int64_t rows, int64_t cols, int64_t pad,
                            float scale, uint64_t seed);

/* Fails unless every value is within `relative` of the expected magnitude or `absolute`; a bf16 tensor may
 * also be off by one rounding (2^-8). */
void assert_values(struct bench *bench, struct tensor t, const double *expected, double relative,
                   double absolute);

/* Fails unless no bit differs. */
void assert_same_bits(struct bench *bench, struct tensor a, struct tensor b);

#endif
