#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/config_read.h"

/* ---- Values by kind ---------------------------------------------------------------------------------- */

static enum status store_bool(const struct yaml_node *node, bool *to, struct error *err) {
    if (yaml_to_bool(node, to)) return STATUS_OK;
    return error_usage(err, "'%.100s' is neither true nor false", node->text);
}

static enum status check_range(const struct config_key *key, const char *text, double value,
                               struct error *err) {
    if ((key->low == 0 && key->high == 0) || (value >= key->low && value <= key->high)) return STATUS_OK;
    return error_usage(err, "%.100s is out of range (%.15g to %.15g)", text, key->low, key->high);
}

static enum status store_integer(const struct config_key *key, const struct yaml_node *node, int64_t *to,
                                 struct error *err) {
    int64_t value;
    if (!yaml_to_integer(node, &value)) return error_usage(err, "'%.100s' is not a whole number", node->text);
    *to = value;
    return check_range(key, node->text, (double)value, err);
}

static enum status store_number(const struct config_key *key, const struct yaml_node *node, double *to,
                                struct error *err) {
    if (!yaml_to_number(node, to)) return error_usage(err, "'%.100s' is not a number", node->text);
    return check_range(key, node->text, *to, err);
}

static enum status store_interval(const struct yaml_node *node, double *to, struct error *err) {
    const double most = 1e12;
    if (!yaml_to_number(node, to)) return error_usage(err, "'%.100s' is not a number", node->text);
    if (*to <= 0 || *to > most || (*to >= 1 && *to != trunc(*to)))
        return error_usage(err, "'%.100s' is neither a number of steps nor a share of them (0 to 1)",
                           node->text);
    return STATUS_OK;
}

static enum status store_choice(const struct config_key *key, const struct yaml_node *node, int *to,
                                struct error *err) {
    struct text words = {0};
    for (int i = 0; key->choices[i]; i++) {
        if (strcmp(key->choices[i], node->text) == 0) {
            text_free(&words);
            *to = i;
            return STATUS_OK;
        }
        text_format(&words, "%s%s", i ? ", " : "", key->choices[i]);
    }
    enum status status = text_check(&words, "a message", err);
    if (status == STATUS_OK)
        status = error_usage(err, "'%.100s' is none of %s", node->text, words.data ? words.data : "nothing");
    text_free(&words);
    return status;
}

static enum status store_string(const struct yaml_node *node, char **to, struct error *err) {
    char *copy = memory_text(node->text, strlen(node->text), "the configuration", err);
    if (!copy) return STATUS_FAILED;
    free(*to);
    *to = copy;
    return STATUS_OK;
}

/* "1500000", "512MiB", "2 GB", "0.5GiB" in bytes. */
static enum status store_size(const struct yaml_node *node, int64_t *to, struct error *err) {
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"KB", 1e3},
                 {"MB", 1e6},
                 {"GB", 1e9},
                 {"TB", 1e12},
                 {"K", 1024},
                 {"M", 1048576},
                 {"G", 1073741824},
                 {"KiB", 1024},
                 {"MiB", 1048576},
                 {"GiB", 1073741824},
                 {"TiB", 1099511627776}};
    char digits[32];
    double number;
    const double most = 1e15;
    size_t length = strspn(node->text, "0123456789._");
    const char *unit = node->text + length + strspn(node->text + length, " ");
    if (length < sizeof(digits)) {
        memcpy(digits, node->text, length);
        digits[length] = '\0';
        struct yaml_node part = {.kind = YAML_SCALAR, .text = digits};
        for (size_t i = 0; i < sizeof(units) / sizeof *units && yaml_to_number(&part, &number); i++) {
            if (strcasecmp(unit, units[i].name) != 0) continue;
            if (number * units[i].bytes > most) return error_usage(err, "%.100s is too much", node->text);
            *to = (int64_t)(number * units[i].bytes);
            return STATUS_OK;
        }
    }
    return error_usage(err, "'%.100s' is not a size such as 2GiB or 512MiB", node->text);
}

/* ---- Lists of names ---------------------------------------------------------------------------------- */

void config_names_free(struct train_names *names) {
    for (int64_t i = 0; i < names->count; i++) free(names->names[i]);
    free(names->names);
    *names = (struct train_names){0};
}

static enum status add_name(struct train_names *names, const char *name, size_t length, struct error *err) {
    while (length && *name == ' ') name++, length--;
    while (length && name[length - 1] == ' ') length--;
    if (!length) return error_usage(err, "a name is empty");
    char **grown = reallocarray(names->names, (size_t)names->count + 1, sizeof(char *));
    if (!grown) return error_set(err, "out of memory for the configuration");
    names->names = grown;
    grown[names->count] = memory_text(name, length, "the configuration", err);
    if (!grown[names->count]) return STATUS_FAILED;
    names->count++;
    return STATUS_OK;
}

