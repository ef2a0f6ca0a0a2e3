/* Prompts of problems: their tokens, what is cut, what cannot be cut, and their frames in another order; and
 * the sets that problems are divided into. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grpo/problems.h"
#include "grpo/prompt_stream.h"
#include "tests/device.h"

static struct error err;
static struct grpo_rows *rows;
static struct tokenizer *tokenizer;

static int set_up(void **state) {
    (void)state;
    tokenizer = tokenizer_load("tests/golden/model/tied", &err);
    return !tokenizer || grpo_rows_open("tests/golden/grpo/rows.jsonl", "tests/golden/video", &rows, &err);
}

static int tear_down(void **state) {
    (void)state;
    grpo_rows_close(rows);
    tokenizer_free(tokenizer);
    return 0;
}

static struct prompt_settings settings_default(void) {
    struct prompt_settings settings = {.tokenizer = tokenizer,
                                       .max_length = INT64_MAX,
                                       .visual = visual_options_default(visual_policy_find("qwen"))};
    settings.visual.budget_pixels = settings.visual.min_pixels = 12544;
    settings.visual.threads = 1;
    return settings;
}

static struct grpo_prompt *make(const struct prompt_settings *settings, int64_t index) {
    struct grpo_prompt *prompt = grpo_prompt_new(settings, rows, index, &err);
    if (!prompt) fail_msg("%s", err.message);
    return prompt;
}

static int64_t count_token(const struct grpo_prompt *prompt, const char *text) {
    int64_t count = 0;
    for (size_t i = 0; i < prompt->tokens.count; i++)
        count += prompt->tokens.ids[i] == tokenizer_find(tokenizer, text);
    return count;
}

static void test_made_as_measured(void **state) {
    (void)state;
    struct prompt_settings settings = settings_default();
    settings.unit_grid_time = true;
    for (int64_t i = 0; i < grpo_rows_count(rows); i++) {
        struct measure measure = {0};
        assert_int_equal(grpo_prompt_measure(&settings, rows, i, &measure, &err), STATUS_OK);
        struct grpo_prompt *prompt = make(&settings, i);
        assert_int_equal(prompt->index, i);
        assert_int_equal(prompt->tokens.count, measure.tokens);
        assert_int_equal(count_token(prompt, "<|video_pad|>"), prompt->visual.tokens);
        assert_int_equal(count_token(prompt, "<|im_start|>"), 3);
        struct pass_visuals rolled = grpo_prompt_visuals(prompt, false),
                            trained = grpo_prompt_visuals(prompt, true);
        assert_true(rolled.grids->second_per_grid == prompt->visual.second_per_grid);
        assert_true(trained.grids->second_per_grid == 1);
        assert_ptr_equal(rolled.patches[0], prompt->visual.patches);
        assert_true(grpo_prompt_bytes(prompt) > visual_bytes(&prompt->visual));
        grpo_prompt_free(prompt);
    }
}

/* What comes before the video may go, the right end stays, and the video is never cut. */
static void test_cut(void **state) {
    (void)state;
    struct prompt_settings settings = settings_default();
    struct grpo_prompt *whole = make(&settings, 0);
    int64_t count = (int64_t)whole->tokens.count, start = 0;
    while (whole->tokens.ids[start] != tokenizer_find(tokenizer, "<|vision_start|>")) start++;
    assert_true(start > 1);
    for (int64_t cut = 0; cut <= start; cut += start) {
        settings.max_length = count - cut;
        struct grpo_prompt *prompt = make(&settings, 0);
        assert_int_equal(prompt->tokens.count, count - cut);
        assert_memory_equal(prompt->tokens.ids, whole->tokens.ids + cut,
                            (size_t)(count - cut) * sizeof *whole->tokens.ids);
        grpo_prompt_free(prompt);
    }
    settings.max_length = count - start - 1;
    struct measure measure;
    assert_null(grpo_prompt_new(&settings, rows, 0, &err));
    assert_non_null(strstr(err.message, "cuts into the video of a prompt of"));
    assert_int_equal(grpo_prompt_measure(&settings, rows, 0, &measure, &err), STATUS_FAILED);
    grpo_prompt_free(whole);
}

