/* Rollouts: what they draw depends on nothing but their keys, their log-probabilities are those of a training
 * pass, features come from the cache, and faults leave them usable. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grpo/rollout.h"
#include "tests/device.h"
#include "tests/model/support_golden.h"
#include "tests/refuse.h"

enum { PROMPTS = 3, SAMPLES = 4, NEW_TOKENS = 14 };

struct fixture {
    struct safetensors golden;
    struct golden_model opened;
    struct golden_case cases[PROMPTS];
    struct rollout_prompt prompts[PROMPTS];
    struct rollout_settings settings;
};

static void open_fixture(struct fixture *f, const char *shape, const char *device, enum dtype compute) {
    *f = (struct fixture){.golden = golden_open(shape)};
    golden_model_open(&f->opened, shape, device, compute);
    f->opened.model.stream = DTYPE_F32; /* as over trained weights */
    for (int p = 0; p < PROMPTS; p++) {
        const struct golden_case *c = &f->cases[p];
        f->cases[p] = golden_case_get(&f->golden, golden_cases[p]);
        f->prompts[p] = (struct rollout_prompt){.tokens = c->tokens,
                                                .count = c->count,
                                                .visuals = {.count = c->visual_count,
                                                            .grids = c->visuals,
                                                            .patches = (const float *const *)c->patches},
                                                .problem = (uint32_t)(100 + p),
                                                .samples = SAMPLES};
    }
    f->settings = (struct rollout_settings){.model = &f->opened.model,
                                            .temperature = 1.3,
                                            .top_p = 0.9,
                                            .top_k = 60,
                                            .min_p = 0.01,
                                            .repetition_penalty = 1.1,
                                            .seed = 5,
                                            .max_new_tokens = NEW_TOKENS};
}

static void close_fixture(struct fixture *f) {
    for (int p = 0; p < PROMPTS; p++) golden_case_free(&f->cases[p]);
    golden_model_close(&f->opened);
    safetensors_close(&f->golden);
}

static struct rollout *make(const struct fixture *f) {
    struct error err;
    struct rollout *rollout = rollout_new(&f->settings, &err);
    if (!rollout) fail_msg("%s", err.message);
    return rollout;
}

static struct rollout_completions run(struct rollout *rollout, uint64_t step,
                                      const struct rollout_prompt *prompts, int64_t count) {
    struct error err;
    struct rollout_completions completions;
    if (rollout_run(rollout, step, prompts, count, &completions, &err)) fail_msg("%s", err.message);
    return completions;
}

/* All prompts at once, by a rollout of their own. */
static struct rollout_completions run_once(const struct fixture *f, uint64_t step) {
    struct rollout *rollout = make(f);
    struct rollout_completions completions = run(rollout, step, f->prompts, PROMPTS);
    rollout_free(rollout);
    return completions;
}

static bool same(const struct rollout_completion *a, const struct rollout_completion *b) {
    return a->count == b->count && a->finish == b->finish &&
           memcmp(a->tokens, b->tokens, (size_t)a->count * sizeof *a->tokens) == 0 &&
           memcmp(a->logprobs, b->logprobs, (size_t)a->count * sizeof *a->logprobs) == 0;
}

static void assert_same(const struct rollout_completions *a, const struct rollout_completions *b) {
    assert_int_equal(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++)
        if (!same(&a->items[i], &b->items[i])) fail_msg("completion %d differs", (int)i);
}

/* ---- Keys -------------------------------------------------------------------------------------------- */

