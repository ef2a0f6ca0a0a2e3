/* GRPO's losses: against torch autograd (tests/golden/grpo/losses.json, made and compared with TRL by
 * tests/reference/grpo_math.py), against finite differences, and that it does not matter how the sequences of
 * a micro-batch were divided. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "base/json.h"
#include "grpo/loss.h"

enum { MOST_SEQUENCES = 8, MOST_TOKENS = 16 };

/* The sequences of a micro-batch, and where their numbers lie. */
struct micro_batch {
    struct loss_sequence sequences[MOST_SEQUENCES];
    float numbers[MOST_SEQUENCES][7][MOST_TOKENS];
    struct loss_counts counts;
    int64_t count;
};

/* ---- The golden file --------------------------------------------------------------------------------- */

static json_t *golden;

static int setup(void **state) {
    (void)state;
    struct error err;
    golden = json_read_file("tests/golden/grpo/losses.json", 4 << 20, &err);
    if (!golden) fail_msg("%s", err.message);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    json_decref(golden);
    return 0;
}

static const json_t *member(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!value) fail_msg("the golden file has no '%s'", key);
    return value;
}

static double number(const json_t *object, const char *key) {
    return json_number_value(member(object, key));
}

static void read_numbers(const json_t *sequence, const char *key, float *numbers) {
    const json_t *list = member(sequence, key);
    assert_true(json_array_size(list) <= MOST_TOKENS);
    for (size_t t = 0; t < json_array_size(list); t++)
        numbers[t] = (float)json_number_value(json_array_get(list, t));
}

static void read_sequence(const json_t *json, bool old, bool rollout, float numbers[7][MOST_TOKENS],
                          struct loss_sequence *sequence) {
    static const char *const keys[] = {"logprob", "old_logprob", "reference", "rollout", "entropy"};
    for (int i = 0; i < 5; i++) read_numbers(json, keys[i], numbers[i]);
    *sequence = (struct loss_sequence){.count = (int64_t)json_array_size(member(json, "logprob")),
                                       .advantage = number(json, "advantage"),
                                       .masked = json_is_true(member(json, "masked")),
                                       .logprob = numbers[0],
                                       .old_logprob = old ? numbers[1] : NULL,
                                       .reference = numbers[2],
                                       .rollout = rollout ? numbers[3] : NULL,
                                       .entropy = numbers[4],
                                       .d_logprob = numbers[5],
                                       .d_entropy = numbers[6]};
}

static void read_batch(const json_t *test, struct micro_batch *batch) {
    const char *name = json_string_value(member(test, "batch"));
    const json_t *json = member(member(golden, "batches"), name), *list = member(json, "sequences");
    bool old = json_is_true(member(test, "old")), rollout = json_is_true(member(test, "rollout"));
    memset(batch, 0, sizeof *batch);
    batch->count = (int64_t)json_array_size(list);
    assert_true(batch->count > 0 && batch->count <= MOST_SEQUENCES);
    for (int64_t i = 0; i < batch->count; i++) {
        read_sequence(json_array_get(list, (size_t)i), old, rollout, batch->numbers[i], &batch->sequences[i]);
        if (!batch->sequences[i].masked) batch->counts.tokens += batch->sequences[i].count;
    }
    batch->counts.sequences = batch->count;
    batch->counts.micro_batches = (int64_t)number(json, "micro_batches");
    batch->counts.step_tokens = (double)batch->counts.tokens + number(json, "rest_tokens");
}

static struct loss_settings read_settings(const json_t *test) {
    struct loss_settings settings = {
        .kind = loss_find(json_string_value(member(test, "loss_type"))),
        .epsilon = number(test, "epsilon"),
        .epsilon_high = number(test, "epsilon_high"),
        .delta = number(test, "delta"),
        .beta = number(test, "beta"),
        .sequence_level = json_is_true(member(test, "sequence_level")),
        .entropy_coef = number(test, "entropy_coef"),
        .importance_cap = number(test, "importance_cap"),
        .max_completion_length = (int64_t)number(test, "max_completion_length"),
    };
    assert_non_null(settings.kind);
    return settings;
}

/* ---- Against torch ----------------------------------------------------------------------------------- */

