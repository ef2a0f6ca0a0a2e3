/* Passes over groups: a prompt computed once has the values and gradients of as many prompts as there are
 * completions; packed groups those of separate ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "tests/model/support_training.h"
#include "train/pass.h"

static const struct pass_reading plainly = {.temperature = 1}, apart = {.temperature = 1, .apart = true};

/* ---- Fixtures ---------------------------------------------------------------------------------------- */

enum { CASES = 3, MOST = 8, LONGEST = 12 };

/* A model with gradients, and the prompts of the goldens. */
struct fixture {
    struct safetensors golden;
    struct golden_model opened;
    struct golden_case prompts[CASES];
    struct gradients gradients;
    struct pass_runner *runner;
};

static struct pass_runner *runner_of(const struct model *model, const struct model *gradients) {
    struct error err;
    const struct pass_settings settings = {.model = model, .gradients = gradients};
    struct pass_runner *runner = pass_runner_new(&settings, &err);
    if (!runner) fail_msg("%s", err.message);
    return runner;
}

static void open_fixture(struct fixture *f, const char *shape, const char *device, enum dtype compute,
                         bool (*trained)(const char *)) {
    *f = (struct fixture){.golden = golden_open(shape)};
    golden_model_open(&f->opened, shape, device, compute);
    for (int c = 0; c < CASES; c++) f->prompts[c] = golden_case_get(&f->golden, golden_cases[c]);
    f->gradients = gradients_make(&f->opened, trained);
    f->runner = runner_of(&f->opened.model, &f->gradients.model);
}

static void close_fixture(struct fixture *f) {
    pass_runner_free(f->runner);
    gradients_free(&f->gradients);
    for (int c = 0; c < CASES; c++) golden_case_free(&f->prompts[c]);
    golden_model_close(&f->opened);
    safetensors_close(&f->golden);
}

static void clear_gradients(struct fixture *f) {
    for (size_t i = 0; i < f->gradients.count; i++) {
        struct tensor tensor = *parameter_tensor(&f->gradients.model, &f->gradients.parameters[i]);
        if (tensor.data) clear(&f->opened.device, tensor);
    }
}

static bool all_but_vision(const char *name) {
    return strncmp(name, "model.visual.", 13) != 0;
}

/* A group, with its completions' tokens. */
struct group {
    struct pass_group pass;
    struct pass_completion completions[MOST];
    int32_t tokens[MOST * LONGEST];
};

/* Completions of the lengths, up to the one below 0, whose tokens are drawn by `seed`. */
static void make_group(struct group *group, const struct golden_case *prompt, const int *lengths,
                       uint32_t seed) {
    *group = (struct group){.pass = {.tokens = prompt->tokens,
                                     .count = prompt->count,
                                     .visuals = {.count = prompt->visual_count,
                                                 .grids = prompt->visuals,
                                                 .patches = (const float *const *)prompt->patches},
                                     .completions = group->completions}};
    int64_t at = 0, made = 0;
    for (; lengths[made] >= 0; made++) {
        group->completions[made] = (struct pass_completion){group->tokens + at, lengths[made]};
        for (int i = 0; i < lengths[made]; i++, at++) {
            uint32_t words[4];
            random_words((struct random_key){.seed = seed, .position = (uint64_t)at}, words);
            group->tokens[at] = (int32_t)(words[0] % 286);
        }
    }
    group->pass.completion_count = made;
}

/* ---- A loss ------------------------------------------------------------------------------------------ */

/* Sums of a_i logprob_i + b_i entropy_i with a and b of both signs. `first` is the number of the pass's first
 * value, when a whole is run in parts. */
struct linear_loss {
    int64_t first, count;
    float logprob[64];
    double sum;
    bool fails;
};

static double slope_of(uint64_t seed, int64_t number) {
    return 0.1 + random_uniform((struct random_key){.seed = seed, .position = (uint64_t)number}) - 0.5;
}

