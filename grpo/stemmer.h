/* English words cut to their stems: Porter's algorithm (M. F. Porter, "An algorithm for suffix stripping",
 * Program 14, 1980) with the changes that NLTK's PorterStemmer makes by default, which ROUGE is computed
 * with.
 */
#ifndef VS2_GRPO_STEMMER_H
#define VS2_GRPO_STEMMER_H

#include <stddef.h>

/* Stems a word of a-z and 0-9 in place; returns its new length, which is never more. */
size_t stem_word(char *word, size_t length);

#endif
