#include "data/synth_fault.h"

#include <math.h>

#include "base/random.h"

/* ---- Movement ---------------------------------------------------------------------------------------- */

struct moment {
    int beat;
    double way;    /* as synth_way */
    bool sideways; /* the direction of travel */
};

typedef void movement_function(double amount, const struct moment *moment, struct synth_placement *place);

/* On every other beat it is off its line. */
static void jump(double amount, const struct moment *moment, struct synth_placement *place) {
    if (moment->beat % 2 == 0) return;
    if (moment->sideways)
        place->y += amount;
    else
        place->x += amount;
}

/* For one beat it is half its way ahead, and then back. `amount` of each four pairs of beats are so. */
static void teleport(double amount, const struct moment *moment, struct synth_placement *place) {
    static const int order[4] = {1, 3, 0, 2}; /* which of the pairs come first */
    double *along = moment->sideways ? &place->x : &place->y;
    if (moment->beat % 2 == 0 || order[moment->beat / 2 % 4] >= (int)amount) return;
    *along = 0.15 + fmod(*along - 0.15 + 0.35, 0.7);
}

/* On every other beat it is flat and wide. */
static void deform(double amount, const struct moment *moment, struct synth_placement *place) {
    if (moment->beat % 2 == 0) return;
    place->width = 1 + amount;
    place->height = 1 / (1 + amount);
}

/* It is pulled off its line ever faster, up or to the side. */
static void drift(double amount, const struct moment *moment, struct synth_placement *place) {
    double off = amount * (0.35 - moment->way * moment->way);
    if (moment->sideways)
        place->y += off;
    else
        place->x += off;
}

static const struct {
    const char *name;
    movement_function *move;
    double amounts[SYNTH_STRENGTHS]; /* by strength */
} movements[] = {
    {"jumping", jump, {0, 0.08, 0.16, 0.26, 0.38}}, /* shares of the picture */
    {"teleporting", teleport, {0, 1, 2, 3, 4}},     /* pairs of beats of four */
    {"deforming", deform, {0, 0.3, 0.7, 1.2, 2}},   /* shares of its size */
    {"floating", drift, {0, 0.2, 0.4, 0.6, 0.85}},  /* shares of the picture */
};

int synth_beat(const struct synth_scene *scene, int frame) {
    return 2 * frame / scene->fps;
}

void synth_fault_place(const struct synth_fault *fault, const struct synth_scene *scene, int frame,
                       struct synth_placement *place) {
    const struct moment moment = {.beat = synth_beat(scene, frame),
                                  .way = synth_way(scene, frame),
                                  .sideways = synth_moves_sideways(&scene->look)};
    if (fault->strength == 0) return;
    movements[fault->kind].move(movements[fault->kind].amounts[fault->strength], &moment, place);
}

/* ---- Picture ----------------------------------------------------------------------------------------- */

struct picture {
    uint8_t *rgb;
    int width, height;
    int frame, beat;
    uint64_t seed;
    float *scratch;
};

typedef void picture_function(double amount, const struct picture *picture);

static uint8_t to_byte(double value) {
    return (uint8_t)(fmin(255, fmax(0, value)) + 0.5);
}

/* Averages `count` pixels, `step` bytes apart, over 2 * radius + 1 of them; the ends repeat. */
static void average_line(uint8_t *line, int count, size_t step, int radius, float *scratch) {
    for (int c = 0; c < 3; c++) {
        float sum = 0;
        for (int i = 0; i < count; i++) scratch[i] = line[(size_t)i * step + (size_t)c];
        for (int i = -radius; i <= radius; i++) sum += scratch[i < 0 ? 0 : i < count ? i : count - 1];
        for (int i = 0; i < count; i++) {
            line[(size_t)i * step + (size_t)c] = to_byte((double)sum / (2 * radius + 1));
            int leaves = i - radius, enters = i + radius + 1;
            sum += scratch[enters < count ? enters : count - 1] - scratch[leaves > 0 ? leaves : 0];
        }
    }
}

