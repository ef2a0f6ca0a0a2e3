#include "cli/wrap.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

/* The next character: its length in bytes and its columns; a wrong byte counts as one column. */
static size_t next_character(const char *text, size_t length, size_t *columns, bool *control) {
    utf8proc_int32_t code;
    utf8proc_ssize_t bytes =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, &code);
    if (bytes <= 0) {
        *columns = 1;
        *control = false;
        return 1;
    }
    int width = utf8proc_charwidth(code);
    *columns = width > 0 ? (size_t)width : 0;
    *control = utf8proc_category(code) == UTF8PROC_CATEGORY_CC;
    return (size_t)bytes;
}

size_t wrap_columns(const char *text, size_t length) {
    size_t total = 0;
    for (size_t at = 0; at < length;) {
        size_t columns;
        bool control;
        at += next_character(text + at, length - at, &columns, &control);
        if (!control) total += columns;
    }
    return total;
}

static void append_clean(struct text *out, const char *word, size_t length) {
    for (size_t at = 0; at < length;) {
        size_t columns;
        bool control;
        size_t bytes = next_character(word + at, length - at, &columns, &control);
        if (!control) text_append(out, word + at, bytes);
        at += bytes;
    }
}

static void new_line(struct text *out, size_t indent) {
    text_append_string(out, "\n");
    for (size_t i = 0; i < indent; i++) text_append_string(out, " ");
}

void wrap_text(struct text *out, const char *text, size_t start, size_t indent, size_t width) {
    size_t column = start;
    bool fresh = true; /* nothing on this line yet */
    while (*text) {
        if (*text == '\n') {
            text_append_string(out, "\n");
            column = 0;
            fresh = true;
            text++;
        } else if (*text == ' ' || *text == '\t') {
            text++;
        } else {
            size_t length = strcspn(text, " \t\n"), columns = wrap_columns(text, length);
            if (fresh && column == 0) {
                for (; column < indent; column++) text_append_string(out, " ");
            } else if (!fresh && column + 1 + columns > width) {
                new_line(out, indent);
                column = indent;
            } else if (!fresh) {
                text_append_string(out, " ");
                column++;
            }
            append_clean(out, text, length);
            column += columns;
            fresh = false;
            text += length;
        }
    }
}
