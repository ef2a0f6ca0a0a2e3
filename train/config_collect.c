#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/config_read.h"

enum { LONGEST_NAME = 128 };

static void put_place(const struct config_reader *reader, const char *name, int64_t line, struct error *err) {
    if (line)
        error_prefix(err, "%s:%lld", reader->path, (long long)line);
    else
        error_prefix(err, "argument '%s'", name);
}

enum status config_fail(const struct config_reader *reader, const struct config_setting *setting,
                        struct error *err) {
    if (setting->node->line) error_prefix(err, "%s", setting->match.name);
    put_place(reader, setting->match.name, setting->node->line, err);
    return STATUS_USAGE;
}

const struct config_setting *config_setting_find(const struct config_reader *reader, const char *key) {
    for (size_t i = 0; i < reader->count; i++)
        if (strcmp(reader->settings[i].match.name, key) == 0) return &reader->settings[i];
    return NULL;
}

bool config_is_given(const struct config_reader *reader, const char *key) {
    const struct config_setting *setting = config_setting_find(reader, key);
    return setting && !yaml_is_null(setting->node);
}

static enum status unknown_key(const struct config_reader *reader, const char *name,
                               const struct yaml_node *node, struct error *err) {
    const char *nearest = config_key_nearest(name, reader->stages);
    if (nearest)
        error_usage(err, "unknown key '%.100s' (did you mean '%s'?)", name, nearest);
    else
        error_usage(err, "unknown key '%.100s' (vs2-train --help-keys lists them all)", name);
    put_place(reader, name, node->line, err);
    return STATUS_USAGE;
}

/* A word takes the place of what was set before; in the file a second time is an error. */
static enum status keep(struct config_reader *reader, struct config_setting setting, struct error *err) {
    for (size_t i = 0; i < reader->count; i++) {
        struct config_setting *other = &reader->settings[i];
        if (strcmp(other->match.name, setting.match.name) != 0) continue;
        if (setting.node->line) {
            error_usage(err, "it was given before, in line %lld", (long long)other->node->line);
            return config_fail(reader, &setting, err);
        }
        *other = setting;
        return STATUS_OK;
    }
    enum status status = memory_grow(&reader->settings, &reader->capacity, reader->count + 1,
                                     sizeof(*reader->settings), "the configuration", err);
    if (status == STATUS_OK) reader->settings[reader->count++] = setting;
    return status;
}

/* Takes the tree over, to be freed with the reader. */
static enum status adopt(struct config_reader *reader, struct yaml_node *tree, struct error *err) {
    enum status status = memory_grow(&reader->trees, &reader->tree_capacity, reader->tree_count + 1,
                                     sizeof(struct yaml_node *), "the configuration", err);
    if (status == STATUS_OK)
        reader->trees[reader->tree_count++] = tree;
    else
        yaml_tree_free(tree);
    return status;
}

static enum status collect_entries(struct config_reader *reader, const struct yaml_node *map,
                                   const char *prefix, struct error *err);

/* The entries of a key that is a map; as text it is YAML (JSON) once more. */
static enum status collect_map(struct config_reader *reader, const struct config_setting *setting,
                               struct error *err) {
    const struct yaml_node *map = setting->node;
    if (yaml_is_null(map)) return STATUS_OK;
    if (map->kind == YAML_SCALAR) {
        struct yaml_node *tree;
        enum status status = yaml_read_word(map->text, "its text", &tree, err);
        if (status != STATUS_OK) return config_fail(reader, setting, err);
        status = adopt(reader, tree, err);
        if (status != STATUS_OK) return status;
        for (struct yaml_node *entry = tree->first; entry; entry = entry->next) entry->line = map->line;
        map = tree;
    }
    if (map->kind != YAML_MAP) {
        error_usage(err, "a map is wanted, such as {min_lr: 1e-6}");
        return config_fail(reader, setting, err);
    }
    char prefix[LONGEST_NAME];
    snprintf(prefix, sizeof(prefix), "%s.", setting->match.name);
    return collect_entries(reader, map, prefix, err);
}

/* A map under a name that is no key is a section, whose entries count as if they stood outside; so does one
 * under `dataset`, which is a name for sections, too. */
static enum status collect_entry(struct config_reader *reader, const struct yaml_node *entry,
                                 const char *prefix, struct error *err) {
    char name[LONGEST_NAME];
    struct config_setting setting = {.node = entry};
    int length = snprintf(name, sizeof(name), "%s%s", prefix, entry->key);
    bool known = length < LONGEST_NAME && config_key_find(name, reader->stages, &setting.match);
    enum config_kind kind = known && setting.match.key ? setting.match.key->kind : CONFIG_ANY;
    if (entry->kind == YAML_MAP && !*prefix && (!known || kind == CONFIG_NAMES))
        return collect_entries(reader, entry, "", err);
    if (!known) return unknown_key(reader, entry->key, entry, err);
    return kind == CONFIG_MAP ? collect_map(reader, &setting, err) : keep(reader, setting, err);
}

