/* Training passes: gradients of every parameter against transformers' autograd, against differences of the
 * loss, and against themselves where parts are frozen, recomputed, packed or shared. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/device.h"
#include "tests/model/projections.h"
#include "tests/model/support_training.h"
#include "tests/refuse.h"

static const struct training_depths everything = {{.attention = 99, .whole = 99},
                                                  {.attention = 99, .whole = 99}};

static struct safetensors open_gradients(const char *shape) {
    struct safetensors golden;
    struct error err;
    char folder[256];
    snprintf(folder, sizeof folder, "%s/gradients/%s", golden_root(), shape);
    if (safetensors_open(folder, &golden, &err)) fail_msg("%s", err.message);
    return golden;
}

/* A checkpoint with its goldens. */
struct fixture {
    struct safetensors golden, expected;
    struct golden_model opened;
};

static void open_fixture(struct fixture *f, const char *shape, const char *device, enum dtype compute) {
    f->golden = golden_open(shape);
    f->expected = open_gradients(shape);
    golden_model_open(&f->opened, shape, device, compute);
}

static void close_fixture(struct fixture *f) {
    golden_model_close(&f->opened);
    safetensors_close(&f->golden);
    safetensors_close(&f->expected);
}

static struct training_case get_case(struct fixture *f, const char *name) {
    return training_case_get(&f->opened, &f->golden, &f->expected, name);
}

/* ---- Against the goldens ----------------------------------------------------------------------------- */

static double golden_number(struct fixture *f, const char *name, const char *key) {
    return (double)*(const float *)golden_get(&f->expected, "%s/%s", name, key).data;
}

static void check_device(const char *device, struct training_depths depths) {
    double worst = 0;
    for (int s = 0; golden_shapes[s]; s++) {
        struct fixture f;
        open_fixture(&f, golden_shapes[s], device, DTYPE_F32);
        for (int c = 0; golden_cases[c]; c++) {
            struct training_case prompt = get_case(&f, golden_cases[c]);
            struct gradients gradients = gradients_make(&f.opened, NULL);
            double loss = training_step(&f.opened, &gradients, &prompt, depths);
            assert_true(fabs(loss - golden_number(&f, golden_cases[c], "loss")) <= 1e-5);
            const char *const names[] = {golden_cases[c], NULL};
            double error = gradients_compare(&f.opened, &gradients, &f.expected, names, 3e-4);
            if (error > worst) worst = error;
            gradients_free(&gradients);
            training_case_free(&prompt);
        }
        close_fixture(&f);
    }
    print_message("%s: gradients lie within %.2g of their norm\n", device, worst);
    assert_true(worst <= 5e-5);
}

static void equals_transformers_in_f32(void **state) {
    (void)state;
    check_device("cpu", everything);
}

static void equals_transformers_on_guarded_memory(void **state) {
    (void)state;
    check_device("guard", (struct training_depths){0});
}

/* ---- Against itself ---------------------------------------------------------------------------------- */

/* The gradients of one step in a new array. */
static float *gradients_of(struct fixture *f, const struct training_case *c, struct training_depths depths,
                           bool (*trained)(const char *name), int64_t *count) {
    struct gradients gradients = gradients_make(&f->opened, trained);
    training_step(&f->opened, &gradients, c, depths);
    float *values = gradients_read(&f->opened, &gradients, count);
    gradients_free(&gradients);
    return values;
}

/* |a - b| / |b|. */
static double relative_distance(const float *a, const float *b, int64_t count) {
    double error = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];
        error += d * d;
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(error / norm);
}

/* In bf16 ours must lie as near the f32 gradients as the reference's bf16 does, all in all. */
static void bf16_is_as_near_as_the_reference(void **state) {
    (void)state;
    double ours = 0, theirs = 0;
    for (int s = 0; golden_shapes[s]; s++) {
        for (int c = 0; golden_cases[c]; c++) {
            float *values[2];
            int64_t count;
            double reference = 0;
            for (int t = 0; t < 2; t++) {
                struct fixture f;
                open_fixture(&f, golden_shapes[s], "cpu", t ? DTYPE_BF16 : DTYPE_F32);
                struct training_case prompt = get_case(&f, golden_cases[c]);
                values[t] = gradients_of(&f, &prompt, everything, NULL, &count);
                reference = golden_number(&f, golden_cases[c], "bf16.error");
                training_case_free(&prompt);
                close_fixture(&f);
            }
            double error = relative_distance(values[1], values[0], count);
            print_message("%s %s: bf16 gradients lie %.4f of their norm from f32, the reference's %.4f\n",
                          golden_shapes[s], golden_cases[c], error, reference);
            ours += error, theirs += reference;
            free(values[0]);
            free(values[1]);
        }
    }
    assert_true(ours <= 1.1 * theirs);
}

