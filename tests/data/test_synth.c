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
#include "data/video_write.h"
#include "model/tokenizer.h"

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

static const struct synth_preset *preset_named(const char *name) {
    const struct synth_preset *preset = synth_presets;
    while (strcmp(preset->name, name) != 0) preset++;
    return preset;
}

static void the_set_is_whole_and_repeatable(void **state) {
    (void)state;
    struct error err;
    char *first = make_folder(), *second = make_folder();
    struct synth_options options = {.folder = first,
                                    .preset = preset_named("tiny"),
                                    .videos = 3,
                                    .test_videos = 6,
                                    .dtype = DTYPE_BF16,
                                    .seed = 11,
                                    .progress = count_progress};
    progress_calls = 0;
    if (synth_write(&options, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_true(progress_calls >= 3 + 6 + 1);
    options.folder = second;
    options.progress = NULL;
    assert_int_equal(synth_write(&options, &err), STATUS_OK);

    static const char *const files[] = {"rows.json",
                                        "raw.json",
                                        "sft.json",
                                        "grpo.json",
                                        "dataset_info.json",
                                        "videos/clip_0000.mp4",
                                        "videos/clip_0002.mp4",
                                        "test/videos/test_0000_4.mp4",
                                        "test/videos/test_0001_0.mp4",
                                        "model/config.json",
                                        "model/model.safetensors",
                                        "model/tokenizer.json",
                                        "model/vocab.json",
                                        "model/merges.txt",
                                        "model/tokenizer_config.json",
                                        "model/query_template.txt",
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
        assert_int_equal(count_frames(path, options.preset->format.width, options.preset->format.height),
                         options.preset->format.frames);
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
        assert_int_equal(preset->format.width % 2 + preset->format.height % 2, 0);
        if (preset->model.vocab > 0) continue; /* a large one */
        char *folder = make_folder();
        struct model_config config;
        const struct synth_options options = {
            .folder = folder, .preset = preset, .videos = 1, .dtype = DTYPE_F32};
        assert_int_equal(synth_write(&options, &err), STATUS_OK);
        char *model = file_join(folder, "model", &err);
        if (model_config_read(model, &config, &err) != STATUS_OK) fail_msg("%s", err.message);
        struct tokenizer *tokenizer = tokenizer_load(model, &err);
        assert_non_null(tokenizer);
        assert_int_equal(config.video_token, tokenizer_find(tokenizer, "<|video_pad|>"));
        assert_true(config.vocab >= tokenizer_size(tokenizer));
        assert_int_equal(config.vision.depth, preset->model.vision.depth);
        tokenizer_free(tokenizer);
        free(model);
        remove_folder(folder);
    }
}

static void unwritable_places_are_errors(void **state) {
    (void)state;
    struct error err;
    struct synth_options options = {
        .folder = "/nowhere/set", .preset = preset_named("tiny"), .videos = 1, .dtype = DTYPE_BF16};
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
        cmocka_unit_test(unwritable_places_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
