/* Matrix products against double loops. */
#include "tests/tensor/support.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

struct shape {
    int64_t m, n, k;
};

/* A case of everything that matmul takes. */
struct product {
    struct shape shape;
    enum dtype out, a, b;
    struct matmul_options options; /* the bias is made here */
    bool bias;
    enum dtype bias_type;
    int64_t pad;
    int64_t bias_offset; /* columns that the bias begins after */
};

static double at(const double *values, int64_t rows, int64_t cols, bool transposed, int64_t i, int64_t j) {
    return transposed ? values[j * rows + i] : values[i * cols + j];
}

/* The product in doubles, and the largest sum of magnitudes, by which errors are judged. */
static double *expected_product(const struct product *p, const double *a, const double *b, const double *old,
                                const double *bias, double *magnitude) {
    int64_t m = p->shape.m, n = p->shape.n, k = p->shape.k;
    double *out = malloc((size_t)(m * n + 1) * sizeof *out);
    assert_non_null(out);
    *magnitude = 0;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0, size = 0;
            for (int64_t l = 0; l < k; l++) {
                double term =
                    at(a, m, k, p->options.transpose_a, i, l) * at(b, k, n, p->options.transpose_b, l, j);
                sum += term;
                size += fabs(term);
            }
            if (p->bias) sum += bias[j];
            if (p->options.accumulate) sum += old[i * n + j];
            if (size > *magnitude) *magnitude = size;
            out[i * n + j] = sum;
        }
    }
    return out;
}

static void check_product(struct bench *bench, const struct product *p) {
    struct arena_mark mark = arena_mark(&bench->arena);
    int64_t m = p->shape.m, n = p->shape.n, k = p->shape.k;
    bool ta = p->options.transpose_a, tb = p->options.transpose_b;
    struct tensor a = random_tensor(bench, p->a, ta ? k : m, ta ? m : k, p->pad, 1, 1);
    struct tensor b = random_tensor(bench, p->b, tb ? n : k, tb ? k : n, p->pad, 1, 2);
    struct tensor out = random_tensor(bench, p->out, m, n, p->pad, 1, 3);
    struct tensor whole = tensor_at(out.data, p->out, m, n + p->pad); /* with what lies between the rows */
    struct tensor bias =
        tensor_cols(random_tensor(bench, p->bias_type, 1, n + p->bias_offset, 0, 1, 4), p->bias_offset, n);
    double *old = values_read(bench, out), *before = values_read(bench, whole);
    double *x = values_read(bench, a), *y = values_read(bench, b), *z = values_read(bench, bias);

    struct matmul_options options = p->options;
    if (p->bias) options.bias = bias;
    matmul(&bench->device, out, a, b, options);
    double magnitude;
    double *expected = expected_product(p, x, y, old, z, &magnitude);
    assert_values(bench, out, expected, 1e-6, 1e-6 * (magnitude + 2));

    double *after = values_read(bench, whole);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = n; j < n + p->pad; j++)
            assert_true(after[i * (n + p->pad) + j] == before[i * (n + p->pad) + j]);
    free(old), free(before), free(after), free(x), free(y), free(z), free(expected);
    arena_release(&bench->arena, mark);
}

/* Every choice of types and options for one shape; the own kernels take transposed weights alone. */
static void check_shape(struct bench *bench, struct shape shape, bool own) {
    for (int choice = 0; choice < 128; choice++) {
        if (own && (choice & 24) != 16) continue;
        struct product p = {
            .shape = shape,
            .out = choice & 1 ? DTYPE_BF16 : DTYPE_F32,
            .a = choice & 2 ? DTYPE_BF16 : DTYPE_F32,
            .b = choice & 4 ? DTYPE_BF16 : DTYPE_F32,
            .options = {.transpose_a = choice & 8, .transpose_b = choice & 16, .accumulate = choice & 32},
            .bias = choice & 64,
            .bias_type = choice % 5 < 2 ? DTYPE_BF16 : DTYPE_F32,
            .pad = choice % 3};
        check_product(bench, &p);
    }
}

static const struct shape small[] = {{1, 1, 1},   {1, 7, 3},   {2, 25, 17},  {3, 5, 70},
                                     {5, 24, 33}, {16, 49, 8}, {17, 19, 31}, {4, 3, 0},
                                     {0, 4, 4},   {4, 0, 4},   {7, 21, 40},  {11, 35, 1304}};
enum { SMALL = sizeof small / sizeof small[0] };

static void every_choice(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "cpu");
    for (size_t i = 0; i < SMALL; i++) check_shape(&bench, small[i], false);
    bench_close(&bench);
}

static void linear_layers_on(struct bench *bench) {
    for (size_t i = 0; i < SMALL; i++) check_shape(bench, small[i], true);
}

static void linear_layers(void **state) {
    (void)state;
    on_every_device(linear_layers_on);
}

/* Depths that end anywhere in a vector, and every number of rows that has a tile of its own. */
static void odd_sizes_on(struct bench *bench) {
    for (int64_t size = 1; size <= 70; size++) {
        struct product p = {.shape = {size % 11 + 1, size, 71 - size},
                            .out = size % 2 ? DTYPE_F32 : DTYPE_BF16,
                            .a = DTYPE_F32,
                            .b = size % 3 ? DTYPE_BF16 : DTYPE_F32,
                            .options = {.transpose_b = true},
                            .pad = size % 5};
        check_product(bench, &p);
    }
}

