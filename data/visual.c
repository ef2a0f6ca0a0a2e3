#include "data/visual.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/device_frames.h"
#include "data/frames.h"
#include "data/video.h"

/* Patches of one video at most. */
#define MAX_BYTES ((size_t)8 << 30)

struct visual_policy {
    const char *name;
    struct visual_options defaults; /* without policy and processor */
    int64_t (*count)(const struct frames_source *source, const struct frames_wish *wish);
    void (*choose)(int64_t total, int64_t count, int64_t *indices);
    /* The resizes before the processor's own, of a video's frame and of a still picture. */
    enum status (*video_steps)(const struct visual_options *options, int64_t frames,
                               struct frame_steps *steps, struct error *err);
    enum status (*image_steps)(const struct visual_options *options, struct frame_steps *steps,
                               struct error *err);
    bool trusts_header;    /* takes the container's number of frames */
    bool folder_is_images; /* a folder's pictures are sized as still pictures */
    bool tells_wish;       /* inference is told the wanted rate of frames, not the one that came out */
};

/* ---- the policies ---- */

static enum status add_llamafactory(double min_pixels, double max_pixels, struct frame_steps *steps,
                                    struct error *err) {
    struct size sizes[SIZE_MAX_STEPS];
    int count;
    int own;
    if (size_llamafactory(steps->from, min_pixels, max_pixels, sizes, &count, &own, err))
        return STATUS_FAILED;
    for (int i = 0; i < count; i++)
        steps->steps[steps->count++] =
            (struct frame_step){.kind = RESIZE_PILLOW, .to = sizes[i], .own_colours = i < own};
    return STATUS_OK;
}

static enum status llamafactory_video(const struct visual_options *options, int64_t frames,
                                      struct frame_steps *steps, struct error *err) {
    (void)frames;
    return add_llamafactory(options->min_pixels, options->max_pixels, steps, err);
}

static enum status llamafactory_image(const struct visual_options *options, struct frame_steps *steps,
                                      struct error *err) {
    return add_llamafactory(options->image_min_pixels, options->image_max_pixels, steps, err);
}

static enum status add_qwen(enum resize_kind kind, int64_t factor, double min_pixels, double max_pixels,
                            struct frame_steps *steps, struct error *err) {
    struct frame_step *step = &steps->steps[steps->count++];
    step->kind = kind;
    return size_smart_qwen(steps->from, factor, min_pixels, max_pixels, &step->to, err);
}

static enum status qwen_video(const struct visual_options *options, int64_t frames, struct frame_steps *steps,
                              struct error *err) {
    double shared = options->total_pixels / (double)frames * 2;
    double limit = fmax(fmin(options->budget_pixels, shared), trunc(options->min_pixels * 1.05));
    if (options->max_pixels > 0) limit = fmin(limit, options->max_pixels);
    int64_t factor = options->processor.patch * options->processor.merge;
    return add_qwen(RESIZE_FLOAT, factor, options->min_pixels, limit, steps, err);
}

static enum status qwen_image(const struct visual_options *options, struct frame_steps *steps,
                              struct error *err) {
    int64_t factor = options->processor.patch * options->processor.merge;
    steps->white = true;
    return add_qwen(RESIZE_PILLOW, factor, options->image_min_pixels, options->image_max_pixels, steps, err);
}

enum { QWEN_CELL = 28 * 28 };

static const struct visual_policy policies[] = {
    {.name = "llamafactory",
     .defaults = {.fps = 2.0,
                  .min_frames = 1,
                  .max_frames = 10,
                  .min_pixels = 16.0 * 16,
                  .max_pixels = 691200,
                  .image_min_pixels = 32.0 * 32,
                  .image_max_pixels = 262144},
     .count = frames_llamafactory_count,
     .choose = frames_llamafactory,
     .video_steps = llamafactory_video,
     .image_steps = llamafactory_image,
     .trusts_header = true},
    {.name = "qwen",
     .defaults = {.fps = 2.0,
                  .min_frames = 4,
                  .max_frames = 16,
                  .min_pixels = 128.0 * QWEN_CELL,
                  .budget_pixels = 128.0 * QWEN_CELL,
                  .total_pixels = 128000.0 * QWEN_CELL * 0.9,
                  .image_min_pixels = 4.0 * QWEN_CELL,
                  .image_max_pixels = 256.0 * QWEN_CELL},
     .count = frames_qwen_count,
     .choose = frames_qwen,
     .video_steps = qwen_video,
     .image_steps = qwen_image,
     .folder_is_images = true,
     .tells_wish = true},
};