static enum status derive(void *context, const float *logprob, const float *entropy, float *d_logprob,
                          float *d_entropy, struct error *err) {
    struct linear_loss *loss = context;
    assert_true(loss->count <= 64);
    loss->sum = 0;
    for (int64_t i = 0; i < loss->count; i++) {
        d_logprob[i] = (float)slope_of(1, loss->first + i);
        loss->logprob[i] = logprob[i];
        loss->sum += (double)d_logprob[i] * (double)logprob[i];
        if (!d_entropy) continue;
        d_entropy[i] = (float)slope_of(2, loss->first + i);
        loss->sum += (double)d_entropy[i] * (double)entropy[i];
    }
    return loss->fails ? error_set(err, "this loss fails") : STATUS_OK;
}

/* Runs the groups with the loss on them, `first` values being before. */
static struct linear_loss train(struct fixture *f, const struct pass_group *groups, int64_t count,
                                struct pass_reading how, bool entropy, int64_t first) {
    struct error err;
    struct linear_loss loss = {.first = first, .count = pass_group_values(groups, count)};
    const struct pass_loss what = {
        .derive = derive, .context = &loss, .reads_entropy = entropy, .derives_entropy = entropy};
    if (pass_groups_train(f->runner, groups, count, how, &what, &err)) fail_msg("%s", err.message);
    return loss;
}

/* ---- Comparing --------------------------------------------------------------------------------------- */

/* Fails unless every parameter's gradient lies within `tolerance` of its norm; returns the whole distance. */
static double compare_each(struct fixture *f, const float *a, const float *b, double tolerance) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < f->gradients.count; i++) {
        const struct parameter *parameter = &f->gradients.parameters[i];
        if (!parameter_tensor(&f->gradients.model, parameter)->data) continue;
        double e = 0, n = 0;
        for (int64_t k = 0; k < parameter->rows * parameter->cols; k++, a++, b++) {
            e += ((double)*a - (double)*b) * ((double)*a - (double)*b);
            n += (double)*b * (double)*b;
        }
        if (!(sqrt(e) <= tolerance * sqrt(n)))
            fail_msg("%s: the gradient of norm %.3g is off by %.3g", parameter->name, sqrt(n), sqrt(e));
        error += e, norm += n;
    }
    assert_true(norm > 0);
    return sqrt(error / norm);
}

/* ---- Tests ------------------------------------------------------------------------------------------- */

static const int some_lengths[] = {5, 1, 9, 4, -1};

static void check_shared(const char *shape, const char *device, bool (*trained)(const char *), bool entropy) {
    for (int c = 0; c < CASES; c++) {
        struct fixture f;
        struct group group;
        int64_t count;
        open_fixture(&f, shape, device, DTYPE_F32, trained);
        make_group(&group, &f.prompts[c], some_lengths, 3);
        struct linear_loss shared = train(&f, &group.pass, 1, plainly, entropy, 0);
        float *a = gradients_read(&f.opened, &f.gradients, &count);
        assert_int_equal(pass_statistics(f.runner).tokens, pass_group_tokens(&group.pass, false));
        clear_gradients(&f);
        struct linear_loss separate = train(&f, &group.pass, 1, apart, entropy, 0);
        float *b = gradients_read(&f.opened, &f.gradients, &count);
        assert_close(shared.logprob, separate.logprob, shared.count, 2e-5, "logprob");
        double error = compare_each(&f, a, b, 1e-4);
        print_message("%s %s: %.2g\n", shape, golden_cases[c], error);
        free(a);
        free(b);
        close_fixture(&f);
    }
}

static void a_shared_prompt_equals_separate_ones(void **state) {
    (void)state;
    for (int s = 0; golden_shapes[s]; s++) {
        check_shared(golden_shapes[s], "cpu", NULL, false);
        check_shared(golden_shapes[s], "cpu", all_but_vision, true);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shared_prompt_equals_separate_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
