/* vs2-bench sft: what a training step costs, part by part. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/bench.h"
#include "cli/options.h"
#include "data/sample.h"
#include "model/hub.h"
#include "train/optimizer.h"
#include "train/pass.h"
#include "train/vision_features.h"

struct settings {
    const char *model, *data, *media_dir, *device;
    int64_t steps, warmup, cutoff;
    int dtype;
    bool train_vision, keep_activations, cached;
    int64_t activation_bytes; /* -1: as vs2-train has it */
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
     .help = "SFT rows in the published form (sharegpt); a step is one pass over all of them",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, data),
     .required = true},
    {.name = "media-dir",
     .argument = "DIR",
     .help = "folder that the videos' names start from",
     .standard = ".",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, media_dir)},
    {.name = "steps",
     .argument = "N",
     .help = "steps measured",
     .standard = "3",
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
    {.name = "train-vision",
     .help = "train the vision tower and its merger too; they are frozen as published otherwise",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, train_vision)},
    {.name = "cached",
     .help = "take the features of the frozen tower from the cache, as from the second epoch on",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, cached)},
    {.name = "keep-activations",
     .help = "no gradient checkpointing",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, keep_activations)},
    {.name = "activation-memory",
     .argument = "BYTES",
     .help = "of activations that are kept all the same; -1: a twelfth of what the optimizer takes",
     .standard = "-1",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, activation_bytes),
     .low = -1,
     .high = (int64_t)1 << 50},
    {.kind = OPTION_TABLE, .table = bench_frame_options, .offset = offsetof(struct settings, frames)},
    {.name = "cutoff",
     .argument = "N",
     .help = "tokens of a row at most",
     .standard = "8192",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, cutoff),
     .low = 2,
     .high = 1 << 24},
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
    .command = "sft",
    .synopsis = "--model DIR --data ROWS.json [options]",
    .summary = "Measures training steps (decoding, vision, forward, head, backward, optimizer) beside the "
               "machine's peak, and prints JSON.",
    .examples = "vs2-bench sft --model demo/model --data demo/sft.json --media-dir demo --steps 3\n",
    .options = option_table,
};

struct bench {
    const struct settings *settings;
    struct device device;
    struct model model;
    struct tokenizer *tokenizer;
    struct dataset *dataset;
    struct sample_options encoding;
    struct optimizer optimizer;
    struct vision_cache *cache;
    struct pass_runner *runner;
    int64_t rows;
    double load_seconds, video_seconds, optimizer_seconds, seconds, first_loss, last_loss;
    size_t peak_memory;
};

static enum status open_data(struct bench *bench, const char *folder, struct error *err) {
    const struct settings *settings = bench->settings;
    const struct row_format format = row_format_default();
    bench->tokenizer = tokenizer_load(folder, err);
    if (!bench->tokenizer) return STATUS_FAILED;
    bench->encoding = (struct sample_options){
        .tokenizer = bench->tokenizer,
        .visual = bench_visual_options(&settings->frames),
        .cutoff = settings->cutoff,
    };
    if (patch_config_read(folder, true, &bench->encoding.visual.processor, err)) return STATUS_FAILED;
    if (dataset_open_file(settings->data, &format, settings->media_dir, &bench->dataset, err))
        return STATUS_FAILED;
    bench->rows = dataset_count(bench->dataset);
    return STATUS_OK;
}

