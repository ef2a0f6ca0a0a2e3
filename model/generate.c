#include "model/generate.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "model/language.h"
#include "model/sequence.h"
#include "model/vision.h"

enum { DEFAULT_PROMPT_TOKENS = 4096, MAX_SEQUENCES = 1 << 16, MAX_WATCHED = 1 << 12 };
enum { CHUNK_BYTES = 8 << 20 }; /* of the arena: small models take little; what is larger has its own chunk */
static const int64_t default_cache_bytes = (int64_t)2 << 30;

/* Host buffers of one pass, for as many tokens as a pass has. */
struct buffers {
    int32_t *tokens, *positions, *cache_rows, *feature_rows;
    struct attention_segment *segments;
    struct sampling *rules;
    int32_t *drawn;
    float *logprobs, *watched_raw, *watched_final;
};

struct engine {
    const struct model *model;
    struct arena own, *arena; /* its own memory, and where it works */
    struct arena_mark mark;   /* where that was free at first */
    struct kv_cache cache;
    int64_t limit, prompt_tokens; /* of engine_limits */
    enum dtype logits;            /* their type */
    int32_t *watched;
    int64_t watched_count;
    struct buffers buffers;

    struct prompt **waiting; /* in the order submitted */
    size_t waiting_count, waiting_capacity;
    struct sequence **ready; /* computed prompts' samples that wait for a place, in order */
    size_t ready_count, ready_capacity;
    struct sequence **running; /* [limit], in the order of their start */
    int64_t running_count;

    uint64_t next_id;
    struct engine_statistics statistics;
};

static void add_cost(struct cost *sum, struct cost cost) {
    sum->flops += cost.flops;
    sum->bytes += cost.bytes;
}

/* ---- Making and freeing ------------------------------------------------------------------------------ */

static enum status make_buffers(struct engine *engine, struct error *err) {
    struct buffers *b = &engine->buffers;
    size_t rows = (size_t)engine->limit, watched = rows * (size_t)engine->watched_count;
    size_t tokens = (size_t)(engine->limit > engine->prompt_tokens ? engine->limit : engine->prompt_tokens);
    const char *what = "an engine";
    if (!(b->tokens = memory_new(tokens, sizeof *b->tokens, what, err)) ||
        !(b->positions = memory_new(3 * tokens, sizeof *b->positions, what, err)) ||
        !(b->cache_rows = memory_new(tokens, sizeof *b->cache_rows, what, err)) ||
        !(b->feature_rows = memory_new(tokens, sizeof *b->feature_rows, what, err)) ||
        !(b->segments = memory_new(rows, sizeof *b->segments, what, err)) ||
        !(b->rules = memory_new(rows, sizeof *b->rules, what, err)) ||
        !(b->drawn = memory_new(rows, sizeof *b->drawn, what, err)) ||
        !(b->logprobs = memory_new(rows, sizeof *b->logprobs, what, err)) ||
        !(b->watched_raw = memory_new(watched, sizeof *b->watched_raw, what, err)) ||
        !(b->watched_final = memory_new(watched, sizeof *b->watched_final, what, err)))
        return STATUS_FAILED;
    return STATUS_OK;
}

static void free_buffers(struct buffers *b) {
    free(b->tokens);
    free(b->positions);
    free(b->cache_rows);
    free(b->feature_rows);
    free(b->segments);
    free(b->rules);
    free(b->drawn);
    free(b->logprobs);
    free(b->watched_raw);
    free(b->watched_final);
}

static enum status check_limits(const struct engine_limits *limits, struct error *err) {
    if (limits->sequences < 0 || limits->sequences > MAX_SEQUENCES)
        return error_usage(err, "%lld sequences at once are not between 1 and %d",
                           (long long)limits->sequences, MAX_SEQUENCES);
    if (limits->watched_count < 0 || limits->watched_count > MAX_WATCHED)
        return error_usage(err, "%lld watched tokens are not between 0 and %d",
                           (long long)limits->watched_count, MAX_WATCHED);
    if (limits->cache_tokens < 0 || limits->cache_bytes < 0 || limits->prompt_tokens < 0 ||
        limits->prompt_tokens > INT32_MAX / 4)
        return error_usage(err, "an engine's limits are out of range");
    return STATUS_OK;
}

