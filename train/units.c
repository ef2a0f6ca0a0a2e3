#include "train/units.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/collective.h"
#include "tensor/ops.h"
#include "train/exchange.h"

enum { ALIGNMENT = 64 };

/* Rooms: of the embedding and the head, and of all other units by turns. */
enum room { ROOM_WIDE, ROOM_EVEN, ROOM_ODD, ROOMS };

struct unit {
    enum model_unit kind;
    enum room room;                     /* of its weights */
    struct sliced *weights, *gradients; /* what is exchanged */
    size_t weight_count, gradient_count;
};

/* In bytes. */
struct room_sizes {
    size_t weights[ROOMS], gradients[ROOMS];
};

/* Offsets in bytes in the rooms. */
struct place {
    size_t weight, operand, gradient;
};

struct units {
    struct optimizer *optimizer;
    bool shares_weights; /* stage 3 */
    bool gradients_turn;
    struct place *places;  /* [optimizer->parameter_count] */
    struct unit *units;    /* in the order of a forward pass */
    struct sliced *sliced; /* what the units' lists lie in */
    int64_t first[UNIT_KINDS + 1];
    struct {
        void *memory;
        const struct unit *holds; /* NULL: none */
    } weights[ROOMS], gradients[ROOMS];
    struct exchange *gathering, *reduction; /* that go on beside the pass; NULL: nothing does */
    const struct unit *ahead;               /* whose weights are being gathered; NULL: none */
    const struct unit *last;                /* whose weights were used last in this pass; NULL: none */
    struct unit_watch weight_watch, gradient_watch;
    bool in_pass; /* has begun a pass that has not ended */
    bool over;    /* all have agreed to fail */
};

static struct unit *unit_of(struct units *units, enum model_unit kind, int64_t number) {
    return &units->units[units->first[kind] + number];
}

/* first[k]: how many units come before those of kind k, in the order of a forward pass. */
static void count_units(const struct model_config *config, int64_t first[UNIT_KINDS + 1]) {
    first[0] = 0;
    for (int k = 0; k < UNIT_KINDS; k++) {
        int64_t count = k == UNIT_VISION_BLOCK ? config->vision.depth : k == UNIT_LAYER ? config->layers : 1;
        first[k + 1] = first[k] + count;
    }
}

/* Units that follow each other take turns: while one is used the other may be on its way. */
static enum room room_of(const int64_t first[UNIT_KINDS + 1], enum model_unit kind, int64_t number,
                         bool turns) {
    if (kind == UNIT_EMBEDDING || kind == UNIT_HEAD) return ROOM_WIDE;
    return turns && (first[kind] + number) % 2 == 1 ? ROOM_ODD : ROOM_EVEN;
}

/* Gradients do where a device sends them out of their room; else they are gone before the next one's. */
static bool gradients_turn(const struct model *model, struct optimizer_sharing sharing) {
    return sharing.overlaps && (sharing.plans_gpus || collective_can(model->device));
}

/* ---- Rooms ------------------------------------------------------------------------------------------- */

static size_t take(size_t *offset, const struct parameter *parameter, enum dtype dtype) {
    size_t at = *offset, bytes = (size_t)(parameter->rows * parameter->cols) * dtype_size(dtype);
    *offset += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return at;
}

static void at_least(size_t *bytes, size_t needed) {
    if (*bytes < needed) *bytes = needed;
}

/* Gives every parameter its place beside the others of its unit; places: [count], or NULL: only the sizes
 * grow. */