static void check_batching(enum dtype compute) {
    static const struct rollout_settings limits[] = {
        {.sequences = 1}, {.sequences = 3}, {.cache_bytes = 1}, {.sequences = 16}};
    struct fixture f;
    open_fixture(&f, "tied", "cpu", compute);
    struct rollout_completions together = run_once(&f, 3);
    assert_int_equal(together.count, PROMPTS * SAMPLES);
    struct rollout *rollout = make(&f);
    for (int p = PROMPTS - 1; p >= 0; p--) { /* one by one, in another order, by a rollout that lives on */
        struct rollout_completions alone = run(rollout, 3, &f.prompts[p], 1);
        struct rollout_completions part = {together.items + p * SAMPLES, SAMPLES};
        assert_same(&alone, &part);
        rollout_completions_free(&alone);
    }
    rollout_free(rollout);
    int64_t longest = 0;
    for (int p = 0; p < PROMPTS; p++)
        if (f.prompts[p].count > longest) longest = f.prompts[p].count;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        f.settings.sequences = limits[i].sequences;
        if (limits[i].cache_bytes) /* barely one completion */
            f.settings.cache_bytes = (longest + NEW_TOKENS - 1) * kv_row_bytes(&f.opened.model);
        struct rollout_completions other = run_once(&f, 3);
        assert_same(&together, &other);
        rollout_completions_free(&other);
    }
    rollout_completions_free(&together);
    close_fixture(&f);
}

static void batching_does_not_show(void **state) {
    (void)state;
    check_batching(DTYPE_F32);
    check_batching(DTYPE_BF16);
}

static void draws_follow_their_keys(void **state) {
    (void)state;
    struct fixture f;
    open_fixture(&f, "square", "cpu", DTYPE_F32);
    struct rollout_completions first = run_once(&f, 7), again = run_once(&f, 7), later = run_once(&f, 8);
    assert_same(&first, &again);
    f.settings.seed++;
    struct rollout_completions reseeded = run_once(&f, 7);
    f.settings.seed--;
    for (int p = 0; p < PROMPTS; p++) f.prompts[p].problem += 10;
    struct rollout_completions other = run_once(&f, 7);
    for (int p = 0; p < PROMPTS; p++) f.prompts[p].problem -= 10;
    for (int64_t i = 0; i < first.count; i++) {
        assert_false(same(&first.items[i], &later.items[i]));
        assert_false(same(&first.items[i], &reseeded.items[i]));
        assert_false(same(&first.items[i], &other.items[i]));
        for (int64_t j = 0; j < i; j++) assert_false(same(&first.items[i], &first.items[j]));
    }
    struct rollout *rollout = make(&f); /* samples 2 and 3 alone */
    f.prompts[1].samples = 2;
    f.prompts[1].first_sample = 2;
    struct rollout_completions part = run(rollout, 7, &f.prompts[1], 1);
    assert_int_equal(part.count, 2);
    for (int i = 0; i < 2; i++) assert_true(same(&part.items[i], &first.items[SAMPLES + 2 + i]));
    struct rollout_completions none = run(rollout, 7, NULL, 0);
    assert_int_equal(none.count, 0);
    rollout_free(rollout);
    struct rollout_completions *all[] = {&first, &again, &later, &reseeded, &other, &part, &none};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) rollout_completions_free(all[i]);
    close_fixture(&f);
}

/* ---- Frequencies ------------------------------------------------------------------------------------- */

enum { VOCAB = 300 };

/* The emulator takes a second for some hundred. */
static int draws(void) {
    return on_own_device() ? 6000 : 1000;
}

/* The logits of the first token after a prompt, transformers' own, of which each that the prompt has is
 * divided by the penalty if positive and else multiplied by it (Keskar et al., "CTRL", 2019). */
static void read_logits(const struct fixture *f, int prompt, double penalty, float *logits) {
    const struct golden_tensor last = golden_get(&f->golden, "%s/logits", golden_cases[prompt]);
    bool seen[VOCAB] = {false};
    assert_int_equal(last.cols, VOCAB);
    memcpy(logits, (const float *)last.data + (last.rows - 1) * VOCAB, VOCAB * sizeof *logits);
    for (int64_t i = 0; i < f->prompts[prompt].count; i++) {
        int32_t token = f->prompts[prompt].tokens[i];
        if (!seen[token]) logits[token] *= (float)(logits[token] > 0 ? 1 / penalty : penalty);
        seen[token] = true;
    }
}

struct entry {
    double weight;
    int token;
};

