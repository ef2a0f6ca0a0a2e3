/* The whole way from clips to scores, against transformers: tests/golden/score, made by
 * tests/reference/score.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "eval/score_json.h"
#include "eval/scorer.h"
#include "tests/device.h"

static const char *const folder = "tests/golden/score";

static struct scorer_settings settings_of(const json_t *row) {
    struct scorer_settings settings = scorer_settings_default();
    settings.model = folder;
    settings.device = test_device("cpu");
    settings.compute = DTYPE_F32;
    settings.max_new_tokens = 256;
    settings.sampling.temperature = 0;
    if (!row) return settings;
    const char *policy = json_string_value(json_object_get(row, "policy"));
    settings.visual = visual_options_default(visual_policy_find(policy));
    settings.sampling.repetition_penalty = json_number_value(json_object_get(row, "repetition_penalty"));
    return settings;
}

static void add_clip(struct score_jobs *jobs, const char *clip, const char *prompt) {
    char path[256];
    struct error err;
    snprintf(path, sizeof(path), "%s%s", strchr(clip, '/') ? "" : "tests/golden/video/", clip);
    assert_int_equal(score_jobs_add(jobs, path, prompt, &err), STATUS_OK);
}

/* Collects the results as JSON. */
static enum status collect(void *context, const struct score_result *result, struct error *err) {
    json_t *object = score_result_json(result, true, err);
    return object && json_array_append_new(context, object) == 0 ? STATUS_OK : STATUS_FAILED;
}

static json_t *run(const struct scorer_settings *settings, const struct score_jobs *jobs) {
    struct scorer *scorer;
    struct error err = {0};
    json_t *results = json_array();
    if (scorer_open(settings, jobs, &scorer, &err) != STATUS_OK) fail_msg("%s", err.message);
    if (scorer_run(scorer, collect, results, &err) != STATUS_OK) fail_msg("%s", err.message);
    struct score_progress progress = scorer_progress(scorer);
    assert_int_equal(progress.done, jobs->count);
    assert_true(progress.new_tokens > 0);
    scorer_close(scorer);
    return results;
}

static void check_equal(const json_t *ours, const json_t *theirs, const char *key) {
    if (!json_equal(json_object_get(ours, key), json_object_get(theirs, key)))
        fail_msg("%s of %s (%s)", key, json_string_value(json_object_get(theirs, "clip")),
                 json_string_value(json_object_get(theirs, "policy")));
}

static void answers_equal_transformers(void **state) {
    (void)state;
    static const char *const equal[] = {"frames",       "prompt_ids",   "completion_ids", "output",
                                        "v_hard_score", "t_hard_score", "p_hard_score"};
    static const char *const near[] = {"v_normed_score",   "t_normed_score",   "p_normed_score",
                                       "v_expected_score", "t_expected_score", "p_expected_score",
                                       "v_confidence",     "t_confidence",     "p_confidence"};
    struct error err;
    json_t *rows = json_read_file("tests/golden/score/expected.json", 1 << 24, &err);
    assert_non_null(rows);
    assert_true(json_array_size(rows) >= 5);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        struct score_jobs jobs = {0};
        add_clip(&jobs, json_string_value(json_object_get(row, "clip")),
                 json_string_value(json_object_get(row, "prompt")));
        struct scorer_settings settings = settings_of(row);
        json_t *results = run(&settings, &jobs), *ours = json_array_get(results, 0);
        for (size_t k = 0; k < sizeof(equal) / sizeof(equal[0]); k++) check_equal(ours, row, equal[k]);
        for (size_t k = 0; k < sizeof(near) / sizeof(near[0]); k++) {
            double a = json_number_value(json_object_get(ours, near[k]));
            double b = json_number_value(json_object_get(row, near[k]));
            if (!json_is_number(json_object_get(ours, near[k])) || !(fabs(a - b) <= 2e-4))
                fail_msg("%s: %.4f, not %.4f", near[k], a, b);
        }
        assert_int_equal(json_object_size(json_object_get(ours, "errors")), 0);
        assert_string_equal(json_string_value(json_object_get(ours, "finish")), "stop");
        json_decref(results);
        score_jobs_free(&jobs);
    }
    json_decref(rows);
}

