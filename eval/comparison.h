/* Two result files side by side: is B better than A? */
#ifndef VS2_EVAL_COMPARISON_H
#define VS2_EVAL_COMPARISON_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "eval/metrics.h"

/* A figure of both files on the videos (pairs) that both have scored, and how likely a difference that great,
 * either way, would be if it did not matter which file a score came from: paired permutation tests of
 * eval/resample.h. */
struct difference {
    char key[32]; /* as in metrics_list */
    enum metric_unit unit;
    bool less_is_better;
    double a, b; /* NaN: not defined */
    double p;    /* NaN: one of them is not defined */
};

enum { DIFFERENCES_MOST = 40 };

struct comparison {
    size_t rows;  /* videos that both have scored */
    size_t pairs; /* pairs that both have judged */
    struct difference list[DIFFERENCES_MOST];
    size_t count;
};

/* `pairs` may be NULL. */
enum status comparison_make(const struct results *a, const struct results *b,
                            const struct benchmark *benchmark, const struct benchmark_pair_list *pairs,
                            uint64_t seed, struct comparison *comparison, struct error *err);

/* "B", "A" or "neither": which is better at a chance of error of 5%. */
const char *difference_better(const struct difference *difference);

/* {"rows", "pairs", "differences": {KEY: {"a", "b", "difference", "p", "better"}}}. NULL: out of memory. */
json_t *comparison_json(const struct comparison *comparison);
void comparison_append(const struct comparison *comparison, struct text *text);

#endif
