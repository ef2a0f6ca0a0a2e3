/* The language model: every layer against transformers, and the ways of cutting a pass into parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/language.h"
#include "model/vision.h"
#include "tests/model/support_golden.h"

enum { ROW_STEP = 5 /* activations of the goldens keep every fifth row */ };

/* A golden prompt ready for a pass. */
struct prepared {
    struct golden_case prompt;
    int32_t *positions, *feature_rows;
    struct tensor features;
    struct attention_segment segment;
    struct language_pass pass;
};

static struct tensor run_vision(struct golden_model *opened, const struct golden_case *prompt) {
    struct vision_plan plan;
    struct error err;
    const struct vision_config *config = &opened->model.config.vision;
    if (prompt->visual_count == 0) return (struct tensor){0};
    if (vision_plan_make(config, prompt->visuals, prompt->visual_count, &plan, &err))
        fail_msg("%s", err.message);
    struct tensor features =
        arena_tensor(&opened->arena, opened->model.compute, plan.features, config->out_hidden);
    struct tensor packed = arena_tensor(&opened->arena, DTYPE_F32, plan.patches, 1176);
    for (int64_t i = 0, first = 0; i < prompt->visual_count; i++) {
        int64_t rows = prompt->visuals[i].t * prompt->visuals[i].h * prompt->visuals[i].w;
        device_write(&opened->device, tensor_rows(packed, first, rows), prompt->patches[i]);
        first += rows;
    }
    vision_forward(&opened->model, &opened->arena, features, packed, &plan);
    assert_int_equal(device_synchronize(&opened->device, &err), STATUS_OK);
    vision_plan_free(&plan);
    return features;
}

static void prepare(struct prepared *p, struct golden_model *opened, const struct safetensors *golden,
                    const char *name) {
    struct error err;
    memset(p, 0, sizeof *p);
    p->prompt = golden_case_get(golden, name);
    int64_t count = p->prompt.count;
    p->positions = calloc(3 * (size_t)count, sizeof *p->positions);
    p->feature_rows = calloc((size_t)count, sizeof *p->feature_rows);
    struct sequence_positions out = {.axis = {p->positions, p->positions + count, p->positions + 2 * count},
                                     .feature_rows = p->feature_rows};
    if (positions_of_sequence(&opened->model.config, p->prompt.tokens, count, p->prompt.visuals,
                              p->prompt.visual_count, &out, &err))
        fail_msg("%s", err.message);
    p->features = run_vision(opened, &p->prompt);
    p->segment = (struct attention_segment){.queries = count, .keys = count, .causal = true};
    p->pass = (struct language_pass){.count = count,
                                     .tokens = p->prompt.tokens,
                                     .positions = p->positions,
                                     .segments = {&p->segment, 1},
                                     .features = p->features,
                                     .feature_rows = p->feature_rows};
}

static void release(struct prepared *p) {
    free(p->positions);
    free(p->feature_rows);
    golden_case_free(&p->prompt);
}

static struct tensor run(struct golden_model *opened, const struct language_pass *pass) {
    struct tensor states =
        arena_tensor(&opened->arena, opened->model.compute, pass->wanted ? pass->wanted_count : pass->count,
                     opened->model.config.hidden);
    language_forward(&opened->model, &opened->arena, states, pass);
    return states;
}

static void compare_every_fifth(struct golden_model *opened, struct tensor tensor,
                                struct golden_tensor wanted, const char *what) {
    float *values = read_floats(opened, tensor);
    assert_int_equal((tensor.rows + ROW_STEP - 1) / ROW_STEP, wanted.rows);
    for (int64_t r = 0; r < wanted.rows; r++)
        assert_close(values + r * ROW_STEP * wanted.cols, (const float *)wanted.data + r * wanted.cols,
                     wanted.cols, 2e-4, what);
    free(values);
}

static void compare_logits(struct golden_model *opened, const struct safetensors *golden, const char *name,
                           struct tensor states) {
    struct golden_tensor wanted = golden_get(golden, "%s/logits", name);
    struct tensor logits = arena_tensor(&opened->arena, DTYPE_F32, wanted.rows, wanted.cols);
    language_logits(&opened->model, logits, tensor_rows(states, states.rows - wanted.rows, wanted.rows));
    float *values = read_floats(opened, logits);
    assert_close(values, wanted.data, wanted.rows * wanted.cols, 5e-4, name);
    free(values);
}

