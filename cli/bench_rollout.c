/* vs2-bench rollout: how fast rationales are drawn for videos. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/bench.h"
#include "cli/options.h"
#include "model/generate.h"
#include "model/hub.h"

struct settings {
    const char *model, *data, *media_dir, *device;
    int64_t samples, new_tokens, sequences;
    int dtype;
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
     .help = "rows that name videos and prompts: a JSON array, or an object a line",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, data),
     .required = true},
    {.name = "media-dir",
     .argument = "DIR",
     .help = "folder that the videos' names start from",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, media_dir)},
    {.name = "num-samples",
     .argument = "G",
     .help = "rationales drawn for each row",
     .standard = "8",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, samples),
     .low = 1,
     .high = 4096},
    {.name = "new-tokens",
     .argument = "N",
     .help = "tokens of each rationale; its end-of-text tokens are ignored",
     .standard = "256",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, new_tokens),
     .low = 1,
     .high = 1 << 20},
    {.name = "sequences",
     .argument = "N",
     .help = "rationales drawn at once; 0: as many as leave each other's bits alone, 16 on the CPU",
     .standard = "0",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, sequences),
     .low = 0,
     .high = 4096},
    {.kind = OPTION_TABLE, .table = bench_frame_options, .offset = offsetof(struct settings, frames)},
    {.name = "dtype",
     .argument = "TYPE",
     .help = "what is computed in",
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
    .command = "rollout",
    .synopsis = "--model DIR --data ROWS.json [options]",
    .summary = "Measures how long it takes to draw rationales for videos, vision and prompt included, and "
               "prints JSON.",
    .examples = "vs2-bench rollout --model demo/model --data demo/rows.json --media-dir demo --num-samples 8 "
                "--new-tokens 256\n",
    .options = option_table,
};

struct bench {
    const struct settings *settings;
    struct device device;
    struct model model;
    struct tokenizer *tokenizer;
    struct bench_rows rows;
    struct bench_item *items;
    struct engine *engine;
    struct generate_results results;
    size_t peak_memory; /* before the machine's peak is measured */
    double load_seconds, video_seconds, seconds;
};

static enum status read_items(struct bench *bench, struct error *err) {
    const struct visual_options options = bench_visual_options(&bench->settings->frames);
    bench->items = memory_new(bench->rows.count, sizeof *bench->items, "rows", err);
    enum status status = bench->items ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < bench->rows.count; i++)
        status = bench_item_read(&bench->rows.rows[i], &options, bench->tokenizer, &bench->items[i],
                                 &bench->video_seconds, err);
    return status;
}

static struct generate_request request_of(const struct bench *bench, size_t row) {
    const struct bench_item *item = &bench->items[row];
    return (struct generate_request){
        .tokens = item->tokens.ids,
        .count = (int64_t)item->tokens.count,
        .visuals = &item->grid,
        .patches = &item->patches,
        .visual_count = 1,
        .samples = bench->settings->samples,
        .max_new_tokens = bench->settings->new_tokens,
        .rules = {.temperature = 1, .top_p = 0.95f, .repetition_penalty = 1, .stream = (uint32_t)row},
    };
}

/* Rows of the cache for the longest prompts with all their samples, as many as run at once. */
static int64_t cache_tokens(const struct bench *bench) {
    int64_t longest = 0, at_once = bench->settings->sequences;
    if (at_once == 0) at_once = matmul_exact_rows(&bench->device);
    for (size_t i = 0; i < bench->rows.count; i++)
        if ((int64_t)bench->items[i].tokens.count > longest) longest = (int64_t)bench->items[i].tokens.count;
    int64_t prompts = (at_once + bench->settings->samples - 1) / bench->settings->samples + 1;
    if (prompts > (int64_t)bench->rows.count) prompts = (int64_t)bench->rows.count;
    return prompts * longest + at_once * bench->settings->new_tokens;
}

static enum status load(struct bench *bench, struct error *err) {
    double start = clock_seconds();
    const struct settings *settings = bench->settings;
    enum status status = device_open(settings->device, &bench->device, err);
    if (!status)
        status = model_open(settings->model, &bench->device, dtypes[settings->dtype], &bench->model, err);
    if (status) return status;
    char *folder = hub_find(settings->model, err);
    if (!folder) return STATUS_FAILED;
    bench->tokenizer = tokenizer_load(folder, err);
    free(folder);
    if (!bench->tokenizer) return STATUS_FAILED;
    bench->load_seconds = clock_seconds() - start;
    return STATUS_OK;
}

