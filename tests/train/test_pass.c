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
#include "tests/device.h"
#include "tests/emulator/hooks.h"
#include "tests/model/support_training.h"
#include "tests/refuse.h"
#include "train/pass.h"
#include "train/vision_features.h"

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
    f->opened.model.stream = DTYPE_F32; /* as over trained weights */
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

/* ---- Sharing ----------------------------------------------------------------------------------------- */

static const int some_lengths[] = {5, 1, 9, 4, -1};

/* The worst distance between the gradients of a group that shares its prompt and one that does not. */
static double check_shared(const char *shape, const char *device, bool (*trained)(const char *),
                           bool entropy) {
    double worst = 0;
    for (int c = 0; c < CASES; c++) {
        struct fixture f;
        struct group group;
        int64_t count;
        open_fixture(&f, shape, device, DTYPE_F32, trained);
        make_group(&group, &f.prompts[c], some_lengths, 3);
        struct linear_loss shared = train(&f, &group.pass, 1, plainly, entropy, 0);
        float *a = gradients_read(&f.opened, &f.gradients, &count);
        assert_int_equal(pass_statistics(f.runner).tokens, f.prompts[c].count + 15);
        assert_int_equal(pass_group_tokens(&group.pass, false), f.prompts[c].count + 15);
        clear_gradients(&f);
        struct linear_loss separate = train(&f, &group.pass, 1, apart, entropy, 0);
        float *b = gradients_read(&f.opened, &f.gradients, &count);
        assert_int_equal(pass_statistics(f.runner).tokens, 5 * f.prompts[c].count + 30);
        assert_int_equal(pass_group_tokens(&group.pass, true), 4 * f.prompts[c].count + 15);
        assert_close(shared.logprob, separate.logprob, shared.count, 2e-5, "log-probabilities");
        worst = fmax(worst, compare_each(&f, a, b, 1e-4));
        free(a);
        free(b);
        close_fixture(&f);
    }
    return worst;
}

static void a_shared_prompt_equals_separate_ones(void **state) {
    (void)state;
    double trained = 0, frozen = 0;
    for (int s = 0; golden_shapes[s]; s++) {
        trained = fmax(trained, check_shared(golden_shapes[s], "cpu", NULL, true));
        frozen = fmax(frozen, check_shared(golden_shapes[s], "cpu", all_but_vision, false));
    }
    check_shared("tied", "guard", NULL, true);
    print_message("gradients of shared prompts lie within %.2g of their norm, vision frozen within %.2g\n",
                  trained, frozen);
}

/* Supervised samples are another way to the same: a completion is a sample whose labels are its tokens. */
static void a_group_equals_samples(void **state) {
    (void)state;
    struct fixture f;
    struct group group;
    struct error err;
    int64_t count;
    open_fixture(&f, "untied", "cpu", DTYPE_F32, NULL);
    make_group(&group, &f.prompts[1], some_lengths, 8);
    double sum;
    struct linear_loss loss = train(&f, &group.pass, 1, plainly, false, 0);
    float *a = gradients_read(&f.opened, &f.gradients, &count);
    clear_gradients(&f);
    for (int64_t c = 0, at = 0; c < group.pass.completion_count; c++) {
        const struct pass_completion *completion = &group.completions[c];
        for (int64_t i = 0; i < completion->count; i++, at++) {
            int32_t tokens[128], labels[128];
            int64_t length = f.prompts[1].count + i + 1; /* up to this token, which alone has a label */
            memcpy(tokens, f.prompts[1].tokens, (size_t)f.prompts[1].count * sizeof *tokens);
            memcpy(tokens + f.prompts[1].count, completion->tokens, (size_t)(i + 1) * sizeof *tokens);
            for (int64_t t = 0; t < length; t++) labels[t] = t == length - 1 ? tokens[t] : -1;
            const struct pass_sample sample = {.count = length,
                                               .tokens = tokens,
                                               .labels = labels,
                                               .visuals = group.pass.visuals,
                                               .weight = -(double)(float)slope_of(1, at)};
            if (pass_run(f.runner, &sample, 1, true, &sum, &err)) fail_msg("%s", err.message);
            assert_true(fabs(sum - (double)loss.logprob[at]) <= 2e-5);
        }
    }
    float *b = gradients_read(&f.opened, &f.gradients, &count);
    compare_each(&f, a, b, 1e-4);
    free(a);
    free(b);
    close_fixture(&f);
}

