/* The name that was probably meant: for hints such as "did you mean 'learning_rate'?". */
#ifndef VS2_BASE_NEAREST_H
#define VS2_BASE_NEAREST_H

#include <stddef.h>

/* A search: start it with the name that was written, offer every name there is, and read `best`. */
struct nearest {
    const char *wanted; /* borrowed */
    const char *best;   /* the first of the nearest names offered; NULL while none is near enough */
    size_t distance;    /* its distance, or one more than what is near enough */
};

/* Near enough is a third of the length of `wanted`, at least 1 (2 from four letters on). */
struct nearest nearest_start(const char *wanted);
void nearest_offer(struct nearest *search, const char *name);

/* Edits that turn a into b, each of one byte: insert, delete, replace, or swap of two neighbours (optimal
 * string alignment). Names over 64 bytes are at distance SIZE_MAX from all. */
size_t nearest_distance(const char *a, const char *b);

#endif