static float *prompt_logprobs(struct golden_model *opened, const struct golden_case *prompt,
                              struct tensor states) {
    int64_t count = prompt->count - 1;
    struct tensor logprob = arena_tensor(&opened->arena, DTYPE_F32, 1, count);
    language_logprob(&opened->model, &opened->arena, tensor_rows(states, 0, count),
                     arena_upload(&opened->arena, DTYPE_I32, 1, count, prompt->tokens + 1), logprob,
                     (struct tensor){0}, (struct tensor){0}, 1);
    return read_floats(opened, logprob);
}

static void check_case(struct golden_model *opened, const struct safetensors *golden, const char *name) {
    struct arena_mark mark = arena_mark(&opened->arena);
    struct prepared p;
    struct language_tape tape;
    struct error err;
    int64_t layers = opened->model.config.layers;
    prepare(&p, opened, golden, name);
    assert_int_equal(language_tape_make(&tape, &opened->model, &opened->arena, p.pass.count, p.pass.count,
                                        (struct tape_depth){0}, &err),
                     STATUS_OK);
    p.pass.tape = &tape;
    struct tensor states = run(opened, &p.pass);
    for (int64_t i = 1; i < layers && strcmp(name, "video") == 0; i++)
        compare_every_fifth(opened, tape.layers[i].input,
                            golden_get(golden, "video/language.layer.%lld", (long long)i - 1),
                            "input of a layer");
    compare_every_fifth(opened, states, golden_get(golden, "%s/language.hidden", name), "final states");
    compare_logits(opened, golden, name, states);
    float *logprobs = prompt_logprobs(opened, &p.prompt, states);
    assert_close(logprobs, golden_get(golden, "%s/logprobs", name).data, p.pass.count - 1, 1e-4,
                 "log-probability");
    free(logprobs);
    language_tape_free(&tape);
    release(&p);
    arena_release(&opened->arena, mark);
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

/* In bf16 ours must lie as near the f32 numbers as the reference's bf16 does. */
static void bf16_is_as_near_as_the_reference(void **state) {
    (void)state;
    double ours = 0, theirs = 0;
    for (int s = 0; golden_shapes[s]; s++) {
        struct safetensors golden = golden_open(golden_shapes[s]);
        struct golden_model opened;
        golden_model_open(&opened, golden_shapes[s], "guard", DTYPE_BF16);
        for (int c = 0; golden_cases[c]; c++) {
            struct prepared p;
            prepare(&p, &opened, &golden, golden_cases[c]);
            float *logprobs = prompt_logprobs(&opened, &p.prompt, run(&opened, &p.pass));
            struct golden_tensor exact = golden_get(&golden, "%s/logprobs", golden_cases[c]);
            struct golden_tensor reference = golden_get(&golden, "%s/bf16.logprobs", golden_cases[c]);
            double a = distance(logprobs, exact.data, exact.cols);
            double b = distance(reference.data, exact.data, exact.cols);
            print_message("%s %s: bf16 log-probabilities lie %.4f from f32, the reference's %.4f\n",
                          golden_shapes[s], golden_cases[c], a, b);
            ours += a, theirs += b;
            free(logprobs);
            release(&p);
        }
        golden_model_close(&opened);
        safetensors_close(&golden);
    }
    assert_true(ours <= 1.5 * theirs);
}

struct fixture {
    struct safetensors golden;
    struct golden_model opened;
    struct prepared p;
    struct tensor whole; /* the final states of the whole prompt */
};

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    f->golden = golden_open("tied");
    golden_model_open(&f->opened, "tied", "guard", DTYPE_F32);
    prepare(&f->p, &f->opened, &f->golden, "mixed");
    f->whole = run(&f->opened, &f->p.pass);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    release(&f->p);
    golden_model_close(&f->opened);
    safetensors_close(&f->golden);
    free(f);
    return 0;
}

static void compare_states(struct fixture *f, struct tensor states, int64_t first, const char *what) {
    float *a = read_floats(&f->opened, states);
    float *b = read_floats(&f->opened, tensor_rows(f->whole, first, states.rows));
    assert_close(a, b, states.rows * states.cols, 2e-5, what);
    free(a);
    free(b);
}

static void wanted_rows_alone(void **state) {
    struct fixture *f = *state;
    int32_t wanted[] = {0, 5, 17, (int32_t)f->p.pass.count - 1};
    f->p.pass.wanted = wanted;
    f->p.pass.wanted_count = 4;
    struct tensor states = run(&f->opened, &f->p.pass);
    for (int64_t i = 0; i < 4; i++) compare_states(f, tensor_rows(states, i, 1), wanted[i], "a wanted row");
}

