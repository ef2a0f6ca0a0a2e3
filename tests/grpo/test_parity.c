/* Three steps of GRPO on recorded rollouts against PyTorch and transformers (tests/reference/grpo.py), where
 * every completion is a sequence of its own: here a prompt is computed once for all of its completions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/dataset_file.h"
#include "grpo/advantage.h"
#include "grpo/loss.h"
#include "grpo/prompt.h"
#include "model/config.h"
#include "tests/device.h"
#include "tests/model/projections.h"
#include "tests/model/support_golden.h"
#include "train/config.h"
#include "train/optimizer.h"
#include "train/run.h"
#include "train/schedule.h"

enum { STEPS = 3, GROUPS = 2, COMPLETIONS = 4, SEQUENCES = GROUPS * COMPLETIONS, LONGEST = 64, WORDS = 40 };

static struct error err;

static void must(enum status status) {
    if (status != STATUS_OK) fail_msg("%s", err.message);
}

/* ---- A run ------------------------------------------------------------------------------------------- */

/* A recorded completion, and what is found out of it. */
struct completion {
    int32_t tokens[LONGEST];
    int64_t count;
    bool masked;
    double advantage;
    float rollout[LONGEST], old_logprob[LONGEST], reference[LONGEST];
};

/* Two problems of a recorded step. */
struct generation {
    struct grpo_prompt *prompts[GROUPS];
    struct completion completions[SEQUENCES];
    struct advantage_statistics statistics;
};

struct run {
    char folder[256];
    json_t *golden, *settings;
    struct dataset_file rollouts;
    struct train_config config;
    struct device device;
    struct tokenizer *tokenizer;
    struct model model, reference;
    struct optimizer optimizer;
    struct pass_runner *runner, *reference_runner;
    struct schedule schedule;
    struct loss_settings loss;
    struct grpo_rows *rows;
    struct prompt_settings prompts;
    struct generation generation;
    float **before; /* weights, [optimizer.count] */
};

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("no number %s", key);
    return json_number_value(value);
}

/* The configuration that the golden run is kept with. */
static void read_config(struct run *run, const char *shape) {
    char words[WORDS][320];
    const char *list[WORDS];
    size_t count = 0;
    const char *key;
    json_t *value;
    snprintf(words[count++], sizeof *words, "stage=grpo");
    snprintf(words[count++], sizeof *words, "output_dir=nowhere");
    snprintf(words[count++], sizeof *words, "media_dir=tests/golden/video");
    snprintf(words[count++], sizeof *words, "model_name_or_path=%s/model/%s", golden_root(), shape);
    snprintf(words[count++], sizeof *words, "dataset=%s/grpo/rows.jsonl", golden_root());
    json_object_foreach(run->settings, key, value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        assert_true(count < WORDS);
        snprintf(words[count++], sizeof *words, "%s=%s", key, text);
        free(text);
    }
    for (size_t i = 0; i < count; i++) list[i] = words[i];
    must(train_config_read(NULL, list, count, &run->config, &err));
}

static void open_data(struct run *run) {
    const struct train_grpo *own = &run->config.grpo;
    char path[320];
    must(grpo_rows_open(run->config.datasets.names[0], run->config.media_dir, &run->rows, &err));
    snprintf(path, sizeof path, "%s/rollouts.jsonl", run->folder);
    must(dataset_file_read(path, NULL, &run->rollouts, &err));
    run->tokenizer = tokenizer_load(run->config.model, &err);
    if (!run->tokenizer) fail_msg("%s", err.message);
    run->prompts = (struct prompt_settings){
        .tokenizer = run->tokenizer,
        .template = own->question_template,
        .max_length = own->max_prompt_length,
        .visual = visual_options_default(visual_policy_find(own->frame_policy)),
        .unit_grid_time = own->second_per_grid == TRAIN_GRID_UNIT,
        .model = &run->model,
    };
    run->prompts.visual.max_frames = own->video_maxlen;
    run->prompts.visual.threads = 1;
    must(patch_config_read(run->config.model, true, &run->prompts.visual.processor, &err));
    if (own->max_pixels > 0) run->prompts.visual.processor.max_pixels = (double)own->max_pixels;
}

