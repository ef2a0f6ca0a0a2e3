#include "train/offload.h"

#include <stdlib.h>

#include "base/memory.h"

enum { PIECE_ELEMENTS = DEVICE_FETCH_BYTES / sizeof(float) };

struct offload {
    struct device *device, *host;
    struct tensor wide;           /* f32 on the device, room for a piece, as are the next */
    struct tensor gradient, half; /* f32 and bf16 on the host */
    void *staging;                /* between the two */
};

static struct tensor make_room(struct device *device, enum dtype dtype, struct error *err) {
    void *memory = device_allocate(device, PIECE_ELEMENTS * dtype_size(dtype), "a piece of the weights", err);
    return memory ? tensor_at(memory, dtype, 1, PIECE_ELEMENTS) : (struct tensor){0};
}

struct offload *offload_new(struct device *device, struct device *host, struct error *err) {
    struct offload *offload = memory_new(1, sizeof *offload, "the optimizer on the host", err);
    if (!offload) return NULL;
    *offload = (struct offload){.device = device, .host = host};
    offload->staging = memory_new(PIECE_ELEMENTS, sizeof(float), "a piece of the weights", err);
    if (offload->staging) offload->wide = make_room(device, DTYPE_F32, err);
    if (offload->wide.data) offload->gradient = make_room(host, DTYPE_F32, err);
    if (offload->gradient.data) offload->half = make_room(host, DTYPE_BF16, err);
    if (offload->half.data) return offload;
    offload_free(offload);
    return NULL;
}

void offload_free(struct offload *offload) {
    if (!offload) return;
    device_release(offload->device, offload->wide.data);
    device_release(offload->host, offload->gradient.data);
    device_release(offload->host, offload->half.data);
    free(offload->staging);
    free(offload);
}

/* Elements [first, first + count) of a contiguous tensor as one row; of none, none. */
static struct tensor piece_of(struct tensor whole, int64_t first, int64_t count) {
    if (!whole.data) return whole;
    return tensor_cols(tensor_reshape(whole, 1, whole.rows * whole.cols), first, count);
}

static int64_t piece_length(struct tensor whole, int64_t first) {
    int64_t left = whole.rows * whole.cols - first;
    return left < PIECE_ELEMENTS ? left : PIECE_ELEMENTS;
}

/* The same elements from one device to the other. */
static void move(struct offload *offload, struct device *to_device, struct tensor to,
                 struct device *from_device, struct tensor from) {
    struct error err;
    if (device_read(from_device, offload->staging, from, &err) == STATUS_OK)
        device_write(to_device, to, offload->staging);
    else
        device_fail(offload->device, "%s", err.message);
}

void offload_take(struct offload *offload, struct tensor kept, struct tensor stored) {
    for (int64_t first = 0, count; first < kept.rows * kept.cols; first += count) {
        count = piece_length(kept, first);
        struct tensor wide = tensor_cols(offload->wide, 0, count);
        convert(offload->device, wide, piece_of(stored, first, count));
        move(offload, offload->host, piece_of(kept, first, count), offload->device, wide);
    }
}

/* Gives the device a piece of a weight; `half`: the same in bf16, on the host. */
static void show_piece(struct offload *offload, const struct trained_parameter *trained, int64_t first,
                       int64_t count, struct tensor half) {
    struct tensor own = piece_of(trained->own, first, count), copy = piece_of(trained->copy, first, count),
                  weight = piece_of(trained->parts[OPTIMIZER_WEIGHT], first, count);
    if (own.data) move(offload, offload->device, own, offload->host, weight);
    if (copy.data) move(offload, offload->device, copy, offload->host, half);
}

/* The gradient of the piece that begins at `first`, in the staging: its copy was begun before. Begins that of
 * the piece after it. */
static enum status take_gradient(struct offload *offload, struct tensor gradient, int64_t first,
                                 struct error *err) {
    int64_t count = piece_length(gradient, first), after = first + count, number = first / PIECE_ELEMENTS;
    if (after < gradient.rows * gradient.cols)
        device_fetch(offload->device, (int)((number + 1) % DEVICE_FETCHES),
                     piece_of(gradient, after, piece_length(gradient, after)));
    return device_fetched(offload->device, (int)(number % DEVICE_FETCHES), offload->staging,
                          piece_of(gradient, first, count), err);
}

void offload_step(struct offload *offload, const struct trained_parameter *trained,
                  struct adamw_options options) {
    struct tensor weight = trained->parts[OPTIMIZER_WEIGHT], whole = trained->parts[OPTIMIZER_GRADIENT];
    device_fetch(offload->device, 0, piece_of(whole, 0, piece_length(whole, 0)));
    for (int64_t first = 0, count; first < weight.rows * weight.cols; first += count) {
        struct error err;
        count = piece_length(weight, first);
        struct tensor gradient = tensor_cols(offload->gradient, 0, count);
        struct tensor half = tensor_cols(offload->half, 0, count);
        if (take_gradient(offload, whole, first, &err) != STATUS_OK) return; /* weights stay as they are */
        device_write(offload->host, gradient, offload->staging);
        adamw_step(offload->host, piece_of(weight, first, count),
                   piece_of(trained->parts[OPTIMIZER_FIRST], first, count),
                   piece_of(trained->parts[OPTIMIZER_SECOND], first, count), gradient, half, options);
        show_piece(offload, trained, first, count, half);
    }
    clear(offload->device, whole);
}

void offload_show(struct offload *offload, const struct trained_parameter *trained) {
    struct tensor weight = trained->parts[OPTIMIZER_WEIGHT];
    for (int64_t first = 0, count; first < weight.rows * weight.cols; first += count) {
        count = piece_length(weight, first);
        struct tensor half = tensor_cols(offload->half, 0, count);
        convert(offload->host, half, piece_of(weight, first, count));
        show_piece(offload, trained, first, count, half);
    }
}