static int falling(const void *a, const void *b) {
    double x = ((const struct entry *)a)->weight, y = ((const struct entry *)b)->weight;
    return (x < y) - (x > y);
}

/* The distribution that the settings make of the model's, by sorting (Hugging Face's order of filters). */
static void expected_distribution(const struct rollout_settings *s, const float *logits, double *p) {
    struct entry list[VOCAB];
    double total = 0, tail = 0;
    for (int i = 0; i < VOCAB; i++) list[i] = (struct entry){(double)logits[i], i};
    for (int i = 0; i < VOCAB; i++) list[i].weight = exp(list[i].weight / s->temperature);
    qsort(list, VOCAB, sizeof list[0], falling);
    int count = s->top_k > 0 && s->top_k < VOCAB ? (int)s->top_k : VOCAB;
    for (int i = 0; i < count; i++) total += list[i].weight;
    for (; count > 1 && (tail + list[count - 1].weight) / total <= 1 - s->top_p; count--)
        tail += list[count - 1].weight;
    while (count > 1 && list[count - 1].weight < s->min_p * list[0].weight) count--;
    total = 0;
    for (int i = 0; i < count; i++) total += list[i].weight;
    for (int i = 0; i < VOCAB; i++) p[i] = 0;
    for (int i = 0; i < count; i++) p[list[i].token] = list[i].weight / total;
}

/* Pearson's statistic, standardised (Wilson and Hilferty): tokens that are expected fewer than five times
 * count as one. */
static double deviation(const double *p, const int *counts) {
    double statistic = 0, rest = 0, bins = 0;
    int rest_count = 0;
    for (int i = 0; i < VOCAB; i++) {
        double expected = p[i] * draws();
        if (expected == 0) assert_int_equal(counts[i], 0);
        if (expected < 5) {
            rest += expected;
            rest_count += counts[i];
            continue;
        }
        statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
        bins++;
    }
    if (rest > 0) {
        statistic += (rest_count - rest) * (rest_count - rest) / rest;
        bins++;
    }
    double freedom = bins - 1, spread = 2 / (9 * freedom);
    return freedom > 0 ? (cbrt(statistic / freedom) - (1 - spread)) / sqrt(spread) : 0;
}

/* From the prompt to the drawn token, for each setting. */
static void draws_follow_the_model(void **state) {
    (void)state;
    static const struct rollout_settings rules[] = {
        {.temperature = 1, .top_p = 1, .repetition_penalty = 1},
        {.temperature = 0.6, .top_p = 1, .repetition_penalty = 1},
        {.temperature = 1.7, .top_p = 1, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 0.8, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 1, .top_k = 20, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 1, .min_p = 0.1, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 1, .repetition_penalty = 1.5},
        {.temperature = 1, .top_p = 1, .repetition_penalty = 0.7},
        {.temperature = 1.3, .top_p = 0.9, .top_k = 40, .min_p = 0.02, .repetition_penalty = 1.2},
    };
    struct fixture f;
    float logits[VOCAB];
    double p[VOCAB];
    open_fixture(&f, "untied", "cpu", DTYPE_F32);
    for (size_t n = 0; n < sizeof rules / sizeof rules[0]; n++) {
        int counts[VOCAB] = {0};
        struct rollout_settings kept = f.settings;
        f.settings.temperature = rules[n].temperature;
        f.settings.top_p = rules[n].top_p;
        f.settings.top_k = rules[n].top_k;
        f.settings.min_p = rules[n].min_p;
        f.settings.repetition_penalty = rules[n].repetition_penalty;
        f.settings.max_new_tokens = 1;
        f.prompts[1].samples = draws();
        struct rollout *rollout = make(&f);
        struct rollout_completions drawn = run(rollout, n, &f.prompts[1], 1);
        for (int64_t i = 0; i < drawn.count; i++) counts[drawn.items[i].tokens[0]]++;
        read_logits(&f, 1, f.settings.repetition_penalty, logits);
        expected_distribution(&f.settings, logits, p);
        double z = deviation(p, counts);
        if (!(z < 3.3)) fail_msg("rule %d: the draws deviate by %.2f standard deviations", (int)n, z);
        rollout_completions_free(&drawn);
        rollout_free(rollout);
        f.settings = kept;
    }
    close_fixture(&f);
}

