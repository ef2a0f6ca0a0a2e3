/* Whole runs of what GRPO's options change. Rollouts and passes are looked at on their way, and where a test
 * needs answers that no tiny model gives the model is left out: a script says what is said. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "grpo/grpo.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "model/tokenizer.h"
#include "tests/grpo/support_small_run.h"
#include "tests/train/support_outputs.h"

static struct error err;
static struct tokenizer *tokenizer;

static int set_up(void **state) {
    tokenizer = tokenizer_load("tests/golden/model/tied", &err);
    return tokenizer ? outputs_group_make(state) : -1;
}

static int tear_down(void **state) {
    tokenizer_free(tokenizer);
    return outputs_group_remove(state);
}

/* ---- What a run draws and learns from ---------------------------------------------------------------- */

enum { MOST_PROMPTS = 32, MOST_PASSES = 32 };

/* A prompt that completions were drawn for. */
struct seen_prompt {
    int64_t count, samples, first_sample, patch_bytes;
    uint32_t problem;
    double second_per_grid;
    float *patches;
    int32_t *tokens;
};

/* A training pass. */
struct seen_pass {
    int64_t groups, tokens;
    double second_per_grid; /* of the first group's video */
};

static struct {
    struct seen_prompt prompts[MOST_PROMPTS];
    struct seen_pass passes[MOST_PASSES];
    int64_t prompt_count, pass_count, rollouts;
} seen;

static void forget(void) {
    for (int64_t p = 0; p < seen.prompt_count; p++) {
        free(seen.prompts[p].patches);
        free(seen.prompts[p].tokens);
    }
    memset(&seen, 0, sizeof seen);
}

static void *copy_of(const void *memory, size_t size) {
    void *copy = malloc(size);
    assert_non_null(copy);
    return memcpy(copy, memory, size);
}

static void see_prompt(const struct rollout_prompt *prompt) {
    enum { COLUMNS = 1176 }; /* of a patch: 3 channels, 2 frames, 14 x 14 pixels */
    const struct visual_grid *grid = prompt->visuals.grids;
    assert_true(seen.prompt_count < MOST_PROMPTS);
    struct seen_prompt *now = &seen.prompts[seen.prompt_count++];
    *now = (struct seen_prompt){
        .count = prompt->count,
        .samples = prompt->samples,
        .first_sample = prompt->first_sample,
        .patch_bytes = grid->t * grid->h * grid->w * COLUMNS * (int64_t)sizeof(float),
        .problem = prompt->problem,
        .second_per_grid = grid->second_per_grid,
        .tokens = copy_of(prompt->tokens, (size_t)prompt->count * sizeof *prompt->tokens),
    };
    now->patches = copy_of(prompt->visuals.patches[0], (size_t)now->patch_bytes);
}

/* What is said to a prompt; the token that ends it is added unless it is cut off. */
struct speech {
    const char *text;
    bool truncated;
};
static struct speech (*script)(const struct rollout_prompt *prompt, int64_t sample); /* NULL: the model */

static void say_it(const struct speech *speech, struct rollout_completion *completion) {
    struct token_list tokens = {0};
    int32_t end = tokenizer_find(tokenizer, "<|im_end|>");
    assert_int_equal(tokenizer_encode(tokenizer, speech->text, strlen(speech->text), &tokens, &err), 0);
    if (!speech->truncated) assert_int_equal(token_list_push(&tokens, end, &err), STATUS_OK);
    *completion = (struct rollout_completion){
        .tokens = tokens.ids ? tokens.ids : malloc(1),
        .logprobs = calloc(tokens.count + 1, sizeof(float)),
        .count = (int64_t)tokens.count,
        .finish = speech->truncated ? FINISH_LENGTH : FINISH_STOP,
    };
    assert_non_null(completion->logprobs);
}

enum status __real_rollout_run(struct rollout *rollout, uint64_t step, const struct rollout_prompt *prompts,
                               int64_t count, struct rollout_completions *completions, struct error *error);