/* The rows of the cache that the limits ask for. */
static int64_t cache_rows(const struct model *model, const struct engine_limits *limits) {
    if (limits->cache_tokens > 0) return limits->cache_tokens;
    int64_t bytes = limits->cache_bytes > 0 ? limits->cache_bytes : default_cache_bytes;
    int64_t rows = bytes / kv_row_bytes(model);
    return rows < INT32_MAX ? rows : INT32_MAX;
}

struct engine *engine_create(const struct model *model, const struct engine_limits *limits,
                             struct error *err) {
    if (check_limits(limits, err)) return NULL;
    struct engine *engine = memory_new(1, sizeof *engine, "an engine", err);
    if (!engine) return NULL;
    engine->model = model;
    engine->limit = limits->sequences > 0 ? limits->sequences : matmul_exact_rows(model->device);
    engine->prompt_tokens = limits->prompt_tokens > 0 ? limits->prompt_tokens : DEFAULT_PROMPT_TOKENS;
    engine->logits = limits->rounded_logits ? model->compute : DTYPE_F32;
    engine->watched_count = limits->watched_count;
    arena_init(&engine->own, model->device, CHUNK_BYTES);
    engine->arena = limits->arena ? limits->arena : &engine->own;
    engine->mark = arena_mark(engine->arena);
    engine->running = memory_new((size_t)engine->limit, sizeof(struct sequence *), "an engine", err);
    engine->watched = memory_new((size_t)engine->watched_count, sizeof *engine->watched, "an engine", err);
    if (!engine->running || !engine->watched || make_buffers(engine, err) ||
        kv_cache_make(model, engine->arena, cache_rows(model, limits), &engine->cache, err))
        goto err;
    if (limits->arena) clear(model->device, engine->cache.both); /* whatever was there: it may be no number */
    if (engine->watched_count > 0)
        memcpy(engine->watched, limits->watched, (size_t)engine->watched_count * sizeof *engine->watched);
    engine->statistics.cache_bytes = engine->cache.rows * kv_row_bytes(model);
    return engine;
err:
    engine_free(engine);
    return NULL;
}

void engine_free(struct engine *engine) {
    if (!engine) return;
    for (int64_t i = 0; i < engine->running_count; i++) sequence_free(engine->running[i]);
    for (size_t i = 0; i < engine->ready_count; i++) sequence_free(engine->ready[i]);
    for (size_t i = 0; i < engine->waiting_count; i++) prompt_release(engine->waiting[i]);
    free(engine->running);
    free(engine->ready);
    free(engine->waiting);
    free(engine->watched);
    free_buffers(&engine->buffers);
    kv_cache_free(&engine->cache);
    arena_release(engine->arena, engine->mark);
    arena_free(&engine->own);
    free(engine);
}

bool engine_idle(const struct engine *engine) {
    return engine->waiting_count == 0 && engine->ready_count == 0 && engine->running_count == 0;
}

struct engine_statistics engine_statistics(const struct engine *engine) {
    struct engine_statistics statistics = engine->statistics;
    int64_t taken = (int64_t)engine->own.peak - statistics.cache_bytes;
    statistics.activation_bytes = taken > 0 ? taken : 0;
    return statistics;
}

/* ---- Submitting -------------------------------------------------------------------------------------- */

enum status engine_submit(struct engine *engine, const struct generate_request *request, uint64_t *id,
                          struct error *err) {
    int64_t rows = engine->cache.rows, room = rows - request->count;
    if (request->max_new_tokens - 1 > room)
        return error_set(
            err,
            "%lld tokens of prompt and %lld new ones need more than the %lld rows (%lld MiB) of the "
            "key/value cache",
            (long long)request->count, (long long)request->max_new_tokens, (long long)rows,
            (long long)(engine->statistics.cache_bytes >> 20));
    struct prompt *prompt = prompt_new(&engine->model->config, request, err);
    if (!prompt) return STATUS_FAILED;
    if (memory_grow(&engine->waiting, &engine->waiting_capacity, engine->waiting_count + 1,
                    sizeof *engine->waiting, "a request", err)) {
        prompt->encoded = true; /* a request that is not accepted leaves the patches alone */
        prompt_release(prompt);
        return STATUS_FAILED;
    }
    prompt->id = *id = engine->next_id++;
    engine->waiting[engine->waiting_count++] = prompt;
    return STATUS_OK;
}

/* ---- Drawing ----------------------------------------------------------------------------------------- */

