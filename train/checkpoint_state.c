/* vs2_state/ of a checkpoint folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/memory.h"
#include "model/checkpoint_write.h"
#include "train/checkpoint_parts.h"

const char checkpoint_state_folder[] = "vs2_state";
const char checkpoint_state_file[] = "state.json";

bool checkpoint_is_shared(const struct checkpoint_run *run) {
    return communicator_size(run->processes) > 1;
}

struct shard checkpoint_shard(const struct checkpoint_run *run, size_t index) {
    const struct parameter *parameter = &run->parameters[index];
    return communicator_shard(run->processes, parameter->rows, parameter->cols,
                              communicator_rank(run->processes));
}

/* "vs2_state", or of several processes "vs2_state/process-1-of-4". */
static void state_name(int rank, int size, char name[STATE_NAME_SIZE]) {
    if (size == 1)
        snprintf(name, STATE_NAME_SIZE, "%s", checkpoint_state_folder);
    else
        snprintf(name, STATE_NAME_SIZE, "%s/process-%d-of-%d", checkpoint_state_folder, rank + 1, size);
}

char *checkpoint_state_path(const char *folder, int rank, int size, struct error *err) {
    char name[STATE_NAME_SIZE];
    state_name(rank, size, name);
    return file_join(folder, name, err);
}

void checkpoint_part_name(const struct parameter *parameter, enum checkpoint_part part,
                          char name[STATE_NAME_SIZE]) {
    static const char *const parts[] = {"weight", "first_moment", "second_moment", "reference"};
    snprintf(name, STATE_NAME_SIZE, "%s.%s", parameter->name, parts[part]);
}

size_t checkpoint_part_count(const struct checkpoint_run *run) {
    return run->has_reference ? CHECKPOINT_MOST_PARTS : CHECKPOINT_PARTS;
}

enum status checkpoint_make_state(const struct checkpoint_run *run, const char *folder, struct error *err) {
    int size = communicator_size(run->processes);
    char *path = file_join(folder, checkpoint_state_folder, err);
    enum status status = path ? folder_make(path, err) : STATUS_FAILED;
    free(path);
    for (int r = 0; status == STATUS_OK && size > 1 && r < size; r++) {
        path = checkpoint_state_path(folder, r, size, err);
        status = path ? folder_make(path, err) : STATUS_FAILED;
        free(path);
    }
    return status;
}

/* ---- What a process keeps ---------------------------------------------------------------------------- */

/* The tensors of a process: `parts` of each parameter that it keeps something of. */
struct shards {
    const struct checkpoint_content *content;
    size_t parts, count; /* tensors */
    size_t *parameters;  /* [count / parts] */
    struct checkpoint_entry *entries;
    char (*names)[STATE_NAME_SIZE];
    uint32_t *checksums;
};

static enum status read_shard(void *state, size_t index, int64_t first, int64_t count, void *elements,
                              struct error *err) {
    struct shards *shards = state;
    const struct checkpoint_reader *reader = &shards->content->reader;
    size_t parameter = shards->parameters[index / shards->parts];
    struct shard shard = checkpoint_shard(shards->content->run, parameter);
    enum status status = reader->read(reader->state, parameter, (enum checkpoint_part)(index % shards->parts),
                                      shard.first + first, count, elements, err);
    if (status == STATUS_OK)
        shards->checksums[index] =
            crc32c(first == 0 ? 0 : shards->checksums[index], elements, (size_t)count * sizeof(float));
    return status;
}

static void shards_free(struct shards *shards) {
    free(shards->parameters);
    free(shards->entries);
    free(shards->names);
    free(shards->checksums);
}

static enum status shards_list(struct shards *shards, const struct checkpoint_content *content,
                               struct error *err) {
    const struct checkpoint_run *run = content->run;
    size_t parts = checkpoint_part_count(run), most = parts * run->count;
    *shards = (struct shards){.content = content, .parts = parts};
    shards->parameters = memory_new(run->count, sizeof *shards->parameters, "a checkpoint", err);
    shards->entries = memory_new(most, sizeof *shards->entries, "a checkpoint", err);
    shards->names = memory_new(most, sizeof *shards->names, "a checkpoint", err);
    shards->checksums = memory_new(most, sizeof *shards->checksums, "a checkpoint", err);
    if (!shards->parameters || !shards->entries || !shards->names || !shards->checksums) return STATUS_FAILED;
    for (size_t i = 0; i < run->count; i++) {
        struct shard shard = checkpoint_shard(run, i);
        if (!run->trained[i] || shard.count == 0) continue;
        const struct parameter *parameter = &run->parameters[i];
        int64_t cols = parameter->rows == 1 ? shard.count : parameter->cols;
        shards->parameters[shards->count / parts] = i;
        for (size_t part = 0; part < parts; part++, shards->count++) {
            char *name = shards->names[shards->count];
            checkpoint_part_name(parameter, (enum checkpoint_part)part, name);
            shards->entries[shards->count] =
                (struct checkpoint_entry){name, DTYPE_F32, 2, {shard.count / cols, cols}};
        }
    }
    return STATUS_OK;
}