enum status __wrap_rollout_run(struct rollout *rollout, uint64_t step, const struct rollout_prompt *prompts,
                               int64_t count, struct rollout_completions *completions, struct error *error);

enum status __wrap_rollout_run(struct rollout *rollout, uint64_t step, const struct rollout_prompt *prompts,
                               int64_t count, struct rollout_completions *completions, struct error *error) {
    int64_t samples = 0;
    seen.rollouts++;
    for (int64_t p = 0; p < count; p++) see_prompt(&prompts[p]);
    if (!script) return __real_rollout_run(rollout, step, prompts, count, completions, error);
    for (int64_t p = 0; p < count; p++) samples += prompts[p].samples;
    *completions = (struct rollout_completions){calloc((size_t)samples, sizeof *completions->items), samples};
    assert_non_null(completions->items);
    struct rollout_completion *next = completions->items;
    for (int64_t p = 0; p < count; p++)
        for (int64_t s = 0; s < prompts[p].samples; s++) {
            const struct speech speech = script(&prompts[p], prompts[p].first_sample + s);
            say_it(&speech, next++);
        }
    return STATUS_OK;
}

enum status __real_pass_groups_train(struct pass_runner *runner, const struct pass_group *groups,
                                     int64_t count, struct pass_reading how, const struct pass_loss *loss,
                                     struct error *error);
enum status __wrap_pass_groups_train(struct pass_runner *runner, const struct pass_group *groups,
                                     int64_t count, struct pass_reading how, const struct pass_loss *loss,
                                     struct error *error);

enum status __wrap_pass_groups_train(struct pass_runner *runner, const struct pass_group *groups,
                                     int64_t count, struct pass_reading how, const struct pass_loss *loss,
                                     struct error *error) {
    assert_true(seen.pass_count < MOST_PASSES);
    struct seen_pass *pass = &seen.passes[seen.pass_count++];
    *pass = (struct seen_pass){.groups = count, .second_per_grid = groups[0].visuals.grids->second_per_grid};
    for (int64_t g = 0; g < count; g++) pass->tokens += pass_group_tokens(&groups[g], false);
    return __real_pass_groups_train(runner, groups, count, how, loss, error);
}

/* ---- Running ----------------------------------------------------------------------------------------- */

/* Runs into FOLDER/NAME, and gives the lines of its log that have a loss; json_decref them. */
static json_t *run(const char *name, struct speech (*says)(const struct rollout_prompt *, int64_t),
                   const char *const *extra) {
    struct words *words = calloc(1, sizeof *words);
    struct train_config config;
    char path[128];
    assert_non_null(words);
    forget();
    script = says;
    say_small_run(words, outputs_group(), name, extra);
    if (train_config_read(NULL, words->list, words->count, &config, &err)) fail_msg("%s", err.message);
    enum status status = grpo_run(&config, &err);
    train_config_free(&config);
    free(words);
    if (status != STATUS_OK) fail_msg("%s: %s", name, err.message);
    snprintf(path, sizeof path, "%s/%s", outputs_group(), name);
    return read_lines(path, "trainer_log.jsonl", "loss");
}

/* The lines of the completions that a run wrote in its first step; json_decref them. */
static json_t *completions_of(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", outputs_group(), name);
    return read_lines(path, "completions/step_1.jsonl", "completion_ids");
}

/* FOLDER/NAME, a data set with this text, as the word "dataset=..."; in memory of its own. */
static const char *data_set(const char *name, const char *text) {
    static char word[256];
    char path[128];
    snprintf(path, sizeof path, "%s/%s", outputs_group(), name);
    if (file_write(path, text, strlen(text), &err) != STATUS_OK) fail_msg("%s", err.message);
    snprintf(word, sizeof word, "dataset=%s", path);
    return word;
}

static double at(const json_t *lines, size_t step, const char *key) {
    return number(json_array_get(lines, step), key);
}