/* The sets of seen tokens of the sequences, a row each; no tensor when none has a repetition penalty. */
static struct tensor upload_seen(struct engine *engine, struct sequence *const *sequences, int64_t count) {
    bool any = false;
    for (int64_t i = 0; i < count; i++) any = any || sequences[i]->seen;
    if (!any) return (struct tensor){0};
    struct tensor seen =
        arena_tensor(engine->arena, DTYPE_I32, count, (engine->model->config.vocab + 31) / 32);
    for (int64_t i = 0; i < count; i++)
        if (sequences[i]->seen)
            device_write(engine->model->device, tensor_rows(seen, i, 1), sequences[i]->seen);
    return seen;
}

/* Draws a token for each of `count` sequences from its row of the logits, and appends it. */
static enum status draw_tokens(struct engine *engine, struct tensor logits, struct sequence *const *sequences,
                               int64_t count, struct error *err) {
    struct device *device = engine->model->device;
    struct buffers *b = &engine->buffers;
    int64_t watched = engine->watched_count;
    struct arena_mark mark = arena_mark(engine->arena);
    for (int64_t i = 0; i < count; i++) b->rules[i] = sequence_rules(sequences[i]);
    struct sample_arguments arguments = {
        .logits = logits,
        .seen = upload_seen(engine, sequences, count),
        .rules = b->rules,
        .token = arena_tensor(engine->arena, DTYPE_I32, 1, count),
        .logprob = arena_tensor(engine->arena, DTYPE_F32, 1, count),
    };
    if (watched > 0) {
        arguments.watched = arena_upload(engine->arena, DTYPE_I32, 1, watched, engine->watched);
        arguments.watched_raw = arena_tensor(engine->arena, DTYPE_F32, count, watched);
        arguments.watched_final = arena_tensor(engine->arena, DTYPE_F32, count, watched);
    }
    sample_tokens(device, arguments);
    if (device_read(device, b->drawn, arguments.token, err) ||
        device_read(device, b->logprobs, arguments.logprob, err) ||
        (watched > 0 && (device_read(device, b->watched_raw, arguments.watched_raw, err) ||
                         device_read(device, b->watched_final, arguments.watched_final, err))))
        return STATUS_FAILED;
    for (int64_t i = 0; i < count; i++)
        sequence_append(sequences[i],
                        &(struct draw){b->drawn[i], b->logprobs[i], b->watched_raw + i * watched,
                                       b->watched_final + i * watched});
    arena_release(engine->arena, mark);
    engine->statistics.new_tokens += count;
    return STATUS_OK;
}

/* Moves the sequence's result to the results and frees the sequence. */
static enum status finish_sequence(struct sequence *sequence, struct generate_results *results,
                                   struct error *err) {
    if (memory_grow(&results->items, &results->capacity, results->count + 1, sizeof *results->items,
                    "results", err))
        return STATUS_FAILED;
    results->items[results->count++] = sequence->result;
    sequence->result = (struct generate_result){0};
    sequence_free(sequence);
    return STATUS_OK;
}

/* ---- Prompts ----------------------------------------------------------------------------------------- */

/* features = what the vision tower makes of one visual. Each is encoded by itself, so that its features have
 * the bits of those that were made elsewhere. */
static enum status encode_visual(struct engine *engine, const struct prompt *prompt, int64_t number,
                                 struct tensor features, struct error *err) {
    const struct model *model = engine->model;
    const struct visual_grid *grid = &prompt->visuals[number];
    struct vision_plan plan;
    if (vision_plan_make(&model->config.vision, grid, 1, &plan, err)) return STATUS_FAILED;
    struct arena_mark mark = arena_mark(engine->arena);
    struct tensor input =
        arena_tensor(engine->arena, DTYPE_F32, plan.patches, model->vision.patch_embed.cols);
    vision_write_patches(engine->arena, input, prompt->patches[number], prompt->frames[number]);
    vision_forward(model, engine->arena, features, input, &plan);
    enum status status = device_synchronize(model->device, err);
    arena_release(engine->arena, mark);
    engine->statistics.patches += plan.patches;
    add_cost(&engine->statistics.vision, vision_cost(model, &plan));
    vision_plan_free(&plan);
    return status;
}

/* features = those of the prompt's visuals, given or computed. */
static enum status encode_visuals(struct engine *engine, const struct prompt *prompt, struct tensor features,
                                  struct error *err) {
    double start = clock_seconds();
    int64_t first = 0;
    for (int64_t i = 0; i < prompt->request.visual_count; i++) {
        const struct visual_grid *grid = &prompt->visuals[i];
        int64_t rows = grid_features(&engine->model->config.vision, grid);
        struct tensor own = tensor_rows(features, first, rows);
        if (prompt->features[i])
            device_write(engine->model->device, own, prompt->features[i]);
        else if (encode_visual(engine, prompt, i, own, err))
            return STATUS_FAILED;
        first += rows;
    }
    engine->statistics.vision_seconds += clock_seconds() - start;
    return STATUS_OK;
}

