#include "cli/train_keys.h"

#include <string.h>

#include "cli/wrap.h"
#include "train/config_keys.h"

enum { INDENT_NAMES = 2, INDENT = 6, WIDTH = 80 };

static void help_key(struct text *out, const struct config_key *key, enum config_role role) {
    struct text words = {0}, names = {0};
    text_append_string(&names, key->name);
    for (int i = 0; i < CONFIG_ALIASES && key->aliases[i]; i++) text_format(&names, ", %s", key->aliases[i]);
    text_append_string(out, "  ");
    if (names.data) wrap_text(out, names.data, INDENT_NAMES, INDENT_NAMES, WIDTH);
    text_free(&names);
    text_append_string(out, "\n      ");
    text_append_string(&words, key->help);
    if (key->kind == CONFIG_CHOICE && role == CONFIG_USED)
        for (int i = 0; key->choices[i]; i++)
            text_format(&words, "%s%s", i ? ", " : "; one of ", key->choices[i]);
    if (key->kind != CONFIG_MAP)
        text_format(&words, " (%s: %s%s%s)", role == CONFIG_FIXED ? "only" : "default",
                    key->standard ? key->standard : "null", key->grpo ? "; stage grpo: " : "",
                    key->grpo ? key->grpo : "");
    if (words.data) wrap_text(out, words.data, INDENT, INDENT, WIDTH);
    text_append_string(out, "\n");
    text_free(&words);
}

static void help_names(struct text *out, const char *const *names) {
    struct text words = {0};
    for (int i = 0; names[i]; i++) text_format(&words, "%s%s", i ? ", " : "", names[i]);
    text_append_string(out, "      ");
    if (words.data) wrap_text(out, words.data, INDENT, INDENT, WIDTH);
    text_append_string(out, "\n");
    text_free(&words);
}

void train_keys_help(struct text *out) {
    const struct config_group *group;
    bool ignored = false;
    for (size_t g = 0; (group = config_group_at(g)); g++) {
        if (group->role == CONFIG_IGNORED && !ignored)
            text_append_string(out,
                               "\nKeys without a meaning here, which are accepted and named in a note\n");
        ignored = group->role == CONFIG_IGNORED;
        text_format(out, ignored ? "  %s\n" : "\n%s\n", group->title);
        for (size_t i = 0; i < group->count; i++) help_key(out, &group->keys[i], group->role);
        if (group->names) help_names(out, group->names);
    }
}