/* Relative, and absolute for what is 0 but for rounding, as the loss of a first step is. */
static void check_near(double a, double b, double relative) {
    if (!(fabs(a - b) <= relative * fabs(b) + 1e-9)) fail_msg("%.9g is not %.9g", a, b);
}

#define SCORES                                                                                               \
    "<answer>visual quality: 4; text-to-video alignment: 3; physical/common-sense consistency: 5</answer>"
#define VIDEO(id, problem)                                                                                   \
    "{\"problem_id\": \"" id "\", \"problem\": \"" problem "\", \"data_type\": \"video\", "                  \
    "\"problem_type\": \"video eval\", \"solution\": \"" SCORES "\", \"path\": \"bframes.mp4\"}\n"
#define IMAGE(id)                                                                                            \
    "{\"problem_id\": \"" id "\", \"problem\": \"Which?\", \"data_type\": \"image\", \"problem_type\": "     \
    "\"multiple choice\", \"options\": [\"A. x\", \"B. y\"], \"solution\": \"<answer>B</answer>\", "         \
    "\"path\": \"stills/photo.jpg\"}\n"

static const char right[] = "<think>a</think>\n(1) visual quality: 4\n(2) text-to-video alignment: 3\n"
                            "(3) physical/common-sense consistency: 5\n<answer>B</answer>";

/* ---- Shuffled frames, and images --------------------------------------------------------------------- */

enum { SAMPLES = 4 };

/* Everything is answered well, but for shuffled frames. */
static struct speech knows_the_order(const struct rollout_prompt *prompt, int64_t sample) {
    (void)prompt;
    return (struct speech){sample < SAMPLES ? right : "no idea", false};
}

/* Shuffled frames are answered better than those in order. */
static struct speech guesses(const struct rollout_prompt *prompt, int64_t sample) {
    (void)prompt;
    return (struct speech){sample == 0 || sample >= SAMPLES ? right : "no idea", false};
}

static int compare_floats(const void *left, const void *right_one) {
    const float *a = left, *b = right_one;
    return (*a > *b) - (*a < *b);
}

/* The third prompt is the video of the first in another order, for half as many completions more. */
static void check_shuffled(void) {
    assert_int_equal(seen.prompt_count, 3);
    const struct seen_prompt *last = &seen.prompts[2], *plain = &seen.prompts[0];
    if (plain->problem != last->problem) plain = &seen.prompts[1];
    const struct seen_prompt *image = &seen.prompts[plain == &seen.prompts[0]];
    assert_int_equal(plain->problem, last->problem);
    assert_int_equal(plain->samples, SAMPLES);
    assert_int_equal(image->samples, SAMPLES);
    assert_int_equal(last->samples, SAMPLES / 2);
    assert_int_equal(last->first_sample, SAMPLES);
    assert_int_equal(last->count, plain->count);
    assert_memory_equal(last->tokens, plain->tokens, (size_t)plain->count * sizeof *plain->tokens);
    assert_int_equal(last->patch_bytes, plain->patch_bytes);
    assert_memory_not_equal(last->patches, plain->patches, (size_t)plain->patch_bytes);
    qsort(last->patches, (size_t)last->patch_bytes / sizeof(float), sizeof(float), compare_floats);
    qsort(plain->patches, (size_t)plain->patch_bytes / sizeof(float), sizeof(float), compare_floats);
    assert_memory_equal(last->patches, plain->patches, (size_t)plain->patch_bytes);
}

/* Completions of the video that have the reward, and of the image. */
static void check_temporal(const char *name, int videos) {
    json_t *lines = completions_of(name);
    int rewarded = 0;
    assert_int_equal(json_array_size(lines), 2 * SAMPLES);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        double temporal = number(json_object_get(line, "rewards"), "temporal");
        bool video = strcmp(json_string_value(json_object_get(line, "problem_id")), "video") == 0;
        assert_true(temporal == 0 || (video && temporal == 0.3));
        rewarded += temporal > 0;
    }
    assert_int_equal(rewarded, videos);
    json_decref(lines);
}

