/* Videos and pictures to patches, against PyAV, Pillow, torchvision and transformers
 * (tests/reference/video.py). VS2_VIDEO_GOLDEN names another folder with a visual.json to check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "data/visual.h"
#include "tests/data/support.h"

static json_t *golden;
static char folder[256] = "tests/golden/video";

static int load(void **state) {
    struct error err;
    char path[300];
    (void)state;
    const char *other = getenv("VS2_VIDEO_GOLDEN");
    if (other) snprintf(folder, sizeof folder, "%s", other);
    snprintf(path, sizeof path, "%s/visual.json", folder);
    golden = json_read_file(path, 1 << 24, &err);
    return golden ? 0 : -1;
}

static int unload(void **state) {
    (void)state;
    json_decref(golden);
    return 0;
}

static struct visual_options options_of(const json_t *entry) {
    const char *policy = json_string_value(json_object_get(entry, "policy"));
    struct visual_options options = visual_options_default(visual_policy_find(policy));
    options.fps = json_number_value(json_object_get(entry, "fps"));
    options.max_frames = json_integer_value(json_object_get(entry, "max_frames"));
    double pixels = json_number_value(json_object_get(entry, "max_pixels"));
    if (pixels > 0) options.max_pixels = options.image_max_pixels = pixels;
    return options;
}

static void path_of(const json_t *entry, char *path, size_t size) {
    const char *file = json_string_value(json_object_get(entry, "file"));
    if (file[0] == '/')
        snprintf(path, size, "%s", file);
    else
        snprintf(path, size, "%s/%s", folder, file);
}

static int sample(const char *hex, size_t i) {
    char digits[3] = {hex[2 * i], hex[2 * i + 1]};
    return (int)strtol(digits, NULL, 16);
}

/* The byte that a patch value came from. */
static uint8_t level(const struct visual *visual, const struct patch_config *config, int64_t cell) {
    int64_t channel = cell % visual->columns / (visual->columns / 3);
    double value = visual->patches[cell] * config->std[channel] * 255 + config->mean[channel] * 255;
    assert_true(fabs(value - rint(value)) < 1e-3);
    return (uint8_t)rint(value);
}

/* Equal to the byte where the libraries agree; else within one level for 99.9% of the values. */
static void check_patches(const struct visual *visual, const struct patch_config *config,
                          const json_t *entry) {
    int64_t cells = visual->rows * visual->columns;
    uint8_t *levels = malloc((size_t)cells);
    assert_non_null(levels);
    double sum = 0;
    for (int64_t i = 0; i < cells; i++) sum += levels[i] = level(visual, config, i);
    bool equal = support_crc(levels, (size_t)cells) == json_integer_value(json_object_get(entry, "crc"));
    if (!equal) {
        const char *hex = json_string_value(json_object_get(entry, "samples"));
        int64_t count = (int64_t)strlen(hex) / 2;
        int far = 0;
        for (int64_t i = 0; i < count; i++)
            far += abs(sample(hex, (size_t)i) - levels[i * cells / count]) > 1;
        print_message("%s: not equal to the byte: %d of %lld samples are off by more than 1\n",
                      json_string_value(json_object_get(entry, "file")), far, (long long)count);
        assert_true(far <= count / 1000);
        assert_true(fabs(sum / (double)cells - json_number_value(json_object_get(entry, "mean"))) < 0.1);
    }
    free(levels);
}

static void check_integers(const int64_t *values, int64_t count, const json_t *entry, const char *key) {
    const json_t *wanted = json_object_get(entry, key);
    const char *file = json_string_value(json_object_get(entry, "file"));
    if (count != (int64_t)json_array_size(wanted)) fail_msg("%s: %lld %s", file, (long long)count, key);
    for (size_t i = 0; i < json_array_size(wanted); i++)
        if (values[i] != json_integer_value(json_array_get(wanted, i)))
            fail_msg("%s: %s %zu is %lld", file, key, i, (long long)values[i]);
}

static void check_common(const struct visual *visual, const json_t *entry) {
    check_integers(visual->grid, 3, entry, "grid");
    double second = json_number_value(json_object_get(entry, "second_per_grid"));
    assert_true(fabs(visual->second_per_grid - second) <= 1e-12 * second);
    assert_int_equal(visual->rows, visual->grid[0] * visual->grid[1] * visual->grid[2]);
    assert_int_equal(visual->tokens, visual->rows / 4);
    assert_int_equal(visual->columns, 1176);
}

static void check_video(const json_t *entry, int threads) {
    struct error err = {0};
    struct visual visual;
    char path[512];
    struct visual_options options = options_of(entry);
    options.threads = threads;
    path_of(entry, path, sizeof path);
    if (visual_read_video(path, &options, &visual, &err)) fail_msg("%s", err.message);
    check_integers(visual.indices, visual.index_count, entry, "indices");
    check_common(&visual, entry);
    check_patches(&visual, &options.processor, entry);
    assert_true(visual_bytes(&visual) > (size_t)visual.rows * 1176 * 4);
    visual_free(&visual);
}

static void test_videos(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(golden, "videos"), i, entry) check_video(entry, i % 2 ? 1 : 2);
    assert_true(i > 0);
}

static void test_stills(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(golden, "stills"), i, entry) {
        struct error err = {0};
        struct visual visual;
        char path[512];
        struct visual_options options = options_of(entry);
        path_of(entry, path, sizeof path);
        if (visual_read_image(path, &options, &visual, &err)) fail_msg("%s", err.message);
        assert_int_equal(visual.grid[0], 1);
        check_common(&visual, entry);
        check_patches(&visual, &options.processor, entry);
        visual_free(&visual);
    }
}

/* Measuring finds the same numbers without decoding. */
static void test_measure(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(golden, "videos"), i, entry) {
        const char *file = json_string_value(json_object_get(entry, "file"));
        /* Their packets and frames differ in number: see visual_measure_video. */
        if (!strcmp(file, "hidden.webm") || !strcmp(file, "edited.mp4")) continue;
        struct error err = {0};
        struct visual visual;
        char path[512];
        struct visual_options options = options_of(entry);
        path_of(entry, path, sizeof path);
        if (visual_measure_video(path, &options, &visual, &err)) fail_msg("%s", err.message);
        assert_null(visual.patches);
        assert_int_equal(visual.index_count, json_array_size(json_object_get(entry, "indices")));
        check_common(&visual, entry);
        visual_free(&visual);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_videos),
        cmocka_unit_test(test_stills),
        cmocka_unit_test(test_measure),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
