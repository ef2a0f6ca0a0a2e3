#include "eval/folded.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "base/memory.h"

static uint32_t fold_code(uint32_t c) {
    if (c >= 0xFF01 && c <= 0xFF5E) c -= 0xFF01 - '!'; /* full-width ASCII */
    if ((c >= 0x2010 && c <= 0x2015) || c == 0x2212) return '-';
    switch (c) {
    case 0:
    case '\t':
    case '\r':
    case 0xA0:
    case 0x2009:
    case 0x202F:
    case 0x3000: return ' ';
    case 0x2028:
    case 0x2029: return '\n';
    case 0x2018:
    case 0x2019: return '\'';
    case 0x201C:
    case 0x201D: return '"';
    case 0x3001: return ',';
    case 0x3002: return '.';
    case 0x3010:
    case 0x300C: return '[';
    case 0x3011:
    case 0x300D: return ']';
    case 0x2192:
    case 0x21D2: return '>';
    case 0x2248: return '~';
    default: return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    }
}

/* Decodes one code point; a wrong byte reads as U+FFFD. Returns its bytes. */
static size_t decode(const char *text, size_t length, uint32_t *code) {
    utf8proc_int32_t c;
    utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, &c);
    *code = bytes > 0 ? (uint32_t)c : 0xFFFD;
    return bytes > 0 ? (size_t)bytes : 1;
}

enum status folded_make(const char *text, size_t length, struct folded *folded, struct error *err) {
    *folded = (struct folded){0};
    if (!(folded->code = memory_new(length, sizeof(uint32_t), "the answer", err)) ||
        !(folded->copy = memory_new(length, sizeof(uint32_t), "the answer", err)) ||
        !(folded->offset = memory_new(length + 1, sizeof(size_t), "the answer", err))) {
        folded_free(folded);
        return STATUS_FAILED;
    }
    for (size_t i = 0; i < length;) {
        uint32_t code;
        folded->offset[folded->count] = i;
        i += decode(text + i, length - i, &code);
        folded->code[folded->count++] = fold_code(code);
    }
    folded->offset[folded->count] = length;
    memcpy(folded->copy, folded->code, folded->count * sizeof(uint32_t));
    return STATUS_OK;
}

void folded_free(struct folded *folded) {
    free(folded->code);
    free(folded->copy);
    free(folded->offset);
    *folded = (struct folded){0};
}

/* The end of the word at `text`, up to a bar or the end, when it stands at i; else 0. */
static size_t match(struct view v, size_t i, const char *text) {
    while (*text && *text != '|') {
        uint32_t want = (unsigned char)*text;
        if (want == ' ') {
            i = skip(v, i, " _-/\\&*");
            text++;
            continue;
        }
        text += want < 0x80 ? 1 : decode(text, strlen(text), &want);
        if (at(v, i) != want) return 0;
        i++;
    }
    return is_word(at(v, i)) && is_word(at(v, i - 1)) ? 0 : i;
}

static size_t match_words(struct view v, size_t i, const char *words, bool longest) {
    uint32_t c = at(v, i);
    if (!is_ideograph(c) && (!is_word(c) || (i > v.begin && is_word(at(v, i - 1))))) return 0;
    size_t best = 0;
    for (const char *word = words; word && (longest || !best); word = strchr(word, '|')) {
        word += word > words;
        size_t end = match(v, i, word);
        best = end > best ? end : best;
    }
    return best;
}

size_t match_any(struct view v, size_t i, const char *words) {
    return match_words(v, i, words, false);
}

size_t match_longest(struct view v, size_t i, const char *words) {
    return match_words(v, i, words, true);
}

size_t line_start(struct view v, size_t i) {
    for (size_t n = 0; n < LINE_REACH && i > v.begin && at(v, i - 1) != '\n'; n++) i--;
    return i;
}

size_t line_end(struct view v, size_t i) {
    while (i < v.end && at(v, i) != '\n') i++;
    return i;
}

size_t letters_between(struct view v, size_t from, size_t to) {
    size_t count = 0;
    for (size_t i = from; i < to; i++) count += is_word(at(v, i)) || is_ideograph(at(v, i));
    return count;
}
