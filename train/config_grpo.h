/* The keys of stage grpo: the names of Video-R1's command line and of TRL's GRPOConfig. */
#ifndef VS2_TRAIN_CONFIG_GRPO_H
#define VS2_TRAIN_CONFIG_GRPO_H

#include "train/config_keys.h"

extern const struct config_group config_grpo_groups[];
extern const size_t config_grpo_group_count;

#endif
