/* vs2-bench grpo: how long the parts of a GRPO step take. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "cli/bench.h"
#include "cli/options.h"
#include "grpo/loss.h"
#include "grpo/rollout.h"
#include "model/hub.h"
#include "train/optimizer.h"

struct settings {
    const char *model, *data, *media_dir, *device;
    int64_t samples, new_tokens, prompt_tokens, steps, warmup, sequences, activation_bytes;
    double beta;
    int dtype;
    bool freeze_vision, no_sharing;
    struct bench_frames frames;
};

static const char *const dtype_names[] = {"bf16", "f32", NULL};
static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F32};

static const struct option_spec option_table[] = {
    {.name = "model",
     .argument = "DIR",
     .help = "checkpoint folder, or a hub name found in the local cache",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, model),
     .required = true},
    {.name = "data",
     .argument = "ROWS.json",
     .help = "rows that name videos and prompts; a step is over all of them",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, data),
     .required = true},
    {.name = "media-dir",
     .argument = "DIR",
     .help = "folder that the videos' names start from",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, media_dir)},
    {.name = "num-generations",
     .argument = "G",
     .help = "completions of each row",
     .standard = "8",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, samples),
     .low = 1,
     .high = 4096},
    {.name = "completion-tokens",
     .argument = "C",
     .help = "tokens of each completion; its end-of-text tokens are ignored",
     .standard = "256",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, new_tokens),
     .low = 1,
     .high = 1 << 20},
    {.name = "prompt-tokens",
     .argument = "P",
     .help = "tokens of each prompt, video included: shorter ones are filled up; 0: as they are",
     .standard = "0",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, prompt_tokens),
     .low = 0,
     .high = 1 << 24},
    {.name = "no-sharing",
     .help = "compute the prompt and its video anew for every completion, as the published trainer does",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, no_sharing)},
    {.name = "freeze-vision",
     .help = "freeze the vision tower and its merger; they are trained as published otherwise",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, freeze_vision)},
    {.name = "beta",
     .argument = "B",
     .help = "weight of the divergence from the reference model; 0: there is none",
     .standard = "0.04",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct settings, beta),
     .low = 0,
     .high = 1000},
    {.name = "activation-memory",
     .argument = "BYTES",
     .help = "of activations that are kept all the same; -1: a twelfth of what the optimizer takes",
     .standard = "-1",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, activation_bytes),
     .low = -1,
     .high = (int64_t)1 << 50},
    {.name = "steps",
     .argument = "N",
     .help = "steps measured",
     .standard = "1",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, steps),
     .low = 1,
     .high = 1000000},
    {.name = "warmup",
     .argument = "N",
     .help = "steps before that",
     .standard = "1",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, warmup),
     .low = 0,
     .high = 1000000},
    {.name = "sequences",
     .argument = "N",
     .help = "completions drawn at once; 0: as many as leave each other's bits alone, 16 on the CPU",
     .standard = "0",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, sequences),
     .low = 0,
     .high = MATMUL_EXACT_ROWS_GPU},
    {.kind = OPTION_TABLE, .table = bench_frame_options, .offset = offsetof(struct settings, frames)},
    {.name = "dtype",
     .argument = "TYPE",
     .help = "what is computed in; weights and moments are f32 in any case",
     .standard = "bf16",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct settings, dtype),
     .choices = dtype_names},
    {.name = "device",
     .argument = "KIND",
     .help = "who computes: auto, cpu, cuda or cuda:N",
     .standard = "auto",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, device)},
    {0}};

static const struct program program = {
    .name = "vs2-bench",
    .command = "grpo",
    .synopsis = "--model DIR --data ROWS.json [options]",
    .summary = "Measures GRPO steps (rollouts, reference model, policy, optimizer) with drawn rewards, and "
               "prints JSON.",
    .examples =
        "vs2-bench grpo --model demo/model --data demo/rows.json --media-dir demo --num-generations 8\n",
    .options = option_table,
};

/* Seconds of what the parts below do not measure themselves. */
struct seconds {
    double rollout, reference, policy, optimizer;
};