static void find_places(const struct model *model, const struct parameter *parameters, size_t count,
                        const struct freeze *freeze, bool with_weights, bool turns, struct place *places,
                        struct room_sizes *sizes) {
    const struct parameter *last = NULL;
    size_t weights = 0, gradients = 0;
    int64_t first[UNIT_KINDS + 1];
    count_units(&model->config, first);
    for (size_t i = 0; i < count; i++) {
        const struct parameter *p = &parameters[i];
        struct place place = {0};
        if (freeze_holds(freeze, p)) continue;
        if (!last || last->unit != p->unit || last->layer != p->layer) weights = gradients = 0;
        last = p;
        place.gradient = take(&gradients, p, DTYPE_F32);
        if (with_weights && optimizer_takes_weights(model, p)) place.weight = take(&weights, p, DTYPE_F32);
        /* An embedding's copy serves the head alone, when the embedding has been used: it begins the room. */
        if (with_weights && optimizer_takes_copy(model, p) && p->kind != PARAMETER_EMBEDDING)
            place.operand = take(&weights, p, DTYPE_BF16);
        at_least(&sizes->gradients[room_of(first, p->unit, p->layer, turns)], gradients);
        at_least(&sizes->weights[room_of(first, p->unit, p->layer, true)], weights);
        if (places) places[i] = place;
    }
}

int64_t units_bytes(const struct model *model, const struct parameter *parameters, size_t count,
                    const struct freeze *freeze, struct optimizer_sharing sharing) {
    struct room_sizes sizes = {0};
    size_t bytes = 0;
    if (optimizer_processes(sharing) == 1 || sharing.stage < 2) return 0;
    find_places(model, parameters, count, freeze, sharing.stage == 3, gradients_turn(model, sharing), NULL,
                &sizes);
    for (int r = 0; r < ROOMS; r++) bytes += sizes.weights[r] + sizes.gradients[r];
    return (int64_t)bytes;
}

static enum status make_rooms(struct units *units, const struct room_sizes *sizes, struct error *err) {
    struct device *device = units->optimizer->model->device;
    for (int r = 0; r < ROOMS; r++) {
        units->gradients[r].memory =
            device_allocate(device, sizes->gradients[r], "gradients of a layer", err);
        units->weights[r].memory = device_allocate(device, sizes->weights[r], "weights of a layer", err);
        if (!units->gradients[r].memory || !units->weights[r].memory) return STATUS_FAILED;
    }
    return STATUS_OK;
}

struct units *units_new(struct optimizer *optimizer, const struct freeze *freeze,
                        struct optimizer_sharing sharing, struct error *err) {
    const struct model_config *config = &optimizer->model->config;
    struct room_sizes sizes = {0};
    struct units *units = memory_new(1, sizeof *units, "the units of the model", err);
    if (!units) return NULL;
    units->optimizer = optimizer;
    units->shares_weights = optimizer->stage == 3;
    units->gradients_turn = gradients_turn(optimizer->model, sharing);
    count_units(config, units->first);
    size_t count = optimizer->parameter_count;
    units->places = memory_new(count, sizeof *units->places, "the units of the model", err);
    units->units =
        memory_new((size_t)units->first[UNIT_KINDS], sizeof *units->units, "the units of the model", err);
    /* A parameter has a weight, maybe a copy that is another unit's, and a gradient. */
    units->sliced = memory_new(3 * count, sizeof *units->sliced, "the units of the model", err);
    if (!units->places || !units->units || !units->sliced) goto err;
    find_places(optimizer->model, optimizer->parameters, count, freeze, units->shares_weights,
                units->gradients_turn, units->places, &sizes);
    if (make_rooms(units, &sizes, err) != STATUS_OK) goto err;
    return units;
err:
    units_free(units);
    return NULL;
}

void units_free(struct units *units) {
    if (!units) return;
    exchange_free(units->gathering);
    exchange_free(units->reduction);
    for (int r = 0; r < ROOMS; r++) {
        device_release(units->optimizer->model->device, units->gradients[r].memory);
        device_release(units->optimizer->model->device, units->weights[r].memory);
    }
    free(units->places);
    free(units->units);
    free(units->sliced);
    free(units);
}

static struct tensor place_tensor(void *room, size_t offset, enum dtype dtype, const struct parameter *p) {
    return tensor_at((char *)room + offset, dtype, p->rows, p->cols);
}

