/* Checkpoints of a training run, and its final model.
 *
 *   OUTPUT_DIR/checkpoint-N/         a model folder that transformers' from_pretrained loads as it is:
 *       config.json                  the source's own, only its dtype changed
 *       generation_config.json, preprocessor_config.json, tokenizer and chat files  copies of the source's
 *       model.safetensors            or model-0000X-of-0000Y.safetensors with their index
 *       trainer_state.json, trainer_log.jsonl, ...  the files that the caller gives
 *       vs2_state/model.safetensors  f32 weights and moments of what is trained, and a moving reference
 *       vs2_state/state.json         the caller's state, what must be equal on resume, all files' sizes, and
 * the checkpoint's number among those that were written here
 *
 * Where processes share the state each writes what it keeps, its shard (train/communicator.h) of every
 * parameter, side by side, and nothing of it goes over the wire:
 *
 *       vs2_state/process-1-of-4/model.safetensors
 *
 * The shards of a tensor, in the order of the processes, are the tensor; so any number of processes resumes
 * from them, and reads what it needs. The model itself is written by process 0, which the others give their
 * weights. The output folder must be the same one for all: on several machines, of a file system that they
 * share.
 *
 * A folder of that name is always complete: it is written as checkpoint-N.tmp-PID, synced and renamed. Where
 * it is to take the place of another, or an old one is removed, that one is renamed to checkpoint-N.old-PID
 * first. checkpoint_clean sweeps up after processes that were killed in between.
 */
#ifndef VS2_TRAIN_CHECKPOINT_H
#define VS2_TRAIN_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/text.h"
#include "model/config.h"
#include "model/parameters.h"
#include "train/communicator.h"

/* The three f32 arrays that a trained parameter has, of as many elements as the parameter; and a fourth in
 * runs whose reference model moves. */
enum checkpoint_part {
    CHECKPOINT_WEIGHT, /* the master weight */
    CHECKPOINT_FIRST_MOMENT,
    CHECKPOINT_SECOND_MOMENT,
    CHECKPOINT_PARTS,
    CHECKPOINT_REFERENCE = CHECKPOINT_PARTS, /* the reference model's weight */
    CHECKPOINT_MOST_PARTS,
};

/* Where they are read from: puts elements [first, first + count) of a part of parameter `index` into
 * `elements`. Called in the thread that saves, in order, for trained parameters only; pieces are a few MiB.
 * Where processes share the state each reads its shards, and process 0 all weights: it says when it is done
 * (`served`), and the others are in `serve` until then. Both may be NULL with one process. */
struct checkpoint_reader {
    enum status (*read)(void *state, size_t index, enum checkpoint_part part, int64_t first, int64_t count,
                        float *elements, struct error *err);
    enum status (*serve)(void *state, struct error *err);
    enum status (*served)(void *state, struct error *err);
    void *state;
};

/* What stays the same through a run. Everything is borrowed until checkpoint_writer_free. */
struct checkpoint_run {
    struct communicator *processes; /* that share the state; NULL: one has all of it, and writes it */
    const char *output_dir;         /* made when it is not there */
    const char *source; /* folder (hub_find) of the model trained from: its files are copied, and frozen
                           parameters come from there, not from the device */
    const struct model_config *config;
    const struct parameter *parameters; /* parameters_list of the configuration */
    const bool *trained;                /* [count]; the others are frozen */
    size_t count;
    enum dtype dtype; /* DTYPE_BF16 or DTYPE_F32: what model files hold; bf16 is the rounded master */
    const json_t *configuration; /* object: settings that a resumed run must share, compared key by key */
    bool only_model;             /* save_only_model: no vs2_state/; cannot be resumed */
    bool has_reference;          /* there is a CHECKPOINT_REFERENCE */
    int64_t total_limit;         /* save_total_limit: the oldest beyond it are removed; 0: none is */
    size_t snapshot_limit; /* bytes of host memory that a snapshot may take (checkpoint_snapshot_bytes): when
                              it fits, saving copies the state and returns, and a thread writes; when it does
                              not, or memory is refused, saving writes straight from the reader and returns
                              when done */
    size_t shard_bytes;    /* 0: 5 GB */
    struct checkpoint_reader reader;
};

/* A further file of the folder, such as trainer_state.json. It takes the place of a copied one of its name
 * (query_template.txt). Copied when given. */
struct checkpoint_file {
    const char *name;
    const char *data;
    size_t length;
};