/* Three groups in one pass, one of them without any token, equal three passes. */
static void packed_groups_equal_separate_passes(void **state) {
    (void)state;
    static const int lengths[CASES][MOST] = {{3, 0, 7, -1}, {0, 0, -1}, {1, 6, -1}};
    struct fixture f;
    struct group made[CASES];
    struct pass_group groups[CASES];
    int64_t count;
    open_fixture(&f, "tied", "cpu", DTYPE_F32, NULL);
    for (int c = 0; c < CASES; c++) {
        make_group(&made[c], &f.prompts[c], lengths[c], (uint32_t)c);
        groups[c] = made[c].pass;
    }
    assert_int_equal(pass_group_values(groups, CASES), 17);
    assert_int_equal(pass_group_tokens(&groups[1], false), 0);
    struct linear_loss together = train(&f, groups, CASES, plainly, true, 0);
    float *a = gradients_read(&f.opened, &f.gradients, &count);
    assert_int_equal(pass_statistics(f.runner).tokens, f.prompts[0].count + 8 + f.prompts[2].count + 5);
    assert_int_equal(pass_statistics(f.runner).labels, 17);
    clear_gradients(&f);
    double sum = 0;
    for (int64_t c = 0, first = 0; c < CASES; c++) {
        struct linear_loss one = train(&f, &groups[c], 1, plainly, true, first);
        assert_close(one.logprob, together.logprob + first, one.count, 2e-5, "log-probabilities");
        sum += one.sum;
        first += one.count;
    }
    float *b = gradients_read(&f.opened, &f.gradients, &count);
    compare_each(&f, a, b, 1e-4);
    assert_true(fabs(sum - together.sum) <= 1e-4);
    free(a);
    free(b);
    close_fixture(&f);
}

/* One completion; one token; nothing at all. */
static void small_groups(void **state) {
    (void)state;
    static const int lengths[][MOST] = {{6, -1}, {1, -1}, {1, 1, -1}, {0, 2, -1}, {0, -1}, {-1}};
    for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
        struct fixture f;
        struct group group;
        int64_t count;
        open_fixture(&f, "square", "guard", DTYPE_F32, NULL);
        make_group(&group, &f.prompts[n % CASES], lengths[n], 5);
        struct linear_loss shared = train(&f, &group.pass, 1, plainly, true, 0);
        float *a = gradients_read(&f.opened, &f.gradients, &count);
        clear_gradients(&f);
        train(&f, &group.pass, 1, apart, true, 0);
        float *b = gradients_read(&f.opened, &f.gradients, &count);
        if (shared.count > 0)
            compare_each(&f, a, b, 1e-4);
        else
            for (int64_t i = 0; i < count; i++) assert_true(a[i] == 0 && b[i] == 0);
        free(a);
        free(b);
        close_fixture(&f);
    }
}

/* ---- Against transformers ---------------------------------------------------------------------------- */

/* A group of the goldens, and its loss. */
struct golden_loss {
    const float *slopes;
    int64_t count;
    float logprob[64], entropy[64];
};

static enum status derive_golden(void *context, const float *logprob, const float *entropy, float *d_logprob,
                                 float *d_entropy, struct error *err) {
    struct golden_loss *loss = context;
    (void)err;
    size_t bytes = (size_t)loss->count * sizeof(float);
    memcpy(loss->logprob, logprob, bytes);
    memcpy(loss->entropy, entropy, bytes);
    memcpy(d_logprob, loss->slopes, bytes);
    memcpy(d_entropy, loss->slopes + loss->count, bytes);
    return STATUS_OK;
}