struct bench {
    const struct settings *settings;
    struct device device;
    struct model model, reference;
    struct tokenizer *tokenizer;
    struct optimizer optimizer;
    struct bench_rows rows;
    struct bench_item *items;
    struct rollout *rollout;
    struct pass_runner *runner, *reference_runner;
    struct rollout_prompt *prompts; /* [prompt_count]: a row each, or without sharing one a completion */
    int64_t prompt_count;
    struct rollout_completions drawn; /* of the step that runs */
    float *differences;               /* [difference_count]: of its tokens' log-probabilities, between rollout
                                         and training */
    int64_t difference_count;
    double load_seconds, video_seconds;
    struct seconds seconds;
    size_t peak_memory; /* before the machine's peak is measured */
};

/* ---- Opening ----------------------------------------------------------------------------------------- */

/* Fills a prompt up by saying the first word after the video again and again. */
static enum status lengthen(struct token_list *tokens, int32_t vision_end, int64_t wanted,
                            struct error *err) {
    int64_t count = (int64_t)tokens->count, more = wanted - count, at = count - 1;
    if (wanted == 0) return STATUS_OK;
    if (more < 0)
        return error_set(err, "the prompt has %lld tokens, more than --prompt-tokens %lld", (long long)count,
                         (long long)wanted);
    while (at > 0 && tokens->ids[at - 1] != vision_end) at--;
    for (int64_t i = 0; i < more; i++)
        if (token_list_push(tokens, 0, err) != STATUS_OK) return STATUS_FAILED;
    memmove(tokens->ids + at + more, tokens->ids + at, (size_t)(count - at) * sizeof *tokens->ids);
    for (int64_t i = 0; i < more; i++) tokens->ids[at + i] = tokens->ids[at + more];
    return STATUS_OK;
}

static enum status read_items(struct bench *bench, struct error *err) {
    const struct settings *settings = bench->settings;
    const struct visual_options options = bench_visual_options(&settings->frames);
    enum status status = bench_rows_read(settings->data, settings->media_dir, &bench->rows, err);
    if (status != STATUS_OK) return status;
    bench->items = memory_new(bench->rows.count, sizeof *bench->items, "rows", err);
    if (!bench->items) return STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < bench->rows.count; i++) {
        struct bench_item *item = &bench->items[i];
        status = bench_item_read(&bench->rows.rows[i], &options, bench->tokenizer, item,
                                 &bench->video_seconds, err);
        if (status == STATUS_OK)
            status =
                lengthen(&item->tokens, bench->model.config.vision_end_token, settings->prompt_tokens, err);
        if (status != STATUS_OK) error_prefix(err, "%s", bench->rows.rows[i].video);
    }
    return status;
}

static enum status make_prompts(struct bench *bench, struct error *err) {
    int64_t copies = bench->settings->no_sharing ? bench->settings->samples : 1;
    bench->prompt_count = (int64_t)bench->rows.count * copies;
    bench->prompts = memory_new((size_t)bench->prompt_count, sizeof *bench->prompts, "prompts", err);
    if (!bench->prompts) return STATUS_FAILED;
    for (int64_t p = 0; p < bench->prompt_count; p++) {
        const struct bench_item *item = &bench->items[p / copies];
        bench->prompts[p] = (struct rollout_prompt){
            .tokens = item->tokens.ids,
            .count = (int64_t)item->tokens.count,
            .visuals = {.count = 1, .grids = &item->grid, .patches = &item->patches},
            .problem = (uint32_t)(p / copies),
            .samples = bench->settings->samples / copies,
            .first_sample = (uint32_t)(p % copies),
        };
    }
    return STATUS_OK;
}

