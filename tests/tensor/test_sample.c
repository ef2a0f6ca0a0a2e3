/* Sampling: what the filters keep, equal to Hugging Face's processors (golden values of
 * tests/reference/sampling.py) and, over a large vocabulary, to a plain sort; and how tokens are drawn. */
#include "tests/tensor/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/random.h"
#include "tensor/float16.h"

static const struct sampling plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 11};

/* One call: the rules of each row, and everything that comes back (arrays of the caller, or NULL). */
struct trial {
    int64_t rows, vocab, watches;
    enum dtype dtype;
    const float *logits;
    const struct sampling *rules;
    const int32_t *watched;
    int32_t *seen; /* in and out */
    int32_t *token;
    float *logprob, *watched_raw, *watched_final, *distribution;
};

static void read_back(struct device *device, void *to, struct tensor from) {
    struct error err;
    if (to && from.data && device_read(device, to, from, &err) != STATUS_OK) fail_msg("%s", err.message);
}

static void run_on(struct bench *bench, const struct trial *t) {
    struct device *device = &bench->device;
    struct arena *arena = &bench->arena;
    struct arena_mark mark = arena_mark(arena);
    struct sample_arguments s = {.rules = t->rules};
    s.logits = tensor_cols(arena_tensor(arena, t->dtype, t->rows, t->vocab + 5), 2, t->vocab);
    convert(device, s.logits, arena_upload(arena, DTYPE_F32, t->rows, t->vocab, t->logits));
    s.token = arena_tensor(arena, DTYPE_I32, 1, t->rows);
    s.logprob = arena_tensor(arena, DTYPE_F32, 1, t->rows);
    if (t->seen) s.seen = arena_upload(arena, DTYPE_I32, t->rows, (t->vocab + 31) / 32, t->seen);
    if (t->watches) {
        s.watched = arena_upload(arena, DTYPE_I32, 1, t->watches, t->watched);
        s.watched_raw = arena_tensor(arena, DTYPE_F32, t->rows, t->watches);
        s.watched_final = arena_tensor(arena, DTYPE_F32, t->rows, t->watches);
    }
    if (t->distribution) s.distribution = arena_tensor(arena, DTYPE_F32, t->rows, t->vocab);
    sample_tokens(device, s);
    read_back(device, t->token, s.token);
    read_back(device, t->logprob, s.logprob);
    read_back(device, t->seen, s.seen);
    read_back(device, t->watched_raw, s.watched_raw);
    read_back(device, t->watched_final, s.watched_final);
    read_back(device, t->distribution, s.distribution);
    arena_release(arena, mark);
}

static void run(const struct trial *t) {
    struct bench bench;
    bench_open(&bench, "cpu");
    run_on(&bench, t);
    bench_close(&bench);
}

/* ---- Golden ------------------------------------------------------------------------------------------ */

enum { MAX_VOCAB = 96, SEEN_WORDS = MAX_VOCAB / 32 };

static struct sampling golden_rule(const json_t *rule) {
    struct sampling sampling = plain;
    sampling.temperature = (float)json_number_value(json_object_get(rule, "temperature"));
    sampling.top_k = (int32_t)json_integer_value(json_object_get(rule, "top_k"));
    sampling.top_p = json_number_value(json_object_get(rule, "top_p"));
    sampling.min_p = (float)json_number_value(json_object_get(rule, "min_p"));
    sampling.repetition_penalty = (float)json_number_value(json_object_get(rule, "repetition_penalty"));
    return sampling;
}

