/* The text of the user's turn, which follows the video.
 *
 * Published (Video-R1, VideoScore2's grpo_vs2_sft.py): the problem, with its options where it is a multiple
 * choice, a newline, an instruction to think between tags, and a line by the type of the problem. These are
 * the words that the published weights were trained on.
 */
#ifndef VS2_GRPO_QUESTION_H
#define VS2_GRPO_QUESTION_H

#include "base/error.h"
#include "grpo/rows.h"

/* Reads the value of question_template: the text itself, or @FILE. free() it. NULL with err set when the file
 * cannot be read, or when "{problem}" does not stand in the text. */
char *question_template_read(const char *value, struct error *err);

/* The user's turn for a row. With a template each "{problem}" in it becomes the problem (and its options);
 * NULL: the published words. free() it. */
char *question_write(const char *template, const struct grpo_row *row, struct error *err);

#endif