static enum status load_models(struct bench *bench, struct error *err) {
    const struct settings *settings = bench->settings;
    enum dtype compute = dtypes[settings->dtype];
    const struct freeze freeze = {settings->freeze_vision, settings->freeze_vision, false};
    double start = clock_seconds();
    char *folder = hub_find(settings->model, err);
    enum status status = folder ? STATUS_OK : STATUS_FAILED;
    if (!status) status = device_open(settings->device, &bench->device, err);
    if (!status) status = optimizer_open_model(folder, &bench->device, compute, &freeze, &bench->model, err);
    if (!status)
        status =
            optimizer_open(&bench->optimizer, &bench->model, &freeze, (struct optimizer_sharing){0}, err);
    if (!status && settings->beta > 0)
        status = model_open(folder, &bench->device, compute, &bench->reference, err);
    if (!status) {
        bench->tokenizer = tokenizer_load(folder, err);
        if (!bench->tokenizer) status = STATUS_FAILED;
    }
    free(folder);
    bench->load_seconds = clock_seconds() - start;
    return status;
}

static enum status load(struct bench *bench, struct error *err) {
    const struct settings *settings = bench->settings;
    enum status status = load_models(bench, err);
    if (!status) status = read_items(bench, err);
    if (!status) status = make_prompts(bench, err);
    if (status) return status;
    bench->difference_count = (int64_t)bench->rows.count * settings->samples * settings->new_tokens;
    bench->differences =
        memory_new((size_t)bench->difference_count, sizeof *bench->differences, "log-probabilities", err);
    if (!bench->differences) return STATUS_FAILED;
    const struct rollout_settings rollout = {
        .model = &bench->model,
        .temperature = 1,
        .top_p = 0.95,
        .repetition_penalty = 1,
        .max_new_tokens = settings->new_tokens,
        .sequences = settings->sequences,
    };
    struct pass_settings pass = {
        .model = &bench->model,
        .gradients = &bench->optimizer.gradients,
        .recompute = true,
        .activation_bytes = pass_activation_bytes(settings->activation_bytes, bench->optimizer.bytes),
        .timed = true,
    };
    bench->rollout = rollout_new(&rollout, err);
    if (!bench->rollout || !(bench->runner = pass_runner_new(&pass, err))) return STATUS_FAILED;
    pass.model = &bench->reference;
    pass.gradients = NULL;
    pass.lender = bench->runner;
    if (settings->beta > 0 && !(bench->reference_runner = pass_runner_new(&pass, err))) return STATUS_FAILED;
    return STATUS_OK;
}

/* ---- A step ------------------------------------------------------------------------------------------ */

/* One row's completions as a pass takes them, and the numbers that its loss is made of. */
struct row {
    struct bench *bench;
    struct pass_completion *completions; /* [samples] */
    struct loss_sequence *sequences;     /* [samples] */
    struct pass_group group;
    const struct rollout_completion *drawn; /* [samples] */
    float *reference;                       /* [values] */
    float *differences;                     /* [values], as in struct bench */
    int64_t values;
};

static void row_free(struct row *row) {
    free(row->completions);
    free(row->sequences);
    free(row->reference);
}