static void recomputed_gradients_have_the_same_bits(void **state) {
    (void)state;
    const enum dtype types[] = {DTYPE_F32, DTYPE_BF16};
    const struct training_depths depths[] = {
        {{0}, {0}},
        {{.attention = 99}, {.attention = 99}},
        {{.attention = 1}, {.attention = 2, .whole = 1}},
        {{.whole = 1}, {.whole = 1}},
    };
    for (int t = 0; t < 2; t++) {
        struct fixture f;
        open_fixture(&f, "untied", "cpu", types[t]);
        struct training_case prompt = get_case(&f, "mixed");
        int64_t count, other_count;
        float *kept = gradients_of(&f, &prompt, everything, NULL, &count);
        for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
            float *other = gradients_of(&f, &prompt, depths[d], NULL, &other_count);
            assert_int_equal(count, other_count);
            assert_memory_equal(kept, other, (size_t)count * sizeof *kept);
            free(other);
        }
        free(kept);
        training_case_free(&prompt);
        close_fixture(&f);
    }
}

static bool is_vision(const char *name) {
    return strncmp(name, "model.visual.", 13) == 0;
}
static bool is_merger(const char *name) {
    return strncmp(name, "model.visual.merger.", 20) == 0;
}
static bool is_language(const char *name) {
    return !is_vision(name);
}
static bool is_tower(const char *name) {
    return is_vision(name) && !is_merger(name);
}
static bool is_norm(const char *name) {
    return strstr(name, "norm") != NULL;
}
static bool is_last_mlp(const char *name) {
    return strstr(name, "layers.1.mlp.") != NULL;
}
static bool is_last_query(const char *name) {
    return strstr(name, "layers.1.self_attn.q_proj.bias") || strstr(name, "blocks.3.norm2.weight");
}
static bool is_head(const char *name) {
    return strcmp(name, "lm_head.weight") == 0;
}
static bool is_patch_embed(const char *name) {
    return strstr(name, "patch_embed") != NULL;
}
static bool is_nothing(const char *name) {
    (void)name;
    return false;
}

/* What is trained has the gradients that it has when all is. */
static void frozen_parts_change_nothing(void **state) {
    (void)state;
    bool (*const choices[])(const char *) = {is_vision,      is_merger,   is_language,   is_tower,
                                             is_norm,        is_last_mlp, is_last_query, is_head,
                                             is_patch_embed, is_nothing};
    struct fixture f;
    open_fixture(&f, "untied", "cpu", DTYPE_F32);
    struct training_case prompt = get_case(&f, "mixed");
    struct gradients all = gradients_make(&f.opened, NULL);
    training_step(&f.opened, &all, &prompt, everything);
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        struct gradients some = gradients_make(&f.opened, choices[i]);
        struct training_depths depths = {
            {.frozen = language_frozen_layers(&some.model, vision_is_trained(&some.model))},
            {.frozen = vision_frozen_blocks(&some.model)}};
        training_step(&f.opened, &some, &prompt, depths);
        for (size_t p = 0; p < all.count; p++) {
            struct tensor part = *parameter_tensor(&some.model, &all.parameters[p]);
            assert_int_equal(part.data != NULL, choices[i](all.parameters[p].name));
            if (!part.data) continue;
            float *a = read_floats(&f.opened, part);
            float *b = read_floats(&f.opened, *parameter_tensor(&all.model, &all.parameters[p]));
            assert_memory_equal(a, b, (size_t)(part.rows * part.cols) * sizeof *a);
            free(a);
            free(b);
        }
        gradients_free(&some);
    }
    gradients_free(&all);
    training_case_free(&prompt);
    close_fixture(&f);
}