static void golden_group(const struct safetensors *expected, const char *name,
                         const struct golden_case *prompt, struct group *group, struct golden_loss *loss) {
    struct golden_tensor lengths = golden_get(expected, "%s/lengths", name);
    int list[MOST];
    int64_t made = 0;
    for (; made < lengths.cols; made++) list[made] = ((const int32_t *)lengths.data)[made];
    list[made] = -1;
    make_group(group, prompt, list, 0);
    struct golden_tensor tokens = golden_get(expected, "%s/tokens", name);
    memcpy(group->tokens, tokens.data, (size_t)tokens.cols * sizeof(int32_t));
    loss->count = tokens.cols;
    loss->slopes = golden_get(expected, "%s/slopes", name).data;
}

static double check_golden(const char *shape, const char *device, bool recompute) {
    struct fixture f;
    struct safetensors expected;
    struct error err;
    char folder[256];
    double worst = 0;
    snprintf(folder, sizeof folder, "%s/groups/%s", golden_root(), shape);
    if (safetensors_open(folder, &expected, &err)) fail_msg("%s", err.message);
    open_fixture(&f, shape, device, DTYPE_F32, NULL);
    const struct pass_settings settings = {
        .model = &f.opened.model, .gradients = &f.gradients.model, .recompute = recompute};
    struct pass_runner *runner = pass_runner_new(&settings, &err);
    for (int c = 0; c < CASES; c++) {
        struct group group;
        struct golden_loss loss;
        const char *const names[] = {golden_cases[c], NULL};
        golden_group(&expected, golden_cases[c], &f.prompts[c], &group, &loss);
        const struct pass_loss what = {derive_golden, &loss, true, true};
        const struct pass_reading how = {.temperature = 0.8};
        clear_gradients(&f);
        if (pass_groups_train(runner, &group.pass, 1, how, &what, &err)) fail_msg("%s", err.message);
        assert_close(loss.logprob, golden_get(&expected, "%s/logprobs", golden_cases[c]).data, loss.count,
                     1e-4, "log-probabilities");
        assert_close(loss.entropy, golden_get(&expected, "%s/entropies", golden_cases[c]).data, loss.count,
                     1e-4, "entropies");
        worst = fmax(worst, gradients_compare(&f.opened, &f.gradients, &expected, names, 3e-4));
    }
    pass_runner_free(runner);
    close_fixture(&f);
    safetensors_close(&expected);
    return worst;
}

static void equals_transformers(void **state) {
    (void)state;
    double worst = 0;
    for (int s = 0; golden_shapes[s]; s++)
        worst = fmax(worst, check_golden(golden_shapes[s], s == 1 ? "guard" : "cpu", s == 2));
    print_message("gradients lie within %.2g of their norm\n", worst);
    assert_true(worst <= 1e-4);
}

/* ---- Reading ----------------------------------------------------------------------------------------- */

/* What is read are the values that the loss of a training pass sees, to the bit where the tower is frozen; a
 * model without gradients reads the same. */
static void reading_equals_training(void **state) {
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct fixture f;
        struct group group;
        struct error err;
        float logprob[64], entropy[64], alone[64];
        open_fixture(&f, "untied", "cpu", bf16 ? DTYPE_BF16 : DTYPE_F32, all_but_vision);
        make_group(&group, &f.prompts[2], some_lengths, 4);
        struct linear_loss loss = train(&f, &group.pass, 1, plainly, true, 0);
        size_t bytes = (size_t)loss.count * sizeof(float);
        int64_t labels = pass_statistics(f.runner).labels;
        if (pass_groups_read(f.runner, &group.pass, 1, plainly, logprob, entropy, &err))
            fail_msg("%s", err.message);
        assert_int_equal(pass_statistics(f.runner).labels, 2 * labels);
        assert_memory_equal(logprob, loss.logprob, bytes);
        struct pass_runner *reference = runner_of(&f.opened.model, NULL);
        if (pass_groups_read(reference, &group.pass, 1, plainly, alone, NULL, &err))
            fail_msg("%s", err.message);
        assert_memory_equal(logprob, alone, bytes);
        for (int64_t i = 0; i < loss.count; i++) assert_true(entropy[i] > 0 && entropy[i] < 5.71f);
        pass_runner_free(reference);
        close_fixture(&f);
    }
}