static enum status load(struct bench *bench, struct error *err) {
    const struct settings *settings = bench->settings;
    double start = clock_seconds();
    char *folder = hub_find(settings->model, err);
    enum status status = folder ? STATUS_OK : STATUS_FAILED;
    if (!status) status = device_open(settings->device, &bench->device, err);
    const struct freeze freeze = {!settings->train_vision, !settings->train_vision, false};
    if (!status)
        status = optimizer_open_model(folder, &bench->device, dtypes[settings->dtype], &freeze, &bench->model,
                                      err);
    if (!status)
        status =
            optimizer_open(&bench->optimizer, &bench->model, &freeze, (struct optimizer_sharing){0}, err);
    if (!status) status = open_data(bench, folder, err);
    free(folder);
    if (status) return status;
    if (settings->cached) {
        bench->cache = vision_cache_new(SIZE_MAX, NULL, "", err);
        if (!bench->cache) return STATUS_FAILED;
    }
    const struct pass_settings pass = {
        .model = &bench->model,
        .gradients = &bench->optimizer.gradients,
        .cache = bench->cache,
        .recompute = !settings->keep_activations,
        .activation_bytes = pass_activation_bytes(settings->activation_bytes, bench->optimizer.bytes),
        .timed = true,
    };
    bench->runner = pass_runner_new(&pass, err);
    bench->load_seconds = clock_seconds() - start;
    return bench->runner ? STATUS_OK : STATUS_FAILED;
}

/* The features of the row's visuals, where all of them are cached; free() the arrays. */
struct row_visuals {
    const float **patches;
    const char **keys;
    const void **features;
    struct cached_features *found;
};

static void free_visuals(struct row_visuals *visuals) {
    free(visuals->patches);
    free(visuals->keys);
    free(visuals->features);
    free(visuals->found);
}

static enum status find_visuals(struct bench *bench, const struct sample *sample, struct row_visuals *visuals,
                                struct error *err) {
    size_t count = (size_t)sample->visual_count;
    if (!(visuals->patches = memory_new(count, sizeof *visuals->patches, "visuals", err)) ||
        !(visuals->keys = memory_new(count, sizeof *visuals->keys, "visuals", err)) ||
        !(visuals->features = memory_new(count, sizeof *visuals->features, "visuals", err)) ||
        !(visuals->found = memory_new(count, sizeof *visuals->found, "visuals", err)))
        return STATUS_FAILED;
    for (size_t v = 0; v < count; v++) {
        visuals->patches[v] = sample->visuals[v].visual.patches;
        visuals->keys[v] = sample->visuals[v].path;
        if (!bench->cache) continue;
        size_t size = vision_features_bytes(&bench->model, &sample->grids[v]);
        if (vision_cache_find(bench->cache, visuals->keys[v], size, &visuals->found[v], err))
            return STATUS_FAILED;
        visuals->features[v] = visuals->found[v].data;
    }
    return STATUS_OK;
}

/* One row forward and backward; *loss grows by its token mean. */
static enum status run_row(struct bench *bench, int64_t row, double *loss, struct error *err) {
    struct sample sample;
    struct row_visuals visuals = {0};
    double start = clock_seconds(), sum = 0;
    if (sample_encode(&bench->encoding, bench->dataset, row, &sample, err)) return STATUS_FAILED;
    bench->video_seconds += clock_seconds() - start;
    enum status status = find_visuals(bench, &sample, &visuals, err);
    const struct pass_sample item = {
        .count = sample.count,
        .tokens = sample.tokens,
        .labels = sample.labels,
        .visuals = {.count = sample.visual_count,
                    .grids = sample.grids,
                    .patches = visuals.patches,
                    .keys = visuals.keys,
                    .features = visuals.features},
        .weight = 1.0 / (double)sample.label_count,
    };
    if (!status) status = pass_run(bench->runner, &item, 1, true, &sum, err);
    *loss -= sum * item.weight;
    free_visuals(&visuals);
    sample_free(&sample);
    return status;
}

static enum status run_step(struct bench *bench, double *loss, struct error *err) {
    const struct optimizer_settings settings = {
        .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .max_grad_norm = 1};
    double scale = 1.0 / (double)bench->rows, norm;
    *loss = 0;
    for (int64_t row = 0; row < bench->rows; row++)
        if (run_row(bench, row, loss, err)) return STATUS_FAILED;
    *loss *= scale;
    double start = clock_seconds();
    if (optimizer_norm(&bench->optimizer, scale, &norm, err)) return STATUS_FAILED;
    optimizer_step(&bench->optimizer, &settings, 1e-6, scale, norm);
    if (device_synchronize(&bench->device, err)) return STATUS_FAILED;
    bench->optimizer_seconds += clock_seconds() - start;
    return STATUS_OK;
}

