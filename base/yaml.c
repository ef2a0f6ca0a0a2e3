#include "base/yaml.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/memory.h"

/* ---- Parsing ----------------------------------------------------------------------------------------- */

struct reader {
    yaml_parser_t parser;
    const char *text; /* what is parsed, to count its lines */
    const char *place;
    bool lines; /* errors give the line after the place */
    int depth;
    int64_t nodes;
};

static enum status fail(const struct reader *reader, size_t line, struct error *err) {
    if (reader->lines)
        error_prefix(err, "%s:%zu", reader->place, line);
    else
        error_prefix(err, "%s", reader->place);
    return STATUS_USAGE;
}

/* libyaml's own complaint: of a broken character it knows the offset, of all others the line. */
static enum status fail_parser(const struct reader *reader, struct error *err) {
    const yaml_parser_t *parser = &reader->parser;
    size_t line = parser->problem_mark.line + 1;
    if (parser->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < parser->problem_offset && reader->text[i]; i++)
            line += reader->text[i] == '\n';
    }
    if (parser->error == YAML_MEMORY_ERROR)
        error_usage(err, "out of memory for the YAML parser");
    else
        error_usage(err, "%s", parser->problem ? parser->problem : "no YAML");
    return fail(reader, line, err);
}

static enum status next_event(struct reader *reader, yaml_event_t *event, struct error *err) {
    return yaml_parser_parse(&reader->parser, event) ? STATUS_OK : fail_parser(reader, err);
}

static enum status refuse(const struct reader *reader, const yaml_event_t *event, const char *what,
                          struct error *err) {
    error_usage(err, "%s", what);
    return fail(reader, event->start_mark.line + 1, err);
}

/* What is not supported of the event, apart from where it stands. */
static enum status check_event(const struct reader *reader, const yaml_event_t *event, struct error *err) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        if (memchr(event->data.scalar.value, 0, event->data.scalar.length))
            return refuse(reader, event, "a NUL character", err);
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    } else if (event->type == YAML_ALIAS_EVENT) {
        return refuse(reader, event, "aliases ('*name') are not supported", err);
    }
    if (anchor) return refuse(reader, event, "anchors ('&name') are not supported", err);
    if (tag) return refuse(reader, event, "tags ('!name') are not supported", err);
    return STATUS_OK;
}

/* The event as the key of an entry of the map, in which it must be new. */
static enum status read_key(const struct reader *reader, const yaml_event_t *event,
                            const struct yaml_node *map, struct yaml_node *entry, struct error *err) {
    enum status status = check_event(reader, event, err);
    if (status != STATUS_OK) return status;
    if (event->type != YAML_SCALAR_EVENT)
        return refuse(reader, event, "a list or a map stands where a key should", err);
    const char *key = (const char *)event->data.scalar.value;
    for (const struct yaml_node *other = map->first; other != entry; other = other->next) {
        if (strcmp(other->key, key) != 0) continue;
        if (!reader->lines)
            error_usage(err, "key '%s' stands there twice", key);
        else
            error_usage(err, "key '%s' stands there twice, first in line %lld", key, (long long)other->line);
        return fail(reader, event->start_mark.line + 1, err);
    }
    if (reader->lines) entry->line = (int64_t)event->start_mark.line + 1;
    entry->key = memory_text(key, event->data.scalar.length, "a YAML key", err);
    return entry->key ? STATUS_OK : STATUS_FAILED;
}

static enum status read_node(struct reader *reader, const yaml_event_t *event, struct yaml_node *node,
                             struct error *err);

/* One more child at *link; *link stays NULL when the parent ends instead. */
static enum status read_child(struct reader *reader, struct yaml_node *parent, struct yaml_node **link,
                              struct error *err) {
    yaml_event_t event;
    enum status status = next_event(reader, &event, err);
    if (status != STATUS_OK) return status;
    if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT) {
        yaml_event_delete(&event);
        return STATUS_OK;
    }
    *link = memory_new(1, sizeof(**link), "a YAML node", err);
    if (!*link) status = STATUS_FAILED;
    if (status == STATUS_OK && parent->kind == YAML_MAP) {
        status = read_key(reader, &event, parent, *link, err);
        if (status == STATUS_OK) {
            yaml_event_delete(&event);
            status = next_event(reader, &event, err);
            if (status != STATUS_OK) return status;
        }
    }
    if (status == STATUS_OK) status = read_node(reader, &event, *link, err);
    yaml_event_delete(&event);
    return status;
}

static enum status read_node(struct reader *reader, const yaml_event_t *event, struct yaml_node *node,
                             struct error *err) {
    enum status status = check_event(reader, event, err);
    if (status != STATUS_OK) return status;
    if (++reader->nodes > YAML_MOST_NODES) return refuse(reader, event, "too many values", err);
    if (reader->lines && !node->key) node->line = (int64_t)event->start_mark.line + 1;
    if (event->type == YAML_SCALAR_EVENT) {
        node->kind = YAML_SCALAR;
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        node->text = memory_text((const char *)event->data.scalar.value, event->data.scalar.length,
                                 "a YAML value", err);
        return node->text ? STATUS_OK : STATUS_FAILED;
    }
    if (reader->depth == YAML_DEEPEST) return refuse(reader, event, "lists and maps are too deep", err);
    node->kind = event->type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_LIST;
    reader->depth++;
    struct yaml_node **link = &node->first;
    do {
        status = read_child(reader, node, link, err);
        if (status != STATUS_OK || !*link) break;
        link = &(*link)->next;
    } while (true);
    reader->depth--;
    return status;
}

