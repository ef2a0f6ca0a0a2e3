/* Decoding only what is needed gives the very same frames; damaged files give one-line errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data/video.h"
#include "data/video_write.h"
#include "data/visual.h"
#include "tests/data/support.h"

enum { MAX_FRAMES = 200 };

static char scratch[] = "/tmp/vs2-video-XXXXXX";

static int make_scratch(void **state) {
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    return system(command);
}

static const char *scratch_path(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

/* ---- which frames ---- */

struct seen {
    int64_t indices[MAX_FRAMES];
    uint32_t crcs[MAX_FRAMES];
    int64_t count;
    int64_t fail_at; /* the sink fails at this frame; -1: never */
};

static enum status note(void *context, int64_t index, const struct picture *picture, struct error *err) {
    struct seen *seen = context;
    size_t row = (size_t)picture->size.width * (size_t)picture->channels;
    uint32_t crc = 0;
    if (seen->count == seen->fail_at) return error_set(err, "the sink is full");
    for (int64_t y = 0; y < picture->size.height; y++)
        crc = crc * 31 + support_crc(picture->pixels + (size_t)y * picture->stride, row);
    assert_true(seen->count < MAX_FRAMES);
    seen->indices[seen->count] = index;
    seen->crcs[seen->count++] = crc;
    return STATUS_OK;
}

static void decode(const char *path, bool all, int threads, const int64_t *indices, int64_t count,
                   struct seen *seen) {
    struct error err = {0};
    struct video *video;
    struct video_options options = {.threads = threads, .decode_all = all};
    *seen = (struct seen){.fail_at = -1};
    if (video_open(path, &options, &video, &err)) fail_msg("%s", err.message);
    if (video_decode(video, indices, count, note, seen, NULL, &err)) fail_msg("%s", err.message);
    video_close(video);
}

static int64_t count_frames(const char *path) {
    struct error err = {0};
    struct video *video;
    struct video_options options = {.threads = 1};
    if (video_open(path, &options, &video, &err)) fail_msg("%s", err.message);
    int64_t frames = video_info(video)->frames;
    video_close(video);
    return frames;
}

static uint32_t draw(uint32_t *state) {
    return (*state = *state * 1664525u + 1013904223u) >> 8;
}

/* Ascending, with repeats, few or many. */
static int64_t draw_indices(int64_t total, uint32_t *random, int64_t *indices) {
    int64_t count = 0;
    uint32_t share = 1 + draw(random) % 12;
    for (int64_t i = 0; i < total && count + 2 < MAX_FRAMES; i++) {
        if (draw(random) % share) continue;
        indices[count++] = i;
        if (draw(random) % 5 == 0) indices[count++] = i;
    }
    if (count == 0) indices[count++] = total - 1;
    return count;
}

static const char *const clips[] = {
    "bframes.mp4",  "opengop.mp4",   "interlaced.mp4", "uneven.mp4",    "uneven.mkv",
    "stream.h264",  "live.mkv",      "tenbit.mp4",     "edited.mp4",    "hidden.webm",
    "turned90.mp4", "animation.gif", "animation.webp", "tenbit422.mp4", "frames",
};

static void test_needed_frames(void **state) {
    (void)state;
    uint32_t random = 11;
    struct seen every;
    struct seen some;
    for (size_t clip = 0; clip < sizeof clips / sizeof *clips; clip++) {
        const char *path = support_golden(clips[clip]);
        int64_t total = count_frames(path);
        int64_t indices[MAX_FRAMES];
        assert_true(total <= MAX_FRAMES);
        for (int64_t i = 0; i < total; i++) indices[i] = i;
        decode(path, true, 1, indices, total, &every);
        for (int round = 0; round < 6; round++) {
            int64_t count = draw_indices(total, &random, indices);
            decode(path, false, round % 3, indices, count, &some);
            int64_t next = 0;
            for (int64_t i = 0; i < count; i++) {
                if (i > 0 && indices[i] == indices[i - 1]) continue;
                if (indices[i] >= every.count) continue; /* a packet without a frame */
                if (next >= some.count || some.indices[next] != indices[i] ||
                    some.crcs[next] != every.crcs[indices[i]])
                    fail_msg("%s: frame %lld differs", clips[clip], (long long)indices[i]);
                next++;
            }
            assert_int_equal(next, some.count);
        }
    }
}

