/* Attention against plain loops in double, over tables of every kind, on every instruction set that this
 * processor has; and what must not change a bit: threads, and the sequences decoded beside one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tensor/arena.h"
#include "tensor/float16.h"
#include "tensor/ops.h"

enum { MAX_SEGMENTS = 64 };

struct problem {
    int heads, kv_heads, head_dim;
    enum dtype dtype; /* of q, k, v and out */
    float scale;
    int64_t queries, keys;
    struct attention_segment segments[MAX_SEGMENTS];
    int64_t count;
    float *q, *k, *v;
};

struct result {
    float *out, *log_sum;
};

static uint64_t draws;

static double uniform(void) {
    return random_uniform((struct random_key){.seed = 1, .position = draws++});
}
static int64_t below(int64_t n) {
    return (int64_t)(uniform() * (double)n);
}

static float *values(int64_t count, float size, enum dtype dtype) {
    float *x = malloc((size_t)(count ? count : 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < count; i++) {
        x[i] = (float)(uniform() + uniform() + uniform() - 1.5) * size;
        if (dtype == DTYPE_BF16) x[i] = float_from_bf16(float_to_bf16(x[i]));
    }
    return x;
}

static void fill(struct problem *p) {
    p->q = values(p->queries * p->heads * p->head_dim, 3, p->dtype);
    p->k = values(p->keys * p->kv_heads * p->head_dim, 1, p->dtype);
    p->v = values(p->keys * p->kv_heads * p->head_dim, 1, p->dtype);
    p->scale = 1 / sqrtf((float)p->head_dim);
}

static void problem_free(struct problem *p) {
    free(p->q);
    free(p->k);
    free(p->v);
}

static void result_free(struct result *r) {
    free(r->out);
    free(r->log_sum);
}

static struct tensor upload(struct arena *arena, enum dtype dtype, int64_t rows, int64_t cols,
                            const float *x) {
    struct tensor t = arena_tensor(arena, dtype, rows, cols);
    convert(arena->device, t, arena_upload(arena, DTYPE_F32, rows, cols, x));
    return t;
}

/* Query rows of no segment keep the 7 that `out` is filled with. NULL isa: the widest. False: the processor
 * does not have it. */
static bool run(const struct problem *p, const char *isa, struct result *result) {
    struct device device;
    struct arena arena;
    struct error err = {""};
    if (isa) setenv("VS2_CPU_ISA", isa, 1);
    enum status status = device_open("cpu", &device, &err);
    unsetenv("VS2_CPU_ISA");
    if (status != STATUS_OK) return false;
    arena_init(&arena, &device, 1 << 20);
    int64_t width = (int64_t)p->heads * p->head_dim, kv_width = (int64_t)p->kv_heads * p->head_dim;
    result->out = malloc((size_t)(p->queries * width) * sizeof(float));
    result->log_sum = malloc((size_t)(p->queries * p->heads) * sizeof(float));
    assert_true(result->out && result->log_sum);
    for (int64_t i = 0; i < p->queries * width; i++) result->out[i] = 7;
    for (int64_t i = 0; i < p->queries * p->heads; i++) result->log_sum[i] = 7;
    struct tensor q = upload(&arena, p->dtype, p->queries, width, p->q);
    struct tensor k = upload(&arena, p->dtype, p->keys, kv_width, p->k);
    struct tensor v = upload(&arena, p->dtype, p->keys, kv_width, p->v);
    struct tensor out = upload(&arena, p->dtype, p->queries, width, result->out);
    struct tensor log_sum = upload(&arena, DTYPE_F32, p->queries, p->heads, result->log_sum);
    attention_forward(&device, out, log_sum, q, k, v, (struct attention_segments){p->segments, p->count},
                      p->heads, p->kv_heads, p->scale);
    struct tensor wide = arena_tensor(&arena, DTYPE_F32, p->queries, width);
    convert(&device, wide, out);
    assert_int_equal(device_read(&device, result->out, wide, &err), STATUS_OK);
    assert_int_equal(device_read(&device, result->log_sum, log_sum, &err), STATUS_OK);
    arena_free(&arena);
    device_close(&device);
    return true;
}

/* One row: the keys it sees are prefix rows and own rows, in that order. size: the largest of scores. */
static void plain_row(const struct problem *p, const struct attention_segment *s, int64_t i, int head,
                      double *out, double *log_sum, double *size) {
    int64_t own = s->causal ? i + 1 + s->keys - s->queries : s->keys, count = s->prefix_keys + own;
    int kv_head = head / (p->heads / p->kv_heads);
    int64_t kv_width = (int64_t)p->kv_heads * p->head_dim;
    const float *q = p->q + ((s->query + i) * p->heads + head) * p->head_dim;
    double *score = malloc((size_t)(count + 1) * sizeof *score), largest = -INFINITY, sum = 0;
    assert_non_null(score);
    for (int64_t j = 0; j < count; j++) {
        int64_t row = j < s->prefix_keys ? s->prefix + j : s->key + j - s->prefix_keys;
        score[j] = 0;
        for (int d = 0; d < p->head_dim; d++)
            score[j] += (double)q[d] * (double)p->k[row * kv_width + kv_head * p->head_dim + d];
        score[j] *= (double)p->scale;
        largest = fmax(largest, score[j]);
        *size = fmax(*size, fabs(score[j]));
    }
    for (int d = 0; d < p->head_dim; d++) out[d] = 0;
    for (int64_t j = 0; j < count; j++) {
        int64_t row = j < s->prefix_keys ? s->prefix + j : s->key + j - s->prefix_keys;
        double weight = exp(score[j] - largest);
        sum += weight;
        for (int d = 0; d < p->head_dim; d++)
            out[d] += weight * (double)p->v[row * kv_width + kv_head * p->head_dim + d];
    }
    for (int d = 0; d < p->head_dim && count; d++) out[d] /= sum;
    *log_sum = count ? largest + log(sum) : -INFINITY;
    free(score);
}

static void check(const struct problem *p, const struct result *r) {
    double tolerance = p->dtype == DTYPE_BF16 ? 0x1p-8 : 3e-6;
    char *covered = calloc((size_t)p->queries + 1, 1);
    assert_non_null(covered);
    for (int64_t n = 0; n < p->count; n++) {
        const struct attention_segment *s = &p->segments[n];
        for (int64_t i = 0; i < s->queries; i++) {
            covered[s->query + i] = 1;
            for (int head = 0; head < p->heads; head++) {
                double want[256], log_sum, size = 0;
                plain_row(p, s, i, head, want, &log_sum, &size);
                double close = tolerance + size * 0x1p-22; /* scores are rounded, relative to their size */
                const float *got = r->out + ((s->query + i) * p->heads + head) * p->head_dim;
                for (int d = 0; d < p->head_dim; d++)
                    if (!(fabs((double)got[d] - want[d]) <= close * (fabs(want[d]) + 0.3)))
                        fail_msg("segment %d query %d head %d: %g, not %g", (int)n, (int)i, head,
                                 (double)got[d], want[d]);
                float logged = r->log_sum[(s->query + i) * p->heads + head];
                if (log_sum == -INFINITY)
                    assert_true(logged == -INFINITY);
                else if (!(fabs((double)logged - log_sum) <= 3e-6 * (1 + fabs(log_sum))))
                    fail_msg("segment %d query %d head %d: log sum %g, not %g", (int)n, (int)i, head,
                             (double)logged, log_sum);
            }
        }
    }
    for (int64_t i = 0; i < p->queries; i++)
        if (!covered[i])
            assert_true(r->out[i * p->heads * p->head_dim] == 7 && r->log_sum[i * p->heads] == 7);
    free(covered);
}

static const char *const instruction_sets[] = {"generic", "avx2", "avx512"};

static void check_everywhere(const struct problem *p) {
    for (size_t i = 0; i < sizeof instruction_sets / sizeof instruction_sets[0]; i++) {
        struct result r;
        if (!run(p, instruction_sets[i], &r)) continue;
        check(p, &r);
        result_free(&r);
    }
}

/* Segments of every kind: random lengths, empty ones, prefixes, gaps between ranges. */
static void random_tables(void **state) {
    (void)state;
    static const int head_dims[] = {4, 8, 20, 64, 80, 128, 36, 256};
    for (int trial = 0; trial < 40; trial++) {
        struct problem p = {.kv_heads = 1 + (int)below(3), .dtype = trial % 3 ? DTYPE_F32 : DTYPE_BF16};
        p.heads = p.kv_heads * (1 + (int)below(8));
        p.head_dim = head_dims[trial % 8];
        int64_t longest = trial % 5 == 0 ? 150 : 12;
        p.keys = 40 + below(40);
        int64_t prefixes[2][2] = {{0, 1 + below(40)}, {below(20), below(20)}};
        p.count = below(8);
        for (int64_t n = 0; n < p.count; n++) {
            struct attention_segment *s = &p.segments[n];
            p.queries += below(3);
            s->query = p.queries;
            s->queries = below(4) ? below(longest) : below(2);
            s->causal = below(2);
            s->key = p.keys + below(3);
            s->keys = s->causal ? s->queries + below(90) : below(90);
            const int64_t *prefix = prefixes[below(2)];
            if (below(2)) s->prefix = prefix[0], s->prefix_keys = prefix[1];
            p.queries += s->queries;
            p.keys = s->key + s->keys;
        }
        p.queries += 1;
        fill(&p);
        check_everywhere(&p);
        problem_free(&p);
    }
}

/* Long enough for several chunks, blocks and tiles. */
static void long_segments(void **state) {
    (void)state;
    struct problem causal = {.heads = 2, .kv_heads = 1, .head_dim = 16, .queries = 700, .keys = 1300};
    causal.segments[causal.count++] =
        (struct attention_segment){.queries = 700, .key = 0, .keys = 1250, .causal = true};
    fill(&causal);
    check_everywhere(&causal);
    problem_free(&causal);
    struct problem full = {.heads = 1, .kv_heads = 1, .head_dim = 20, .queries = 530, .keys = 1100};
    full.segments[full.count++] =
        (struct attention_segment){.queries = 530, .key = 20, .keys = 1029, .prefix = 3, .prefix_keys = 513};
    fill(&full);
    check_everywhere(&full);
    problem_free(&full);
}

/* Decoding: sequence n has one query, the shared prompt and keys of its own in a cache. */
static struct problem decoding(int count, enum dtype dtype) {
    struct problem p = {.heads = 14, .kv_heads = 2, .head_dim = 64, .dtype = dtype};
    p.queries = p.count = count;
    p.keys = 1200 + (int64_t)count * 700;
    for (int n = 0; n < count; n++)
        p.segments[n] = (struct attention_segment){.query = n,
                                                   .queries = 1,
                                                   .prefix = 5,
                                                   .prefix_keys = 1111,
                                                   .key = 1200 + n * 700,
                                                   .keys = 1 + n * 53 % 680,
                                                   .causal = true};
    draws = 0;
    fill(&p);
    return p;
}

static void decoding_alone_and_together_is_the_same(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        enum { COUNT = 9 };
        struct problem all = decoding(COUNT, kind ? DTYPE_BF16 : DTYPE_F32);
        struct result together, alone;
        assert_true(run(&all, NULL, &together));
        check(&all, &together);
        size_t row = (size_t)(all.heads * all.head_dim);
        for (int n = 0; n < COUNT; n++) {
            struct problem one = all;
            one.segments[0] = all.segments[n];
            one.count = 1;
            assert_true(run(&one, NULL, &alone));
            assert_memory_equal(alone.out + (size_t)n * row, together.out + (size_t)n * row, row * 4);
            assert_memory_equal(alone.log_sum + n * all.heads, together.log_sum + n * all.heads,
                                (size_t)all.heads * 4);
            result_free(&alone);
        }
        result_free(&together);
        problem_free(&all);
    }
}