enum { POLICY_COUNT = sizeof policies / sizeof *policies };

const char *const visual_policy_names[] = {"llamafactory", "qwen", NULL};

const struct visual_policy *visual_policy_find(const char *name) {
    for (int i = 0; i < POLICY_COUNT; i++)
        if (!strcmp(policies[i].name, name)) return &policies[i];
    return NULL;
}

struct visual_options visual_options_default(const struct visual_policy *policy) {
    struct visual_options options = policy->defaults;
    options.policy = policy;
    options.processor = patch_config_default();
    return options;
}

/* ---- choosing frames and sizes ---- */

/* `total` is the number of frames to choose from. */
static enum status choose_frames(const struct visual_options *options, const struct video_info *info,
                                 int64_t total, struct visual *visual, struct error *err) {
    const struct visual_policy *policy = options->policy;
    bool folder = info->kind == VIDEO_FOLDER;
    struct frames_source source = {.total = total,
                                   .duration = folder ? (double)total / options->fps : info->duration,
                                   .rate = folder ? options->fps : info->rate};
    struct frames_wish wish = {
        .fps = options->fps, .min_frames = options->min_frames, .max_frames = options->max_frames};
    bool first_ones = options->stated_frames_only && policy->trusts_header && !info->stated_frames;
    bool all = folder && total <= options->max_frames;
    int64_t count = all ? total : first_ones ? options->max_frames : policy->count(&source, &wish);
    if (count < 1 || count > FRAMES_MAX)
        return error_set(err, "its %" PRId64 " frames are too few to take 2 of them", total);

    visual->indices = memory_new((size_t)count, sizeof *visual->indices, "frame indices", err);
    if (!visual->indices) return STATUS_FAILED;
    visual->index_count = count;
    if (all || first_ones)
        for (int64_t i = 0; i < count; i++) visual->indices[i] = i;
    else
        policy->choose(total, count, visual->indices);

    visual->source_frames = total;
    visual->source_duration = source.duration;
    visual->source_rate = source.rate;
    if (all || (first_ones && !(info->stated_duration > 0)))
        visual->sample_fps = options->fps;
    else if (policy->trusts_header)
        visual->sample_fps = (double)count / source.duration;
    else
        visual->sample_fps = (double)count / (double)total * source.rate;
    visual->second_per_grid = (double)options->processor.temporal / visual->sample_fps;
    visual->inference_second_per_grid = options->policy->tells_wish
                                            ? (double)options->processor.temporal / options->fps
                                            : visual->second_per_grid;
    return STATUS_OK;
}

/* The processor's own resize ends every chain. */
static enum status add_processor(const struct visual_options *options, struct frame_steps *steps,
                                 struct error *err) {
    const struct patch_config *processor = &options->processor;
    struct size from = frame_steps_result(steps);
    struct size to;
    if (size_smart(from, processor->patch * processor->merge, processor->min_pixels, processor->max_pixels,
                   &to, err))
        return STATUS_FAILED;
    if (to.width != from.width || to.height != from.height)
        steps->steps[steps->count++] = (struct frame_step){.kind = RESIZE_TORCH, .to = to};
    return STATUS_OK;
}

static enum status plan_steps(const struct visual_options *options, bool image, int64_t frames,
                              struct size from, struct frame_steps *steps, struct error *err) {
    *steps = (struct frame_steps){.from = from};
    enum status status = image ? options->policy->image_steps(options, steps, err)
                               : options->policy->video_steps(options, frames, steps, err);
    return status ? status : add_processor(options, steps, err);
}

/* Grid and row counts of `frames` frames of the size. */
static void set_grid(const struct visual_options *options, int64_t frames, struct size size,
                     struct visual *visual) {
    const struct patch_config *processor = &options->processor;
    visual->grid[0] = (frames + processor->temporal - 1) / processor->temporal;
    visual->grid[1] = size.height / processor->patch;
    visual->grid[2] = size.width / processor->patch;
    visual->columns = patch_columns(processor);
    visual->rows = visual->grid[0] * visual->grid[1] * visual->grid[2];
    visual->tokens = visual->rows / (processor->merge * processor->merge);
}

/* ---- making patches ---- */

