#include "data/synth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "data/synth_scene.h"
#include "data/video_write.h"
#include "model/random_init.h"
#include "model/tokenizer_write.h"

enum {
    BYTE_TOKENS = 256,
    CLIP_NAME_SIZE = 40,
};

const struct synth_preset synth_presets[] = {
    {.name = "tiny",
     .help = "1.2 million parameters, clips of 2 s at 320 x 180",
     .model = {.hidden = 128,
               .layers = 4,
               .heads = 4,
               .kv_heads = 2,
               .head_dim = 32,
               .intermediate = 384,
               .vocab = 320,
               .max_positions = 32768,
               .rms_epsilon = 1e-6,
               .rope_theta = 1e6,
               .mrope_section = {4, 6, 6},
               .tied_embeddings = true,
               .vision = {.depth = 4,
                          .hidden = 64,
                          .heads = 4,
                          .intermediate = 192,
                          .out_hidden = 128,
                          .in_channels = 3,
                          .patch = 14,
                          .temporal_patch = 2,
                          .merge = 2,
                          .window = 112,
                          .full_blocks = {1, 3},
                          .full_block_count = 2,
                          .tokens_per_second = 2}},
     .width = 320,
     .height = 180,
     .fps = 12,
     .frames = 24},
    /* 640 x 360 at 2 frames a second gives 10 frames of 23 x 13 merged patches: 1,495 tokens of video. */
    {.name = "bench-0.4b",
     .help = "0.38 billion parameters, clips of 5 s at 640 x 360",
     .model = {.hidden = 1024,
               .layers = 12,
               .heads = 16,
               .kv_heads = 8,
               .head_dim = 64,
               .intermediate = 4096,
               .vocab = 151936,
               .max_positions = 32768,
               .rms_epsilon = 1e-6,
               .rope_theta = 1e6,
               .mrope_section = {8, 12, 12},
               .tied_embeddings = true,
               .vision = {.depth = 8,
                          .hidden = 512,
                          .heads = 8,
                          .intermediate = 2048,
                          .out_hidden = 1024,
                          .in_channels = 3,
                          .patch = 14,
                          .temporal_patch = 2,
                          .merge = 2,
                          .window = 112,
                          .full_blocks = {3, 7},
                          .full_block_count = 2,
                          .tokens_per_second = 2}},
     .width = 640,
     .height = 360,
     .fps = 24,
     .frames = 120},
    {0},
};

static void report(const struct synth_options *options, const char *what, int64_t done, int64_t total) {
    if (options->progress) options->progress(what, done, total);
}

static enum status make_folder(const char *path, struct error *err) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return STATUS_OK;
    return error_set(err, "%s: cannot make the folder: %s", path, strerror(errno));
}

/* FOLDER/NAME, made when it is not there; free() it. */
static char *subfolder(const char *folder, const char *name, struct error *err) {
    char *path = file_join(folder, name, err);
    if (path && make_folder(path, err) != STATUS_OK) {
        free(path);
        path = NULL;
    }
    return path;
}

static enum status write_model(const struct synth_options *options, struct error *err) {
    const struct special_tokens tokens = special_tokens_after(BYTE_TOKENS);
    const struct generation_config generation = {
        .do_sample = true,
        .temperature = 0.7,
        .top_p = 1,
        .repetition_penalty = 1,
        .stop_tokens = {tokens.turn_end, tokens.end_of_text},
        .stop_token_count = 2,
    };
    struct model_config config = options->preset->model;
    config.image_token = tokens.image;
    config.video_token = tokens.video;
    config.vision_start_token = tokens.vision_start;
    config.vision_end_token = tokens.vision_end;

    char *folder = subfolder(options->folder, "model", err);
    if (!folder) return STATUS_FAILED;
    report(options, "model", 0, 1);
    enum status status = tokenizer_write_bytes(folder, err);
    if (status == STATUS_OK)
        status = random_checkpoint_write(folder, &config, &generation, options->dtype, options->seed, 0, err);
    if (status == STATUS_OK) report(options, "model", 1, 1);
    free(folder);
    return status;
}

static enum status write_clip(const char *path, const struct synth_scene *scene, int fps, struct error *err) {
    const size_t bytes = (size_t)scene->width * (size_t)scene->height * 3;
    enum status status = STATUS_FAILED;
    struct video_writer *writer = NULL;
    uint8_t *ground = memory_new(2, bytes, path, err);
    if (!ground) return STATUS_FAILED;
    uint8_t *picture = ground + bytes;
    writer = video_writer_open(path, scene->width, scene->height, fps, err);
    if (!writer) goto err;
    synth_scene_ground(scene, ground);
    for (int frame = 0; frame < scene->frames; frame++) {
        memcpy(picture, ground, bytes);
        synth_scene_shape(scene, frame, picture);
        if (video_writer_frame(writer, picture, err) != STATUS_OK) goto err;
    }
    status = video_writer_close(writer, err);
    writer = NULL;
err:
    video_writer_abort(writer);
    free(ground);
    return status;
}

/* Renders one clip and adds its row. */
static enum status add_clip(const struct synth_options *options, int64_t number, json_t *rows,
                            struct error *err) {
    const struct synth_preset *preset = options->preset;
    const struct synth_scene scene =
        synth_scene_draw(options->seed, (uint32_t)number, preset->width, preset->height, preset->frames);
    char name[CLIP_NAME_SIZE];
    struct text prompt = {0};
    snprintf(name, sizeof name, "videos/clip_%04lld.mp4", (long long)number);
    char *path = file_join(options->folder, name, err);
    if (!path) return STATUS_FAILED;
    enum status status = write_clip(path, &scene, preset->fps, err);
    free(path);
    if (status != STATUS_OK) return status;

    synth_scene_prompt(&scene, &prompt);
    status = text_check(&prompt, "a prompt", err);
    if (status == STATUS_OK &&
        json_array_append_new(rows, json_pack("{s:s, s:s}", "video", name, "prompt", prompt.data)) != 0)
        status = error_set(err, "out of memory for %s", name);
    text_free(&prompt);
    return status;
}

static enum status write_videos(const struct synth_options *options, struct error *err) {
    enum status status = STATUS_OK;
    char *folder = subfolder(options->folder, "videos", err);
    if (!folder) return STATUS_FAILED;
    free(folder);
    json_t *rows = json_array();
    for (int64_t i = 0; i < options->videos && status == STATUS_OK; i++) {
        status = add_clip(options, i, rows, err);
        if (status == STATUS_OK) report(options, "videos", i + 1, options->videos);
    }
    if (status == STATUS_OK) status = json_write_file(options->folder, "rows.json", rows, err);
    json_decref(rows);
    return status;
}

enum status synth_write(const struct synth_options *options, struct error *err) {
    if (make_folder(options->folder, err) != STATUS_OK || write_videos(options, err) != STATUS_OK)
        return STATUS_FAILED;
    return write_model(options, err);
}
