/* Positions and the vision tower's layout: against transformers, and their errors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "tests/model/support_golden.h"

/* The published sizes that matter here, with small token numbers. */
static struct model_config small_config(void) {
    return (struct model_config){
        .vocab = 100,
        .image_token = 90,
        .video_token = 91,
        .vision_start_token = 92,
        .vision_end_token = 93,
        .vision = {.patch = 14, .merge = 2, .temporal_patch = 2, .window = 112, .tokens_per_second = 2},
    };
}

static struct model_config golden_config(const char *shape) {
    struct model_config config;
    struct error err;
    char folder[256];
    snprintf(folder, sizeof folder, "tests/golden/model/%s", shape);
    if (model_config_read(folder, &config, &err)) fail_msg("%s", err.message);
    return config;
}

static void positions_equal_transformers(void **state) {
    (void)state;
    for (int s = 0; golden_shapes[s]; s++) {
        struct safetensors golden = golden_open(golden_shapes[s]);
        struct model_config config = golden_config(golden_shapes[s]);
        for (int c = 0; golden_cases[c]; c++) {
            struct golden_case prompt = golden_case_get(&golden, golden_cases[c]);
            struct golden_tensor wanted = golden_get(&golden, "%s/position_ids", golden_cases[c]);
            int32_t delta = *(const int32_t *)golden_get(&golden, "%s/rope_delta", golden_cases[c]).data;
            int32_t *positions = calloc(3 * (size_t)prompt.count, sizeof *positions);
            struct sequence_positions out = {
                .axis = {positions, positions + prompt.count, positions + 2 * prompt.count}};
            struct error err;
            if (positions_of_sequence(&config, prompt.tokens, prompt.count, prompt.visuals,
                                      prompt.visual_count, &out, &err))
                fail_msg("%s", err.message);
            assert_memory_equal(positions, wanted.data, 3 * (size_t)prompt.count * sizeof *positions);
            assert_int_equal(out.next, prompt.count + delta);
            free(positions);
            golden_case_free(&prompt);
        }
        safetensors_close(&golden);
    }
}

/* Segments must be what cu_seqlens says: boundaries, first 0. */
static void check_segments(const struct attention_segment *segments, int64_t count,
                           struct golden_tensor wanted) {
    const int32_t *bounds = wanted.data;
    assert_int_equal(count, wanted.cols - 1);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(segments[i].query, bounds[i]);
        assert_int_equal(segments[i].query + segments[i].queries, bounds[i + 1]);
        assert_int_equal(segments[i].key, segments[i].query);
        assert_int_equal(segments[i].keys, segments[i].queries);
        assert_int_equal(segments[i].prefix_keys, 0);
        assert_false(segments[i].causal);
    }
}

static void check_plan(const struct safetensors *golden, const char *name, const char *kind,
                       const struct model_config *config, const struct visual_grid *grids, int64_t count) {
    struct vision_plan plan;
    struct error err;
    if (vision_plan_make(&config->vision, grids, count, &plan, &err)) fail_msg("%s", err.message);
    struct golden_tensor index = golden_get(golden, "%s/%s.window_index", name, kind);
    const int32_t *order = index.data;
    assert_int_equal(plan.features, index.cols);
    for (int64_t i = 0; i < plan.features; i++) {
        assert_int_equal(plan.feature_order[order[i]], i);
        for (int64_t j = 0; j < 4; j++) assert_int_equal(plan.patch_order[4 * i + j], 4 * order[i] + j);
    }
    check_segments(plan.windows, plan.window_count,
                   golden_get(golden, "%s/%s.cu_window_seqlens", name, kind));
    check_segments(plan.frames, plan.frame_count, golden_get(golden, "%s/%s.cu_seqlens", name, kind));
    vision_plan_free(&plan);
}

static void windows_equal_transformers(void **state) {
    (void)state;
    for (int s = 0; golden_shapes[s]; s++) {
        struct safetensors golden = golden_open(golden_shapes[s]);
        struct model_config config = golden_config(golden_shapes[s]);
        for (int c = 0; golden_cases[c]; c++) {
            struct golden_case prompt = golden_case_get(&golden, golden_cases[c]);
            int64_t videos = prompt.visual_count - prompt.images;
            if (prompt.images)
                check_plan(&golden, golden_cases[c], "image", &config, prompt.visuals, prompt.images);
            if (videos)
                check_plan(&golden, golden_cases[c], "video", &config, prompt.visuals + prompt.images,
                           videos);
            golden_case_free(&prompt);
        }
        safetensors_close(&golden);
    }
}

/* A 2 x 3 grid of features: positions count patches, two rows and columns a feature. */
static void patches_know_their_place(void **state) {
    (void)state;
    struct model_config config = small_config();
    struct visual_grid grid = {1, 4, 6, 1};
    struct vision_plan plan;
    struct error err;
    static const int32_t rows[] = {0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3, 2, 2, 3, 3};
    static const int32_t cols[] = {0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5};
    assert_int_equal(vision_plan_make(&config.vision, &grid, 1, &plan, &err), STATUS_OK);
    assert_int_equal(plan.patches, 24);
    assert_memory_equal(plan.positions, rows, sizeof rows);
    assert_memory_equal(plan.positions + 24, cols, sizeof cols);
    vision_plan_free(&plan);
}