/* The part of a prompt's features that stand at tokens [first, first + count): their rows in the part go to
 * the buffers. */
static struct tensor part_features(struct engine *engine, const struct prompt *prompt, struct tensor features,
                                   int64_t first, int64_t count) {
    int64_t begin = 0, end;
    while (begin < prompt->feature_count && prompt->feature_rows[begin] < first) begin++;
    for (end = begin; end < prompt->feature_count && prompt->feature_rows[end] < first + count; end++)
        engine->buffers.feature_rows[end - begin] = prompt->feature_rows[end] - (int32_t)first;
    return tensor_rows(features, begin, end - begin);
}

/* Computes tokens [first, first + count) of the prompt into the cache; when they are the last, `states`
 * receives the last one's final state. */
static enum status run_part(struct engine *engine, const struct prompt *prompt, struct tensor features,
                            int64_t first, int64_t count, struct tensor states, struct error *err) {
    struct buffers *b = &engine->buffers;
    int64_t total = prompt->request.count;
    int32_t last = (int32_t)count - 1;
    for (int64_t i = 0; i < count; i++) {
        for (int64_t axis = 0; axis < 3; axis++)
            b->positions[axis * count + i] = prompt->positions[axis * total + first + i];
        b->cache_rows[i] = (int32_t)(prompt->cache_first + first + i);
    }
    struct attention_segment segment = {
        .queries = count, .key = prompt->cache_first, .keys = first + count, .causal = true};
    struct language_pass pass = {
        .count = count,
        .tokens = prompt->tokens + first,
        .positions = b->positions,
        .segments = {&segment, 1},
        .features = part_features(engine, prompt, features, first, count),
        .feature_rows = b->feature_rows,
        .cache = &engine->cache,
        .cache_rows = b->cache_rows,
        .wanted = &last,
        .wanted_count = first + count == total,
    };
    language_forward(engine->model, engine->arena, tensor_rows(states, 0, pass.wanted_count), &pass);
    add_cost(&engine->statistics.prompt,
             language_cost(engine->model, count, pass.segments, pass.wanted_count));
    return device_synchronize(engine->model->device, err); /* the buffers are free again */
}

static enum status run_prompt(struct engine *engine, struct prompt *prompt, struct tensor states,
                              struct error *err) {
    int64_t total = prompt->request.count, hidden = engine->model->config.hidden;
    struct arena_mark mark = arena_mark(engine->arena);
    struct tensor features = {.cols = hidden, .stride = hidden, .dtype = engine->model->compute};
    if (prompt->feature_count > 0) {
        features = arena_tensor(engine->arena, engine->model->compute, prompt->feature_count, hidden);
        if (encode_visuals(engine, prompt, features, err)) return STATUS_FAILED;
    }
    prompt_release_patches(prompt);
    double start = clock_seconds();
    for (int64_t first = 0; first < total; first += engine->prompt_tokens) {
        int64_t left = total - first, count = left < engine->prompt_tokens ? left : engine->prompt_tokens;
        if (run_part(engine, prompt, features, first, count, states, err)) return STATUS_FAILED;
    }
    arena_release(engine->arena, mark);
    engine->statistics.prompt_tokens += total;
    engine->statistics.prompt_seconds += clock_seconds() - start;
    return STATUS_OK;
}

/* Draws the first token of `count` new sequences, all from the one row of logits, as many at once as the
 * buffers hold. */
static enum status draw_first_tokens(struct engine *engine, struct tensor logits,
                                     struct sequence *const *sequences, int64_t count, struct error *err) {
    for (int64_t first = 0; first < count; first += engine->limit) {
        int64_t some = count - first < engine->limit ? count - first : engine->limit;
        struct arena_mark mark = arena_mark(engine->arena);
        struct tensor copies = logits;
        if (some > 1) {
            memset(engine->buffers.cache_rows, 0, (size_t)some * sizeof *engine->buffers.cache_rows);
            copies = arena_tensor(engine->arena, engine->logits, some, logits.cols);
            gather_rows(engine->model->device, copies, logits,
                        arena_upload(engine->arena, DTYPE_I32, 1, some, engine->buffers.cache_rows));
        }
        if (draw_tokens(engine, copies, sequences + first, some, err)) return STATUS_FAILED;
        arena_release(engine->arena, mark);
    }
    return STATUS_OK;
}