static float *read_weight(struct run *run, size_t index) {
    struct tensor weight = run->optimizer.trained[index].parts[OPTIMIZER_WEIGHT];
    float *values = calloc((size_t)(weight.rows * weight.cols), sizeof *values);
    assert_non_null(values);
    must(device_read(&run->device, values, weight, &err));
    return values;
}

static void open_models(struct run *run) {
    const struct train_config *config = &run->config;
    const struct freeze freeze = run_freeze(config), all = {true, true, true};
    must(device_open(test_device("cpu"), &run->device, &err));
    must(optimizer_open_model(config->model, &run->device, DTYPE_F32, &freeze, &run->model, &err));
    must(optimizer_open(&run->optimizer, &run->model, &freeze, &err));
    must(optimizer_open_model(config->model, &run->device, DTYPE_F32, &all, &run->reference, &err));
    const struct pass_settings own = {
        .model = &run->model, .gradients = &run->optimizer.gradients, .recompute = true};
    const struct pass_settings other = {.model = &run->reference};
    run->runner = pass_runner_new(&own, &err);
    run->reference_runner = pass_runner_new(&other, &err);
    assert_true(run->runner && run->reference_runner);
    run->before = calloc(run->optimizer.count, sizeof *run->before);
    assert_non_null(run->before);
    for (size_t i = 0; i < run->optimizer.count; i++) run->before[i] = read_weight(run, i);
    run->schedule = (struct schedule){.kind = schedule_find(config->lr_scheduler_type),
                                      .learning_rate = config->learning_rate,
                                      .steps = STEPS};
}

static void open_run(struct run *run, const char *shape, const char *name) {
    char path[320];
    *run = (struct run){0};
    snprintf(run->folder, sizeof run->folder, "%s/grpo/%s", golden_root(), shape);
    snprintf(path, sizeof path, "%s/%s.json", run->folder, name);
    run->golden = json_read_file(path, 1 << 20, &err);
    if (!run->golden) fail_msg("%s", err.message);
    run->settings = json_object_get(run->golden, "settings");
    read_config(run, shape);
    open_data(run);
    open_models(run);
    const struct train_grpo *own = &run->config.grpo;
    run->loss = (struct loss_settings){
        .kind = loss_find(own->loss_type),
        .epsilon = own->epsilon,
        .epsilon_high = own->epsilon_high,
        .delta = isnan(own->delta) ? 0 : own->delta,
        .beta = own->beta,
        .sequence_level = strcmp(own->importance_sampling_level, "sequence") == 0,
        .entropy_coef = own->entropy_coef,
        .importance_cap = own->importance_sampling_cap,
        .max_completion_length = own->max_completion_length,
    };
}

static void free_prompts(struct generation *generation) {
    for (int g = 0; g < GROUPS; g++) grpo_prompt_free(generation->prompts[g]);
}

static void close_run(struct run *run) {
    free_prompts(&run->generation);
    for (size_t i = 0; i < run->optimizer.count; i++) free(run->before[i]);
    free(run->before);
    pass_runner_free(run->runner);
    pass_runner_free(run->reference_runner);
    optimizer_close(&run->optimizer);
    model_close(&run->model);
    model_close(&run->reference);
    device_close(&run->device);
    tokenizer_free(run->tokenizer);
    grpo_rows_close(run->rows);
    dataset_file_free(&run->rollouts);
    train_config_free(&run->config);
    json_decref(run->golden);
}

/* ---- Rollouts ---------------------------------------------------------------------------------------- */

