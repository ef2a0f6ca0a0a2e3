/* Streams beside that of the operations, and the events by which the two wait for each other. */
#include "tensor/cuda/cuda.h"

enum status cuda_side_open(struct cuda_side_stream *side, struct error *err) {
    cudaError_t error = cudaStreamCreateWithFlags(&side->stream, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaEventCreateWithFlags(&side->begun, cudaEventDisableTiming);
    for (int m = 0; m < SIDE_MARKS && error == cudaSuccess; m++)
        error = cudaEventCreateWithFlags(&side->marks[m], cudaEventDisableTiming);
    if (error == cudaSuccess) return STATUS_OK;
    return error_set(err, "no second stream on the GPU: %s", cudaGetErrorString(error));
}

void cuda_side_close(struct cuda_side_stream *side) {
    if (side->begun) cudaEventDestroy(side->begun);
    for (int m = 0; m < SIDE_MARKS; m++)
        if (side->marks[m]) cudaEventDestroy(side->marks[m]);
    if (side->stream) cudaStreamDestroy(side->stream);
    *side = (struct cuda_side_stream){0};
}

void cuda_side_begin(struct device *device, struct cuda_side_stream *side) {
    struct cuda_state *state = cuda_state(device);
    cuda_group_end(device); /* a graph holds one stream's work */
    assert(!side->operations);
    cudaError_t error = cudaEventRecord(side->begun, state->stream);
    if (error == cudaSuccess) error = cudaStreamWaitEvent(side->stream, side->begun, 0);
    cuda_check(device, error, "a second stream");
    side->operations = state->stream;
    state->stream = side->stream;
}

void cuda_side_end(struct device *device, struct cuda_side_stream *side, int mark) {
    cuda_check(device, cudaEventRecord(side->marks[mark], side->stream), "a second stream");
    cuda_state(device)->stream = side->operations;
    side->operations = NULL;
}

void cuda_side_wait(struct device *device, struct cuda_side_stream *side, int mark) {
    cuda_group_end(device);
    cuda_check(device, cudaStreamWaitEvent(cuda_state(device)->stream, side->marks[mark], 0),
               "a second stream");
}