static void test_sink_failure(void **state) {
    (void)state;
    struct error err;
    struct video *video;
    struct video_options options = {.threads = 1};
    const int64_t indices[] = {3, 20, 40};
    for (int all = 0; all < 2; all++) {
        struct seen seen = {.fail_at = 1};
        options.decode_all = all;
        assert_int_equal(video_open(support_golden("bframes.mp4"), &options, &video, &err), STATUS_OK);
        assert_int_equal(video_decode(video, indices, 3, note, &seen, NULL, &err), STATUS_FAILED);
        assert_string_equal(err.message, "the sink is full");
        assert_int_equal(seen.count, 1);
        assert_int_equal(video_decode(video, indices, 0, note, &seen, NULL, &err), STATUS_OK);
        video_close(video);
    }
}

static void test_info(void **state) {
    (void)state;
    struct error err;
    struct video *video;
    struct video_options options = {.threads = 1};
    assert_int_equal(video_open(support_golden("turned90.mp4"), &options, &video, &err), STATUS_OK);
    const struct video_info *info = video_info(video);
    assert_int_equal(info->size.width, 72);
    assert_int_equal(info->size.height, 96);
    assert_int_equal(info->quarters, 1);
    video_close(video);
    options.keep_rotation = true;
    assert_int_equal(video_open(support_golden("turned90.mp4"), &options, &video, &err), STATUS_OK);
    info = video_info(video);
    assert_int_equal(info->size.width, 96);
    assert_int_equal(info->quarters, 0);
    video_close(video);
    assert_int_equal(video_open(support_golden("live.mkv"), &options, &video, &err), STATUS_OK);
    info = video_info(video);
    assert_int_equal(info->frames, 50);
    assert_int_equal(info->stated_frames, 0);
    assert_true(info->duration > 4.99 && info->duration < 5.01);
    video_close(video);
}

/* A copy of the first frame. */
static enum status keep(void *context, int64_t index, const struct picture *picture, struct error *err) {
    (void)index;
    return picture_turn(picture, 0, false, context, err);
}

static void first_frame(const char *path, struct picture *picture) {
    struct error err = {0};
    struct video *video;
    struct video_options options = {.threads = 1};
    const int64_t first = 0;
    if (video_open(path, &options, &video, &err)) fail_msg("%s", err.message);
    if (video_decode(video, &first, 1, keep, picture, NULL, &err)) fail_msg("%s", err.message);
    video_close(video);
}

/* All eight ways to show a frame, as matrices of the MP4's track: (x, y) of the stored frame goes to
 * (x, y) * matrix, and the result is moved to where it can be seen. */
static void test_orientations(void **state) {
    static const int matrices[][4] = {{1, 0, 0, 1},  {-1, 0, 0, 1}, {1, 0, 0, -1}, {-1, 0, 0, -1},
                                      {0, 1, -1, 0}, {0, -1, 1, 0}, {0, 1, 1, 0},  {0, -1, -1, 0}};
    (void)state;
    struct error err;
    struct picture stored;
    char *data;
    size_t size;
    first_frame(support_golden("bframes.mp4"), &stored);
    assert_int_equal(file_read(support_golden("bframes.mp4"), 1 << 24, &data, &size, &err), STATUS_OK);
    char *track = memmem(data, size, "tkhd", 4);
    assert_non_null(track);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        const int *matrix = matrices[i];
        for (int k = 0; k < 4; k++) {
            char *cell = track + 44 + 4 * (k + k / 2);
            memset(cell, matrix[k] < 0 ? 0xff : 0, 2);
            cell[1] = (char)matrix[k];
            memset(cell + 2, 0, 2);
        }
        struct picture shown;
        const char *path = scratch_path("turned.mp4");
        assert_int_equal(file_write(path, data, size, &err), STATUS_OK);
        first_frame(path, &shown);
        bool across = matrix[0] == 0;
        assert_int_equal(shown.size.width, across ? stored.size.height : stored.size.width);
        for (int64_t y = 0; y < stored.size.height; y++)
            for (int64_t x = 0; x < stored.size.width; x++) {
                int64_t u = matrix[0] * x + matrix[2] * y;
                int64_t v = matrix[1] * x + matrix[3] * y;
                if (matrix[0] + matrix[2] < 0) u += shown.size.width - 1;
                if (matrix[1] + matrix[3] < 0) v += shown.size.height - 1;
                assert_memory_equal(shown.pixels + (size_t)v * shown.stride + (size_t)u * 3,
                                    stored.pixels + (size_t)y * stored.stride + (size_t)x * 3, 3);
            }
        picture_free(&shown);
    }
    picture_free(&stored);
    free(data);
}

