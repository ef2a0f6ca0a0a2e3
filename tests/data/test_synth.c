/* The demonstration set: what is asked for is there, decodes, and is the same the next time. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "base/file.h"
#include "base/json.h"
#include "data/synth.h"
#include "data/synth_scene.h"
#include "data/video_write.h"

static char *make_folder(void) {
    char *folder = strdup("/tmp/vs2-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_folder(char *folder) {
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(folder);
}

static char *read_whole(const char *folder, const char *name, size_t *length) {
    struct error err;
    char *path = file_join(folder, name, &err), *text = NULL;
    if (file_read(path, SIZE_MAX, &text, length, &err) != STATUS_OK) fail_msg("%s", err.message);
    free(path);
    return text;
}

/* Frames of the video that decode, with the size checked. */
static int count_frames(const char *path, int width, int height) {
    AVFormatContext *format = NULL;
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    int frames = 0;
    assert_int_equal(avformat_open_input(&format, path, NULL, NULL), 0);
    assert_true(avformat_find_stream_info(format, NULL) >= 0);
    const AVCodecParameters *parameters = format->streams[0]->codecpar;
    AVCodecContext *decoder = avcodec_alloc_context3(avcodec_find_decoder(parameters->codec_id));
    assert_true(avcodec_parameters_to_context(decoder, parameters) >= 0);
    assert_int_equal(avcodec_open2(decoder, NULL, NULL), 0);
    for (bool more = true; more;) {
        more = av_read_frame(format, packet) >= 0;
        assert_int_equal(avcodec_send_packet(decoder, more ? packet : NULL), 0);
        av_packet_unref(packet);
        while (avcodec_receive_frame(decoder, frame) == 0) {
            assert_int_equal(frame->width, width);
            assert_int_equal(frame->height, height);
            frames++;
        }
    }
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&decoder);
    avformat_close_input(&format);
    return frames;
}

static int progress_calls;

static void count_progress(const char *what, int64_t done, int64_t total) {
    assert_non_null(what);
    assert_true(done <= total);
    progress_calls++;
}

