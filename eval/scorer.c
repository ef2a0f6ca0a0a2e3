#include "eval/scorer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "data/prefetch.h"
#include "data/query.h"
#include "model/chat.h"
#include "model/hub.h"

enum { MOST_WAITING_BYTES = 1 << 30, LARGEST_CACHE = 1 << 21 };

/* One job on its way, from the start of its decoding to its delivery. */
struct task {
    bool done; /* its result is complete */
    bool delivered;
    double start;         /* when decoding began */
    struct visual visual; /* patches until they are encoded */
    struct token_list prompt;
    const float *patches[1]; /* as the engine wants them */
    const struct vision_frames *frames[1];
    int64_t finished; /* samples */
    struct score_result result;
};

struct scorer {
    struct scorer_settings settings;
    const struct score_jobs *jobs;
    struct task *tasks; /* [jobs->count] */
    char *folder, *query;
    bool query_has_mark; /* the query says where the video stands */
    struct prefetch *prefetch;
    struct device device;
    bool device_is_open, model_is_open;
    struct model own_model;
    struct tokenizer *own_tokenizer;
    const struct model *model; /* these two, or those that are in memory */
    const struct tokenizer *tokenizer;
    struct generation_config generation;
    struct sampling rules;
    int32_t digits[SCORE_LEVELS];
    struct engine *engine;
    int64_t *job_of_request; /* [jobs->count] */
    int64_t in_flight, next_job, first_undelivered;
    struct score_progress progress;
    double start;
};

struct scorer_settings scorer_settings_default(void) {
    return (struct scorer_settings){
        .device = "auto",
        .compute = DTYPE_I32,
        .visual = visual_options_default(visual_policy_find("llamafactory")),
        .sampling = {.temperature = NAN,
                     .top_p = NAN,
                     .min_p = NAN,
                     .repetition_penalty = NAN,
                     .top_k = -1,
                     .seed = 42},
        .samples = 1,
        .max_new_tokens = 1024,
    };
}

/* ---- Reading videos ahead ---------------------------------------------------------------------------- */

static enum status read_video(void *context, int64_t item, void **result, size_t *bytes, struct error *err) {
    struct scorer *scorer = context;
    struct task *task = &scorer->tasks[item];
    task->start = clock_seconds();
    enum status status =
        visual_read_video(scorer->jobs->list[item].video, &scorer->settings.visual, &task->visual, err);
    if (status != STATUS_OK) return status;
    *result = task;
    *bytes = visual_bytes(&task->visual);
    return STATUS_OK;
}

/* The task keeps what was read; scorer_close frees it. */
static void keep_video(void *context, void *result) {
    (void)context;
    (void)result;
}

/* The device comes first, since it decides what is read. */
static enum status open_device(struct scorer *scorer, struct error *err) {
    const struct device *device = &scorer->device;
    if (scorer->settings.loaded) {
        device = scorer->settings.loaded->device;
    } else {
        enum status status = device_open(scorer->settings.device, &scorer->device, err);
        if (status != STATUS_OK) return status;
        scorer->device_is_open = true;
    }
    scorer->settings.visual.frames = device_describe(device).own_memory;
    return STATUS_OK;
}

static enum status start_reading(struct scorer *scorer, struct error *err) {
    struct prefetch_work work = {.context = scorer, .make = read_video, .release = keep_video};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct prefetch_limits limits = {
        .threads = cores > 4 ? (int)cores / 4 : 1, .ahead = 4, .max_bytes = MOST_WAITING_BYTES};
    if (limits.ahead < 2 * limits.threads) limits.ahead = 2 * limits.threads;
    struct visual_options *visual = &scorer->settings.visual;
    visual->threads = scorer->jobs->count > 1 ? 1 : 0; /* one video alone gets every core */
    enum status status = patch_config_read(scorer->folder, true, &visual->processor, err);
    if (status != STATUS_OK) return status;
    scorer->prefetch = prefetch_start(&work, (int64_t)scorer->jobs->count, &limits, err);
    return scorer->prefetch ? STATUS_OK : STATUS_FAILED;
}

/* ---- Opening ----------------------------------------------------------------------------------------- */

static double or_default(double wish, double standard) {
    return isnan(wish) ? standard : wish;
}