static enum status measure(struct bench *bench, struct error *err) {
    enum status status =
        bench_rows_read(bench->settings->data, bench->settings->media_dir, &bench->rows, err);
    if (!status) status = load(bench, err);
    if (!status) status = read_items(bench, err);
    if (status) return status;
    struct engine_limits limits = {.sequences = bench->settings->sequences,
                                   .cache_tokens = cache_tokens(bench)};
    bench->engine = engine_create(&bench->model, &limits, err);
    if (!bench->engine) return STATUS_FAILED;
    double start = clock_seconds();
    for (size_t i = 0; i < bench->rows.count; i++) {
        struct generate_request request = request_of(bench, i);
        uint64_t id;
        if (engine_submit(bench->engine, &request, &id, err)) {
            error_prefix(err, "%s", bench->rows.rows[i].video);
            return STATUS_FAILED;
        }
    }
    if (engine_run(bench->engine, &bench->results, err)) return STATUS_FAILED;
    bench->seconds = clock_seconds() - start;
    bench->peak_memory = bench_peak_memory();
    return STATUS_OK;
}

/* One part of the work: seconds, and what was achieved in them. */
static void print_part(const char *name, double seconds, struct cost cost) {
    printf("\"%s\": {\"seconds\": %.6f, \"flops_per_second\": %.4g, \"bytes_per_second\": %.4g}, ", name,
           seconds, seconds > 0 ? cost.flops / seconds : 0, seconds > 0 ? cost.bytes / seconds : 0);
}

static void print(struct bench *bench) {
    const struct settings *settings = bench->settings;
    struct engine_statistics s = engine_statistics(bench->engine);
    struct device_info info = device_describe(&bench->device);
    struct cost all = {s.vision.flops + s.prompt.flops + s.decode.flops,
                       s.vision.bytes + s.prompt.bytes + s.decode.bytes};
    printf("{\"device\": \"%s\", \"threads\": %d, \"dtype\": \"%s\", \"rows\": %zu, \"num_samples\": %" PRId64
           ", \"prompt_tokens\": %" PRId64 ", \"new_tokens\": %" PRId64 ", \"patches\": %" PRId64
           ", \"seconds\": %.6f, \"tokens_per_second\": %.3f, ",
           info.name, info.threads, dtype_names[settings->dtype], bench->rows.count, settings->samples,
           s.prompt_tokens, s.new_tokens, s.patches, bench->seconds, (double)s.new_tokens / bench->seconds);
    print_part("vision", s.vision_seconds, s.vision);
    print_part("prompt", s.prompt_seconds, s.prompt);
    print_part("decode", s.decode_seconds, s.decode);
    print_part("all", bench->seconds, all);
    struct device_peak peak = device_measure(&bench->device);
    printf("\"peak\": {\"flops_per_second\": %.4g, \"bytes_per_second\": %.4g}, ",
           device_peak_flops(&peak, bench->model.compute), peak.bytes);
    printf("\"decode_steps\": %" PRId64
           ", \"load_seconds\": %.6f, \"video_seconds\": %.6f, \"cache_bytes\": %" PRId64
           ", \"activation_bytes\": %" PRId64 ", \"peak_memory_bytes\": %zu}\n",
           s.decode_steps, bench->load_seconds, bench->video_seconds, s.cache_bytes, s.activation_bytes,
           bench->peak_memory);
}

static void close_bench(struct bench *bench) {
    generate_results_free(&bench->results);
    engine_free(bench->engine);
    for (size_t i = 0; bench->items && i < bench->rows.count; i++) bench_item_free(&bench->items[i]);
    free(bench->items);
    bench_rows_free(&bench->rows);
    tokenizer_free(bench->tokenizer);
    if (bench->model.checkpoint) model_close(&bench->model);
    if (bench->device.backend) device_close(&bench->device);
}

int bench_rollout(int argc, char **argv) {
    struct settings settings = {
        .device = "auto", .samples = 8, .new_tokens = 256, .frames = bench_frames_default()};
    struct bench bench = {.settings = &settings};
    struct error err;
    int first;
    bool finished;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (finished && !status) return STATUS_OK;
    if (!status) status = measure(&bench, &err);
    if (!status) print(&bench);
    close_bench(&bench);
    return status ? program_fail(&program, status, &err) : program_finish(&program, 0);
}