/* ---- Log-probabilities ------------------------------------------------------------------------------- */

/* The largest difference between the rollout's log-probabilities and those of a pass over the groups. */
static double worst_difference(struct fixture *f, const struct rollout_completions *drawn,
                               double temperature) {
    struct pass_completion completions[PROMPTS * SAMPLES];
    struct pass_group groups[PROMPTS];
    struct error err;
    float logprob[PROMPTS * SAMPLES * NEW_TOKENS];
    const struct pass_settings settings = {.model = &f->opened.model};
    for (int i = 0; i < PROMPTS * SAMPLES; i++)
        completions[i] = (struct pass_completion){drawn->items[i].tokens, drawn->items[i].count};
    for (int p = 0; p < PROMPTS; p++)
        groups[p] = (struct pass_group){.tokens = f->prompts[p].tokens,
                                        .count = f->prompts[p].count,
                                        .visuals = f->prompts[p].visuals,
                                        .completions = completions + p * SAMPLES,
                                        .completion_count = SAMPLES};
    struct pass_runner *runner = pass_runner_new(&settings, &err);
    const struct pass_reading how = {.temperature = temperature};
    if (pass_groups_read(runner, groups, PROMPTS, how, logprob, NULL, &err)) fail_msg("%s", err.message);
    pass_runner_free(runner);
    double worst = 0;
    for (int64_t i = 0, at = 0; i < drawn->count; i++)
        for (int64_t t = 0; t < drawn->items[i].count; t++) {
            double difference = fabs((double)drawn->items[i].logprobs[t] - (double)logprob[at++]);
            if (!(difference <= worst)) worst = difference;
        }
    return worst;
}

static void logprobs_are_those_of_training(void **state) {
    (void)state;
    static const double temperatures[] = {1, 1.3, 0.7};
    for (size_t i = 0; i < sizeof temperatures / sizeof temperatures[0]; i++) {
        double worst[2];
        for (int bf16 = 0; bf16 < 2; bf16++) {
            struct fixture f;
            open_fixture(&f, "untied", "cpu", bf16 ? DTYPE_BF16 : DTYPE_F32);
            f.settings.temperature = temperatures[i];
            struct rollout_completions drawn = run_once(&f, 1);
            worst[bf16] = worst_difference(&f, &drawn, temperatures[i]);
            rollout_completions_free(&drawn);
            close_fixture(&f);
        }
        print_message("temperature %.1f: rollout and training part by at most %.2g in f32, %.2g in bf16\n",
                      temperatures[i], worst[0], worst[1]);
        assert_true(worst[0] <= 1e-4);
        assert_true(worst[1] <= 0.01);
    }
}

/* ---- Ends -------------------------------------------------------------------------------------------- */

static void stop_tokens_end_completions(void **state) {
    (void)state;
    struct fixture f;
    open_fixture(&f, "tied", "guard", DTYPE_F32);
    struct rollout_completions free_running = run_once(&f, 2);
    const struct rollout_completion *whole = &free_running.items[5];
    int32_t stop = whole->tokens[6];
    int64_t length = 0;
    while (whole->tokens[length++] != stop) continue;
    f.settings.stop_tokens = &stop;
    f.settings.stop_token_count = 1;
    struct rollout *rollout = make(&f);
    int32_t kept = stop;
    stop = 0; /* the rollout has a copy */
    struct rollout_completions stopped = run(rollout, 2, f.prompts, PROMPTS);
    assert_int_equal(whole->count, NEW_TOKENS);
    assert_int_equal(whole->finish, FINISH_LENGTH);
    assert_int_equal(stopped.items[5].count, length);
    assert_int_equal(stopped.items[5].finish, FINISH_STOP);
    assert_int_equal(stopped.items[5].tokens[length - 1], kept);
    assert_memory_equal(stopped.items[5].tokens, whole->tokens, (size_t)length * sizeof(int32_t));
    rollout_free(rollout);
    rollout_completions_free(&free_running);
    rollout_completions_free(&stopped);
    close_fixture(&f);
}

