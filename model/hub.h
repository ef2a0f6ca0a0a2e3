/* Where a checkpoint lies on this machine. */
#ifndef VS2_MODEL_HUB_H
#define VS2_MODEL_HUB_H

#include "base/error.h"

/* The folder of a checkpoint: `name` itself when it is a folder, else the newest snapshot (refs/main first)
 * of the hub repository `name` in HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub. When absent, the
 * error tells the command that downloads it. free() the result. */
char *hub_find(const char *name, struct error *err);

#endif
