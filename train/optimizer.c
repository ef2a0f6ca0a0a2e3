#include "train/optimizer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/ops.h"
#include "train/buckets.h"
#include "train/offload.h"
#include "train/units.h"

/* From which stage on passes find weights, and gradients, in rooms that parameters share (train/units.h). */
enum { STAGE_OF_GRADIENTS = 2, STAGE_OF_WEIGHTS = 3 };

static bool begins(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool freeze_holds(const struct freeze *freeze, const struct parameter *parameter) {
    if (begins(parameter->name, "model.visual.merger.")) return freeze->projector;
    if (begins(parameter->name, "model.visual.")) return freeze->vision_tower;
    return freeze->language_model;
}

static bool is_trained(const void *freeze, const struct parameter *parameter) {
    return !freeze_holds(freeze, parameter);
}

enum status optimizer_open_model(const char *name, struct device *device, enum dtype compute,
                                 const struct freeze *freeze, struct model *model, struct error *err) {
    enum status status = model_open_exact(name, device, compute, is_trained, freeze, model, err);
    model->stream = DTYPE_F32;
    return status;
}

bool parameter_decays(const struct parameter *parameter) {
    static const char *const exempt[] = {"bias", "layernorm", "rmsnorm", ".norm.", "_norm."};
    for (size_t i = 0; i < sizeof exempt / sizeof *exempt; i++)
        if (strstr(parameter->name, exempt[i])) return false;
    return true;
}

bool optimizer_takes_copy(const struct model *model, const struct parameter *parameter) {
    if (parameter->kind == PARAMETER_NORM) return false;
    if (parameter->kind == PARAMETER_EMBEDDING && !model->config.tied_embeddings) return false;
    return model->compute == DTYPE_BF16;
}

bool optimizer_takes_weights(const struct model *model, const struct parameter *parameter) {
    return !optimizer_takes_copy(model, parameter) || parameter->kind == PARAMETER_EMBEDDING;
}

int64_t optimizer_bytes(const struct model *model, const struct parameter *parameters, size_t count,
                        const struct freeze *freeze) {
    int64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (freeze_holds(freeze, &parameters[i])) continue;
        int64_t each = OPTIMIZER_PARTS * (int64_t)dtype_size(DTYPE_F32);
        if (optimizer_takes_copy(model, &parameters[i])) each += (int64_t)dtype_size(DTYPE_BF16);
        bytes += parameters[i].rows * parameters[i].cols * each;
    }
    return bytes;
}

int64_t optimizer_stored_bytes(struct model *model, const struct parameter *parameters, size_t count,
                               const struct freeze *freeze, bool own_memory) {
    int64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const struct parameter *p = &parameters[i];
        bool vector = p->kind == PARAMETER_NORM || p->kind == PARAMETER_BIAS;
        if (freeze_holds(freeze, p) || (vector && own_memory))
            bytes += p->rows * p->cols * (int64_t)dtype_size(parameter_tensor(model, p)->dtype);
    }
    return bytes;
}

int64_t optimizer_processes(struct optimizer_sharing sharing) {
    return sharing.plans_processes > 0 ? sharing.plans_processes : communicator_size(sharing.processes);
}

struct optimizer_memory optimizer_memory(const struct model *model, const struct parameter *parameters,
                                         size_t count, const struct freeze *freeze,
                                         struct optimizer_sharing sharing) {
    const int64_t processes = optimizer_processes(sharing), f32 = (int64_t)dtype_size(DTYPE_F32);
    const int stage = processes > 1 ? sharing.stage : 0;
    struct optimizer_memory memory = {.rooms = units_bytes(model, parameters, count, freeze, sharing)};
    for (size_t i = 0; i < count; i++) {
        const struct parameter *p = &parameters[i];
        if (freeze_holds(freeze, p)) continue;
        int64_t whole = p->rows * p->cols;
        int64_t shard = stage > 0 ? shard_among(processes, p->rows, p->cols, 0).count : whole;
        int64_t modelled = stage >= STAGE_OF_WEIGHTS ? shard : whole;
        if (optimizer_takes_weights(model, p))
            memory.weights += f32 * (modelled - (sharing.host ? 0 : shard));
        if (optimizer_takes_copy(model, p)) memory.weights += (int64_t)dtype_size(DTYPE_BF16) * modelled;
        if (!sharing.host) memory.masters += OPTIMIZER_GRADIENT * f32 * shard;
        memory.gradients += f32 * (stage >= STAGE_OF_GRADIENTS ? shard : whole);
    }
    return memory;
}