/* Two samples in one pass, and in two passes one after the other, have the sum of their gradients. */
static void samples_add_up(void **state) {
    (void)state;
    const char *const names[] = {"mixed", "video", NULL};
    struct fixture f;
    open_fixture(&f, "tied", "cpu", DTYPE_F32);
    struct training_case a = get_case(&f, "mixed"), b = get_case(&f, "video");
    struct training_case both = training_case_join(&a, &b);
    struct gradients packed = gradients_make(&f.opened, NULL), apart = gradients_make(&f.opened, NULL);
    double loss = training_step(&f.opened, &packed, &both, everything);
    double sum = training_step(&f.opened, &apart, &a, everything);
    sum += training_step(&f.opened, &apart, &b, everything);
    assert_true(fabs(loss - sum) <= 1e-5);
    gradients_compare(&f.opened, &packed, &f.expected, names, 5e-4);
    gradients_compare(&f.opened, &apart, &f.expected, names, 5e-4);
    gradients_free(&packed);
    gradients_free(&apart);
    training_case_free(&a);
    training_case_free(&b);
    training_case_free(&both);
    close_fixture(&f);
}

enum { GROUP = 3, TAIL = 5 };

/* `prompt` with its last TAIL tokens changed by `salt`, and labels on these alone. */
static void change_tail(struct training_case *c, int salt) {
    for (int64_t i = c->count - TAIL + 1; i < c->count; i++) c->tokens[i] = (c->tokens[i] + 37 * salt) % 286;
    c->wanted_count = TAIL - 1;
    for (int32_t i = 0; i < TAIL - 1; i++) {
        c->wanted[i] = (int32_t)c->count - TAIL + i;
        c->target[i] = c->tokens[c->wanted[i] + 1];
        c->d_logprob[i] = 0.3f * (float)(salt + 1) - 0.25f * (float)i;
    }
}

/* One pass over the prompt once and GROUP tails that see it; each begins with the prompt's last token. The
 * prompt's own arrays have room for them, and become the result's. */
static void share_prefix(struct training_case *c, const struct training_case *tails) {
    int64_t count = c->count, head = count - TAIL;
    int32_t *positions = calloc((size_t)(3 * (head + GROUP * TAIL)), sizeof *positions);
    assert_non_null(positions);
    int64_t all = head + GROUP * TAIL;
    for (int axis = 0; axis < 3; axis++)
        memcpy(positions + axis * all, c->positions + axis * count, (size_t)head * sizeof *positions);
    c->segments[0] = (struct attention_segment){.queries = head, .keys = head, .causal = true};
    c->wanted_count = 0;
    for (int g = 0; g < GROUP; g++) {
        int64_t first = head + g * TAIL;
        c->segments[1 + g] = (struct attention_segment){
            .query = first, .queries = TAIL, .prefix_keys = head, .key = first, .keys = TAIL, .causal = true};
        for (int64_t i = 0; i < TAIL; i++) {
            c->tokens[first + i] = tails[g].tokens[head + i];
            for (int axis = 0; axis < 3; axis++)
                positions[axis * all + first + i] = c->positions[axis * count + head + i];
        }
        for (int64_t i = 0; i < tails[g].wanted_count; i++) {
            c->target[c->wanted_count] = tails[g].target[i];
            c->d_logprob[c->wanted_count] = tails[g].d_logprob[i];
            c->wanted[c->wanted_count++] = (int32_t)(tails[g].wanted[i] - head + first);
        }
    }
    free(c->positions);
    c->positions = positions;
    c->segment_count = 1 + GROUP;
    c->count = all;
}

/* Completions of one prompt, with the prompt computed once, have the gradients of whole sequences. */
static void shared_prefix_equals_separate_sequences(void **state) {
    (void)state;
    struct fixture f;
    int64_t count;
    double loss = 0;
    open_fixture(&f, "untied", "cpu", DTYPE_F32);
    struct gradients apart = gradients_make(&f.opened, NULL);
    struct training_case tails[GROUP], prompt = get_case(&f, "video"), copy = get_case(&f, "video");
    struct training_case shared = training_case_join(&prompt, &copy); /* for its room */
    for (int g = 0; g < GROUP; g++) {
        tails[g] = get_case(&f, "video");
        change_tail(&tails[g], g);
        loss += training_step(&f.opened, &apart, &tails[g], everything);
    }
    memcpy(shared.positions, prompt.positions, (size_t)(3 * prompt.count) * sizeof *shared.positions);
    shared.count = prompt.count;
    shared.features = prompt.features;
    shared.patch_rows = prompt.patch_rows;
    shared.visual_count = prompt.visual_count;
    share_prefix(&shared, tails);
    struct gradients together = gradients_make(&f.opened, NULL);
    assert_true(fabs(training_step(&f.opened, &together, &shared, everything) - loss) <= 1e-5);
    float *a = gradients_read(&f.opened, &together, &count);
    float *b = gradients_read(&f.opened, &apart, &count);
    double error = relative_distance(a, b, count);
    print_message("shared prefix: gradients lie within %.2g of their norm\n", error);
    assert_true(error <= 1e-4);
    free(a);
    free(b);
    for (int g = 0; g < GROUP; g++) training_case_free(&tails[g]);
    training_case_free(&prompt);
    training_case_free(&copy);
    training_case_free(&shared);
    gradients_free(&apart);
    gradients_free(&together);
    close_fixture(&f);
}