static void assert_near(double got, double wanted, const char *what, size_t test) {
    if (!(fabs(got - wanted) <= 1e-6 * fabs(wanted) + 1e-12))
        fail_msg("case %zu, %s: %.9g, not %.9g", test, what, got, wanted);
}

static void compare_gradients(const json_t *wanted, const char *key, const struct micro_batch *batch,
                              int which, size_t test) {
    for (int64_t i = 0; i < batch->count; i++) {
        const json_t *list = json_array_get(member(wanted, key), (size_t)i);
        assert_int_equal(json_array_size(list), batch->sequences[i].count);
        for (int64_t t = 0; t < batch->sequences[i].count; t++)
            assert_near(batch->numbers[i][which][t], json_number_value(json_array_get(list, (size_t)t)), key,
                        test);
    }
}

static void compare_statistics(const json_t *wanted, const struct loss_statistics *got, size_t test) {
    const struct {
        const char *name;
        double value;
    } values[] = {
        {"loss", got->loss},
        {"kl", got->kl},
        {"kl_completion", got->kl_completion},
        {"entropy", got->entropy},
        {"clip_low_mean", got->clip_low_mean},
        {"clip_high_mean", got->clip_high_mean},
        {"clip_region_mean", got->clip_region_mean},
        {"clip_low_min", got->clip_low_min},
        {"clip_high_max", got->clip_high_max},
        {"ratio_mean", got->ratio_mean},
        {"ratio_min", got->ratio_min},
        {"ratio_max", got->ratio_max},
        {"correction_mean", got->correction_mean},
        {"correction_min", got->correction_min},
        {"correction_max", got->correction_max},
        {"mismatch_mean", got->mismatch_mean},
        {"mismatch_max", got->mismatch_max},
    };
    assert_int_equal(json_object_size(wanted), sizeof values / sizeof *values);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        assert_near(values[i].value, number(wanted, values[i].name), values[i].name, test);
}

static void losses_are_those_of_torch(void **state) {
    (void)state;
    size_t i;
    json_t *test;
    json_array_foreach(member(golden, "cases"), i, test) {
        struct micro_batch batch;
        read_batch(test, &batch);
        struct loss_settings settings = read_settings(test);
        struct loss_sums sums = loss_sums_start();
        loss_compute(&settings, &batch.counts, batch.sequences, batch.count, &sums);
        struct loss_statistics statistics = loss_statistics(&sums);
        compare_statistics(member(test, "statistics"), &statistics, i);
        compare_gradients(test, "d_logprob", &batch, 5, i);
        compare_gradients(test, "d_entropy", &batch, 6, i);
    }
    assert_true(i >= 90);
}

/* ---- Against finite differences ---------------------------------------------------------------------- */

static double loss_of(const struct loss_settings *settings, struct micro_batch *batch) {
    struct loss_sums sums = loss_sums_start();
    loss_compute(settings, &batch->counts, batch->sequences, batch->count, &sums);
    return sums.loss;
}

/* The slope of the loss by numbers[i][which][t]; the golden inputs are multiples of 1/256, so that a step of
 * a power of two is exact in f32. */
static double slope(const struct loss_settings *settings, struct micro_batch *batch, int64_t i, int which,
                    int64_t t) {
    const double step = 1.0 / 4096;
    float *value = &batch->numbers[i][which][t], kept = *value;
    *value = (float)(kept + step);
    double above = loss_of(settings, batch);
    *value = (float)(kept - step);
    double below = loss_of(settings, batch);
    *value = kept;
    return (above - below) / (2 * step);
}

static void compare_slopes(const struct loss_settings *settings, struct micro_batch *batch, int inputs,
                           int gradients, size_t test) {
    for (int64_t i = 0; i < batch->count; i++) {
        for (int64_t t = 0; t < batch->sequences[i].count; t++) {
            loss_of(settings, batch);
            double derivative = batch->numbers[i][gradients][t];
            double found = slope(settings, batch, i, inputs, t);
            if (fabs(found - derivative) > 2e-6 + 1e-5 * fabs(derivative))
                fail_msg("case %zu, sequence %lld, token %lld: %.9g, but the loss rises by %.9g", test,
                         (long long)i, (long long)t, derivative, found);
        }
    }
}

/* Where old log-probabilities are given and nothing is held at a number that depends on the current ones. A
 * step across the end of a clip would miss its corner; none of these inputs lies so near. */
