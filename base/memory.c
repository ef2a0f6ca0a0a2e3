#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void *memory_new(size_t count, size_t size, const char *what, struct error *err) {
    size_t bytes;
    void *memory = NULL;
    if (!__builtin_mul_overflow(count, size, &bytes)) memory = calloc(bytes ? bytes : 1, 1);
    if (!memory) error_no_memory(err, "out of memory for %s (%zu x %zu bytes)", what, count, size);
    return memory;
}

enum status memory_grow(void *array, size_t *capacity, size_t needed, size_t size, const char *what,
                        struct error *err) {
    if (needed <= *capacity) return STATUS_OK;
    size_t wanted = *capacity ? *capacity : 16;
    while (wanted < needed)
        if (__builtin_mul_overflow(wanted, (size_t)2, &wanted)) wanted = needed;

    size_t bytes;
    void *old;
    void *grown = NULL;
    memcpy(&old, array, sizeof old); /* array is the address of a pointer of any object type */
    if (!__builtin_mul_overflow(wanted, size, &bytes)) grown = realloc(old, bytes);
    if (!grown) return error_no_memory(err, "out of memory for %s (%zu x %zu bytes)", what, wanted, size);
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return STATUS_OK;
}

char *memory_text(const char *text, size_t length, const char *what, struct error *err) {
    char *copy = memory_new(length + 1, 1, what, err);
    if (copy) memcpy(copy, text, length);
    return copy;
}