/* The number of the frame of `from` that is frame `to` of the shuffled patches; -1: none is. */
static int64_t find_frame(const struct grpo_prompt *prompt, const struct patch_config *config,
                          const float *shuffled, int64_t to) {
    const struct visual *visual = &prompt->visual;
    const int64_t pixels = config->patch * config->patch, own = visual->grid[1] * visual->grid[2];
    for (int64_t from = 0; from < visual->grid[0] * config->temporal; from++) {
        bool same = true;
        for (int64_t row = 0; row < own && same; row++)
            for (int64_t channel = 0; channel < 3 && same; channel++)
                same = memcmp(visual->patches + (from / config->temporal * own + row) * visual->columns +
                                  (channel * config->temporal + from % config->temporal) * pixels,
                              shuffled + (to / config->temporal * own + row) * visual->columns +
                                  (channel * config->temporal + to % config->temporal) * pixels,
                              (size_t)pixels * sizeof(float)) == 0;
        if (same) return from;
    }
    return -1;
}

static struct shuffled_video shuffle(const struct grpo_prompt *prompt, const struct patch_config *config,
                                     uint64_t seed) {
    struct shuffled_video shuffled;
    if (grpo_prompt_shuffle_frames(prompt, config, seed, &shuffled, &err)) fail_msg("%s", err.message);
    return shuffled;
}

/* A device that is given frames makes the same patches of them, in the same order. */
static void check_cut_in_order(const struct prompt_settings *settings,
                               const struct shuffled_video *expected) {
    struct prompt_settings with_frames = *settings;
    struct device device;
    struct arena arena;
    with_frames.visual.frames = with_frames.decode = true;
    struct grpo_prompt *prompt = make(&with_frames, 0);
    struct shuffled_video shuffled = shuffle(prompt, &settings->visual.processor, 1);
    assert_true(!shuffled.patches && shuffled.frames->pixels == prompt->visual.frames->pixels);
    test_device_open("cpu", &device);
    arena_init(&arena, &device, 0);
    struct tensor to = arena_tensor(&arena, DTYPE_F32, prompt->visual.rows, prompt->visual.columns);
    vision_write_patches(&arena, to, NULL, shuffled.frames);
    size_t bytes = (size_t)(to.rows * to.cols) * sizeof(float);
    float *patches = malloc(bytes);
    assert_non_null(patches);
    assert_int_equal(device_read(&device, patches, to, &err), STATUS_OK);
    assert_memory_equal(patches, expected->patches, bytes);
    free(patches);
    arena_free(&arena);
    device_close(&device);
    shuffled_video_free(&shuffled);
    grpo_prompt_free(prompt);
}

static void test_shuffled_frames(void **state) {
    (void)state;
    const struct prompt_settings settings = settings_default();
    const struct patch_config *config = &settings.visual.processor;
    struct grpo_prompt *prompt = make(&settings, 0);
    int64_t frames = prompt->visual.grid[0] * config->temporal, seen = 0, moved = 0;
    size_t bytes = (size_t)(prompt->visual.rows * prompt->visual.columns) * sizeof(float);
    struct shuffled_video one = shuffle(prompt, config, 1), again = shuffle(prompt, config, 1),
                          other = shuffle(prompt, config, 2);
    assert_true(frames >= 4 && frames < 63);
    assert_memory_equal(one.patches, again.patches, bytes);
    assert_memory_not_equal(one.patches, other.patches, bytes);
    for (int64_t f = 0; f < frames; f++) {
        int64_t from = find_frame(prompt, config, one.patches, f);
        assert_true(from >= 0);
        seen |= (int64_t)1 << from;
        moved += from != f;
    }
    assert_int_equal(seen, ((int64_t)1 << frames) - 1); /* no two frames of this video are alike */
    assert_true(moved > 1);
    check_cut_in_order(&settings, &one);
    shuffled_video_free(&one);
    shuffled_video_free(&again);
    shuffled_video_free(&other);
    grpo_prompt_free(prompt);
}

