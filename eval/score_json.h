/* A result as a JSON object. */
#ifndef VS2_EVAL_SCORE_JSON_H
#define VS2_EVAL_SCORE_JSON_H

#include <jansson.h>

#include "eval/scorer.h"

/* The object, or NULL with err set when out of memory; json_decref it. Members:
 *
 *     video_name, video, prompt      file name, path as given, text prompt
 *     v_hard_score, v_normed_score, v_expected_score, v_confidence, and the same for t and p
 *     output                         the text
 *     frames                         indices
 *     prompt_tokens, completion_tokens, finish ("stop" or "length"), seconds
 *     errors                         {"v_hard_score": REASON, ...}: why a field is null; "video": the row
 * failed
 *
 * Of several samples the scores are those of eval/scores.h's summary, `output` and `finish` are the first
 * sample's, completion_tokens is the sum, and there are also v_mean, v_standard_error, v_agreement, v_read
 * (and t, p) and `samples`: an object each with its scores, output, completion_tokens, finish and errors.
 * With token_ids also prompt_ids and completion_ids. Soft scores are rounded to 4 decimals, as published. */
json_t *score_result_json(const struct score_result *result, bool token_ids, struct error *err);

/* The object's text on one line, without a line end; free() it. */
char *score_json_line(const json_t *object, struct error *err);

#endif
