/* Scenes of the demonstration world: a coloured shape that moves over textured ground, drawn frame by frame.
 * A scene follows from seed and number alone. */
#ifndef VS2_DATA_SYNTH_SCENE_H
#define VS2_DATA_SYNTH_SCENE_H

#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct synth_scene {
    int width, height, frames;        /* pixels, frames */
    int shape, color, motion, ground; /* entries of the tables in synth_scene.c */
    double size;                      /* half the shape's extent, as a share of the height */
    double phase;                     /* where on its way the shape begins, in [0, 1) */
    uint64_t texture_seed;
};

struct synth_scene synth_scene_draw(uint64_t seed, uint32_t number, int width, int height, int frames);

/* Appends what a text-to-video model would have been asked for: "A red circle moves from left to right over
 * green grass." */
void synth_scene_prompt(const struct synth_scene *scene, struct text *prompt);

/* Paints the ground, width * height RGB pixels. It is the same in every frame. */
void synth_scene_ground(const struct synth_scene *scene, uint8_t *rgb);

/* Paints the shape as it stands in a frame over a copy of the ground. */
void synth_scene_shape(const struct synth_scene *scene, int frame, uint8_t *rgb);

#endif
