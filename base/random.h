/* Counter-based random numbers: the value is a function of its key and counter alone, so it depends neither
 * on how work was batched nor on how many threads or processes ran. Philox4x32-10 (Salmon et al., "Parallel
 * random numbers: as easy as 1, 2, 3", SC 2011). */
#ifndef VS2_BASE_RANDOM_H
#define VS2_BASE_RANDOM_H

#include <stdint.h>

/* What a number is keyed by: seed, then any two streams (step, sample), then the position in the stream. */
struct random_key {
    uint64_t seed;
    uint32_t stream;
    uint32_t sample;
    uint64_t position;
};

/* Four independent 32-bit words. */
void random_words(struct random_key key, uint32_t words[4]);

/* Uniform in [0, 1), from the first two words, 53 bits. */
double random_uniform(struct random_key key);

#endif