/* Makes the sequences of a prompt at the end of the ready queue. */
static enum status make_sequences(struct engine *engine, struct prompt *prompt, struct error *err) {
    int64_t samples = prompt->request.samples;
    if (memory_grow(&engine->ready, &engine->ready_capacity, engine->ready_count + (size_t)samples,
                    sizeof *engine->ready, "sequences", err))
        return STATUS_FAILED;
    for (int64_t i = 0; i < samples; i++) {
        struct sequence *sequence =
            sequence_new(prompt, i, engine->watched_count, engine->model->config.vocab, err);
        if (!sequence) return STATUS_FAILED;
        engine->ready[engine->ready_count++] = sequence;
    }
    return STATUS_OK;
}

/* Computes a prompt whose rows of the cache are taken, and puts its sequences, with their first tokens, into
 * the ready queue; those that have finished already go to the results. The queue must be empty before. */
static enum status start_prompt(struct engine *engine, struct prompt *prompt,
                                struct generate_results *results, struct error *err) {
    struct arena_mark mark = arena_mark(engine->arena);
    struct tensor states =
        arena_tensor(engine->arena, engine->model->compute, 1, engine->model->config.hidden);
    struct tensor logits = arena_tensor(engine->arena, engine->logits, 1, engine->model->config.vocab);
    if (make_sequences(engine, prompt, err) || run_prompt(engine, prompt, states, err)) return STATUS_FAILED;
    double start = clock_seconds();
    language_logits(engine->model, logits, states);
    if (draw_first_tokens(engine, logits, engine->ready, (int64_t)engine->ready_count, err))
        return STATUS_FAILED;
    arena_release(engine->arena, mark);
    engine->statistics.prompt_seconds += clock_seconds() - start;
    size_t kept = 0;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < engine->ready_count; i++) {
        struct sequence *sequence = engine->ready[i];
        if (status == STATUS_OK && sequence->finished) {
            status = finish_sequence(sequence, results, err);
            if (status == STATUS_OK) continue;
        }
        kv_cache_share(&engine->cache, prompt->cache_first);
        engine->ready[kept++] = sequence;
    }
    engine->ready_count = kept;
    kv_cache_release(&engine->cache, prompt->cache_first);
    return status;
}

/* ---- Admission --------------------------------------------------------------------------------------- */

/* Takes rows of the cache for the prompt, if beside it there is room for one of its sequences too. */
static enum status reserve_prompt(struct engine *engine, struct prompt *prompt, bool *fits,
                                  struct error *err) {
    int64_t own = -1, own_rows = prompt_own_rows(prompt);
    *fits = false;
    if (kv_cache_take(&engine->cache, prompt->request.count, &prompt->cache_first, err)) return STATUS_FAILED;
    if (prompt->cache_first < 0) return STATUS_OK;
    if (own_rows > 0 && kv_cache_take(&engine->cache, own_rows, &own, err)) return STATUS_FAILED;
    *fits = own_rows == 0 || own >= 0;
    if (own >= 0) kv_cache_release(&engine->cache, own);
    if (!*fits) kv_cache_release(&engine->cache, prompt->cache_first);
    return STATUS_OK;
}

/* Lets the first ready sequence run, if its rows fit. */
static enum status start_sequence(struct engine *engine, bool *fits, struct error *err) {
    struct sequence *sequence = engine->ready[0];
    if (kv_cache_take(&engine->cache, prompt_own_rows(sequence->prompt), &sequence->own_first, err))
        return STATUS_FAILED;
    *fits = sequence->own_first >= 0;
    if (!*fits) return STATUS_OK;
    engine->ready_count--;
    memmove(engine->ready, engine->ready + 1, engine->ready_count * sizeof *engine->ready);
    engine->running[engine->running_count++] = sequence;
    return STATUS_OK;
}

/* Computes the first waiting prompt, if it fits. */
static enum status start_first_prompt(struct engine *engine, struct generate_results *results, bool *fits,
                                      struct error *err) {
    struct prompt *prompt = engine->waiting[0];
    if (reserve_prompt(engine, prompt, fits, err)) return STATUS_FAILED;
    if (!*fits) return STATUS_OK;
    if (start_prompt(engine, prompt, results, err)) return STATUS_FAILED;
    engine->waiting_count--;
    memmove(engine->waiting, engine->waiting + 1, engine->waiting_count * sizeof *engine->waiting);
    prompt_release(prompt);
    return STATUS_OK;
}