/* The advantages are drawn: what they are makes no difference to the time. */
static enum status row_make(struct bench *bench, int64_t number, struct row *row, struct error *err) {
    int64_t samples = bench->settings->samples;
    const struct rollout_completion *drawn = bench->drawn.items + number * samples;
    const struct bench_item *item = &bench->items[number];
    *row = (struct row){.bench = bench,
                        .drawn = drawn,
                        .differences = bench->differences + number * samples * bench->settings->new_tokens};
    if (!(row->completions = memory_new((size_t)samples, sizeof *row->completions, "completions", err)) ||
        !(row->sequences = memory_new((size_t)samples, sizeof *row->sequences, "completions", err)))
        return STATUS_FAILED;
    for (int64_t s = 0; s < samples; s++) {
        const struct random_key key = {.stream = (uint32_t)number, .sample = (uint32_t)s};
        row->completions[s] = (struct pass_completion){drawn[s].tokens, drawn[s].count};
        row->sequences[s] =
            (struct loss_sequence){.count = drawn[s].count, .advantage = 2 * random_uniform(key) - 1};
        row->values += drawn[s].count;
    }
    row->group = (struct pass_group){
        .tokens = item->tokens.ids,
        .count = (int64_t)item->tokens.count,
        .visuals = {.count = 1, .grids = &item->grid, .patches = &item->patches},
        .completions = row->completions,
        .completion_count = samples,
    };
    row->reference = memory_new((size_t)row->values, sizeof *row->reference, "log-probabilities", err);
    return row->reference ? STATUS_OK : STATUS_FAILED;
}

/* The published loss. */
static enum status derive(void *context, const float *logprob, const float *entropy, float *d_logprob,
                          float *d_entropy, struct error *err) {
    struct row *row = context;
    const struct bench *bench = row->bench;
    int64_t samples = bench->settings->samples;
    const struct loss_settings settings = {
        .kind = loss_find("grpo"), .epsilon = 0.2, .epsilon_high = 0.2, .beta = bench->settings->beta};
    const struct loss_counts counts = {.sequences = samples,
                                       .tokens = row->values,
                                       .micro_batches = (int64_t)bench->rows.count,
                                       .step_tokens = (double)(row->values * (int64_t)bench->rows.count)};
    struct loss_sums sums = loss_sums_start();
    (void)entropy;
    (void)d_entropy;
    (void)err;
    for (int64_t s = 0, at = 0; s < samples; at += row->sequences[s++].count) {
        row->sequences[s].logprob = logprob + at;
        row->sequences[s].reference = row->reference + at;
        row->sequences[s].d_logprob = d_logprob + at;
    }
    loss_compute(&settings, &counts, row->sequences, samples, &sums);
    for (int64_t s = 0, at = 0; s < samples; at += row->sequences[s++].count)
        for (int64_t t = 0; t < row->sequences[s].count; t++)
            row->differences[at + t] = fabsf(logprob[at + t] - row->drawn[s].logprobs[t]);
    return STATUS_OK;
}

/* Ends a part of the step: *seconds grows by its time. */
static void end_part(double *seconds, double *start) {
    double now = clock_seconds();
    *seconds += now - *start;
    *start = now;
}

static enum status learn(struct bench *bench, int64_t number, struct error *err) {
    const struct pass_reading how = {.temperature = 1, .apart = bench->settings->no_sharing};
    struct row row;
    const struct pass_loss loss = {.derive = derive, .context = &row};
    double start = clock_seconds();
    enum status status = row_make(bench, number, &row, err);
    if (status == STATUS_OK && bench->reference_runner) {
        status = pass_groups_read(bench->reference_runner, &row.group, 1, how, row.reference, NULL, err);
        model_drop_pages(&bench->reference);
    }
    end_part(&bench->seconds.reference, &start);
    if (status == STATUS_OK) status = pass_groups_train(bench->runner, &row.group, 1, how, &loss, err);
    end_part(&bench->seconds.policy, &start);
    row_free(&row);
    return status;
}

static enum status run_step(struct bench *bench, int64_t step, struct error *err) {
    const struct optimizer_settings settings = {
        .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01, .max_grad_norm = 5};
    double start = clock_seconds(), norm;
    rollout_completions_free(&bench->drawn);
    enum status status =
        rollout_run(bench->rollout, (uint64_t)step, bench->prompts, bench->prompt_count, &bench->drawn, err);
    rollout_rest(bench->rollout); /* as a run does, where learning needs the memory */
    end_part(&bench->seconds.rollout, &start);
    for (int64_t row = 0; status == STATUS_OK && row < (int64_t)bench->rows.count; row++)
        status = learn(bench, row, err);
    start = clock_seconds();
    if (status == STATUS_OK) status = optimizer_norm(&bench->optimizer, 1, &norm, err);
    if (status != STATUS_OK) return status;
    optimizer_step(&bench->optimizer, &settings, 1e-6, 1, norm);
    status = device_synchronize(&bench->device, err);
    end_part(&bench->seconds.optimizer, &start);
    return status;
}

