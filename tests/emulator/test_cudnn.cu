/* The emulated cuDNN: that it computes attention, and that it refuses what cuDNN refuses. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include <cmocka.h>
}

#include "cudnn.h"
#include "tensor/cuda/hardware.cuh"

enum { BATCH = 2, HEADS = 4, GROUPS = 2, QUERIES = 3, KEYS = 5, COLS = 8, ELEMENTS = 2048 };
enum { Q = 1, K, V, OUT, SCALE, STATS, QUERY_COUNTS, KEY_COUNTS };

/* An attempt at attention, all as it should be but for what is said here. */
struct attempt {
    int cols = COLS, groups = GROUPS, k_cols = COLS;
    int64_t alignment = 16, v_name = V;
    int strides = 4;
    bool by_value = true, typed = true, finalized = true, engine_2 = true;
    int q_offset = 0, names = 8; /* elements; tensors in the variant pack */
    bool q_on_host = false, workspace = true;
    int query_count = 2;
};

static cudaStream_t stream;
static unsigned short *memory; /* on the device: Q to OUT, ELEMENTS each, STATS, the counts, the workspace */

static cudnnBackendDescriptor_t made[64];
static int made_count;

static int open_device(void **) {
    void *all;
    if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess) return 1;
    if (cudaMalloc(&all, 16 * ELEMENTS * sizeof *memory) != cudaSuccess) return 1;
    memory = static_cast<unsigned short *>(all);
    return 0;
}

static int close_device(void **) {
    return cudaFree(memory) != cudaSuccess || cudaStreamDestroy(stream) != cudaSuccess;
}

static void *place(int name) {
    return memory + name * ELEMENTS;
}

static cudnnBackendDescriptor_t make(cudnnBackendDescriptorType_t type) {
    assert_int_equal(cudnnBackendCreateDescriptor(type, &made[made_count]), CUDNN_STATUS_SUCCESS);
    return made[made_count++];
}

static void set(cudnnStatus_t *status, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    if (*status == CUDNN_STATUS_SUCCESS) *status = cudnnBackendSetAttribute(to, name, type, count, values);
}

static void finalize(cudnnStatus_t *status, cudnnBackendDescriptor_t descriptor) {
    if (*status == CUDNN_STATUS_SUCCESS) *status = cudnnBackendFinalize(descriptor);
}

