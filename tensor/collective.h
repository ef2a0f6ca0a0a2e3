/* What the devices of several processes do together without their hosts' memory: sums and copies between GPUs
 * (NCCL), queued like operations. A kind of device that has none (the CPU) leaves them out, and processes
 * exchange through host memory.
 *
 * A process of each device joins once, and all then call the same functions in the same order, with the same
 * shapes. They part when the device is closed. */
#ifndef VS2_TENSOR_COLLECTIVE_H
#define VS2_TENSOR_COLLECTIVE_H

#include "tensor/device.h"

/* By which devices find each other: made by one of them, and given to all. */
struct collective_id {
    char bytes[128];
};

/* Room for what is exchanged, of the device: `each` bytes, and as many for each process. */
struct collective {
    void *one, *all;
    int rank, size;
};

/* Whether the device can join others. */
bool collective_can(const struct device *device);

enum status collective_name(struct device *device, struct collective_id *id, struct error *err);

/* device->collective, until the device is closed; then waits for the others and joins them. Two steps, so
 * that processes can agree that all are ready. */
enum status collective_make_rooms(struct device *device, int rank, int size, size_t each, struct error *err);
enum status collective_join(struct device *device, const struct collective_id *id, struct error *err);

/* Parts from the others; device_close does so. */
void collective_part(struct device *device);

/* out[i] = the sum over the devices of their x[rank, i], in the order of their kind. out: f32 [1, n], x: f32
 * [size, n], contiguous. */
void reduce_scatter(struct device *device, struct tensor out, struct tensor x);

/* out[r] = device r's x. x: [1, n], out: the same type, [size, n], contiguous. */
void all_gather(struct device *device, struct tensor out, struct tensor x);

#endif
