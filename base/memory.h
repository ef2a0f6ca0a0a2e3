/* Host memory: every allocation is checked, and its size cannot overflow. */
#ifndef VS2_BASE_MEMORY_H
#define VS2_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Returns count * size zeroed bytes, to be freed with free(), or NULL with err set to
 * "out of memory for WHAT (N bytes)". A count of 0 gives a valid pointer. */
void *memory_new(size_t count, size_t size, const char *what, struct error *err);

/* Grows the array at *array, of *capacity elements of `size` bytes, to hold at least `needed`, doubling;
 * new elements are not initialised. On failure the old array stays valid. */
enum status memory_grow(void *array, size_t *capacity, size_t needed, size_t size, const char *what,
                        struct error *err);

/* A copy of the first `length` bytes of text, terminated; free() it. NULL with err set when out of memory. */
char *memory_text(const char *text, size_t length, const char *what, struct error *err);

#endif
