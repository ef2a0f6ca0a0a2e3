#include "data/synth_scene.h"

#include <math.h>

#include "base/random.h"

/* ---- What there is ----------------------------------------------------------------------------------- */

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

static const struct {
    const char *name;
    uint8_t rgb[3];
} colors[] = {
    {"red", {214, 40, 40}},     {"blue", {35, 87, 200}},    {"yellow", {245, 205, 47}},
    {"purple", {128, 52, 168}}, {"orange", {240, 128, 24}}, {"white", {240, 240, 240}},
};

/* The centre at time t in [0, 1], in shares of width and height. */
typedef void path_function(double t, double *x, double *y);

static void path_right(double t, double *x, double *y) {
    *x = 0.1 + 0.8 * t;
    *y = 0.5;
}

static void path_left(double t, double *x, double *y) {
    *x = 0.9 - 0.8 * t;
    *y = 0.5;
}

static void path_fall(double t, double *x, double *y) {
    *x = 0.5;
    *y = 0.15 + 0.65 * t * t;
}

static void path_rise(double t, double *x, double *y) {
    *x = 0.5;
    *y = 0.85 - 0.7 * t;
}

static void path_around(double t, double *x, double *y) {
    *x = 0.5 + 0.3 * cos(2 * M_PI * t);
    *y = 0.5 + 0.3 * sin(2 * M_PI * t);
}

static void path_bounce(double t, double *x, double *y) {
    *x = 0.15 + 0.7 * t;
    *y = 0.8 - 0.5 * fabs(sin(3 * M_PI * t));
}

static const struct {
    const char *words; /* after the noun */
    path_function *path;
} motions[] = {
    {"moves from left to right", path_right}, {"moves from right to left", path_left},
    {"falls to the ground", path_fall},       {"rises slowly", path_rise},
    {"moves in a circle", path_around},       {"bounces to the right", path_bounce},
};

static const struct {
    const char *words;
    uint8_t dark[3], light[3];
    double cell_x, cell_y; /* the texture's grain, in pixels */
} grounds[] = {
    {"over green grass", {34, 84, 30}, {96, 152, 60}, 3, 9},
    {"over yellow sand", {182, 152, 96}, {222, 198, 142}, 5, 5},
    {"over grey stone", {84, 86, 90}, {140, 142, 146}, 14, 10},
    {"over blue water", {18, 60, 104}, {58, 118, 168}, 24, 5},
};

enum {
    SHAPES = sizeof shapes / sizeof *shapes,
    COLORS = sizeof colors / sizeof *colors,
    MOTIONS = sizeof motions / sizeof *motions,
    GROUNDS = sizeof grounds / sizeof *grounds,
};

/* ---- Drawing lots ------------------------------------------------------------------------------------ */

struct synth_scene synth_scene_draw(uint64_t seed, uint32_t number, int width, int height, int frames) {
    uint32_t words[4], more[4];
    random_words((struct random_key){.seed = seed, .sample = number}, words);
    random_words((struct random_key){.seed = seed, .sample = number, .position = 1}, more);
    return (struct synth_scene){
        .width = width,
        .height = height,
        .frames = frames,
        .shape = (int)(words[0] % SHAPES),
        .color = (int)(words[1] % COLORS),
        .motion = (int)(words[2] % MOTIONS),
        .ground = (int)(words[3] % GROUNDS),
        .size = 0.10 + 0.08 * (more[0] * 0x1p-32),
        .phase = 0.1 * (more[1] * 0x1p-32),
        .texture_seed = (uint64_t)more[2] << 32 | more[3],
    };
}

void synth_scene_prompt(const struct synth_scene *scene, struct text *prompt) {
    const char *color = colors[scene->color].name;
    const char *article = color[0] == 'o' ? "An" : "A";
    text_format(prompt, "%s %s %s %s %s.", article, color, shapes[scene->shape].name,
                motions[scene->motion].words, grounds[scene->ground].words);
}

/* ---- Painting ---------------------------------------------------------------------------------------- */

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

void synth_scene_ground(const struct synth_scene *scene, uint8_t *rgb) {
    const double cell_x = grounds[scene->ground].cell_x, cell_y = grounds[scene->ground].cell_y;
    const uint8_t *dark = grounds[scene->ground].dark, *light = grounds[scene->ground].light;
    for (int y = 0; y < scene->height; y++)
        for (int x = 0; x < scene->width; x++) {
            double fine = noise(scene->texture_seed, x / cell_x, y / cell_y);
            double coarse = noise(~scene->texture_seed, x / (8 * cell_x), y / (8 * cell_y));
            double share = 0.6 * fine + 0.4 * coarse;
            for (int c = 0; c < 3; c++) *rgb++ = (uint8_t)(dark[c] + share * (light[c] - dark[c]) + 0.5);
        }
}

/* How much of a pixel the shape covers, from the distance of its middle to the edge in pixels. */
static double coverage(double distance) {
    return fmin(1, fmax(0, 0.5 - distance));
}

void synth_scene_shape(const struct synth_scene *scene, int frame, uint8_t *rgb) {
    const uint8_t *color = colors[scene->color].rgb;
    const double size = scene->size * scene->height;
    double way = scene->phase + (1 - scene->phase) * frame / fmax(1, scene->frames - 1);
    double center_x, center_y;
    motions[scene->motion].path(way, &center_x, &center_y);
    center_x *= scene->width;
    center_y *= scene->height;

    int left = (int)fmax(0, center_x - size - 2), right = (int)fmin(scene->width, center_x + size + 3);
    int top = (int)fmax(0, center_y - size - 2), bottom = (int)fmin(scene->height, center_y + size + 3);
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++) {
            double inside_x = (x + 0.5 - center_x) / size, inside_y = (y + 0.5 - center_y) / size;
            double share = coverage(size * shapes[scene->shape].distance(inside_x, inside_y));
            uint8_t *pixel = rgb + 3 * ((size_t)y * (size_t)scene->width + (size_t)x);
            for (int c = 0; c < 3; c++) pixel[c] = (uint8_t)(pixel[c] + share * (color[c] - pixel[c]) + 0.5);
        }
}
