/* A plan is one operation with its engine, for tables of up to so many segments of up to so many tokens. All
 * that cuDNN was told for it is kept with it. */
#include "tensor/cuda/cudnn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/cuda/cudnn_library.h"

enum {
    PLANS = 64,          /* kept */
    DESCRIPTORS = 32,    /* of a plan, at most */
    ENGINES = 4,         /* tried, the best first */
    HEAD_DIM_MOST = 128, /* that engines of every architecture take */
    ALIGNMENT = 16,      /* bytes, of rows of bf16 */
    TOKENS_LEAST = 64,   /* what lengths are rounded up to at least */
    NOTES_MOST = 16,
};

/* The tensors of the operation, by the names that cuDNN knows them by (any number but 0). */
enum uid {
    UID_Q = 1,
    UID_K,
    UID_V,
    UID_OUT,
    UID_LOG_SUM,
    UID_SCALE,
    UID_QUERIES, /* i32 [batch]: the lengths of sequences */
    UID_KEYS,
    UID_ENDS =
        UID_KEYS, /* UID_ENDS + UID_Q and so on: i32 [batch + 1], the element each sequence begins with */
    UIDS = UID_ENDS + UID_LOG_SUM + 1,
};

/* What a plan depends on. Compared as bytes: no padding. */
struct plan_key {
    int64_t batch, queries, keys; /* at most */
    int64_t
        stride[UID_LOG_SUM + 1]; /* of the rows of q, k, v, out and log_sum (0: not wanted), in elements */
    int32_t heads, kv_heads, head_dim, unused;
};

struct plan {
    struct plan_key key;
    cudnnBackendDescriptor_t made[DESCRIPTORS];
    int count;                          /* 0: an empty place */
    cudnnBackendDescriptor_t execution; /* NULL: there is none to be had */
    int64_t workspace;                  /* bytes */
};

struct cuda_cudnn {
    struct cudnn_library library;
    cudnnHandle_t handle; /* NULL: cuDNN cannot be had */
    char name[32];
    struct plan plans[PLANS];
    int oldest; /* the place to be given up next */
    bool has_warned;
    int32_t *table; /* of one call, on the host: lengths and beginnings of sequences */
    size_t table_capacity;
};

/* ---- Opening ----------------------------------------------------------------------------------------- */

static void plan_free(const struct cudnn_library *library, struct plan *plan) {
    while (plan->count > 0) library->descriptor_destroy(plan->made[--plan->count]);
    *plan = (struct plan){0};
}

void cuda_cudnn_close(struct cuda_cudnn *cudnn) {
    if (!cudnn) return;
    for (int i = 0; i < PLANS; i++) plan_free(&cudnn->library, &cudnn->plans[i]);
    if (cudnn->handle) cudnn->library.destroy(cudnn->handle);
    free(cudnn->table);
    free(cudnn);
}

static void handle_open(struct cuda_cudnn *cudnn, cudaStream_t stream) {
    if (cudnn->library.create(&cudnn->handle) != CUDNN_STATUS_SUCCESS) {
        cudnn->handle = NULL;
    } else if (cudnn->library.set_stream(cudnn->handle, stream) != CUDNN_STATUS_SUCCESS) {
        cudnn->library.destroy(cudnn->handle);
        cudnn->handle = NULL;
    }
}

enum status cuda_cudnn_open(struct cuda_cudnn **cudnn, cudaStream_t stream, struct error *err) {
    struct cuda_cudnn *made = memory_new(1, sizeof *made, "attention on the GPU", err);
    *cudnn = made;
    if (!made) return STATUS_FAILED;
    if (cudnn_library_load(&made->library)) handle_open(made, stream);
    snprintf(made->name, sizeof made->name, "no cuDNN");
    if (made->handle) {
        unsigned version = (unsigned)made->library.version();
        snprintf(made->name, sizeof made->name, "cuDNN %u.%u.%u", version / 10000, version / 100 % 100,
                 version % 100);
    }
    return STATUS_OK;
}

const char *cuda_cudnn_name(const struct cuda_cudnn *cudnn) {
    return cudnn->name;
}

/* ---- What fits --------------------------------------------------------------------------------------- */