static void set_rules(struct scorer *scorer) {
    const struct sampling_wish *wish = &scorer->settings.sampling;
    const struct generation_config *standard = &scorer->generation;
    scorer->rules = (struct sampling){
        .temperature = (float)or_default(wish->temperature, standard->do_sample ? standard->temperature : 0),
        .top_k = (int32_t)(wish->top_k >= 0 ? wish->top_k : standard->top_k),
        .top_p = (float)or_default(wish->top_p, standard->top_p),
        .min_p = (float)or_default(wish->min_p, standard->min_p),
        .repetition_penalty = (float)or_default(wish->repetition_penalty, standard->repetition_penalty),
        .seed = wish->seed,
    };
}

static enum status open_own_model(struct scorer *scorer, struct error *err) {
    struct scorer_settings *settings = &scorer->settings;
    scorer->tokenizer = scorer->own_tokenizer = tokenizer_load(scorer->folder, err);
    if (!scorer->tokenizer) return STATUS_FAILED;
    if (settings->compute == DTYPE_I32)
        settings->compute = device_describe(&scorer->device).native_bf16 ? DTYPE_BF16 : DTYPE_F32;
    enum status status =
        model_open(scorer->folder, &scorer->device, settings->compute, &scorer->own_model, err);
    scorer->model_is_open = status == STATUS_OK;
    scorer->model = &scorer->own_model;
    return status;
}

static enum status open_model(struct scorer *scorer, struct error *err) {
    scorer->model = scorer->settings.loaded;
    scorer->tokenizer = scorer->settings.tokenizer;
    enum status status = generation_config_read(scorer->folder, &scorer->generation, err);
    if (status == STATUS_OK && !scorer->model) status = open_own_model(scorer, err);
    if (status != STATUS_OK) return status;
    set_rules(scorer);
    score_tokens(scorer->tokenizer, scorer->digits);
    return STATUS_OK;
}

enum status scorer_open(const struct scorer_settings *settings, const struct score_jobs *jobs,
                        struct scorer **opened, struct error *err) {
    enum status status = STATUS_FAILED;
    *opened = NULL;
    struct scorer *scorer = memory_new(1, sizeof *scorer, "scoring", err);
    if (!scorer) return STATUS_FAILED;
    scorer->settings = *settings;
    scorer->jobs = jobs;
    scorer->start = clock_seconds();
    scorer->progress.jobs = (int64_t)jobs->count;
    if (!(scorer->tasks = memory_new(jobs->count, sizeof *scorer->tasks, "scoring", err)) ||
        !(scorer->job_of_request = memory_new(jobs->count, sizeof *scorer->job_of_request, "scoring", err)) ||
        !(scorer->folder = hub_find(settings->model, err)) ||
        !(scorer->query = settings->query
                              ? memory_text(settings->query, strlen(settings->query), "the query", err)
                              : query_template(settings->template_file, scorer->folder, err)))
        goto err;
    scorer->query_has_mark = strstr(scorer->query, "<video>") != NULL;
    if ((status = open_device(scorer, err)) != STATUS_OK ||
        (status = start_reading(scorer, err)) != STATUS_OK || (status = open_model(scorer, err)) != STATUS_OK)
        goto err;
    *opened = scorer;
    return STATUS_OK;
err:
    scorer_close(scorer);
    return status;
}

static void task_free(struct task *task) {
    visual_free(&task->visual);
    token_list_free(&task->prompt);
    for (int64_t i = 0; i < task->result.sample_count && task->result.samples; i++) {
        free(task->result.samples[i].text);
        free(task->result.samples[i].ids);
    }
    free(task->result.samples);
    *task = (struct task){0};
}

void scorer_close(struct scorer *scorer) {
    if (!scorer) return;
    prefetch_stop(scorer->prefetch);
    engine_free(scorer->engine);
    for (size_t i = 0; scorer->tasks && i < scorer->jobs->count; i++) task_free(&scorer->tasks[i]);
    if (scorer->model_is_open) model_close(&scorer->own_model);
    if (scorer->device_is_open) device_close(&scorer->device);
    tokenizer_free(scorer->own_tokenizer);
    free(scorer->tasks);
    free(scorer->job_of_request);
    free(scorer->folder);
    free(scorer->query);
    free(scorer);
}

/* ---- Submitting -------------------------------------------------------------------------------------- */

