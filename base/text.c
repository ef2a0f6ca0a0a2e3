#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Makes room for `more` bytes and a terminator. */
static bool make_room(struct text *text, size_t more) {
    struct error unused;
    if (text->failed || more > SIZE_MAX - text->length - 1 ||
        memory_grow(&text->data, &text->capacity, text->length + more + 1, 1, "text", &unused) != STATUS_OK)
        text->failed = true;
    return !text->failed;
}

void text_append(struct text *text, const char *data, size_t length) {
    if (!make_room(text, length)) return;
    if (length) memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void text_append_string(struct text *text, const char *string) {
    text_append(text, string, strlen(string));
}

void text_format(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || !make_room(text, (size_t)length)) {
        text->failed = true;
        return;
    }
    va_start(arguments, format);
    vsnprintf(text->data + text->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
}

enum status text_check(const struct text *text, const char *what, struct error *err) {
    return text->failed ? error_no_memory(err, "out of memory for %s", what) : STATUS_OK;
}

char *text_take(struct text *text, const char *what, struct error *err) {
    text_append(text, "", 0); /* an empty text is a string too */
    if (text_check(text, what, err) != STATUS_OK) {
        text_free(text);
        return NULL;
    }
    char *data = text->data;
    *text = (struct text){0};
    return data;
}

void text_free(struct text *text) {
    free(text->data);
    *text = (struct text){0};
}
