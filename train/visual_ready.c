#include "train/visual_ready.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"

/* All that the features of a visual depend on, the tower aside. */
static char *visual_key(const char *path, bool image, const struct visual *visual,
                        const struct visual_options *options, struct error *err) {
    struct stat file = {0};
    if (stat(path, &file) != 0) file.st_size = -1; /* a folder's pictures are told by its time */
    struct text key = {0};
    text_format(&key, "%s|%lld|%lld.%09ld|%d|%lldx%lldx%lld", path, (long long)file.st_size,
                (long long)file.st_mtim.tv_sec, file.st_mtim.tv_nsec, image, (long long)visual->grid[0],
                (long long)visual->grid[1], (long long)visual->grid[2]);
    text_format(&key, "|%g|%lld|%g|%g|%g|%g", options->fps, (long long)options->max_frames,
                options->min_pixels, options->max_pixels, options->image_min_pixels,
                options->image_max_pixels);
    text_format(&key, "|%g|%g", options->processor.min_pixels, options->processor.max_pixels);
    if (options->budget_pixels > 0)
        text_format(&key, "|%lld|%g|%g", (long long)options->min_frames, options->budget_pixels,
                    options->total_pixels);
    return text_take(&key, "a key of the vision cache", err);
}

enum status visual_make_ready(const struct visual_source *source, const char *path, bool image,
                              struct visual *visual, struct ready_visual *ready, bool *mismatch,
                              struct error *err) {
    *ready = (struct ready_visual){0};
    if (source->cache) {
        ready->key = visual_key(path, image, visual, source->options, err);
        if (!ready->key) return STATUS_FAILED;
        const struct visual_grid grid = {.t = visual->grid[0], .h = visual->grid[1], .w = visual->grid[2]};
        size_t size = vision_features_bytes(source->model, &grid);
        enum status status = vision_cache_find(source->cache, ready->key, size, &ready->found, err);
        if (status != STATUS_OK || ready->found.data) return status;
    }
    struct visual decoded = {0};
    enum status status = sample_decode(NULL, path, image, source->options, &decoded, err);
    if (status != STATUS_OK) return status;
    *mismatch = memcmp(decoded.grid, visual->grid, sizeof decoded.grid) != 0;
    visual_free(visual);
    *visual = decoded;
    return STATUS_OK;
}

void ready_visual_free(struct ready_visual *ready) {
    free(ready->key);
    vision_cache_release(&ready->found);
    *ready = (struct ready_visual){0};
}
