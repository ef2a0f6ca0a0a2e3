/* One allocation of this thread that fails on purpose, whoever asks for it. Included by the one file of a
 * test whose .wrap names calloc and realloc. tests/refuse.h fails the project's own allocations, from one on.
 */
#ifndef VS2_TESTS_REFUSE_ONE_H
#define VS2_TESTS_REFUSE_ONE_H

#include <stdbool.h>
#include <stddef.h>

/* How many allocations succeed before one fails; negative: all do. */
static _Thread_local long allowed = -1;

static bool refuse(void) {
    return allowed >= 0 && allowed-- == 0;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) {
    return refuse() ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size) {
    return refuse() ? NULL : __real_realloc(memory, size);
}

#endif
