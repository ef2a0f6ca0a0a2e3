/* Counted work, against sums made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/cost.h"
#include "tests/model/support_golden.h"

/* The "square" checkpoint: hidden 40, 2 layers of 2 heads (2 of keys), inner 48, vocabulary 300, all f32. */
enum { HIDDEN = 40, INNER = 48, LAYER_WEIGHTS = 4 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER };

static void language_work(void **state) {
    (void)state;
    struct golden_model opened;
    golden_model_open(&opened, "square", "cpu", DTYPE_F32);
    /* 5 tokens of a prompt, of which 3 are computed now: they see 3, 4 and 5 keys. */
    const struct attention_segment part = {.queries = 3, .keys = 5, .causal = true};
    struct cost cost = language_cost(&opened.model, 3, (struct attention_segments){&part, 1}, 1);
    assert_true(cost.flops == 2.0 * (3 * 2 * LAYER_WEIGHTS + 300 * HIDDEN) + 2 * 4.0 * HIDDEN * 12);
    assert_true(cost.bytes == 4.0 * (2 * LAYER_WEIGHTS + 300 * HIDDEN) + 2 * 4.0 * 2 * HIDDEN * 5);

    /* Two samples of one prompt of 10: its keys are read once, though each sample looks at all of them. */
    const struct attention_segment samples[] = {
        {.query = 0, .queries = 1, .prefix = 7, .prefix_keys = 10, .key = 20, .keys = 2, .causal = true},
        {.query = 1, .queries = 1, .prefix = 7, .prefix_keys = 10, .key = 30, .keys = 3, .causal = true}};
    cost = language_cost(&opened.model, 2, (struct attention_segments){samples, 2}, 0);
    assert_true(cost.flops == 2.0 * 2 * 2 * LAYER_WEIGHTS + 2 * 4.0 * HIDDEN * 25);
    assert_true(cost.bytes == 4.0 * 2 * LAYER_WEIGHTS + 2 * 4.0 * 2 * HIDDEN * 15);
    golden_model_close(&opened);
}

/* Its tower: hidden 16, 2 blocks (the first with whole frames), inner 20, merger 64 to 64 to 40. */
static void vision_work(void **state) {
    (void)state;
    struct golden_model opened;
    struct vision_plan plan;
    struct error err;
    const struct visual_grid grid = {2, 4, 10, 1}; /* windows of 32 and 8 patches in each of 2 frames of 40 */
    double block = 4 * 16 * 16 + 3 * 16 * 20, merger = 64 * 64 + 64 * 40, embed = 16 * 1176;
    double pairs = 2 * 40 * 40 + 2 * (32 * 32 + 8 * 8);
    golden_model_open(&opened, "square", "cpu", DTYPE_F32);
    assert_int_equal(vision_plan_make(&opened.model.config.vision, &grid, 1, &plan, &err), STATUS_OK);
    struct cost cost = vision_cost(&opened.model, &plan);
    assert_true(cost.flops == 2 * 80 * (embed + 2 * block) + 2 * 20 * merger + 4 * 16 * pairs);
    assert_true(cost.bytes == 4 * (embed + 2 * block + merger) + 2 * 2 * 4.0 * 16 * 80);
    vision_plan_free(&plan);
    golden_model_close(&opened);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(language_work), cmocka_unit_test(vision_work)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
