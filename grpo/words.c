#include "grpo/words.h"

#include <stdint.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

/* str.isspace of Python. */
static bool is_space(uint32_t code) {
    return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
           code == 0x202F || code == 0x205F || code == 0x3000;
}

/* Bytes of the white space that begins here. */
static size_t space_length(const char *text, size_t length) {
    size_t at = 0;
    while (at < length) {
        uint32_t code;
        size_t bytes = utf8_decode(text + at, length - at, &code);
        if (!is_space(code)) break;
        at += bytes;
    }
    return at;
}

/* Bytes up to the first white space. */
static size_t word_length(const char *text, size_t length) {
    size_t at = 0;
    while (at < length) {
        uint32_t code;
        size_t bytes = utf8_decode(text + at, length - at, &code);
        if (is_space(code)) break;
        at += bytes;
    }
    return at;
}

struct passage passage_of(const char *string) {
    return (struct passage){string, strlen(string)};
}

struct passage passage_trim(struct passage passage) {
    size_t end = 0;
    size_t at = space_length(passage.text, passage.length), begin = at;
    while (at < passage.length) {
        end = at += word_length(passage.text + at, passage.length - at);
        at += space_length(passage.text + at, passage.length - at);
    }
    return (struct passage){passage.text + begin, end > begin ? end - begin : 0};
}

bool passage_skip(struct passage *passage, const char *string) {
    size_t length = strlen(string);
    if (passage->length < length || memcmp(passage->text, string, length) != 0) return false;
    *passage = (struct passage){passage->text + length, passage->length - length};
    return true;
}

bool passage_until(struct passage *passage, const char *mark, struct passage *before) {
    const char *place = memmem(passage->text, passage->length, mark, strlen(mark));
    if (!place) return false;
    *before = (struct passage){passage->text, (size_t)(place - passage->text)};
    size_t passed = before->length + strlen(mark);
    *passage = (struct passage){passage->text + passed, passage->length - passed};
    return true;
}

bool passage_between(struct passage passage, const char *open, const char *close, struct passage *inside) {
    return passage_until(&passage, open, inside) && passage_until(&passage, close, inside);
}

bool passage_equal(struct passage a, struct passage b) {
    return a.length == b.length && memcmp(a.text, b.text, a.length) == 0;
}

enum status passage_words(struct passage passage, struct passage **words, size_t *count, struct error *err) {
    *count = 0;
    *words = memory_new(passage.length / 2 + 1, sizeof **words, "words", err);
    if (!*words) return STATUS_FAILED;
    size_t at = space_length(passage.text, passage.length);
    while (at < passage.length) {
        size_t length = word_length(passage.text + at, passage.length - at);
        (*words)[(*count)++] = (struct passage){passage.text + at, length};
        at += length;
        at += space_length(passage.text + at, passage.length - at);
    }
    return STATUS_OK;
}