static void check_golden(struct bench *bench, const json_t *row, const json_t *entry) {
    struct sampling rule = golden_rule(json_object_get(entry, "rule"));
    const json_t *seen = json_object_get(json_object_get(entry, "rule"), "seen");
    const json_t *kept = json_object_get(entry, "kept");
    float logits[MAX_VOCAB], got[MAX_VOCAB], logprob, raw[MAX_VOCAB], drawn[MAX_VOCAB];
    int32_t bits[SEEN_WORDS] = {0}, ids[MAX_VOCAB], token;
    int vocab = (int)json_array_size(row);
    assert_in_range(vocab, 1, MAX_VOCAB);
    for (int i = 0; i < vocab; i++) {
        const json_t *logit = json_array_get(row, (size_t)i);
        logits[i] = json_is_null(logit) ? -INFINITY : (float)json_number_value(logit);
        ids[i] = i;
    }
    for (size_t i = 0; i < json_array_size(seen); i++) {
        json_int_t id = json_integer_value(json_array_get(seen, i));
        bits[id / 32] = (int32_t)((uint32_t)bits[id / 32] | 1u << id % 32);
    }
    struct trial trial = {1,    vocab,  vocab,    DTYPE_F32, logits, &rule, ids,
                          bits, &token, &logprob, raw,       drawn,  got};
    run_on(bench, &trial);
    for (int i = 0; i < vocab; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        double want = json_number_value(json_object_get(kept, key));
        bool close = fabs((double)got[i] - want) <= 2e-6 * want + 1e-37; /* a filtered token has 0 */
        if (!close) {
            char *text = json_dumps(json_object_get(entry, "rule"), 0);
            fail_msg("token %d: %g, not %g: %s", i, (double)got[i], want, text);
        }
        if (want == 0) assert_true(drawn[i] < -80);
        if (want > 1e-35) assert_true(fabs((double)drawn[i] - log(want)) < 1e-5);
    }
    assert_true(token >= 0 && got[token] > 0);
    assert_true(bits[token / 32] >> token % 32 & 1);
    assert_true(logprob == raw[token]);
}

static json_t *golden;

static void check_all_golden(struct bench *bench) {
    const json_t *cases = json_object_get(golden, "cases"), *rows = json_object_get(golden, "rows");
    assert_true(json_array_size(cases) > 200);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *entry = json_array_get(cases, i);
        json_int_t row = json_integer_value(json_object_get(entry, "row"));
        check_golden(bench, json_array_get(rows, (size_t)row), entry);
    }
}

static void keeps_what_the_reference_keeps(void **state) {
    (void)state;
    struct error err;
    golden = json_read_file("tests/golden/sampling.json", 1 << 22, &err);
    if (!golden) fail_msg("%s", err.message);
    on_every_device(check_all_golden);
    json_decref(golden);
}

/* ---- A large vocabulary ------------------------------------------------------------------------------ */

enum { VOCAB = 30011 };

struct entry {
    double p;
    float logit;
    int id;
};

static int falling(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    if (a->logit != b->logit) return a->logit > b->logit ? -1 : 1;
    return a->id - b->id;
}

/* p of each token, by sorting all. */
static void plain_filter(const float *logits, const struct sampling *rule, float *p) {
    static struct entry list[VOCAB];
    double total = 0, sum = 0;
    for (int i = 0; i < VOCAB; i++) list[i] = (struct entry){0, logits[i] / rule->temperature, i};
    qsort(list, VOCAB, sizeof list[0], falling);
    int count = rule->top_k > 0 ? rule->top_k : VOCAB;
    while (count < VOCAB && list[count].logit == list[count - 1].logit) count++;
    for (int i = 0; i < count; i++) total += list[i].p = exp((double)(list[i].logit - list[0].logit));
    for (; count > 1 && (float)((sum + list[count - 1].p) / total) <= (float)(1 - rule->top_p); count--)
        sum += list[count - 1].p;
    while (count > 1 && list[count - 1].p < (double)rule->min_p) count--;
    total = 0;
    for (int i = 0; i < count; i++) total += list[i].p;
    memset(p, 0, VOCAB * sizeof *p);
    for (int i = 0; i < count; i++) p[list[i].id] = (float)(list[i].p / total);
}