static void odd_sizes(void **state) {
    (void)state;
    on_every_device(odd_sizes_on);
}

/* Products of several panels and blocks of rows. */
static void panels_on(struct bench *bench) {
    static const struct product products[] = {
        {.shape = {65, 66, 33000}, .a = DTYPE_BF16, .b = DTYPE_BF16, .options = {.transpose_b = true}},
        {.shape = {65, 66, 33000},
         .a = DTYPE_BF16,
         .out = DTYPE_BF16,
         .bias = true,
         .options = {.transpose_a = true, .accumulate = true}},
        {.shape = {450, 17000, 3}, .out = DTYPE_BF16, .b = DTYPE_BF16, .pad = 3},
        {.shape = {20, 520, 8200},
         .a = DTYPE_BF16,
         .b = DTYPE_BF16,
         .out = DTYPE_BF16,
         .bias = true,
         .options = {.accumulate = true}},
    };
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) check_product(bench, &products[i]);
}

/* Biases that begin anywhere in memory. */
static void bias_views_on(struct bench *bench) {
    for (int choice = 0; choice < 4; choice++)
        for (int64_t offset = 1; offset <= 8; offset++)
            check_product(bench, &(struct product){.shape = {33, 24, 16},
                                                   .out = choice & 1 ? DTYPE_BF16 : DTYPE_F32,
                                                   .a = DTYPE_BF16,
                                                   .b = DTYPE_BF16,
                                                   .options = {.transpose_b = true},
                                                   .bias = true,
                                                   .bias_type = choice & 2 ? DTYPE_BF16 : DTYPE_F32,
                                                   .bias_offset = offset});
}

static void bias_views(void **state) {
    (void)state;
    on_every_device(bias_views_on);
}

static void panels(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "cpu");
    panels_on(&bench);
    bench_close(&bench);
}

/* A row alone and the same row among others, over rows that end where vectors do and over others. */
static void rows_do_not_depend_on_others_on(struct bench *bench) {
    static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16};
    const int64_t most = matmul_exact_rows(&bench->device);
    assert_true(most >= 16);
    for (int type = 0; type < 8; type++) {
        struct arena_mark mark = arena_mark(&bench->arena);
        enum dtype a_type = types[type & 1], b_type = types[type >> 1 & 1];
        int64_t depth = type < 4 ? 333 : 1320;
        struct tensor a = random_tensor(bench, a_type, most, depth, 1, 1, 5);
        struct tensor b = random_tensor(bench, b_type, 101, depth, depth % 8 ? 2 : 8, 1, 6);
        struct tensor alone = arena_tensor(&bench->arena, DTYPE_F32, most, 101);
        struct tensor among = arena_tensor(&bench->arena, DTYPE_F32, most, 101);
        struct matmul_options options = {.transpose_b = true};
        for (int64_t r = 0; r < most; r++)
            matmul(&bench->device, tensor_rows(alone, r, 1), tensor_rows(a, r, 1), b, options);
        for (int64_t rows = 2; rows <= most; rows++) {
            int64_t first = most - rows;
            matmul(&bench->device, tensor_rows(among, first, rows), tensor_rows(a, first, rows), b, options);
            assert_same_bits(bench, tensor_rows(among, first, rows), tensor_rows(alone, first, rows));
        }
        arena_release(&bench->arena, mark);
    }
}

static void rows_do_not_depend_on_others(void **state) {
    (void)state;
    on_every_device(rows_do_not_depend_on_others_on);
}

/* The same bits at each run, and the own kernel's for any number of threads. */
static void runs_repeat(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "cpu");
    int threads = omp_get_max_threads();
    for (int64_t rows = 8; rows <= 200; rows += 192) {
        struct tensor a = random_tensor(&bench, DTYPE_BF16, rows, 512, 0, 1, 7);
        struct tensor b = random_tensor(&bench, DTYPE_BF16, 300, 512, 0, 1, 8);
        struct tensor first = arena_tensor(&bench.arena, DTYPE_BF16, rows, 300);
        struct tensor second = arena_tensor(&bench.arena, DTYPE_BF16, rows, 300);
        struct matmul_options options = {.transpose_b = true};
        matmul(&bench.device, first, a, b, options);
        if (rows == 8) omp_set_num_threads(threads + 2);
        matmul(&bench.device, second, a, b, options);
        omp_set_num_threads(threads);
        assert_same_bits(&bench, first, second);
    }
    bench_close(&bench);
}

/* More shapes than oneDNN's primitives are kept for, then the first again. */
static void many_shapes(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "cpu");
    for (int64_t n = 1; n <= 300; n++)
        check_product(&bench, &(struct product){.shape = {65, n, 4}, .options = {.transpose_b = true}});
    check_product(&bench, &(struct product){.shape = {65, 1, 4}, .options = {.transpose_b = true}});
    bench_close(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_choice), cmocka_unit_test(linear_layers),
        cmocka_unit_test(odd_sizes),    cmocka_unit_test(bias_views),
        cmocka_unit_test(panels),       cmocka_unit_test(rows_do_not_depend_on_others),
        cmocka_unit_test(runs_repeat),  cmocka_unit_test(many_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
