/* Attention against plain loops in double, over tables of every kind, on every instruction set that this
 * processor has; and what must not change a bit: threads, and the sequences decoded beside one. */
#include "tests/tensor/support.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/random.h"
#include "tensor/float16.h"

enum { MAX_SEGMENTS = 64 };

struct problem {
    int heads, kv_heads, head_dim;
    enum dtype dtype; /* of q, k, v and out */
    float scale;
    int64_t queries, keys;
    struct attention_segment segments[MAX_SEGMENTS];
    int64_t count;
    float *q, *k, *v;
    double *out, *log_sum, *size; /* as expected; size: the largest of a row's scores, without sign */
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
    free(p->out);
    free(p->log_sum);
    free(p->size);
}

static void result_free(struct result *r) {
    free(r->out);
    free(r->log_sum);
}

/* A view of columns, as q, k and v are of one product; aligned to 16 bytes where its width is. */
static struct tensor upload(struct bench *bench, enum dtype dtype, int64_t rows, int64_t cols,
                            const float *x) {
    int64_t first = cols % 8 ? 4 : 8;
    struct tensor wide = arena_tensor(&bench->arena, dtype, rows, cols + 2 * first);
    struct tensor t = tensor_cols(wide, first, cols);
    convert(&bench->device, t, arena_upload(&bench->arena, DTYPE_F32, rows, cols, x));
    return t;
}

static void download(struct bench *bench, float *to, struct tensor t) {
    struct tensor whole = arena_tensor(&bench->arena, DTYPE_F32, t.rows, t.cols);
    struct error err;
    convert(&bench->device, whole, t);
    if (device_read(&bench->device, to, whole, &err) != STATUS_OK) fail_msg("%s", err.message);
}