static enum status collect_entries(struct config_reader *reader, const struct yaml_node *map,
                                   const char *prefix, struct error *err) {
    enum status status = STATUS_OK;
    for (const struct yaml_node *entry = map->first; entry && status == STATUS_OK; entry = entry->next)
        status = collect_entry(reader, entry, prefix, err);
    return status;
}

static const struct yaml_node *find_stage(const struct yaml_node *map) {
    const struct yaml_node *found = NULL;
    for (const struct yaml_node *entry = map->first; entry && !found; entry = entry->next) {
        if (entry->kind == YAML_MAP)
            found = find_stage(entry);
        else if (entry->key && strcmp(entry->key, "stage") == 0 && entry->kind == YAML_SCALAR)
            found = entry;
    }
    return found;
}

/* The keys of one stage are understood from here on. */
static enum status take_stage(struct config_reader *reader, const struct yaml_node *stage,
                              struct error *err) {
    for (unsigned i = 0; config_stage_names[i]; i++)
        if (strcmp(config_stage_names[i], stage->text) == 0) reader->stages = 1u << i;
    if (reader->stages) return STATUS_OK;
    error_usage(err, "'%.100s' is neither sft nor grpo", stage->text);
    if (stage->line) error_prefix(err, "stage");
    put_place(reader, "stage", stage->line, err);
    return STATUS_USAGE;
}

/* The stage that the last of the words about it names. */
static enum status stage_of_words(struct config_reader *reader, const char *const *words, size_t count,
                                  struct error *err) {
    static const char prefix[] = "stage=";
    for (size_t i = count; i-- > 0;) {
        if (strncmp(words[i], prefix, strlen(prefix)) != 0) continue;
        const struct yaml_node stage = {.text = (char *)words[i] + strlen(prefix)};
        return take_stage(reader, &stage, err);
    }
    return STATUS_OK;
}

static enum status read_file(struct config_reader *reader, const struct yaml_node **map, struct error *err) {
    struct yaml_node *tree;
    enum status status = yaml_read_file(reader->path, &tree, err);
    if (status == STATUS_OK) status = adopt(reader, tree, err);
    if (status != STATUS_OK) return status;
    *map = tree;
    if (tree->kind == YAML_MAP) return STATUS_OK;
    error_usage(err, "not made of lines 'key: value'");
    put_place(reader, "", tree->line, err);
    return STATUS_USAGE;
}

/* "optimizer.learning_rate" is learning_rate of a section. */
static void strip_sections(const struct config_reader *reader, char *key) {
    struct config_match match;
    char *dot;
    while (!config_key_find(key, reader->stages, &match) && (dot = strchr(key, '.')))
        memmove(key, dot + 1, strlen(dot + 1) + 1);
}

static enum status collect_word(struct config_reader *reader, const char *word, struct error *err) {
    const char *value = strchr(word, '=');
    if (!value || value == word)
        return error_usage(err, "argument '%.100s': not of the form key=value", word);
    char *key = memory_text(word, (size_t)(value - word), "an argument", err);
    if (!key) return STATUS_FAILED;
    strip_sections(reader, key);
    char place[LONGEST_NAME + 16];
    snprintf(place, sizeof(place), "argument '%.100s'", key);
    struct yaml_node *tree;
    enum status status = yaml_read_word(value + 1, place, &tree, err);
    if (status != STATUS_OK) {
        free(key);
        return status;
    }
    tree->key = key;
    status = adopt(reader, tree, err);
    return status == STATUS_OK ? collect_entry(reader, tree, "", err) : status;
}

enum status config_collect(struct config_reader *reader, const char *const *words, size_t count,
                           struct error *err) {
    const struct yaml_node *map = NULL;
    enum status status = stage_of_words(reader, words, count, err);
    if (status == STATUS_OK && reader->path) status = read_file(reader, &map, err);
    const struct yaml_node *stage = status == STATUS_OK && !reader->stages && map ? find_stage(map) : NULL;
    if (stage) status = take_stage(reader, stage, err);
    if (!reader->stages) reader->stages = 1u << TRAIN_STAGE_SFT;
    if (status == STATUS_OK && map) status = collect_entries(reader, map, "", err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) status = collect_word(reader, words[i], err);
    return status;
}

void config_reader_free(struct config_reader *reader) {
    for (size_t i = 0; i < reader->tree_count; i++) yaml_tree_free(reader->trees[i]);
    free(reader->trees);
    free(reader->settings);
    text_free(&reader->notes);
}