/* All in one run, with broken videos between them: in order, and as each is alone. */
static void many_are_as_each_alone(void **state) {
    (void)state;
    if (!on_own_device()) skip(); /* no other work for a device than the answers */
    static const char *const clips[] = {
        "bframes.mp4", "tests/eval/test_scorer.c", "odd444.mp4", "no such file", "turned90.mp4", "short.mp4"};
    enum { COUNT = sizeof(clips) / sizeof(clips[0]) };
    struct score_jobs jobs = {0};
    struct scorer_settings settings = settings_of(NULL);
    settings.sampling.temperature = 1; /* draws depend on the place in the list, but not on the company */
    settings.samples = 2;
    settings.max_new_tokens = 24;
    for (int i = 0; i < COUNT; i++) add_clip(&jobs, clips[i], "A red ball rolls.");
    json_t *together = run(&settings, &jobs);
    assert_int_equal(json_array_size(together), COUNT);
    for (int i = 0; i < COUNT; i++) {
        json_t *row = json_array_get(together, (size_t)i);
        const char *path = json_string_value(json_object_get(row, "video"));
        assert_string_equal(path, jobs.list[i].video);
        bool broken = i == 1 || i == 3;
        assert_int_equal(json_is_null(json_object_get(row, "frames")), broken);
        assert_int_equal(json_is_string(json_object_get(json_object_get(row, "errors"), "video")), broken);
        if (!broken) assert_int_equal(json_array_size(json_object_get(row, "samples")), 2);
    }
    struct score_jobs first = {.list = jobs.list, .count = 1};
    json_t *alone = run(&settings, &first);
    assert_true(json_equal(json_object_get(json_array_get(alone, 0), "samples"),
                           json_object_get(json_array_get(together, 0), "samples")));
    json_decref(alone);
    json_decref(together);
    score_jobs_free(&jobs);
}

/* Draws belong to a job's stream, not to its place; and a model in memory scores as its folder does. */
static void streams_and_models_in_memory(void **state) {
    (void)state;
    struct error err;
    struct device device;
    struct model model;
    struct score_jobs jobs = {0};
    struct scorer_settings settings = settings_of(NULL);
    settings.sampling.temperature = 20;
    settings.max_new_tokens = 24;
    add_clip(&jobs, "bframes.mp4", "A red ball rolls.");
    add_clip(&jobs, "bframes.mp4", "A red ball rolls.");
    json_t *both = run(&settings, &jobs);
    json_t *second = json_object_get(json_array_get(both, 1), "completion_ids");
    assert_false(json_equal(json_object_get(json_array_get(both, 0), "completion_ids"), second));

    assert_int_equal(device_open(test_device("cpu"), &device, &err), STATUS_OK);
    assert_int_equal(model_open(folder, &device, DTYPE_F32, &model, &err), STATUS_OK);
    struct tokenizer *tokenizer = tokenizer_load(folder, &err);
    assert_non_null(tokenizer);
    settings.loaded = &model;
    settings.tokenizer = tokenizer;
    settings.device = "none";
    jobs.list[0].stream = 1;
    struct score_jobs first = {.list = jobs.list, .count = 1};
    json_t *alone = run(&settings, &first);
    assert_true(json_equal(json_object_get(json_array_get(alone, 0), "completion_ids"), second));
    json_decref(alone);
    json_decref(both);
    tokenizer_free(tokenizer);
    model_close(&model);
    device_close(&device);
    score_jobs_free(&jobs);
}

