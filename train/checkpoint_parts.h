/* What the files of train/checkpoint.h share. */
#ifndef VS2_TRAIN_CHECKPOINT_PARTS_H
#define VS2_TRAIN_CHECKPOINT_PARTS_H

#include "model/safetensors.h"
#include "train/checkpoint.h"

enum { CHECKPOINT_FORMAT = 1, CHECKPOINT_PROCESSES = 1 << 20, STATE_NAME_SIZE = PARAMETER_NAME_SIZE + 32 };

extern const char checkpoint_state_folder[]; /* "vs2_state" */
extern const char checkpoint_state_file[];   /* "state.json" in it */
extern const char
    *const checkpoint_copied[];             /* files of the source that go with the weights; ends with NULL */
extern const char checkpoint_final_ready[]; /* the final model, complete, on its way into the folder */

/* Whether processes share the state: then this one writes its shards. */
bool checkpoint_is_shared(const struct checkpoint_run *run);

/* Of the run's parameter: what this process keeps of it. */
struct shard checkpoint_shard(const struct checkpoint_run *run, size_t index);

/* Where process `rank` of `size` has its tensors in the folder of a checkpoint; free() it. */
char *checkpoint_state_path(const char *folder, int rank, int size, struct error *err);

/* How many parts a trained parameter has in the run's state. */
size_t checkpoint_part_count(const struct checkpoint_run *run);

/* The name of a part of a trained parameter in vs2_state/: "NAME.weight", ".first_moment", ".second_moment",
 * ".reference". */
void checkpoint_part_name(const struct parameter *parameter, enum checkpoint_part part,
                          char name[STATE_NAME_SIZE]);

/* A source's file, in memory. */
struct copied_file {
    const char *name;
    char *data; /* NULL: the source has none */
    size_t length;
};

/* What a folder is written from. */
struct checkpoint_content {
    const struct checkpoint_run *run;
    const struct safetensors *source;
    const json_t *source_config;
    const struct copied_file *copied; /* as many as checkpoint_copied */
    struct checkpoint_reader reader;
    const struct checkpoint_file *files;
    size_t file_count;
    int64_t step; /* of vs2_state/ */
    const json_t *state;
};

/* checkpoint_folder.c: writes the model's files into an existing folder, each synced. */
enum status checkpoint_write_folder(const struct checkpoint_content *content, const char *folder,
                                    struct error *err);

/* checkpoint_state.c: makes vs2_state/ in it, with a folder for each process. */
enum status checkpoint_make_state(const struct checkpoint_run *run, const char *folder, struct error *err);

/* Writes there what this process keeps; *checksums is the JSON text of the tensors' CRC-32C, to be freed. */
enum status checkpoint_write_shards(const struct checkpoint_content *content, const char *folder,
                                    char **checksums, struct error *err);

/* And the last file: what makes the checkpoint complete. `checksums` are those of all processes. */
enum status checkpoint_write_state(const struct checkpoint_content *content, const char *folder,
                                   char *const *checksums, struct error *err);

/* A stored tensor of vs2_state/: the shard of a part of a parameter. */
struct checkpoint_piece {
    const struct stored_tensor *stored;
    size_t index;
    enum checkpoint_part part;
    struct shard shard;
    uint32_t checksum;
};

/* All of them, by process, then parameter, then part. */
struct checkpoint_tensors {
    struct safetensors *stored; /* [processes], of those that saved them */
    int processes;
    struct checkpoint_piece *pieces;
    size_t count, capacity;
    char *folder;
};

/* checkpoint_clean.c: whether the folder's vs2_state says that it is complete; *state is its state.json then,
 * to be json_decref'd. The error says what is missing. */
enum status checkpoint_complete(const char *folder, json_t **state, struct error *err);

/* checkpoint_clean.c: gives a complete folder its name, in place of what has it. */
enum status checkpoint_publish(const char *output_dir, const char *written, const char *name,
                               struct error *err);

/* checkpoint_clean.c: the number of the checkpoint there that was written last; 0: there is none, or it has
 * no number. */
int64_t checkpoint_last_save(const char *output_dir);

/* checkpoint_clean.c: removes the checkpoints written first beyond `limit`; step `keep` stays. */
enum status checkpoint_limit(const char *output_dir, int64_t limit, int64_t keep, struct error *err);

/* checkpoint_clean.c: moves the files of OUTPUT_DIR/final.ready, or what an attempt before has left of them,
 * into OUTPUT_DIR; nothing to move is fine. */
enum status checkpoint_move_final(const char *output_dir, struct error *err);

#endif
