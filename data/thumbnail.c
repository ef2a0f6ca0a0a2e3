#include "data/thumbnail.h"

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h> /* before jpeglib.h, which needs it */

#include <jpeglib.h>
#include <stdlib.h>
#include <string.h>

#include "data/resize.h"
#include "data/video.h"

enum { GAP = 2, QUALITY = 75, WHITE = 255 }; /* pixels between frames; libjpeg's scale of 100 */

/* ---- JPEG -------------------------------------------------------------------------------------------- */

struct jpeg_failure {
    struct jpeg_error_mgr manager; /* first: libjpeg hands out a pointer to it */
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
};

static void jpeg_fail(j_common_ptr encoder) {
    struct jpeg_failure *failure = (struct jpeg_failure *)(void *)encoder->err;
    failure->manager.format_message(encoder, failure->message);
    longjmp(failure->back, 1);
}

/* What is freed when libjpeg gives up lies outside the function that it comes back to. */
struct jpeg_output {
    struct jpeg_compress_struct encoder;
    struct jpeg_failure failure;
    unsigned char *bytes;
    unsigned long size;
};

static enum status encode(struct jpeg_output *output, const struct picture *picture, struct error *err) {
    struct jpeg_compress_struct *encoder = &output->encoder;
    encoder->err = jpeg_std_error(&output->failure.manager);
    output->failure.manager.error_exit = jpeg_fail;
    if (setjmp(output->failure.back)) return error_set(err, "%s", output->failure.message);
    jpeg_create_compress(encoder);
    jpeg_mem_dest(encoder, &output->bytes, &output->size);
    encoder->image_width = (JDIMENSION)picture->size.width;
    encoder->image_height = (JDIMENSION)picture->size.height;
    encoder->input_components = 3;
    encoder->in_color_space = JCS_RGB;
    jpeg_set_defaults(encoder);
    jpeg_set_quality(encoder, QUALITY, TRUE);
    jpeg_start_compress(encoder, TRUE);
    while (encoder->next_scanline < encoder->image_height) {
        JSAMPROW row = picture->pixels + (size_t)encoder->next_scanline * picture->stride;
        jpeg_write_scanlines(encoder, &row, 1);
    }
    jpeg_finish_compress(encoder);
    return STATUS_OK;
}

static enum status append_jpeg(struct text *jpeg, const struct picture *picture, struct error *err) {
    struct jpeg_output output = {0};
    enum status status = encode(&output, picture, err);
    if (status == STATUS_OK) text_append(jpeg, (const char *)output.bytes, output.size);
    jpeg_destroy_compress(&output.encoder);
    free(output.bytes);
    return status;
}

/* ---- Frames ------------------------------------------------------------------------------------------ */

/* The strip as frames are laid into it. */
struct strip {
    struct picture picture;
    struct size cell;
    int64_t frames, done;
};

/* The largest size of that shape whose longer side is THUMBNAIL_SIDE. */
static struct size shrunk(struct size size) {
    const int64_t longer = size.width > size.height ? size.width : size.height;
    if (longer <= THUMBNAIL_SIDE) return size;
    const double scale = (double)THUMBNAIL_SIDE / (double)longer;
    return (struct size){.width = (int64_t)fmax(1, rint((double)size.width * scale)),
                         .height = (int64_t)fmax(1, rint((double)size.height * scale))};
}

/* All frames have the size of the first one's cell. */
static enum status begin_strip(struct strip *strip, struct size frame, struct error *err) {
    strip->cell = shrunk(frame);
    const struct size size = {.width = strip->frames * (strip->cell.width + GAP) - GAP,
                              .height = strip->cell.height};
    enum status status = picture_new(size, 3, &strip->picture, err);
    if (status == STATUS_OK)
        memset(strip->picture.pixels, WHITE, strip->picture.stride * (size_t)size.height);
    return status;
}

static enum status add_frame(void *context, int64_t index, const struct picture *frame, struct error *err) {
    struct strip *strip = context;
    (void)index;
    if (!strip->picture.pixels && begin_strip(strip, frame->size, err) != STATUS_OK) return STATUS_FAILED;
    struct picture colours = *frame, copy = {0};
    if (frame->channels != 3) { /* a picture of a folder, with alpha */
        if (picture_turn(frame, 0, false, &copy, err) != STATUS_OK) return STATUS_FAILED;
        picture_drop_alpha(&copy, true);
        colours = copy;
    }
    struct resize *resize = resize_new(RESIZE_PILLOW, colours.size, strip->cell, 3, err);
    const size_t left = (size_t)strip->done++ * (size_t)(strip->cell.width + GAP) * 3;
    if (resize)
        resize_run(resize, colours.pixels, colours.stride, strip->picture.pixels + left,
                   strip->picture.stride);
    resize_free(resize);
    picture_free(&copy);
    return resize ? STATUS_OK : STATUS_FAILED;
}

/* Decodes the frames into the strip, which is empty or whole. */
static enum status fill_strip(struct strip *strip, const char *path, struct error *err) {
    const struct video_options options = {.threads = 1};
    int64_t indices[THUMBNAIL_FRAMES];
    struct video *video;
    enum status status = video_open(path, &options, &video, err);
    if (status != STATUS_OK) return status;
    const int64_t last = video_info(video)->frames - 1;
    strip->frames = last < THUMBNAIL_FRAMES ? last + 1 : THUMBNAIL_FRAMES;
    for (int64_t i = 0; i < strip->frames; i++)
        indices[i] = strip->frames > 1 ? last * i / (strip->frames - 1) : 0;
    status = video_decode(video, indices, strip->frames, add_frame, strip, NULL, err);
    video_close(video);
    if (status == STATUS_OK && !strip->done) status = error_set(err, "%s: no frame was decoded", path);
    return status;
}

enum status thumbnail_append(struct text *jpeg, const char *path, struct error *err) {
    struct strip strip = {0};
    enum status status = fill_strip(&strip, path, err);
    if (status == STATUS_OK) {
        status = append_jpeg(jpeg, &strip.picture, err);
        if (status != STATUS_OK) error_prefix(err, "%s", path);
    }
    picture_free(&strip.picture);
    return status;
}
