/* The gradients of attention against plain loops in double, over tables of every kind, on every instruction
 * set that this processor has; against differences of the forward half; and bits that threads must not
 * change. */
#include "tests/tensor/support.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

enum { MAX_SEGMENTS = 40 };

struct problem {
    int heads, kv_heads, head_dim;
    enum dtype dtype, d_dtype; /* of q, k, v and out; of d_out and the gradients */
    float size;                /* of the values of q */
    int64_t queries, keys;
    struct attention_segment segments[MAX_SEGMENTS];
    int64_t count;
};

/* What one run reads and makes. */
struct tensors {
    struct tensor q, k, v, d_out, out, log_sum, d_q, d_k, d_v;
};

static float scale_of(const struct problem *p) {
    return 1 / sqrtf((float)p->head_dim);
}

static struct attention_segments table(const struct problem *p) {
    return (struct attention_segments){p->segments, p->count};
}

/* Columns between rows: mostly such that rows are aligned to 8 elements, or else to 4. */
static int64_t padding(const struct problem *p, int64_t odd) {
    return p->queries % 7 == 1 ? odd : p->heads * p->head_dim % 8 ? 4 : 8;
}

static struct tensors prepare(struct bench *bench, const struct problem *p) {
    int64_t width = (int64_t)p->heads * p->head_dim, kv_width = (int64_t)p->kv_heads * p->head_dim;
    struct tensors t = {
        .q = random_tensor(bench, p->dtype, p->queries, width, padding(p, 3), p->size, 1),
        .k = random_tensor(bench, p->dtype, p->keys, kv_width, padding(p, 5), 1, 2),
        .v = random_tensor(bench, p->dtype, p->keys, kv_width, padding(p, 5), 1, 3),
        .d_out = random_tensor(bench, p->d_dtype, p->queries, width, padding(p, 1), 1, 4),
        .out = random_tensor(bench, p->dtype, p->queries, width, padding(p, 2), 1, 5),
        .log_sum = random_tensor(bench, DTYPE_F32, p->queries, p->heads, 1, 1, 6),
        .d_q = random_tensor(bench, p->d_dtype, p->queries, width, padding(p, 3), 1, 7),
        .d_k = random_tensor(bench, p->d_dtype, p->keys, kv_width, padding(p, 1), 1, 8),
        .d_v = random_tensor(bench, p->d_dtype, p->keys, kv_width, padding(p, 2), 1, 9),
    };
    attention_forward(&bench->device, t.out, t.log_sum, t.q, t.k, t.v, table(p), p->heads, p->kv_heads,
                      scale_of(p));
    return t;
}

static void backward(struct bench *bench, const struct problem *p, const struct tensors *t) {
    attention_backward(&bench->device, t->d_q, t->d_k, t->d_v, t->d_out, t->out, t->log_sum, t->q, t->k, t->v,
                       table(p), p->heads, p->kv_heads, scale_of(p));
}

/* ---- Values ------------------------------------------------------------------------------------------ */

/* What is expected of a gradient: its values, and the sums of their terms without sign. */
struct sums {
    double *value, *size;
};

/* Inputs and expected gradients in double. */
struct plain {
    double *q, *k, *v, *d_out, *out;
    struct sums d_q, d_k, d_v;
};

