#include "base/markup.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

static const char *entity(uint32_t code) {
    switch (code) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

static bool can_be_held(uint32_t code) {
    if (code < ' ') return code == '\t' || code == '\n' || code == '\r';
    return code != UTF8_INVALID && code != 0xFFFE && code != 0xFFFF && !(code >= 0x7F && code < 0xA0);
}

void markup_append(struct text *out, const char *text, size_t length) {
    size_t size;
    for (size_t i = 0; i < length; i += size) {
        uint32_t code;
        size = utf8_decode(text + i, length - i, &code);
        if (entity(code))
            text_append_string(out, entity(code));
        else if (can_be_held(code))
            text_append(out, text + i, size);
        else
            text_append_string(out, "\xEF\xBF\xBD");
    }
}

void markup_append_string(struct text *out, const char *string) {
    markup_append(out, string, strlen(string));
}