struct unit_tensors units_tensors(const struct units *units, size_t index) {
    const struct optimizer *optimizer = units->optimizer;
    const struct parameter *p = &optimizer->parameters[index];
    const struct place *place = &units->places[index];
    void *room = units->weights[room_of(units->first, p->unit, p->layer, true)].memory;
    enum room gradients = room_of(units->first, p->unit, p->layer, units->gradients_turn);
    struct unit_tensors tensors = {
        .gradient = place_tensor(units->gradients[gradients].memory, place->gradient, DTYPE_F32, p)};
    if (units->shares_weights && optimizer_takes_weights(optimizer->model, p))
        tensors.weight = place_tensor(room, place->weight, DTYPE_F32, p);
    if (units->shares_weights && optimizer_takes_copy(optimizer->model, p))
        tensors.operand = place_tensor(room, place->operand, DTYPE_BF16, p);
    return tensors;
}

/* ---- Exchanges --------------------------------------------------------------------------------------- */

/* The unit that a pass comes to after this one, of those that have weights to gather: it goes on in the
 * direction it came from. NULL: none, or one that needs no weights on the way back. */
static const struct unit *unit_after(const struct units *units, const struct unit *unit) {
    const int64_t step = units->last && unit < units->last ? -1 : 1, count = units->first[UNIT_KINDS];
    int64_t at = unit - units->units + step;
    while (at >= 0 && at < count && units->units[at].weight_count == 0) at += step;
    if (at < 0 || at >= count) return NULL;
    const struct unit *next = &units->units[at];
    bool only_forward = next->kind == UNIT_EMBEDDING || next->kind == UNIT_PATCH_EMBED;
    return step < 0 && only_forward ? NULL : next;
}

static void drop_ahead(struct units *units) {
    if (units->ahead) exchange_drop(units->gathering);
    units->ahead = units->last = NULL;
}

/* Begins to gather the next unit's weights. */
static enum status gather_ahead(struct units *units, const struct unit *unit, struct error *err) {
    if (!units->gathering || unit == units->last) return STATUS_OK;
    const struct unit *next = unit_after(units, unit);
    if (units->ahead) drop_ahead(units);
    units->last = unit;
    if (!next || units->weights[next->room].holds == next) return STATUS_OK;
    assert(next->room != unit->room); /* where its weights may come while this one's are used */
    units->weights[next->room].holds = NULL;
    units->ahead = next;
    return exchange_begin(units->gathering, EXCHANGE_GATHER, next->weights, next->weight_count, err);
}

/* A unit's weights are going to be used. */
static void enter_weights(void *context, enum model_unit kind, int64_t number) {
    struct units *units = context;
    struct device *device = units->optimizer->model->device;
    const struct unit *unit = unit_of(units, kind, number);
    struct error err;
    enum status status = STATUS_OK;
    if (unit->weight_count == 0 || device->failed) return;
    if (units->weights[unit->room].holds != unit) {
        units->weights[unit->room].holds = unit;
        if (units->ahead == unit) {
            status = exchange_end(units->gathering, &err);
            units->ahead = NULL;
        } else {
            status = communicator_gather(units->optimizer->processes, device, unit->weights,
                                         unit->weight_count, &err);
        }
    }
    if (status == STATUS_OK) status = gather_ahead(units, unit, &err);
    if (status != STATUS_OK) device_fail(device, "%s", err.message);
}

/* A unit's gradients are complete, as far as this pass goes. */
static void leave_gradients(void *context, enum model_unit kind, int64_t number) {
    struct units *units = context;
    struct device *device = units->optimizer->model->device;
    const struct unit *unit = unit_of(units, kind, number);
    struct error err;
    if (unit->gradient_count == 0 || device->failed) return;
    enum status status = units_settle(units, &err);
    if (status == STATUS_OK && units->reduction) {
        status = exchange_begin(units->reduction, EXCHANGE_MOVE, unit->gradients, unit->gradient_count, &err);
    } else if (status == STATUS_OK) {
        status = communicator_reduce(units->optimizer->processes, device, unit->gradients,
                                     unit->gradient_count, true, &err);
        for (size_t i = 0; i < unit->gradient_count; i++) clear(device, unit->gradients[i].whole);
    }
    if (status != STATUS_OK) device_fail(device, "%s", err.message);
}