/* The weights are those of the moment, without anything being told. */
static void weights_may_change_between_runs(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    open_fixture(&f, "tied", "cpu", DTYPE_F32);
    struct rollout *rollout = make(&f);
    struct rollout_completions before = run(rollout, 1, f.prompts, PROMPTS);
    float *norm = read_floats(&f.opened, f.opened.model.language.norm);
    int64_t hidden = f.opened.model.config.hidden;
    for (int64_t i = 0; i < hidden; i++) norm[i] *= i % 2 ? 1.5f : 0.4f;
    struct tensor changed = arena_upload(&f.opened.arena, DTYPE_F32, 1, hidden, norm);
    f.opened.model.language.norm = changed;
    struct rollout_completions after = run(rollout, 1, f.prompts, PROMPTS);
    struct rollout_completions fresh = run_once(&f, 1);
    assert_same(&after, &fresh);
    assert_false(same(&before.items[0], &after.items[0]));
    assert_true(worst_difference(&f, &after, f.settings.temperature) <= 1e-4);
    for (int64_t i = 0; i < hidden; i++) norm[i] = NAN;
    device_write(&f.opened.device, changed, norm);
    assert_int_equal(device_synchronize(&f.opened.device, &err), STATUS_OK);
    struct rollout_completions lost = run(rollout, 1, f.prompts, PROMPTS);
    for (int64_t i = 0; i < lost.count; i++) {
        assert_int_equal(lost.items[i].finish, FINISH_FAILED);
        assert_int_equal(lost.items[i].count, 0);
    }
    free(norm);
    rollout_free(rollout);
    struct rollout_completions *all[] = {&before, &after, &fresh, &lost};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) rollout_completions_free(all[i]);
    close_fixture(&f);
}

/* ---- Features ---------------------------------------------------------------------------------------- */

static const char *const keys[PROMPTS][4] = {{"a", "b"}, {"c", "d"}, {"e"}};

static void features_come_from_the_cache(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    open_fixture(&f, "untied", "guard", DTYPE_BF16);
    struct rollout_completions without = run_once(&f, 4);
    int64_t patches = 0;
    struct vision_cache *cache = vision_cache_new(1 << 20, NULL, "tower", &err);
    assert_non_null(cache);
    f.settings.cache = cache;
    for (int p = 0; p < PROMPTS; p++) f.prompts[p].visuals.keys = keys[p];
    struct rollout *rollout = make(&f);
    struct rollout_completions first = run(rollout, 4, f.prompts, PROMPTS);
    patches = rollout_statistics(rollout).patches;
    assert_true(patches > 0 && rollout_statistics(rollout).vision_seconds > 0);
    size_t entries = vision_cache_use(cache).entries;
    assert_true(entries > 0);
    for (int p = 0; p < PROMPTS; p++) /* what is known needs no patches; the keyless visual of "mixed" does */
        if (keys[p][1]) f.prompts[p].visuals.patches = NULL;
    struct rollout_completions second = run(rollout, 4, f.prompts, PROMPTS);
    assert_same(&without, &first);
    assert_same(&without, &second);
    assert_int_equal(vision_cache_use(cache).entries, entries);
    assert_true(rollout_statistics(rollout).patches < 2 * patches);
    rollout_free(rollout);
    vision_cache_free(cache);
    rollout_completions_free(&without);
    rollout_completions_free(&first);
    rollout_completions_free(&second);
    close_fixture(&f);
}

/* ---- Faults ------------------------------------------------------------------------------------------ */

