#include "model/sequence.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MAX_SAMPLES = 1 << 20 };

/* Zeros when there is nothing to copy. */
static void *copy(const void *from, int64_t count, size_t size, struct error *err) {
    void *to = memory_new((size_t)count, size, "a request", err);
    if (to && from && count > 0) memcpy(to, from, (size_t)count * size);
    return to;
}

/* Copies what the request points to. */
static enum status copy_request(struct prompt *prompt, const struct generate_request *request,
                                struct error *err) {
    prompt->request = *request;
    if (!(prompt->tokens = copy(request->tokens, request->count, sizeof *prompt->tokens, err)) ||
        !(prompt->stop_tokens =
              copy(request->stop_tokens, request->stop_token_count, sizeof *prompt->stop_tokens, err)) ||
        !(prompt->visuals = copy(request->visuals, request->visual_count, sizeof *prompt->visuals, err)) ||
        !(prompt->patches = copy(request->patches, request->visual_count, sizeof *prompt->patches, err)) ||
        !(prompt->frames = copy(request->frames, request->visual_count, sizeof *prompt->frames, err)) ||
        !(prompt->features = copy(request->features, request->visual_count, sizeof *prompt->features, err)))
        return STATUS_FAILED;
    prompt->request.tokens = prompt->tokens;
    prompt->request.stop_tokens = prompt->stop_tokens;
    prompt->request.visuals = prompt->visuals;
    prompt->request.patches = prompt->patches;
    prompt->request.frames = prompt->frames;
    prompt->request.features = prompt->features;
    return STATUS_OK;
}

static enum status check_request(const struct generate_request *request, struct error *err) {
    if (request->count < 1) return error_set(err, "the prompt is empty");
    if (request->count > INT32_MAX / 4)
        return error_set(err, "a prompt of %lld tokens is too long", (long long)request->count);
    if (request->samples < 1 || request->samples > MAX_SAMPLES)
        return error_set(err, "%lld samples are asked for, not 1 to %d", (long long)request->samples,
                         MAX_SAMPLES);
    if (request->max_new_tokens < 1)
        return error_set(err, "%lld new tokens are asked for", (long long)request->max_new_tokens);
    return STATUS_OK;
}

struct prompt *prompt_new(const struct model_config *config, const struct generate_request *request,
                          struct error *err) {
    if (check_request(request, err)) return NULL;
    struct prompt *prompt = memory_new(1, sizeof *prompt, "a request", err);
    if (!prompt) return NULL;
    prompt->users = 1;
    prompt->cache_first = -1;
    prompt->encoded = true; /* until the request is accepted */
    size_t count = (size_t)request->count;
    struct sequence_positions positions = {0};
    if (copy_request(prompt, request, err) ||
        !(prompt->positions = memory_new(3 * count, sizeof *prompt->positions, "a request", err)) ||
        !(prompt->feature_rows = memory_new(count, sizeof *prompt->feature_rows, "a request", err)))
        goto err;
    for (size_t axis = 0; axis < 3; axis++) positions.axis[axis] = prompt->positions + axis * count;
    positions.feature_rows = prompt->feature_rows;
    if (positions_of_sequence(config, prompt->tokens, request->count, prompt->visuals, request->visual_count,
                              &positions, err))
        goto err;
    prompt->feature_count = positions.features;
    prompt->next_position = positions.next;
    prompt->encoded = false;
    return prompt;
err:
    prompt_release(prompt);
    return NULL;
}

void prompt_release(struct prompt *prompt) {
    if (--prompt->users > 0) return;
    prompt_release_patches(prompt);
    free(prompt->tokens);
    free(prompt->stop_tokens);
    free(prompt->visuals);
    free(prompt->patches);
    free(prompt->frames);
    free(prompt->features);
    free(prompt->positions);
    free(prompt->feature_rows);
    free(prompt);
}