/* A runner that works in another one's memory takes none of its own, and computes the same. */
static void memory_is_lent(void **state) {
    (void)state;
    struct fixture f;
    struct group group;
    struct error err;
    float alone[64], lent[64];
    open_fixture(&f, "tied", "guard", DTYPE_F32, all_but_vision);
    make_group(&group, &f.prompts[2], some_lengths, 4);
    struct linear_loss loss = train(&f, &group.pass, 1, plainly, false, 0);
    size_t peak = pass_statistics(f.runner).activation_peak;
    const struct pass_settings settings = {.model = &f.opened.model, .lender = f.runner};
    struct pass_runner *reference = pass_runner_new(&settings, &err);
    assert_non_null(reference);
    assert_int_equal(pass_statistics(reference).activation_peak, peak);
    struct pass_runner *own = runner_of(&f.opened.model, NULL);
    if (pass_groups_read(own, &group.pass, 1, plainly, alone, NULL, &err) ||
        pass_groups_read(reference, &group.pass, 1, plainly, lent, NULL, &err))
        fail_msg("%s", err.message);
    pass_runner_free(own);
    assert_memory_equal(lent, alone, (size_t)loss.count * sizeof(float));
    pass_runner_free(reference); /* the memory is still the lender's */
    clear_gradients(&f);
    struct linear_loss again = train(&f, &group.pass, 1, plainly, false, 0);
    assert_memory_equal(again.logprob, loss.logprob, (size_t)loss.count * sizeof(float));
    close_fixture(&f);
}

/* Features that are given, or were kept by an earlier pass, take the patches' place. */
static void frozen_features_are_shared(void **state) {
    (void)state;
    static const char *const keys[] = {"a"};
    struct fixture f;
    struct group group;
    struct error err;
    float first[64], second[64];
    open_fixture(&f, "tied", "guard", DTYPE_BF16, all_but_vision);
    make_group(&group, &f.prompts[1], some_lengths, 4);
    struct vision_cache *cache = vision_cache_new(1 << 20, NULL, "tower", &err);
    const struct pass_settings settings = {
        .model = &f.opened.model, .gradients = &f.gradients.model, .cache = cache};
    struct pass_runner *runner = pass_runner_new(&settings, &err);
    group.pass.visuals.keys = keys;
    if (pass_groups_read(runner, &group.pass, 1, plainly, first, NULL, &err)) fail_msg("%s", err.message);
    int64_t patches = pass_statistics(runner).patches;
    struct cached_features found;
    size_t size = vision_features_bytes(&f.opened.model, &f.prompts[1].visuals[0]);
    assert_int_equal(vision_cache_find(cache, "a", size, &found, &err), STATUS_OK);
    assert_non_null(found.data);
    const void *const features[] = {found.data};
    group.pass.visuals.patches = NULL;
    group.pass.visuals.features = features;
    if (pass_groups_read(runner, &group.pass, 1, apart, second, NULL, &err)) fail_msg("%s", err.message);
    assert_close(first, second, pass_group_values(&group.pass, 1), 1e-2, "log-probabilities");
    if (pass_groups_read(runner, &group.pass, 1, plainly, second, NULL, &err)) fail_msg("%s", err.message);
    assert_memory_equal(first, second, (size_t)pass_group_values(&group.pass, 1) * sizeof(float));
    assert_int_equal(pass_statistics(runner).patches, patches);
    vision_cache_release(&found);
    pass_runner_free(runner);
    vision_cache_free(cache);
    close_fixture(&f);
}