/* Query rows of no segment keep the 7 that the results are filled with. */
static struct result run(struct bench *bench, const struct problem *p) {
    struct arena_mark mark = arena_mark(&bench->arena);
    int64_t width = (int64_t)p->heads * p->head_dim, kv_width = (int64_t)p->kv_heads * p->head_dim;
    struct result result = {malloc((size_t)(p->queries * width) * sizeof(float)),
                            malloc((size_t)(p->queries * p->heads) * sizeof(float))};
    assert_true(result.out && result.log_sum);
    for (int64_t i = 0; i < p->queries * width; i++) result.out[i] = 7;
    for (int64_t i = 0; i < p->queries * p->heads; i++) result.log_sum[i] = 7;
    struct tensor q = upload(bench, p->dtype, p->queries, width, p->q);
    struct tensor k = upload(bench, p->dtype, p->keys, kv_width, p->k);
    struct tensor v = upload(bench, p->dtype, p->keys, kv_width, p->v);
    struct tensor out = upload(bench, p->dtype, p->queries, width, result.out);
    struct tensor log_sum = upload(bench, DTYPE_F32, p->queries, p->heads, result.log_sum);
    attention_forward(&bench->device, out, log_sum, q, k, v,
                      (struct attention_segments){p->segments, p->count}, p->heads, p->kv_heads, p->scale);
    download(bench, result.out, out);
    download(bench, result.log_sum, log_sum);
    arena_release(&bench->arena, mark);
    return result;
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

static void expect(struct problem *p) {
    p->out = calloc((size_t)(p->queries * p->heads * p->head_dim), sizeof(double));
    p->log_sum = calloc((size_t)(p->queries * p->heads), sizeof(double));
    p->size = calloc((size_t)(p->queries * p->heads), sizeof(double));
    assert_true(p->out && p->log_sum && p->size);
    for (int64_t i = 0; i < p->queries * p->heads; i++) p->size[i] = -1; /* in no segment */
    for (int64_t n = 0; n < p->count; n++) {
        const struct attention_segment *s = &p->segments[n];
        for (int64_t i = 0; i < s->queries; i++) {
            for (int head = 0; head < p->heads; head++) {
                int64_t at = (s->query + i) * p->heads + head;
                p->size[at] = 0;
                plain_row(p, s, i, head, p->out + at * p->head_dim, &p->log_sum[at], &p->size[at]);
            }
        }
    }
}

static void check_row(const struct problem *p, const struct result *r, int64_t at) {
    double close = p->dtype == DTYPE_BF16 ? 0x1p-8 : 3e-6;
    close += p->size[at] * 0x1p-22; /* scores are rounded, relative to their size */
    for (int d = 0; d < p->head_dim; d++) {
        double got = (double)r->out[at * p->head_dim + d], want = p->out[at * p->head_dim + d];
        if (!(fabs(got - want) <= close * (fabs(want) + 0.3)))
            fail_msg("query %d head %d: %g, not %g", (int)(at / p->heads), (int)(at % p->heads), got, want);
    }
    double got = (double)r->log_sum[at], want = p->log_sum[at];
    if (want == -INFINITY ? got != want : !(fabs(got - want) <= 3e-6 * (1 + fabs(want))))
        fail_msg("query %d head %d: log sum %g, not %g", (int)(at / p->heads), (int)(at % p->heads), got,
                 want);
}

static void check(const struct problem *p, const struct result *r) {
    for (int64_t i = 0; i < p->queries * p->heads; i++) {
        if (p->size[i] >= 0)
            check_row(p, r, i);
        else
            assert_true(r->out[i * p->head_dim] == 7 && r->log_sum[i] == 7);
    }
}

static const struct problem *current;

static void check_current(struct bench *bench) {
    struct result r = run(bench, current);
    check(current, &r);
    result_free(&r);
}

static void check_everywhere(struct problem *p) {
    expect(p);
    current = p;
    on_every_device(check_current);
}

/* ---- Values ------------------------------------------------------------------------------------------ */

static float *golden_values(const json_t *golden, const char *name, int64_t count) {
    const json_t *list = json_object_get(golden, name);
    assert_int_equal(json_array_size(list), count);
    float *x = malloc((size_t)(count + 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < count; i++) x[i] = (float)json_number_value(json_array_get(list, (size_t)i));
    return x;
}

static int64_t golden_integer(const json_t *golden, const char *name) {
    return json_integer_value(json_object_get(golden, name));
}

static float *golden_out;

static void check_golden(struct bench *bench) {
    struct result r = run(bench, current);
    for (int64_t i = 0; i < current->queries * current->heads * current->head_dim; i++)
        if (!(fabsf(r.out[i] - golden_out[i]) <= 2e-6f * (1 + fabsf(golden_out[i]))))
            fail_msg("value %d: %g, not %g", (int)i, (double)r.out[i], (double)golden_out[i]);
    result_free(&r);
}

static void equals_pytorch(void **state) {
    (void)state;
    struct error err;
    json_t *golden = json_read_file("tests/golden/attention.json", 1 << 20, &err);
    if (!golden) fail_msg("%s", err.message);
    struct problem p = {.heads = (int)golden_integer(golden, "heads"),
                        .kv_heads = (int)golden_integer(golden, "kv_heads"),
                        .head_dim = (int)golden_integer(golden, "head_dim"),
                        .scale = (float)json_number_value(json_object_get(golden, "scale"))};
    const json_t *segments = json_object_get(golden, "segments");
    for (; p.count < (int64_t)json_array_size(segments); p.count++) {
        int64_t n[7];
        for (size_t i = 0; i < 7; i++)
            n[i] = json_integer_value(json_array_get(json_array_get(segments, (size_t)p.count), i));
        p.segments[p.count] = (struct attention_segment){n[0], n[1], n[2], n[3], n[4], n[5], n[6] != 0};
        p.queries = n[0] + n[1];
    }
    p.keys = (int64_t)json_array_size(json_object_get(golden, "k")) / (p.kv_heads * p.head_dim);
    p.q = golden_values(golden, "q", p.queries * p.heads * p.head_dim);
    p.k = golden_values(golden, "k", p.keys * p.kv_heads * p.head_dim);
    p.v = golden_values(golden, "v", p.keys * p.kv_heads * p.head_dim);
    golden_out = golden_values(golden, "out", p.queries * p.heads * p.head_dim);
    current = &p;
    on_every_device(check_golden);
    problem_free(&p);
    free(golden_out);
    json_decref(golden);
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

/* As the vision tower has them: windows of several sizes side by side, and whole frames. */
static void windows(void **state) {
    (void)state;
    static const int lengths[] = {64, 64, 16, 1, 48, 200};
    struct problem p = {.heads = 4, .kv_heads = 2, .head_dim = 80, .dtype = DTYPE_BF16, .count = 6};
    p.queries = 3, p.keys = 5;
    for (int n = 0; n < 6; n++) {
        p.segments[n] = (struct attention_segment){
            .query = p.queries, .queries = lengths[n], .key = p.keys, .keys = lengths[5 - n]};
        p.queries += p.segments[n].queries;
        p.keys += p.segments[n].keys;
    }
    p.queries += 2;
    fill(&p);
    check_everywhere(&p);
    problem_free(&p);
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
    full.dtype = DTYPE_BF16;
    full.head_dim = 24;
    fill(&full);
    check_everywhere(&full);
    problem_free(&full);
}

/* All widths of a head in bf16, with a query and a key over what a tile or a pair holds. */
static void widths(void **state) {
    (void)state;
    for (int head_dim = 4; head_dim <= 256; head_dim += 4) {
        struct problem p = {.heads = 1, .kv_heads = 1, .head_dim = head_dim, .dtype = DTYPE_BF16, .count = 1};
        p.queries = 13 + head_dim % 7, p.keys = 65 + head_dim % 9;
        p.segments[0] = (struct attention_segment){.queries = p.queries,
                                                   .prefix = 1,
                                                   .prefix_keys = head_dim % 5,
                                                   .keys = p.keys,
                                                   .causal = head_dim % 3 == 0};
        fill(&p);
        check_everywhere(&p);
        problem_free(&p);
    }
}

/* ---- Bits -------------------------------------------------------------------------------------------- */

/* Decoding: sequence n has one query, the shared prompt and keys of its own in a cache. */
static struct problem decoding(int count, enum dtype dtype) {
    struct problem p = {.heads = 14, .kv_heads = 2, .head_dim = 64, .dtype = dtype};
    p.queries = p.count = count;
    p.keys = 1200 + (int64_t)count * 450;
    for (int n = 0; n < count; n++)
        p.segments[n] = (struct attention_segment){.query = n,
                                                   .queries = 1,
                                                   .prefix = 5,
                                                   .prefix_keys = 1111,
                                                   .key = 1200 + n * 450,
                                                   .keys = 1 + n * 53 % 440,
                                                   .causal = true};
    draws = 0;
    fill(&p);
    expect(&p);
    return p;
}

static void decoding_alone_and_together_is_the_same(void **state) {
    (void)state;
    enum { COUNT = 9 };
    struct bench bench;
    bench_open(&bench, "cpu");
    for (int kind = 0; kind < 2; kind++) {
        struct problem all = decoding(COUNT, kind ? DTYPE_BF16 : DTYPE_F32);
        struct result together = run(&bench, &all);
        check(&all, &together);
        size_t row = (size_t)(all.heads * all.head_dim);
        for (int n = 0; n < COUNT; n++) {
            struct problem one = all;
            one.segments[0] = all.segments[n];
            one.count = 1;
            struct result alone = run(&bench, &one);
            assert_memory_equal(alone.out + (size_t)n * row, together.out + (size_t)n * row, row * 4);
            assert_memory_equal(alone.log_sum + n * all.heads, together.log_sum + n * all.heads,
                                (size_t)all.heads * 4);
            result_free(&alone);
        }
        result_free(&together);
        problem_free(&all);
    }
    bench_close(&bench);
}

/* Neighbours that share the reading of a prefix, and those that seem to: a gap, another prefix or none, too
 * many rows, too few keys. */
static void decoding_on_several_prefixes(void **state) {
    (void)state;
    static const struct attention_segment segments[] = {
        {0, 1, 5, 600, 700, 3, true},    {1, 2, 5, 600, 720, 40, true}, {3, 1, 5, 600, 760, 0, false},
        {5, 1, 5, 600, 770, 600, true},  {6, 1, 5, 601, 0, 0, false},   {7, 1, 0, 0, 0, 1370, false},
        {8, 1, 0, 0, 0, 700, true},      {9, 5, 5, 600, 700, 9, true},  {14, 3, 5, 600, 710, 8, false},
        {17, 9, 5, 600, 700, 10, false}, {26, 1, 5, 90, 700, 9, true},  {27, 0, 5, 600, 700, 9, false},
        {27, 1, 5, 600, 701, 9, false},
    };
    for (int kind = 0; kind < 2; kind++) {
        struct problem p = {.heads = 14, .kv_heads = 2, .head_dim = 80, .queries = 28, .keys = 1400};
        p.dtype = kind ? DTYPE_BF16 : DTYPE_F32;
        p.count = sizeof segments / sizeof segments[0];
        memcpy(p.segments, segments, sizeof segments);
        fill(&p);
        check_everywhere(&p);
        problem_free(&p);
    }
}

static void threads_change_nothing(void **state) {
    (void)state;
    if (!on_own_device()) skip();
    int threads = omp_get_max_threads();
    struct bench bench;
    bench_open(&bench, "cpu");
    struct problem many = decoding(9, DTYPE_F32), one = decoding(1, DTYPE_F32);
    struct problem prompt = decoding(3, DTYPE_BF16); /* its last sequence reads 300 tokens at once */
    prompt.queries = 302;
    prompt.segments[2].keys += 310;
    prompt.segments[2].queries = 300;
    problem_free(&prompt);
    fill(&prompt);
    expect(&prompt);
    const struct problem *const problems[] = {&many, &one, &prompt};
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        const struct problem *p = problems[i];
        omp_set_num_threads(1);
        struct result first = run(&bench, p);
        check(p, &first);
        static const int counts[] = {2, 3, 7, 24};
        for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
            omp_set_num_threads(counts[n]);
            struct result other = run(&bench, p);
            assert_memory_equal(first.out, other.out, (size_t)(p->queries * p->heads * p->head_dim) * 4);
            assert_memory_equal(first.log_sum, other.log_sum, (size_t)(p->queries * p->heads) * 4);
            result_free(&other);
        }
        result_free(&first);
    }
    omp_set_num_threads(threads);
    bench_close(&bench);
    problem_free(&many);
    problem_free(&one);
    problem_free(&prompt);
}

static void check_nan(struct bench *bench) {
    struct result r = run(bench, current);
    for (int i = 0; i < 90; i++) assert_int_equal(isnan(r.out[i * 8]) != 0, i >= 30 && i < 50);
    result_free(&r);
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
    current = &p;
    on_every_device(check_nan);
    problem_free(&p);
}

/* ---- Faults ------------------------------------------------------------------------------------------ */

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

/* Every allocation in turn fails: the device has failed, and nothing is lost or written. */
static void without_memory_the_device_fails(void **state) {
    (void)state;
    if (!on_own_device()) skip();
    int threads = omp_get_max_threads(), failed = 0;
    omp_set_num_threads(8); /* chunks are spread over threads: that needs the most allocations */
    for (int n = 1;; n++) {
        struct bench bench;
        bench_open(&bench, "cpu");
        struct tensor q = arena_tensor(&bench.arena, DTYPE_F32, 2, 8), none = {0};
        struct tensor k = arena_tensor(&bench.arena, DTYPE_F32, 600, 8);
        struct attention_segment segments[2] = {{0, 1, 0, 500, 510, 10, false},
                                                {1, 1, 0, 500, 530, 9, false}};
        allocations = n;
        attention_forward(&bench.device, q, none, q, k, k, (struct attention_segments){segments, 2}, 1, 1, 1);
        bool reached = allocations == 0;
        allocations = -1;
        struct error err;
        assert_int_equal(device_synchronize(&bench.device, &err), reached ? STATUS_FAILED : STATUS_OK);
        if (reached) assert_non_null(strstr(err.message, "out of memory"));
        bench_close(&bench);
        if (!reached) break;
        failed++;
    }
    omp_set_num_threads(threads);
    assert_true(failed >= 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_pytorch),
        cmocka_unit_test(random_tables),
        cmocka_unit_test(windows),
        cmocka_unit_test(long_segments),
        cmocka_unit_test(widths),
        cmocka_unit_test(decoding_alone_and_together_is_the_same),
        cmocka_unit_test(decoding_on_several_prefixes),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(extreme_values),
        cmocka_unit_test(without_memory_the_device_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