/* ---- Against differences of the loss ----------------------------------------------------------------- */

/* Adds `length` times direction `number` to all weights: +1 or -1 each. */
static void move_weights(struct fixture *f, const struct gradients *gradients, int number, float length) {
    for (size_t i = 0; i < gradients->count; i++) {
        const struct parameter *parameter = &gradients->parameters[i];
        int64_t size = parameter->rows * parameter->cols;
        struct arena_mark mark = arena_mark(&f->opened.arena);
        float *step = malloc((size_t)size * sizeof *step);
        assert_non_null(step);
        for (int64_t k = 0; k < size; k++)
            step[k] = sign_bits((uint32_t)(k + 1000003 * (int64_t)i)) >> number & 1 ? -length : length;
        add(&f->opened.device, *parameter_tensor(&f->opened.model, parameter),
            arena_upload(&f->opened.arena, DTYPE_F32, parameter->rows, parameter->cols, step));
        free(step);
        arena_release(&f->opened.arena, mark);
    }
}

/* The derivative in that direction. */
static double slope(const struct gradients *gradients, const float *values, int number) {
    double sum = 0;
    for (size_t i = 0; i < gradients->count; i++) {
        int64_t size = gradients->parameters[i].rows * gradients->parameters[i].cols;
        for (int64_t k = 0; k < size; k++, values++)
            sum += sign_bits((uint32_t)(k + 1000003 * (int64_t)i)) >> number & 1 ? -(double)*values
                                                                                 : (double)*values;
    }
    return sum;
}

/* The weights of "untied" are stored as f16, so the open model has copies that can be written. */
static void equals_differences_of_the_loss(void **state) {
    (void)state;
    const float length = 2e-5f;
    struct fixture f;
    open_fixture(&f, "untied", "cpu", DTYPE_F32);
    struct training_case prompt = get_case(&f, "mixed");
    struct gradients all = gradients_make(&f.opened, NULL), nothing = gradients_make(&f.opened, is_nothing);
    training_step(&f.opened, &all, &prompt, everything);
    int64_t count;
    float *values = gradients_read(&f.opened, &all, &count);
    double norm = 0;
    for (int64_t i = 0; i < count; i++) norm += (double)values[i] * (double)values[i];
    norm = sqrt(norm);
    for (int number = 0; number < 4; number++) {
        move_weights(&f, &all, number, length);
        double above = training_step(&f.opened, &nothing, &prompt, everything);
        move_weights(&f, &all, number, -2 * length);
        double below = training_step(&f.opened, &nothing, &prompt, everything);
        move_weights(&f, &all, number, length);
        double measured = (above - below) / (2 * (double)length), computed = slope(&all, values, number);
        print_message("direction %d: slope %.4f, by differences %.4f (norm %.4f)\n", number, computed,
                      measured, norm);
        assert_true(fabs(measured - computed) <= 0.02 * norm);
    }
    free(values);
    gradients_free(&all);
    gradients_free(&nothing);
    training_case_free(&prompt);
    close_fixture(&f);
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

static void tapes_take_the_bytes_they_say(void **state) {
    (void)state;
    const struct tape_depth depths[] = {{0}, {.attention = 1}, {.frozen = 1, .whole = 1}, {.whole = 99}};
    struct fixture f;
    struct error err;
    open_fixture(&f, "untied", "cpu", DTYPE_BF16);
    struct arena *arena = &f.opened.arena;
    struct training_case prompt = get_case(&f, "mixed");
    struct vision_plan plan;
    size_t language_before = 0, vision_before = 0;
    assert_int_equal(
        vision_plan_make(&f.opened.model.config.vision, prompt.visuals, prompt.visual_count, &plan, &err),
        STATUS_OK);
    for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
        struct language_tape language;
        struct vision_tape vision;
        struct arena_mark mark = arena_mark(arena);
        assert_int_equal(
            language_tape_make(&language, &f.opened.model, arena, prompt.count, 3, depths[d], &err),
            STATUS_OK);
        size_t bytes = language_tape_bytes(&f.opened.model, prompt.count, 3, depths[d]);
        assert_int_equal(arena->in_use - mark.in_use, bytes);
        assert_true(bytes > language_before || depths[d].frozen);
        language_before = bytes;
        arena_release(arena, mark);
        assert_int_equal(vision_tape_make(&vision, &f.opened.model, arena, &plan, depths[d], &err),
                         STATUS_OK);
        bytes = arena->in_use - mark.in_use;
        assert_true(bytes > vision_before || depths[d].frozen);
        vision_before = bytes;
        arena_release(arena, mark);
        language_tape_free(&language);
        vision_tape_free(&vision);
    }
    vision_plan_free(&plan);
    training_case_free(&prompt);
    close_fixture(&f);
}

