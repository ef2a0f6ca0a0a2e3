#include "train/buckets.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"
#include "train/exchange.h"

/* The gradients of a unit of which something is trained. */
struct bucket_unit {
    enum model_unit kind;
    int64_t number;
    const struct sliced *gradients;
    size_t count;
};

struct buckets {
    struct optimizer *optimizer;
    struct bucket_unit *units; /* in the order of a backward pass */
    size_t count;
    struct sliced *sliced;                  /* what the units' lists lie in */
    struct exchange *reduction, *gathering; /* gathering NULL: shards of the sums are enough */
    const struct bucket_unit *reducing;     /* whose sums are being made; NULL: none are */
    size_t next;                            /* the unit to begin with; count: all have begun */
    bool in_last_pass;
    struct unit_watch watch;
};

/* ---- The order --------------------------------------------------------------------------------------- */

/* Lists the gradients of one unit behind what is listed. */
static void add_unit(struct buckets *buckets, enum model_unit kind, int64_t number, size_t *listed) {
    const struct optimizer *optimizer = buckets->optimizer;
    struct communicator *processes = optimizer->processes;
    struct bucket_unit unit = {.kind = kind, .number = number, .gradients = buckets->sliced + *listed};
    for (size_t i = 0; i < optimizer->count; i++) {
        const struct trained_parameter *trained = &optimizer->trained[i];
        const struct parameter *p = trained->parameter;
        if (p->unit != kind || p->layer != number) continue;
        struct shard shard = communicator_shard(processes, p->rows, p->cols, communicator_rank(processes));
        buckets->sliced[(*listed)++] =
            (struct sliced){trained->gradient, shard_view(trained->gradient, shard)};
        unit.count++;
    }
    if (unit.count > 0) buckets->units[buckets->count++] = unit;
}

static int64_t unit_numbers(const struct model_config *config, enum model_unit kind) {
    return kind == UNIT_VISION_BLOCK ? config->vision.depth : kind == UNIT_LAYER ? config->layers : 1;
}

static enum status list_units(struct buckets *buckets, struct error *err) {
    const struct optimizer *optimizer = buckets->optimizer;
    const struct model_config *config = &optimizer->model->config;
    size_t listed = 0;
    buckets->sliced = memory_new(optimizer->count, sizeof *buckets->sliced, "sums of gradients", err);
    buckets->units = memory_new(optimizer->count, sizeof *buckets->units, "sums of gradients", err);
    if (!buckets->sliced || !buckets->units) return STATUS_FAILED;
    for (int kind = UNIT_KINDS - 1; kind >= 0; kind--)
        for (int64_t number = unit_numbers(config, kind) - 1; number >= 0; number--)
            add_unit(buckets, (enum model_unit)kind, number, &listed);
    assert(listed == optimizer->count);
    return STATUS_OK;
}

/* ---- Sums -------------------------------------------------------------------------------------------- */

/* Ends the sums that are being made; the whole of them goes to all. */
static enum status end_sums(struct buckets *buckets, struct error *err) {
    const struct bucket_unit *unit = buckets->reducing;
    if (!unit) return STATUS_OK;
    buckets->reducing = NULL;
    enum status status = exchange_end(buckets->reduction, err);
    if (status != STATUS_OK || !buckets->gathering) return status;
    status = exchange_end(buckets->gathering, err);
    if (status != STATUS_OK) return status;
    return exchange_begin(buckets->gathering, EXCHANGE_GATHER, unit->gradients, unit->count, err);
}

static enum status begin_next(struct buckets *buckets, struct error *err) {
    const struct bucket_unit *unit = &buckets->units[buckets->next];
    enum status status = end_sums(buckets, err);
    if (status == STATUS_OK)
        status = exchange_begin(buckets->reduction, EXCHANGE_SUM, unit->gradients, unit->count, err);
    if (status != STATUS_OK) return status;
    buckets->reducing = unit;
    buckets->next++;
    return STATUS_OK;
}

static void leave(void *context, enum model_unit kind, int64_t number) {
    struct buckets *buckets = context;
    struct device *device = buckets->optimizer->model->device;
    struct error err;
    if (!buckets->in_last_pass || device->failed || buckets->next == buckets->count) return;
    const struct bucket_unit *unit = &buckets->units[buckets->next];
    if (unit->kind != kind || unit->number != number) return; /* it is begun with the rest */
    if (begin_next(buckets, &err) != STATUS_OK) device_fail(device, "%s", err.message);
}

/* ------------------------------------------------------------------------------------------------------ */

static enum status open_exchanges(struct buckets *buckets, bool gathers, struct error *err) {
    struct optimizer *optimizer = buckets->optimizer;
    buckets->reduction = exchange_new(optimizer->processes, optimizer->model->device, err);
    if (!buckets->reduction) return STATUS_FAILED;
    if (gathers) buckets->gathering = exchange_new(optimizer->processes, optimizer->model->device, err);
    if (gathers && !buckets->gathering) return STATUS_FAILED;
    for (size_t i = 0; i < buckets->count; i++) {
        const struct bucket_unit *unit = &buckets->units[i];
        enum status status = exchange_reserve(buckets->reduction, unit->gradients, unit->count, err);
        if (status == STATUS_OK && gathers)
            status = exchange_reserve(buckets->gathering, unit->gradients, unit->count, err);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

struct buckets *buckets_new(struct optimizer *optimizer, bool gathers, struct error *err) {
    struct buckets *buckets = memory_new(1, sizeof *buckets, "sums of gradients", err);
    if (!buckets) return NULL;
    buckets->optimizer = optimizer;
    enum status status = list_units(buckets, err);
    if (status == STATUS_OK) status = open_exchanges(buckets, gathers, err);
    if (status != STATUS_OK) {
        buckets_free(buckets);
        return NULL;
    }
    buckets->watch = (struct unit_watch){.leave = leave, .context = buckets};
    optimizer->gradients.watch = &buckets->watch;
    return buckets;
}

void buckets_free(struct buckets *buckets) {
    if (!buckets) return;
    exchange_free(buckets->reduction);
    exchange_free(buckets->gathering);
    free(buckets->units);
    free(buckets->sliced);
    free(buckets);
}

void buckets_last_pass(struct buckets *buckets) {
    buckets->in_last_pass = true;
}

enum status buckets_begin_rest(struct buckets *buckets, struct error *err) {
    enum status status = STATUS_OK;
    buckets->in_last_pass = false;
    while (status == STATUS_OK && buckets->next < buckets->count) status = begin_next(buckets, err);
    return status;
}

size_t buckets_begun(const struct buckets *buckets) {
    return buckets->next;
}

enum status buckets_settle(struct buckets *buckets, struct error *err) {
    enum status status = buckets_begin_rest(buckets, err);
    if (status == STATUS_OK) status = end_sums(buckets, err);
    if (status == STATUS_OK && buckets->gathering) status = exchange_end(buckets->gathering, err);
    buckets->next = 0;
    return status;
}
