#include "grpo/rollout.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "train/vision_features.h"

enum { CHUNK_BYTES = 8 << 20 }; /* of the arena that visuals are encoded in */
static const int64_t default_cache_bytes = (int64_t)2 << 30;

struct rollout {
    struct rollout_settings settings;
    int32_t *stop_tokens;
    struct engine *engine;           /* NULL while it rests */
    int64_t cache_rows;              /* of the engine */
    struct engine_statistics before; /* of engines that are gone, and of visuals encoded here */
};

void rollout_completions_free(struct rollout_completions *completions) {
    for (int64_t i = 0; i < completions->count; i++) {
        free(completions->items[i].tokens);
        free(completions->items[i].logprobs);
    }
    free(completions->items);
    *completions = (struct rollout_completions){0};
}

/* ---- Settings ---------------------------------------------------------------------------------------- */

/* Written so that NaN is out of range too. */
static enum status check_settings(const struct rollout_settings *s, struct error *err) {
    if (!(s->temperature >= 0)) return error_usage(err, "a temperature of %g is below 0", s->temperature);
    if (!(s->top_p >= 0 && s->top_p <= 1))
        return error_usage(err, "a top_p of %g is not between 0 and 1", s->top_p);
    if (s->top_k < 0 || s->top_k > INT32_MAX)
        return error_usage(err, "a top_k of %lld is not between 0 and %d", (long long)s->top_k, INT32_MAX);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return error_usage(err, "a min_p of %g is not between 0 and 1", s->min_p);
    if (!(s->repetition_penalty > 0))
        return error_usage(err, "a repetition penalty of %g is not above 0", s->repetition_penalty);
    if (s->max_new_tokens < 1)
        return error_usage(err, "completions of %lld tokens", (long long)s->max_new_tokens);
    const int64_t most = matmul_exact_rows(s->model->device);
    if (s->sequences < 0 || s->sequences > most)
        return error_usage(err,
                           "%lld sequences at once are not between 1 and %lld: more would round each other",
                           (long long)s->sequences, (long long)most);
    return STATUS_OK;
}

struct rollout *rollout_new(const struct rollout_settings *settings, struct error *err) {
    if (check_settings(settings, err) != STATUS_OK) return NULL;
    struct rollout *rollout = memory_new(1, sizeof *rollout, "rollouts", err);
    if (!rollout) return NULL;
    rollout->settings = *settings;
    if (rollout->settings.sequences == 0)
        rollout->settings.sequences = matmul_exact_rows(settings->model->device);
    if (rollout->settings.cache_bytes == 0) rollout->settings.cache_bytes = default_cache_bytes;
    size_t count = (size_t)settings->stop_token_count;
    rollout->stop_tokens = memory_new(count, sizeof *rollout->stop_tokens, "rollouts", err);
    if (!rollout->stop_tokens) {
        rollout_free(rollout);
        return NULL;
    }
    if (count > 0) memcpy(rollout->stop_tokens, settings->stop_tokens, count * sizeof *rollout->stop_tokens);
    rollout->settings.stop_tokens = rollout->stop_tokens;
    return rollout;
}

void rollout_free(struct rollout *rollout) {
    if (!rollout) return;
    engine_free(rollout->engine);
    free(rollout->stop_tokens);
    free(rollout);
}

/* ---- The engine -------------------------------------------------------------------------------------- */

static struct engine_statistics add_statistics(struct engine_statistics a, struct engine_statistics b) {
    a.prompt_tokens += b.prompt_tokens;
    a.new_tokens += b.new_tokens;
    a.patches += b.patches;
    a.decode_steps += b.decode_steps;
    a.decode_tokens += b.decode_tokens;
    a.vision_seconds += b.vision_seconds;
    a.prompt_seconds += b.prompt_seconds;
    a.decode_seconds += b.decode_seconds;
    struct cost *costs[] = {&a.vision, &a.prompt, &a.decode};
    const struct cost others[] = {b.vision, b.prompt, b.decode};
    for (int i = 0; i < 3; i++) {
        costs[i]->flops += others[i].flops;
        costs[i]->bytes += others[i].bytes;
    }
    if (b.cache_bytes > a.cache_bytes) a.cache_bytes = b.cache_bytes;
    if (b.activation_bytes > a.activation_bytes) a.activation_bytes = b.activation_bytes;
    return a;
}

struct engine_statistics rollout_statistics(const struct rollout *rollout) {
    if (!rollout->engine) return rollout->before;
    return add_statistics(rollout->before, engine_statistics(rollout->engine));
}

void rollout_rest(struct rollout *rollout) {
    rollout->before = rollout_statistics(rollout);
    engine_free(rollout->engine);
    rollout->engine = NULL;
    rollout->cache_rows = 0;
}

