/* Frames that the device resizes and cuts against those that the host does, to the bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "data/device_frames.h"
#include "data/visual.h"
#include "tests/data/support.h"
#include "tests/device.h"
#include "tests/refuse.h"

static const char *const kinds[] = {"cpu", "guard"};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static bool ok(enum status status, const struct error *err) {
    if (status != STATUS_OK) fail_msg("%s", err->message);
    return true;
}

/* Fails unless the device makes the same patches of the frames. */
static void check_frames(const struct vision_frames *frames, const float *patches, int64_t rows,
                         int64_t columns) {
    float *made = malloc((size_t)(rows * columns) * sizeof *made);
    assert_non_null(made);
    for (int k = 0; k < KINDS; k++) {
        struct device device;
        struct arena arena;
        struct error err = {0};
        test_device_open(kinds[k], &device);
        arena_init(&arena, &device, 1 << 20);
        struct tensor to = arena_tensor(&arena, DTYPE_F32, rows, columns);
        size_t before = arena.in_use;
        vision_write_patches(&arena, to, NULL, frames);
        assert_int_equal(arena.in_use, before);
        ok(device_read(&device, made, to, &err), &err);
        for (int64_t i = 0; i < rows * columns; i++)
            if (made[i] != patches[i])
                fail_msg("%s: row %lld, column %lld: %.9g, not %.9g", kinds[k], (long long)(i / columns),
                         (long long)(i % columns), made[i], patches[i]);
        arena_free(&arena);
        device_close(&device);
    }
    free(made);
}

/* ---- Chains of resizes ------------------------------------------------------------------------------- */

static struct picture random_picture(struct size size, uint64_t seed) {
    struct picture picture;
    struct error err;
    ok(picture_new(size, 3, &picture, &err), &err);
    for (size_t i = 0; i < picture.stride * (size_t)size.height; i++) {
        uint32_t words[4];
        random_words((struct random_key){.seed = seed, .position = i}, words);
        picture.pixels[i] = (uint8_t)(words[0] % 3 ? words[1] : words[2] % 2 * 255); /* many at the ends */
    }
    return picture;
}

/* `order` as vision_frames has it, or NULL. */
static void check_chain(const struct frame_steps *steps, int64_t count, const int64_t *order) {
    const struct patch_config config = patch_config_default();
    struct size to = frame_steps_result(steps);
    int64_t group = to.width * to.height / (config.patch * config.patch), columns = patch_columns(&config);
    int64_t groups = (count + config.temporal - 1) / config.temporal;
    float *patches = calloc((size_t)(groups * group * columns), sizeof *patches);
    assert_non_null(patches);
    struct patch_table table;
    patch_table_fill(&config, &table);
    struct error err = {0};
    struct frame_resizer *resizer = frame_resizer_new(steps, &err);
    struct vision_frames *frames = device_frames_new(steps, count, &config, &err);
    assert_true(resizer && frames);
    frames->order = order;
    for (int64_t place = 0; place < groups * config.temporal; place++) {
        int64_t wanted = order ? order[place] : place, f = wanted < count ? wanted : count - 1;
        struct picture picture = random_picture(steps->from, (uint64_t)f);
        const struct picture *resized;
        device_frames_set(frames, f, &picture);
        ok(frame_resize(resizer, &picture, &resized, &err), &err);
        patches_write(&config, &table, resized->size, resized->pixels, resized->stride,
                      place % config.temporal, patches + place / config.temporal * group * columns);
        picture_free(&picture);
    }
    check_frames(frames, patches, groups * group, columns);
    vision_frames_free(frames);
    frame_resizer_free(resizer);
    free(patches);
}

/* Down, up, along one axis alone, from odd widths, columns first, and several after one another. */
static void chains_are_equal(void **state) {
    (void)state;
    static const struct size shapes[][3] = {
        {{101, 67}, {56, 28}},          {{31, 17}, {84, 56}},  {{28, 90}, {28, 56}},
        {{75, 56}, {140, 56}},          {{60, 200}, {56, 28}}, {{84, 56}, {84, 56}},
        {{200, 13}, {28, 28}},          {{1, 1}, {28, 56}},    {{97, 55}, {61, 43}, {56, 28}},
        {{33, 77}, {29, 31}, {56, 84}},
    };
    static const enum resize_kind kinds_of[] = {RESIZE_PILLOW, RESIZE_TORCH, RESIZE_FLOAT};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int k = 0; k < 3; k++) {
            struct frame_steps steps = {.from = shapes[s][0]};
            for (int i = 1; i < 3 && shapes[s][i].width > 0; i++)
                steps.steps[steps.count++] = (struct frame_step){
                    .kind = i == 1 ? kinds_of[k] : RESIZE_TORCH, .to = shapes[s][i], .own_colours = i == 1};
            check_chain(&steps, 1 + (int64_t)s % 5, NULL);
        }
}

