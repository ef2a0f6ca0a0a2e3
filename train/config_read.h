/* Between the parts that read a training configuration: what is given is collected (config_collect.c), each
 * value is stored by its kind (config_store.c), then values that belong together are checked and put together
 * (config_resolve.c). */
#ifndef VS2_TRAIN_CONFIG_READ_H
#define VS2_TRAIN_CONFIG_READ_H

#include "base/text.h"
#include "base/yaml.h"
#include "train/config_keys.h"

/* A key that was given. */
struct config_setting {
    struct config_match match;
    const struct yaml_node *node; /* its value; on line 0 when it comes from a word */
};

struct config_reader {
    const char *path; /* of the file, or NULL */
    unsigned stages; /* set of 1u << enum train_stage whose keys are understood: of the one that is trained */
    struct config_setting *settings;
    size_t count, capacity;
    struct yaml_node **trees; /* that the settings point into */
    size_t tree_count, tree_capacity;
    struct text notes;
};

/* Finds out the stage, and collects what the file at reader->path sets (NULL: there is none), each key once;
 * then what "key=value" words set in its place. */
enum status config_collect(struct config_reader *reader, const char *const *words, size_t count,
                           struct error *err);
void config_reader_free(struct config_reader *reader);

/* The setting of the key, or NULL when it was not given. */
const struct config_setting *config_setting_find(const struct config_reader *reader, const char *key);
/* Whether the key was given, and not as null. */
bool config_is_given(const struct config_reader *reader, const char *key);

/* Puts "FILE:LINE: KEY" or "argument 'KEY'" in front of the error. Returns STATUS_USAGE. */
enum status config_fail(const struct config_reader *reader, const struct config_setting *setting,
                        struct error *err);

/* Stores the key's default in the stage in the values, or what the node says (null: the default). The error
 * is without its place. */
enum status config_store_default(const struct config_key *key, enum train_stage stage,
                                 struct config_values *values, struct error *err);
enum status config_store(const struct config_key *key, const struct yaml_node *node,
                         struct config_values *values, struct error *err);

void config_names_free(struct train_names *names);

/* Fails when the node is not what a key of CONFIG_FIXED is fixed at; the error is without its place. */
enum status config_check_fixed(const struct config_key *key, const struct yaml_node *node, struct error *err);

/* Puts together what several keys say, and checks them against each other. */
enum status config_resolve(struct config_reader *reader, struct config_values *values, struct error *err);

/* config_resolve_grpo.c: those of stage grpo. */
enum status config_resolve_grpo(struct config_reader *reader, struct config_values *values,
                                struct error *err);

/* The error in front of which the place of the key comes, or its name where it was not given. Returns
 * STATUS_USAGE. */
enum status config_fail_at(const struct config_reader *reader, const char *key, struct error *err);

#endif