static void temporal_draws_on_shuffled_frames(void **state) {
    (void)state;
    const char *const extra[] = {data_set("mixed.jsonl", VIDEO("video", "A ball.") IMAGE("image")),
                                 "reward_funcs=[accuracy]", "temporal=true", "num_generations=4", NULL};
    json_t *log = run("ordered", knows_the_order, extra);
    check_shuffled();
    check_temporal("ordered", SAMPLES);
    assert_true(at(log, 0, "rewards/accuracy") == 1);
    check_near(at(log, 0, "rewards/temporal"), 0.15, 1e-9);
    check_near(at(log, 0, "reward"), 1.15, 1e-9);
    json_decref(log);
    log = run("guessed", guesses, extra);
    check_shuffled();
    check_temporal("guessed", 0);
    json_decref(log);
}

/* Rows of images alone: drawn by the model, and trained on. */
static void images_are_trained_on(void **state) {
    (void)state;
    const char *const extra[] = {data_set("images.jsonl", IMAGE("a") IMAGE("b")), "temporal=true", NULL};
    json_t *log = run("images", NULL, extra);
    assert_int_equal(seen.prompt_count, 2); /* frames of an image have no order */
    assert_int_equal(seen.pass_count, 1);
    assert_true(isfinite(at(log, 0, "loss")) && at(log, 0, "entropy") > 0);
    json_decref(log);
}

/* ---- Prompts ----------------------------------------------------------------------------------------- */

/* The right end of a prompt that is too long stays; one whose video would be cut is skipped and counted. */
static void long_prompts_are_cut_or_skipped(void **state) {
    (void)state;
    char limit[64], skipped[160], *text;
    size_t length;
    const char *data = data_set(
        "long.jsonl",
        VIDEO("short", "A ball.") VIDEO(
            "long",
            "A ball that rolls and rolls, over hills and under bridges, through fields and forests, past "
            "houses and barns and mills, until it comes to a river that it does not cross."));
    const char *const whole[] = {data, "disable_shuffling=true", NULL};
    json_decref(run("uncut", NULL, whole));
    assert_int_equal(seen.prompt_count, 2);
    int64_t count = seen.prompts[0].count;
    assert_true(count < seen.prompts[1].count);
    int32_t *tokens = copy_of(seen.prompts[0].tokens, (size_t)count * sizeof *tokens);
    snprintf(limit, sizeof limit, "max_prompt_length=%d", (int)count - 3);
    const char *const cut[] = {data, "disable_shuffling=true", limit, "max_skipped_ratio=0.5", NULL};
    json_decref(run("cut", NULL, cut));
    assert_int_equal(seen.prompt_count, 1);
    assert_int_equal(seen.prompts[0].count, count - 3);
    assert_memory_equal(seen.prompts[0].tokens, tokens + 3, (size_t)(count - 3) * sizeof *tokens);
    free(tokens);
    snprintf(skipped, sizeof skipped, "%s/cut/skipped.jsonl", outputs_group());
    assert_int_equal(file_read(skipped, 1 << 20, &text, &length, &err), STATUS_OK);
    assert_non_null(strstr(text, "cuts into the video"));
    assert_null(strchr(strchr(text, '\n') + 1, '\n')); /* one line */
    free(text);
}