/* Lets in, strictly in order, what fits. A prompt is computed only when no sequence of an earlier one waits,
 * and only with room for a sequence of its own; so when all that ran has left, the next sequence always fits.
 */
static enum status admit(struct engine *engine, struct generate_results *results, struct error *err) {
    bool fits = true;
    while (fits && engine->running_count < engine->limit) {
        if (engine->ready_count > 0) {
            if (start_sequence(engine, &fits, err)) return STATUS_FAILED;
        } else if (engine->waiting_count > 0) {
            if (start_first_prompt(engine, results, &fits, err)) return STATUS_FAILED;
        } else {
            break;
        }
    }
    return STATUS_OK;
}

/* ---- Decoding ---------------------------------------------------------------------------------------- */

/* What a pass over the last token of every running sequence reads. */
static void fill_decode_buffers(struct engine *engine) {
    struct buffers *b = &engine->buffers;
    int64_t count = engine->running_count;
    for (int64_t i = 0; i < count; i++) {
        const struct sequence *sequence = engine->running[i];
        const struct prompt *prompt = sequence->prompt;
        int64_t fed = sequence->result.count - 1; /* own tokens in the cache before this pass */
        b->tokens[i] = sequence->result.tokens[fed];
        for (int64_t axis = 0; axis < 3; axis++)
            b->positions[axis * count + i] = prompt->next_position + (int32_t)fed;
        b->cache_rows[i] = (int32_t)(sequence->own_first + fed);
        b->segments[i] = (struct attention_segment){.query = i,
                                                    .queries = 1,
                                                    .prefix = prompt->cache_first,
                                                    .prefix_keys = prompt->request.count,
                                                    .key = sequence->own_first,
                                                    .keys = fed + 1,
                                                    .causal = true};
    }
}

/* Reports the running sequences that have finished and gives their rows back. */
static enum status collect_finished(struct engine *engine, struct generate_results *results,
                                    struct error *err) {
    int64_t kept = 0;
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < engine->running_count; i++) {
        struct sequence *sequence = engine->running[i];
        if (status == STATUS_OK && sequence->finished) {
            int64_t own = sequence->own_first, prompt = sequence->prompt->cache_first;
            status = finish_sequence(sequence, results, err);
            if (status == STATUS_OK) {
                kv_cache_release(&engine->cache, own);
                kv_cache_release(&engine->cache, prompt);
                continue;
            }
        }
        engine->running[kept++] = sequence;
    }
    engine->running_count = kept;
    return status;
}

/* One token of every running sequence. */
static enum status decode(struct engine *engine, struct generate_results *results, struct error *err) {
    const struct model *model = engine->model;
    struct buffers *b = &engine->buffers;
    int64_t count = engine->running_count;
    if (count == 0) return STATUS_OK;
    double start = clock_seconds();
    fill_decode_buffers(engine);
    struct arena_mark mark = arena_mark(engine->arena);
    struct tensor states = arena_tensor(engine->arena, model->compute, count, model->config.hidden);
    struct tensor logits = arena_tensor(engine->arena, engine->logits, count, model->config.vocab);
    device_group_begin(model->device, count);
    language_forward(model, engine->arena, states,
                     &(struct language_pass){.count = count,
                                             .tokens = b->tokens,
                                             .positions = b->positions,
                                             .segments = {b->segments, count},
                                             .cache = &engine->cache,
                                             .cache_rows = b->cache_rows});
    language_logits(model, logits, states);
    device_group_end(model->device);
    if (draw_tokens(engine, logits, engine->running, count, err)) return STATUS_FAILED;
    arena_release(engine->arena, mark);
    add_cost(&engine->statistics.decode,
             language_cost(model, count, (struct attention_segments){b->segments, count}, count));
    engine->statistics.decode_steps++;
    engine->statistics.decode_tokens += count;
    engine->statistics.decode_seconds += clock_seconds() - start;
    return collect_finished(engine, results, err);
}

enum status engine_step(struct engine *engine, struct generate_results *results, struct error *err) {
    if (admit(engine, results, err)) return STATUS_FAILED;
    return decode(engine, results, err);
}

enum status engine_run(struct engine *engine, struct generate_results *results, struct error *err) {
    while (!engine_idle(engine))
        if (engine_step(engine, results, err)) return STATUS_FAILED;
    return STATUS_OK;
}