static void filters_a_large_vocabulary(void **state) {
    (void)state;
    static float logits[VOCAB], want[VOCAB], got[VOCAB];
    static const struct sampling rules[] = {
        {.temperature = 1, .top_p = 0.9},
        {.temperature = 0.6f, .top_p = 0.5, .top_k = 1000},
        {.temperature = 40, .top_p = 0.95},
        {.temperature = 1.5f, .top_p = 0.99, .min_p = 0.02f},
        {.temperature = 1, .top_p = 1, .top_k = 29990},
        {.temperature = 0.02f, .top_p = 0.99999, .top_k = 20000},
        {.temperature = 1, .top_p = 1, .top_k = 50},
        {.temperature = 0.8f, .top_p = 0.9, .top_k = 1},
        {.temperature = 1, .top_p = 0},
    };
    for (int bf16 = 0; bf16 < 2; bf16++) {
        for (int i = 0; i < VOCAB; i++) {
            struct random_key key = {.seed = 2, .position = (uint64_t)i};
            double u = random_uniform(key);
            logits[i] = (float)(-2 * log(u + 1e-9)) - 7;
            if (bf16) logits[i] = float_from_bf16(float_to_bf16(logits[i]));
        }
        for (size_t n = 0; n < sizeof rules / sizeof rules[0]; n++) {
            struct sampling rule = rules[n];
            rule.repetition_penalty = 1;
            int32_t token;
            struct trial trial = {.rows = 1, .vocab = VOCAB, .logits = logits, .rules = &rule};
            trial.dtype = bf16 ? DTYPE_BF16 : DTYPE_F32;
            trial.token = &token;
            trial.distribution = got;
            run(&trial);
            plain_filter(logits, &rule, want);
            for (int i = 0; i < VOCAB; i++)
                if ((got[i] > 0) != (want[i] > 0) || !(fabsf(got[i] - want[i]) <= 2e-5f * want[i]))
                    fail_msg("rule %d token %d: %g, not %g", (int)n, i, (double)got[i], (double)want[i]);
        }
    }
}

/* ---- Draws ------------------------------------------------------------------------------------------- */

enum { DRAWS = 20000, FEW = 12 };

/* Pearson's statistic of the drawn tokens against the distribution that is reported; the 0.999 quantiles of
 * chi-square with 1 to 11 degrees of freedom. */
static void draws_follow_the_distribution(void **state) {
    (void)state;
    static const double bounds[] = {10.83, 13.82, 16.27, 18.47, 20.52, 22.46,
                                    24.32, 26.12, 27.88, 29.59, 31.26};
    static const float logits[FEW] = {0, 1, -2, 0.5f, 1, -INFINITY, -1, 2, 0.25f, -0.5f, 1.5f, -3};
    static const struct sampling rules[] = {
        {.temperature = 1, .top_p = 1},
        {.temperature = 0.7f, .top_p = 1},
        {.temperature = 2, .top_p = 0.9},
        {.temperature = 1, .top_p = 1, .top_k = 5},
        {.temperature = 1, .top_p = 1, .min_p = 0.2f},
        {.temperature = 1, .top_p = 0.85},
        {.temperature = 1, .top_p = 1, .repetition_penalty = 1.5f},
        {.temperature = 1.2f, .top_p = 1, .repetition_penalty = 0.8f},
        {.temperature = 1, .top_p = 0.8, .top_k = 8, .repetition_penalty = 1.3f},
        {.temperature = 1.5f, .top_p = 0.95, .top_k = 9, .min_p = 0.1f, .repetition_penalty = 1.1f},
    };
    static float all[DRAWS * FEW], distribution[DRAWS * FEW];
    static int32_t token[DRAWS], seen[DRAWS];
    static struct sampling each[DRAWS];
    for (size_t n = 0; n < sizeof rules / sizeof rules[0]; n++) {
        for (int i = 0; i < DRAWS; i++) {
            memcpy(all + i * FEW, logits, sizeof logits);
            each[i] = rules[n];
            if (each[i].repetition_penalty == 0) each[i].repetition_penalty = 1;
            each[i].seed = 99;
            each[i].stream = (uint32_t)n;
            each[i].position = (uint64_t)i;
            seen[i] = 0x91;
        }
        struct trial trial = {.rows = DRAWS, .vocab = FEW, .logits = all, .rules = each, .seen = seen};
        trial.token = token;
        trial.distribution = distribution;
        run(&trial);
        int counts[FEW] = {0}, freedom = -1;
        for (int i = 0; i < DRAWS; i++) counts[token[i]]++;
        double statistic = 0;
        for (int i = 0; i < FEW; i++) {
            double expected = (double)distribution[i] * DRAWS;
            if (expected == 0) {
                assert_int_equal(counts[i], 0);
                continue;
            }
            freedom++;
            statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
        }
        assert_true(freedom > 0);
        if (statistic > bounds[freedom - 1]) fail_msg("rule %d: chi-square %g", (int)n, statistic);
    }
}

