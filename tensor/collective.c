#include "tensor/collective.h"

#include <stdlib.h>

#include "base/activity.h"
#include "base/memory.h"
#include "tensor/backend.h"

bool collective_can(const struct device *device) {
    return device->backend->can_join && device->backend->can_join();
}

struct collective_member collective_identify(const struct device *device) {
    struct collective_member member = {0};
    if (collective_can(device)) device->backend->identify(device, &member);
    return member;
}

enum status collective_name(struct device *device, struct collective_id *id, struct error *err) {
    return device->backend->name_collective(id, err);
}

enum status collective_make_rooms(struct device *device, int rank, int size, size_t each, struct error *err) {
    const char *what = "an exchange between processes";
    struct collective *collective = memory_new(1, sizeof *collective, what, err);
    if (!collective) return STATUS_FAILED;
    *collective = (struct collective){.rank = rank, .size = size};
    device->collective = collective;
    if ((collective->one = device_allocate(device, each, what, err)) &&
        (collective->all = device_allocate(device, each * (size_t)size, what, err)) &&
        device->backend->ready(device, err) == STATUS_OK)
        return STATUS_OK;
    collective_part(device);
    return STATUS_FAILED;
}

enum status collective_join(struct device *device, const struct collective_id *id, struct error *err) {
    return device->backend->join(device, id, device->collective->rank, device->collective->size, err);
}

void collective_part(struct device *device) {
    struct collective *collective = device->collective;
    if (!collective) return;
    device->collective = NULL;
    device->backend->part(device);
    device_release(device, collective->one);
    device_release(device, collective->all);
    free(collective);
}

void collective_begin(struct device *device) {
    if (device->failed) return;
    assert(!device->collective->open);
    device->collective->open = true;
    device->backend->begin_collectives(device);
}

void collective_end(struct device *device, enum collective_mark mark) {
    if (device->collective->open) device->backend->end_collectives(device, mark);
    device->collective->open = false;
}

void collective_wait(struct device *device, enum collective_mark mark) {
    if (!device->failed) device->backend->await_collectives(device, mark);
}

void collective_finish(struct device *device) {
    activity_wait(true);
    if (!device->failed) device->backend->finish_collectives(device);
    activity_wait(false);
}

void reduce_scatter(struct device *device, struct tensor out, struct tensor x) {
    if (device->failed) return;
    assert(device->collective->open && x.rows == device->collective->size && out.rows == 1 &&
           out.cols == x.cols);
    assert(out.dtype == DTYPE_F32 && x.dtype == DTYPE_F32 && x.stride == x.cols);
    if (out.cols > 0) device->backend->reduce_scatter(device, out, x);
}

void all_gather(struct device *device, struct tensor out, struct tensor x) {
    if (device->failed) return;
    assert(device->collective->open && out.rows == device->collective->size && x.rows == 1 &&
           out.cols == x.cols);
    assert(out.dtype == x.dtype && out.stride == out.cols);
    if (x.cols > 0) device->backend->all_gather(device, out, x);
}