static void two_sequences_in_one_pass(void **state) {
    struct fixture *f = *state;
    int64_t count = f->p.pass.count, features = f->p.features.rows;
    int32_t *tokens = calloc(2 * (size_t)count, sizeof *tokens);
    int32_t *positions = calloc(6 * (size_t)count, sizeof *positions);
    int32_t *rows = calloc(2 * (size_t)features, sizeof *rows);
    struct tensor both = arena_tensor(&f->opened.arena, DTYPE_F32, 2 * features, f->p.features.cols);
    struct attention_segment segments[2] = {f->p.segment, f->p.segment};
    segments[1].query = segments[1].key = count;
    for (int64_t half = 0; half < 2; half++) {
        memcpy(tokens + half * count, f->p.pass.tokens, (size_t)count * sizeof *tokens);
        for (int64_t axis = 0; axis < 3; axis++)
            memcpy(positions + (2 * axis + half) * count, f->p.positions + axis * count,
                   (size_t)count * sizeof *positions);
        for (int64_t i = 0; i < features; i++)
            rows[half * features + i] = f->p.feature_rows[i] + (int32_t)(half * count);
        convert(&f->opened.device, tensor_rows(both, half * features, features), f->p.features);
    }
    struct language_pass pass = {.count = 2 * count,
                                 .tokens = tokens,
                                 .positions = positions,
                                 .segments = {segments, 2},
                                 .features = both,
                                 .feature_rows = rows};
    struct tensor states = run(&f->opened, &pass);
    compare_states(f, tensor_rows(states, 0, count), 0, "the first of two sequences");
    compare_states(f, tensor_rows(states, count, count), 0, "the second of two sequences");
    free(tokens);
    free(positions);
    free(rows);
}

/* The end of the prompt as three samples that share the rest of it: a pass over 3 short texts. */
static void shared_prefix_in_the_cache(void **state) {
    struct fixture *f = *state;
    enum { TAIL = 4, SAMPLES = 3 };
    struct kv_cache cache;
    struct arena arena;
    struct error err;
    int64_t count = f->p.pass.count, head = count - TAIL;
    arena_init(&arena, f->opened.model.device, 0);
    assert_int_equal(kv_cache_make(&f->opened.model, &arena, count + 40, &cache, &err), STATUS_OK);
    int32_t rows[256], tokens[SAMPLES * TAIL], positions[3 * SAMPLES * TAIL], *head_positions;
    struct attention_segment segments[SAMPLES];
    assert_true(count <= 256);
    for (int64_t i = 0; i < head; i++) rows[i] = (int32_t)(11 + i);
    head_positions = calloc(3 * (size_t)head, sizeof *head_positions);
    for (int64_t axis = 0; axis < 3; axis++)
        memcpy(head_positions + axis * head, f->p.positions + axis * count,
               (size_t)head * sizeof *head_positions);
    struct attention_segment segment = {.queries = head, .key = 11, .keys = head, .causal = true};
    struct language_pass pass = f->p.pass;
    pass.count = head;
    pass.positions = head_positions;
    pass.segments.host = &segment;
    pass.cache = &cache;
    pass.cache_rows = rows;
    compare_states(f, run(&f->opened, &pass), 0, "the shared part");

    for (int s = 0; s < SAMPLES; s++) {
        int own = (int)(11 + head + 7 * s + 1);
        segments[s] = (struct attention_segment){.query = s * TAIL,
                                                 .queries = TAIL,
                                                 .prefix = 11,
                                                 .prefix_keys = head,
                                                 .key = own,
                                                 .keys = TAIL,
                                                 .causal = true};
        for (int i = 0; i < TAIL; i++) {
            tokens[s * TAIL + i] = f->p.pass.tokens[head + i];
            rows[s * TAIL + i] = own + i;
            for (int64_t axis = 0; axis < 3; axis++)
                positions[(axis * SAMPLES + s) * TAIL + i] = f->p.positions[axis * count + head + i];
        }
    }
    pass = (struct language_pass){.count = SAMPLES * TAIL,
                                  .tokens = tokens,
                                  .positions = positions,
                                  .segments = {segments, SAMPLES},
                                  .cache = &cache,
                                  .cache_rows = rows};
    struct tensor states = run(&f->opened, &pass);
    for (int s = 0; s < SAMPLES; s++)
        compare_states(f, tensor_rows(states, s * TAIL, TAIL), head, "a sample");
    free(head_positions);
    kv_cache_free(&cache);
    arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_transformers_in_f32),
        cmocka_unit_test(equals_transformers_on_guarded_memory),
        cmocka_unit_test(bf16_is_as_near_as_the_reference),
        cmocka_unit_test_setup_teardown(wanted_rows_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_sequences_in_one_pass, set_up, tear_down),
        cmocka_unit_test_setup_teardown(shared_prefix_in_the_cache, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
