/* What is trained and how it is stepped: gradients, f32 master weights and AdamW's moments of the parameters
 * that are not frozen.
 *
 *     optimizer_open_model(folder, &device, compute, &freeze, &model, err);
 *     optimizer_open(&optimizer, &model, &freeze, sharing, err);  the model's tensors lie in trainable memory
 *     ... forward and backward passes add to optimizer.gradients ...
 *     optimizer_reduce(&optimizer, err);
 *     optimizer_norm(&optimizer, scale, &norm, err);
 *     optimizer_step(&optimizer, &settings, learning_rate, scale, norm);
 *
 * A model that computes in bf16 is trained as torch.autocast trains f32 weights: operands of products are
 * rounded copies, while embeddings, norms and the stream between the language model's layers are f32. */
#ifndef VS2_TRAIN_OPTIMIZER_H
#define VS2_TRAIN_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "model/parameters.h"
#include "tensor/arena.h"
#include "train/communicator.h"

/* Parts that keep their weights, as the published keys name them. */
struct freeze {
    bool vision_tower;   /* visual.patch_embed and visual.blocks */
    bool projector;      /* visual.merger */
    bool language_model; /* the embedding, the layers, the last norm and the head */
};

bool freeze_holds(const struct freeze *freeze, const struct parameter *parameter);

/* Whether weight decay applies, by the name rule of transformers (Trainer.get_decay_parameter_names): not to
 * names with "bias", "layernorm", "rmsnorm", ".norm." or "_norm.". So "norm1" and "ln_q" of the vision tower
 * do decay, as they do there. */
bool parameter_decays(const struct parameter *parameter);

/* The four tensors of a trained parameter, all f32: of its elements that this process keeps. The first three
 * lie with the optimizer's keeper. */
enum optimizer_part {
    OPTIMIZER_WEIGHT,
    OPTIMIZER_FIRST,
    OPTIMIZER_SECOND,
    OPTIMIZER_GRADIENT,
    OPTIMIZER_PARTS
};

struct trained_parameter {
    const struct parameter *parameter;
    struct shard shard; /* the elements that this process keeps: all, unless the state is shared */
    struct tensor parts[OPTIMIZER_PARTS];
    struct tensor copy; /* bf16, what the model multiplies with; no tensor: it takes the weight itself */
    struct tensor own;  /* f32, the same elements of `weight`: with the keeper on the model's device that is
                           parts[OPTIMIZER_WEIGHT] */
    /* The whole parameter, as passes use it: f32 weights, their copy, and where gradients are added up. The
     * first two are no tensors where passes have no use for them. */
    struct tensor weight, operand, gradient;
    bool decays;
};

/* The processes that share a model's state. With one process nothing is shared, whatever the stage. */
struct optimizer_sharing {
    struct communicator *processes; /* NULL: one */
    /* Of ZeRO: 0, each keeps everything; 1, each steps its own part; 2, it has no whole gradients either; 3,
     * nor a whole model. */
    int stage;
    bool overlaps; /* exchanges go on beside the passes (train/exchange.h) */
    /* For the bytes of a plan: the model is to be on GPUs, wherever it is; and with so many processes,
     * whoever is here (0: those that are). */
    bool plans_gpus;
    int64_t plans_processes;
    /* A CPU that keeps master weights and moments of a model on another device (train/offload.h), and
     * outlives the optimizer; NULL: the model's device keeps them. */
    struct device *host;
};

struct units;   /* train/units.h */
struct buckets; /* train/buckets.h */
struct offload; /* train/offload.h */

/* Memory that the optimizer gives back. */
struct owned {
    struct device *device;
    void *memory;
};

struct optimizer {
    struct model *model;
    struct communicator *processes;
    int stage;               /* 0 with one process */
    struct units *units;     /* from stage 2 on: the rooms of what is not whole; else NULL */
    struct buckets *buckets; /* below it, where exchanges go on beside the passes; else NULL */
    struct device *keeper;   /* of master weights and moments: the model's device, or the sharing's host */
    struct offload *offload; /* NULL: the keeper is the model's device */
    struct model gradients;  /* the gradients in the model's own shape; tensors of frozen parameters have no
                                data */
    struct parameter *parameters; /* all of the model's */
    size_t parameter_count;
    struct trained_parameter *trained;
    size_t count;
    int64_t elements;    /* trained, in all, of all processes */
    int64_t bytes;       /* that these take of the model's device with moments, gradients and copies */
    int64_t step;        /* updates done */
    struct tensor norms; /* f32 [1, count]: room for optimizer_norm */
    float *host_norms;
    struct sliced *sliced;  /* [2 * count]: room for what is exchanged */
    struct arena *gathered; /* that holds whole weights; NULL: there are none now */
    struct arena_mark before_gathered;
    struct owned *memory;
    size_t memory_count, memory_capacity;
};

struct optimizer_settings {
    double beta1, beta2, epsilon, weight_decay;
    double max_grad_norm; /* 0: no clipping */
};

/* What of a trained parameter the model computes with: f32 weights, a bf16 copy, or of tied embeddings both.
 */
bool optimizer_takes_weights(const struct model *model, const struct parameter *parameter);
bool optimizer_takes_copy(const struct model *model, const struct parameter *parameter);