static enum status add_names(struct train_names *names, const struct yaml_node *node, struct error *err) {
    if (node->kind != YAML_SCALAR) return error_usage(err, "a list of names is wanted");
    enum status status = STATUS_OK;
    const char *text = node->text;
    while (status == STATUS_OK) {
        size_t length = strcspn(text, ",");
        status = add_name(names, text, length, err);
        if (!text[length]) break;
        text += length + 1;
    }
    return status;
}

static enum status store_names(const struct yaml_node *node, struct train_names *to, struct error *err) {
    enum status status = STATUS_OK;
    config_names_free(to);
    if (node->kind == YAML_SCALAR) return add_names(to, node, err);
    for (const struct yaml_node *item = node->first; item && status == STATUS_OK; item = item->next)
        status = add_names(to, item, err);
    return status;
}

/* ---- Lists of numbers -------------------------------------------------------------------------------- */

static enum status store_numbers(const struct config_key *key, const struct yaml_node *node,
                                 struct train_numbers *to, struct error *err) {
    struct train_names words = {0};
    enum status status = store_names(node, &words, err);
    double *numbers = NULL;
    if (status == STATUS_OK) {
        numbers = memory_new((size_t)words.count, sizeof *numbers, "the configuration", err);
        if (!numbers) status = STATUS_FAILED;
    }
    for (int64_t i = 0; i < words.count && status == STATUS_OK; i++) {
        const struct yaml_node word = {.kind = YAML_SCALAR, .text = words.names[i]};
        status = store_number(key, &word, &numbers[i], err);
    }
    if (status == STATUS_OK) {
        free(to->numbers);
        *to = (struct train_numbers){numbers, words.count};
    } else {
        free(numbers);
    }
    config_names_free(&words);
    return status;
}

/* ---- Keys -------------------------------------------------------------------------------------------- */

static enum status store_value(const struct config_key *key, const struct yaml_node *node,
                               struct config_values *values, struct error *err) {
    void *to = (char *)values + key->offset;
    switch (key->kind) {
    case CONFIG_BOOL: return store_bool(node, to, err);
    case CONFIG_INTEGER: return store_integer(key, node, to, err);
    case CONFIG_NUMBER: return store_number(key, node, to, err);
    case CONFIG_INTERVAL: return store_interval(node, to, err);
    case CONFIG_STRING: return store_string(node, to, err);
    case CONFIG_NAMES: return store_names(node, to, err);
    case CONFIG_NUMBERS: return store_numbers(key, node, to, err);
    case CONFIG_CHOICE: return store_choice(key, node, to, err);
    case CONFIG_SIZE: return store_size(node, to, err);
    case CONFIG_ANY:
    case CONFIG_MAP: break;
    }
    return STATUS_OK;
}

enum status config_store_default(const struct config_key *key, enum train_stage stage,
                                 struct config_values *values, struct error *err) {
    const char *standard = stage == TRAIN_STAGE_GRPO && key->grpo ? key->grpo : key->standard;
    if (!standard) return STATUS_OK;
    struct yaml_node node = {.kind = YAML_SCALAR, .text = (char *)standard};
    return store_value(key, &node, values, err);
}

enum status config_store(const struct config_key *key, const struct yaml_node *node,
                         struct config_values *values, struct error *err) {
    if (yaml_is_null(node)) return STATUS_OK; /* the default was stored before */
    bool empty = node->kind == YAML_SCALAR ? !*node->text : !node->first;
    bool list = key->kind == CONFIG_NAMES || key->kind == CONFIG_NUMBERS;
    if (empty && (key->kind == CONFIG_STRING || list)) return STATUS_OK;
    if (node->kind == YAML_LIST && list) return store_value(key, node, values, err);
    if (node->kind != YAML_SCALAR)
        return error_usage(err, "one value is wanted, not a %s", node->kind == YAML_LIST ? "list" : "map");
    return store_value(key, node, values, err);
}

static bool is_default(const struct config_key *key, const struct yaml_node *node) {
    struct error ignored;
    bool flag;
    double number;
    int choice;
    struct yaml_node standard = {.kind = YAML_SCALAR, .text = (char *)key->standard};
    if (yaml_is_null(node)) return true;
    if (node->kind != YAML_SCALAR) return !key->standard && !node->first;
    if (!key->standard) return !*node->text;
    switch (key->kind) {
    case CONFIG_BOOL: return yaml_to_bool(node, &flag) && flag == (strcmp(key->standard, "true") == 0);
    case CONFIG_CHOICE: return store_choice(key, node, &choice, &ignored) == STATUS_OK;
    default: {
        double fixed;
        return yaml_to_number(node, &number) && yaml_to_number(&standard, &fixed) && number == fixed;
    }
    }
}

enum status config_check_fixed(const struct config_key *key, const struct yaml_node *node,
                               struct error *err) {
    if (is_default(key, node)) return STATUS_OK;
    if (node->kind != YAML_SCALAR)
        return error_usage(err, "a %s is not supported here: %s", node->kind == YAML_LIST ? "list" : "map",
                           key->help);
    return error_usage(err, "'%.100s' is not supported: %s", node->text, key->help);
}
