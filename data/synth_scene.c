#include "data/synth_scene.h"

#include <math.h>
#include <string.h>

/* ---- What there is ----------------------------------------------------------------------------------- */

static const struct {
    const char *name, *article; /* the article opens the prompt */
    double size;                /* half of a shape's extent, as a share of the height */
} counts[] = {{"one", "A", 0.22}, {"two", "Two", 0.19}, {"three", "Three", 0.145}};

static const struct {
    const char *name;
    uint8_t rgb[3];
} colors[] = {
    {"red", {226, 32, 32}},     {"blue", {24, 64, 232}},    {"yellow", {250, 220, 30}},
    {"purple", {150, 30, 190}}, {"white", {245, 245, 245}}, {"black", {12, 12, 12}},
};

/* Signed distance from the edge, negative inside, of a shape of extent 1 around the origin; y points down. */
typedef double distance_function(double x, double y);

static double circle_distance(double x, double y) {
    return hypot(x, y) - 1;
}

static double square_distance(double x, double y) {
    return fmax(fabs(x), fabs(y)) - 0.85;
}

/* Equal sides, standing on one: the farthest of three edges. */
static double triangle_distance(double x, double y) {
    const double half = 0.5, root = 0.86602540378443865; /* cosine and sine of 60 degrees */
    double base = y - half;
    double side = fabs(x) * root - y * half - half;
    return fmax(base, side);
}

static double ring_distance(double x, double y) {
    return fabs(hypot(x, y) - 0.75) - 0.25;
}

static const struct {
    const char *name;
    distance_function *distance;
} shapes[] = {
    {"circle", circle_distance},
    {"square", square_distance},
    {"triangle", triangle_distance},
    {"ring", ring_distance},
};

/* How far along its axis something is at time t in [0, 1], in shares of the picture. */
typedef double course_function(double t);

static double course_forward(double t) {
    return 0.15 + 0.7 * t;
}

static double course_back(double t) {
    return 0.85 - 0.7 * t;
}

static double course_falling(double t) {
    return 0.15 + 0.7 * (0.4 + 0.6 * t) * t;
}

static const struct {
    const char *name, *verb; /* the verb of one shape; of several it loses its s */
    bool sideways;
    course_function *course;
} motions[] = {
    {"right", "moves right", true, course_forward},
    {"left", "moves left", true, course_back},
    {"down", "falls down", false, course_falling},
    {"up", "rises up", false, course_back},
};

static const struct {
    const char *name;
    uint8_t dark[3], light[3];
    double cell_x, cell_y; /* the texture's grain, in pixels of a picture 180 high */
} grounds[] = {
    {"green grass", {52, 78, 40}, {148, 176, 122}, 10, 16},
    {"yellow sand", {104, 88, 48}, {190, 172, 132}, 12, 12},
    {"grey stone", {64, 66, 70}, {166, 168, 172}, 18, 14},
    {"blue water", {40, 72, 96}, {136, 166, 192}, 24, 10},
};

enum {
    COUNTS = sizeof counts / sizeof *counts,
    COLORS = sizeof colors / sizeof *colors,
    SHAPES = sizeof shapes / sizeof *shapes,
    MOTIONS = sizeof motions / sizeof *motions,
    GROUNDS = sizeof grounds / sizeof *grounds,
};

/* ---- Words ------------------------------------------------------------------------------------------- */

int synth_value_count(enum synth_attribute attribute) {
    static const int of[SYNTH_ATTRIBUTES] = {COUNTS, COLORS, SHAPES, MOTIONS, GROUNDS};
    return of[attribute];
}

const char *synth_attribute_name(enum synth_attribute attribute) {
    static const char *const names[SYNTH_ATTRIBUTES] = {"count", "color", "shape", "motion", "ground"};
    return names[attribute];
}

const char *synth_value_name(enum synth_attribute attribute, int value) {
    switch (attribute) {
    case SYNTH_COUNT: return counts[value].name;
    case SYNTH_COLOR: return colors[value].name;
    case SYNTH_SHAPE: return shapes[value].name;
    case SYNTH_MOTION: return motions[value].name;
    default: return grounds[value].name;
    }
}

void synth_prompt(const struct synth_look *look, struct text *prompt) {
    const int count = look->value[SYNTH_COUNT];
    const char *verb = motions[look->value[SYNTH_MOTION]].verb;
    const char *shape = shapes[look->value[SYNTH_SHAPE]].name;
    const char *color = colors[look->value[SYNTH_COLOR]].name;
    text_format(prompt, "%s %s %s", counts[count].article, color, shape);
    if (count == 0) {
        text_format(prompt, " %s", verb);
    } else {
        int length = (int)strcspn(verb, " ");
        text_format(prompt, "s %.*s%s", length - 1, verb, verb + length);
    }
    text_format(prompt, " over %s.", grounds[look->value[SYNTH_GROUND]].name);
}