struct cutting {
    const struct visual_options *options;
    struct visual *visual;
    bool image;       /* sized as a still picture */
    bool plain;       /* frames come from a decoder of videos: RGB, all of them */
    int64_t expected; /* frames that are to come */
    int64_t done;
    struct frame_steps steps;
    struct frame_resizer *resizer;
    struct patch_table table;
};

/* Frames go to the device as they were decoded where all of them are RGB and take no more bytes than their
 * patches would; then no step is left for the host. Else the host resizes, and the device cuts. */
static enum status keep_frames(struct cutting *cutting, struct frame_steps *host, struct error *err) {
    struct size to = frame_steps_result(host);
    struct frame_steps device = *host;
    int64_t whole = device.from.width * device.from.height, patches = to.width * to.height;
    if (cutting->plain && whole <= patches * (int64_t)sizeof(float))
        host->count = 0;
    else
        device = (struct frame_steps){.from = to};
    cutting->visual->frames =
        device_frames_new(&device, cutting->expected, &cutting->options->processor, err);
    return cutting->visual->frames ? STATUS_OK : STATUS_FAILED;
}

static enum status begin(struct cutting *cutting, struct size from, struct error *err) {
    const struct visual_options *options = cutting->options;
    struct visual *visual = cutting->visual;
    if (plan_steps(options, cutting->image, cutting->expected, from, &cutting->steps, err))
        return STATUS_FAILED;
    visual->source_size = from;
    set_grid(options, cutting->expected, frame_steps_result(&cutting->steps), visual);
    size_t cells = (size_t)visual->rows * (size_t)visual->columns;
    if (cells > MAX_BYTES / sizeof(float))
        return error_set(err, "%" PRId64 " frames of this size are too many at once", cutting->expected);
    struct frame_steps host = cutting->steps;
    if (options->frames) {
        if (keep_frames(cutting, &host, err)) return STATUS_FAILED;
    } else {
        patch_table_fill(&options->processor, &cutting->table);
        visual->patches = memory_new(cells, sizeof *visual->patches, "patches", err);
        if (!visual->patches) return STATUS_FAILED;
    }
    cutting->resizer = frame_resizer_new(&host, err);
    return cutting->resizer ? STATUS_OK : STATUS_FAILED;
}

static float *group_rows(const struct visual *visual, int64_t group) {
    return visual->patches + group * visual->grid[1] * visual->grid[2] * visual->columns;
}

static enum status cut_frame(void *context, int64_t index, const struct picture *picture, struct error *err) {
    struct cutting *cutting = context;
    const struct patch_config *processor = &cutting->options->processor;
    (void)index;
    if (!cutting->resizer && begin(cutting, picture->size, err)) return STATUS_FAILED;
    struct size from = cutting->steps.from;
    if (picture->size.width != from.width || picture->size.height != from.height)
        return error_set(
            err, "the size of its frames changes from %" PRId64 " x %" PRId64 " to %" PRId64 " x %" PRId64,
            from.width, from.height, picture->size.width, picture->size.height);
    const struct picture *resized;
    if (frame_resize(cutting->resizer, picture, &resized, err)) return STATUS_FAILED;
    if (cutting->visual->frames)
        device_frames_set(cutting->visual->frames, cutting->done, resized);
    else
        patches_write(processor, &cutting->table, resized->size, resized->pixels, resized->stride,
                      cutting->done % processor->temporal,
                      group_rows(cutting->visual, cutting->done / processor->temporal));
    cutting->done++;
    return STATUS_OK;
}

/* Fills the last group with its last frame, and counts only the groups that are there. */
static enum status end(struct cutting *cutting, struct error *err) {
    const struct patch_config *processor = &cutting->options->processor;
    struct visual *visual = cutting->visual;
    if (cutting->done == 0) return error_set(err, "none of the frames wanted could be decoded");
    int64_t group = (cutting->done - 1) / processor->temporal;
    int64_t place = (cutting->done - 1) % processor->temporal + 1;
    if (visual->frames) visual->frames->count = cutting->done; /* the device fills the group */
    for (; visual->patches && place < processor->temporal; place++)
        patches_repeat(processor, place, group_rows(visual, group), visual->grid[1] * visual->grid[2]);
    set_grid(cutting->options, cutting->done, frame_steps_result(&cutting->steps), visual);
    return STATUS_OK;
}