/* ---- what is wrong ---- */

static void expect_error(const char *path, const char *words) {
    static const char *const policies[] = {"llamafactory", "qwen"};
    for (int i = 0; i < 2; i++) {
        struct error err = {0};
        struct visual visual;
        struct visual_options options = visual_options_default(visual_policy_find(policies[i]));
        if (!visual_read_video(path, &options, &visual, &err)) fail_msg("%s was read", path);
        if (strncmp(err.message, path, strlen(path)) || !strstr(err.message, words))
            fail_msg("%s", err.message);
        assert_null(strchr(err.message, '\n'));
        assert_null(visual.patches);
    }
}

/* The first `part` percent of a clip. */
static const char *cut(const char *name, size_t part) {
    struct error err;
    char *data;
    size_t size;
    const char *path = scratch_path(name);
    assert_int_equal(file_read(support_golden(name), 1 << 24, &data, &size, &err), STATUS_OK);
    assert_int_equal(file_write(path, data, size * part / 100, &err), STATUS_OK);
    free(data);
    return path;
}

static const char *written(const char *name, const void *data, size_t size) {
    struct error err;
    const char *path = scratch_path(name);
    assert_int_equal(file_write(path, data, size, &err), STATUS_OK);
    return path;
}

static void test_wrong_files(void **state) {
    (void)state;
    char text[] = "This is no video but a note.\n";
    expect_error("tests/golden/video/missing.mp4", "No such file or directory");
    expect_error("tests/golden/video/missing/", "No such file or directory");
    expect_error(written("note.mp4", text, sizeof text), "cannot be opened as a video");
    expect_error(written("empty.mp4", text, 0), "the file is empty");
    expect_error("/dev/null", "not a file");
    expect_error(support_golden("audio.m4a"), "there is no video stream in it");
    assert_int_equal(mkdir(scratch_path("folder"), 0777), 0);
    expect_error(scratch_path("folder"), "there are no pictures in it");
    written("folder/1.png", text, sizeof text);
    expect_error(scratch_path("folder"), "folder/1.png: cannot be opened");
    /* A playlist would make FFmpeg open other files. */
    char list[] = "ffconcat version 1.0\nfile /etc/passwd\n";
    expect_error(written("list.mp4", list, sizeof list - 1), "cannot be opened as a video");
}

static void test_cut_files(void **state) {
    (void)state;
    for (size_t part = 10; part < 100; part += 30) {
        expect_error(cut("bframes.mp4", part), "");
        expect_error(cut("full.mov", part), "");
        expect_error(cut("odd.avi", part), "");
        expect_error(cut("uneven.mkv", part), "");
        expect_error(cut("vp9.webm", part), "");
        expect_error(cut("animation.webp", part), "");
    }
    expect_error(cut("uneven.mkv", 90), "cut short");
    expect_error(cut("odd.avi", 90), "cut short");
}

static void test_absurd_sizes(void **state) {
    (void)state;
    struct error err;
    char *data;
    size_t size;
    assert_int_equal(file_read(support_golden("animation.gif"), 1 << 24, &data, &size, &err), STATUS_OK);
    memset(data + 6, 0xff, 4); /* the width and height of the screen */
    expect_error(written("huge.gif", data, size), "pixels is not supported");
    free(data);
    assert_int_equal(file_read(support_golden("animation.webp"), 1 << 24, &data, &size, &err), STATUS_OK);
    memcpy(data + 24, "\x3f\x9c\x00\x3f\x9c\x00", 6); /* the canvas, less one */
    expect_error(written("huge.webp", data, size), "40000 x 40000 pixels is not supported");
    free(data);
    static const unsigned char blank[] = {'G', 'I', 'F', '8', '9', 'a', 8, 0, 8, 0, 0, 0, 0, ';'};
    expect_error(written("blank.gif", blank, sizeof blank), "");

    assert_int_equal(file_read(support_golden("stills/photo.bmp"), 1 << 24, &data, &size, &err), STATUS_OK);
    memset(data + 18, 0x7f, 8);
    struct visual visual;
    struct visual_options options = visual_options_default(visual_policy_find("qwen"));
    assert_int_equal(visual_read_image(written("huge.bmp", data, size), &options, &visual, &err),
                     STATUS_FAILED);
    free(data);
}

