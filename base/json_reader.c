#include "base/json_reader.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum { MAX_DEPTH = 64 };

void json_reader_start(struct json_reader *reader, const char *text, size_t length, const char *place) {
    *reader = (struct json_reader){.begin = text, .at = text, .end = text + length, .place = place};
}

void json_reader_free(struct json_reader *reader) {
    text_free(&reader->unescaped);
}

/* "PLACE: byte N: CAUSE", N being where the reader stands, counted from 1. */
static enum status fail(const struct json_reader *reader, const char *cause, struct error *err) {
    return error_set(err, "%s: byte %zu: %s", reader->place, (size_t)(reader->at - reader->begin) + 1,
                     reader->at == reader->end ? "the JSON text ends too early" : cause);
}

char json_reader_peek(struct json_reader *reader) {
    while (reader->at < reader->end &&
           (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
    return reader->at < reader->end ? *reader->at : '\0';
}

static enum status expect(struct json_reader *reader, char wanted, struct error *err) {
    char cause[] = "' ' expected";
    cause[1] = wanted;
    if (json_reader_peek(reader) != wanted || reader->at == reader->end) return fail(reader, cause, err);
    reader->at++;
    return STATUS_OK;
}

enum status json_reader_open(struct json_reader *reader, char bracket, struct error *err) {
    reader->first = true;
    return expect(reader, bracket, err);
}

enum status json_reader_next(struct json_reader *reader, char bracket, bool *more, struct error *err) {
    *more = json_reader_peek(reader) != bracket;
    if (*more && !reader->first && expect(reader, ',', err) != STATUS_OK) return STATUS_FAILED;
    if (!*more) reader->at++;
    reader->first = false;
    return STATUS_OK;
}

/* Finds the end of the string whose opening quote was read; *escapes: it holds backslashes. */
static enum status find_quote(struct json_reader *reader, bool *escapes, struct error *err) {
    *escapes = false;
    for (; reader->at < reader->end && *reader->at != '"'; reader->at++) {
        if ((unsigned char)*reader->at < 0x20) return fail(reader, "control character in a string", err);
        if (*reader->at != '\\') continue;
        *escapes = true;
        if (++reader->at == reader->end) break;
    }
    return reader->at < reader->end ? STATUS_OK : fail(reader, "", err);
}

/* Four hexadecimal digits at `at`, UTF8_INVALID when they are not. */
static uint32_t read_hex(const char *at, const char *end) {
    uint32_t value = 0;
    if (end - at < 4) return UTF8_INVALID;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        uint32_t digit = c >= '0' && c <= '9'                     ? (uint32_t)(c - '0')
                         : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (uint32_t)((c | 0x20) - 'a' + 10)
                                                                  : 16;
        if (digit == 16) return UTF8_INVALID;
        value = value << 4 | digit;
    }
    return value;
}

/* The code point of an escape whose letter stands at *at; moves *at behind it. */
static uint32_t read_escape(const char **at, const char *end) {
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    char letter = *(*at)++;
    if (letter != 'u') {
        const char *found = letter ? strchr(letters, letter) : NULL;
        return found ? (uint32_t)meanings[found - letters] : UTF8_INVALID;
    }
    uint32_t code = read_hex(*at, end);
    if (code == UTF8_INVALID) return UTF8_INVALID;
    *at += 4;
    if (code < 0xD800 || code > 0xDFFF) return code;
    if (code > 0xDBFF || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u') return UTF8_INVALID;
    uint32_t low = read_hex(*at + 2, end);
    if (low < 0xDC00 || low > 0xDFFF) return UTF8_INVALID;
    *at += 6;
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
}

/* Resolves the escapes of [from, to) into reader->unescaped; false when one is wrong. */
static bool unescape(struct json_reader *reader, const char *from, const char *to) {
    reader->unescaped.length = 0;
    while (from < to) {
        const char *backslash = memchr(from, '\\', (size_t)(to - from));
        const char *plain_end = backslash ? backslash : to;
        text_append(&reader->unescaped, from, (size_t)(plain_end - from));
        if (!backslash) break;
        from = backslash + 1;
        char bytes[4];
        uint32_t code = read_escape(&from, to);
        if (code == UTF8_INVALID) return false;
        text_append(&reader->unescaped, bytes, utf8_encode(code, bytes));
    }
    return true;
}

enum status json_reader_string(struct json_reader *reader, struct json_slice *string, struct error *err) {
    bool escapes;
    if (expect(reader, '"', err) != STATUS_OK) return STATUS_FAILED;
    const char *from = reader->at;
    if (find_quote(reader, &escapes, err) != STATUS_OK) return STATUS_FAILED;
    size_t length = (size_t)(reader->at - from);
    if (utf8_valid_prefix(from, length) != length) return fail(reader, "a string that is not UTF-8", err);
    *string = (struct json_slice){from, length};
    if (escapes) {
        if (!unescape(reader, from, reader->at)) return fail(reader, "a string with a wrong escape", err);
        if (text_check(&reader->unescaped, "a JSON string", err) != STATUS_OK) return STATUS_FAILED;
        *string = (struct json_slice){reader->unescaped.data, reader->unescaped.length};
    }
    reader->at++;
    return STATUS_OK;
}

enum status json_reader_key(struct json_reader *reader, struct json_slice *key, struct error *err) {
    if (json_reader_string(reader, key, err) != STATUS_OK) return STATUS_FAILED;
    return expect(reader, ':', err);
}

enum status json_reader_integer(struct json_reader *reader, int64_t low, int64_t high, int64_t *value,
                                struct error *err) {
    char cause[96];
    int64_t magnitude = 0;
    bool negative = json_reader_peek(reader) == '-';
    const char *start = reader->at;
    const char *at = start + negative;
    bool fits = at < reader->end && *at >= '0' && *at <= '9';
    for (; fits && at < reader->end && *at >= '0' && *at <= '9'; at++)
        fits = !__builtin_mul_overflow(magnitude, (int64_t)10, &magnitude) &&
               !__builtin_add_overflow(magnitude, (int64_t)(*at - '0'), &magnitude);
    if (fits && at < reader->end && strchr(".eE", *at)) fits = false;
    *value = negative ? -magnitude : magnitude;
    if (!fits || *value < low || *value > high) {
        snprintf(cause, sizeof cause, "a whole number from %lld to %lld expected", (long long)low,
                 (long long)high);
        return fail(reader, cause, err);
    }
    reader->at = at;
    return STATUS_OK;
}

/* Characters of numbers, true, false and null. */
static bool is_bare(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '+' || c == '-' || c == '.' || c == 'E';
}

/* Passes over one string, bracket, comma, colon or bare word; *depth follows, open[] remembers. */
static enum status skip_one(struct json_reader *reader, char open[MAX_DEPTH], int *depth, struct error *err) {
    bool escapes;
    char c = json_reader_peek(reader);
    const char *start = reader->at;
    switch (c) {
    case '"':
        reader->at++;
        if (find_quote(reader, &escapes, err) != STATUS_OK) return STATUS_FAILED;
        break;
    case '{':
    case '[':
        if (*depth == MAX_DEPTH) return fail(reader, "nested too deeply", err);
        open[(*depth)++] = c;
        break;
    case '}':
    case ']':
        if (*depth == 0 || open[*depth - 1] != (c == '}' ? '{' : '['))
            return fail(reader, "a bracket that closes nothing", err);
        --*depth;
        break;
    case ',':
    case ':':
        if (*depth == 0) return fail(reader, "a value expected", err);
        break;
    default:
        while (reader->at < reader->end && is_bare(*reader->at)) reader->at++;
        if (reader->at == start) return fail(reader, "a value expected", err);
        return STATUS_OK;
    }
    reader->at++;
    return STATUS_OK;
}

enum status json_reader_skip(struct json_reader *reader, struct json_slice *value, struct error *err) {
    char open[MAX_DEPTH];
    int depth = 0;
    json_reader_peek(reader);
    const char *start = reader->at;
    do {
        if (skip_one(reader, open, &depth, err) != STATUS_OK) return STATUS_FAILED;
    } while (depth > 0);
    *value = (struct json_slice){start, (size_t)(reader->at - start)};
    return STATUS_OK;
}

enum status json_reader_end(struct json_reader *reader, struct error *err) {
    json_reader_peek(reader);
    return reader->at == reader->end ? STATUS_OK : fail(reader, "text after the end of the JSON", err);
}