/* Frames of random bytes that are the grid's size already. */
static struct vision_frames *random_frames(const struct visual_grid *grid) {
    struct vision_frames *frames = calloc(1, sizeof *frames);
    assert_non_null(frames);
    *frames = (struct vision_frames){
        .count = 2 * grid->t, .height = 14 * grid->h, .width = 14 * grid->w, .shape = {14, 2, 2}};
    size_t bytes = (size_t)(frames->count * frames->height * frames->width) * FRAME_CHANNELS;
    frames->pixels = malloc(bytes);
    assert_non_null(frames->pixels);
    for (size_t i = 0; i < bytes; i++) {
        uint32_t words[4];
        random_words((struct random_key){.seed = 6, .position = i}, words);
        frames->pixels[i] = (uint8_t)words[0];
    }
    for (int channel = 0; channel < FRAME_CHANNELS; channel++)
        for (int byte = 0; byte < 256; byte++) frames->values[channel][byte] = (float)byte / 128 - 1;
    return frames;
}

/* What the device makes of frames is what it makes of their patches, for a tower that is trained and for one
 * that is not; visuals that come as patches may stand beside them. */
static void frames_take_the_patches_place(void **state) {
    (void)state;
    bool (*const trained[])(const char *) = {NULL, all_but_vision};
    for (int t = 0; t < 2; t++) {
        struct fixture f;
        struct group group;
        struct error err;
        open_fixture(&f, "tied", "guard", DTYPE_F32, trained[t]);
        struct golden_case *prompt = &f.prompts[2];
        make_group(&group, prompt, some_lengths, 4);
        struct vision_frames *made = random_frames(&prompt->visuals[0]);
        const struct visual_grid *grid = &prompt->visuals[0];
        struct arena_mark mark = arena_mark(&f.opened.arena);
        struct tensor rows = arena_tensor(&f.opened.arena, DTYPE_F32, grid->t * grid->h * grid->w, 1176);
        vision_write_patches(&f.opened.arena, rows, NULL, made);
        assert_int_equal(device_read(&f.opened.device, prompt->patches[0], rows, &err), STATUS_OK);
        arena_release(&f.opened.arena, mark);
        struct linear_loss loss = train(&f, &group.pass, 1, plainly, false, 0);
        int64_t count;
        float *patched = gradients_read(&f.opened, &f.gradients, &count);

        const float *patches[4] = {NULL, prompt->patches[1], prompt->patches[2], prompt->patches[3]};
        const struct vision_frames *frames[4] = {made};
        group.pass.visuals.patches = patches;
        group.pass.visuals.frames = frames;
        clear_gradients(&f);
        struct linear_loss again = train(&f, &group.pass, 1, plainly, false, 0);
        float *framed = gradients_read(&f.opened, &f.gradients, &count);
        assert_memory_equal(again.logprob, loss.logprob, (size_t)loss.count * sizeof(float));
        compare_each(&f, framed, patched, 0);
        free(patched);
        free(framed);
        vision_frames_free(made);
        close_fixture(&f);
    }
}

/* The gradients of a group whose frames went up in the pass before: what the host has of them is others since
 * then. With `ahead` NULL they go up as they are needed. free() them. */
static float *gradients_ahead(struct fixture *f, struct group *group, struct ahead *ahead, int64_t *count) {
    struct error err;
    const struct pass_settings settings = {
        .model = &f->opened.model, .gradients = &f->gradients.model, .ahead = ahead};
    const struct vision_frames *frames = group->pass.visuals.frames[0];
    size_t bytes = vision_frames_pixel_bytes(frames);
    uint8_t *kept = malloc(bytes);
    assert_non_null(kept);
    memcpy(kept, frames->pixels, bytes);
    struct pass_runner *own = f->runner;
    f->runner = pass_runner_new(&settings, &err);
    assert_non_null(f->runner);
    struct group first;
    make_group(&first, &f->prompts[0], some_lengths, 2);
    pass_announce(f->runner, &group->pass.visuals);
    train(f, &first.pass, 1, plainly, false, 0);
    if (ahead) memset(frames->pixels, 0, bytes);
    clear_gradients(f);
    train(f, &group->pass, 1, plainly, false, 0);
    memcpy(frames->pixels, kept, bytes);
    float *gradients = gradients_read(&f->opened, &f->gradients, count);
    pass_runner_free(f->runner);
    f->runner = own;
    free(kept);
    return gradients;
}