/* A video of one frame: LLaMA-Factory doubles it, qwen-vl-utils refuses it. */
static void test_one_frame(void **state) {
    (void)state;
    struct error err;
    struct visual visual;
    struct visual_options options = visual_options_default(visual_policy_find("llamafactory"));
    assert_int_equal(visual_read_video(support_golden("short.mp4"), &options, &visual, &err), STATUS_OK);
    assert_int_equal(visual.index_count, 1);
    assert_int_equal(visual.grid[0], 1);
    visual_free(&visual);
    options = visual_options_default(visual_policy_find("qwen"));
    assert_int_equal(visual_read_video(support_golden("short.mp4"), &options, &visual, &err), STATUS_FAILED);
    assert_string_equal(err.message,
                        "tests/golden/video/short.mp4: its 1 frames are too few to take 2 of them");
}

/* What LLaMA-Factory does where the container does not count its frames. */
static void test_stated_frames_only(void **state) {
    (void)state;
    struct error err;
    struct visual visual;
    struct visual_options options = visual_options_default(visual_policy_find("llamafactory"));
    options.stated_frames_only = true;
    assert_int_equal(visual_read_video(support_golden("live.mkv"), &options, &visual, &err), STATUS_OK);
    assert_int_equal(visual.index_count, 10);
    for (int64_t i = 0; i < 10; i++) assert_int_equal(visual.indices[i], i);
    assert_true(visual.second_per_grid == 1.0);
    visual_free(&visual);
}

static enum status check_grey(void *context, int64_t index, const struct picture *picture,
                              struct error *err) {
    (void)context, (void)index, (void)err;
    const size_t row = (size_t)picture->size.width * (size_t)picture->channels;
    for (int64_t y = 0; y < picture->size.height; y++)
        for (size_t i = 0; i < row; i++)
            assert_in_range(picture->pixels[(size_t)y * picture->stride + i], 125, 131);
    return STATUS_OK;
}

/* Of every width all columns are decoded: what memory held before shows nowhere. */
static void test_widths(void **state) {
    enum { HEIGHT = 16, LEAST = 16, MOST = 144 };
    (void)state;
    struct error err = {0};
    uint8_t grey[MOST * HEIGHT * 3];
    memset(grey, 128, sizeof grey);
    mallopt(M_PERTURB, 0x5A);
    for (int width = LEAST; width <= MOST; width += 2) {
        const char *path = scratch_path("grey.mp4");
        struct video_writer *writer = video_writer_open(path, width, HEIGHT, 2, &err);
        if (!writer || video_writer_frame(writer, grey, &err) || video_writer_close(writer, &err))
            fail_msg("%s", err.message);
        struct video *video;
        const struct video_options options = {.threads = 1};
        const int64_t first = 0;
        if (video_open(path, &options, &video, &err)) fail_msg("%s", err.message);
        if (video_decode(video, &first, 1, check_grey, NULL, NULL, &err)) fail_msg("%s", err.message);
        video_close(video);
    }
    mallopt(M_PERTURB, 0);
}

/* Damaged bytes give an error or frames, never a crash. */
static void test_damage(void **state) {
    static const char *const names[] = {"bframes.mp4",      "odd.avi",          "uneven.mkv",
                                        "hidden.webm",      "animation.gif",    "animation.webp",
                                        "stills/photo.jpg", "stills/alpha.png", "stills/photo.webp"};
    (void)state;
    uint32_t random = 5;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct error err;
        char *data;
        size_t size;
        assert_int_equal(file_read(support_golden(names[i]), 1 << 24, &data, &size, &err), STATUS_OK);
        for (int round = 0; round < 8; round++) {
            for (int k = 0; k < 5; k++) data[draw(&random) % (round < 4 ? 200 : size)] = (char)draw(&random);
            const char *path = written("damaged", data, size);
            struct visual visual;
            struct visual_options options = visual_options_default(visual_policy_find("llamafactory"));
            options.threads = 1;
            bool still = strchr(names[i], '/') != NULL;
            enum status status = still ? visual_read_image(path, &options, &visual, &err)
                                       : visual_read_video(path, &options, &visual, &err);
            if (status) assert_true(strncmp(err.message, path, strlen(path)) == 0);
            visual_free(&visual);
        }
        free(data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_needed_frames),
        cmocka_unit_test(test_sink_failure),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_orientations),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_cut_files),
        cmocka_unit_test(test_absurd_sizes),
        cmocka_unit_test(test_one_frame),
        cmocka_unit_test(test_stated_frames_only),
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