void prompt_release_patches(struct prompt *prompt) {
    if (!prompt->encoded && prompt->request.encoded) prompt->request.encoded(prompt->request.context);
    prompt->encoded = true;
}

int64_t prompt_own_rows(const struct prompt *prompt) {
    return prompt->request.max_new_tokens - 1;
}

static void set_bit(uint32_t *bits, int32_t token) {
    bits[token / 32] |= (uint32_t)1 << (token % 32);
}

struct sequence *sequence_new(struct prompt *prompt, int64_t sample, int64_t watched_count, int64_t vocab,
                              struct error *err) {
    const struct generate_request *request = &prompt->request;
    const char *what = "a sequence";
    struct sequence *sequence = memory_new(1, sizeof *sequence, what, err);
    if (!sequence) return NULL;
    *sequence = (struct sequence){.prompt = prompt,
                                  .own_first = -1,
                                  .result = {.request = prompt->id,
                                             .sample = sample,
                                             .prompt_tokens = request->count,
                                             .watched_count = watched_count}};
    prompt->users++;
    struct generate_result *result = &sequence->result;
    size_t tokens = (size_t)request->max_new_tokens, watched = tokens * (size_t)watched_count;
    if (!(result->tokens = memory_new(tokens, sizeof *result->tokens, what, err)) ||
        !(result->logprobs = memory_new(tokens, sizeof *result->logprobs, what, err)) ||
        !(result->watched_raw = memory_new(watched, sizeof *result->watched_raw, what, err)) ||
        !(result->watched_final = memory_new(watched, sizeof *result->watched_final, what, err)))
        goto err;
    if (request->rules.repetition_penalty != 1) {
        if (!(sequence->seen = memory_new((size_t)(vocab + 31) / 32, sizeof *sequence->seen, what, err)))
            goto err;
        for (int64_t i = 0; i < request->count; i++) set_bit(sequence->seen, prompt->tokens[i]);
    }
    return sequence;
err:
    sequence_free(sequence);
    return NULL;
}

void sequence_free(struct sequence *sequence) {
    if (!sequence) return;
    generate_result_free(&sequence->result);
    prompt_release(sequence->prompt);
    free(sequence->seen);
    free(sequence);
}

struct sampling sequence_rules(const struct sequence *sequence) {
    struct sampling rules = sequence->prompt->request.rules;
    rules.sample = sequence->prompt->request.first_sample + (uint32_t)sequence->result.sample;
    rules.position = (uint64_t)sequence->result.count;
    return rules;
}

void sequence_append(struct sequence *sequence, const struct draw *draw) {
    struct generate_result *result = &sequence->result;
    const struct generate_request *request = &sequence->prompt->request;
    if (draw->token < 0) {
        sequence->finished = true;
        result->finish = FINISH_FAILED;
        return;
    }
    size_t watched = (size_t)result->watched_count;
    if (watched > 0) {
        memcpy(result->watched_raw + (size_t)result->count * watched, draw->watched_raw,
               watched * sizeof(float));
        memcpy(result->watched_final + (size_t)result->count * watched, draw->watched_final,
               watched * sizeof(float));
    }
    result->logprobs[result->count] = draw->logprob;
    result->tokens[result->count++] = draw->token;
    if (sequence->seen) set_bit(sequence->seen, draw->token);
    sequence->finished = result->count == request->max_new_tokens;
    result->finish = FINISH_LENGTH;
    for (int i = 0; i < request->stop_token_count; i++)
        if (request->stop_tokens[i] == draw->token) {
            sequence->finished = true;
            result->finish = FINISH_STOP;
        }
}

void generate_result_free(struct generate_result *result) {
    free(result->tokens);
    free(result->logprobs);
    free(result->watched_raw);
    free(result->watched_final);
    *result = (struct generate_result){0};
}

void generate_results_free(struct generate_results *results) {
    for (size_t i = 0; i < results->count; i++) generate_result_free(&results->items[i]);
    free(results->items);
    *results = (struct generate_results){0};
}