/* Rows of the cache with which as many sequences run at once as may, but no more than the limit allows. */
static int64_t cache_rows(const struct rollout *rollout, int64_t longest, int64_t fewest, int64_t count) {
    int64_t at_once = rollout->settings.sequences;
    int64_t together = fewest > 0 ? (at_once - 1) / fewest + 2 : count;
    if (together > count) together = count;
    int64_t wanted = together * longest + at_once * rollout->settings.max_new_tokens;
    int64_t most = rollout->settings.cache_bytes / kv_row_bytes(rollout->settings.model);
    if (most < 1) most = 1;
    return wanted < most ? wanted : most;
}

int64_t rollout_cache_bytes(const struct rollout *rollout, int64_t longest, int64_t samples, int64_t count) {
    return cache_rows(rollout, longest, samples, count) * kv_row_bytes(rollout->settings.model);
}

static struct arena *lent_arena(const struct rollout *rollout) {
    return rollout->settings.lender ? pass_runner_arena(rollout->settings.lender) : NULL;
}

/* An engine with room for the prompts, as far as the limit allows. */
static enum status wake(struct rollout *rollout, const struct rollout_prompt *prompts, int64_t count,
                        struct error *err) {
    int64_t longest = 0, fewest = INT64_MAX;
    for (int64_t i = 0; i < count; i++) {
        if (prompts[i].count > longest) longest = prompts[i].count;
        if (prompts[i].samples < fewest) fewest = prompts[i].samples;
    }
    int64_t rows = cache_rows(rollout, longest, fewest, count);
    if (rollout->engine && rollout->cache_rows >= rows) return STATUS_OK;
    rollout_rest(rollout);
    const struct engine_limits limits = {.sequences = rollout->settings.sequences,
                                         .cache_tokens = rows,
                                         .prompt_tokens = rollout->settings.prompt_tokens,
                                         .rounded_logits = true,
                                         .arena = lent_arena(rollout)};
    rollout->engine = engine_create(rollout->settings.model, &limits, err);
    rollout->cache_rows = rows;
    return rollout->engine ? STATUS_OK : STATUS_FAILED;
}

/* ---- Visuals of a frozen tower ----------------------------------------------------------------------- */

/* The features of one prompt's visuals. */
struct prompt_features {
    struct cached_features *found; /* [visuals] */
    const void **data;             /* [visuals]: NULL where patches are to be encoded by the engine */
};

static void features_free(struct prompt_features *features, int64_t visuals) {
    for (int64_t v = 0; features->found && v < visuals; v++) vision_cache_release(&features->found[v]);
    free(features->found);
    free(features->data);
}

/* Encodes a visual that the cache has not, and gives the cache a copy. */
static enum status encode(struct rollout *rollout, struct arena *arena, const struct pass_visuals *visuals,
                          int64_t number, struct cached_features *made, struct error *err) {
    const struct model *model = rollout->settings.model;
    const struct visual_grid *grid = &visuals->grids[number];
    double start = clock_seconds();
    made->size = vision_features_bytes(model, grid);
    made->owned = memory_new(made->size, 1, "vision features", err);
    if (!made->owned) return STATUS_FAILED;
    made->data = made->owned;
    struct arena_mark mark = arena_mark(arena);
    struct tensor features =
        arena_tensor(arena, model->compute, grid_features(&model->config.vision, grid), model->config.hidden);
    enum status status =
        vision_features_compute(model, arena, features, grid, visuals->patches[number],
                                pass_visual_frames(visuals, number), &rollout->before.vision, err);
    if (status == STATUS_OK) status = device_read(model->device, made->owned, features, err);
    arena_release(arena, mark);
    if (status == STATUS_OK)
        status =
            vision_cache_store(rollout->settings.cache, visuals->keys[number], made->data, made->size, err);
    rollout->before.patches += grid->t * grid->h * grid->w;
    rollout->before.vision_seconds += clock_seconds() - start;
    return status;
}

/* Finds what is known of the prompt's visuals, and finds out what the cache wants to know. */
static enum status find_features(struct rollout *rollout, struct arena *arena,
                                 const struct pass_visuals *visuals, struct prompt_features *features,
                                 struct error *err) {
    size_t count = (size_t)visuals->count;
    if (!(features->found = memory_new(count, sizeof *features->found, "vision features", err)) ||
        !(features->data = memory_new(count, sizeof *features->data, "vision features", err)))
        return STATUS_FAILED;
    for (int64_t v = 0; v < visuals->count; v++) {
        struct cached_features *found = &features->found[v];
        features->data[v] = visuals->features ? visuals->features[v] : NULL;
        if (features->data[v] || !rollout->settings.cache || !visuals->keys || !visuals->keys[v]) continue;
        enum status status = grid_check(&rollout->settings.model->config.vision, &visuals->grids[v], err);
        if (status == STATUS_OK)
            status = vision_cache_find(rollout->settings.cache, visuals->keys[v],
                                       vision_features_bytes(rollout->settings.model, &visuals->grids[v]),
                                       found, err);
        if (status == STATUS_OK && !found->data) status = encode(rollout, arena, visuals, v, found, err);
        if (status != STATUS_OK) return status;
        features->data[v] = found->data;
    }
    return STATUS_OK;
}