static void threads_change_nothing(void **state) {
    (void)state;
    int threads = omp_get_max_threads();
    struct problem many = decoding(9, DTYPE_F32), one = decoding(1, DTYPE_F32);
    struct problem prompt = decoding(3, DTYPE_BF16); /* its last sequence reads 300 tokens at once */
    prompt.queries = 302;
    prompt.segments[2].keys += 310;
    prompt.segments[2].queries = 300;
    problem_free(&prompt);
    fill(&prompt);
    const struct problem *const problems[] = {&many, &one, &prompt};
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        const struct problem *p = problems[i];
        struct result first, other;
        omp_set_num_threads(1);
        assert_true(run(p, NULL, &first));
        check(p, &first);
        static const int counts[] = {2, 3, 7, 24};
        for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
            omp_set_num_threads(counts[n]);
            assert_true(run(p, NULL, &other));
            assert_memory_equal(first.out, other.out, (size_t)(p->queries * p->heads * p->head_dim) * 4);
            assert_memory_equal(first.log_sum, other.log_sum, (size_t)(p->queries * p->heads) * 4);
            result_free(&other);
        }
        result_free(&first);
    }
    omp_set_num_threads(threads);
    problem_free(&many);
    problem_free(&one);
    problem_free(&prompt);
}

/* Scores far apart, keys that underflow, and a NaN that stays in the rows that see it. */
static void extreme_values(void **state) {
    (void)state;
    struct problem p = {.heads = 1, .kv_heads = 1, .head_dim = 8, .queries = 90, .keys = 90, .count = 2};
    p.segments[0] = (struct attention_segment){.queries = 50, .keys = 50, .causal = true};
    p.segments[1] = (struct attention_segment){.query = 50, .queries = 40, .key = 50, .keys = 40};
    fill(&p);
    for (int i = 0; i < 90 * 8; i++) p.q[i] *= 200;
    check_everywhere(&p);
    p.k[30 * 8] = NAN;
    struct result r;
    assert_true(run(&p, NULL, &r));
    for (int i = 0; i < 90; i++) assert_int_equal(isnan(r.out[i * 8]) != 0, i >= 30 && i < 50);
    result_free(&r);
    problem_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_tables),
        cmocka_unit_test(long_segments),
        cmocka_unit_test(decoding_alone_and_together_is_the_same),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(extreme_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
