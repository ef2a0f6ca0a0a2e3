#include "data/patches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/text.h"

enum { CONFIG_LIMIT = 1 << 20, MAX_PATCH = 256, MAX_TEMPORAL = 16, MAX_MERGE = 16 };

struct patch_config patch_config_default(void) {
    return (struct patch_config){
        .patch = 14,
        .temporal = 2,
        .merge = 2,
        .min_pixels = 3136,
        .max_pixels = 12845056,
        .mean = {0.48145466, 0.4578275, 0.40821073},
        .std = {0.26862954, 0.26130258, 0.27577711},
    };
}

static enum status get_three(const json_t *object, const char *key, double values[3], const char *place,
                             struct error *err) {
    const json_t *array = json_object_get(object, key);
    if (!array || json_is_null(array)) return STATUS_OK;
    if (json_array_size(array) != 3) return error_set(err, "%s: %s: not three numbers", place, key);
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_number(value)) return error_set(err, "%s: %s: not three numbers", place, key);
        values[i] = json_number_value(value);
    }
    return STATUS_OK;
}

static enum status parse(const json_t *root, struct patch_config *config, const char *place,
                         struct error *err) {
    if (!json_is_object(root)) return error_set(err, "%s: not a JSON object", place);
    struct patch_config read = *config;
    long long patch, temporal, merge;
    const json_t *size = json_object_get(root, "size");
    if (json_is_object(size) &&
        (json_get_number(size, "shortest_edge", read.min_pixels, &read.min_pixels, place, err) ||
         json_get_number(size, "longest_edge", read.max_pixels, &read.max_pixels, place, err)))
        return STATUS_FAILED;
    if (json_get_integer(root, "patch_size", 1, MAX_PATCH, read.patch, &patch, place, err) ||
        json_get_integer(root, "temporal_patch_size", 1, MAX_TEMPORAL, read.temporal, &temporal, place,
                         err) ||
        json_get_integer(root, "merge_size", 1, MAX_MERGE, read.merge, &merge, place, err) ||
        json_get_number(root, "min_pixels", read.min_pixels, &read.min_pixels, place, err) ||
        json_get_number(root, "max_pixels", read.max_pixels, &read.max_pixels, place, err) ||
        get_three(root, "image_mean", read.mean, place, err) ||
        get_three(root, "image_std", read.std, place, err))
        return STATUS_FAILED;
    read.patch = patch;
    read.temporal = temporal;
    read.merge = merge;
    if (!(read.min_pixels > 0 && read.max_pixels >= read.min_pixels))
        return error_set(err, "%s: min_pixels and max_pixels are not a range", place);
    for (int c = 0; c < 3; c++)
        if (!(read.std[c] > 0)) return error_set(err, "%s: image_std: not above 0", place);
    *config = read;
    return STATUS_OK;
}

enum status patch_config_read(const char *folder, bool video, struct patch_config *config,
                              struct error *err) {
    static const char *const names[] = {"video_preprocessor_config.json", "preprocessor_config.json"};
    *config = patch_config_default();
    for (size_t i = video ? 0 : 1; i < sizeof names / sizeof *names; i++) {
        struct text path = {0};
        text_format(&path, "%s/%s", folder, names[i]);
        char *name = text_take(&path, "a file name", err);
        if (!name) return STATUS_FAILED;
        enum status status = STATUS_OK;
        bool there = access(name, F_OK) == 0;
        if (there) {
            json_t *root = json_read_file(name, CONFIG_LIMIT, err);
            status = root ? parse(root, config, name, err) : STATUS_FAILED;
            json_decref(root);
        }
        free(name);
        if (there) return status;
    }
    return STATUS_OK;
}

int64_t patch_columns(const struct patch_config *config) {
    return 3 * config->temporal * config->patch * config->patch;
}

void patch_table_fill(const struct patch_config *config, struct patch_table *table) {
    for (int c = 0; c < 3; c++) {
        float mean = (float)config->mean[c] * 255.0f;
        float std = (float)config->std[c] * 255.0f;
        for (int byte = 0; byte < 256; byte++) table->values[c][byte] = ((float)byte - mean) / std;
    }
}

/* One patch of one frame into its row. */
static inline void write_patch(const struct patch_table *table, const uint8_t *rgb, size_t stride,
                               int64_t patch, int64_t plane, float *row) {
    for (int64_t y = 0; y < patch; y++) {
        const uint8_t *pixel = rgb + (size_t)y * stride;
        float *red = row + y * patch;
        float *green = red + plane;
        float *blue = green + plane;
        for (int64_t x = 0; x < patch; x++) {
            red[x] = table->values[0][pixel[3 * x]];
            green[x] = table->values[1][pixel[3 * x + 1]];
            blue[x] = table->values[2][pixel[3 * x + 2]];
        }
    }
}

void patches_write(const struct patch_config *config, const struct patch_table *table, struct size size,
                   const uint8_t *rgb, size_t stride, int64_t place, float *rows) {
    int64_t patch = config->patch;
    int64_t merge = config->merge;
    int64_t columns = patch_columns(config);
    int64_t plane = config->temporal * patch * patch;
    int64_t cell = patch * merge;
    float *row = rows + place * patch * patch;
    for (int64_t top = 0; top < size.height; top += cell)
        for (int64_t left = 0; left < size.width; left += cell)
            for (int64_t i = 0; i < merge * merge; i++, row += columns) {
                int64_t y = top + i / merge * patch;
                int64_t x = left + i % merge * patch;
                write_patch(table, rgb + (size_t)y * stride + (size_t)x * 3, stride, patch, plane, row);
            }
}

void patches_repeat(const struct patch_config *config, int64_t place, float *rows, int64_t count) {
    int64_t area = config->patch * config->patch;
    for (int64_t i = 0; i < count * 3; i++) {
        float *plane = rows + i * config->temporal * area;
        memcpy(plane + place * area, plane + (place - 1) * area, (size_t)area * sizeof *plane);
    }
}