/* An engine whose cache holds this task's sequences, and others beside them when there are more jobs. */
static enum status make_engine(struct scorer *scorer, const struct task *task, struct error *err) {
    struct engine_limits limits = {.watched = scorer->digits, .watched_count = SCORE_LEVELS};
    static const int32_t none[SCORE_LEVELS];
    for (int s = 0; s < SCORE_LEVELS; s++)
        if (scorer->digits[s] < 0) limits.watched = none; /* scores_read says so */
    int64_t most = matmul_exact_rows(scorer->model->device),
            at_once = scorer->settings.samples < most ? scorer->settings.samples : most;
    int64_t need = (int64_t)task->prompt.count + at_once * scorer->settings.max_new_tokens;
    if (scorer->jobs->count == 1) limits.cache_tokens = need < LARGEST_CACHE ? need : LARGEST_CACHE;
    scorer->engine = engine_create(scorer->model, &limits, err);
    return scorer->engine ? STATUS_OK : STATUS_FAILED;
}

static enum status encode_prompt(struct scorer *scorer, const struct score_job *job, struct task *task,
                                 struct error *err) {
    char *text = query_fill(scorer->query, job->prompt, err);
    if (!text) return STATUS_FAILED;
    int64_t pads = task->visual.tokens;
    struct chat_message message = {
        .role = CHAT_USER, .text = text, .length = strlen(text), .visuals_first = !scorer->query_has_mark};
    struct chat_visuals visuals = {.video_pads = &pads, .video_count = 1};
    enum status status = chat_encode(scorer->tokenizer, &message, 1, &visuals, &task->prompt, NULL, err);
    free(text);
    return status;
}

static void patches_encoded(void *context) {
    struct task *task = context;
    visual_drop_patches(&task->visual);
}

static enum status submit(struct scorer *scorer, int64_t job, struct error *err) {
    struct task *task = &scorer->tasks[job];
    const struct scorer_settings *settings = &scorer->settings;
    enum status status = encode_prompt(scorer, &scorer->jobs->list[job], task, err);
    if (status != STATUS_OK) return status;
    if (!scorer->engine && (status = make_engine(scorer, task, err)) != STATUS_OK) return status;
    const struct visual *visual = &task->visual;
    struct visual_grid grid = {visual->grid[0], visual->grid[1], visual->grid[2],
                               visual->inference_second_per_grid};
    task->patches[0] = visual->patches;
    task->frames[0] = visual->frames;
    struct generate_request request = {
        .tokens = task->prompt.ids,
        .count = (int64_t)task->prompt.count,
        .visuals = &grid,
        .patches = task->patches,
        .frames = task->frames,
        .visual_count = 1,
        .encoded = patches_encoded,
        .context = task,
        .samples = settings->samples,
        .max_new_tokens = settings->max_new_tokens,
        .stop_tokens = scorer->generation.stop_tokens,
        .stop_token_count = scorer->generation.stop_token_count,
        .rules = scorer->rules,
    };
    request.rules.stream = scorer->jobs->list[job].stream;
    uint64_t id;
    status = engine_submit(scorer->engine, &request, &id, err);
    if (status != STATUS_OK) return status;
    scorer->job_of_request[id] = job;
    scorer->in_flight++;
    return STATUS_OK;
}

static void fail_task(struct task *task, enum status status, const struct error *err) {
    task->done = true;
    task->result.status = status;
    task->result.error = *err;
    task->result.seconds = clock_seconds() - task->start;
}

/* Takes the next video and submits it; a failure is the task's. */
static enum status begin_task(struct scorer *scorer, struct error *err) {
    int64_t job = scorer->next_job++;
    struct task *task = &scorer->tasks[job];
    const struct score_job *words = &scorer->jobs->list[job];
    void *unused;
    struct error own;
    enum status status = prefetch_next(scorer->prefetch, &unused, &own);
    task->result.job = job;
    task->result.video = words->video;
    task->result.prompt = words->prompt;
    task->result.samples =
        memory_new((size_t)scorer->settings.samples, sizeof *task->result.samples, "samples", err);
    if (!task->result.samples) return STATUS_FAILED;
    if (status == STATUS_OK && (status = submit(scorer, job, &own)) != STATUS_OK)
        error_prefix(&own, "%s", words->video);
    if (status == STATUS_OK) {
        task->result.sample_count = scorer->settings.samples;
        task->result.frames = task->visual.indices;
        task->result.frame_count = task->visual.index_count;
        task->result.prompt_ids = task->prompt.ids;
        task->result.prompt_tokens = (int64_t)task->prompt.count;
    } else {
        patches_encoded(task);
        fail_task(task, status, &own);
    }
    return STATUS_OK;
}