/* What went up while the pass before computed is what the next one sees, to the bit. Without the events that
 * the two queues meet by it would see something else. */
static void frames_go_ahead(void **state) {
    (void)state;
    struct fixture f;
    struct group group;
    struct error err;
    const char *device = test_device("emulated");
    open_fixture(&f, "tied", device, DTYPE_F32, NULL);
    struct golden_case *prompt = &f.prompts[2];
    make_group(&group, prompt, some_lengths, 4);
    struct vision_frames *made = random_frames(&prompt->visuals[0]);
    const float *patches[4] = {NULL, prompt->patches[1], prompt->patches[2], prompt->patches[3]};
    const struct vision_frames *frames[4] = {made};
    group.pass.visuals.patches = patches;
    group.pass.visuals.frames = frames;
    struct ahead *ahead = ahead_new(&f.opened.device, 1 << 20, &err);
    assert_non_null(ahead);
    int64_t count;
    float *expected = gradients_ahead(&f, &group, NULL, &count);
    float *values = gradients_ahead(&f, &group, ahead, &count);
    assert_memory_equal(values, expected, (size_t)count * sizeof(float));
    free(values);
    if (strcmp(device, "emulated") == 0) {
        ahead_free(ahead); /* in which the frames still lie */
        ahead = ahead_new(&f.opened.device, 1 << 20, &err);
        assert_non_null(ahead);
        emulator_forget_events(true);
        values = gradients_ahead(&f, &group, ahead, &count);
        emulator_forget_events(false);
        assert_memory_not_equal(values, expected, (size_t)count * sizeof(float));
        free(values);
    }
    free(expected);
    ahead_free(ahead);
    vision_frames_free(made);
    close_fixture(&f);
}

/* Random layers amplify bf16's rounding; it must not grow by sharing. */
static void bf16_is_no_worse_shared(void **state) {
    (void)state;
    double worst[2] = {0};
    for (int c = 0; c < CASES; c++) {
        float exact[64], rounded[2][64];
        struct error err;
        int64_t count = 0;
        for (int bf16 = 0; bf16 < 2; bf16++) {
            struct fixture f;
            struct group group;
            open_fixture(&f, "tied", "cpu", bf16 ? DTYPE_BF16 : DTYPE_F32, all_but_vision);
            make_group(&group, &f.prompts[c], some_lengths, 6);
            count = pass_group_values(&group.pass, 1);
            if (pass_groups_read(f.runner, &group.pass, 1, plainly, bf16 ? rounded[0] : exact, NULL, &err) ||
                (bf16 && pass_groups_read(f.runner, &group.pass, 1, apart, rounded[1], NULL, &err)))
                fail_msg("%s", err.message);
            close_fixture(&f);
        }
        for (int r = 0; r < 2; r++) worst[r] += distance(rounded[r], exact, count) / CASES;
    }
    print_message("bf16 log-probabilities lie %.4f from f32 shared, %.4f apart\n", worst[0], worst[1]);
    assert_true(worst[0] <= 1.25 * worst[1]);
}

/* ---- Faults ------------------------------------------------------------------------------------------ */