/* ---- A run ------------------------------------------------------------------------------------------- */

/* The seed of a step. */
static uint64_t step_seed(uint64_t seed, uint64_t step) {
    uint32_t words[4];
    random_words((struct random_key){.seed = seed, .position = step}, words);
    return (uint64_t)words[0] << 32 | words[1];
}

static enum status submit(struct rollout *rollout, uint64_t seed, const struct rollout_prompt *prompt,
                          const void *const *features, uint64_t *id, struct error *err) {
    const struct rollout_settings *settings = &rollout->settings;
    const struct generate_request request = {
        .tokens = prompt->tokens,
        .count = prompt->count,
        .visuals = prompt->visuals.grids,
        .visual_count = prompt->visuals.count,
        .patches = prompt->visuals.patches,
        .frames = prompt->visuals.frames,
        .features = features,
        .samples = prompt->samples,
        .first_sample = prompt->first_sample,
        .max_new_tokens = settings->max_new_tokens,
        .stop_tokens = settings->stop_tokens,
        .stop_token_count = settings->stop_token_count,
        .rules = {.temperature = (float)settings->temperature,
                  .top_k = (int32_t)settings->top_k,
                  .top_p = settings->top_p,
                  .min_p = (float)settings->min_p,
                  .repetition_penalty = (float)settings->repetition_penalty,
                  .tempered = true,
                  .seed = seed,
                  .stream = prompt->problem},
    };
    return engine_submit(rollout->engine, &request, id, err);
}

/* What a run works with. */
struct batch {
    const struct rollout_prompt *prompts;
    int64_t count;
    struct prompt_features *features; /* [count] */
    struct arena own, *arena;         /* that visuals are encoded in */
    struct generate_results results;
    uint64_t first; /* the number of the first request */
};

static void batch_free(struct batch *batch) {
    for (int64_t p = 0; batch->features && p < batch->count; p++)
        features_free(&batch->features[p], batch->prompts[p].visuals.count);
    free(batch->features);
    arena_free(&batch->own);
    generate_results_free(&batch->results);
}

/* Submits all prompts, and runs until the last has ended. */
static enum status generate(struct rollout *rollout, uint64_t step, struct batch *batch, struct error *err) {
    uint64_t seed = step_seed(rollout->settings.seed, step), id;
    batch->features = memory_new((size_t)batch->count, sizeof *batch->features, "rollouts", err);
    enum status status = batch->features ? STATUS_OK : STATUS_FAILED;
    for (int64_t p = 0; status == STATUS_OK && p < batch->count; p++)
        status = find_features(rollout, batch->arena, &batch->prompts[p].visuals, &batch->features[p], err);
    arena_free(&batch->own);
    if (status == STATUS_OK) status = wake(rollout, batch->prompts, batch->count, err);
    for (int64_t p = 0; status == STATUS_OK && p < batch->count; p++) {
        status = submit(rollout, seed, &batch->prompts[p], batch->features[p].data, &id, err);
        if (p == 0) batch->first = id;
    }
    return status == STATUS_OK ? engine_run(rollout->engine, &batch->results, err) : status;
}

/* Moves the results into their places. */
static enum status collect(struct batch *batch, struct rollout_completions *completions, struct error *err) {
    int64_t *first = memory_new((size_t)batch->count, sizeof *first, "rollouts", err);
    if (!first) return STATUS_FAILED;
    for (int64_t p = 0; p < batch->count; p++) {
        first[p] = completions->count;
        completions->count += batch->prompts[p].samples;
    }
    completions->items =
        memory_new((size_t)completions->count, sizeof *completions->items, "completions", err);
    if (!completions->items) completions->count = 0;
    for (size_t i = 0; completions->items && i < batch->results.count; i++) {
        struct generate_result *result = &batch->results.items[i];
        completions->items[first[result->request - batch->first] + result->sample] =
            (struct rollout_completion){.tokens = result->tokens,
                                        .logprobs = result->logprobs,
                                        .count = result->count,
                                        .finish = result->finish};
        result->tokens = NULL;
        result->logprobs = NULL;
    }
    free(first);
    return completions->items ? STATUS_OK : STATUS_FAILED;
}

enum status rollout_run(struct rollout *rollout, uint64_t step, const struct rollout_prompt *prompts,
                        int64_t count, struct rollout_completions *completions, struct error *err) {
    struct batch batch = {.prompts = prompts, .count = count};
    *completions = (struct rollout_completions){0};
    arena_init(&batch.own, rollout->settings.model->device, CHUNK_BYTES);
    batch.arena = rollout->settings.lender ? lent_arena(rollout) : &batch.own;
    enum status status = generate(rollout, step, &batch, err);
    if (status == STATUS_OK) status = collect(&batch, completions, err);
    if (status != STATUS_OK) rollout_rest(rollout); /* drops what still waits */
    batch_free(&batch);
    return status;
}
