/* The table of all keys of a training configuration: every name that train_config_read understands, what its
 * value may be, where it goes, and what it means. Help, documentation and the hints for mistyped names come
 * from it, too.
 *
 * A stage's keys are groups of their own, so that another stage brings another block. Keys of other tools
 * that a user's file may have are there as well: as fixed where only one value gives what the reference would
 * compute, as ignored where they cannot change the result.
 */
#ifndef VS2_TRAIN_CONFIG_KEYS_H
#define VS2_TRAIN_CONFIG_KEYS_H

#include "train/config.h"

enum config_kind {                  /* the member is a ... */
                   CONFIG_ANY,      /* none: a scalar, list or map of any kind */
                   CONFIG_BOOL,     /* bool */
                   CONFIG_INTEGER,  /* int64_t in [low, high] */
                   CONFIG_NUMBER,   /* double in [low, high] */
                   CONFIG_INTERVAL, /* double: whole, or a share between 0 and 1 */
                   CONFIG_STRING,   /* char * to be freed, or NULL */
                   CONFIG_NAMES,    /* struct train_names, from a list or from words between commas */
                   CONFIG_NUMBERS,  /* struct train_numbers, the same */
                   CONFIG_CHOICE,   /* int, the index of the word in `choices` */
                   CONFIG_SIZE,     /* int64_t bytes: 1500000, 512MiB, 2 GB */
                   CONFIG_MAP,      /* none: its entries are the keys "NAME.ENTRY" */
};

enum { CONFIG_ALIASES = 2 };

struct config_key {
    const char *name;
    const char *aliases[CONFIG_ALIASES]; /* other names; NULL where there are no more */
    enum config_kind kind;
    size_t offset;        /* of the member in struct config_values */
    const char *standard; /* the default as it would be written; NULL: null, the member keeps what it has */
    const char *grpo;     /* the default in stage grpo where it is another one; NULL: it is the same */
    double low, high;     /* range, both included; both 0: any */
    bool own; /* each of several processes may have its own: places on its machine, what it shows */
    const char *const *choices;
    const char *help; /* what it means, or why only the default can be had; no full stop */
};

enum config_role {
    CONFIG_USED,    /* kept in the member */
    CONFIG_FIXED,   /* accepted at its default, an error with any other value */
    CONFIG_IGNORED, /* accepted, and named in the note of keys that have no meaning here */
};

struct config_group {
    const char *title;
    enum config_role role;
    unsigned stages; /* set of 1u << enum train_stage */
    const struct config_key *keys;
    size_t count;
    const char *const *names; /* of ignored keys, ends with NULL; they have no `keys` */
};

/* The groups in the order of the help; NULL after the last. */
const struct config_group *config_group_at(size_t index);

struct config_match {
    const struct config_group *group;
    const struct config_key *key; /* NULL: it is ignored */
    const char *name; /* the name in the table, which may be another than the alias that matched */
};

/* Finds the key of that name or alias in a stage of the set. */
bool config_key_find(const char *name, unsigned stages, struct config_match *match);

/* The name or alias in the stages that is nearest to the name, or NULL when none is near. */
const char *config_key_nearest(const char *name, unsigned stages);

extern const char *const config_stage_names[]; /* choices of `stage`, ends with NULL */
enum config_save_dtype { CONFIG_SAVE_AUTO, CONFIG_SAVE_BF16, CONFIG_SAVE_F32 };

/* What the table's members are in: the configuration, and values that still have to be put together. */
struct config_values {
    struct train_config config;
    int lr_scheduler; /* index of the choices */
    int save_dtype;   /* enum config_save_dtype */
    bool disable_gradient_checkpointing, use_cpu;
    char *deepspeed, *resume;
    struct train_names report_to;
    double min_lr_rate;
    int frame_policy, loss_type, scale_rewards, importance_sampling_level; /* indices of the choices */
    bool len_control, temporal, shuffle_dataset;
    struct train_numbers reward_weights;
};

/* Choices of stage grpo; scale_rewards also knows true (group) and false (none). */
extern const char *const config_loss_names[], *const config_scale_names[], *const config_level_names[];

#endif
