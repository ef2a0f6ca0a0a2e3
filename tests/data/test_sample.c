/* Samples against LLaMA-Factory (tests/reference/sft_encode.py), truncation, and what cannot be encoded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "data/packing.h"
#include "data/prefetch.h"
#include "data/sample.h"

static const char golden[] = "tests/golden/sft";
static const char media[] = "tests/golden/video";

static struct tokenizer *tokenizer;
static json_t *rules;

static int set_up(void **state) {
    (void)state;
    struct error err;
    tokenizer = tokenizer_load("tests/golden/tokenizer", &err);
    rules = json_read_file("tests/golden/sft/rules.json", 1 << 20, &err);
    return tokenizer && rules ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tokenizer_free(tokenizer);
    json_decref(rules);
    return 0;
}

static double setting(const char *name) {
    const json_t *value = json_object_get(json_object_get(rules, "settings"), name);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* The settings of the goldens. */
static struct sample_options golden_options(void) {
    struct sample_options options = {.tokenizer = tokenizer, .cutoff = 100000};
    options.visual = visual_options_default(visual_policy_find("llamafactory"));
    options.visual.threads = 1;
    options.visual.fps = setting("video_fps");
    options.visual.max_frames = (int64_t)setting("video_maxlen");
    options.visual.max_pixels = setting("video_max_pixels");
    options.visual.min_pixels = setting("video_min_pixels");
    options.visual.image_max_pixels = setting("image_max_pixels");
    options.visual.image_min_pixels = setting("image_min_pixels");
    return options;
}