/* The log-probability that training at the temperature computes, whatever the filters keep. */
static void check_tempered(struct bench *bench) {
    static const float logits[FEW] = {0, 1, -2, 0.5f, 1, -INFINITY, -1, 2, 0.25f, -0.5f, 1.5f, -3};
    static const float temperatures[] = {0, 0.3f, 1, 2.5f};
    for (size_t n = 0; n < sizeof temperatures / sizeof temperatures[0]; n++) {
        struct sampling rule = {.temperature = temperatures[n], .top_p = 0.8, .top_k = 4, .tempered = true};
        rule.repetition_penalty = 1.4f;
        int32_t token, seen = 0x82, watched = 7;
        float logprob, raw, drawn;
        struct trial trial = {.rows = 1, .vocab = FEW, .watches = 1, .logits = logits, .rules = &rule};
        trial.watched = &watched, trial.seen = &seen, trial.token = &token, trial.logprob = &logprob;
        trial.watched_raw = &raw, trial.watched_final = &drawn;
        run_on(bench, &trial);
        double heat = temperatures[n] > 0 ? (double)temperatures[n] : 1, sum = 0, plain_sum = 0;
        for (int i = 0; i < FEW; i++) {
            sum += exp((double)logits[i] / heat);
            plain_sum += exp((double)logits[i]);
        }
        assert_in_range(token, 0, FEW - 1);
        assert_true(fabs((double)logprob - ((double)logits[token] / heat - log(sum))) < 2e-6);
        assert_true(fabs((double)raw - (2 - log(plain_sum))) < 2e-6); /* as ever */
    }
}

static void logprobs_at_the_temperature(void **state) {
    (void)state;
    on_every_device(check_tempered);
}

/* Rows in another order, in smaller batches, with other settings beside them: the same tokens. */
static void a_row_does_not_depend_on_others(void **state) {
    (void)state;
    enum { ROWS = 24, WIDTH = 3001 };
    static float logits[ROWS * WIDTH], turned[ROWS * WIDTH];
    struct sampling rules[ROWS], turned_rules[ROWS];
    int32_t token[ROWS], turned_token[ROWS], alone, other[ROWS];
    float logprob[ROWS], turned_logprob[ROWS], alone_logprob;
    for (int i = 0; i < ROWS * WIDTH; i++)
        logits[i] = (float)random_uniform((struct random_key){.seed = 4, .position = (uint64_t)i}) * 4;
    for (int r = 0; r < ROWS; r++) {
        rules[r] = plain;
        rules[r].temperature = r % 3 ? 1 : 0.5f;
        rules[r].top_p = r % 2 ? 1 : 0.8;
        rules[r].sample = (uint32_t)r;
        turned_rules[ROWS - 1 - r] = rules[r];
        memcpy(turned + (ROWS - 1 - r) * WIDTH, logits + r * WIDTH, WIDTH * sizeof(float));
    }
    struct trial trial = {.rows = ROWS, .vocab = WIDTH, .logits = logits, .rules = rules, .token = token};
    trial.logprob = logprob;
    run(&trial);
    struct trial again = trial;
    again.logits = turned, again.rules = turned_rules, again.token = turned_token;
    again.logprob = turned_logprob;
    run(&again);
    int changed = 0;
    for (int r = 0; r < ROWS; r++) {
        assert_int_equal(token[r], turned_token[ROWS - 1 - r]);
        assert_true(logprob[r] == turned_logprob[ROWS - 1 - r]);
        struct trial one = {.rows = 1, .vocab = WIDTH, .logits = logits + r * WIDTH, .rules = &rules[r]};
        one.token = &alone;
        one.logprob = &alone_logprob;
        run(&one);
        assert_int_equal(alone, token[r]);
        assert_true(alone_logprob == logprob[r]);
        rules[r].seed++;
    }
    trial.token = other;
    run(&trial);
    for (int r = 0; r < ROWS; r++) changed += other[r] != token[r];
    assert_true(changed > ROWS / 2); /* another seed, other tokens */
}