enum status units_settle(struct units *units, struct error *err) {
    return units->reduction ? exchange_end(units->reduction, err) : STATUS_OK;
}

/* What a unit exchanges of one parameter; the list grows. */
static void add_weights(struct units *units, struct unit *unit, struct sliced **free_room, size_t index,
                        enum model_unit kind) {
    const struct trained_parameter *trained = &units->optimizer->trained[index];
    bool embedding = trained->parameter->unit == UNIT_EMBEDDING, head = kind == UNIT_HEAD;
    struct sliced weight = {trained->weight, trained->own};
    struct sliced copy = {trained->operand, trained->copy};
    /* The embedding is looked up in f32, and is the head by its copy if there is one. */
    struct sliced used = embedding && !head ? weight : copy.whole.data ? copy : weight;
    unit->weights[unit->weight_count++] = used;
    (*free_room)++;
}

/* Lists what the unit exchanges. */
static void fill_unit(struct units *units, enum model_unit kind, int64_t number, struct sliced **free_room) {
    const struct optimizer *optimizer = units->optimizer;
    struct unit *unit = unit_of(units, kind, number);
    bool tied = optimizer->model->config.tied_embeddings;
    unit->kind = kind;
    unit->room = room_of(units->first, kind, number, true);
    unit->weights = *free_room;
    for (size_t i = 0; units->shares_weights && i < optimizer->count; i++) {
        const struct parameter *p = optimizer->trained[i].parameter;
        bool own = p->unit == kind && p->layer == number;
        if (own || (tied && kind == UNIT_HEAD && p->unit == UNIT_EMBEDDING))
            add_weights(units, unit, free_room, i, kind);
    }
    unit->gradients = *free_room;
    for (size_t i = 0; i < optimizer->count; i++) {
        const struct trained_parameter *trained = &optimizer->trained[i];
        if (trained->parameter->unit != kind || trained->parameter->layer != number) continue;
        unit->gradients[unit->gradient_count++] =
            (struct sliced){trained->gradient, trained->parts[OPTIMIZER_GRADIENT]};
        (*free_room)++;
    }
}

void units_watch(struct units *units) {
    struct optimizer *optimizer = units->optimizer;
    struct sliced *free_room = units->sliced;
    for (int k = 0; k < UNIT_KINDS; k++)
        for (int64_t n = 0; n < units->first[k + 1] - units->first[k]; n++)
            fill_unit(units, (enum model_unit)k, n, &free_room);
    units->weight_watch = (struct unit_watch){.enter = enter_weights, .context = units};
    units->gradient_watch = (struct unit_watch){.leave = leave_gradients, .context = units};
    units_gather(units, units->shares_weights);
    optimizer->gradients.watch = &units->gradient_watch;
}

enum status units_overlap(struct units *units, struct error *err) {
    struct communicator *processes = units->optimizer->processes;
    struct device *device = units->optimizer->model->device;
    enum status status = STATUS_OK;
    if (!(units->reduction = exchange_new(processes, device, err))) return STATUS_FAILED;
    if (units->shares_weights && !(units->gathering = exchange_new(processes, device, err)))
        return STATUS_FAILED;
    for (int64_t u = 0; u < units->first[UNIT_KINDS] && status == STATUS_OK; u++) {
        const struct unit *unit = &units->units[u];
        status = exchange_reserve(units->reduction, unit->gradients, unit->gradient_count, err);
        if (units->gathering && status == STATUS_OK)
            status = exchange_reserve(units->gathering, unit->weights, unit->weight_count, err);
    }
    return status;
}

void units_gather(struct units *units, bool gathers) {
    drop_ahead(units);
    units->optimizer->model->watch = gathers ? &units->weight_watch : NULL;
}