static void read_completion(const struct run *run, const json_t *line, struct completion *completion) {
    const json_t *ids = json_object_get(line, "completion_ids"),
                 *logprobs = json_object_get(line, "logprobs");
    completion->count = (int64_t)json_array_size(ids);
    assert_in_range(completion->count, 1, LONGEST);
    for (int64_t i = 0; i < completion->count; i++) {
        completion->tokens[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
        completion->rollout[i] = (float)json_number_value(json_array_get(logprobs, (size_t)i));
    }
    bool ended = completion->tokens[completion->count - 1] == tokenizer_find(run->tokenizer, "<|im_end|>");
    completion->masked = run->config.grpo.mask_truncated_completions && !ended;
}

/* Takes the groups of a recorded step: their prompts, completions and advantages. */
static void read_generation(struct run *run, int64_t step) {
    static const int64_t sizes[GROUPS] = {COMPLETIONS, COMPLETIONS};
    struct generation *generation = &run->generation;
    double rewards[SEQUENCES], advantages[SEQUENCES];
    int64_t count = 0;
    free_prompts(generation);
    for (size_t i = 0; i < run->rollouts.count; i++) {
        json_t *line = dataset_file_parse(&run->rollouts, i, &err);
        if ((int64_t)number(line, "step") == step) {
            const char *id = json_string_value(json_object_get(line, "problem_id"));
            assert_true(count < SEQUENCES);
            if (count % COMPLETIONS == 0) {
                struct grpo_prompt *prompt =
                    grpo_prompt_new(&run->prompts, run->rows, grpo_rows_find(run->rows, id), &err);
                if (!prompt) fail_msg("%s", err.message);
                generation->prompts[count / COMPLETIONS] = prompt;
            }
            rewards[count] = number(line, "reward");
            read_completion(run, line, &generation->completions[count++]);
        }
        json_decref(line);
    }
    assert_int_equal(count, SEQUENCES);
    int scale = 0;
    while (strcmp(scale_rewards_names[scale], run->config.grpo.scale_rewards) != 0) scale++;
    must(advantage_compute((enum scale_rewards)scale, rewards, sizes, GROUPS, advantages,
                           &generation->statistics, &err));
    for (int i = 0; i < SEQUENCES; i++) generation->completions[i].advantage = advantages[i];
}

/* `count` groups from the first on, as passes take them. */
struct groups {
    struct pass_group list[GROUPS];
    struct pass_completion completions[SEQUENCES];
    struct completion *first;
    int64_t count, sequences;
};

static struct groups *take_groups(struct run *run, int64_t first, int64_t count) {
    struct groups *groups = calloc(1, sizeof *groups);
    assert_non_null(groups);
    groups->first = &run->generation.completions[first * COMPLETIONS];
    groups->count = count;
    groups->sequences = count * COMPLETIONS;
    for (int64_t i = 0; i < groups->sequences; i++)
        groups->completions[i] = (struct pass_completion){groups->first[i].tokens, groups->first[i].count};
    for (int64_t g = 0; g < count; g++) {
        const struct grpo_prompt *prompt = run->generation.prompts[first + g];
        groups->list[g] = (struct pass_group){.tokens = prompt->tokens.ids,
                                              .count = (int64_t)prompt->tokens.count,
                                              .visuals = grpo_prompt_visuals(prompt, true),
                                              .completions = &groups->completions[g * COMPLETIONS],
                                              .completion_count = COMPLETIONS};
    }
    return groups;
}

static struct pass_reading reading(const struct run *run) {
    return (struct pass_reading){.temperature = run->config.grpo.temperature};
}

/* What the policy and the reference model say of all completions. */
static void read_logprobs(struct run *run) {
    struct groups *groups = take_groups(run, 0, GROUPS);
    float old[SEQUENCES * LONGEST], other[SEQUENCES * LONGEST];
    must(pass_groups_read(run->runner, groups->list, GROUPS, reading(run), old, NULL, &err));
    must(pass_groups_read(run->reference_runner, groups->list, GROUPS, reading(run), other, NULL, &err));
    int64_t at = 0;
    for (int64_t i = 0; i < SEQUENCES; at += groups->first[i++].count) {
        size_t bytes = (size_t)groups->first[i].count * sizeof *old;
        memcpy(groups->first[i].old_logprob, old + at, bytes);
        memcpy(groups->first[i].reference, other + at, bytes);
    }
    free(groups);
}

/* ---- A step ------------------------------------------------------------------------------------------ */

struct derivation {
    const struct run *run;
    const struct groups *groups;
    struct loss_counts counts;
    struct loss_sums sums;
    double logprob_sums[SEQUENCES];
};

static enum status derive(void *context, const float *logprob, const float *entropy, float *d_logprob,
                          float *d_entropy, struct error *cause) {
    struct derivation *d = context;
    struct loss_sequence sequences[SEQUENCES];
    int64_t at = 0;
    (void)cause;
    for (int64_t i = 0; i < d->groups->sequences; i++) {
        const struct completion *c = &d->groups->first[i];
        sequences[i] = (struct loss_sequence){
            .count = c->count,
            .advantage = c->advantage,
            .masked = c->masked,
            .logprob = logprob + at,
            .old_logprob = d->run->config.grpo.num_iterations > 1 ? c->old_logprob : NULL,
            .reference = c->reference,
            .rollout = isnan(d->run->loss.importance_cap) ? NULL : c->rollout,
            .entropy = entropy + at,
            .d_logprob = d_logprob + at,
            .d_entropy = d_entropy ? d_entropy + at : NULL,
        };
        d->logprob_sums[i] = 0;
        for (int64_t t = 0; t < c->count; t++) d->logprob_sums[i] += logprob[at + t];
        at += c->count;
    }
    loss_compute(&d->run->loss, &d->counts, sequences, d->groups->sequences, &d->sums);
    return STATUS_OK;
}

static int64_t count_tokens(const struct completion *completions, int64_t count) {
    int64_t tokens = 0;
    for (int64_t i = 0; i < count; i++) tokens += completions[i].masked ? 0 : completions[i].count;
    return tokens;
}

/* Adds the gradients of the step's micro-batches; logprob_sums [SEQUENCES]. */
static struct loss_statistics add_gradients(struct run *run, double *logprob_sums) {
    struct generation *generation = &run->generation;
    int64_t prompts = run->config.per_device_train_batch_size;
    struct derivation d = {.run = run, .sums = loss_sums_start()};
    const struct pass_loss loss = {.derive = derive,
                                   .context = &d,
                                   .reads_entropy = true,
                                   .derives_entropy = run->loss.entropy_coef != 0};
    for (int64_t first = 0; first < GROUPS; first += prompts) {
        struct groups *groups = take_groups(run, first, prompts);
        d.groups = groups;
        d.counts = (struct loss_counts){
            .sequences = groups->sequences,
            .tokens = count_tokens(groups->first, groups->sequences),
            .micro_batches = run->config.gradient_accumulation_steps,
            .step_tokens = (double)count_tokens(generation->completions, SEQUENCES),
        };
        must(pass_groups_train(run->runner, groups->list, prompts, reading(run), &loss, &err));
        memcpy(logprob_sums + first * COMPLETIONS, d.logprob_sums,
               (size_t)groups->sequences * sizeof *logprob_sums);
        free(groups);
    }
    return loss_statistics(&d.sums);
}

/* ---- Comparing --------------------------------------------------------------------------------------- */

/* Relative, and absolute for values near 0: the loss of type grpo, and the KL of the first step. */
static void check_number(const char *what, int64_t step, double ours, double theirs, double relative,
                         double absolute) {
    if (!(fabs(ours - theirs) <= relative * fabs(theirs) + absolute))
        fail_msg("step %lld: %s is %.9g, not %.9g", (long long)step + 1, what, ours, theirs);
}

static void check_list(const char *what, int64_t step, const double *ours, const json_t *theirs,
                       double relative, double absolute) {
    assert_int_equal(json_array_size(theirs), SEQUENCES);
    for (size_t i = 0; i < SEQUENCES; i++)
        check_number(what, step, ours[i], json_number_value(json_array_get(theirs, i)), relative, absolute);
}

static void check_step(const struct run *run, int64_t step, const struct loss_statistics *ours, double norm,
                       double rate, const double *logprob_sums) {
    const json_t *theirs = json_array_get(json_object_get(run->golden, "steps"), (size_t)step);
    const struct advantage_statistics *rewards = &run->generation.statistics;
    double advantages[SEQUENCES];
    for (int i = 0; i < SEQUENCES; i++) advantages[i] = run->generation.completions[i].advantage;
    const struct {
        const char *key;
        double value, relative, absolute;
    } values[] = {
        {"loss", ours->loss, step == 0 ? 1e-4 : 1e-3, 1e-6},
        {"grad_norm", norm, 1e-3, 0},
        {"lr", rate, 1e-9, 0},
        {"kl", ours->kl, 1e-3, 1e-6},
        {"entropy", ours->entropy, 1e-4, 0},
        {"clip_low_mean", ours->clip_low_mean, 1e-9, 0},
        {"clip_high_mean", ours->clip_high_mean, 1e-9, 0},
        {"clip_region_mean", ours->clip_region_mean, 1e-9, 0},
        {"ratio_mean", ours->ratio_mean, 1e-4, 0},
        {"correction_mean", ours->correction_mean, 1e-4, 0},
        {"reward", rewards->reward, 1e-9, 1e-12},
        {"reward_std", rewards->reward_std, 1e-9, 1e-12},
        {"frac_reward_zero_std", rewards->frac_reward_zero_std, 1e-9, 0},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        double wanted = number(theirs, values[i].key);
        check_number(values[i].key, step, values[i].value, wanted, values[i].relative, values[i].absolute);
    }
    check_list("an advantage", step, advantages, json_object_get(theirs, "advantages"), 1e-9, 1e-12);
    check_list("a sum of log-probabilities", step, logprob_sums, json_object_get(theirs, "logprob_sums"),
               1e-4, 0);
    print_message("  step %lld: loss %.3g, gradient norm %.3g off\n", (long long)step + 1,
                  fabs(ours->loss - number(theirs, "loss")), fabs(norm / number(theirs, "grad_norm") - 1));
}

/* What three steps did to the weights, all together. */
static void check_moves(struct run *run, const char *name) {
    const json_t *moves = json_object_get(run->golden, "moves");
    double error = 0, norm = 0;
    for (size_t p = 0; p < run->optimizer.count; p++) {
        const struct trained_parameter *trained = &run->optimizer.trained[p];
        const json_t *expected = json_object_get(moves, trained->parameter->name);
        assert_int_equal(json_array_size(expected), 1 + PROJECTIONS);
        int64_t count = trained->parts[OPTIMIZER_WEIGHT].rows * trained->parts[OPTIMIZER_WEIGHT].cols;
        double projections[PROJECTIONS] = {0};
        float *after = read_weight(run, p);
        for (int64_t i = 0; i < count; i++)
            projections_add(projections, i, (double)after[i] - (double)run->before[p][i]);
        free(after);
        for (size_t k = 0; k < PROJECTIONS; k++) {
            double d = projections[k] - json_number_value(json_array_get(expected, 1 + k));
            error += d * d / PROJECTIONS;
        }
        norm += pow(json_number_value(json_array_get(expected, 0)), 2);
    }
    print_message("%s: the weights' changes lie within %.1e of the reference's\n", name, sqrt(error / norm));
    if (!(error <= 1e-3 * 1e-3 * norm))
        fail_msg("%s: the weights' changes differ by %.3g", name, sqrt(error / norm));
}

static void check_case(const char *shape, const char *name) {
    struct run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    open_run(run, shape, name);
    const struct optimizer_settings settings = {.beta1 = run->config.adam_beta1,
                                                .beta2 = run->config.adam_beta2,
                                                .epsilon = run->config.adam_epsilon,
                                                .weight_decay = run->config.weight_decay,
                                                .max_grad_norm = run->config.max_grad_norm};
    int64_t iterations = run->config.grpo.num_iterations;
    for (int64_t step = 0; step < STEPS; step++) {
        double norm, rate = schedule_rate(&run->schedule, step), logprob_sums[SEQUENCES];
        if (step % iterations == 0) {
            read_generation(run, step / iterations + 1);
            read_logprobs(run);
        }
        struct loss_statistics statistics = add_gradients(run, logprob_sums);
        must(optimizer_norm(&run->optimizer, 1, &norm, &err));
        optimizer_step(&run->optimizer, &settings, rate, 1, norm);
        check_step(run, step, &statistics, norm, rate, logprob_sums);
    }
    check_moves(run, name);
    close_run(run);
    free(run);
}

static void test_grpo(void **state) {
    (void)state;
    check_case("untied", "grpo");
}

static void test_grpo_again(void **state) {
    (void)state;
    check_case("tied", "grpo-again");
}

static void test_bnpo(void **state) {
    (void)state;
    check_case("square", "bnpo");
}

static void test_dr_grpo(void **state) {
    (void)state;
    check_case("tied", "dr_grpo");
}

static void test_dapo(void **state) {
    (void)state;
    check_case("untied", "dapo");
}

static void test_cispo(void **state) {
    (void)state;
    check_case("untied", "cispo");
}

static void test_gspo(void **state) {
    (void)state;
    check_case("square", "gspo");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grpo),    cmocka_unit_test(test_grpo_again), cmocka_unit_test(test_bnpo),
        cmocka_unit_test(test_dr_grpo), cmocka_unit_test(test_dapo),       cmocka_unit_test(test_cispo),
        cmocka_unit_test(test_gspo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