/* ---- Edges ------------------------------------------------------------------------------------------- */

static void greedy_takes_the_first_largest(void **state) {
    (void)state;
    static const float logits[2 * 5] = {1, 3, 3, -INFINITY, 3, -1, -5, -2, -1, -3};
    struct sampling rules[2] = {plain, plain};
    rules[0].temperature = rules[1].temperature = 0;
    rules[0].top_k = 1, rules[0].top_p = 0.1, rules[0].min_p = 1; /* no matter to a greedy choice */
    rules[1].repetition_penalty = 2.5f;
    int32_t token[2], seen[2] = {0, 1}, watched[3] = {1, 3, 0};
    float logprob[2], raw[6], drawn[6];
    struct trial trial = {2, 5, 3, DTYPE_F32, logits, rules, watched, seen, token, logprob, raw, drawn, NULL};
    run(&trial);
    assert_int_equal(token[0], 1);
    assert_int_equal(token[1], 3);
    assert_int_equal(seen[0], 2);
    assert_int_equal(seen[1], 1 | 8);
    double sum0 = exp(1) + 3 * exp(3), sum1 = 2 * exp(-1) + exp(-2) + exp(-3) + exp(-5);
    double sum1_penalised = sum1 - exp(-1) + exp(-2.5);
    assert_true(fabs((double)logprob[0] - (3 - log(sum0))) < 1e-6);
    assert_true(fabs((double)logprob[1] - (-1 - log(sum1))) < 1e-6);
    assert_true(raw[1] == -INFINITY && drawn[1] == -INFINITY && raw[0] == logprob[0] && drawn[0] == raw[0]);
    assert_true(fabs((double)raw[5] - (-1 - log(sum1))) < 1e-6);
    assert_true(fabs((double)drawn[5] - (-2.5 - log(sum1_penalised))) < 1e-6);
}

static void rows_that_are_no_distribution(void **state) {
    (void)state;
    enum { ROWS = 6 };
    float logits[ROWS * 3] = {1,     NAN, 2, -INFINITY, -INFINITY, -INFINITY, 0,   INFINITY, 0,
                              3e38f, 1,   2, 1,         2,         9,         NAN, NAN,      NAN};
    struct sampling rules[ROWS];
    int32_t token[ROWS], seen[ROWS], watched[1] = {2};
    float logprob[ROWS], raw[ROWS], drawn[ROWS], distribution[ROWS * 3];
    for (int greedy = 0; greedy < 2; greedy++) {
        for (int r = 0; r < ROWS; r++) {
            rules[r] = plain;
            rules[r].temperature = greedy ? 0 : 0.01f;
            rules[r].repetition_penalty = 1.1f;
            rules[r].top_p = 0.9, rules[r].top_k = 2;
            seen[r] = 4;
        }
        struct trial trial = {ROWS, 3,     1,       DTYPE_F32, logits, rules,       watched,
                              seen, token, logprob, raw,       drawn,  distribution};
        run(&trial);
        for (int r = 0; r < ROWS; r++) {
            bool good = r == 4 || (greedy && r == 3);
            assert_int_equal(token[r], !good ? -1 : r == 4 ? 2 : 0);
            assert_int_equal(isnan(logprob[r]) != 0, !good);
            assert_int_equal(isnan(raw[r]) != 0, !good);
            assert_int_equal(isnan(drawn[r]) != 0, !good);
            assert_int_equal(isnan(distribution[r * 3]) != 0, !good);
            assert_int_equal(seen[r], good && r == 3 ? 5 : 4);
        }
    }
}

