/* ROUGE (C.-Y. Lin, "ROUGE: a package for automatic evaluation of summaries", 2004), as the Python package
 * rouge_score computes it with use_stemmer: words are runs of a-z and 0-9 in lower case, those of more than
 * three letters are stemmed. */
#ifndef VS2_GRPO_ROUGE_H
#define VS2_GRPO_ROUGE_H

#include "base/error.h"
#include "grpo/words.h"

struct rouge {
    double f1, f2, fl; /* F1 of ROUGE-1, ROUGE-2 and ROUGE-L, in [0, 1] */
};

/* Time and memory go with the product of both lengths, and their sum. */
enum status rouge_compute(struct passage reference, struct passage text, struct rouge *rouge,
                          struct error *err);

#endif
