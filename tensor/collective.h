/* What the devices of several processes do together without their hosts' memory: sums and copies between GPUs
 * (NCCL). A kind of device that has none (the CPU) leaves them out, and processes exchange through host
 * memory.
 *
 * A process of each device joins once, and all then call the same functions in the same order, with the same
 * shapes. They part when the device is closed.
 *
 * Collectives have a queue of their own, which runs beside the operations:
 *
 *     collective_begin(device);                        behind all operations that were queued before
 *     convert(device, room, x); reduce_scatter(device, sums, room); add(device, y, sums);
 *     collective_end(device, COLLECTIVE_SUMS);
 *     ... operations that neither write x nor use y ...
 *     collective_wait(device, COLLECTIVE_SUMS);        what is queued from now on finds the sums in y
 *
 * None of these waits; a failure is the device's, and device_read reports it. */
#ifndef VS2_TENSOR_COLLECTIVE_H
#define VS2_TENSOR_COLLECTIVE_H

#include "tensor/device.h"

/* By which devices find each other: made by one of them, and given to all. */
struct collective_id {
    char bytes[128];
};

/* Which device of all in the world it is. */
struct collective_member {
    char bytes[16];
};

/* Room for what is exchanged, of the device: `each` bytes, and as many for each process. */
struct collective {
    void *one, *all;
    int rank, size;
    bool open; /* between collective_begin and collective_end */
};

/* What an operation can wait for: each kind of exchange has its own. */
enum collective_mark { COLLECTIVE_AT_ONCE, COLLECTIVE_SUMS, COLLECTIVE_WHOLES, COLLECTIVE_MARKS };

/* Whether the device can join others. No two processes on one device can: what collective_identify says of
 * theirs must differ. */
bool collective_can(const struct device *device);
struct collective_member collective_identify(const struct device *device);

enum status collective_name(struct device *device, struct collective_id *id, struct error *err);

/* device->collective, until the device is closed; then waits for the others and joins them, with a first
 * collective queued. Two steps, so that processes can agree that all are ready. */
enum status collective_make_rooms(struct device *device, int rank, int size, size_t each, struct error *err);
enum status collective_join(struct device *device, const struct collective_id *id, struct error *err);

/* Parts from the others; device_close does so. */
void collective_part(struct device *device);

/* Between them reduce_scatter, all_gather, convert, add and clear are queued with the collectives, and
 * nothing else may be. */
void collective_begin(struct device *device);
void collective_end(struct device *device, enum collective_mark mark);

/* What is queued from now on runs after what lies before the last mark of that kind. */
void collective_wait(struct device *device, enum collective_mark mark);

/* Waits in the host until all collectives are done: before processes exchange what the others may wait for.
 */
void collective_finish(struct device *device);

/* out[i] = the sum over the devices of their x[rank, i], in the order of their kind. out: f32 [1, n], x: f32
 * [size, n], contiguous. */
void reduce_scatter(struct device *device, struct tensor out, struct tensor x);

/* out[r] = device r's x. x: [1, n], out: the same type, [size, n], contiguous. */
void all_gather(struct device *device, struct tensor out, struct tensor x);

#endif