/* Three box filters come near to a Gaussian. `amount` is the radius of each as a share of the height. */
static void blur(double amount, const struct picture *picture) {
    const size_t stride = 3 * (size_t)picture->width;
    const int radius = (int)fmax(1, amount * picture->height + 0.5);
    for (int pass = 0; pass < 3; pass++) {
        for (int y = 0; y < picture->height; y++)
            average_line(picture->rgb + (size_t)y * stride, picture->width, 3, radius, picture->scratch);
        for (int x = 0; x < picture->width; x++)
            average_line(picture->rgb + 3 * (size_t)x, picture->height, stride, radius, picture->scratch);
    }
}

/* Grey grains, other ones in each frame; `amount` is the greatest change of a level. */
static void grain(double amount, const struct picture *picture) {
    const size_t pixels = (size_t)picture->width * (size_t)picture->height;
    uint32_t words[4];
    for (size_t i = 0; i < pixels; i++) {
        if (i % 4 == 0)
            random_words((struct random_key){.seed = picture->seed,
                                             .stream = (uint32_t)picture->frame,
                                             .position = i / 4},
                         words);
        double change = amount * (2 * (words[i % 4] * 0x1p-32) - 1);
        for (int c = 0; c < 3; c++)
            picture->rgb[3 * i + (size_t)c] = to_byte(picture->rgb[3 * i + (size_t)c] + change);
    }
}

static void average_block(const struct picture *picture, int left, int top, int side) {
    const int right = left + side < picture->width ? left + side : picture->width;
    const int bottom = top + side < picture->height ? top + side : picture->height;
    double sums[3] = {0};
    for (int pass = 0; pass < 2; pass++)
        for (int y = top; y < bottom; y++)
            for (int x = left; x < right; x++)
                for (int c = 0; c < 3; c++) {
                    uint8_t *value = picture->rgb + 3 * ((size_t)y * (size_t)picture->width + (size_t)x) + c;
                    if (pass == 0)
                        sums[c] += *value;
                    else
                        *value = to_byte(sums[c] / ((right - left) * (bottom - top)));
                }
}

/* Squares of one colour; `amount` is their side as a share of the height. */
static void blocks(double amount, const struct picture *picture) {
    const int side = (int)fmax(2, amount * picture->height + 0.5);
    for (int y = 0; y < picture->height; y += side)
        for (int x = 0; x < picture->width; x += side) average_block(picture, x, y, side);
}

/* Brighter and darker from beat to beat, by that share. */
static void flicker(double amount, const struct picture *picture) {
    const size_t bytes = 3 * (size_t)picture->width * (size_t)picture->height;
    const double factor = picture->beat % 2 == 0 ? 1 + amount / 2 : 1 - amount;
    for (size_t i = 0; i < bytes; i++) picture->rgb[i] = to_byte(picture->rgb[i] * factor);
}

static const struct {
    const char *name;
    picture_function *spoil;
    double amounts[SYNTH_STRENGTHS];
} pictures[] = {
    {"blur", blur, {0, 0.012, 0.024, 0.048, 0.095}},
    {"noise", grain, {0, 30, 70, 120, 200}},
    {"blocking", blocks, {0, 0.045, 0.09, 0.14, 0.21}},
    {"flicker", flicker, {0, 0.2, 0.4, 0.6, 0.85}},
};

void synth_fault_picture(const struct synth_fault *fault, const struct synth_scene *scene, int frame,
                         uint8_t *rgb, float *scratch) {
    const struct picture picture = {.rgb = rgb,
                                    .width = scene->width,
                                    .height = scene->height,
                                    .frame = frame,
                                    .beat = synth_beat(scene, frame),
                                    .seed = scene->texture_seed,
                                    .scratch = scratch};
    if (fault->strength == 0) return;
    pictures[fault->kind].spoil(pictures[fault->kind].amounts[fault->strength], &picture);
}

/* ---- Names ------------------------------------------------------------------------------------------- */

int synth_fault_kinds(enum synth_dimension dimension) {
    switch (dimension) {
    case SYNTH_VISUAL: return sizeof pictures / sizeof *pictures;
    case SYNTH_PHYSICAL: return sizeof movements / sizeof *movements;
    default: return SYNTH_ALIGNED;
    }
}

const char *synth_fault_name(enum synth_dimension dimension, int kind) {
    switch (dimension) {
    case SYNTH_VISUAL: return pictures[kind].name;
    case SYNTH_PHYSICAL: return movements[kind].name;
    default: return synth_attribute_name((enum synth_attribute)kind);
    }
}
