/* A result for people. */
#ifndef VS2_CLI_SCORE_TEXT_H
#define VS2_CLI_SCORE_TEXT_H

#include "eval/scorer.h"

/* Appends the scores as a table, then the rationale in lines of at most `width` columns. */
void score_text(const struct score_result *result, size_t width, struct text *out);

#endif
