/* The order of patches, and the processor's settings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/patches.h"

/* Each pixel tells where it lies; the row and column of every patch value follow from the definition. */
static void test_order(void **state) {
    (void)state;
    enum { PATCH = 3, MERGE = 2, WIDTH = 12, HEIGHT = 6, COLUMNS = 3 * 2 * PATCH * PATCH };
    struct patch_config config = {
        .patch = PATCH, .temporal = 2, .merge = MERGE, .mean = {0, 0, 0}, .std = {1, 1, 1}};
    struct patch_table table;
    uint8_t rgb[HEIGHT][WIDTH][3];
    float rows[WIDTH * HEIGHT / (PATCH * PATCH)][COLUMNS] = {{0}};
    patch_table_fill(&config, &table);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < 3; c++) rgb[y][x][c] = (uint8_t)(y * WIDTH + x + 80 * c);
    struct size size = {WIDTH, HEIGHT};
    patches_write(&config, &table, size, &rgb[0][0][0], sizeof rgb[0], 0, &rows[0][0]);
    patches_repeat(&config, 1, &rows[0][0], sizeof rows / sizeof rows[0]);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            int group = y / (PATCH * MERGE) * (WIDTH / (PATCH * MERGE)) + x / (PATCH * MERGE);
            int row = group * MERGE * MERGE + y / PATCH % MERGE * MERGE + x / PATCH % MERGE;
            for (int c = 0; c < 3; c++)
                for (int time = 0; time < 2; time++) {
                    int column = ((c * 2 + time) * PATCH + y % PATCH) * PATCH + x % PATCH;
                    assert_true(rows[row][column] == (float)rgb[y][x][c] / 255.0f);
                }
        }
}

static void test_table(void **state) {
    (void)state;
    struct patch_config config = patch_config_default();
    struct patch_table table;
    patch_table_fill(&config, &table);
    assert_int_equal(patch_columns(&config), 1176);
    /* (0 - mean) / std and (1 - mean) / std */
    assert_true(table.values[0][0] > -1.792263f && table.values[0][0] < -1.792262f);
    assert_true(table.values[2][255] > 2.145897f && table.values[2][255] < 2.145898f);
}

static char folder[] = "/tmp/vs2-patches-XXXXXX";

static enum status read_text(const char *name, const char *text, bool video, struct patch_config *config,
                             struct error *err) {
    char path[128];
    struct error ignored;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_write(path, text, strlen(text), &ignored), STATUS_OK);
    return patch_config_read(folder, video, config, err);
}

static void test_config(void **state) {
    (void)state;
    struct patch_config config;
    struct error err;
    const char *name = "preprocessor_config.json";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(patch_config_read(folder, true, &config, &err), STATUS_OK);
    assert_true(config.max_pixels == 12845056 && config.patch == 14);
    assert_int_equal(read_text(name, "{\"min_pixels\": 100, \"max_pixels\": 2000, \"patch_size\": 7}", true,
                               &config, &err),
                     STATUS_OK);
    assert_true(config.min_pixels == 100 && config.max_pixels == 2000 && config.patch == 7);
    assert_int_equal(read_text("video_preprocessor_config.json",
                               "{\"size\": {\"shortest_edge\": 5, \"longest_edge\": 6}}", true, &config,
                               &err),
                     STATUS_OK);
    assert_true(config.min_pixels == 5 && config.max_pixels == 6 && config.patch == 14);
    assert_int_equal(patch_config_read(folder, false, &config, &err), STATUS_OK);
    assert_true(config.max_pixels == 2000);

    static const char *const wrong[] = {"{",
                                        "[]",
                                        "{\"patch_size\": 0}",
                                        "{\"image_mean\": [1, 2]}",
                                        "{\"image_std\": [1, 0, 1]}",
                                        "{\"image_std\": [1, \"x\", 1]}",
                                        "{\"min_pixels\": 9, \"max_pixels\": 3}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(read_text(name, wrong[i], false, &config, &err), STATUS_FAILED);
        assert_int_equal(strncmp(err.message, folder, strlen(folder)), 0);
    }
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