void units_forget(struct units *units) {
    drop_ahead(units);
    for (int r = 0; r < ROOMS; r++) units->weights[r].holds = NULL;
}

/* ---- Passes ------------------------------------------------------------------------------------------ */

/* Whether the processes meet in such passes: in those that only read, for the weights. */
static bool meets(const struct units *units, bool backward) {
    return units && (backward || units->shares_weights);
}

/* What processes tell each other between passes. */
enum word { WORD_BEGINS, WORD_SEES, WORD_FAILED, WORDS };

static enum status tell(struct units *units, double words[WORDS], enum status status, struct error *err) {
    struct communicator *processes = units->optimizer->processes;
    words[WORD_FAILED] = status != STATUS_OK;
    enum status told = units_settle(units, err); /* the next pass writes where they lie */
    if (told == STATUS_OK) told = communicator_sum_values(processes, words, WORDS, err);
    if (told != STATUS_OK) return told;
    units->in_pass = words[WORD_BEGINS] > 0 && words[WORD_FAILED] == 0;
    if (words[WORD_FAILED] == 0) return STATUS_OK;
    units->over = true;
    return communicator_agree(processes, status, err);
}

enum status units_begin(struct units *units, struct units_pass own, struct units_pass *all,
                        struct error *err) {
    *all = own;
    if (!meets(units, own.backward)) return STATUS_OK;
    units->last = NULL;
    double words[WORDS] = {[WORD_BEGINS] = 1, [WORD_SEES] = own.sees};
    enum status status = tell(units, words, STATUS_OK, err);
    all->sees = words[WORD_SEES] > 0;
    return status;
}

void units_end(struct units *units) {
    if (units) units->in_pass = false;
}

/* Goes through units [first, end) of a kind: of a forward pass, or backwards. */
static void walk(struct units *units, enum model_unit kind, bool backward) {
    int64_t count = units->first[kind + 1] - units->first[kind];
    for (int64_t i = 0; i < count; i++) {
        int64_t number = backward ? count - 1 - i : i;
        model_enter(units->optimizer->model, kind, number);
        if (backward) model_leave(&units->optimizer->gradients, kind, number);
    }
}

void units_pass_vision_forward(struct units *units) {
    walk(units, UNIT_PATCH_EMBED, false);
    walk(units, UNIT_VISION_BLOCK, false);
    walk(units, UNIT_MERGER, false);
}

void units_pass_vision_backward(struct units *units) {
    walk(units, UNIT_MERGER, true);
    walk(units, UNIT_VISION_BLOCK, true);
    model_leave(&units->optimizer->gradients, UNIT_PATCH_EMBED, 0); /* which needs no weights */
}

/* A pass of others. */
static enum status take_part(struct units *units, struct units_pass pass, struct error *err) {
    const struct optimizer *optimizer = units->optimizer;
    if (pass.sees) units_pass_vision_forward(units);
    for (int k = UNIT_EMBEDDING; k <= UNIT_HEAD; k++) walk(units, (enum model_unit)k, false);
    if (pass.backward) {
        model_leave(&optimizer->gradients, UNIT_HEAD, 0);
        walk(units, UNIT_NORM, true);
        walk(units, UNIT_LAYER, true);
        model_leave(&optimizer->gradients, UNIT_EMBEDDING, 0);
        if (pass.sees) units_pass_vision_backward(units);
    }
    enum status status = device_synchronize(optimizer->model->device, err);
    if (status == STATUS_OK) units_end(units);
    return status;
}

enum status units_finish(struct units *units, struct communicator *processes, bool backward,
                         enum status status, struct error *err) {
    if (!meets(units, backward)) return communicator_agree(processes, status, err);
    while (!units->in_pass && !units->over) {
        units->last = NULL;
        double words[WORDS] = {0};
        enum status told = tell(units, words, status, err);
        if (told != STATUS_OK || words[WORD_BEGINS] == 0) return told;
        status = take_part(units, (struct units_pass){backward, words[WORD_SEES] > 0}, err);
    }
    return status;
}