static enum status place(const int32_t *tokens, int64_t count, const struct visual_grid *visuals,
                         int64_t visual_count, int32_t *positions, int32_t *features,
                         struct sequence_positions *out, struct error *err) {
    struct model_config config = small_config();
    *out = (struct sequence_positions){.axis = {positions, positions + count, positions + 2 * count},
                                       .feature_rows = features};
    return positions_of_sequence(&config, tokens, count, visuals, visual_count, out, err);
}

/* Two visuals side by side, without anything between them. */
static void features_find_their_tokens(void **state) {
    (void)state;
    static const int32_t tokens[] = {1, 91, 91, 91, 91, 90, 2};
    static const struct visual_grid visuals[] = {{2, 2, 4, 1.9}, {1, 2, 2, 0}};
    static const int32_t wanted[] = {0, 1, 1, 3, 3, 4, 5, 0, 1, 1, 1, 1, 4, 5, 0, 1, 2, 1, 2, 4, 5};
    static const int32_t rows[] = {1, 2, 3, 4, 5};
    int32_t positions[21], features[5];
    struct sequence_positions out;
    struct error err;
    assert_int_equal(place(tokens, 7, visuals, 2, positions, features, &out, &err), STATUS_OK);
    assert_memory_equal(positions, wanted, sizeof wanted);
    assert_memory_equal(features, rows, sizeof rows);
    assert_int_equal(out.features, 5);
    assert_int_equal(out.next, 6);
}

static void expect_error(const int32_t *tokens, int64_t count, const struct visual_grid *visuals,
                         int64_t visual_count, const char *part) {
    int32_t positions[64];
    struct sequence_positions out;
    struct error err = {0};
    assert_int_equal(place(tokens, count, visuals, visual_count, positions, NULL, &out, &err), STATUS_FAILED);
    if (!strstr(err.message, part)) fail_msg("'%s' does not say '%s'", err.message, part);
}

static void pads_and_visuals_must_match(void **state) {
    (void)state;
    static const int32_t tokens[] = {1, 91, 91, 2}, mixed[] = {91, 90}, bad[] = {1, 100}, low[] = {-1};
    static const struct visual_grid two = {1, 2, 4, 1}, four = {1, 4, 4, 1},
                                    both[] = {{1, 2, 4, 1}, {1, 2, 4, 1}};
    expect_error(tokens, 4, NULL, 0, "only 0 visuals are given");
    expect_error(tokens, 4, &four, 1, "4 features but 2 pad tokens");
    expect_error(tokens, 4, both, 2, "only 1 have pad tokens");
    expect_error(mixed, 2, &two, 1, "2 features but 1 pad tokens");
    expect_error(bad, 2, NULL, 0, "outside the vocabulary");
    expect_error(low, 1, NULL, 0, "outside the vocabulary");
    expect_error(tokens, (int64_t)1 << 40, NULL, 0, "more than one sequence may have");
}

static void grids_are_checked(void **state) {
    (void)state;
    static const int32_t tokens[] = {91, 91};
    struct visual_grid grids[] = {{0, 2, 4, 1},
                                  {1, 3, 4, 1},
                                  {1, 2, -4, 1},
                                  {1, 2, 5, 1},
                                  {1 << 20, 2, 1 << 20, 1},
                                  {1, INT64_MAX - 1, 2, 1},
                                  {1, 2, 4, NAN},
                                  {1, 2, 4, -1},
                                  {1, 2, 4, 1e30}};
    struct model_config config = small_config();
    struct vision_plan plan;
    struct error err;
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        expect_error(tokens, 2, &grids[i], 1, "visual");
        if (i < 8)
            assert_int_equal(vision_plan_make(&config.vision, &grids[i], 1, &plan, &err), STATUS_FAILED);
    }
    struct visual_grid large[] = {{1 << 10, 1 << 9, 1 << 9, 1}, {1, 2, 2, 1}};
    assert_int_equal(vision_plan_make(&config.vision, large, 2, &plan, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "patches in one pass"));
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

static int allocations_left = -1; /* -1: no limit */

void *__real_memory_new(size_t count, size_t size, const char *what, struct error *err);
void *__wrap_memory_new(size_t count, size_t size, const char *what, struct error *err);
void *__wrap_memory_new(size_t count, size_t size, const char *what, struct error *err) {
    if (allocations_left == 0) {
        error_set(err, "out of memory for %s", what);
        return NULL;
    }
    if (allocations_left > 0) allocations_left--;
    return __real_memory_new(count, size, what, err);
}

static void plan_survives_lack_of_memory(void **state) {
    (void)state;
    struct model_config config = small_config();
    struct visual_grid grid = {2, 4, 6, 1};
    struct vision_plan plan;
    struct error err;
    int failures = 0;
    for (allocations_left = 0; vision_plan_make(&config.vision, &grid, 1, &plan, &err); failures++) {
        assert_non_null(strstr(err.message, "out of memory"));
        assert_null(plan.patch_order);
        allocations_left = failures + 1;
    }
    allocations_left = -1;
    assert_int_equal(failures, 5);
    vision_plan_free(&plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_equal_transformers), cmocka_unit_test(windows_equal_transformers),
        cmocka_unit_test(patches_know_their_place),     cmocka_unit_test(features_find_their_tokens),
        cmocka_unit_test(pads_and_visuals_must_match),  cmocka_unit_test(grids_are_checked),
        cmocka_unit_test(plan_survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