static void the_set_is_whole_and_repeatable(void **state) {
    (void)state;
    struct error err;
    char *first = make_folder(), *second = make_folder();
    struct synth_options options = {.folder = first,
                                    .preset = &synth_presets[0],
                                    .videos = 3,
                                    .dtype = DTYPE_BF16,
                                    .seed = 11,
                                    .progress = count_progress};
    if (synth_write(&options, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_true(progress_calls >= 4);
    options.folder = second;
    options.progress = NULL;
    assert_int_equal(synth_write(&options, &err), STATUS_OK);

    static const char *const files[] = {"rows.json",
                                        "videos/clip_0000.mp4",
                                        "videos/clip_0002.mp4",
                                        "model/config.json",
                                        "model/model.safetensors",
                                        "model/tokenizer.json",
                                        "model/tokenizer_config.json",
                                        "model/preprocessor_config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t length, other;
        char *a = read_whole(first, files[i], &length), *b = read_whole(second, files[i], &other);
        assert_int_equal(length, other);
        assert_memory_equal(a, b, length);
        free(a);
        free(b);
    }
    char *path = file_join(first, "rows.json", &err);
    json_t *rows = json_read_file(path, SIZE_MAX, &err);
    free(path);
    assert_int_equal(json_array_size(rows), 3);
    for (size_t i = 0; i < 3; i++) {
        json_t *row = json_array_get(rows, i);
        assert_true(strlen(json_string_value(json_object_get(row, "prompt"))) > 20);
        path = file_join(first, json_string_value(json_object_get(row, "video")), &err);
        assert_int_equal(count_frames(path, 320, 180), 24);
        free(path);
    }
    json_decref(rows);
    remove_folder(first);
    remove_folder(second);
}

static void presets_are_sound(void **state) {
    (void)state;
    struct error err;
    for (const struct synth_preset *preset = synth_presets; preset->name; preset++) {
        /* what config.c checks of a file holds for the table too: written and read back it is the same */
        assert_int_equal(preset->model.mrope_section[0] + preset->model.mrope_section[1] +
                             preset->model.mrope_section[2],
                         preset->model.head_dim / 2);
        assert_int_equal(preset->model.vision.out_hidden, preset->model.hidden);
        assert_int_equal(preset->width % 2 + preset->height % 2, 0);
    }
    char *folder = make_folder();
    struct model_config config;
    const struct synth_options options = {
        .folder = folder, .preset = &synth_presets[0], .videos = 1, .dtype = DTYPE_F32};
    assert_int_equal(synth_write(&options, &err), STATUS_OK);
    char *model = file_join(folder, "model", &err);
    if (model_config_read(model, &config, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(config.video_token, 256 + 13);
    assert_int_equal(config.vision.full_block_count, 2);
    free(model);
    remove_folder(folder);
}

/* Over many numbers every shape, colour, motion and ground comes up, and prompts differ. */
static void scenes_vary(void **state) {
    (void)state;
    unsigned shapes = 0, colors = 0, motions = 0, grounds = 0;
    for (uint32_t i = 0; i < 300; i++) {
        struct synth_scene scene = synth_scene_draw(3, i, 64, 48, 4);
        shapes |= 1u << scene.shape;
        colors |= 1u << scene.color;
        motions |= 1u << scene.motion;
        grounds |= 1u << scene.ground;
        struct text prompt = {0};
        synth_scene_prompt(&scene, &prompt);
        assert_false(prompt.failed);
        assert_int_equal(prompt.data[prompt.length - 1], '.');
        text_free(&prompt);
    }
    assert_int_equal(shapes, 0xf);
    assert_int_equal(colors, 0x3f);
    assert_int_equal(motions, 0x3f);
    assert_int_equal(grounds, 0xf);
}

/* The shape stands in the picture in every frame of every motion, and moves. */
static void shapes_are_seen_and_move(void **state) {
    (void)state;
    enum { WIDTH = 160, HEIGHT = 90, FRAMES = 9, BYTES = WIDTH * HEIGHT * 3 };
    uint8_t *ground = malloc(BYTES), *picture = malloc(BYTES), *last = malloc(BYTES);
    for (uint32_t i = 0; i < 60; i++) {
        struct synth_scene scene = synth_scene_draw(4, i, WIDTH, HEIGHT, FRAMES);
        synth_scene_ground(&scene, ground);
        for (int frame = 0; frame < FRAMES; frame++) {
            int changed = 0;
            memcpy(picture, ground, BYTES);
            synth_scene_shape(&scene, frame, picture);
            for (int k = 0; k < BYTES; k++) changed += picture[k] != ground[k];
            assert_true(changed > 60);
            if (frame > 0 && frame < FRAMES - 1) assert_memory_not_equal(picture, last, BYTES);
            memcpy(last, picture, BYTES);
        }
    }
    free(ground);
    free(picture);
    free(last);
}

static void unwritable_places_are_errors(void **state) {
    (void)state;
    struct error err;
    struct synth_options options = {
        .folder = "/nowhere/set", .preset = &synth_presets[0], .videos = 1, .dtype = DTYPE_BF16};
    assert_int_equal(synth_write(&options, &err), STATUS_FAILED);
    assert_string_equal(err.message, "/nowhere/set: cannot make the folder: No such file or directory");
    assert_null(video_writer_open("/nowhere/clip.mp4", 32, 32, 8, &err));
    assert_string_equal(err.message, "/nowhere/clip.mp4: cannot write: No such file or directory");

    char *folder = make_folder(); /* a writer given up leaves nothing */
    char *path = file_join(folder, "clip.mp4", &err);
    struct video_writer *writer = video_writer_open(path, 32, 32, 8, &err);
    assert_non_null(writer);
    video_writer_abort(writer);
    assert_int_equal(rmdir(folder), 0);
    free(path);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_set_is_whole_and_repeatable),
        cmocka_unit_test(presets_are_sound),
        cmocka_unit_test(scenes_vary),
        cmocka_unit_test(shapes_are_seen_and_move),
        cmocka_unit_test(unwritable_places_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