static bool segments_fit(struct attention_segments segments) {
    for (int64_t i = 0; i < segments.count; i++) {
        const struct attention_segment *s = &segments.host[i], *last = s - 1;
        if (s->causal || s->prefix_keys || s->queries < 1 || s->keys < 1) return false;
        if (i && (s->query != last->query + last->queries || s->key != last->key + last->keys)) return false;
    }
    return segments.count > 0;
}

/* An i32 can hold the place of every element. */
static bool places_fit(struct tensor t) {
    return !t.data || t.rows <= INT32_MAX / t.stride;
}

/* Rows of bf16 that can be read 16 bytes at a time. */
static bool rows_fit(struct tensor t) {
    return t.dtype == DTYPE_BF16 && (uintptr_t)t.data % ALIGNMENT == 0 &&
           (size_t)t.stride * dtype_size(t.dtype) % ALIGNMENT == 0 && places_fit(t);
}

static int64_t power_of_two(int64_t least, int64_t n) {
    while (least < n) least *= 2;
    return least;
}

static struct plan_key key_of(const struct tensor rows[UID_LOG_SUM + 1], struct attention_segments segments,
                              int heads, int kv_heads) {
    struct plan_key key = {.batch = power_of_two(1, segments.count),
                           .queries = TOKENS_LEAST,
                           .keys = TOKENS_LEAST,
                           .heads = heads,
                           .kv_heads = kv_heads,
                           .head_dim = (int32_t)(rows[UID_Q].cols / heads)};
    for (int64_t i = 0; i < segments.count; i++) {
        key.queries = power_of_two(key.queries, segments.host[i].queries);
        key.keys = power_of_two(key.keys, segments.host[i].keys);
    }
    for (int i = UID_Q; i <= UID_LOG_SUM; i++) key.stride[i] = rows[i].data ? rows[i].stride : 0;
    return key;
}

/* ---- Describing the operation ------------------------------------------------------------------------ */

/* A plan in the making; after the first failure nothing more is done. */
struct making {
    const struct cudnn_library *library;
    struct plan *plan;
    cudnnStatus_t status;
};

static cudnnBackendDescriptor_t make(struct making *m, cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t made = NULL;
    assert(m->plan->count < DESCRIPTORS);
    if (m->status == CUDNN_STATUS_SUCCESS) m->status = m->library->descriptor_create(type, &made);
    if (m->status != CUDNN_STATUS_SUCCESS) return NULL;
    m->plan->made[m->plan->count++] = made;
    return made;
}

static void set(struct making *m, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t attribute,
                cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    if (m->status == CUDNN_STATUS_SUCCESS)
        m->status = m->library->attribute_set(to, attribute, type, count, values);
}