/* The user's turn is the template after the video; time positions are a unit a patch in training alone. */
static void templates_and_time_positions_reach_the_passes(void **state) {
    (void)state;
    char file[128], word[160];
    struct text text = {0};
    snprintf(file, sizeof file, "%s/template.txt", outputs_group());
    snprintf(word, sizeof word, "question_template=@%s", file);
    assert_int_equal(file_write(file, "Judge: {problem} Well?", 22, &err), STATUS_OK);
    const char *const seconds[] = {data_set("one.jsonl", VIDEO("a", "A ball.")), word, NULL};
    json_decref(run("template", NULL, seconds));
    tokenizer_decode(tokenizer, seen.prompts[0].tokens, (size_t)seen.prompts[0].count, false, &text);
    text_append_string(&text, "");
    assert_non_null(strstr(text.data, "<|vision_end|>Judge: A ball. Well?<|im_end|>"));
    text_free(&text);
    double real = seen.prompts[0].second_per_grid;
    assert_true(real > 0 && real != 1);
    assert_true(seen.passes[0].second_per_grid == real);
    const char *const unit[] = {seconds[0], "second_per_grid=unit", NULL};
    json_decref(run("unit", NULL, unit));
    assert_true(seen.prompts[0].second_per_grid == real);
    assert_true(seen.passes[0].second_per_grid == 1);
}

/* ---- Completions ------------------------------------------------------------------------------------- */

static struct speech half_cut_off(const struct rollout_prompt *prompt, int64_t sample) {
    (void)prompt;
    return sample < 2 ? (struct speech){"abcd", true} : (struct speech){"efg", false};
}

static struct speech half_cut_off_elsewhere(const struct rollout_prompt *prompt, int64_t sample) {
    (void)prompt;
    return sample < 2 ? (struct speech){"wxyz", true} : (struct speech){"efg", false};
}

static struct speech all_cut_off(const struct rollout_prompt *prompt, int64_t sample) {
    (void)prompt;
    return (struct speech){sample % 2 ? "abcd" : "abc abc abc abc", true};
}

static struct speech nothing_said(const struct rollout_prompt *prompt, int64_t sample) {
    return (struct speech){prompt->problem == 0 && sample == 1 ? "abc" : "", true};
}

/* What a masked completion says has no part in the step, but its reward has. */
static void truncated_completions_are_masked(void **state) {
    (void)state;
    static const char *const losses[] = {"loss_type=grpo", "loss_type=dapo"};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        const char *const masked[] = {"reward_funcs=[truncation]", "num_generations=4", losses[i],
                                      "mask_truncated_completions=true", NULL};
        const char *const plain[] = {"reward_funcs=[truncation]", "num_generations=4", losses[i], NULL};
        json_t *one = run("masked", half_cut_off, masked);
        json_t *other = run("masked", half_cut_off_elsewhere, masked);
        json_t *without = run("masked", half_cut_off, plain);
        assert_true(at(one, 0, "reward") == -0.5 && at(one, 0, "completions/clipped_ratio") == 0.5);
        assert_true(at(one, 0, "grad_norm") > 0);
        check_near(at(one, 0, "loss"), at(other, 0, "loss"), 1e-6);
        check_near(at(one, 0, "grad_norm"), at(other, 0, "grad_norm"), 1e-5);
        check_near(at(one, 0, "entropy"), at(other, 0, "entropy"), 1e-6);
        assert_true(fabs(at(one, 0, "grad_norm") / at(without, 0, "grad_norm") - 1) > 1e-2);
        json_decref(one);
        json_decref(other);
        json_decref(without);
    }
    const char *const repeats[] = {"reward_funcs=[repetition]", "mask_truncated_completions=true", NULL};
    json_t *nothing = run("all-masked", all_cut_off, repeats);
    assert_true(at(nothing, 0, "reward_std") > 0);
    assert_true(at(nothing, 0, "loss") == 0 && at(nothing, 0, "grad_norm") == 0);
    json_decref(nothing);
}

/* Of two groups one is all empty, and the other but for a completion. */
static void empty_completions_are_trained_on(void **state) {
    (void)state;
    const char *const extra[] = {"reward_funcs=['cmd:awk \"{ print NR }\"']", "num_iterations=2",
                                 "max_steps=2", NULL};
    json_t *log = run("empty", nothing_said, extra);
    json_t *lines = completions_of("empty");
    assert_int_equal(json_array_size(log), 2);
    assert_true(at(log, 0, "completions/min_length") == 0 && at(log, 0, "completions/max_length") > 0);
    for (size_t step = 0; step < 2; step++) assert_true(isfinite(at(log, step, "loss")));
    assert_true(at(log, 0, "grad_norm") > 0);
    assert_int_equal(json_array_size(lines), 4);
    json_decref(lines);
    json_decref(log);
}