static double *zeros(int64_t count) {
    double *x = calloc((size_t)count + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static double dot(const double *a, const double *b, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

static void add_times(struct sums to, int64_t at, const double *from, double factor, int count) {
    for (int i = 0; i < count; i++) {
        to.value[at + i] += factor * from[i];
        to.size[at + i] += fabs(factor * from[i]);
    }
}

/* One query row of one head: the gradients by the definition, from the output as it was stored. */
static void plain_row(const struct problem *p, const struct attention_segment *s, int64_t i, int head,
                      struct plain *x) {
    int64_t own = s->causal ? i + 1 + s->keys - s->queries : s->keys, count = s->prefix_keys + own;
    int dim = p->head_dim, kv_head = head / (p->heads / p->kv_heads);
    int64_t at = ((s->query + i) * p->heads + head) * dim;
    double *weight = zeros(count), largest = -INFINITY, sum = 0, scale = (double)scale_of(p);
    double delta = dot(x->d_out + at, x->out + at, dim);
    for (int pass = 0; pass < 3; pass++) {
        for (int64_t j = 0; j < count; j++) {
            int64_t row = j < s->prefix_keys ? s->prefix + j : s->key + j - s->prefix_keys;
            int64_t key = (row * p->kv_heads + kv_head) * dim;
            if (pass == 0) {
                weight[j] = scale * dot(x->q + at, x->k + key, dim);
                largest = fmax(largest, weight[j]);
            } else if (pass == 1) {
                weight[j] = exp(weight[j] - largest);
                sum += weight[j];
            } else {
                double probability = weight[j] / sum;
                double d_score = scale * probability * (dot(x->d_out + at, x->v + key, dim) - delta);
                add_times(x->d_v, key, x->d_out + at, probability, dim);
                add_times(x->d_k, key, x->q + at, d_score, dim);
                add_times(x->d_q, at, x->k + key, d_score, dim);
            }
        }
    }
    free(weight);
}

static struct sums sums_of(struct tensor t) {
    return (struct sums){zeros(t.rows * t.cols), zeros(t.rows * t.cols)};
}

static void expect(struct bench *bench, const struct problem *p, const struct tensors *t, struct plain *x) {
    *x = (struct plain){values_read(bench, t->q),
                        values_read(bench, t->k),
                        values_read(bench, t->v),
                        values_read(bench, t->d_out),
                        values_read(bench, t->out),
                        sums_of(t->q),
                        sums_of(t->k),
                        sums_of(t->k)};
    for (int64_t n = 0; n < p->count; n++)
        for (int64_t i = 0; i < p->segments[n].queries; i++)
            for (int head = 0; head < p->heads; head++) plain_row(p, &p->segments[n], i, head, x);
}

static void sums_free(struct sums sums) {
    free(sums.value), free(sums.size);
}

static void plain_free(struct plain *x) {
    free(x->q), free(x->k), free(x->v), free(x->d_out), free(x->out);
    sums_free(x->d_q), sums_free(x->d_k), sums_free(x->d_v);
}

static const struct problem *current;

/* Where all is bf16 a factor of each term may be rounded to it, by 2^-8 of its size. */
static void check_gradient(struct bench *bench, struct tensor t, struct sums expected, double close,
                           double terms) {
    bool pairs = current->dtype == DTYPE_BF16 && current->d_dtype == DTYPE_BF16;
    double *values = values_read(bench, t), rounded = t.dtype == DTYPE_BF16 ? 0x1p-8 : 0;
    for (int64_t i = 0; i < t.rows * t.cols; i++) {
        double allowed = close * (fabs(expected.value[i]) + terms);
        if (pairs) allowed += 0x1p-8 * expected.size[i];
        allowed += rounded * (fabs(expected.value[i]) + allowed);
        if (!(fabs(values[i] - expected.value[i]) <= allowed))
            fail_msg("element (%d, %d) of %d columns is %.9g, not %.9g within %.3g", (int)(i / t.cols),
                     (int)(i % t.cols), (int)t.cols, values[i], expected.value[i], allowed);
    }
    free(values);
}

static void check_current(struct bench *bench) {
    struct arena_mark mark = arena_mark(&bench->arena);
    struct tensors t = prepare(bench, current);
    struct plain x;
    expect(bench, current, &t, &x);
    backward(bench, current, &t);
    /* Weights are made from scores that are rounded relative to their size, and sums have many terms. */
    double close = 4e-6 * (1 + (double)current->size);
    check_gradient(bench, t.d_q, x.d_q, close, 1);
    check_gradient(bench, t.d_k, x.d_k, close, 4);
    check_gradient(bench, t.d_v, x.d_v, close, 4);
    plain_free(&x);
    arena_release(&bench->arena, mark);
}

static void check_everywhere(const struct problem *p) {
    current = p;
    on_every_device(check_current);
}

/* With each type before and behind the operation. */
static void check_types(struct problem p) {
    for (int kind = 0; kind < 4; kind++) {
        p.dtype = kind & 1 ? DTYPE_BF16 : DTYPE_F32;
        p.d_dtype = kind & 2 ? DTYPE_BF16 : DTYPE_F32;
        check_everywhere(&p);
    }
}

/* A prompt and three completions that see it; and a group that shares only the prompt's first half. */
static void shared_prefixes(void **state) {
    (void)state;
    struct problem p = {.heads = 6, .kv_heads = 2, .head_dim = 20, .size = 2, .queries = 220, .keys = 210};
    const struct attention_segment segments[] = {
        {0, 90, 0, 0, 0, 90, true},        {90, 33, 0, 90, 90, 33, true},   {123, 1, 0, 90, 123, 1, true},
        {124, 40, 0, 90, 124, 40, true},   {170, 20, 0, 45, 170, 20, true}, {190, 9, 3, 70, 0, 0, false},
        {199, 3, 150, 30, 10, 25, true},   /* its prefix lies behind its own keys, and overlaps another's */
        {202, 7, 190, 12, 190, 15, false}, /* and this one sees some keys twice */
    };
    p.count = sizeof segments / sizeof segments[0];
    memcpy(p.segments, segments, sizeof segments);
    for (p.head_dim = 20; p.head_dim <= 40; p.head_dim += 20) check_types(p);
}

/* Windows, as the vision tower has them: full attention among a few neighbours. */
static void windows(void **state) {
    (void)state;
    struct problem p = {.heads = 3, .kv_heads = 3, .head_dim = 80, .size = 2};
    static const int64_t sizes[] = {64, 16, 100, 1, 0, 64, 7};
    for (; p.count < 7; p.count++) {
        int64_t size = sizes[p.count];
        p.segments[p.count] =
            (struct attention_segment){.query = p.queries, .queries = size, .key = p.keys, .keys = size};
        p.queries += size;
        p.keys += size;
    }
    check_types(p);
}

/* Long enough for several blocks of rows and of keys, with more keys than queries. */
static void long_segment(void **state) {
    (void)state;
    struct problem p = {.heads = 4, .kv_heads = 2, .head_dim = 16, .size = 3, .queries = 333, .keys = 500};
    p.segments[p.count++] = (struct attention_segment){1, 330, 0, 0, 2, 490, true};
    check_types(p);
    p.segments[0].causal = false;
    check_types(p);
}

static int64_t below(uint64_t *draws, int64_t n) {
    return (int64_t)(random_uniform((struct random_key){.seed = 4, .position = (*draws)++}) * (double)n);
}

/* Segments of every kind: random lengths, empty ones, prefixes anywhere, gaps between ranges. */
static void random_tables(void **state) {
    (void)state;
    static const int head_dims[] = {4, 8, 20, 64, 80, 128, 36, 256};
    uint64_t draws = 0;
    for (int trial = 0; trial < 24; trial++) {
        struct problem p = {.kv_heads = 1 + (int)below(&draws, 3), .size = 2};
        p.heads = p.kv_heads * (1 + (int)below(&draws, 4));
        p.head_dim = head_dims[trial % 8];
        int64_t longest = trial % 5 == 0 ? 150 : 20;
        p.count = below(&draws, 7);
        p.keys = 300;
        for (int64_t n = 0; n < p.count; n++) {
            struct attention_segment *s = &p.segments[n];
            s->query = p.queries + below(&draws, 3);
            s->queries = below(&draws, 5) ? below(&draws, longest) : 0;
            s->causal = below(&draws, 2);
            s->keys = s->causal ? s->queries + below(&draws, 90) : below(&draws, 90);
            s->key = below(&draws, p.keys - s->keys);
            if (below(&draws, 2)) s->prefix = below(&draws, 200), s->prefix_keys = below(&draws, 100);
            p.queries = s->query + s->queries;
        }
        p.queries += 1;
        p.dtype = trial % 3 ? DTYPE_F32 : DTYPE_BF16;
        p.d_dtype = trial % 3 == 1 ? DTYPE_F32 : DTYPE_BF16;
        check_everywhere(&p);
    }
}

/* All widths of a head in bf16, with a query and a key over what a block, a tile or a pair holds. */
static void widths(void **state) {
    (void)state;
    for (int head_dim = 4; head_dim <= 256; head_dim += 4) {
        struct problem p = {.dtype = DTYPE_BF16, .d_dtype = DTYPE_BF16, .size = 2, .queries = 3, .keys = 5};
        p.heads = p.kv_heads = 1;
        p.head_dim = head_dim;
        p.segments[p.count++] = (struct attention_segment){0, 3, 0, 0, 0, 5, true};
        check_everywhere(&p);
        p.queries = 25 + head_dim % 7, p.keys = 65 + head_dim % 9;
        p.segments[0] = (struct attention_segment){0, p.queries, 1, 7, 0, p.keys, head_dim % 3 == 0};
        check_everywhere(&p);
    }
}

/* ---- Differences of the forward half ------------------------------------------------------------------- */

static double loss(struct bench *bench, const struct problem *p, const struct tensors *t) {
    attention_forward(&bench->device, t->out, t->log_sum, t->q, t->k, t->v, table(p), p->heads, p->kv_heads,
                      scale_of(p));
    double *out = values_read(bench, t->out), *d_out = values_read(bench, t->d_out), sum = 0;
    for (int64_t i = 0; i < t->out.rows * t->out.cols; i++) sum += out[i] * d_out[i];
    free(out), free(d_out);
    return sum;
}

static void check_differences(struct bench *bench, const struct problem *p, const struct tensors *t,
                              struct tensor x, struct tensor d_x) {
    const float up = 0x1p-5f, down = -0x1p-4f;
    double *got = values_read(bench, d_x);
    for (int64_t i = 0; i < x.rows * x.cols; i++) {
        struct arena_mark mark = arena_mark(&bench->arena);
        struct tensor one = tensor_cols(tensor_rows(x, i / x.cols, 1), i % x.cols, 1);
        add(&bench->device, one, arena_upload(&bench->arena, DTYPE_F32, 1, 1, &up));
        double above = loss(bench, p, t);
        add(&bench->device, one, arena_upload(&bench->arena, DTYPE_F32, 1, 1, &down));
        double slope = (above - loss(bench, p, t)) / (2 * (double)up);
        add(&bench->device, one, arena_upload(&bench->arena, DTYPE_F32, 1, 1, &up));
        if (!(fabs(slope - got[i]) <= 2e-3)) fail_msg("element %d: %g, not %g", (int)i, got[i], slope);
        arena_release(&bench->arena, mark);
    }
    free(got);
}

static void differences(void **state) {
    (void)state;
    struct problem p = {.heads = 2, .kv_heads = 1, .head_dim = 4, .size = 1, .queries = 9, .keys = 10};
    p.segments[p.count++] = (struct attention_segment){0, 4, 0, 0, 0, 4, true};
    p.segments[p.count++] = (struct attention_segment){4, 2, 0, 4, 4, 3, true};
    p.segments[p.count++] = (struct attention_segment){6, 2, 0, 4, 7, 2, false};
    struct bench bench;
    bench_open(&bench, "cpu");
    struct tensors t = prepare(&bench, &p);
    clear(&bench.device, t.out); /* the rows of no segment */
    loss(&bench, &p, &t);
    backward(&bench, &p, &t);
    check_differences(&bench, &p, &t, t.q, t.d_q);
    check_differences(&bench, &p, &t, t.k, t.d_k);
    check_differences(&bench, &p, &t, t.v, t.d_v);
    bench_close(&bench);
}

/* ---- Bits and faults --------------------------------------------------------------------------------- */

static void check_threads(const struct problem *p) {
    struct bench bench;
    bench_open(&bench, "cpu");
    omp_set_num_threads(1);
    struct tensors first = prepare(&bench, p);
    backward(&bench, p, &first);
    static const int counts[] = {2, 3, 7, 24};
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
        omp_set_num_threads(counts[n]);
        struct tensors other = prepare(&bench, p);
        backward(&bench, p, &other);
        assert_same_bits(&bench, other.d_q, first.d_q);
        assert_same_bits(&bench, other.d_k, first.d_k);
        assert_same_bits(&bench, other.d_v, first.d_v);
    }
    bench_close(&bench);
}

static void threads_change_nothing(void **state) {
    (void)state;
    if (!on_own_device()) skip();
    int threads = omp_get_max_threads();
    struct problem p = {.heads = 4, .kv_heads = 1, .head_dim = 24, .size = 2, .queries = 520, .keys = 520};
    p.segments[p.count++] = (struct attention_segment){0, 300, 0, 0, 0, 300, true};
    p.segments[p.count++] = (struct attention_segment){300, 100, 0, 300, 300, 100, true};
    p.segments[p.count++] = (struct attention_segment){400, 120, 0, 300, 400, 120, true};
    check_threads(&p);
    p.dtype = p.d_dtype = DTYPE_BF16;
    check_threads(&p);
    omp_set_num_threads(threads);
}

/* Without a segment, a query or a key the gradients are zero. */
static void nothing_gives_zeros(void **state) {
    (void)state;
    struct problem p = {.heads = 2, .kv_heads = 1, .head_dim = 8, .size = 1, .queries = 3, .keys = 4};
    check_everywhere(&p);
    p.segments[p.count++] = (struct attention_segment){0, 3, 0, 0, 0, 0, false};
    p.segments[p.count++] = (struct attention_segment){3, 0, 0, 0, 0, 4, false};
    check_everywhere(&p);
    p.keys = 0;
    p.count = 1;
    check_everywhere(&p);
    p.keys = 4, p.queries = 0, p.count = 0;
    check_everywhere(&p);
}

/* Allocations still to succeed, below 0: all. */
static int allocations = -1;

static bool allocation_fails(void) {
    if (allocations > 0) allocations--;
    return allocations == 0;
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return allocation_fails() ? NULL : __real_aligned_alloc(alignment, size);
}

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size) {
    return allocation_fails() ? NULL : __real_realloc(memory, size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) {
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

/* Every allocation in turn fails: the device has failed, and nothing is lost. */
static void without_memory_the_device_fails(void **state) {
    (void)state;
    if (!on_own_device()) skip();
    struct problem p = {.heads = 2, .kv_heads = 1, .head_dim = 8, .size = 1, .queries = 3, .keys = 4};
    p.segments[p.count++] = (struct attention_segment){0, 3, 0, 0, 0, 4, true};
    int failed = 0;
    for (int n = 1;; n++) {
        struct bench bench;
        bench_open(&bench, "cpu");
        struct tensors t = prepare(&bench, &p);
        allocations = n;
        backward(&bench, &p, &t);
        bool reached = allocations == 0;
        allocations = -1;
        struct error err;
        assert_int_equal(device_synchronize(&bench.device, &err), reached ? STATUS_FAILED : STATUS_OK);
        if (reached) assert_non_null(strstr(err.message, "out of memory"));
        bench_close(&bench);
        if (!reached) break;
        failed++;
    }
    assert_int_equal(failed, 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_prefixes),
        cmocka_unit_test(windows),
        cmocka_unit_test(long_segment),
        cmocka_unit_test(random_tables),
        cmocka_unit_test(widths),
        cmocka_unit_test(differences),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(nothing_gives_zeros),
        cmocka_unit_test(without_memory_the_device_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