/* Host memory that a checkpoint in the making takes when it is written by a thread: 12 bytes a trained
 * element that this process keeps (4 with only_model, 16 with has_reference). It is freed when the checkpoint
 * is written. */
size_t checkpoint_snapshot_bytes(const struct checkpoint_run *run);

struct checkpoint_writer;

/* NULL with err set on failure. Opens the source, so that it may vanish later. Not collective; the functions
 * that follow are, but for checkpoint_writer_free: all processes that share the state call them, and leave
 * with the same status. */
struct checkpoint_writer *checkpoint_writer_new(const struct checkpoint_run *run, struct error *err);

/* Begins to write checkpoint-STEP. `state` is any JSON object, copied; its numbers come back exactly; it and
 * `files` are those of process 0. Waits for the checkpoint before, and fails with that one's error, without
 * writing, if it failed: then nothing of it stays and the older ones are as they were. */
enum status checkpoint_save(struct checkpoint_writer *writer, int64_t step, const json_t *state,
                            const struct checkpoint_file *files, size_t count, struct error *err);

/* To be called now and then: gives the checkpoint its name when all processes have written their shards (one
 * process does so at once, in the thread), and tells of its failure, once. */
enum status checkpoint_poll(struct checkpoint_writer *writer, struct error *err);

/* The same, waiting until the last checkpoint is complete or has failed. */
enum status checkpoint_wait(struct checkpoint_writer *writer, struct error *err);

/* Waits, then writes the model into the output folder itself, without vs2_state/. All of it is first written
 * and synced elsewhere; whoever reads the folder at any moment finds the old model, the new one, or (for the
 * moment of renaming several shards) one without model files, never a mixture; checkpoint_clean completes
 * what was cut short. */
enum status checkpoint_save_final(struct checkpoint_writer *writer, const struct checkpoint_file *files,
                                  size_t count, struct error *err);

/* Ends the thread and frees; an error not asked for is lost, and so is a checkpoint of several processes that
 * was not waited for. writer may be NULL. */
void checkpoint_writer_free(struct checkpoint_writer *writer);

/* ---- Resuming ---------------------------------------------------------------------------------------- */

/* Sweeps up after processes that are no more: removes partial folders, puts back a checkpoint whose
 * replacement did not come, completes a final model that was being moved in. `alone`: no other run is writing
 * there, so that all that is not complete was left; else what a process of that number may be at stays. To be
 * called once before find and writer_new. */
enum status checkpoint_clean(const char *output_dir, bool alone, struct error *err);

/* The checkpoint written last of those in the folder that are complete and can be resumed; free() it; *folder
 * is NULL when there is none. A line for each that was passed over is appended to `notes` (may be NULL). */
enum status checkpoint_find(const char *output_dir, char **folder, struct text *notes, struct error *err);

struct checkpoint_resume {
    int64_t step;
    json_t *state; /* as given to checkpoint_save */
    struct checkpoint_tensors *tensors;
};

/* Opens a checkpoint to go on from, and checks that all its files are there in full, that it is of this
 * model, these trained parameters and this configuration; the error names the key or tensor that differs. Of
 * `run` the config, parameters, trained, count and configuration are used. */
enum status checkpoint_resume_open(const char *folder, const struct checkpoint_run *run,
                                   struct checkpoint_resume *resume, struct error *err);

/* Takes the state back: gets elements [first, first + count) of a part of parameter `index`. */
struct checkpoint_sink {
    struct shard (*wanted)(void *state, size_t index); /* what of the parameter is; NULL: all of it */
    enum status (*write)(void *state, size_t index, enum checkpoint_part part, int64_t first, int64_t count,
                         const float *elements, struct error *err);
    void *state;
};

/* Gives all parts of all trained parameters, a few MiB at a time, and checks their checksums on the way:
 * after a failure some may have been given already. Shards of which nothing is wanted are not read. */
enum status checkpoint_resume_read(const struct checkpoint_resume *resume, struct checkpoint_sink sink,
                                   struct error *err);
void checkpoint_resume_close(struct checkpoint_resume *resume);

/* ---- Merging ----------------------------------------------------------------------------------------- */

/* Writes the model of a checkpoint that can be resumed into a folder, all of it in f32: what was trained as
 * the optimizer has it, out of the shards of all processes, the rest as the checkpoint's own model has it.
 * The folder is then one as checkpoint_save_final writes. *trained is how many parameters came from
 * vs2_state/. */
enum status checkpoint_merge(const char *folder, const char *output_dir, size_t *trained, struct error *err);

#endif