static cudnnBackendDescriptor_t tensor(cudnnStatus_t *status, const struct attempt *a, int64_t name,
                                       cudnnDataType_t type, int heads, int rows, int cols) {
    cudnnBackendDescriptor_t t = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    bool one = name == SCALE, counts = name >= QUERY_COUNTS;
    const int64_t dims[4] = {one ? 1 : BATCH, heads, rows, cols};
    const int64_t strides[4] = {heads * rows * cols, cols, heads * cols, 1}, by_rows[4] = {1, 1, 1, 1};
    const int64_t alignment = type == CUDNN_DATA_BFLOAT16 ? a->alignment : 4;
    set(status, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, a->typed ? CUDNN_TYPE_INT64 : CUDNN_TYPE_BOOLEAN, 1, &name);
    set(status, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(status, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    set(status, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, a->strides, counts ? by_rows : strides);
    set(status, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    if (one) set(status, t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &a->by_value);
    if (a->finalized || name != V) finalize(status, t);
    return t;
}

static cudnnBackendDescriptor_t graph(cudnnStatus_t *status, const struct attempt *a, cudnnHandle_t handle) {
    const cudnnBackendDescriptor_t tensors[8] = {
        tensor(status, a, Q, CUDNN_DATA_BFLOAT16, HEADS, QUERIES, a->cols),
        tensor(status, a, K, CUDNN_DATA_BFLOAT16, a->groups, KEYS, a->k_cols),
        tensor(status, a, a->v_name, CUDNN_DATA_BFLOAT16, a->groups, KEYS, a->cols),
        tensor(status, a, OUT, CUDNN_DATA_BFLOAT16, HEADS, QUERIES, a->cols),
        tensor(status, a, SCALE, CUDNN_DATA_FLOAT, 1, 1, 1),
        tensor(status, a, STATS, CUDNN_DATA_FLOAT, HEADS, QUERIES, 1),
        tensor(status, a, QUERY_COUNTS, CUDNN_DATA_INT32, 1, 1, 1),
        tensor(status, a, KEY_COUNTS, CUDNN_DATA_INT32, 1, 1, 1)};
    static const cudnnBackendAttributeName_t names[8] = {
        CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC,         CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC,
        CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC,         CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC,
        CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC,     CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC,
        CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC};
    cudnnBackendDescriptor_t operation = make(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
    for (int i = 0; i < 8; i++)
        set(status, operation, names[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &tensors[i]);
    finalize(status, operation);
    cudnnBackendDescriptor_t all = make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(status, all, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    set(status, all, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &operation);
    finalize(status, all);
    return all;
}

/* The last of the engines is the one that runs. */
static cudnnBackendDescriptor_t plan(cudnnStatus_t *status, const struct attempt *a, cudnnHandle_t handle) {
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    cudnnBackendDescriptor_t all = graph(status, a, handle), engines[3];
    cudnnBackendDescriptor_t heuristics = make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set(status, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &all);
    set(status, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    finalize(status, heuristics);
    int64_t count = 0;
    for (int i = 0; i < 3; i++) engines[i] = make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (*status == CUDNN_STATUS_SUCCESS)
        *status = cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, 3, &count, engines);
    if (*status == CUDNN_STATUS_SUCCESS && count == 0) *status = CUDNN_STATUS_NOT_SUPPORTED;
    cudnnBackendDescriptor_t execution = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set(status, execution, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    set(status, execution, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
        &engines[a->engine_2 ? 2 : 1]);
    finalize(status, execution);
    return execution;
}

static cudnnStatus_t attempt_run(const struct attempt &a) {
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    cudnnHandle_t handle;
    const int counts[4] = {a.query_count, QUERIES, KEYS, KEYS - 1};
    float scale = 0.5f;
    assert_int_equal(cudnnCreate(&handle), CUDNN_STATUS_SUCCESS);
    assert_int_equal(cudnnSetStream(handle, stream), CUDNN_STATUS_SUCCESS);
    cudaMemcpyAsync(place(QUERY_COUNTS), counts, 8, cudaMemcpyHostToDevice, stream);
    cudaMemcpyAsync(place(KEY_COUNTS), counts + 2, 8, cudaMemcpyHostToDevice, stream);
    cudnnBackendDescriptor_t execution = plan(&status, &a, handle);
    const int64_t names[8] = {Q, K, V, OUT, SCALE, STATS, QUERY_COUNTS, KEY_COUNTS};
    void *data[8], *workspace = a.workspace ? place(KEY_COUNTS + 1) : nullptr;
    for (int i = 0; i < 8; i++) data[i] = i == SCALE - 1 ? &scale : place(i + 1);
    data[0] = a.q_on_host ? reinterpret_cast<void *>(64) : memory + Q * ELEMENTS + a.q_offset;
    cudnnBackendDescriptor_t pack = make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    set(&status, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, a.names, names);
    set(&status, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, a.names, data);
    set(&status, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    finalize(&status, pack);
    if (status == CUDNN_STATUS_SUCCESS) status = cudnnBackendExecute(handle, execution, pack);
    while (made_count > 0) cudnnBackendDestroyDescriptor(made[--made_count]);
    cudnnDestroy(handle);
    return status;
}

/* ---- Tests ------------------------------------------------------------------------------------------- */

static float value(int i) {
    return static_cast<float>(i * 7 % 13 - 6) / 4;
}

static float from_bf16(unsigned short x) {
    return __uint_as_float(static_cast<unsigned>(x) << 16);
}

/* The output and the log of the sum of one row, from the same values. */
static void expect_row(const unsigned short *out, float log_sum, int batch, int head, int row) {
    double sum = 0, want[COLS] = {0};
    int group = head / (HEADS / GROUPS), keys = batch ? KEYS - 1 : KEYS;
    for (int key = 0; key < keys; key++) {
        double score = 0;
        int at = ((batch * KEYS + key) * GROUPS + group) * COLS;
        for (int c = 0; c < COLS; c++)
            score += value(((batch * QUERIES + row) * HEADS + head) * COLS + c) * value(at + c + 1);
        sum += exp(score / 2);
        for (int c = 0; c < COLS; c++) want[c] += exp(score / 2) * value(at + c + 2);
    }
    for (int c = 0; c < COLS; c++) assert_true(fabs(from_bf16(out[c]) - want[c] / sum) < 0.02);
    assert_true(fabs(log_sum - log(sum)) < 1e-5);
}

static void attention(void **) {
    static unsigned short values[ELEMENTS], out[ELEMENTS];
    float stats[BATCH * HEADS * QUERIES];
    for (int name = Q; name <= V; name++) {
        for (int i = 0; i < ELEMENTS; i++)
            values[i] = static_cast<unsigned short>(__float_as_uint(value(i + name - 1)) >> 16);
        cudaMemcpyAsync(place(name), values, sizeof values, cudaMemcpyHostToDevice, stream);
    }
    cudaMemsetAsync(place(OUT), 0x7f, ELEMENTS * 2, stream);
    assert_int_equal(attempt_run(attempt()), CUDNN_STATUS_SUCCESS);
    cudaMemcpyAsync(stats, place(STATS), sizeof stats, cudaMemcpyDeviceToHost, stream);
    cudaMemcpyAsync(out, place(OUT), sizeof out, cudaMemcpyDeviceToHost, stream);
    for (int batch = 0; batch < BATCH; batch++)
        for (int row = 0; row < QUERIES; row++)
            for (int head = 0; head < HEADS; head++) {
                int at = (batch * QUERIES + row) * HEADS + head;
                if (batch || row < 2)
                    expect_row(out + at * COLS, stats[at], batch, head, row);
                else
                    assert_int_equal(out[at * COLS], 0x7f7f); /* beyond the sequence's end */
            }
}

/* One thing is wrong, and the first call that can tell does. */
static void expect(cudnnStatus_t status, void (*spoil)(struct attempt &)) {
    struct attempt a;
    spoil(a);
    assert_int_equal(attempt_run(a), status);
}

static void what_is_refused(void **) {
    expect(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, [](struct attempt &a) { a.typed = false; });
    expect(CUDNN_STATUS_BAD_PARAM, [](struct attempt &a) { a.strides = 3; });
    expect(CUDNN_STATUS_BAD_PARAM, [](struct attempt &a) { a.alignment = 3; });
    expect(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, [](struct attempt &a) { a.finalized = false; });
    expect(CUDNN_STATUS_BAD_PARAM, [](struct attempt &a) { a.groups = 3; });
    expect(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, [](struct attempt &a) { a.k_cols = 16; });
    expect(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, [](struct attempt &a) { a.by_value = false; });
    expect(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, [](struct attempt &a) { a.v_name = OUT; });
    expect(CUDNN_STATUS_NOT_SUPPORTED, [](struct attempt &a) { a.alignment = 8; });
    expect(CUDNN_STATUS_NOT_SUPPORTED, [](struct attempt &a) { a.engine_2 = false; });
    expect(CUDNN_STATUS_BAD_PARAM, [](struct attempt &a) { a.names = 7; });
    expect(CUDNN_STATUS_BAD_PARAM, [](struct attempt &a) { a.v_name = -3; });
    expect(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, [](struct attempt &a) { a.q_offset = 4; });
    expect(CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND, [](struct attempt &a) { a.q_on_host = true; });
    expect(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, [](struct attempt &a) { a.workspace = false; });
    expect(CUDNN_STATUS_NOT_SUPPORTED, [](struct attempt &a) { a.cols = a.k_cols = 12; });
    char words[64];
    expect(CUDNN_STATUS_BAD_PARAM, [](struct attempt &a) { a.groups = 3; });
    cudnnGetLastErrorString(words, sizeof words);
    assert_string_equal(words, "h_q % h_k != 0");
}

static void descriptors_are_finalised_once(void **) {
    const int64_t name = 1;
    int64_t count;
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    struct attempt a;
    cudnnBackendDescriptor_t empty = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    assert_int_equal(cudnnBackendFinalize(empty), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(
        cudnnBackendSetAttribute(empty, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &name),
        CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(cudnnBackendSetAttribute(empty, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 2, &name),
                     CUDNN_STATUS_BAD_PARAM);
    cudnnBackendDescriptor_t t = tensor(&status, &a, Q, CUDNN_DATA_BFLOAT16, 1, 1, COLS);
    assert_int_equal(status, CUDNN_STATUS_SUCCESS);
    assert_int_equal(cudnnBackendFinalize(t), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(cudnnBackendSetAttribute(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &name),
                     CUDNN_STATUS_BAD_PARAM);
    cudnnBackendDescriptor_t heuristics = make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    assert_int_equal(cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                              CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &t),
                     CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE);
    assert_int_equal(cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                              CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &t),
                     CUDNN_STATUS_NOT_INITIALIZED);
    assert_int_equal(cudnnBackendDestroyDescriptor(nullptr), CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
    while (made_count > 0) cudnnBackendDestroyDescriptor(made[--made_count]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(descriptors_are_finalised_once),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