/* ---- Numbers ----------------------------------------------------------------------------------------- */

/* Rollouts have the log-probabilities of training in the same type, but for the rounding that another order
 * of the same sums makes. (In bf16 what a tiny model computes is mostly rounded to the same.) */
static void bf16_rollouts_are_near_training(void **state) {
    (void)state;
    static const struct {
        const char *compute;
        double most; /* mean difference of log-probabilities */
    } cases[] = {{"bf16=true", 5e-3}, {"bf16=false", 1e-5}};
    double all = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const extra[] = {cases[i].compute,
                                     "model_name_or_path=tests/golden/model/untied",
                                     "importance_sampling_cap=2",
                                     "max_steps=3",
                                     "max_completion_length=16",
                                     "num_generations=4",
                                     "num_train_epochs=2",
                                     "learning_rate=1e-3",
                                     "reward_funcs=['cmd:awk \"{ print NR % 3 }\"']",
                                     NULL};
        json_t *log = run(cases[i].compute, NULL, extra);
        assert_int_equal(json_array_size(log), 3);
        for (size_t step = 0; step < 3; step++) {
            double difference = at(log, step, "sampling/sampling_logp_difference/mean");
            double ratio = at(log, step, "sampling/importance_sampling_ratio/mean");
            print_message("%s: step %zu: log-probabilities differ by %.2g\n", cases[i].compute, step + 1,
                          difference);
            assert_true(difference >= 0 && difference <= cases[i].most);
            all += difference;
            assert_true(fabs(ratio - 1) <= 2 * cases[i].most);
            assert_true(isfinite(at(log, step, "loss")) && at(log, step, "grad_norm") > 0);
            assert_true(at(log, step, "kl") >= 0 && at(log, step, "kl") < 1);
        }
        json_decref(log);
    }
    assert_true(all > 0);
}

/* Groups share a pass up to pass_tokens, which changes no number but by rounding. */
static void groups_share_passes_within_a_budget(void **state) {
    (void)state;
    const char *const common = "reward_funcs=['cmd:awk \"{ print NR % 3 }\"']";
    const char *const alone[] = {common, "pass_tokens=1", "gradient_accumulation_steps=4", NULL};
    json_t *separate = run("alone", NULL, alone);
    assert_int_equal(seen.pass_count, 4);
    int64_t two = seen.passes[0].tokens + seen.passes[1].tokens, all = 0;
    for (int p = 0; p < 4; p++) all += seen.passes[p].tokens;
    char budget[64];
    snprintf(budget, sizeof budget, "pass_tokens=%d", (int)two);
    const char *const shared[] = {common, budget, "gradient_accumulation_steps=4", NULL};
    json_t *packed = run("packed", NULL, shared);
    assert_true(seen.pass_count < 4 && seen.passes[0].groups == 2 && seen.passes[0].tokens == two);
    for (int64_t p = 0; p < seen.pass_count; p++) {
        assert_true(seen.passes[p].tokens <= two || seen.passes[p].groups == 1);
        all -= seen.passes[p].tokens;
    }
    assert_int_equal(all, 0);
    static const char *const figures[] = {"loss", "grad_norm", "entropy"};
    assert_true(at(separate, 0, "grad_norm") > 0);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        check_near(at(packed, 0, figures[i]), at(separate, 0, figures[i]), 1e-4);
    json_decref(separate);
    json_decref(packed);
}

/* ---- Others ------------------------------------------------------------------------------------------ */