static void print_part(const char *name, double seconds, double steps) {
    printf("\"%s\": %.6f, ", name, seconds / steps);
}

static void print(struct bench *bench, struct pass_statistics before) {
    const struct settings *settings = bench->settings;
    struct pass_statistics s = pass_statistics(bench->runner);
    struct device_info info = device_describe(&bench->device);
    struct device_peak peak = device_measure(&bench->device);
    double steps = (double)settings->steps, flops = (s.flops - before.flops) / steps;
    double limit = device_peak_flops(&peak, dtypes[settings->dtype]);
    double tokens = (double)(s.tokens - before.tokens) / steps, seconds = bench->seconds / steps;
    printf("{\"device\": \"%s\", \"threads\": %d, \"dtype\": \"%s\", \"rows\": %" PRId64
           ", \"trained_parameters\": %" PRId64 ", \"tokens\": %.0f, \"labels\": %.0f, \"patches\": %.0f, "
           "\"step_seconds\": %.6f, \"tokens_per_second\": %.3f, \"seconds\": {",
           info.name, info.threads, dtype_names[settings->dtype], bench->rows, bench->optimizer.elements,
           tokens, (double)(s.labels - before.labels) / steps, (double)(s.patches - before.patches) / steps,
           seconds, tokens / seconds);
    print_part("video", bench->video_seconds, steps);
    print_part("vision", s.seconds.vision - before.seconds.vision, steps);
    print_part("forward", s.seconds.forward - before.seconds.forward, steps);
    print_part("head", s.seconds.head - before.seconds.head, steps);
    print_part("backward", s.seconds.backward - before.seconds.backward, steps);
    print_part("vision_backward", s.seconds.vision_backward - before.seconds.vision_backward, steps);
    printf("\"optimizer\": %.6f}, \"flops\": %.4g, \"flops_per_second\": %.4g, "
           "\"peak\": {\"flops_per_second\": %.4g, \"bytes_per_second\": %.4g}, \"mfu\": %.4f, "
           "\"first_loss\": %.6f, \"last_loss\": %.6f, \"load_seconds\": %.6f, \"activation_bytes\": %zu, "
           "\"peak_memory_bytes\": %zu}\n",
           bench->optimizer_seconds / steps, flops, flops / seconds, limit, peak.bytes,
           limit > 0 ? flops / seconds / limit : 0, bench->first_loss, bench->last_loss, bench->load_seconds,
           s.activation_peak, bench->peak_memory);
}

static enum status measure(struct bench *bench, struct error *err) {
    const struct settings *settings = bench->settings;
    enum status status = load(bench, err);
    if (status) return status;
    struct pass_statistics before = {0};
    double start = 0;
    for (int64_t step = -settings->warmup; step < settings->steps; step++) {
        if (step == 0) {
            before = pass_statistics(bench->runner);
            bench->video_seconds = bench->optimizer_seconds = 0;
            start = clock_seconds();
        }
        if (run_step(bench, &bench->last_loss, err)) return STATUS_FAILED;
        if (step == -settings->warmup) bench->first_loss = bench->last_loss;
    }
    bench->seconds = clock_seconds() - start;
    bench->peak_memory = bench_peak_memory();
    print(bench, before);
    return STATUS_OK;
}

static void close_bench(struct bench *bench) {
    pass_runner_free(bench->runner);
    vision_cache_free(bench->cache);
    dataset_close(bench->dataset);
    if (bench->optimizer.model) optimizer_close(&bench->optimizer);
    if (bench->model.checkpoint) model_close(&bench->model);
    if (bench->device.backend) device_close(&bench->device);
    tokenizer_free(bench->tokenizer);
}

int bench_sft(int argc, char **argv) {
    struct settings settings = {.device = "auto",
                                .media_dir = ".",
                                .activation_bytes = -1,
                                .steps = 3,
                                .warmup = 1,
                                .frames = bench_frames_default(),
                                .cutoff = 8192};
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
