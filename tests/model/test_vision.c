/* The vision tower: every block against transformers, on both devices and in both types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/vision.h"
#include "tests/model/support_golden.h"

enum { ROW_STEP = 5 /* activations of the goldens keep every fifth row */ };

struct towers {
    struct vision_plan plan;
    struct tensor features;
    struct vision_tape tape;
};

/* Runs the tower over `count` visuals, with what its blocks take and give. */
static struct towers run_tower(struct golden_model *opened, const struct visual_grid *grids,
                               float *const *patches, int64_t count) {
    struct towers run;
    struct error err;
    const struct vision_config *config = &opened->model.config.vision;
    if (vision_plan_make(config, grids, count, &run.plan, &err)) fail_msg("%s", err.message);
    run.features = arena_tensor(&opened->arena, opened->model.compute, run.plan.features, config->out_hidden);
    if (vision_tape_make(&run.tape, &opened->model, &opened->arena, &run.plan, (struct tape_depth){0}, &err))
        fail_msg("%s", err.message);
    struct tensor packed = arena_tensor(&opened->arena, DTYPE_F32, run.plan.patches, 1176);
    for (int64_t i = 0, first = 0; i < count; i++) {
        int64_t rows = grids[i].t * grids[i].h * grids[i].w;
        device_write(&opened->device, tensor_rows(packed, first, rows), patches[i]);
        first += rows;
    }
    vision_forward_keep(&opened->model, &opened->arena, run.features, packed, &run.plan, &run.tape);
    return run;
}

static void release(struct towers *run) {
    vision_plan_free(&run->plan);
    vision_tape_free(&run->tape);
}

/* Every fifth row of `values`, row r of which is row order[r] of the golden tensor (order NULL: r). */
static void compare_rows(const float *values, struct golden_tensor wanted, const int32_t *order, int64_t rows,
                         double tolerance, const char *what) {
    int64_t compared = 0;
    for (int64_t r = 0; r < rows; r++) {
        int64_t row = order ? order[r] : r;
        if (row % ROW_STEP) continue;
        compared++;
        assert_close(values + r * wanted.cols, (const float *)wanted.data + row / ROW_STEP * wanted.cols,
                     wanted.cols, tolerance, what);
    }
    assert_int_equal(compared, wanted.rows);
}

static void compare_blocks(struct golden_model *opened, const struct safetensors *golden,
                           struct towers *run) {
    int64_t depth = opened->model.config.vision.depth;
    for (int64_t i = 0; i <= depth; i++) {
        char what[64];
        float *values = read_floats(opened, i < depth ? run->tape.blocks[i].input : run->tape.output);
        snprintf(what, sizeof what, "input of block %lld", (long long)i);
        struct golden_tensor wanted = i == 0 ? golden_get(golden, "video/video.patch_embed")
                                             : golden_get(golden, "video/video.block.%lld", (long long)i - 1);
        compare_rows(values, wanted, i == 0 ? run->plan.patch_order : NULL, run->plan.patches, 1e-4, what);
        free(values);
    }
}

static void check_case(struct golden_model *opened, const struct safetensors *golden, const char *name) {
    struct golden_case prompt = golden_case_get(golden, name);
    for (int images = 0; images < 2; images++) {
        int64_t first = images ? 0 : prompt.images;
        int64_t count = images ? prompt.images : prompt.visual_count - prompt.images;
        if (count == 0) continue;
        struct arena_mark mark = arena_mark(&opened->arena);
        struct towers run = run_tower(opened, prompt.visuals + first, prompt.patches + first, count);
        struct golden_tensor wanted = golden_get(golden, "%s/%s.features", name, images ? "image" : "video");
        float *features = read_floats(opened, run.features);
        assert_int_equal(run.plan.features, wanted.rows);
        assert_close(features, wanted.data, wanted.rows * wanted.cols, 1e-4, name);
        if (strcmp(name, "video") == 0) compare_blocks(opened, golden, &run);
        free(features);
        release(&run);
        arena_release(&opened->arena, mark);
    }
    golden_case_free(&prompt);
}

static void check_device(const char *device) {
    for (int s = 0; golden_shapes[s]; s++) {
        struct safetensors golden = golden_open(golden_shapes[s]);
        struct golden_model opened;
        golden_model_open(&opened, golden_shapes[s], device, DTYPE_F32);
        for (int c = 0; golden_cases[c]; c++) check_case(&opened, &golden, golden_cases[c]);
        golden_model_close(&opened);
        safetensors_close(&golden);
    }
}

static void equals_transformers_in_f32(void **state) {
    (void)state;
    check_device("cpu");
}

static void equals_transformers_on_guarded_memory(void **state) {
    (void)state;
    check_device("guard");
}

/* In bf16 no two ways of summing agree; but ours must lie as near the f32 numbers as the reference's does. */
static void bf16_is_as_near_as_the_reference(void **state) {
    (void)state;
    for (int s = 0; golden_shapes[s]; s++) {
        struct safetensors golden = golden_open(golden_shapes[s]);
        struct golden_model opened;
        golden_model_open(&opened, golden_shapes[s], "guard", DTYPE_BF16);
        struct golden_case prompt = golden_case_get(&golden, "video");
        struct towers run = run_tower(&opened, prompt.visuals, prompt.patches, 1);
        struct golden_tensor exact = golden_get(&golden, "video/video.features");
        struct golden_tensor reference = golden_get(&golden, "video/bf16.video.features");
        int64_t count = exact.rows * exact.cols;
        float *features = read_floats(&opened, run.features);
        double ours = distance(features, exact.data, count),
               theirs = distance(reference.data, exact.data, count);
        print_message("%s: bf16 features lie %.4f from f32, the reference's %.4f\n", golden_shapes[s], ours,
                      theirs);
        assert_true(ours <= 1.5 * theirs);
        free(features);
        release(&run);
        golden_case_free(&prompt);
        golden_model_close(&opened);
        safetensors_close(&golden);
    }
}

/* Visuals in one pass do not see each other: those of the mixed case one by one, and together. */
static void packed_visuals_equal_separate_ones(void **state) {
    (void)state;
    struct safetensors golden = golden_open("untied");
    struct golden_model opened;
    golden_model_open(&opened, "untied", "guard", DTYPE_F32);
    struct golden_case prompt = golden_case_get(&golden, "mixed");
    struct towers all = run_tower(&opened, prompt.visuals, prompt.patches, prompt.visual_count);
    float *together = read_floats(&opened, all.features), *at = together;
    for (int64_t i = 0; i < prompt.visual_count; i++) {
        struct towers one = run_tower(&opened, &prompt.visuals[i], &prompt.patches[i], 1);
        float *alone = read_floats(&opened, one.features);
        assert_close(at, alone, one.features.rows * one.features.cols, 1e-5, "a visual alone");
        at += one.features.rows * one.features.cols;
        free(alone);
        release(&one);
    }
    assert_int_equal(at - together, all.features.rows * all.features.cols);
    free(together);
    release(&all);
    golden_case_free(&prompt);
    golden_model_close(&opened);
    safetensors_close(&golden);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_transformers_in_f32),
        cmocka_unit_test(equals_transformers_on_guarded_memory),
        cmocka_unit_test(bf16_is_as_near_as_the_reference),
        cmocka_unit_test(packed_visuals_equal_separate_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
