/* Prompts ahead of the step that wants them: their videos are decoded, or found in the cache, on threads and
 * within bounded memory. They come in order. */
#ifndef VS2_GRPO_PROMPT_STREAM_H
#define VS2_GRPO_PROMPT_STREAM_H

#include "data/prefetch.h"
#include "grpo/prompt.h"

struct prompt_stream;

/* Streams the prompts of the rows list[0 .. count), which is copied; settings and rows must outlive it. NULL
 * with err set on failure. */
struct prompt_stream *prompt_stream_start(const struct prompt_settings *settings,
                                          const struct grpo_rows *rows, const int64_t *list, int64_t count,
                                          const struct prefetch_limits *limits, struct error *err);
void prompt_stream_stop(struct prompt_stream *stream); /* NULL is fine */

/* Waits for the next prompt, to be freed by grpo_prompt_free; NULL with the reason when it could not be had:
 * the next call goes on with the one after it. Not to be called more than `count` times. */
struct grpo_prompt *prompt_stream_next(struct prompt_stream *stream, struct error *reason);

#endif