/* ---- Ground ------------------------------------------------------------------------------------------ */

/* A number in [0, 1) for a corner of the texture's grid (the finaliser of splitmix64). */
static double corner(uint64_t seed, int64_t x, int64_t y) {
    uint64_t h = seed ^ (uint64_t)x * 0x9E3779B97F4A7C15u ^ (uint64_t)y * 0xC2B2AE3D27D4EB4Fu;
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 27) * 0x94D049BB133111EBu;
    return (double)(h >> 11) * 0x1p-53;
}

/* Noise that is smooth between the corners of a grid, in [0, 1). */
static double noise(uint64_t seed, double x, double y) {
    int64_t column = (int64_t)floor(x), row = (int64_t)floor(y);
    double across = x - (double)column, down = y - (double)row;
    across *= across * (3 - 2 * across);
    down *= down * (3 - 2 * down);
    double above = corner(seed, column, row) * (1 - across) + corner(seed, column + 1, row) * across;
    double below = corner(seed, column, row + 1) * (1 - across) + corner(seed, column + 1, row + 1) * across;
    return above * (1 - down) + below * down;
}

void synth_paint_ground(const struct synth_scene *scene, uint8_t *rgb) {
    const int ground = scene->look.value[SYNTH_GROUND];
    const double grain = scene->height / 180.0;
    const double cell_x = fmax(2, grounds[ground].cell_x * grain);
    const double cell_y = fmax(2, grounds[ground].cell_y * grain);
    const uint8_t *dark = grounds[ground].dark, *light = grounds[ground].light;
    for (int y = 0; y < scene->height; y++)
        for (int x = 0; x < scene->width; x++) {
            double fine = noise(scene->texture_seed, x / cell_x, y / cell_y);
            double coarse = noise(~scene->texture_seed, x / (4 * cell_x), y / (4 * cell_y));
            double share = 0.65 * fine + 0.35 * coarse;
            for (int c = 0; c < 3; c++) *rgb++ = (uint8_t)(dark[c] + share * (light[c] - dark[c]) + 0.5);
        }
}

/* ---- Shapes ------------------------------------------------------------------------------------------ */

bool synth_moves_sideways(const struct synth_look *look) {
    return motions[look->value[SYNTH_MOTION]].sideways;
}

double synth_way(const struct synth_scene *scene, int frame) {
    return scene->phase + (1 - scene->phase) * frame / fmax(1, scene->frames - 1);
}

/* Several shapes move side by side. */
struct synth_placement synth_place(const struct synth_scene *scene, int shape, double way) {
    const int count = scene->look.value[SYNTH_COUNT] + 1;
    const double lane = 0.5 + (shape - (count - 1) / 2.0) / (count + 0.2);
    const double along = motions[scene->look.value[SYNTH_MOTION]].course(way);
    const bool sideways = synth_moves_sideways(&scene->look);
    return (struct synth_placement){
        .x = sideways ? along : lane, .y = sideways ? lane : along, .width = 1, .height = 1};
}

/* How much of a pixel the shape covers, from the distance of its middle to the edge in pixels. */
static double coverage(double distance) {
    return fmin(1, fmax(0, 0.5 - distance));
}

void synth_paint_shape(const struct synth_scene *scene, const struct synth_placement *place, uint8_t *rgb) {
    const uint8_t *color = colors[scene->look.value[SYNTH_COLOR]].rgb;
    distance_function *distance = shapes[scene->look.value[SYNTH_SHAPE]].distance;
    const double size = scene->size * counts[scene->look.value[SYNTH_COUNT]].size * scene->height;
    const double half_x = size * place->width, half_y = size * place->height;
    const double center_x = place->x * scene->width, center_y = place->y * scene->height;
    int left = (int)fmax(0, center_x - half_x - 2), right = (int)fmin(scene->width, center_x + half_x + 3);
    int top = (int)fmax(0, center_y - half_y - 2), bottom = (int)fmin(scene->height, center_y + half_y + 3);
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++) {
            double inside_x = (x + 0.5 - center_x) / half_x, inside_y = (y + 0.5 - center_y) / half_y;
            double share = coverage(fmin(half_x, half_y) * distance(inside_x, inside_y));
            uint8_t *pixel = rgb + 3 * ((size_t)y * (size_t)scene->width + (size_t)x);
            for (int c = 0; c < 3; c++) pixel[c] = (uint8_t)(pixel[c] + share * (color[c] - pixel[c]) + 0.5);
        }
}
