#include "tests/tensor/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tensor/float16.h"

void bench_open(struct bench *bench, const char *kind) {
    test_device_open(kind, &bench->device);
    arena_init(&bench->arena, &bench->device, 1 << 20);
}

void bench_close(struct bench *bench) {
    arena_free(&bench->arena);
    device_close(&bench->device);
}

void on_every_device(void (*test)(struct bench *bench)) {
    static const char *const sets[] = {"generic", "avx2", "avx512", "avx512bf16"};
    struct bench bench;
    for (size_t i = 0; on_own_device() && i < sizeof sets / sizeof sets[0]; i++) {
        setenv("VS2_CPU_ISA", sets[i], 1);
        struct error err;
        if (device_open("cpu", &bench.device, &err) == STATUS_OK) {
            arena_init(&bench.arena, &bench.device, 1 << 20);
            test(&bench);
            bench_close(&bench);
        } else {
            assert_int_not_equal(i, 0); /* the first one runs everywhere */
        }
    }
    unsetenv("VS2_CPU_ISA");
    bench_open(&bench, "guard");
    test(&bench);
    bench_close(&bench);
}

/* The rows of a tensor as bytes, without what lies between them. */
static unsigned char *bytes_read(struct bench *bench, struct tensor t) {
    size_t row_bytes = (size_t)t.cols * dtype_size(t.dtype);
    unsigned char *bytes = malloc((size_t)t.rows * row_bytes + 1);
    assert_non_null(bytes);
    struct error err = {0};
    for (int64_t r = 0; r < t.rows; r++)
        if (device_read(&bench->device, bytes + (size_t)r * row_bytes, tensor_rows(t, r, 1), &err) !=
            STATUS_OK)
            fail_msg("%s", err.message);
    return bytes;
}

double *values_read(struct bench *bench, struct tensor t) {
    unsigned char *bytes = bytes_read(bench, t);
    size_t count = (size_t)(t.rows * t.cols);
    double *values = malloc((count + 1) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) {
        if (t.dtype == DTYPE_F32)
            values[i] = ((const float *)bytes)[i];
        else if (t.dtype == DTYPE_I32)
            values[i] = ((const int32_t *)bytes)[i];
        else if (t.dtype == DTYPE_U8)
            values[i] = bytes[i];
        else
            values[i] = t.dtype == DTYPE_BF16 ? float_from_bf16(((const uint16_t *)bytes)[i])
                                              : float_from_f16(((const uint16_t *)bytes)[i]);
    }
    free(bytes);
    return values;
}

struct tensor random_tensor(struct bench *bench, enum dtype dtype, int64_t rows, int64_t cols, int64_t pad,
                            float scale, uint64_t seed) {
    size_t count = (size_t)(rows * (cols + pad));
    float *values = malloc((count + 1) * sizeof *values);
    uint16_t *halves = malloc((count + 1) * sizeof *halves);
    assert_true(values && halves);
    for (size_t i = 0; i < count; i++) {
        double u = random_uniform((struct random_key){.seed = seed, .position = i});
        values[i] = scale * (float)(2 * u - 1);
        halves[i] = float_to_bf16(values[i]);
    }
    const void *from = dtype == DTYPE_F32 ? (const void *)values : halves;
    struct tensor t = arena_upload(&bench->arena, dtype, rows, cols + pad, from);
    free(values);
    free(halves);
    return tensor_cols(t, 0, cols);
}

void assert_values(struct bench *bench, struct tensor t, const double *expected, double relative,
                   double absolute) {
    double *values = values_read(bench, t);
    if (t.dtype == DTYPE_BF16) relative += 0x1p-8;
    for (int64_t i = 0; i < t.rows * t.cols; i++) {
        double allowed = relative * fabs(expected[i]) + absolute;
        if (!(fabs(values[i] - expected[i]) <= allowed))
            fail_msg("element (%lld, %lld) of %lld x %lld %s is %.9g, not %.9g", (long long)(i / t.cols),
                     (long long)(i % t.cols), (long long)t.rows, (long long)t.cols, dtype_name(t.dtype),
                     values[i], expected[i]);
    }
    free(values);
}

void assert_same_bits(struct bench *bench, struct tensor a, struct tensor b) {
    assert_true(a.dtype == b.dtype && a.rows == b.rows && a.cols == b.cols);
    unsigned char *x = bytes_read(bench, a), *y = bytes_read(bench, b);
    assert_memory_equal(x, y, (size_t)(a.rows * a.cols) * dtype_size(a.dtype));
    free(x);
    free(y);
}
