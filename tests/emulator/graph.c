/* Graphs: work of a stream that is captured instead of queued, and launched as a whole. Nodes follow one
 * another as the calls did. What cannot be captured (waiting for the stream; memory taken or given back; here
 * events too) is refused and spoils the capture. Not shown: branches, and the finer rules of updates. */
#include <stdlib.h>
#include <string.h>

#include "tests/emulator/machine.h"

struct node {
    struct node *next;
    machine_work *run;
    size_t bytes;
    max_align_t argument[]; /* a copy */
};

struct CUgraph_st {
    struct node *first, **last;
    bool spoiled;
};

struct CUgraphExec_st {
    struct node *first;
};

static _Thread_local struct {
    cudaStream_t stream; /* that the thread captures, or NULL */
    cudaGraph_t graph;
} capture;

bool machine_captures(cudaStream_t stream) {
    return stream && stream == capture.stream;
}

bool machine_spoils_capture(void) {
    if (capture.stream) capture.graph->spoiled = true;
    return capture.stream != NULL;
}

static struct node *node_new(machine_work *run, const void *argument, size_t bytes) {
    struct node *node = malloc(sizeof *node + bytes);
    if (!node) machine_die("no memory for a graph");
    *node = (struct node){.run = run, .bytes = bytes};
    memcpy(node->argument, argument, bytes);
    return node;
}

static void nodes_free(struct node *node) {
    while (node) {
        struct node *next = node->next;
        free(node);
        node = next;
    }
}

void machine_capture(machine_work *run, const void *argument, size_t bytes) {
    struct node *node = node_new(run, argument, bytes);
    *capture.graph->last = node;
    capture.graph->last = &node->next;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    if (!stream || capture.stream || mode != cudaStreamCaptureModeRelaxed) return cudaErrorInvalidValue;
    if (machine_call_fails()) return cudaErrorMemoryAllocation;
    capture.graph = calloc(1, sizeof *capture.graph);
    if (!capture.graph) machine_die("no memory for a graph");
    capture.graph->last = &capture.graph->first;
    capture.stream = stream;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = NULL;
    if (!machine_captures(stream)) return cudaErrorInvalidValue;
    cudaGraph_t captured = capture.graph;
    capture.stream = NULL;
    capture.graph = NULL;
    if (!captured->spoiled && !machine_call_fails()) {
        *graph = captured;
        return cudaSuccess;
    }
    cudaGraphDestroy(captured);
    return cudaErrorStreamCaptureInvalidated;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    nodes_free(graph->first);
    free(graph);
    return cudaSuccess;
}

/* A copy of the graph's nodes. */
static struct node *nodes_of(cudaGraph_t graph) {
    struct node *first = NULL, **last = &first;
    for (const struct node *node = graph->first; node; node = node->next) {
        *last = node_new(node->run, node->argument, node->bytes);
        last = &(*last)->next;
    }
    return first;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags) {
    *executable = NULL;
    if (flags != 0) return cudaErrorInvalidValue;
    if (machine_call_fails()) return cudaErrorMemoryAllocation;
    *executable = calloc(1, sizeof **executable);
    if (!*executable) machine_die("no memory for a graph");
    (*executable)->first = nodes_of(graph);
    machine_count(EMULATOR_GRAPHS);
    return cudaSuccess;
}

/* The same kinds of nodes in the same order. */
static bool is_alike(const struct node *a, const struct node *b) {
    for (; a && b; a = a->next, b = b->next)
        if (a->run != b->run) return false;
    return !a && !b;
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo *result) {
    result->result = !is_alike(executable->first, graph->first);
    if (result->result || machine_call_fails()) return cudaErrorGraphExecUpdateFailure;
    nodes_free(executable->first);
    executable->first = nodes_of(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    if (machine_captures(stream)) machine_die("a graph within a graph is not emulated");
    if (machine_call_fails()) return cudaErrorLaunchFailure;
    cudaError_t error = cudaSuccess;
    for (const struct node *node = executable->first; node && error == cudaSuccess; node = node->next)
        error = machine_queue(stream, node->run, node->argument, node->bytes);
    machine_count(EMULATOR_GRAPH_LAUNCHES);
    return error;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    nodes_free(executable->first);
    free(executable);
    return cudaSuccess;
}