static struct dataset *open_golden(const char *names) {
    const struct dataset_options options = {.folder = golden, .names = names, .media_folder = media};
    struct dataset *dataset;
    struct error err;
    if (dataset_open(&options, &dataset, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(dataset_skip_count(dataset), 0);
    return dataset;
}

static void check_tokens(const struct sample *sample, const json_t *line) {
    const json_t *ids = json_object_get(line, "ids"), *ranges = json_object_get(line, "labels");
    assert_int_equal(sample->count, json_array_size(ids));
    size_t range = 0;
    int64_t labels = 0;
    for (int64_t i = 0; i < sample->count; i++) {
        assert_int_equal(sample->tokens[i], json_integer_value(json_array_get(ids, (size_t)i)));
        const json_t *bounds = json_array_get(ranges, range);
        bool labelled = bounds && i >= json_integer_value(json_array_get(bounds, 0));
        assert_int_equal(sample->labels[i], labelled ? sample->tokens[i] : SAMPLE_NO_LABEL);
        labels += labelled && i > 0;
        if (labelled && i + 1 == json_integer_value(json_array_get(bounds, 1))) range++;
    }
    assert_int_equal(range, json_array_size(ranges));
    assert_int_equal(sample->label_count, labels);
}

/* Grids are those of the visuals, in the order of their pads. */
static void check_visuals(const struct sample *sample) {
    int32_t pads[2] = {tokenizer_find(tokenizer, "<|video_pad|>"),
                       tokenizer_find(tokenizer, "<|image_pad|>")};
    int32_t start = tokenizer_find(tokenizer, "<|vision_start|>");
    int64_t visual = 0;
    for (int64_t i = 0; i < sample->count; i++) {
        if (sample->tokens[i] != start) continue;
        assert_true(visual < sample->visual_count);
        const struct sample_visual *found = &sample->visuals[visual];
        const struct visual_grid *grid = &sample->grids[visual++];
        assert_int_equal(grid->t * grid->h * grid->w, found->visual.rows);
        for (int64_t pad = 0; pad < found->visual.tokens; pad++)
            assert_int_equal(sample->tokens[++i], pads[found->image]);
        assert_int_not_equal(sample->tokens[i + 1], sample->tokens[i]);
    }
    assert_int_equal(visual, sample->visual_count);
}

/* What was measured is what was decoded, patches aside. */
static void check_measured(const struct sample *sample, const struct sample *measured) {
    assert_int_equal(measured->count, sample->count);
    assert_int_equal(measured->untruncated_count, sample->untruncated_count);
    assert_memory_equal(measured->tokens, sample->tokens, (size_t)sample->count * sizeof *sample->tokens);
    assert_memory_equal(measured->labels, sample->labels, (size_t)sample->count * sizeof *sample->labels);
    assert_int_equal(measured->visual_count, sample->visual_count);
    for (int64_t i = 0; i < sample->visual_count; i++) {
        assert_memory_equal(&measured->grids[i], &sample->grids[i], sizeof *sample->grids);
        assert_string_equal(measured->visuals[i].path, sample->visuals[i].path);
        assert_null(measured->visuals[i].visual.patches);
        assert_non_null(sample->visuals[i].visual.patches);
    }
    assert_true(sample_bytes(measured) < sample_bytes(sample) || sample->visual_count == 0);
}

static void check_line(const struct dataset *dataset, const json_t *line) {
    struct sample_options options = golden_options();
    struct sample sample, measured;
    struct error err;
    int64_t row = json_integer_value(json_object_get(line, "row"));
    options.cutoff = json_integer_value(json_object_get(line, "cutoff"));
    options.mask_history = json_is_true(json_object_get(line, "mask_history"));
    options.train_on_prompt = json_is_true(json_object_get(line, "train_on_prompt"));
    bool whole = options.cutoff == 100000;
    enum status status = whole ? sample_encode(&options, dataset, row, &sample, &err)
                               : sample_measure(&options, dataset, row, &sample, &err);
    if (json_integer_value(json_object_get(line, "lost_pads")) > 0) {
        assert_int_equal(status, STATUS_FAILED);
        assert_non_null(strstr(err.message, "inside a video or image"));
        return;
    }
    if (json_array_size(json_object_get(line, "labels")) == 0) {
        assert_int_equal(status, STATUS_FAILED);
        assert_non_null(strstr(err.message, "leaves nothing of the answer"));
        return;
    }
    if (status != STATUS_OK) fail_msg("%s", err.message);
    check_tokens(&sample, line);
    if (whole) {
        check_visuals(&sample);
        assert_int_equal(sample_measure(&options, dataset, row, &measured, &err), STATUS_OK);
        check_measured(&sample, &measured);
        sample_free(&measured);
    }
    sample_free(&sample);
}

static void test_golden(void **state) {
    (void)state;
    struct error err;
    char *text;
    size_t length, lines = 0;
    assert_int_equal(file_read("tests/golden/sft/encoded.jsonl", 1 << 24, &text, &length, &err), STATUS_OK);
    struct dataset *dataset = NULL;
    char name[64] = "";
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
        json_t *json = json_loadb(line, (size_t)(end - line), 0, NULL);
        assert_non_null(json);
        if (strcmp(name, json_string_value(json_object_get(json, "name"))) != 0) {
            dataset_close(dataset);
            snprintf(name, sizeof name, "%s", json_string_value(json_object_get(json, "name")));
            dataset = open_golden(name);
        }
        check_line(dataset, json);
        json_decref(json);
    }
    dataset_close(dataset);
    free(text);
    assert_true(lines >= 100);
}

static void test_cut(void **state) {
    (void)state;
    const json_t *cuts = json_object_get(rules, "cuts"), *cut;
    size_t i;
    json_array_foreach(cuts, i, cut) {
        int64_t numbers[5];
        for (size_t j = 0; j < 5; j++) numbers[j] = json_integer_value(json_array_get(cut, j));
        struct sample_pair kept =
            sample_cut((struct sample_pair){.source = numbers[0], .target = numbers[1]}, numbers[2]);
        assert_int_equal(kept.source, numbers[3]);
        assert_int_equal(kept.target, numbers[4]);
    }
    assert_true(i > 300);
}

/* Several sets are read one after another; the same rows give the same samples. */
static void test_concatenated(void **state) {
    (void)state;
    struct dataset *alone = open_golden("alpaca"), *both = open_golden("plain, alpaca");
    struct sample_options options = golden_options();
    struct error err;
    int64_t first = dataset_count(both) - dataset_count(alone);
    assert_int_equal(first, 4);
    for (int64_t i = 0; i < dataset_count(alone); i++) {
        struct sample a, b;
        assert_int_equal(sample_measure(&options, alone, i, &a, &err), STATUS_OK);
        assert_int_equal(sample_measure(&options, both, first + i, &b, &err), STATUS_OK);
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.tokens, b.tokens, (size_t)a.count * sizeof *a.tokens);
        sample_free(&a);
        sample_free(&b);
    }
    dataset_close(alone);
    dataset_close(both);
}

/* A cache's reader: it knows the grid, and has no patches. */
static enum status read_known(void *context, const char *path, bool image,
                              const struct visual_options *options, struct visual *visual,
                              struct error *err) {
    (void)options;
    if (image) return error_set(err, "%s: not known", path);
    ++*(int *)context;
    *visual = (struct visual){.rows = 32, .grid = {2, 4, 4}, .tokens = 8, .second_per_grid = 0.5};
    return STATUS_OK;
}

static void test_reader(void **state) {
    (void)state;
    struct dataset *dataset = open_golden("plain");
    struct sample_options options = golden_options();
    struct sample sample;
    struct error err;
    int calls = 0;
    options.reader = read_known;
    options.reader_context = &calls;
    assert_int_equal(sample_encode(&options, dataset, 0, &sample, &err), STATUS_OK);
    assert_int_equal(calls, 1);
    assert_int_equal(sample.visual_count, 1);
    assert_int_equal(sample.grids[0].t, 2);
    assert_true(sample.grids[0].second_per_grid == 0.5);
    check_visuals(&sample);
    sample_free(&sample);
    dataset_close(dataset);
}

struct job {
    const struct sample_options *options;
    const struct dataset *dataset;
};

