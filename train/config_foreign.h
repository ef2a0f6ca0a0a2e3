/* The part of the table of keys (train/config_keys.h) for keys that other tools have and vs2-train has not.
 */
#ifndef VS2_TRAIN_CONFIG_FOREIGN_H
#define VS2_TRAIN_CONFIG_FOREIGN_H

#include "train/config_keys.h"

extern const struct config_group config_foreign_groups[];
extern const size_t config_foreign_group_count;

#endif
