/* What processes of a run must have alike of the configuration. */
#include "base/json.h"
#include "train/config_keys.h"

json_t *train_names_json(const struct train_names *names) {
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
    case CONFIG_NAMES: return train_names_json(member);
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

static bool add_words(json_t *object, const struct train_config *config) {
    const struct {
        const char *name, *word; /* NULL: the stage has none */
    } words[] = {
        {"lr_scheduler_type", config->lr_scheduler_type},
        {"save_dtype", dtype_name(config->save_dtype)},
        {"frame_policy", config->grpo.frame_policy},
        {"loss_type", config->grpo.loss_type},
        {"scale_rewards", config->grpo.scale_rewards},
        {"importance_sampling_level", config->grpo.importance_sampling_level},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].word && json_object_set_new(object, words[i].name, json_string(words[i].word)) != 0)
            return false;
    return true;
}

/* What several keys say together, or what a word stands for; the weights are those of reward_funcs. */
static bool add_resolved(json_t *object, const struct train_config *config) {
    static const char *const ways[] = {"false", "null", "true"}; /* of enum train_resume */
    const struct train_grpo *grpo = &config->grpo;
    const char *resume = config->resume == TRAIN_RESUME_FOLDER ? config->resume_folder : ways[config->resume];
    bool made = add_words(object, config) &&
                json_object_set_new(object, "resume_from_checkpoint", json_string(resume)) == 0;
    if (!made || !grpo->reward_weights) return made;
    json_t *weights = json_array();
    for (int64_t i = 0; made && i < grpo->reward_funcs.count; i++)
        made = json_array_append_new(weights, json_from_double(grpo->reward_weights[i])) == 0;
    return json_object_set_new(object, "reward_weights", weights) == 0 && made;
}

json_t *train_config_json(const struct train_config *config) {
    json_t *object = json_object();
    const struct config_group *group;
    bool made = object != NULL;
    for (size_t g = 0; made && (group = config_group_at(g)); g++)
        if (group->role == CONFIG_USED && group->stages & 1u << config->stage)
            made = add_group(object, group, config);
    if (made && add_resolved(object, config)) return object;
    json_decref(object);
    return NULL;
}