/* NULL with err set when out of memory. */
static char *checksums_text(const struct shards *shards, struct error *err) {
    struct text text = {0};
    for (size_t i = 0; i < shards->count; i++)
        text_format(&text, "%s%u", i == 0 ? "[" : ",", shards->checksums[i]);
    text_append_string(&text, shards->count == 0 ? "[]" : "]");
    return text_take(&text, "a checkpoint", err);
}

enum status checkpoint_write_shards(const struct checkpoint_content *content, const char *folder,
                                    char **checksums, struct error *err) {
    const struct checkpoint_run *run = content->run;
    struct shards shards;
    char *path = checkpoint_state_path(folder, communicator_rank(run->processes),
                                       communicator_size(run->processes), err);
    enum status status = shards_list(&shards, content, err);
    if (!path) status = STATUS_FAILED;
    const struct checkpoint_source from = {read_shard, &shards};
    if (status == STATUS_OK)
        status = checkpoint_write_tensors(path, shards.entries, shards.count, from, run->shard_bytes, err);
    if (status == STATUS_OK) {
        folder_sync(path);
        *checksums = checksums_text(&shards, err);
        if (!*checksums) status = STATUS_FAILED;
    }
    shards_free(&shards);
    free(path);
    return status;
}

/* ---- state.json -------------------------------------------------------------------------------------- */

/* Adds {name: bytes} of all files in FOLDER/INNER (NULL: the folder itself), but those below it. */
static enum status list_sizes(const char *folder, const char *inner, json_t *sizes, struct error *err) {
    struct folder_names list = {0};
    char *place = inner ? file_join(folder, inner, err) : memory_text(folder, strlen(folder), "a name", err);
    enum status status = place ? folder_list(place, &list, err) : STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < list.count; i++) {
        struct stat info;
        char name[512];
        char *path = file_join(place, list.names[i], err);
        snprintf(name, sizeof name, "%s%s%s", inner ? inner : "", inner ? "/" : "", list.names[i]);
        if (!path || stat(path, &info) != 0)
            status = path ? error_set(err, "%s: it is gone", path) : STATUS_FAILED;
        else if (S_ISREG(info.st_mode) &&
                 json_object_set_new(sizes, name, json_integer((json_int_t)info.st_size)) != 0)
            status = error_set(err, "out of memory for a checkpoint");
        free(path);
    }
    folder_names_free(&list);
    free(place);
    return status;
}

static enum status list_all_sizes(const char *folder, int processes, json_t *sizes, struct error *err) {
    enum status status = list_sizes(folder, NULL, sizes, err);
    for (int r = 0; status == STATUS_OK && r < processes; r++) {
        char name[STATE_NAME_SIZE];
        state_name(r, processes, name);
        status = list_sizes(folder, name, sizes, err);
    }
    return status;
}

static enum status join_checksums(char *const *checksums, int processes, json_t *sums, struct error *err) {
    enum status status = STATUS_OK;
    for (int r = 0; status == STATUS_OK && r < processes; r++) {
        json_t *own = json_read_text(checksums[r], strlen(checksums[r]), "checksums", err);
        if (!own)
            status = STATUS_FAILED;
        else if (json_array_extend(sums, own) != 0)
            status = error_set(err, "out of memory for a checkpoint");
        json_decref(own);
    }
    return status;
}

enum status checkpoint_write_state(const struct checkpoint_content *content, const char *folder,
                                   char *const *checksums, struct error *err) {
    int processes = communicator_size(content->run->processes);
    json_t *sizes = json_object(), *sums = json_array();
    char *inner = file_join(folder, checkpoint_state_folder, err);
    enum status status = sizes && sums ? STATUS_OK : error_set(err, "out of memory for a checkpoint");
    if (!inner) status = STATUS_FAILED;
    if (status == STATUS_OK) status = list_all_sizes(folder, processes, sizes, err);
    if (status == STATUS_OK) status = join_checksums(checksums, processes, sums, err);
    if (status == STATUS_OK) {
        json_t *json = json_pack("{s:i, s:I, s:I, s:i, s:O, s:O, s:O, s:O}", "format", CHECKPOINT_FORMAT,
                                 "step", (json_int_t)content->step, "saves",
                                 (json_int_t)checkpoint_last_save(content->run->output_dir) + 1, "processes",
                                 processes, "state", content->state, "configuration",
                                 content->run->configuration, "files", sizes, "checksums", sums);
        status = json_write_file(inner, checkpoint_state_file, json, err);
        json_decref(json);
    }
    if (status == STATUS_OK) folder_sync(inner);
    json_decref(sizes);
    json_decref(sums);
    free(inner);
    return status;
}