int64_t optimizer_shared_bytes(const struct model *model, const struct parameter *parameters, size_t count,
                               const struct freeze *freeze, struct optimizer_sharing sharing) {
    struct optimizer_memory memory = optimizer_memory(model, parameters, count, freeze, sharing);
    return memory.weights + memory.masters + memory.gradients + memory.rooms;
}

int64_t optimizer_gathered_bytes(const struct model *model, const struct parameter *parameters, size_t count,
                                 const struct freeze *freeze, struct optimizer_sharing sharing) {
    int64_t bytes = 0;
    if (optimizer_processes(sharing) == 1 || sharing.stage < STAGE_OF_WEIGHTS) return 0;
    for (size_t i = 0; i < count; i++) {
        const struct parameter *p = &parameters[i];
        if (freeze_holds(freeze, p)) continue;
        int64_t each = optimizer_takes_weights(model, p) ? (int64_t)dtype_size(DTYPE_F32) : 0;
        if (optimizer_takes_copy(model, p)) each += (int64_t)dtype_size(DTYPE_BF16);
        bytes += p->rows * p->cols * each;
    }
    return bytes;
}

int64_t optimizer_host_bytes(const struct parameter *parameters, size_t count, const struct freeze *freeze,
                             struct optimizer_sharing sharing) {
    const int64_t processes = sharing.stage > 0 ? optimizer_processes(sharing) : 1;
    int64_t elements = 0;
    for (size_t i = 0; sharing.host && i < count; i++)
        if (!freeze_holds(freeze, &parameters[i]))
            elements += shard_among(processes, parameters[i].rows, parameters[i].cols, 0).count;
    return OPTIMIZER_GRADIENT * (int64_t)dtype_size(DTYPE_F32) * elements;
}

/* A zeroed tensor that the optimizer owns; no data when there is no memory. */
static struct tensor own_tensor(struct optimizer *optimizer, struct device *device, enum dtype dtype,
                                int64_t rows, int64_t cols, const char *what, struct error *err) {
    struct tensor none = {0};
    if (memory_grow(&optimizer->memory, &optimizer->memory_capacity, optimizer->memory_count + 1,
                    sizeof *optimizer->memory, what, err) != STATUS_OK)
        return none;
    size_t bytes = (size_t)rows * (size_t)cols * dtype_size(dtype);
    void *memory = device_allocate(device, bytes, what, err);
    if (!memory) return none;
    optimizer->memory[optimizer->memory_count++] = (struct owned){device, memory};
    return tensor_at(memory, dtype, rows, cols);
}

/* The tensors that passes use, of the whole parameter: weights in f32 unless they are only multiplied with,
 * their copy where one is needed, and the gradient. */