/* In their order, one that cannot be had among them. */
static void test_stream(void **state) {
    (void)state;
    struct prompt_settings settings = settings_default();
    const int64_t list[] = {2, 0, 3, 1, 2};
    const struct prefetch_limits limits = {.threads = 3};
    struct grpo_prompt *first = make(&settings, 0);
    for (int cut = 0; cut < 2; cut++) {
        settings.max_length = cut ? 10 : INT64_MAX;
        struct prompt_stream *stream = prompt_stream_start(&settings, rows, list, 5, &limits, &err);
        assert_non_null(stream);
        for (int i = 0; i < 4; i++) { /* the fifth is left to the end */
            struct grpo_prompt *prompt = prompt_stream_next(stream, &err);
            if (cut) {
                assert_null(prompt);
                assert_non_null(strstr(err.message, "cuts into the video"));
                continue;
            }
            assert_int_equal(prompt->index, list[i]);
            if (i == 1) assert_int_equal(prompt->tokens.count, first->tokens.count);
            grpo_prompt_free(prompt);
        }
        prompt_stream_stop(stream);
    }
    prompt_stream_stop(NULL);
    grpo_prompt_free(first);
}

/* ---- Problems ---------------------------------------------------------------------------------------- */

static enum status open_problems(const char *const *words, size_t count, struct prompt_settings settings,
                                 struct train_config *config, struct problems *problems,
                                 struct skipped *skipped) {
    *skipped = (struct skipped){0};
    if (train_config_read(NULL, words, count, config, &err) != STATUS_OK) fail_msg("%s", err.message);
    return problems_open(problems, config, &settings, skipped, NULL, NULL, &err);
}

static void test_problems(void **state) {
    (void)state;
    const char *words[] = {"stage=grpo",
                           "model_name_or_path=tests/golden/model/tied",
                           "output_dir=x",
                           "dataset=tests/golden/grpo/rows.jsonl",
                           "media_dir=tests/golden/video",
                           "max_samples=3",
                           "val_size=0.3"};
    const size_t count = sizeof words / sizeof *words;
    struct train_config config;
    struct problems problems;
    struct skipped skipped;
    struct prompt_settings settings = settings_default();

    /* One of three is held out, and a data set of its own to evaluate on takes its place. */
    for (size_t eval = 0; eval < 2; eval++) {
        if (eval == 1) words[count - 1] = "eval_dataset=tests/golden/grpo/rows.jsonl";
        if (open_problems(words, count, settings, &config, &problems, &skipped)) fail_msg("%s", err.message);
        if (eval == 0) {
            assert_int_equal(problems.train.count, 2);
            assert_int_equal(problems.eval.count, 1);
            assert_int_equal(problems.train.list[0] + problems.train.list[1] + problems.eval.list[0], 3);
            assert_true(problems.train.longest <= problems.train.tokens && problems.train.longest > 0);
        } else {
            assert_int_equal(problems.eval.count, 3);
            assert_ptr_equal(problems.eval.rows, problems.eval_rows);
        }
        assert_int_equal(skipped.count, 0);
        problems_close(&problems);
        skipped_free(&skipped);
        train_config_free(&config);
    }

    settings.max_length = 10;
    assert_int_equal(open_problems(words, count - 1, settings, &config, &problems, &skipped), STATUS_FAILED);
    assert_int_equal(skipped.count, 3);
    assert_non_null(strstr(err.message, "3 of 3 rows cannot be used"));
    problems_close(&problems);
    skipped_free(&skipped);
    config.max_skipped_ratio = 1;
    assert_int_equal(problems_open(&problems, &config, &settings, &skipped, NULL, NULL, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "no row can be trained on; the first: max_prompt_length 10 cuts"));
    problems_close(&problems);
    skipped_free(&skipped);
    train_config_free(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_as_measured), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_shuffled_frames),  cmocka_unit_test(test_stream),
        cmocka_unit_test(test_problems),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