/* model_open for training: the parameters to be trained keep the precision that they are stored in, and the
 * stream is f32. With everything frozen the model computes what one that is trained computes at first. */
enum status optimizer_open_model(const char *name, struct device *device, enum dtype compute,
                                 const struct freeze *freeze, struct model *model, struct error *err);

/* Gives every trained parameter of the model, which optimizer_open_model opened, f32 weights of its own (and
 * bf16 copies of what products take, when it computes in bf16), moments and gradients, all zero. The model's
 * tensors point to them from now on. From ZeRO stage 1 on a process has only its shard (train/communicator.h)
 * of each parameter's moments, and of the f32 weights that passes have no use for; it makes the step of
 * these, and gets the others' results: norm, step and refresh are then collective. From stage 2 on passes
 * are, too (train/units.h), and gradients are sums over all processes after each. Nothing to train is a usage
 * error. optimizer_close frees all; the model can then only be closed, and so it can after a failure. */
enum status optimizer_open(struct optimizer *optimizer, struct model *model, const struct freeze *freeze,
                           struct optimizer_sharing sharing, struct error *err);

/* The same for a model that is not trained but moved (a reference model), up to ZeRO stage 2: weights and
 * copies alone. Moments and gradients are no tensors, and of the functions below only close and refresh may
 * be called. */
enum status optimizer_open_weights(struct optimizer *optimizer, struct model *model,
                                   const struct freeze *freeze, struct optimizer_sharing sharing,
                                   struct error *err);
void optimizer_close(struct optimizer *optimizer);

/* Bytes that stay of the model as it was opened: frozen parameters; on a device with memory of its own
 * vectors of trained ones, too, which lie together. */
int64_t optimizer_stored_bytes(struct model *model, const struct parameter *parameters, size_t count,
                               const struct freeze *freeze, bool own_memory);

/* Bytes that optimizer_open would take for the model, whose parameters these are. */
int64_t optimizer_bytes(const struct model *model, const struct parameter *parameters, size_t count,
                        const struct freeze *freeze);

/* How many processes share. */
int64_t optimizer_processes(struct optimizer_sharing sharing);

/* The same for a process that shares the model's state, by part; all of it; and what it takes of the
 * sharing's host, 0 without one. */
struct optimizer_memory {
    int64_t weights; /* that passes use, beside those that are master weights */
    int64_t masters; /* f32 weights, each process's own, and moments */
    int64_t gradients;
    int64_t rooms; /* train/units.h */
};
struct optimizer_memory optimizer_memory(const struct model *model, const struct parameter *parameters,
                                         size_t count, const struct freeze *freeze,
                                         struct optimizer_sharing sharing);
int64_t optimizer_shared_bytes(const struct model *model, const struct parameter *parameters, size_t count,
                               const struct freeze *freeze, struct optimizer_sharing sharing);
int64_t optimizer_host_bytes(const struct parameter *parameters, size_t count, const struct freeze *freeze,
                             struct optimizer_sharing sharing);

/* Where gradients are summed beside the passes: before this process's last training pass of a step, and after
 * it, before anything else that the processes do together. Elsewhere both do nothing. After a failure of the
 * second this process can do nothing with the others any more. */
void optimizer_last_pass(struct optimizer *optimizer);
enum status optimizer_end_passes(struct optimizer *optimizer, struct error *err);

/* Adds up the gradients of all processes, as far as this one needs them; to be called before norm and step.
 */
enum status optimizer_reduce(struct optimizer *optimizer, struct error *err);

/* The norm of all gradients together, each times `scale`: gradients that were summed over micro-batches
 * become their mean so. Waits for the device. */
enum status optimizer_norm(struct optimizer *optimizer, double scale, double *norm, struct error *err);

/* One update with the gradients times `scale`, whose norm is `norm`, and times max_grad_norm / (norm + 1e-6)
 * when that is below 1, as torch.nn.utils.clip_grad_norm_ does. The gradients are zero afterwards. */
void optimizer_step(struct optimizer *optimizer, const struct optimizer_settings *settings,
                    double learning_rate, double scale, double norm);

/* Drops the gradients: the step is left out. */
void optimizer_clear(struct optimizer *optimizer);

/* For generating, which goes token by token, by every process for itself: in stage 3 the model gets whole
 * weights, of what it computes with, in one chunk of the arena, until optimizer_drop_weights releases what
 * the arena has handed out since. In between there are no passes in rounds (train/units.h), and no steps.
 * Collective; all leave with the same status, and after a failure there is nothing to drop. In other stages,
 * where they are whole, both do nothing. Who gathers drops, before optimizer_close. */
enum status optimizer_gather_weights(struct optimizer *optimizer, struct arena *arena, struct error *err);
void optimizer_drop_weights(struct optimizer *optimizer);

/* Bytes that these take. */
int64_t optimizer_gathered_bytes(const struct model *model, const struct parameter *parameters, size_t count,
                                 const struct freeze *freeze, struct optimizer_sharing sharing);

/* The compute copies again from the weights, after these were written. */
void optimizer_refresh(struct optimizer *optimizer);

#endif