static enum status make_wholes(struct optimizer *optimizer, struct trained_parameter *trained, int parts,
                               struct error *err) {
    const struct parameter *p = trained->parameter;
    struct device *device = optimizer->model->device;
    struct unit_tensors in_rooms = {0};
    if (optimizer->units) in_rooms = units_tensors(optimizer->units, (size_t)(p - optimizer->parameters));
    const struct {
        struct tensor *whole, in_room;
        bool wanted;
        enum dtype dtype;
        int stage;
    } wholes[] = {
        {&trained->weight, in_rooms.weight, optimizer_takes_weights(optimizer->model, p), DTYPE_F32,
         STAGE_OF_WEIGHTS},
        {&trained->operand, in_rooms.operand, optimizer_takes_copy(optimizer->model, p), DTYPE_BF16,
         STAGE_OF_WEIGHTS},
        {&trained->gradient, in_rooms.gradient, parts > OPTIMIZER_GRADIENT, DTYPE_F32, STAGE_OF_GRADIENTS},
    };
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
        if (!wholes[i].wanted) continue;
        *wholes[i].whole =
            optimizer->stage >= wholes[i].stage
                ? wholes[i].in_room
                : own_tensor(optimizer, device, wholes[i].dtype, p->rows, p->cols, p->name, err);
        if (!wholes[i].whole->data) return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* This process's part of the parameter: in the whole tensors where these are its own, else in memory of its
 * own. */
static enum status make_slices(struct optimizer *optimizer, struct trained_parameter *trained, int parts,
                               struct error *err) {
    const struct parameter *p = trained->parameter;
    struct device *device = optimizer->model->device;
    struct tensor wholes[OPTIMIZER_PARTS] = {0};
    if (optimizer->stage < STAGE_OF_WEIGHTS && !optimizer->offload)
        wholes[OPTIMIZER_WEIGHT] = trained->weight;
    if (optimizer->stage < STAGE_OF_GRADIENTS) wholes[OPTIMIZER_GRADIENT] = trained->gradient;
    struct tensor shape =
        shard_view((struct tensor){NULL, DTYPE_F32, p->rows, p->cols, p->cols}, trained->shard);
    for (int part = 0; part < parts; part++) {
        trained->parts[part] =
            wholes[part].data ? shard_view(wholes[part], trained->shard)
                              : own_tensor(optimizer, part == OPTIMIZER_GRADIENT ? device : optimizer->keeper,
                                           DTYPE_F32, shape.rows, shape.cols, p->name, err);
        if (!trained->parts[part].data) return STATUS_FAILED;
    }
    trained->own = trained->parts[OPTIMIZER_WEIGHT];
    if (optimizer->offload && !trained->weight.data) {
        trained->own = trained->weight;
    } else if (optimizer->offload) {
        trained->own = optimizer->stage < STAGE_OF_WEIGHTS
                           ? shard_view(trained->weight, trained->shard)
                           : own_tensor(optimizer, device, DTYPE_F32, shape.rows, shape.cols, p->name, err);
        if (!trained->own.data) return STATUS_FAILED;
    }
    if (!trained->operand.data) return STATUS_OK;
    trained->copy = optimizer->stage < STAGE_OF_WEIGHTS
                        ? shard_view(trained->operand, trained->shard)
                        : own_tensor(optimizer, device, DTYPE_BF16, shape.rows, shape.cols, p->name, err);
    return trained->copy.data ? STATUS_OK : STATUS_FAILED;
}

/* The weights as they are stored, into all that is this process's own. */
static void copy_weights(struct optimizer *optimizer, const struct trained_parameter *trained) {
    struct device *device = optimizer->model->device;
    struct tensor stored = *parameter_tensor(optimizer->model, trained->parameter);
    struct tensor part = shard_view(stored, trained->shard);
    if (optimizer->offload) offload_take(optimizer->offload, trained->parts[OPTIMIZER_WEIGHT], part);
    if (trained->own.data) convert(device, trained->own, part);
    if (trained->copy.data) convert(device, trained->copy, part);
    if (optimizer->stage == 0 || optimizer->stage >= STAGE_OF_WEIGHTS) return;
    if (trained->weight.data) convert(device, trained->weight, stored);
    if (trained->operand.data) convert(device, trained->operand, stored);
}

/* Gives the model the parameter's tensors; `copy` is none where it takes the weight itself. What it had
 * before is of no more use: on a device with memory of its own that is a copy of the checkpoint. */
static void place_weights(struct model *model, const struct parameter *p, struct tensor weight,
                          struct tensor copy) {
    struct tensor operand = copy.data ? copy : weight;
    bool embedding = p->kind == PARAMETER_EMBEDDING;
    struct tensor stored = *parameter_tensor(model, p), head = model->language.head;
    *parameter_tensor(model, p) = embedding ? weight : operand;
    model_release(model, stored);
    if (!embedding || !model->config.tied_embeddings) return;
    model->language.head = operand;
    model_release(model, head);
}

/* Moves one parameter to trainable memory, with the first `parts` of its parts. */
static enum status take_parameter(struct optimizer *optimizer, struct trained_parameter *trained, int parts,
                                  struct error *err) {
    const struct parameter *p = trained->parameter;
    struct communicator *owners = optimizer->stage > 0 ? optimizer->processes : NULL;
    trained->shard = communicator_shard(owners, p->rows, p->cols, communicator_rank(owners));
    trained->decays = parameter_decays(p);
    optimizer->elements += p->rows * p->cols;
    if (make_wholes(optimizer, trained, parts, err) != STATUS_OK ||
        make_slices(optimizer, trained, parts, err) != STATUS_OK)
        return STATUS_FAILED;
    copy_weights(optimizer, trained);
    place_weights(optimizer->model, p, trained->weight, trained->operand);
    *parameter_tensor(&optimizer->gradients, p) = trained->gradient;
    return STATUS_OK;
}

/* The gradients' own blocks and layers, without tensors yet. */
static enum status make_gradients(struct optimizer *optimizer, struct error *err) {
    struct model *model = optimizer->model, *gradients = &optimizer->gradients;
    *gradients = (struct model){.config = model->config, .device = model->device, .compute = DTYPE_F32};
    gradients->vision.blocks =
        memory_new((size_t)model->config.vision.depth, sizeof *gradients->vision.blocks, "gradients", err);
    gradients->language.layers =
        memory_new((size_t)model->config.layers, sizeof *gradients->language.layers, "gradients", err);
    return gradients->vision.blocks && gradients->language.layers ? STATUS_OK : STATUS_FAILED;
}

static enum status open_parts(struct optimizer *optimizer, struct model *model, const struct freeze *freeze,
                              struct optimizer_sharing sharing, int parts, struct error *err) {
    *optimizer = (struct optimizer){
        .model = model,
        .processes = sharing.processes,
        .stage = communicator_size(sharing.processes) > 1 ? sharing.stage : 0,
        .keeper = sharing.host ? sharing.host : model->device,
    };
    if (sharing.host && !(optimizer->offload = offload_new(model->device, sharing.host, err))) goto err;
    if (make_gradients(optimizer, err) != STATUS_OK) goto err;
    optimizer->parameters = parameters_list(&model->config, &optimizer->parameter_count, err);
    if (!optimizer->parameters) goto err;
    bool in_rooms = optimizer->stage >= STAGE_OF_GRADIENTS && parts > OPTIMIZER_GRADIENT;
    assert(in_rooms || optimizer->stage < STAGE_OF_WEIGHTS);
    if (in_rooms && !(optimizer->units = units_new(optimizer, freeze, sharing, err))) goto err;
    optimizer->trained =
        memory_new(optimizer->parameter_count, sizeof *optimizer->trained, "trained parameters", err);
    if (!optimizer->trained) goto err;
    for (size_t i = 0; i < optimizer->parameter_count; i++) {
        if (freeze_holds(freeze, &optimizer->parameters[i])) continue;
        struct trained_parameter *trained = &optimizer->trained[optimizer->count++];
        trained->parameter = &optimizer->parameters[i];
        if (take_parameter(optimizer, trained, parts, err) != STATUS_OK) goto err;
    }
    if (optimizer->count == 0) {
        optimizer_close(optimizer);
        return error_usage(err, "every part of the model is frozen: there is nothing to train");
    }
    optimizer->norms =
        own_tensor(optimizer, model->device, DTYPE_F32, 1, (int64_t)optimizer->count, "gradient norms", err);
    optimizer->host_norms = memory_new(optimizer->count, sizeof *optimizer->host_norms, "norms", err);
    optimizer->sliced = memory_new(2 * optimizer->count, sizeof *optimizer->sliced, "shared parameters", err);
    if (!optimizer->norms.data || !optimizer->host_norms || !optimizer->sliced) goto err;
    if (optimizer->units) units_watch(optimizer->units);
    if (device_synchronize(model->device, err) != STATUS_OK) goto err;
    optimizer->bytes =
        optimizer_shared_bytes(model, optimizer->parameters, optimizer->parameter_count, freeze, sharing);
    model_drop_pages(model);
    return STATUS_OK;
err:
    optimizer_close(optimizer);
    return STATUS_FAILED;
}

/* Exchanges beside the passes, once all processes have what is their own. */
static enum status overlap(struct optimizer *optimizer, struct error *err) {
    if (optimizer->units) return units_overlap(optimizer->units, err);
    optimizer->buckets = buckets_new(optimizer, optimizer->stage == 0, err);
    return optimizer->buckets ? STATUS_OK : STATUS_FAILED;
}

enum status optimizer_open(struct optimizer *optimizer, struct model *model, const struct freeze *freeze,
                           struct optimizer_sharing sharing, struct error *err) {
    enum status own = open_parts(optimizer, model, freeze, sharing, OPTIMIZER_PARTS, err);
    if (!sharing.overlaps || communicator_size(sharing.processes) == 1) return own;
    enum status status = communicator_agree(sharing.processes, own, err);
    if (status == STATUS_OK) status = overlap(optimizer, err);
    if (status != STATUS_OK && own == STATUS_OK) optimizer_close(optimizer);
    return status;
}

enum status optimizer_open_weights(struct optimizer *optimizer, struct model *model,
                                   const struct freeze *freeze, struct optimizer_sharing sharing,
                                   struct error *err) {
    return open_parts(optimizer, model, freeze, sharing, OPTIMIZER_WEIGHT + 1, err);
}

void optimizer_close(struct optimizer *optimizer) {
    buckets_free(optimizer->buckets);
    units_free(optimizer->units);
    offload_free(optimizer->offload);
    for (size_t i = 0; i < optimizer->memory_count; i++)
        device_release(optimizer->memory[i].device, optimizer->memory[i].memory);
    free(optimizer->memory);
    free(optimizer->host_norms);
    free(optimizer->sliced);
    free(optimizer->trained);
    free(optimizer->parameters);
    free(optimizer->gradients.vision.blocks);
    free(optimizer->gradients.language.layers);
    *optimizer = (struct optimizer){0};
}

/* ---- Processes --------------------------------------------------------------------------------------- */

void optimizer_last_pass(struct optimizer *optimizer) {
    if (optimizer->buckets) buckets_last_pass(optimizer->buckets);
}

enum status optimizer_end_passes(struct optimizer *optimizer, struct error *err) {
    return optimizer->buckets ? buckets_begin_rest(optimizer->buckets, err) : STATUS_OK;
}

enum status optimizer_reduce(struct optimizer *optimizer, struct error *err) {
    struct communicator *processes = optimizer->processes;
    struct device *device = optimizer->model->device;
    if (communicator_size(processes) == 1) return STATUS_OK;
    if (optimizer->units) return units_settle(optimizer->units, err); /* they have begun it */
    if (optimizer->buckets) return buckets_settle(optimizer->buckets, err);
    for (size_t i = 0; i < optimizer->count; i++) {
        const struct trained_parameter *trained = &optimizer->trained[i];
        const struct parameter *p = trained->parameter;
        struct shard shard = communicator_shard(processes, p->rows, p->cols, communicator_rank(processes));
        optimizer->sliced[i] = (struct sliced){trained->gradient, shard_view(trained->gradient, shard)};
    }
    enum status status =
        communicator_reduce(processes, device, optimizer->sliced, optimizer->count, false, err);
    if (status != STATUS_OK || optimizer->stage > 0) return status;
    return communicator_gather(processes, device, optimizer->sliced, optimizer->count, err);
}

/* Gives every process the whole of what all have changed their parts of. A failure is the device's. */
static void share_weights(struct optimizer *optimizer) {
    struct device *device = optimizer->model->device;
    struct error err;
    size_t count = 0;
    if (optimizer->units) units_forget(optimizer->units);
    if (optimizer->stage == 0 || optimizer->stage >= STAGE_OF_WEIGHTS) return;
    for (size_t i = 0; i < optimizer->count; i++) {
        const struct trained_parameter *trained = &optimizer->trained[i];
        if (trained->weight.data) optimizer->sliced[count++] = (struct sliced){trained->weight, trained->own};
        if (trained->operand.data)
            optimizer->sliced[count++] = (struct sliced){trained->operand, trained->copy};
    }
    if (communicator_gather(optimizer->processes, device, optimizer->sliced, count, &err) != STATUS_OK)
        device_fail(device, "%s", err.message);
}

/* ---- Whole weights ----------------------------------------------------------------------------------- */

static size_t whole_bytes(struct tensor part, const struct parameter *p) {
    return arena_bytes((size_t)p->rows * (size_t)p->cols * dtype_size(part.dtype));
}

/* One chunk for all: passes use it whole when they get it back. */
static enum status reserve_all_whole(const struct optimizer *optimizer, struct arena *arena,
                                     struct error *err) {
    size_t bytes = 0;
    if (device_synchronize(optimizer->model->device, err) != STATUS_OK) return STATUS_FAILED;
    for (size_t i = 0; i < optimizer->count; i++) {
        const struct trained_parameter *trained = &optimizer->trained[i];
        if (trained->weight.data) bytes += whole_bytes(trained->own, trained->parameter);
        if (trained->operand.data) bytes += whole_bytes(trained->copy, trained->parameter);
    }
    enum status status = arena_reserve(arena, bytes, err);
    if (status != STATUS_OK) error_prefix(err, "whole weights to generate with");
    return status;
}

/* Room for the whole of a part, put on the list of what is gathered. */
static struct tensor make_whole(struct optimizer *optimizer, const struct parameter *p, struct tensor part,
                                size_t *count) {
    struct tensor whole = arena_tensor(optimizer->gathered, part.dtype, p->rows, p->cols);
    optimizer->sliced[(*count)++] = (struct sliced){whole, part};
    return whole;
}

/* Room for all, in the model. Returns how many are on the list. */
static size_t make_all_whole(struct optimizer *optimizer) {
    size_t count = 0;
    units_gather(optimizer->units, false);
    for (size_t i = 0; i < optimizer->count; i++) {
        const struct trained_parameter *trained = &optimizer->trained[i];
        const struct parameter *p = trained->parameter;
        struct tensor weight = {0}, copy = {0};
        if (trained->weight.data) weight = make_whole(optimizer, p, trained->own, &count);
        if (trained->operand.data) copy = make_whole(optimizer, p, trained->copy, &count);
        place_weights(optimizer->model, p, weight, copy);
    }
    return count;
}

enum status optimizer_gather_weights(struct optimizer *optimizer, struct arena *arena, struct error *err) {
    if (optimizer->stage < STAGE_OF_WEIGHTS) return STATUS_OK;
    struct communicator *processes = optimizer->processes;
    assert(!optimizer->gathered);
    struct arena_mark mark = arena_mark(arena); /* to reserve may already move it on */
    enum status status = communicator_agree(processes, reserve_all_whole(optimizer, arena, err), err);
    if (status != STATUS_OK) {
        arena_release(arena, mark);
        return status;
    }
    optimizer->gathered = arena;
    optimizer->before_gathered = mark;
    size_t count = make_all_whole(optimizer);
    status = communicator_gather(processes, optimizer->model->device, optimizer->sliced, count, err);
    status = communicator_agree(processes, status, err);
    if (status != STATUS_OK) optimizer_drop_weights(optimizer);
    return status;
}

void optimizer_drop_weights(struct optimizer *optimizer) {
    if (!optimizer->gathered) return;
    for (size_t i = 0; i < optimizer->count; i++) {
        const struct trained_parameter *trained = &optimizer->trained[i];
        place_weights(optimizer->model, trained->parameter, trained->weight, trained->operand);
    }
    arena_release(optimizer->gathered, optimizer->before_gathered);
    optimizer->gathered = NULL;
    units_gather(optimizer->units, true);
}

/* ---- Steps ------------------------------------------------------------------------------------------- */

/* The sum of the squares of what this process has of the gradients. */
static enum status sum_squares(struct optimizer *optimizer, double *sum, struct error *err) {
    struct device *device = optimizer->model->device;
    for (size_t i = 0; i < optimizer->count; i++) {
        struct tensor to = tensor_cols(optimizer->norms, (int64_t)i, 1);
        reduce_sum_squares(device, to, optimizer->trained[i].parts[OPTIMIZER_GRADIENT]);
    }
    enum status status = device_read(device, optimizer->host_norms, optimizer->norms, err);
    *sum = 0;
    for (size_t i = 0; status == STATUS_OK && i < optimizer->count; i++)
        *sum += (double)optimizer->host_norms[i];
    return status;
}

enum status optimizer_norm(struct optimizer *optimizer, double scale, double *norm, struct error *err) {
    double sum;
    enum status status = sum_squares(optimizer, &sum, err);
    if (status == STATUS_OK && optimizer->stage > 0)
        status = communicator_sum_values(optimizer->processes, &sum, 1, err);
    *norm = scale * sqrt(sum);
    return status;
}

void optimizer_step(struct optimizer *optimizer, const struct optimizer_settings *settings,
                    double learning_rate, double scale, double norm) {
    struct device *device = optimizer->model->device;
    double clip = settings->max_grad_norm > 0 ? fmin(1, settings->max_grad_norm / (norm + 1e-6)) : 1;
    struct adamw_options options = {
        .learning_rate = learning_rate,
        .beta1 = settings->beta1,
        .beta2 = settings->beta2,
        .epsilon = settings->epsilon,
        .gradient_scale = scale * clip,
        .step = ++optimizer->step,
    };
    for (size_t i = 0; i < optimizer->count; i++) {
        struct trained_parameter *trained = &optimizer->trained[i];
        options.weight_decay = trained->decays ? settings->weight_decay : 0;
        if (optimizer->offload)
            offload_step(optimizer->offload, trained, options);
        else
            adamw_step(device, trained->parts[OPTIMIZER_WEIGHT], trained->parts[OPTIMIZER_FIRST],
                       trained->parts[OPTIMIZER_SECOND], trained->parts[OPTIMIZER_GRADIENT], trained->copy,
                       options);
        if (optimizer->stage > 0) clear(device, trained->gradient); /* what are the others' parts, too */
    }
    share_weights(optimizer);
}

void optimizer_clear(struct optimizer *optimizer) {
    for (size_t i = 0; i < optimizer->count; i++) {
        clear(optimizer->model->device, optimizer->trained[i].parts[OPTIMIZER_GRADIENT]);
        clear(optimizer->model->device, optimizer->trained[i].gradient);
    }
}

void optimizer_refresh(struct optimizer *optimizer) {
    for (size_t i = 0; i < optimizer->count; i++) {
        struct trained_parameter *trained = &optimizer->trained[i];
        if (optimizer->offload)
            offload_show(optimizer->offload, trained);
        else if (trained->copy.data)
            convert(optimizer->model->device, trained->copy, trained->own);
    }
    share_weights(optimizer);
}