/* ---- Output ------------------------------------------------------------------------------------------ */

/* What was counted up to some step. */
struct counters {
    struct engine_statistics rollout;
    struct pass_statistics reference, policy;
};

static struct counters count(const struct bench *bench) {
    struct counters counters = {.rollout = rollout_statistics(bench->rollout),
                                .policy = pass_statistics(bench->runner)};
    if (bench->reference_runner) counters.reference = pass_statistics(bench->reference_runner);
    return counters;
}

/* Seconds of a step, part by part. */
static void print_seconds(const struct bench *bench, const struct counters *from, const struct counters *to) {
    const struct pass_seconds *p = &to->policy.seconds, *p0 = &from->policy.seconds;
    const struct pass_seconds *r = &to->reference.seconds, *r0 = &from->reference.seconds;
    double learned = bench->seconds.reference + bench->seconds.policy + bench->seconds.optimizer;
    const struct {
        const char *name;
        double seconds;
    } parts[] = {
        {"rollout", bench->seconds.rollout},
        {"rollout_vision", to->rollout.vision_seconds - from->rollout.vision_seconds},
        {"prompt", to->rollout.prompt_seconds - from->rollout.prompt_seconds},
        {"decode", to->rollout.decode_seconds - from->rollout.decode_seconds},
        {"learn", learned},
        {"reference", bench->seconds.reference},
        {"reference_vision", r->vision - r0->vision},
        {"reference_forward", r->forward - r0->forward},
        {"reference_head", r->head - r0->head},
        {"policy", bench->seconds.policy},
        {"policy_vision", p->vision - p0->vision},
        {"policy_forward", p->forward - p0->forward},
        {"policy_head", p->head - p0->head},
        {"policy_loss", p->loss - p0->loss},
        {"policy_backward", p->backward - p0->backward},
        {"policy_vision_backward", p->vision_backward - p0->vision_backward},
        {"optimizer", bench->seconds.optimizer},
    };
    printf("\"seconds\": {");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        printf("%s\"%s\": %.6f", i ? ", " : "", parts[i].name,
               parts[i].seconds / (double)bench->settings->steps);
    printf("}, ");
}

