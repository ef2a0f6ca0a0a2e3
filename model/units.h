/* The units that passes go through a model by: a process that does not keep a whole model has one of them at
 * a time (train/units.h). */
#ifndef VS2_MODEL_UNITS_H
#define VS2_MODEL_UNITS_H

#include <stdint.h>

enum model_unit {
    UNIT_PATCH_EMBED,
    UNIT_VISION_BLOCK, /* numbered, as layers are */
    UNIT_MERGER,       /* and its norm */
    UNIT_EMBEDDING,
    UNIT_LAYER,
    UNIT_NORM, /* the last one */
    UNIT_HEAD,
    UNIT_KINDS
};

/* Who wants to know where a pass is. Of a model: `enter` is called before a unit's weights are used. Of
 * gradients: `leave` is called when all of a pass has been added to a unit's; a tied head's are the
 * embedding's. Either may be NULL. */
struct unit_watch {
    void (*enter)(void *context, enum model_unit unit, int64_t number);
    void (*leave)(void *context, enum model_unit unit, int64_t number);
    void *context;
};

#endif