static void gradients_are_slopes(void **state) {
    (void)state;
    size_t i, compared = 0;
    json_t *test;
    json_array_foreach(member(golden, "cases"), i, test) {
        struct loss_settings settings = read_settings(test);
        struct micro_batch batch;
        if (!json_is_true(member(test, "old")) || settings.kind == loss_find("cispo")) continue;
        read_batch(test, &batch);
        compare_slopes(&settings, &batch, 0, 5, i);
        compare_slopes(&settings, &batch, 4, 6, i);
        compared++;
    }
    assert_true(compared >= 40);
}

/* ---- What does not matter ---------------------------------------------------------------------------- */

static const json_t *a_case(const char *batch, const char *loss_type) {
    size_t i;
    const json_t *test;
    json_array_foreach(member(golden, "cases"), i, test) {
        if (strcmp(json_string_value(member(test, "batch")), batch) == 0 &&
            strcmp(json_string_value(member(test, "loss_type")), loss_type) == 0 &&
            number(test, "beta") != 0 && json_is_true(member(test, "old")))
            return test;
    }
    fail_msg("no case of %s on '%s'", loss_type, batch);
    return NULL;
}

/* Sequence by sequence, in several passes: the same numbers as all at once. */
static void passes_add_up(void **state) {
    (void)state;
    for (int kind = 0; loss_names[kind]; kind++) {
        struct micro_batch whole, parts;
        const json_t *test = a_case("masked", loss_names[kind]);
        struct loss_settings settings = read_settings(test);
        struct loss_sums sums = loss_sums_start(), added = loss_sums_start();
        read_batch(test, &whole);
        read_batch(test, &parts);
        loss_compute(&settings, &whole.counts, whole.sequences, whole.count, &sums);
        for (int64_t i = 0; i < parts.count; i++)
            loss_compute(&settings, &parts.counts, &parts.sequences[i], 1, &added);
        struct loss_statistics a = loss_statistics(&sums), b = loss_statistics(&added);
        assert_memory_equal(&a, &b, sizeof a);
        assert_memory_equal(whole.numbers, parts.numbers, sizeof whole.numbers);
    }
}

/* Completions without tokens have no loss, but count as completions. */
static void empty_completions_are_nothing(void **state) {
    (void)state;
    for (int kind = 0; loss_names[kind]; kind++) {
        struct micro_batch batch;
        const json_t *test = a_case("near", loss_names[kind]);
        struct loss_settings settings = read_settings(test);
        read_batch(test, &batch);
        double all = loss_of(&settings, &batch);
        struct loss_sums sums = loss_sums_start();
        loss_compute(&settings, &batch.counts, batch.sequences, batch.count, &sums);
        batch.sequences[batch.count] = (struct loss_sequence){.advantage = 1};
        loss_compute(&settings, &batch.counts, &batch.sequences[batch.count], 1, &sums);
        assert_true(sums.loss == all);
        struct loss_sums none = loss_sums_start();
        loss_compute(&settings, &batch.counts, &batch.sequences[batch.count], 1, &none);
        struct loss_statistics statistics = loss_statistics(&none), zeros = {0};
        assert_memory_equal(&statistics, &zeros, sizeof zeros);
    }
}

/* A number that is not finite is not lost on the way. */
static void what_is_no_number_stays_none(void **state) {
    (void)state;
    for (int kind = 0; loss_names[kind]; kind++) {
        for (int which = 0; which < 3; which++) {
            struct micro_batch batch;
            const json_t *test = a_case("near", loss_names[kind]);
            struct loss_settings settings = read_settings(test);
            read_batch(test, &batch);
            batch.numbers[1][which][0] = NAN;
            assert_false(isfinite(loss_of(&settings, &batch)));
        }
    }
}

static void names_are_known(void **state) {
    (void)state;
    for (int i = 0; loss_names[i]; i++) {
        assert_non_null(loss_find(loss_names[i]));
        assert_int_equal(loss_is_sequence_level(loss_find(loss_names[i])),
                         strcmp(loss_names[i], "gspo") == 0);
    }
    assert_null(loss_find("sapo"));
    assert_null(loss_find(""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_those_of_torch),
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(passes_add_up),
        cmocka_unit_test(empty_completions_are_nothing),
        cmocka_unit_test(what_is_no_number_stays_none),
        cmocka_unit_test(names_are_known),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
