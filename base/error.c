#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* An error is one line whatever names and inputs it quotes. */
static void keep_one_line(char *message) {
    for (char *c = message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
}

static void set_message(struct error *err, const char *format, va_list arguments) {
    vsnprintf(err->message, sizeof err->message, format, arguments);
    keep_one_line(err->message);
    err->no_memory = false;
}

enum status error_set(struct error *err, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    set_message(err, format, arguments);
    va_end(arguments);
    return STATUS_FAILED;
}

enum status error_usage(struct error *err, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    set_message(err, format, arguments);
    va_end(arguments);
    return STATUS_USAGE;
}

enum status error_no_memory(struct error *err, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    set_message(err, format, arguments);
    va_end(arguments);
    err->no_memory = true;
    return STATUS_FAILED;
}

void error_prefix(struct error *err, const char *format, ...) {
    struct error place;
    va_list arguments;
    va_start(arguments, format);
    set_message(&place, format, arguments);
    va_end(arguments);

    size_t prefix = strlen(place.message);
    size_t rest = strlen(err->message);
    if (prefix + 2 >= sizeof err->message) return;
    if (rest > sizeof err->message - prefix - 3) rest = sizeof err->message - prefix - 3;
    memmove(err->message + prefix + 2, err->message, rest);
    memcpy(err->message, place.message, prefix);
    memcpy(err->message + prefix, ": ", 2);
    err->message[prefix + 2 + rest] = '\0';
}