/* ---- Finishing --------------------------------------------------------------------------------------- */

static enum status read_sample(const struct scorer *scorer, struct generate_result *generated,
                               struct score_sample *sample, struct error *err) {
    struct text text = {0};
    int64_t count = generated->count;
    tokenizer_decode(scorer->tokenizer, generated->tokens, (size_t)count, true, &text);
    sample->length = text.length;
    sample->text = text_take(&text, "a completion", err);
    if (!sample->text) return STATUS_FAILED;
    sample->ids = generated->tokens;
    generated->tokens = NULL;
    sample->count = count;
    sample->finish = generated->finish;
    struct sample_text words = {.text = sample->text,
                                .length = sample->length,
                                .ids = sample->ids,
                                .count = count,
                                .watched = scorer->settings.raw_probabilities ? generated->watched_raw
                                                                              : generated->watched_final};
    return scores_read(scorer->tokenizer, scorer->digits, &words, &sample->scores, err);
}

static enum status take_generated(struct scorer *scorer, struct generate_result *generated,
                                  struct error *err) {
    struct task *task = &scorer->tasks[scorer->job_of_request[generated->request]];
    enum status status = read_sample(scorer, generated, &task->result.samples[generated->sample], err);
    if (status != STATUS_OK) return status;
    scorer->progress.new_tokens += task->result.samples[generated->sample].count;
    if (++task->finished < task->result.sample_count) return STATUS_OK;
    task->done = true;
    task->result.seconds = clock_seconds() - task->start;
    scorer->in_flight--;
    for (int64_t i = 0; i < task->result.sample_count; i++) {
        struct error own;
        if (task->result.samples[i].finish != FINISH_FAILED) continue;
        fail_task(task, error_set(&own, "%s: the model's logits are not numbers", task->result.video), &own);
        break;
    }
    return STATUS_OK;
}

static enum status deliver(struct scorer *scorer, struct task *task, score_sink *sink, void *context,
                           struct error *err) {
    scorer->progress.done++;
    scorer->progress.failed += task->result.status != STATUS_OK;
    enum status status = sink(context, &task->result, err);
    task_free(task);
    task->delivered = true;
    return status;
}

/* Gives the sink what is complete, and where order matters, whose turn it is. */
static enum status deliver_complete(struct scorer *scorer, score_sink *sink, void *context,
                                    struct error *err) {
    enum status status = STATUS_OK;
    for (int64_t i = scorer->first_undelivered; i < scorer->next_job && status == STATUS_OK; i++) {
        struct task *task = &scorer->tasks[i];
        if (task->done) status = deliver(scorer, task, sink, context, err);
        if (task->delivered && i == scorer->first_undelivered)
            scorer->first_undelivered++;
        else if (!scorer->settings.unordered)
            break;
    }
    return status;
}

/* How many jobs run or wait in the engine: enough to fill its places while one more is being begun. */
static int64_t most_in_flight(const struct scorer *scorer) {
    return matmul_exact_rows(scorer->model->device) / scorer->settings.samples + 2;
}

enum status scorer_run(struct scorer *scorer, score_sink *sink, void *context, struct error *err) {
    struct generate_results results = {0};
    enum status status = STATUS_OK;
    int64_t count = (int64_t)scorer->jobs->count;
    while (status == STATUS_OK && scorer->first_undelivered < count) {
        while (status == STATUS_OK && scorer->next_job < count &&
               scorer->in_flight < most_in_flight(scorer) &&
               (scorer->in_flight == 0 || prefetch_ready(scorer->prefetch)))
            status = begin_task(scorer, err);
        if (status == STATUS_OK && scorer->in_flight) status = engine_step(scorer->engine, &results, err);
        for (size_t i = 0; i < results.count && status == STATUS_OK; i++)
            status = take_generated(scorer, &results.items[i], err);
        generate_results_free(&results);
        if (status == STATUS_OK) status = deliver_complete(scorer, sink, context, err);
        if (status != STATUS_OK || !scorer->settings.progress) continue;
        struct score_progress progress = scorer_progress(scorer);
        scorer->settings.progress(scorer->settings.progress_context, &progress);
    }
    return status;
}

struct score_progress scorer_progress(const struct scorer *scorer) {
    struct score_progress progress = scorer->progress;
    progress.seconds = clock_seconds() - scorer->start;
    return progress;
}