/* Several samples: their scores vary, and the summary is that of scores_summarise. */
static void samples_vary_and_are_summarised(void **state) {
    (void)state;
    if (!on_own_device()) skip(); /* no other work for a device than the answers */
    enum { SAMPLES = 8 };
    struct score_jobs jobs = {0};
    struct scorer_settings settings = settings_of(NULL);
    settings.sampling = (struct sampling_wish){1.0, 1.0, 0.0, 1.0, 0, 3};
    settings.samples = SAMPLES;
    add_clip(&jobs, "bframes.mp4", "A red ball rolls.");
    json_t *results = run(&settings, &jobs), *row = json_array_get(results, 0);
    json_t *samples = json_object_get(row, "samples");
    double sum = 0, read = 0;
    bool differ = false;
    for (size_t i = 0; i < SAMPLES; i++) {
        json_t *hard = json_object_get(json_array_get(samples, i), "v_hard_score");
        sum += json_number_value(hard);
        read += json_is_number(hard);
        differ |= !json_equal(json_object_get(json_array_get(samples, i), "output"),
                              json_object_get(json_array_get(samples, 0), "output"));
    }
    assert_true(differ);
    assert_true(read >= SAMPLES / 2);
    assert_true(json_integer_value(json_object_get(row, "v_read")) == (json_int_t)read);
    assert_true(fabs(json_number_value(json_object_get(row, "v_mean")) - sum / read) < 1e-4);
    double agreement = json_number_value(json_object_get(row, "v_agreement"));
    assert_true(agreement > 0 && agreement <= 1);
    assert_true(json_is_number(json_object_get(row, "v_standard_error")));
    json_decref(results);
    score_jobs_free(&jobs);
}

/* Without a penalty the two distributions differ by the temperature alone: cold ones are sure of themselves.
 */
static void raw_probabilities_ignore_the_temperature(void **state) {
    (void)state;
    if (!on_own_device()) skip(); /* no other work for a device than the answers */
    struct score_jobs jobs = {0};
    struct scorer_settings settings = settings_of(NULL);
    settings.sampling = (struct sampling_wish){0.05, 1.0, 0.0, 1.0, 0, 3};
    add_clip(&jobs, "bframes.mp4", "A red ball rolls.");
    json_t *final = run(&settings, &jobs);
    settings.raw_probabilities = true;
    json_t *raw = run(&settings, &jobs);
    double sure = json_number_value(json_object_get(json_array_get(final, 0), "v_confidence"));
    double unsure = json_number_value(json_object_get(json_array_get(raw, 0), "v_confidence"));
    assert_true(sure > 0.999 && unsure > 0.2 && unsure < 0.99);
    json_decref(final);
    json_decref(raw);
    score_jobs_free(&jobs);
}

static enum status refuse(void *context, const struct score_result *result, struct error *err) {
    (void)context;
    (void)result;
    return error_set(err, "enough");
}

static void a_failing_sink_stops_the_run(void **state) {
    (void)state;
    if (!on_own_device()) skip(); /* no other work for a device than the answers */
    struct score_jobs jobs = {0};
    struct scorer_settings settings = settings_of(NULL);
    settings.max_new_tokens = 4;
    for (int i = 0; i < 6; i++) add_clip(&jobs, "short.mp4", "A red ball rolls.");
    struct scorer *scorer;
    struct error err;
    assert_int_equal(scorer_open(&settings, &jobs, &scorer, &err), STATUS_OK);
    assert_int_equal(scorer_run(scorer, refuse, NULL, &err), STATUS_FAILED);
    assert_string_equal(err.message, "enough");
    scorer_close(scorer);
    settings.model = "tests/golden/video";
    assert_int_equal(scorer_open(&settings, &jobs, &scorer, &err), STATUS_FAILED);
    assert_null(scorer);
    score_jobs_free(&jobs);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_equal_transformers),
                                       cmocka_unit_test(many_are_as_each_alone),
                                       cmocka_unit_test(samples_vary_and_are_summarised),
                                       cmocka_unit_test(streams_and_models_in_memory),
                                       cmocka_unit_test(raw_probabilities_ignore_the_temperature),
                                       cmocka_unit_test(a_failing_sink_stops_the_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
