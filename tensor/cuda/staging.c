/* Copies between host and device through pinned memory, which the device reads and writes by itself. */
#include <string.h>

#include "tensor/cuda/cuda.h"

/* Marks on the stream of copies: a turn, and behind each place of a fetch. */
enum { MARK_TURN, MARK_FETCHED, COPY_MARKS = MARK_FETCHED + DEVICE_FETCHES };

enum status cuda_staging_open(struct cuda_staging *staging, struct error *err) {
    cudaError_t error =
        cudaHostAlloc((void **)&staging->memory,
                      (size_t)(STAGING_SECTIONS + STAGING_LANDINGS) * STAGING_BYTES, cudaHostAllocDefault);
    for (int i = 0; i < STAGING_SECTIONS && error == cudaSuccess; i++)
        error = cudaEventCreateWithFlags(&staging->copied[i], cudaEventDisableTiming);
    if (error == cudaSuccess) return STATUS_OK;
    return error_set(err, "out of memory for copies to the GPU (%s)", cudaGetErrorString(error));
}

void cuda_staging_close(struct cuda_staging *staging) {
    for (int i = 0; i < STAGING_SECTIONS; i++)
        if (staging->copied[i]) cudaEventDestroy(staging->copied[i]);
    if (staging->memory) cudaFreeHost(staging->memory);
}

/* Room for `bytes`, at most a section: in the current one, or in the next when its copies are done. */
static char *staging_room(struct device *device, struct cuda_staging *staging, cudaStream_t stream,
                          size_t bytes) {
    if (staging->used + bytes > STAGING_BYTES) {
        if (!cuda_check(device, cudaEventRecord(staging->copied[staging->section], stream),
                        "writing to the GPU"))
            return NULL;
        staging->section = (staging->section + 1) % STAGING_SECTIONS;
        staging->used = 0;
        if (!cuda_check(device, cudaEventSynchronize(staging->copied[staging->section]),
                        "writing to the GPU"))
            return NULL;
    }
    char *room = staging->memory + (size_t)staging->section * STAGING_BYTES + staging->used;
    staging->used += (bytes + 63) / 64 * 64;
    return room;
}

/* By pieces, on the stream that the staging serves. */
static void copy_staged(struct device *device, struct cuda_staging *staging, cudaStream_t stream, void *to,
                        const void *from, size_t bytes) {
    for (size_t done = 0, piece; done < bytes; done += piece) {
        piece = bytes - done < STAGING_BYTES ? bytes - done : STAGING_BYTES;
        char *room = staging_room(device, staging, stream, piece);
        if (!room) return;
        memcpy(room, (const char *)from + done, piece);
        cudaError_t error = cudaMemcpyAsync((char *)to + done, room, piece, cudaMemcpyHostToDevice, stream);
        if (!cuda_check(device, error, "writing to the GPU")) return;
    }
}

/* A copy that is part of a graph; false: it cannot be. */
static bool captured_write(struct device *device, void *to, const void *from, size_t bytes) {
    char *room = cuda_graph_room(&cuda_state(device)->graph, bytes);
    if (!room) return false;
    memcpy(room, from, bytes);
    cuda_check(device, cudaMemcpyAsync(to, room, bytes, cudaMemcpyHostToDevice, cuda_state(device)->stream),
               "writing to the GPU");
    return true;
}

void cuda_write(struct device *device, void *to, const void *from, size_t bytes) {
    if (captured_write(device, to, from, bytes)) return;
    cuda_group_end(device);
    copy_staged(device, &cuda_state(device)->staging, cuda_state(device)->stream, to, from, bytes);
}

void cuda_write_ahead(struct device *device, void *to, const void *from, size_t bytes) {
    struct cuda_state *state = cuda_state(device);
    cuda_group_end(device);
    copy_staged(device, &state->copy_staging, state->copies.stream, to, from, bytes);
}

/* The mark lies behind the copies so far, and the copies to come behind the operations so far. */
void cuda_turn_ahead(struct device *device) {
    struct cuda_side_stream *copies = &cuda_state(device)->copies;
    cuda_side_begin(device, copies);
    cuda_side_end(device, copies, MARK_TURN);
    cuda_side_wait(device, copies, MARK_TURN);
}

static char *landing(const struct cuda_staging *staging, int number) {
    return staging->memory + (size_t)(STAGING_SECTIONS + number) * STAGING_BYTES;
}

void cuda_fetch(struct device *device, int place, const void *from, size_t bytes) {
    struct cuda_state *state = cuda_state(device);
    static_assert((int)COPY_MARKS <= SIDE_MARKS, "a mark for each place");
    cuda_side_begin(device, &state->copies);
    cuda_check(device,
               cudaMemcpyAsync(landing(&state->copy_staging, place), from, bytes, cudaMemcpyDeviceToHost,
                               state->copies.stream),
               "reading from the GPU");
    cuda_side_end(device, &state->copies, MARK_FETCHED + place);
}

void cuda_fetched(struct device *device, int place, void *to, size_t bytes) {
    struct cuda_state *state = cuda_state(device);
    cudaError_t error = cudaEventSynchronize(state->copies.marks[MARK_FETCHED + place]);
    if (cuda_check(device, error, "reading from the GPU"))
        memcpy(to, landing(&state->copy_staging, place), bytes);
}

void cuda_read(struct device *device, void *to, const void *from, size_t bytes) {
    struct cuda_state *state = cuda_state(device);
    cuda_group_end(device);
    char *room = landing(&state->staging, 0);
    for (size_t done = 0, piece; done < bytes; done += piece) {
        piece = bytes - done < STAGING_BYTES ? bytes - done : STAGING_BYTES;
        cudaError_t error =
            cudaMemcpyAsync(room, (const char *)from + done, piece, cudaMemcpyDeviceToHost, state->stream);
        if (!cuda_check(device, error, "reading from the GPU")) return;
        cuda_wait(device, "reading from the GPU");
        if (device->failed) return;
        memcpy((char *)to + done, room, piece);
    }
}
