#include "tests/model/support_checkpoint.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tensor/float16.h"

char *support_folder(void) {
    char *folder = NULL;
    const char *base = getenv("TMPDIR");
    assert_true(asprintf(&folder, "%s/vs2-test-XXXXXX", base && *base ? base : "/tmp") > 0);
    assert_non_null(mkdtemp(folder));
    return folder;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void support_folder_remove(char *folder) {
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(folder);
}

void support_write(const char *folder, const char *name, const void *data, size_t size) {
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_true(length > 0 && (size_t)length < sizeof path);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void support_write_text(const char *folder, const char *name, const char *text) {
    support_write(folder, name, text, strlen(text));
}

struct model_config support_tiny_config(bool tied) {
    return (struct model_config){
        .hidden = 64,
        .layers = 2,
        .heads = 4,
        .kv_heads = 2,
        .head_dim = 16,
        .intermediate = 96,
        .vocab = 320,
        .max_positions = 4096,
        .rms_epsilon = 1e-6,
        .rope_theta = 1e6,
        .mrope_section = {2, 3, 3},
        .tied_embeddings = tied,
        .vision = {.depth = 2,
                   .hidden = 32,
                   .heads = 2,
                   .intermediate = 40,
                   .out_hidden = 64,
                   .in_channels = 3,
                   .patch = 14,
                   .temporal_patch = 2,
                   .merge = 2,
                   .window = 56,
                   .full_blocks = {1},
                   .full_block_count = 1,
                   .tokens_per_second = 2},
        .image_token = 300,
        .video_token = 301,
        .vision_start_token = 302,
        .vision_end_token = 303,
    };
}

float support_value(const char *name, int64_t index) {
    uint32_t hash = 2166136261u;
    for (const char *c = name; *c; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
    hash = (hash ^ (uint32_t)index) * 2654435761u;
    return (float)((int)(hash >> 25) - 64) / 64; /* 7 bits: exact in 8 of bf16 */
}

struct support_source {
    const struct checkpoint_entry *entries;
    const char (*new_names)[PARAMETER_NAME_SIZE];
};

static uint16_t exact_f16(float value) {
    if (value == 0) return 0;
    uint32_t bits = float_to_bits(value);
    return (uint16_t)((bits >> 16 & 0x8000) | (((bits >> 23 & 0xff) - 112) << 10) | (bits >> 13 & 0x3ff));
}

static enum status read_values(void *state, size_t index, int64_t first, int64_t count, void *elements,
                               struct error *err) {
    (void)err;
    const struct support_source *source = state;
    for (int64_t i = 0; i < count; i++) {
        float value = support_value(source->new_names[index], first + i);
        switch (source->entries[index].dtype) {
        case DTYPE_F32: ((float *)elements)[i] = value; break;
        case DTYPE_BF16: ((uint16_t *)elements)[i] = float_to_bf16(value); break;
        default: ((uint16_t *)elements)[i] = exact_f16(value); break;
        }
    }
    return STATUS_OK;
}

void support_write_weights(const char *folder, const struct model_config *config,
                           struct support_changes changes) {
    struct error err;
    size_t count, kept = 0;
    struct parameter *parameters = parameters_list(config, &count, &err);
    assert_non_null(parameters);
    char(*names)[PARAMETER_NAME_SIZE] = calloc(count + 1, sizeof *names);
    char(*new_names)[PARAMETER_NAME_SIZE] = calloc(count + 1, sizeof *new_names);
    struct checkpoint_entry *entries = calloc(count + 1, sizeof *entries);
    for (size_t i = 0; i < count; i++) {
        if (changes.leave_out && strstr(parameters[i].name, changes.leave_out)) continue;
        strcpy(new_names[kept], parameters[i].name);
        entries[kept] = checkpoint_entry_of(&parameters[i], changes.dtype, names[kept]);
        if (changes.new_names) entries[kept].name = new_names[kept];
        if (changes.reshape && strcmp(parameters[i].name, changes.reshape) == 0) entries[kept].shape[0]++;
        kept++;
    }
    if (changes.add) {
        snprintf(new_names[kept], sizeof *new_names, "%s", changes.add);
        entries[kept] = (struct checkpoint_entry){
            .name = new_names[kept], .dtype = changes.dtype, .rank = 1, .shape = {3}};
        kept++;
    }
    struct support_source values = {.entries = entries, .new_names = (const void *)new_names};
    struct checkpoint_source source = {.read = read_values, .state = &values};
    assert_int_equal(checkpoint_write_tensors(folder, entries, kept, source, changes.shard_bytes, &err),
                     STATUS_OK);
    free(entries);
    free(new_names);
    free(names);
    free(parameters);
}

char *support_checkpoint(const struct model_config *config, struct support_changes changes) {
    struct error err;
    char *folder = support_folder();
    const struct generation_config generation = {
        .temperature = 1, .top_p = 1, .repetition_penalty = 1, .stop_tokens = {299}, .stop_token_count = 1};
    assert_int_equal(checkpoint_write_config(folder, config, &generation, changes.dtype, &err), STATUS_OK);
    support_write_weights(folder, config, changes);
    return folder;
}
