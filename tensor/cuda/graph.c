/* Groups of operations as CUDA graphs.
 *
 * A decoding step queues some ten kernels a layer, each far shorter than the microseconds that the driver and
 * the GPU take to start one. Captured, they are handed over as one launch. Their parameters are not the same
 * from token to token (the number of keys decides how attention is cut, its tables come with the step), so a
 * graph is captured anew for every group, and the executable one of the group before takes over what has
 * changed, which is much cheaper than to make one; only when the operations themselves are others it is made
 * anew. What it saves is the GPU's start of each kernel and the greater part of the driver's; the walk
 * through the model remains. How much that is has not been measured.
 *
 * Within a capture nothing may wait, nothing can be allocated, and copies read their host memory when the
 * graph runs: it lies in pinned memory that belongs to the graph until it is done. What cannot be had so
 * (a read, memory, more copies than there is room for) ends the capture: what was queued is launched, and the
 * rest of the group goes to the stream by itself. So a group gives the results that its operations give. */
#include "tensor/cuda/cuda.h"

enum { GRAPH_BYTES = 4 << 20 };

enum status cuda_graph_open(struct cuda_graph *graph, struct error *err) {
    cudaError_t error = cudaHostAlloc((void **)&graph->memory, GRAPH_BYTES, cudaHostAllocDefault);
    if (error == cudaSuccess) error = cudaEventCreateWithFlags(&graph->done, cudaEventDisableTiming);
    if (error == cudaSuccess) return STATUS_OK;
    return error_set(err, "out of memory for graphs of the GPU (%s)", cudaGetErrorString(error));
}

void cuda_graph_close(struct cuda_graph *graph) {
    if (graph->executable) cudaGraphExecDestroy(graph->executable);
    if (graph->done) cudaEventDestroy(graph->done);
    if (graph->memory) cudaFreeHost(graph->memory);
}

/* A first group of its kind is not captured: it finds the algorithms, makes the workspace large enough and
 * has the driver load its kernels. One that a later group is the first to need may be loaded in a capture,
 * which is therefore a relaxed one. */
void cuda_group_begin(struct device *device, int64_t key) {
    struct cuda_graph *graph = &cuda_state(device)->graph;
    bool known = graph->known && graph->key == key;
    graph->known = true;
    graph->key = key;
    if (!known) return;
    cudaError_t error = cudaEventSynchronize(graph->done);
    if (error == cudaSuccess)
        error = cudaStreamBeginCapture(cuda_state(device)->stream, cudaStreamCaptureModeRelaxed);
    graph->capturing = cuda_check(device, error, "beginning a graph");
    graph->used = 0;
}

/* graph->executable = what was captured. */
static cudaError_t graph_prepare(struct cuda_graph *graph, cudaGraph_t captured) {
    cudaGraphExecUpdateResultInfo result;
    if (graph->executable) {
        if (cudaGraphExecUpdate(graph->executable, captured, &result) == cudaSuccess) return cudaSuccess;
        cudaGetLastError(); /* other operations than before: no failure */
        cudaGraphExecDestroy(graph->executable);
        graph->executable = NULL;
    }
    return cudaGraphInstantiate(&graph->executable, captured, 0);
}

void cuda_group_end(struct device *device) {
    struct cuda_graph *graph = &cuda_state(device)->graph;
    cudaStream_t stream = cuda_state(device)->stream;
    cudaGraph_t captured = NULL;
    if (!graph->capturing) return;
    graph->capturing = false;
    cudaError_t error = cudaStreamEndCapture(stream, &captured);
    if (error == cudaSuccess && !device->failed) {
        error = graph_prepare(graph, captured);
        if (error == cudaSuccess) error = cudaGraphLaunch(graph->executable, stream);
        if (error == cudaSuccess) error = cudaEventRecord(graph->done, stream);
    }
    if (captured) cudaGraphDestroy(captured);
    cuda_check(device, error, "a graph");
}

char *cuda_graph_room(struct cuda_graph *graph, size_t bytes) {
    if (!graph->capturing || bytes > GRAPH_BYTES - graph->used) return NULL;
    char *room = graph->memory + graph->used;
    graph->used += (bytes + 63) / 64 * 64;
    if (graph->used > GRAPH_BYTES) graph->used = GRAPH_BYTES;
    return room;
}
