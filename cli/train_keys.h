/* The list of configuration keys that vs2-train shows. */
#ifndef VS2_CLI_TRAIN_KEYS_H
#define VS2_CLI_TRAIN_KEYS_H

#include "base/text.h"

/* Appends every key by group: name, meaning and default; of keys without a meaning here the names. */
void train_keys_help(struct text *out);

#endif