static void wrong_settings_are_refused(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    open_fixture(&f, "tied", "cpu", DTYPE_F32);
    enum { WRONG = 9 };
    struct rollout_settings wrong[WRONG];
    for (int i = 0; i < WRONG; i++) wrong[i] = f.settings;
    wrong[0].temperature = -0.1, wrong[1].temperature = NAN, wrong[2].top_p = 1.01, wrong[3].top_k = -1;
    wrong[4].min_p = NAN, wrong[5].repetition_penalty = 0, wrong[6].max_new_tokens = 0;
    wrong[7].sequences = matmul_exact_rows(&f.opened.device) + 1, wrong[8].top_k = (int64_t)INT32_MAX + 1;
    for (int i = 0; i < WRONG; i++) assert_null(rollout_new(&wrong[i], &err));
    close_fixture(&f);
}

/* After a run that failed the next one is as ever. */
static void faults_leave_it_usable(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    struct rollout_completions completions;
    open_fixture(&f, "tied", "cpu", DTYPE_F32);
    struct rollout_completions expected = run_once(&f, 1);
    struct rollout *rollout = make(&f);
    struct rollout_prompt kept = f.prompts[2];
    f.prompts[2].visuals.count--;
    assert_int_equal(rollout_run(rollout, 1, f.prompts, PROMPTS, &completions, &err), STATUS_FAILED);
    assert_int_equal(completions.count, 0);
    f.prompts[2] = kept;
    f.prompts[2].samples = 0;
    assert_int_equal(rollout_run(rollout, 1, f.prompts, PROMPTS, &completions, &err), STATUS_FAILED);
    f.prompts[2] = kept;
    completions = run(rollout, 1, f.prompts, PROMPTS);
    assert_same(&expected, &completions);
    rollout_completions_free(&completions);
    rollout_rest(rollout);
    completions = run(rollout, 1, f.prompts, PROMPTS);
    assert_same(&expected, &completions);
    assert_int_equal(rollout_statistics(rollout).new_tokens, 2 * PROMPTS * SAMPLES * NEW_TOKENS);
    rollout_completions_free(&completions);
    rollout_free(rollout);
    f.settings.cache_bytes = 10 * kv_row_bytes(&f.opened.model);
    rollout = make(&f);
    assert_int_equal(rollout_run(rollout, 1, f.prompts, PROMPTS, &completions, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "cache"));
    rollout_free(rollout);
    rollout_completions_free(&expected);
    close_fixture(&f);
}

/* A whole life with the allocation after `allowed` others failing. */
static enum status live(struct fixture *f, int allowed, struct error *err) {
    struct rollout_completions completions = {0};
    allocations_left = allowed;
    struct vision_cache *cache = vision_cache_new(1 << 20, NULL, "tower", err);
    f->settings.cache = cache;
    struct rollout *rollout = cache ? rollout_new(&f->settings, err) : NULL;
    enum status status =
        rollout ? rollout_run(rollout, 1, f->prompts, PROMPTS, &completions, err) : STATUS_FAILED;
    allocations_left = -1;
    rollout_completions_free(&completions);
    rollout_free(rollout);
    vision_cache_free(cache);
    f->opened.device.failed = false; /* lack of memory is kept; the next life shall begin anew */
    return status;
}

static void survives_lack_of_memory(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    int allowed = 0;
    open_fixture(&f, "square", "cpu", DTYPE_BF16);
    f.settings.max_new_tokens = 3;
    for (int p = 0; p < PROMPTS; p++) f.prompts[p].samples = 2, f.prompts[p].visuals.keys = keys[p];
    while (live(&f, allowed, &err)) {
        if (!strstr(err.message, "out of memory")) fail_msg("%d: '%s'", allowed, err.message);
        allowed++;
    }
    assert_in_range(allowed, 50, 1000);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batching_does_not_show),       cmocka_unit_test(draws_follow_their_keys),
        cmocka_unit_test(draws_follow_the_model),       cmocka_unit_test(logprobs_are_those_of_training),
        cmocka_unit_test(stop_tokens_end_completions),  cmocka_unit_test(weights_may_change_between_runs),
        cmocka_unit_test(features_come_from_the_cache), cmocka_unit_test(wrong_settings_are_refused),
        cmocka_unit_test(faults_leave_it_usable),       cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
