/* The options that scoring videos takes, whichever program does it: query, frames, generation, computing. */
#ifndef VS2_CLI_SCORING_H
#define VS2_CLI_SCORING_H

#include "cli/options.h"
#include "eval/scorer.h"

struct scoring {
    const char *template, *device;
    int policy, type, probabilities;
    double fps, max_pixels, temperature, top_p, min_p, repetition_penalty;
    int64_t min_frames, max_frames, max_new_tokens, top_k, seed, samples;
};

/* A table for OPTION_TABLE; its settings are a struct scoring, which begins as scoring_default. --template
 * comes first, under the title that stands before the table. */
extern const struct option_spec scoring_options[];
struct scoring scoring_default(void);

/* As the scorer takes them; it borrows the strings. */
struct scorer_settings scoring_settings(const struct scoring *scoring, const char *model);

#endif
