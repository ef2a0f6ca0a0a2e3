#include <string.h>

#include "base/json.h"
#include "train/config_keys.h"

static json_t *names_json(const struct train_names *names) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < names->count; i++)
        if (json_array_append_new(list, json_string(names->names[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* Keys of other kinds are put together with others or have no member of the configuration: see below. */
static json_t *value_json(const struct config_key *key, const void *member) {
    const char *const *string = member;
    switch (key->kind) {
    case CONFIG_BOOL: return json_boolean(*(const bool *)member);
    case CONFIG_INTEGER:
    case CONFIG_SIZE: return json_integer((json_int_t) * (const int64_t *)member);
    case CONFIG_NUMBER:
    case CONFIG_INTERVAL: return json_from_double(*(const double *)member);
    case CONFIG_STRING: return *string ? json_string(*string) : json_null();
    case CONFIG_NAMES: return names_json(member);
    case CONFIG_CHOICE: return json_string(key->choices[*(const int *)member]);
    default: return json_null();
    }
}

static bool add_group(json_t *object, const struct config_group *group, const struct train_config *config) {
    const size_t begin = offsetof(struct config_values, config);
    for (size_t k = 0; k < group->count; k++) {
        const struct config_key *key = &group->keys[k];
        bool kept = key->kind != CONFIG_ANY && key->kind != CONFIG_MAP && key->offset >= begin &&
                    key->offset < begin + sizeof *config;
        if (!kept || key->own) continue;
        const void *member = (const char *)config + (key->offset - begin);
        if (json_object_set_new(object, key->name, value_json(key, member)) != 0) return false;
    }
    return true;
}

/* What several keys say together, or what a word stands for. */
static bool add_resolved(json_t *object, const struct train_config *config) {
    const char *folder = config->resume == TRAIN_RESUME_FOLDER ? config->resume_folder : NULL;
    return json_object_set_new(object, "lr_scheduler_type", json_string(config->lr_scheduler_type)) == 0 &&
           json_object_set_new(object, "save_dtype", json_string(dtype_name(config->save_dtype))) == 0 &&
           json_object_set_new(object, "resume_from_checkpoint",
                               folder ? json_string(folder) : json_integer(config->resume)) == 0;
}

json_t *train_config_json(const struct train_config *config) {
    json_t *object = json_object();
    const struct config_group *group;
    bool made = object && add_resolved(object, config);
    for (size_t g = 0; made && (group = config_group_at(g)); g++)
        if (group->role == CONFIG_USED && group->stages & 1u << config->stage)
            made = add_group(object, group, config);
    if (made) return object;
    json_decref(object);
    return NULL;
}
