/* Folders, files and small checkpoints for the tests of model/. */
#ifndef VS2_TESTS_MODEL_SUPPORT_CHECKPOINT_H
#define VS2_TESTS_MODEL_SUPPORT_CHECKPOINT_H

#include "model/checkpoint_write.h"

/* A new empty folder for temporary files; support_folder_remove deletes and frees it. */
char *support_folder(void);
void support_folder_remove(char *folder);

/* Writes FOLDER/NAME; folders in the name are made. */
void support_write(const char *folder, const char *name, const void *data, size_t size);
void support_write_text(const char *folder, const char *name, const char *text);

/* A model of 2 layers and 2 vision blocks with the tokens that a vocabulary of 320 has room for. */
struct model_config support_tiny_config(bool tied);

/* The value that support_write_weights gives element `index` of the parameter of this (new) name. Exact in
 * bf16 and f16. */
float support_value(const char *name, int64_t index);

/* How a test checkpoint differs from a plain one. */
struct support_changes {
    enum dtype dtype;
    bool new_names;
    size_t shard_bytes;
    const char *leave_out; /* parameters whose new name contains it are not written */
    const char *reshape;   /* the parameter of this new name gets one row more */
    const char *add;       /* a tensor of this name and shape [3] is added */
};

/* Writes the tensors of the configuration into the folder. */
void support_write_weights(const char *folder, const struct model_config *config,
                           struct support_changes changes);

/* A whole checkpoint in a new folder. */
char *support_checkpoint(const struct model_config *config, struct support_changes changes);

#endif