/* Reads events up to one that tells something: the first of the document, or the end. */
static enum status read_document(struct reader *reader, struct yaml_node *root, struct error *err) {
    bool seen = false;
    for (;;) {
        yaml_event_t event;
        enum status status = next_event(reader, &event, err);
        if (status != STATUS_OK) return status;
        bool ended = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_DOCUMENT_START_EVENT && seen) {
            status = refuse(reader, &event, "a second document; one is all that is read", err);
        } else if (event.type != YAML_STREAM_START_EVENT && event.type != YAML_DOCUMENT_START_EVENT &&
                   event.type != YAML_DOCUMENT_END_EVENT && !ended) {
            seen = true;
            status = read_node(reader, &event, root, err);
        }
        yaml_event_delete(&event);
        if (status != STATUS_OK || ended) return status;
    }
}

static enum status read_text(const char *text, size_t length, const char *place, bool lines,
                             struct yaml_node **root, struct error *err) {
    *root = memory_new(1, sizeof(**root), "YAML", err);
    if (!*root) return STATUS_FAILED;
    struct reader reader = {.text = text, .place = place, .lines = lines};
    enum status status = STATUS_OK;
    (*root)->kind = YAML_MAP;
    if (!yaml_parser_initialize(&reader.parser)) {
        status = error_set(err, "%s: out of memory for the YAML parser", place);
    } else {
        yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, length);
        status = read_document(&reader, *root, err);
        yaml_parser_delete(&reader.parser);
    }
    if (status != STATUS_OK) {
        yaml_tree_free(*root);
        *root = NULL;
    }
    return status;
}

enum status yaml_read_file(const char *path, struct yaml_node **root, struct error *err) {
    char *text;
    size_t length;
    *root = NULL;
    enum status status = file_read(path, YAML_LARGEST_FILE, &text, &length, err);
    if (status != STATUS_OK) return status;
    status = read_text(text, length, path, true, root, err);
    free(text);
    return status;
}

static enum status take_as_text(const char *text, struct yaml_node **root, struct error *err) {
    struct yaml_node *node = memory_new(1, sizeof *node, "a YAML node", err);
    if (!node) return STATUS_FAILED;
    *node = (struct yaml_node){.kind = YAML_SCALAR, .plain = true};
    node->text = memory_text(text, strlen(text), "a YAML node", err);
    if (!node->text) {
        yaml_tree_free(node);
        return STATUS_FAILED;
    }
    *root = node;
    return STATUS_OK;
}

enum status yaml_read_word(const char *text, const char *place, struct yaml_node **root, struct error *err) {
    if (!text[strspn(text, " \t")]) text = "null";
    if (*text == '@') return take_as_text(text, root, err);
    return read_text(text, strlen(text), place, false, root, err);
}

void yaml_tree_free(struct yaml_node *root) {
    while (root) {
        struct yaml_node *next = root->next;
        yaml_tree_free(root->first);
        free(root->key);
        free(root->text);
        free(root);
        root = next;
    }
}

/* ---- Scalars ----------------------------------------------------------------------------------------- */

static bool is_one_of(const char *text, const char *const *words) {
    for (; *words; words++)
        if (strcmp(text, *words) == 0) return true;
    return false;
}

bool yaml_is_null(const struct yaml_node *node) {
    static const char *const words[] = {"", "~", "null", "Null", "NULL", "None", NULL};
    return node->kind == YAML_SCALAR && node->plain && is_one_of(node->text, words);
}

bool yaml_to_bool(const struct yaml_node *node, bool *value) {
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", NULL};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", NULL};
    if (node->kind != YAML_SCALAR) return false;
    *value = is_one_of(node->text, yes);
    return *value || is_one_of(node->text, no);
}

/* A number's text without its underscores, which stand between digits; false: it is no decimal number. */
static bool plain_digits(const char *text, char *digits, size_t size) {
    size_t length = 0;
    if (strlen(text) >= size) return false;
    for (const char *at = text; *at; at++) {
        bool after_digit = at > text && at[-1] >= '0' && at[-1] <= '9';
        if (*at == '_' && !(after_digit && at[1] >= '0' && at[1] <= '9')) return false;
        if (!strchr("+-.0123456789eE_", *at)) return false;
        if (*at != '_') digits[length++] = *at;
    }
    digits[length] = '\0';
    return length > 0;
}

bool yaml_to_number(const struct yaml_node *node, double *value) {
    char digits[64], *end;
    if (node->kind != YAML_SCALAR || !plain_digits(node->text, digits, sizeof(digits))) return false;
    errno = 0;
    *value = strtod(digits, &end);
    return end != digits && !*end && isfinite(*value);
}

bool yaml_to_integer(const struct yaml_node *node, int64_t *value) {
    char digits[64], *end;
    if (node->kind != YAML_SCALAR || !plain_digits(node->text, digits, sizeof(digits))) return false;
    errno = 0;
    long long whole = strtoll(digits, &end, 10);
    if (end != digits && !*end) {
        *value = whole;
        return errno == 0;
    }
    double number;
    const double most = 9007199254740992.0; /* 2^53: every whole number up to there is exact */
    if (!yaml_to_number(node, &number) || number != trunc(number) || fabs(number) > most) return false;
    *value = (int64_t)number;
    return true;
}