static enum status make_sample(void *context, int64_t item, void **result, size_t *bytes, struct error *err) {
    const struct job *job = context;
    struct sample *sample = calloc(1, sizeof *sample);
    assert_non_null(sample);
    enum status status =
        sample_encode(job->options, job->dataset, item % dataset_count(job->dataset), sample, err);
    if (status != STATUS_OK) {
        free(sample);
        return status;
    }
    *result = sample;
    *bytes = sample_bytes(sample);
    return STATUS_OK;
}

static void release_sample(void *context, void *result) {
    (void)context;
    sample_free(result);
    free(result);
}

/* Workers encode side by side and get what one alone gets. */
static void test_threads(void **state) {
    (void)state;
    struct dataset *dataset = open_golden("plain,many,alpaca");
    struct sample_options options = golden_options();
    struct job job = {&options, dataset};
    const struct prefetch_work work = {.context = &job, .make = make_sample, .release = release_sample};
    const struct prefetch_limits limits = {.threads = 4, .ahead = 8};
    struct error err;
    struct prefetch *prefetch = prefetch_start(&work, 2 * dataset_count(dataset), &limits, &err);
    assert_non_null(prefetch);
    for (int64_t i = 0; i < 2 * dataset_count(dataset); i++) {
        void *result;
        struct sample alone;
        assert_int_equal(prefetch_next(prefetch, &result, &err), STATUS_OK);
        struct sample *sample = result;
        assert_int_equal(sample_measure(&options, dataset, i % dataset_count(dataset), &alone, &err),
                         STATUS_OK);
        check_measured(sample, &alone);
        sample_free(&alone);
        release_sample(NULL, sample);
    }
    prefetch_stop(prefetch);
    dataset_close(dataset);
}

static void test_unreadable(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"{\"conversations\": [{\"from\": \"human\", \"value\": \"<video>\"}, {\"from\": \"gpt\", \"value\": "
         "\"x\"}], \"videos\": [\"gone.mp4\"]}",
         "tests/golden/video/gone.mp4: No such file"},
        {"{\"conversations\": [{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", \"value\": "
         "\"x\"}], \"images\": [\"formulas.json\"]}",
         "formulas.json"},
        {"{\"conversations\": [{\"from\": \"human\", \"value\": \"<video> <|video_pad|>\"}, {\"from\": "
         "\"gpt\", \"value\": \"x\"}], \"videos\": [\"short.mp4\"]}",
         "1 <|video_pad|> of their own"},
    };
    char path[] = "/tmp/vs2-test-sample-XXXXXX";
    struct error err;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sample_options options = golden_options();
        struct row_format format = row_format_default();
        struct dataset *dataset;
        struct sample sample;
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, rows[i][0], strlen(rows[i][0]), 0), strlen(rows[i][0]));
        assert_int_equal(dataset_open_file(path, &format, media, &dataset, &err), STATUS_OK);
        assert_int_equal(sample_encode(&options, dataset, 0, &sample, &err), STATUS_FAILED);
        if (!strstr(err.message, rows[i][1])) fail_msg("%s", err.message);
        assert_int_equal(sample_measure(&options, dataset, 0, &sample, &err), STATUS_FAILED);
        assert_null(sample.tokens);
        dataset_close(dataset);
    }
    close(fd);
    unlink(path);
}

static void test_packing(void **state) {
    (void)state;
    const json_t *cases = json_object_get(rules, "packings"), *one;
    size_t number;
    json_array_foreach(cases, number, one) {
        const json_t *lengths = json_object_get(one, "lengths"), *groups = json_object_get(one, "groups");
        int64_t values[64];
        struct packing packing;
        struct error err;
        for (size_t i = 0; i < json_array_size(lengths); i++)
            values[i] = json_integer_value(json_array_get(lengths, i));
        int64_t cutoff = json_integer_value(json_object_get(one, "cutoff"));
        int64_t count = (int64_t)json_array_size(lengths);
        assert_int_equal(packing_make(values, count, cutoff, &packing, &err), STATUS_OK);
        assert_int_equal(packing.group_count, json_array_size(groups));
        for (int64_t g = 0; g < packing.group_count; g++) {
            const json_t *group = json_array_get(groups, (size_t)g);
            assert_int_equal(packing.starts[g + 1] - packing.starts[g], json_array_size(group));
            for (size_t i = 0; i < json_array_size(group); i++)
                assert_int_equal(packing.items[packing.starts[g] + (int64_t)i],
                                 json_integer_value(json_array_get(group, i)));
        }
        packing_free(&packing);
        values[0] = cutoff + 1;
        assert_int_equal(packing_make(values, count, cutoff, &packing, &err), STATUS_FAILED);
        values[0] = 0;
        assert_int_equal(packing_make(values, count, cutoff, &packing, &err), STATUS_FAILED);
        assert_null(packing.items);
    }
    assert_true(number >= 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),  cmocka_unit_test(test_cut),     cmocka_unit_test(test_concatenated),
        cmocka_unit_test(test_reader),  cmocka_unit_test(test_threads), cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_packing),
    };
    return cmocka_run_group_tests_name("sample", tests, set_up, tear_down);
}