static void set_descriptor(struct making *m, cudnnBackendDescriptor_t to,
                           cudnnBackendAttributeName_t attribute, cudnnBackendDescriptor_t value) {
    set(m, to, attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void finalize(struct making *m, cudnnBackendDescriptor_t descriptor) {
    if (m->status == CUDNN_STATUS_SUCCESS) m->status = m->library->finalize(descriptor);
}

/* A tensor of 4 dimensions, not yet finalised. */
static cudnnBackendDescriptor_t tensor_begin(struct making *m, enum uid uid, cudnnDataType_t type,
                                             const int64_t dims[4], const int64_t strides[4]) {
    cudnnBackendDescriptor_t tensor = make(m, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const int64_t id = uid, alignment = type == CUDNN_DATA_BFLOAT16 ? ALIGNMENT : 4;
    set(m, tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    set(m, tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(m, tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    set(m, tensor, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    set(m, tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    return tensor;
}

static cudnnBackendDescriptor_t counts_make(struct making *m, enum uid uid, int64_t count) {
    cudnnBackendDescriptor_t tensor =
        tensor_begin(m, uid, CUDNN_DATA_INT32, (int64_t[]){count, 1, 1, 1}, (int64_t[]){1, 1, 1, 1});
    finalize(m, tensor);
    return tensor;
}

/* Rows of `heads` heads of `cols` columns, as [batch, heads, rows, cols]; each sequence begins at its place.
 */
static cudnnBackendDescriptor_t rows_make(struct making *m, enum uid uid, int64_t rows, int64_t heads,
                                          int64_t cols) {
    const struct plan_key *key = &m->plan->key;
    int64_t stride = key->stride[uid];
    cudnnBackendDescriptor_t ends = counts_make(m, UID_ENDS + uid, key->batch + 1);
    cudnnBackendDescriptor_t tensor =
        tensor_begin(m, uid, uid == UID_LOG_SUM ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16,
                     (int64_t[]){key->batch, heads, rows, cols}, (int64_t[]){rows * stride, cols, stride, 1});
    set_descriptor(m, tensor, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC, ends);
    finalize(m, tensor);
    return tensor;
}

static cudnnBackendDescriptor_t scale_make(struct making *m) {
    const int64_t ones[4] = {1, 1, 1, 1};
    const bool by_value = true;
    cudnnBackendDescriptor_t tensor = tensor_begin(m, UID_SCALE, CUDNN_DATA_FLOAT, ones, ones);
    set(m, tensor, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
    finalize(m, tensor);
    return tensor;
}

static cudnnBackendDescriptor_t operation_make(struct making *m) {
    const struct plan_key *key = &m->plan->key;
    const struct {
        cudnnBackendAttributeName_t attribute;
        cudnnBackendDescriptor_t tensor;
    } tensors[] = {
        {CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, rows_make(m, UID_Q, key->queries, key->heads, key->head_dim)},
        {CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, rows_make(m, UID_K, key->keys, key->kv_heads, key->head_dim)},
        {CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, rows_make(m, UID_V, key->keys, key->kv_heads, key->head_dim)},
        {CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, rows_make(m, UID_OUT, key->queries, key->heads, key->head_dim)},
        {CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, scale_make(m)},
        {CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC, counts_make(m, UID_QUERIES, key->batch)},
        {CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC, counts_make(m, UID_KEYS, key->batch)},
    };
    cudnnBackendDescriptor_t operation = make(m, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        set_descriptor(m, operation, tensors[i].attribute, tensors[i].tensor);
    if (key->stride[UID_LOG_SUM])
        set_descriptor(m, operation, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC,
                       rows_make(m, UID_LOG_SUM, key->queries, key->heads, 1));
    finalize(m, operation);
    return operation;
}

/* ---- Plans ------------------------------------------------------------------------------------------- */

/* What cuDNN's heuristics propose for an operation, the best first. Returns how many. */
static int64_t engines_find(struct making *m, cudnnHandle_t handle, cudnnBackendDescriptor_t operation,
                            cudnnBackendDescriptor_t configurations[ENGINES]) {
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    cudnnBackendDescriptor_t graph = make(m, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(m, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    set_descriptor(m, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
    finalize(m, graph);
    cudnnBackendDescriptor_t heuristics = make(m, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set_descriptor(m, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set(m, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    finalize(m, heuristics);
    for (int i = 0; i < ENGINES; i++) configurations[i] = make(m, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    int64_t count = 0;
    if (m->status == CUDNN_STATUS_SUCCESS)
        m->status = m->library->attribute_get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                              CUDNN_TYPE_BACKEND_DESCRIPTOR, ENGINES, &count, configurations);
    if (m->status != CUDNN_STATUS_SUCCESS) return 0;
    return count < ENGINES ? count : ENGINES; /* it may tell how many there are */
}

static bool is_deterministic(struct making *m, cudnnBackendDescriptor_t configuration) {
    cudnnBackendDescriptor_t engine = make(m, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendNumericalNote_t notes[NOTES_MOST];
    int64_t count = 0;
    if (m->status == CUDNN_STATUS_SUCCESS)
        m->status = m->library->attribute_get(configuration, CUDNN_ATTR_ENGINECFG_ENGINE,
                                              CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &engine);
    count = 0;
    if (m->status == CUDNN_STATUS_SUCCESS)
        m->status = m->library->attribute_get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                              CUDNN_TYPE_NUMERICAL_NOTE, NOTES_MOST, &count, notes);
    for (int64_t i = 0; i < count && i < NOTES_MOST; i++)
        if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return false;
    return m->status == CUDNN_STATUS_SUCCESS;
}

static void execution_make(struct making *m, cudnnHandle_t handle, cudnnBackendDescriptor_t configuration) {
    cudnnBackendDescriptor_t execution = make(m, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set(m, execution, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    set_descriptor(m, execution, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
    finalize(m, execution);
    int64_t count = 0;
    if (m->status == CUDNN_STATUS_SUCCESS)
        m->status = m->library->attribute_get(execution, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                              CUDNN_TYPE_INT64, 1, &count, &m->plan->workspace);
    if (m->status == CUDNN_STATUS_SUCCESS) m->plan->execution = execution;
}

/* A status that says more than that an operation is not supported. */
static bool is_trouble(cudnnStatus_t status) {
    return status != CUDNN_STATUS_SUCCESS && status / 1000 != CUDNN_STATUS_NOT_SUPPORTED / 1000;
}

/* "STATUS: in cuDNN's words". */
static void describe(struct cuda_cudnn *cudnn, cudnnStatus_t status, char *text, size_t size) {
    char words[256] = "";
    cudnn->library.last_error(words, sizeof words);
    words[strcspn(words, "\n")] = '\0';
    snprintf(text, size, "%s%s%s", cudnn->library.status_text(status), *words ? ": " : "", words);
}

/* What others compute as well is no failure, but it should be known: they may be slower. */
static void warn(struct device *device, cudnnStatus_t status) {
    struct cuda_cudnn *cudnn = cuda_state(device)->cudnn;
    char text[512];
    if (cudnn->has_warned) return;
    cudnn->has_warned = true;
    describe(cudnn, status, text, sizeof text);
    fprintf(stderr, "warning: device %s: attention may go without cuDNN: %s\n", device->backend->name, text);
}

/* An engine that cannot be had leaves the next one to be tried. */
static void plan_make(struct device *device, struct making *m, cudnnHandle_t handle) {
    cudnnBackendDescriptor_t configurations[ENGINES];
    int64_t count = engines_find(m, handle, operation_make(m), configurations);
    if (is_trouble(m->status)) warn(device, m->status);
    for (int64_t i = 0; i < count && !m->plan->execution; i++) {
        m->status = CUDNN_STATUS_SUCCESS;
        if (is_deterministic(m, configurations[i])) execution_make(m, handle, configurations[i]);
        if (is_trouble(m->status)) warn(device, m->status);
    }
}

static void fail(struct device *device, cudnnStatus_t status) {
    char text[512];
    describe(cuda_state(device)->cudnn, status, text, sizeof text);
    device_fail(device, "attention: %s", text);
}

/* The plan for a key, kept or made, perhaps one without an engine. NULL: the device has failed. */
static const struct plan *plan_find(struct device *device, const struct plan_key *key) {
    struct cuda_cudnn *cudnn = cuda_state(device)->cudnn;
    for (int i = 0; i < PLANS; i++)
        if (cudnn->plans[i].count && memcmp(&cudnn->plans[i].key, key, sizeof *key) == 0)
            return &cudnn->plans[i];
    struct plan *plan = &cudnn->plans[cudnn->oldest];
    cudnn->oldest = (cudnn->oldest + 1) % PLANS;
    cuda_group_end(device); /* a plan is not made within a graph */
    if (plan->count && !cuda_check(device, cudaStreamSynchronize(cuda_state(device)->stream), "attention"))
        return NULL; /* its kernel may be queued still */
    plan_free(&cudnn->library, plan);
    plan->key = *key;
    struct making making = {&cudnn->library, plan, CUDNN_STATUS_SUCCESS};
    plan_make(device, &making, cudnn->handle);
    return plan;
}

/* ---- The operation ----------------------------------------------------------------------------------- */

/* What the operation reads beside the tensors: i32 arrays of `pitch` elements, one a uid from UID_QUERIES
 * on. */
static int64_t table_pitch(const struct plan_key *key) {
    return power_of_two(64, key->batch + 1);
}

static enum status table_fill(struct cuda_cudnn *cudnn, const struct plan_key *key,
                              struct attention_segments segments, struct error *err) {
    const struct attention_segment *last = &segments.host[segments.count - 1];
    int64_t pitch = table_pitch(key);
    size_t size = (size_t)(pitch * (UIDS - UID_QUERIES));
    if (memory_grow(&cudnn->table, &cudnn->table_capacity, size, sizeof *cudnn->table, "attention", err) !=
        STATUS_OK)
        return STATUS_FAILED;
    memset(cudnn->table, 0, size * sizeof *cudnn->table);
    for (int64_t i = 0; i <= key->batch; i++) {
        bool there = i < segments.count;
        int64_t query = there ? segments.host[i].query : last->query + last->queries;
        int64_t own = there ? segments.host[i].key : last->key + last->keys;
        int32_t *at = cudnn->table + i;
        if (there) at[0] = (int32_t)segments.host[i].queries;
        if (there) at[pitch] = (int32_t)segments.host[i].keys;
        for (int uid = UID_Q; uid <= UID_LOG_SUM; uid++)
            at[(UID_ENDS + uid - UID_QUERIES) * pitch] =
                (int32_t)((uid == UID_K || uid == UID_V ? own : query) * key->stride[uid]);
    }
    return STATUS_OK;
}

/* One call: where each tensor is, by uid; the scale is on the host. */
struct call {
    void *data[UIDS];
    void *workspace;
};

static cudnnStatus_t execute(struct cuda_cudnn *cudnn, const struct plan *plan, const struct call *call) {
    int64_t uids[UIDS], count = 0;
    void *data[UIDS];
    for (int uid = 1; uid < UIDS; uid++) {
        if (!call->data[uid]) continue;
        uids[count] = uid;
        data[count++] = call->data[uid];
    }
    struct plan pack = {0};
    struct making m = {&cudnn->library, &pack, CUDNN_STATUS_SUCCESS};
    cudnnBackendDescriptor_t pointers = make(&m, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    set(&m, pointers, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids);
    set(&m, pointers, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, data);
    set(&m, pointers, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &call->workspace);
    finalize(&m, pointers);
    if (m.status == CUDNN_STATUS_SUCCESS)
        m.status = cudnn->library.execute(cudnn->handle, plan->execution, pointers);
    plan_free(&cudnn->library, &pack);
    return m.status;
}

/* The lengths and beginnings go to the front of the workspace. */
static void run(struct device *device, const struct plan *plan, const struct tensor rows[UID_LOG_SUM + 1],
                struct attention_segments segments, float scale) {
    struct cuda_cudnn *cudnn = cuda_state(device)->cudnn;
    struct error err;
    if (table_fill(cudnn, &plan->key, segments, &err) != STATUS_OK) {
        device_fail(device, "%s", err.message);
        return;
    }
    int64_t pitch = table_pitch(&plan->key);
    size_t table_bytes = (size_t)(pitch * (UIDS - UID_QUERIES)) * sizeof(int32_t);
    char *memory = cuda_workspace(device, table_bytes + (size_t)plan->workspace);
    if (!memory) return;
    cuda_write(device, memory, cudnn->table, table_bytes);
    if (device->failed) return;
    struct call call = {.workspace = memory + table_bytes};
    for (int uid = UID_Q; uid <= UID_LOG_SUM; uid++) call.data[uid] = rows[uid].data;
    call.data[UID_SCALE] = &scale;
    for (int uid = UID_QUERIES; uid < UIDS; uid++)
        if (uid != UID_ENDS + UID_LOG_SUM || rows[UID_LOG_SUM].data)
            call.data[uid] = (int32_t *)memory + (uid - UID_QUERIES) * pitch;
    cudnnStatus_t status = execute(cudnn, plan, &call);
    if (status != CUDNN_STATUS_SUCCESS) fail(device, status);
}

bool cuda_cudnn_attention_forward(struct device *device, struct tensor out, struct tensor log_sum,
                                  struct tensor q, struct tensor k, struct tensor v,
                                  struct attention_segments segments, int heads, int kv_heads, float scale) {
    const struct tensor rows[UID_LOG_SUM + 1] = {
        [UID_Q] = q, [UID_K] = k, [UID_V] = v, [UID_OUT] = out, [UID_LOG_SUM] = log_sum};
    int64_t head_dim = q.cols / heads;
    if (!cuda_state(device)->cudnn->handle || head_dim % 8 || head_dim > HEAD_DIM_MOST) return false;
    if (!rows_fit(q) || !rows_fit(k) || !rows_fit(v) || !rows_fit(out) || !places_fit(log_sum)) return false;
    if (!segments_fit(segments)) return false;
    struct plan_key key = key_of(rows, segments, heads, kv_heads);
    const struct plan *plan = plan_find(device, &key);
    if (plan && plan->execution) run(device, plan, rows, segments, scale);
    return !plan || plan->execution;
}