/* The deepest tape within some bytes: each block more is one that would no longer fit. */
static void depth_follows_the_budget(void **state) {
    (void)state;
    struct fixture f;
    open_fixture(&f, "untied", "cpu", DTYPE_BF16);
    const struct model *model = &f.opened.model;
    int64_t layers = model->config.layers;
    for (int64_t frozen = 0; frozen <= layers; frozen++) {
        struct tape_depth all = {.frozen = frozen, .attention = layers - frozen, .whole = layers - frozen};
        size_t most = language_tape_bytes(model, 50, 9, all);
        struct tape_depth depth = language_tape_depth(model, 50, 9, frozen, most);
        assert_memory_equal(&depth, &all, sizeof all);
        depth = language_tape_depth(model, 50, 9, frozen, 0);
        assert_int_equal(depth.attention + depth.whole, 0);
        assert_int_equal(depth.frozen, frozen);
        if (frozen == layers) break;
        depth = language_tape_depth(model, 50, 9, frozen, most - 1);
        assert_int_equal(depth.whole, layers - frozen - 1);
        assert_true(language_tape_bytes(model, 50, 9, depth) < most);
        depth.attention++;
        assert_true(depth.attention > layers - frozen || language_tape_bytes(model, 50, 9, depth) >= most);
    }
    close_fixture(&f);
}

/* A step with the allocation after `allowed` others failing. */
static enum status live(struct fixture *f, const struct gradients *gradients, const struct training_case *c,
                        int allowed, struct error *err) {
    double loss;
    arena_init(&f->opened.arena, &f->opened.device, 4096);
    allocations_left = allowed;
    enum status status = training_try(&f->opened, gradients, c, (struct training_depths){0}, &loss, err);
    allocations_left = -1;
    arena_free(&f->opened.arena);
    f->opened.device.failed = false; /* lack of memory is kept; the next life shall begin anew */
    return status;
}

static void survives_lack_of_memory(void **state) {
    (void)state;
    if (!on_own_device()) skip(); /* its operations allocate elsewhere */
    struct fixture f;
    struct error err;
    int allowed = 0;
    open_fixture(&f, "square", "cpu", DTYPE_BF16);
    struct gradients gradients = gradients_make(&f.opened, NULL);
    struct training_case prompt = get_case(&f, "mixed");
    arena_free(&f.opened.arena);
    while (live(&f, &gradients, &prompt, allowed, &err)) {
        if (!strstr(err.message, "out of memory")) fail_msg("%d: '%s'", allowed, err.message);
        allowed++;
    }
    assert_in_range(allowed, 30, 500);
    gradients_free(&gradients);
    training_case_free(&prompt);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_transformers_in_f32),
        cmocka_unit_test(equals_transformers_on_guarded_memory),
        cmocka_unit_test(bf16_is_as_near_as_the_reference),
        cmocka_unit_test(recomputed_gradients_have_the_same_bits),
        cmocka_unit_test(frozen_parts_change_nothing),
        cmocka_unit_test(samples_add_up),
        cmocka_unit_test(shared_prefix_equals_separate_sequences),
        cmocka_unit_test(equals_differences_of_the_loss),
        cmocka_unit_test(tapes_take_the_bytes_they_say),
        cmocka_unit_test(depth_follows_the_budget),
        cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
