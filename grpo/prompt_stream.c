#include "grpo/prompt_stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct prompt_stream {
    const struct prompt_settings *settings;
    const struct grpo_rows *rows;
    int64_t *list;
    struct prefetch *prefetch;
};

static enum status make(void *context, int64_t item, void **result, size_t *bytes, struct error *err) {
    const struct prompt_stream *stream = context;
    struct grpo_prompt *prompt = grpo_prompt_new(stream->settings, stream->rows, stream->list[item], err);
    if (!prompt) return STATUS_FAILED;
    *bytes = grpo_prompt_bytes(prompt);
    *result = prompt;
    return STATUS_OK;
}

static void release(void *context, void *result) {
    (void)context;
    grpo_prompt_free(result);
}

struct prompt_stream *prompt_stream_start(const struct prompt_settings *settings,
                                          const struct grpo_rows *rows, const int64_t *list, int64_t count,
                                          const struct prefetch_limits *limits, struct error *err) {
    struct prompt_stream *stream = memory_new(1, sizeof *stream, "the stream of prompts", err);
    if (!stream) return NULL;
    stream->settings = settings;
    stream->rows = rows;
    stream->list = memory_new((size_t)count, sizeof *stream->list, "the stream of prompts", err);
    if (stream->list) {
        memcpy(stream->list, list, (size_t)count * sizeof *list);
        const struct prefetch_work work = {stream, make, release};
        stream->prefetch = prefetch_start(&work, count, limits, err);
    }
    if (stream->prefetch) return stream;
    prompt_stream_stop(stream);
    return NULL;
}

void prompt_stream_stop(struct prompt_stream *stream) {
    if (!stream) return;
    prefetch_stop(stream->prefetch);
    free(stream->list);
    free(stream);
}

struct grpo_prompt *prompt_stream_next(struct prompt_stream *stream, struct error *reason) {
    void *prompt = NULL;
    return prefetch_next(stream->prefetch, &prompt, reason) == STATUS_OK ? prompt : NULL;
}