static int compare_floats(const void *left, const void *right) {
    const float *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

/* How far the rollout's log-probabilities of the last step's tokens lie from training's. */
static void print_differences(struct bench *bench) {
    int64_t count = bench->difference_count;
    double sum = 0;
    qsort(bench->differences, (size_t)count, sizeof *bench->differences, compare_floats);
    for (int64_t i = 0; i < count; i++) sum += (double)bench->differences[i];
    printf("\"logprob_difference\": {\"mean\": %.3g, \"median\": %.3g, \"percentile_99\": %.3g, \"max\": "
           "%.3g}, ",
           sum / (double)count, (double)bench->differences[count / 2],
           (double)bench->differences[count * 99 / 100], (double)bench->differences[count - 1]);
}

static void print(struct bench *bench, const struct counters *from) {
    const struct settings *settings = bench->settings;
    struct counters to = count(bench);
    struct device_info info = device_describe(&bench->device);
    const struct seconds *s = &bench->seconds;
    double steps = (double)settings->steps, learned = s->reference + s->policy + s->optimizer;
    double drawn = (double)(to.rollout.new_tokens - from->rollout.new_tokens);
    double flops = to.policy.flops - from->policy.flops + to.reference.flops - from->reference.flops;
    bench->peak_memory = bench_peak_memory();
    struct device_peak peak = device_measure(&bench->device);
    printf("{\"device\": \"%s\", \"threads\": %d, \"dtype\": \"%s\", \"rows\": %zu, \"num_generations\": "
           "%" PRId64 ", \"completion_tokens\": %" PRId64 ", \"prompt_tokens\": %zu, \"sharing\": %s, "
           "\"trained_parameters\": %" PRId64 ", \"policy_tokens\": %.0f, \"step_seconds\": %.6f, ",
           info.name, info.threads, dtype_names[settings->dtype], bench->rows.count, settings->samples,
           settings->new_tokens, bench->items[0].tokens.count, settings->no_sharing ? "false" : "true",
           bench->optimizer.elements, (double)(to.policy.tokens - from->policy.tokens) / steps,
           (s->rollout + learned) / steps);
    print_seconds(bench, from, &to);
    print_differences(bench);
    printf("\"rollout_tokens_per_second\": %.3f, \"learn_tokens_per_second\": %.3f, "
           "\"decode_bytes_per_second\": "
           "%.4g, \"learn_flops\": %.4g, \"learn_flops_per_second\": %.4g, "
           "\"peak\": {\"f32_flops_per_second\": %.4g, \"bytes_per_second\": %.4g}, ",
           drawn / s->rollout, drawn / learned,
           (to.rollout.decode.bytes - from->rollout.decode.bytes) /
               (to.rollout.decode_seconds - from->rollout.decode_seconds),
           flops / steps, flops / learned, peak.flops, peak.bytes);
    printf("\"load_seconds\": %.6f, \"video_seconds\": %.6f, \"cache_bytes\": %" PRId64
           ", \"rollout_activation_bytes\": %" PRId64 ", \"activation_bytes\": %zu, "
           "\"peak_memory_bytes\": %zu}\n",
           bench->load_seconds, bench->video_seconds, to.rollout.cache_bytes, to.rollout.activation_bytes,
           to.policy.activation_peak, bench->peak_memory);
}

static enum status measure(struct bench *bench, struct error *err) {
    const struct settings *settings = bench->settings;
    enum status status = load(bench, err);
    if (status != STATUS_OK) return status;
    struct counters from = {0};
    for (int64_t step = -settings->warmup; step < settings->steps; step++) {
        if (step == 0) {
            from = count(bench);
            bench->seconds = (struct seconds){0};
        }
        status = run_step(bench, step, err);
        if (status != STATUS_OK) return status;
    }
    print(bench, &from);
    return STATUS_OK;
}

static void close_bench(struct bench *bench) {
    rollout_completions_free(&bench->drawn);
    rollout_free(bench->rollout);
    pass_runner_free(bench->runner);
    pass_runner_free(bench->reference_runner);
    for (size_t i = 0; bench->items && i < bench->rows.count; i++) bench_item_free(&bench->items[i]);
    free(bench->items);
    free(bench->prompts);
    free(bench->differences);
    bench_rows_free(&bench->rows);
    tokenizer_free(bench->tokenizer);
    if (bench->optimizer.model) optimizer_close(&bench->optimizer);
    if (bench->reference.checkpoint) model_close(&bench->reference);
    if (bench->model.checkpoint) model_close(&bench->model);
    if (bench->device.backend) device_close(&bench->device);
}

int bench_grpo(int argc, char **argv) {
    struct settings settings = {.device = "auto",
                                .activation_bytes = -1,
                                .samples = 8,
                                .new_tokens = 256,
                                .steps = 1,
                                .warmup = 1,
                                .frames = bench_frames_default(),
                                .beta = 0.04};
    struct bench bench = {.settings = &settings};
    struct error err;
    int first;
    bool finished;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (finished && !status) return STATUS_OK;
    if (!status) status = measure(&bench, &err);
    close_bench(&bench);
    return status ? program_fail(&program, status, &err) : program_finish(&program, 0);
}
