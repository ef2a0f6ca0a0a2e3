/* Strips of frames: as large as they should be, with the frames that they should have, and errors with the
 * video's path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/folder.h"
#include "data/thumbnail.h"
#include "data/video.h"
#include "data/video_write.h"

static char scratch[] = "/tmp/vs2-thumbnail-XXXXXX";

static int make_scratch(void **state) {
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state) {
    struct error err;
    (void)state;
    return folder_remove(scratch, &err) == STATUS_OK ? 0 : -1;
}

static const char *scratch_path(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

/* The strip of a video, read back. */
static struct picture strip_of(const char *path) {
    struct error err;
    struct text jpeg = {0};
    struct picture strip;
    if (thumbnail_append(&jpeg, path, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_true(jpeg.length > 100);
    assert_int_equal(file_write(scratch_path("strip.jpg"), jpeg.data, jpeg.length, &err), STATUS_OK);
    text_free(&jpeg);
    assert_int_equal(picture_read(scratch_path("strip.jpg"), &strip, &err), STATUS_OK);
    return strip;
}

static void assert_colour(const struct picture *strip, int64_t x, int64_t y, int red, int green, int blue) {
    const uint8_t *pixel = strip->pixels + (size_t)y * strip->stride + 3 * (size_t)x;
    const int wanted[] = {red, green, blue};
    for (int c = 0; c < 3; c++)
        if (abs(pixel[c] - wanted[c]) > 12)
            fail_msg("at %d, %d: %d, %d, %d", (int)x, (int)y, pixel[0], pixel[1], pixel[2]);
}

/* Frames of 320 x 64, each of one colour. */
static const char *write_video(const char *name, int frames) {
    static const uint8_t colours[][3] = {{200, 30, 30}, {30, 160, 30}, {30, 30, 200},  {120, 120, 120},
                                         {10, 10, 10},  {200, 200, 0}, {240, 240, 240}};
    enum { WIDTH = 320, HEIGHT = 64 };
    static uint8_t rgb[HEIGHT][WIDTH][3];
    struct error err;
    const char *path = scratch_path(name);
    struct video_writer *writer = video_writer_open(path, WIDTH, HEIGHT, 4, &err);
    assert_non_null(writer);
    for (int f = 0; f < frames; f++) {
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++) memcpy(rgb[y][x], colours[f], 3);
        assert_int_equal(video_writer_frame(writer, &rgb[0][0][0], &err), STATUS_OK);
    }
    assert_int_equal(video_writer_close(writer, &err), STATUS_OK);
    return path;
}

static void frames_are_spread_over_the_video(void **state) {
    (void)state;
    struct picture strip = strip_of(write_video("seven.mp4", 7));
    assert_int_equal(strip.size.width, 4 * 160 + 3 * 2);
    assert_int_equal(strip.size.height, 32);
    assert_colour(&strip, 80, 16, 200, 30, 30);             /* frame 0 */
    assert_colour(&strip, 162 + 80, 16, 30, 30, 200);       /* frame 2 */
    assert_colour(&strip, 2 * 162 + 80, 16, 10, 10, 10);    /* frame 4 */
    assert_colour(&strip, 3 * 162 + 80, 16, 240, 240, 240); /* frame 6 */
    picture_free(&strip);
}

static void short_videos_have_fewer(void **state) {
    (void)state;
    struct picture strip = strip_of(write_video("two.mp4", 2));
    assert_int_equal(strip.size.width, 2 * 160 + 2);
    assert_colour(&strip, 80, 16, 200, 30, 30);
    assert_colour(&strip, 162 + 80, 16, 30, 160, 30);
    picture_free(&strip);
    strip = strip_of(write_video("one.mp4", 1));
    assert_int_equal(strip.size.width, 160);
    picture_free(&strip);
}

/* Folders of pictures of several sizes and channels, animations, small and turned videos. */
static void every_kind_of_video_has_one(void **state) {
    (void)state;
    static const char *const paths[] = {
        "tests/golden/video/frames",        "tests/golden/video/animation.webp",
        "tests/golden/video/animation.gif", "tests/golden/video/alpha.webm",
        "tests/golden/video/turned90.mp4",  "tests/golden/video/tenbit.mp4",
        "tests/golden/video/odd.avi"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct picture strip = strip_of(paths[i]);
        assert_true(strip.size.height >= 1 && strip.size.height <= THUMBNAIL_SIDE);
        assert_true(strip.size.width <= THUMBNAIL_FRAMES * (THUMBNAIL_SIDE + 2));
        picture_free(&strip);
    }
}

static void errors_begin_with_the_path(void **state) {
    (void)state;
    struct error err;
    const char *const paths[] = {"/nonexistent/a.mp4", "tests/golden/video/audio.m4a",
                                 "tests/golden/video/visual.json"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct text jpeg = {0};
        assert_int_equal(thumbnail_append(&jpeg, paths[i], &err), STATUS_FAILED);
        assert_int_equal(strncmp(err.message, paths[i], strlen(paths[i])), 0);
        assert_null(jpeg.data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_spread_over_the_video),
        cmocka_unit_test(short_videos_have_fewer),
        cmocka_unit_test(every_kind_of_video_has_one),
        cmocka_unit_test(errors_begin_with_the_path),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
