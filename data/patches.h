/* From 8-bit frames to the rows that the vision tower takes. */
#ifndef VS2_DATA_PATCHES_H
#define VS2_DATA_PATCHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/sizes.h"

/* The processor's settings. */
struct patch_config {
    int64_t patch, temporal, merge; /* 14, 2, 2 */
    double min_pixels, max_pixels;  /* of a frame after the processor's own resize */
    double mean[3], std[3];
};

/* The published values. */
struct patch_config patch_config_default(void);

/* Reads FOLDER/preprocessor_config.json, or for videos FOLDER/video_preprocessor_config.json where there is
 * one; what the file does not say, or when there is none, has the published value. */
enum status patch_config_read(const char *folder, bool video, struct patch_config *config, struct error *err);

/* The columns of a row: 3 * temporal * patch * patch (1176 as published). */
int64_t patch_columns(const struct patch_config *config);

/* (byte / 255 - mean) / std for every byte and channel, in the reference's float32 operations. */
struct patch_table {
    float values[3][256];
};
void patch_table_fill(const struct patch_config *config, struct patch_table *table);

/* Writes one RGB frame of `size`, both sides multiples of patch * merge, as frame `place` (0 to temporal - 1)
 * of one temporal group. `rows` is the group's first row. Rows come in groups of merge x merge patches, each
 * group left to right, top to bottom, as do the groups; a row's columns are [channel][place][y][x]. */
void patches_write(const struct patch_config *config, const struct patch_table *table, struct size size,
                   const uint8_t *rgb, size_t stride, int64_t place, float *rows);

/* Copies frame `place` - 1 of the temporal group to `place`, in `count` rows. */
void patches_repeat(const struct patch_config *config, int64_t place, float *rows, int64_t count);

#endif
