#include "data/synth_clip.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "data/video_write.h"

/* ---- Drawing lots ------------------------------------------------------------------------------------ */

/* A sequence of random words. */
struct dice {
    struct random_key key;
    uint32_t words[4];
    int left;
};

static uint32_t roll(struct dice *dice) {
    if (dice->left == 0) {
        random_words(dice->key, dice->words);
        dice->key.position++;
        dice->left = 4;
    }
    return dice->words[--dice->left];
}

static int roll_below(struct dice *dice, int limit) {
    return (int)(((uint64_t)roll(dice) * (uint64_t)limit) >> 32);
}

static double roll_uniform(struct dice *dice) {
    return roll(dice) * 0x1p-32;
}

static struct dice dice_take(uint64_t seed, enum synth_stream stream, uint32_t number, uint64_t position) {
    return (struct dice){
        .key = {.seed = seed, .stream = (uint32_t)stream, .sample = number, .position = position}};
}

struct synth_look synth_look_draw(uint64_t seed, enum synth_stream stream, uint32_t number) {
    struct dice dice = dice_take(seed, stream, number, 0);
    struct synth_look look;
    for (int i = 0; i < SYNTH_ATTRIBUTES; i++)
        look.value[i] = roll_below(&dice, synth_value_count((enum synth_attribute)i));
    return look;
}

/* Changes `strength` of the aligned attributes to other values. */
static void misunderstand(struct dice *dice, int strength, struct synth_look *look) {
    int order[SYNTH_ALIGNED];
    for (int i = 0; i < SYNTH_ALIGNED; i++) order[i] = i;
    for (int i = 0; i < strength; i++) {
        int chosen = i + roll_below(dice, SYNTH_ALIGNED - i), attribute = order[chosen];
        int values = synth_value_count((enum synth_attribute)attribute);
        order[chosen] = order[i];
        look->value[attribute] = (look->value[attribute] + 1 + roll_below(dice, values - 1)) % values;
    }
}

struct synth_clip synth_clip_draw(uint64_t seed, enum synth_stream stream, uint32_t number,
                                  const struct synth_format *format, const struct synth_look *asked,
                                  const int strengths[SYNTH_DIMENSIONS]) {
    struct dice dice = dice_take(seed, stream, number, 1 << 16);
    struct synth_clip clip = {
        .asked = *asked,
        .scene = {.width = format->width,
                  .height = format->height,
                  .frames = format->frames,
                  .fps = format->fps,
                  .look = *asked},
    };
    clip.scene.size = 0.9 + 0.2 * roll_uniform(&dice);
    clip.scene.phase = 0.1 * roll_uniform(&dice);
    clip.scene.texture_seed = (uint64_t)roll(&dice) << 32;
    clip.scene.texture_seed |= roll(&dice);
    for (int i = 0; i < SYNTH_DIMENSIONS; i++)
        clip.faults[i] = (struct synth_fault){
            .kind = roll_below(&dice, synth_fault_kinds((enum synth_dimension)i)), .strength = strengths[i]};
    misunderstand(&dice, strengths[SYNTH_ALIGNMENT], &clip.scene.look);
    return clip;
}

int synth_score(const struct synth_clip *clip, enum synth_dimension dimension) {
    return SYNTH_STRENGTHS - clip->faults[dimension].strength;
}

/* ---- Words ------------------------------------------------------------------------------------------- */

/* "Count two as asked, color blue not red, shape circle as asked, motion left not right: two wrong." */
static void comment_alignment(const struct synth_clip *clip, struct text *comment) {
    static const char *const numbers[SYNTH_STRENGTHS] = {"nothing", "one", "two", "three", "all"};
    for (int i = 0; i < SYNTH_ALIGNED; i++) {
        const enum synth_attribute attribute = (enum synth_attribute)i;
        const int asked = clip->asked.value[i], seen = clip->scene.look.value[i];
        text_format(comment, "%s%s %s", i == 0 ? "Seen: " : ", ", synth_attribute_name(attribute),
                    synth_value_name(attribute, seen));
        if (asked == seen)
            text_append_string(comment, " as asked");
        else
            text_format(comment, " not %s", synth_value_name(attribute, asked));
    }
    text_format(comment, ", %s wrong.", numbers[clip->faults[SYNTH_ALIGNMENT].strength]);
}

void synth_comment(const struct synth_clip *clip, enum synth_dimension dimension, struct text *comment) {
    static const char *const degrees[SYNTH_STRENGTHS] = {NULL, "slight", "clear", "strong", "extreme"};
    static const char *const subjects[SYNTH_DIMENSIONS] = {"Picture", NULL, "Movement"};
    const struct synth_fault *fault = &clip->faults[dimension];
    if (dimension == SYNTH_ALIGNMENT)
        comment_alignment(clip, comment);
    else if (fault->strength == 0)
        text_format(comment, "%s: no fault.", subjects[dimension]);
    else
        text_format(comment, "%s: %s, %s.", subjects[dimension], synth_fault_name(dimension, fault->kind),
                    degrees[fault->strength]);
}

/* ---- Rendering --------------------------------------------------------------------------------------- */

struct canvas {
    uint8_t *ground, *picture;
    float *scratch;
};

static void paint_frame(const struct synth_clip *clip, int frame, const struct canvas *canvas) {
    const struct synth_scene *scene = &clip->scene;
    const double way = synth_way(scene, frame);
    memcpy(canvas->picture, canvas->ground, 3 * (size_t)scene->width * (size_t)scene->height);
    for (int shape = 0; shape <= scene->look.value[SYNTH_COUNT]; shape++) {
        struct synth_placement place = synth_place(scene, shape, way);
        synth_fault_place(&clip->faults[SYNTH_PHYSICAL], scene, frame, &place);
        synth_paint_shape(scene, &place, canvas->picture);
    }
    synth_fault_picture(&clip->faults[SYNTH_VISUAL], scene, frame, canvas->picture, canvas->scratch);
}

enum status synth_clip_write(const struct synth_clip *clip, const char *path, struct error *err) {
    const struct synth_scene *scene = &clip->scene;
    const size_t pixels = (size_t)scene->width * (size_t)scene->height;
    const size_t longest = (size_t)(scene->width > scene->height ? scene->width : scene->height);
    enum status status = STATUS_FAILED;
    struct video_writer *writer = NULL;
    struct canvas canvas = {.ground = memory_new(2 * pixels, 3, path, err)};
    if (!canvas.ground) return STATUS_FAILED;
    canvas.picture = canvas.ground + 3 * pixels;
    canvas.scratch = memory_new(longest, 3 * sizeof *canvas.scratch, path, err);
    if (!canvas.scratch) goto err;
    writer = video_writer_open(path, scene->width, scene->height, scene->fps, err);
    if (!writer) goto err;
    synth_paint_ground(scene, canvas.ground);
    for (int frame = 0; frame < scene->frames; frame++) {
        paint_frame(clip, frame, &canvas);
        if (video_writer_frame(writer, canvas.picture, err) != STATUS_OK) goto err;
    }
    status = video_writer_close(writer, err);
    writer = NULL;
err:
    video_writer_abort(writer);
    free(canvas.scratch);
    free(canvas.ground);
    return status;
}