static void a_watched_token_out_of_range_fails_the_device(void **state) {
    (void)state;
    static const int32_t wrong[] = {-1, 5, INT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct bench bench;
        struct error err;
        bench_open(&bench, "cpu");
        struct sample_arguments s = {.rules = &plain};
        s.logits = arena_tensor(&bench.arena, DTYPE_F32, 1, 5);
        s.watched = arena_upload(&bench.arena, DTYPE_I32, 1, 1, &wrong[i]);
        s.watched_raw = s.watched_final = s.logprob = arena_tensor(&bench.arena, DTYPE_F32, 1, 1);
        s.token = arena_tensor(&bench.arena, DTYPE_I32, 1, 1);
        sample_tokens(&bench.device, s);
        assert_int_equal(device_synchronize(&bench.device, &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, "watched token"));
        bench_close(&bench);
    }
}

static void settings_out_of_range_fail_the_device(void **state) {
    (void)state;
    struct sampling wrong[8];
    for (size_t i = 0; i < 8; i++) wrong[i] = plain;
    wrong[0].temperature = -1, wrong[1].temperature = NAN, wrong[2].top_k = -1, wrong[3].top_p = 1.5;
    wrong[4].top_p = -0.5, wrong[5].min_p = 1.5f, wrong[6].min_p = NAN, wrong[7].repetition_penalty = 0;
    for (size_t i = 0; i < 8; i++) {
        struct bench bench;
        struct error err;
        struct sampling rules[2] = {plain, wrong[i]};
        bench_open(&bench, "cpu");
        struct sample_arguments s = {.rules = rules};
        s.logits = arena_tensor(&bench.arena, DTYPE_F32, 2, 5);
        s.logprob = arena_tensor(&bench.arena, DTYPE_F32, 1, 2);
        s.token = arena_tensor(&bench.arena, DTYPE_I32, 1, 2);
        sample_tokens(&bench.device, s);
        assert_int_equal(device_synchronize(&bench.device, &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, "row 1"));
        bench_close(&bench);
    }
}

/* Allocations still to succeed, below 0: all. */
static int allocations = -1;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) {
    if (allocations > 0) allocations--;
    return allocations == 0 ? NULL : __real_malloc(size);
}

static void without_memory_the_device_fails(void **state) {
    (void)state;
    if (!on_own_device()) skip();
    for (int n = 1;; n++) {
        struct bench bench;
        struct error err;
        bench_open(&bench, "cpu");
        struct sample_arguments s = {.rules = &plain};
        s.logits = arena_tensor(&bench.arena, DTYPE_F32, 1, 5);
        s.logprob = arena_tensor(&bench.arena, DTYPE_F32, 1, 1);
        s.token = arena_tensor(&bench.arena, DTYPE_I32, 1, 1);
        allocations = n;
        sample_tokens(&bench.device, s);
        bool reached = allocations == 0;
        allocations = -1;
        assert_int_equal(device_synchronize(&bench.device, &err), reached ? STATUS_FAILED : STATUS_OK);
        if (reached) assert_non_null(strstr(err.message, "out of memory"));
        bench_close(&bench);
        if (!reached) break;
        assert_true(n < 100);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_the_reference_keeps),
        cmocka_unit_test(filters_a_large_vocabulary),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(logprobs_at_the_temperature),
        cmocka_unit_test(a_row_does_not_depend_on_others),
        cmocka_unit_test(greedy_takes_the_first_largest),
        cmocka_unit_test(rows_that_are_no_distribution),
        cmocka_unit_test(a_watched_token_out_of_range_fails_the_device),
        cmocka_unit_test(settings_out_of_range_fail_the_device),
        cmocka_unit_test(without_memory_the_device_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