/* Sides that are already right have no step at all. */
static void frames_may_stay(void **state) {
    (void)state;
    check_chain(&(struct frame_steps){.from = {84, 56}}, 3, NULL);
}

/* With the frame that fills the last group in the midst of the others. */
static void frames_in_another_order(void **state) {
    (void)state;
    static const int64_t orders[][4] = {{2, 3, 0, 1}, {3, 1, 2, 0}, {1, 0, 3, 2}};
    for (int i = 0; i < 3; i++)
        for (int64_t count = 3; count <= 4; count++)
            check_chain(&(struct frame_steps){.from = {31, 17},
                                              .steps = {{.kind = RESIZE_TORCH, .to = {56, 28}}},
                                              .count = 1},
                        count, orders[i]);
}

/* Each allocation fails in its turn, with all after it. */
static void lack_of_memory_is_an_error(void **state) {
    (void)state;
    const struct patch_config config = patch_config_default();
    for (int kind = RESIZE_PILLOW; kind <= RESIZE_FLOAT; kind++) {
        const struct frame_steps steps = {.from = {101, 67},
                                          .steps = {{.kind = (enum resize_kind)kind, .to = {61, 43}},
                                                    {.kind = RESIZE_TORCH, .to = {56, 28}}},
                                          .count = 2};
        struct vision_frames *frames = NULL;
        int allowed = 0;
        for (; !frames; allowed++) {
            struct error err = {0};
            allocations_left = allowed;
            frames = device_frames_new(&steps, 2, &config, &err);
            allocations_left = -1;
            if (!frames && !strstr(err.message, "out of memory for ")) fail_msg("'%s'", err.message);
        }
        assert_in_range(allowed, 10, 100);
        vision_frames_free(frames);
    }
}

/* ---- Files ------------------------------------------------------------------------------------------- */

struct file_case {
    const char *name, *policy;
    int64_t max_frames;
    double max_pixels; /* 0: the policy's own */
    bool image;
    bool as_decoded; /* the device has resizes to do */
};

static void read_file(const struct file_case *c, bool frames, struct visual *visual) {
    struct visual_options options = visual_options_default(visual_policy_find(c->policy));
    struct error err = {0};
    options.max_frames = c->max_frames;
    options.frames = frames;
    if (c->max_pixels > 0) options.max_pixels = options.processor.min_pixels = c->max_pixels;
    const char *path = support_golden(c->name);
    ok(c->image ? visual_read_image(path, &options, visual, &err)
                : visual_read_video(path, &options, visual, &err),
       &err);
}

/* What the options' `frames` changes: the form alone. */
static void files_are_equal(void **state) {
    (void)state;
    static const struct file_case cases[] = {
        {"bframes.mp4", "llamafactory", 5, 0, false, true},
        {"bframes.mp4", "llamafactory", 3, 784, false, false}, /* its bytes outweigh the patches' */
        {"bframes.mp4", "qwen", 6, 0, false, true},
        {"hidden.webm", "qwen", 8, 0, false, true},
        {"animation.gif", "qwen", 4, 0, false, true},
        {"frames", "llamafactory", 3, 0, false, false}, /* pictures may have alpha */
        {"stills/alpha.png", "qwen", 1, 0, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct visual plain, kept;
        read_file(&cases[i], false, &plain);
        read_file(&cases[i], true, &kept);
        assert_true(plain.patches && !plain.frames && !kept.patches && kept.frames);
        assert_memory_equal(plain.grid, kept.grid, sizeof plain.grid);
        assert_int_equal(kept.frames->count, cases[i].image ? 1 : kept.index_count);
        if ((kept.frames->pass_count > 0) != cases[i].as_decoded)
            fail_msg("%s: %lld passes, %lld x %lld to %lld x %lld patches", cases[i].name,
                     (long long)kept.frames->pass_count, (long long)kept.frames->width,
                     (long long)kept.frames->height, (long long)kept.grid[2], (long long)kept.grid[1]);
        assert_true(visual_bytes(&kept) < visual_bytes(&plain) + 65536);
        check_frames(kept.frames, plain.patches, plain.rows, plain.columns);
        visual_drop_patches(&kept);
        assert_true(!kept.frames && (kept.indices || cases[i].image));
        visual_free(&plain);
        visual_free(&kept);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_are_equal),
        cmocka_unit_test(frames_may_stay),
        cmocka_unit_test(lack_of_memory_is_an_error),
        cmocka_unit_test(frames_in_another_order),
        cmocka_unit_test(files_are_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