/* Chooses among `total` frames, decodes and cuts. *frames receives the true number where it was seen. */
static enum status read_frames(struct video *video, const struct visual_options *options, int64_t total,
                               struct visual *visual, int64_t *frames, struct error *err) {
    const struct video_info *info = video_info(video);
    if (choose_frames(options, info, total, visual, err)) return STATUS_FAILED;
    struct cutting cutting = {
        .options = options,
        .visual = visual,
        .image = info->kind == VIDEO_FOLDER && options->policy->folder_is_images,
        .plain = info->kind != VIDEO_FOLDER,
        .expected = visual->index_count,
    };
    enum status status =
        video_decode(video, visual->indices, visual->index_count, cut_frame, &cutting, frames, err);
    if (!status) status = end(&cutting, err);
    frame_resizer_free(cutting.resizer);
    return status;
}

/* ---- */

static enum status open_video(const char *path, const struct visual_options *options, struct video **video,
                              int64_t *total, struct error *err) {
    struct video_options wish = {.threads = options->threads, .keep_rotation = options->keep_rotation};
    if (video_open(path, &wish, video, err)) return STATUS_FAILED;
    const struct video_info *info = video_info(*video);
    *total = options->policy->trusts_header && info->stated_frames ? info->stated_frames : info->frames;
    return STATUS_OK;
}

/* Errors of deeper layers do not all know the path. */
static void name_path(const char *path, struct error *err) {
    size_t length = strlen(path);
    if (strncmp(err->message, path, length) != 0) error_prefix(err, "%s", path);
}

enum status visual_read_video(const char *path, const struct visual_options *options, struct visual *visual,
                              struct error *err) {
    struct video *video = NULL;
    int64_t total = 0;
    *visual = (struct visual){0};
    enum status status = open_video(path, options, &video, &total, err);
    /* A second round where the packets miscounted the frames and the policy counts. */
    for (int round = 0; !status && round < 2; round++) {
        int64_t frames = 0;
        bool counted = !options->policy->trusts_header || !video_info(video)->stated_frames;
        visual_free(visual);
        status = read_frames(video, options, total, visual, &frames, err);
        if (!counted || frames == 0 || frames == total || options->stated_frames_only) break;
        if (round == 0) {
            total = frames;
            status = STATUS_OK;
        }
    }
    if (status) {
        name_path(path, err);
        visual_free(visual);
    }
    video_close(video);
    return status;
}

enum status visual_measure_video(const char *path, const struct visual_options *options,
                                 struct visual *visual, struct error *err) {
    struct video *video = NULL;
    struct frame_steps steps;
    int64_t total = 0;
    *visual = (struct visual){0};
    enum status status = open_video(path, options, &video, &total, err);
    if (!status) status = choose_frames(options, video_info(video), total, visual, err);
    if (!status) {
        const struct video_info *info = video_info(video);
        bool image = info->kind == VIDEO_FOLDER && options->policy->folder_is_images;
        visual->source_size = info->size;
        status = plan_steps(options, image, visual->index_count, info->size, &steps, err);
        if (!status) set_grid(options, visual->index_count, frame_steps_result(&steps), visual);
    }
    if (status) {
        name_path(path, err);
        visual_free(visual);
    }
    video_close(video);
    return status;
}

enum status visual_read_image(const char *path, const struct visual_options *options, struct visual *visual,
                              struct error *err) {
    struct picture picture = {0};
    struct cutting cutting = {.options = options, .visual = visual, .image = true, .expected = 1};
    *visual = (struct visual){.second_per_grid = 1.0,
                              .inference_second_per_grid = 1.0,
                              .sample_fps = 1.0,
                              .source_frames = 1,
                              .source_rate = 1.0};
    enum status status = picture_read(path, &picture, err);
    if (!status) status = cut_frame(&cutting, 0, &picture, err);
    if (!status) status = end(&cutting, err);
    frame_resizer_free(cutting.resizer);
    picture_free(&picture);
    if (status) {
        name_path(path, err);
        visual_free(visual);
    }
    return status;
}

void visual_drop_patches(struct visual *visual) {
    free(visual->patches);
    vision_frames_free(visual->frames);
    visual->patches = NULL;
    visual->frames = NULL;
}

void visual_free(struct visual *visual) {
    visual_drop_patches(visual);
    free(visual->indices);
    *visual = (struct visual){0};
}

size_t visual_bytes(const struct visual *visual) {
    size_t patches = visual->patches ? (size_t)visual->rows * (size_t)visual->columns * sizeof(float) : 0;
    size_t frames = visual->frames ? vision_frames_bytes(visual->frames) : 0;
    return patches + frames + (size_t)visual->index_count * sizeof *visual->indices;
}