/* A reference model that becomes the trained one before every step is no distance away from it. */
static void a_synced_reference_follows(void **state) {
    (void)state;
    static const char rollouts[] = "rollouts=tests/golden/grpo/tied/rollouts.jsonl";
    const char *const stays[] = {rollouts, "learning_rate=1e-3", "max_steps=3", NULL};
    const char *const moves[] = {rollouts,
                                 "learning_rate=1e-3",
                                 "max_steps=3",
                                 "sync_ref_model=true",
                                 "ref_model_sync_steps=1",
                                 "ref_model_mixup_alpha=1",
                                 NULL};
    json_t *kept = run("kept", NULL, stays), *synced = run("synced", NULL, moves);
    for (size_t step = 0; step < 3; step++) assert_true(at(synced, step, "kl") < 1e-9);
    for (size_t step = 1; step < 3; step++) assert_true(at(kept, step, "kl") > 1e-6);
    json_decref(kept);
    json_decref(synced);
}

static struct speech always_the_same(const struct rollout_prompt *prompt, int64_t sample) {
    (void)prompt, (void)sample;
    return (struct speech){"abc", false};
}

/* Where all rewards are equal other prompts are tried, but not for ever, nor any of them twice. */
static void dynamic_sampling_is_bounded(void **state) {
    (void)state;
    static const struct {
        const char *rounds;
        int64_t rollouts;
    } cases[] = {{"dynamic_sampling_rounds=2", 3}, {"dynamic_sampling_rounds=100", 4}}; /* of 4 problems */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const extra[] = {"dynamic_sampling=true", cases[i].rounds,
                                     "gradient_accumulation_steps=1", NULL};
        json_t *log = run("dynamic", always_the_same, extra);
        assert_int_equal(seen.rollouts, cases[i].rollouts);
        assert_int_equal(seen.prompt_count, cases[i].rollouts);
        for (int64_t p = 0; p < seen.prompt_count; p++)
            for (int64_t q = 0; q < p; q++)
                assert_int_not_equal(seen.prompts[p].problem, seen.prompts[q].problem);
        assert_true(at(log, 0, "frac_reward_zero_std") == 1 && at(log, 0, "all_wrong") == 1);
        json_decref(log);
    }
}

/* Every reward is logged of an evaluation, however many there are. */
static void evaluations_log_all_rewards(void **state) {
    (void)state;
    const char *const extra[] = {
        "reward_funcs=[accuracy, exact, distance, format, format_strict, length, temporal, repetition, "
        "truncation, 'cmd:sed s/.*/1/', 'cmd:sed s/.*/2/', 'cmd:sed s/.*/3/', 'cmd:sed s/.*/4/', "
        "'cmd:sed s/.*/5/']",
        "val_size=2", "eval_steps=1", "eval_strategy=steps", NULL};
    char path[128];
    json_decref(run("evaluated", NULL, extra));
    snprintf(path, sizeof path, "%s/evaluated", outputs_group());
    json_t *lines = read_lines(path, "trainer_log.jsonl", "eval_accuracy");
    assert_int_equal(json_array_size(lines), 1);
    for (int i = 0; reward_names[i]; i++) {
        char name[64];
        snprintf(name, sizeof name, "eval_rewards/%s", reward_names[i]);
        assert_true(isfinite(at(lines, 0, name)));
    }
    assert_true(at(lines, 0, "eval_rewards/cmd:sed s/.*/1/") == 1);
    assert_true(at(lines, 0, "eval_rewards/cmd:sed s/.*/5/") == 5);
    json_decref(lines);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(temporal_draws_on_shuffled_frames),
        cmocka_unit_test(images_are_trained_on),
        cmocka_unit_test(long_prompts_are_cut_or_skipped),
        cmocka_unit_test(templates_and_time_positions_reach_the_passes),
        cmocka_unit_test(truncated_completions_are_masked),
        cmocka_unit_test(empty_completions_are_trained_on),
        cmocka_unit_test(bf16_rollouts_are_near_training),
        cmocka_unit_test(groups_share_passes_within_a_budget),
        cmocka_unit_test(a_synced_reference_follows),
        cmocka_unit_test(dynamic_sampling_is_bounded),
        cmocka_unit_test(evaluations_log_all_rewards),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