static void expect_failure(struct fixture *f, const struct pass_group *group, struct pass_reading how,
                           const char *words) {
    struct error err;
    float values[64];
    struct linear_loss loss = {.count = pass_group_values(group, 1)};
    const struct pass_loss what = {.derive = derive, .context = &loss};
    assert_int_not_equal(pass_groups_read(f->runner, group, 1, how, values, NULL, &err), STATUS_OK);
    if (!strstr(err.message, words)) fail_msg("'%s', not '%s'", err.message, words);
    assert_int_not_equal(pass_groups_train(f->runner, group, 1, how, &what, &err), STATUS_OK);
    if (!strstr(err.message, words)) fail_msg("'%s', not '%s'", err.message, words);
}

static void faults_are_named(void **state) {
    (void)state;
    static const double temperatures[] = {0, -1, NAN};
    struct fixture f;
    struct group group;
    struct error err;
    int64_t count;
    open_fixture(&f, "tied", "cpu", DTYPE_F32, NULL);
    make_group(&group, &f.prompts[1], some_lengths, 4);
    for (int i = 0; i < 3; i++)
        expect_failure(&f, &group.pass, (struct pass_reading){.temperature = temperatures[i]}, "temperature");
    struct pass_group wrong = group.pass;
    wrong.visuals.count = 0;
    expect_failure(&f, &wrong, plainly, "visual");
    wrong = group.pass;
    wrong.count = 0;
    expect_failure(&f, &wrong, apart, "without tokens");
    int32_t kept = group.tokens[3];
    group.tokens[3] = 300;
    expect_failure(&f, &group.pass, plainly, "300, outside the vocabulary");
    group.tokens[3] = -1;
    expect_failure(&f, &group.pass, apart, "-1, outside the vocabulary");
    group.tokens[3] = kept;
    struct linear_loss loss = {.count = pass_group_values(&group.pass, 1), .fails = true};
    const struct pass_loss what = {.derive = derive, .context = &loss};
    assert_int_equal(pass_groups_train(f.runner, &group.pass, 1, plainly, &what, &err), STATUS_FAILED);
    assert_string_equal(err.message, "this loss fails");
    float *values = gradients_read(&f.opened, &f.gradients, &count);
    for (int64_t i = 0; i < count; i++) assert_true(values[i] == 0);
    free(values);
    close_fixture(&f);
}

/* A runner's life with the allocation after `allowed` others failing. */
static enum status live(struct fixture *f, const struct group *group, int allowed, struct error *err) {
    struct linear_loss loss = {.count = pass_group_values(&group->pass, 1)};
    const struct pass_loss what = {derive, &loss, true, true};
    const struct pass_settings settings = {.model = &f->opened.model, .gradients = &f->gradients.model};
    allocations_left = allowed;
    struct pass_runner *runner = pass_runner_new(&settings, err);
    enum status status =
        runner ? pass_groups_train(runner, &group->pass, 1, apart, &what, err) : STATUS_FAILED;
    allocations_left = -1;
    pass_runner_free(runner);
    f->opened.device.failed = false; /* lack of memory is kept; the next life shall begin anew */
    return status;
}

static void survives_lack_of_memory(void **state) {
    (void)state;
    struct fixture f;
    struct group group;
    struct error err;
    int allowed = 0;
    open_fixture(&f, "square", "cpu", DTYPE_BF16, NULL);
    make_group(&group, &f.prompts[2], some_lengths, 4);
    while (live(&f, &group, allowed, &err)) {
        if (!strstr(err.message, "out of memory")) fail_msg("%d: '%s'", allowed, err.message);
        allowed++;
    }
    assert_in_range(allowed, 20, 500);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shared_prompt_equals_separate_ones),
        cmocka_unit_test(a_group_equals_samples),
        cmocka_unit_test(packed_groups_equal_separate_passes),
        cmocka_unit_test(small_groups),
        cmocka_unit_test(equals_transformers),
        cmocka_unit_test(reading_equals_training),
        cmocka_unit_test(memory_is_lent),
        cmocka_unit_test(frozen_features_are_shared),
        cmocka_unit_test(frames_take_the_patches_place),
        cmocka_unit_test(frames_go_ahead),
        cmocka_unit_test(bf16_is_no_worse_shared),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
