/* cuDNN's graphs of one operation, scaled dot product attention, as its headers and documentation have them.
 * Descriptors answer as cuDNN 9.19 does where that can be seen without a GPU, and are stricter where it is
 * silent: what a descriptor points to is of its kind and finalised when it is set, and names of tensors are
 * distinct. The heuristics propose three engines, of which one is not deterministic (running it is a mistake)
 * and one is refused as a plan. Attention is computed as flash attention rounds it: scores and sums in f32,
 * the weights of values in bf16. Stats are the natural logarithms of the sums. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cudnn.h"
#include "tensor/float16.h"
#include "tests/emulator/machine.h"

enum {
    ATTRIBUTES_MOST = 10,
    DIMENSIONS = 4,
    TENSORS_MOST = 16,
    WORKSPACE_BYTES = 4096,
    WORKSPACE_ALIGNMENT = 16,
};

struct cudnnContext {
    cudaStream_t stream;
};

struct attribute {
    cudnnBackendAttributeName_t name;
    int64_t count;
    void *values;
};

struct descriptor {
    cudnnBackendDescriptorType_t type;
    bool finalized;
    int count;
    struct attribute attributes[ATTRIBUTES_MOST];
    const struct descriptor *graph; /* of an engine and its configuration */
    int engine;                     /* its number */
};

static const struct {
    cudnnBackendNumericalNote_t note;
    bool refused; /* when a plan is made */
} engines[] = {
    {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, false},
    {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, true},
    {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, false},
};
enum { ENGINES = sizeof engines / sizeof *engines };

/* What can be set of a kind of descriptor: so many values of a type. */
struct rule {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t most; /* 0: no rule */
    bool optional;
    cudnnBackendDescriptorType_t target; /* of descriptors */
};

enum { RULES_MOST = 8 };
static const struct kind {
    cudnnBackendDescriptorType_t type;
    struct rule rules[RULES_MOST];
} kinds[] = {
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR,
     {{CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, false, 0},
      {CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, false, 0},
      {CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 8, false, 0},
      {CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 8, false, 0},
      {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, false, 0},
      {CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, true, 0},
      {CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, true,
       CUDNN_BACKEND_TENSOR_DESCRIPTOR}}},
    {CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR,
     {{CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, false,
       CUDNN_BACKEND_TENSOR_DESCRIPTOR},
      {CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, false,
       CUDNN_BACKEND_TENSOR_DESCRIPTOR},
      {CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, false,
       CUDNN_BACKEND_TENSOR_DESCRIPTOR},
      {CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, false,
       CUDNN_BACKEND_TENSOR_DESCRIPTOR},
      {CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, false,
       CUDNN_BACKEND_TENSOR_DESCRIPTOR},
      {CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, true,
       CUDNN_BACKEND_TENSOR_DESCRIPTOR},
      {CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, true,
       CUDNN_BACKEND_TENSOR_DESCRIPTOR},
      {CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, true,
       CUDNN_BACKEND_TENSOR_DESCRIPTOR}}},
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR,
     {{CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, false, 0},
      {CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, false,
       CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR}}},
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR,
     {{CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, false,
       CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR},
      {CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, false, 0}}},
    {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR,
     {{CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, false, 0},
      {CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, false,
       CUDNN_BACKEND_ENGINECFG_DESCRIPTOR}}},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR,
     {{CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, TENSORS_MOST, false, 0},
      {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, TENSORS_MOST, false, 0},
      {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, true, 0}}},
};

/* ---- Errors ------------------------------------------------------------------------------------------ */

static char last_words[128];
static int attentions; /* that have run */

int emulator_attentions(void) {
    return attentions;
}

static cudnnStatus_t refuse(cudnnStatus_t status, const char *words) {
    snprintf(last_words, sizeof last_words, "%s", words);
    return status;
}

size_t cudnnGetVersion(void) {
    return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
    switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_BAD_PARAM_NULL_POINTER: return "CUDNN_STATUS_BAD_PARAM_NULL_POINTER";
    case CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER: return "CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER";
    case CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED: return "CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED";
    case CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND: return "CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND";
    case CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT: return "CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT";
    case CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH: return "CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH";
    case CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES: return "CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES";
    case CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE: return "CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE";
    case CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE: return "CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED:
        return "CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED";
    case CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED:
        return "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    }
    return "unknown status";
}

void cudnnGetLastErrorString(char *message, size_t max_size) {
    snprintf(message, max_size, "%s", last_words);
    last_words[0] = '\0';
}

/* ---- Handles and descriptors ------------------------------------------------------------------------- */

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    *handle = machine_call_fails() ? NULL : calloc(1, sizeof **handle);
    return *handle ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_INITIALIZED;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *descriptor) {
    struct descriptor *made = machine_call_fails() ? NULL : calloc(1, sizeof *made);
    *descriptor = made;
    if (!made) return refuse(CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED, "no memory");
    made->type = type;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    struct descriptor *d = descriptor;
    if (!d) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    for (int i = 0; i < d->count; i++) free(d->attributes[i].values);
    free(d);
    return CUDNN_STATUS_SUCCESS;
}

/* ---- Attributes -------------------------------------------------------------------------------------- */

static size_t size_of(cudnnBackendAttributeType_t type) {
    switch (type) {
    case CUDNN_TYPE_INT64: return sizeof(int64_t);
    case CUDNN_TYPE_BOOLEAN: return sizeof(bool);
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR: return sizeof(void *);
    case CUDNN_TYPE_DATA_TYPE:
    case CUDNN_TYPE_HEUR_MODE:
    case CUDNN_TYPE_NUMERICAL_NOTE: return sizeof(int);
    }
    return 0;
}

static const struct rule *rules_of(cudnnBackendDescriptorType_t type) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].type == type) return kinds[i].rules;
    return NULL;
}

static const struct rule *rule_of(cudnnBackendDescriptorType_t type, cudnnBackendAttributeName_t name) {
    const struct rule *rules = rules_of(type);
    for (int i = 0; rules && i < RULES_MOST && rules[i].most; i++)
        if (rules[i].name == name) return &rules[i];
    return NULL;
}

static struct attribute *attribute_of(const struct descriptor *d, cudnnBackendAttributeName_t name) {
    for (int i = 0; i < d->count; i++)
        if (d->attributes[i].name == name) return (struct attribute *)&d->attributes[i];
    return NULL;
}

static int64_t integer(const struct descriptor *d, cudnnBackendAttributeName_t name, int64_t i) {
    return ((const int64_t *)attribute_of(d, name)->values)[i];
}

static struct descriptor *target_of(const struct descriptor *d, cudnnBackendAttributeName_t name) {
    const struct attribute *a = attribute_of(d, name);
    return a ? *(struct descriptor *const *)a->values : NULL;
}

static cudnnStatus_t targets_check(const struct rule *rule, int64_t count, const void *values) {
    for (int64_t i = 0; rule->type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < count; i++) {
        const struct descriptor *target = ((struct descriptor *const *)values)[i];
        if (!target) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
        if (target->type != rule->target)
            return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a descriptor of another kind");
        if (!target->finalized) return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "not finalised");
    }
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t attribute_store(struct descriptor *d, const struct rule *rule, int64_t count,
                                     const void *values) {
    struct attribute *a = attribute_of(d, rule->name);
    size_t bytes = (size_t)count * size_of(rule->type);
    void *copy = malloc(bytes);
    if (!copy) machine_die("no memory for an attribute");
    memcpy(copy, values, bytes);
    if (!a) {
        if (d->count == ATTRIBUTES_MOST) machine_die("too many attributes");
        a = &d->attributes[d->count++];
    }
    free(a->values);
    *a = (struct attribute){rule->name, count, copy};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    struct descriptor *d = descriptor;
    if (!d || !values) return refuse(CUDNN_STATUS_BAD_PARAM, "no descriptor or no values");
    if (d->finalized) return refuse(CUDNN_STATUS_BAD_PARAM, "set after finalisation");
    const struct rule *rule = rule_of(d->type, name);
    if (!rule) return refuse(CUDNN_STATUS_BAD_PARAM, "no attribute of this descriptor");
    if (type != rule->type) return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "an attribute's type");
    if (count < 1 || count > rule->most) return refuse(CUDNN_STATUS_BAD_PARAM, "an element count");
    cudnnStatus_t status = targets_check(rule, count, values);
    return status == CUDNN_STATUS_SUCCESS ? attribute_store(d, rule, count, values) : status;
}

/* ---- Finalising -------------------------------------------------------------------------------------- */

static cudnnDataType_t type_of(const struct descriptor *tensor) {
    return *(const cudnnDataType_t *)attribute_of(tensor, CUDNN_ATTR_TENSOR_DATA_TYPE)->values;
}

static bool is_by_value(const struct descriptor *tensor) {
    const struct attribute *a = attribute_of(tensor, CUDNN_ATTR_TENSOR_IS_BY_VALUE);
    return a && *(const bool *)a->values;
}

static bool has_shape(const struct descriptor *tensor, cudnnDataType_t type, int64_t a, int64_t b, int64_t c,
                      int64_t d) {
    const int64_t dims[DIMENSIONS] = {a, b, c, d};
    const struct attribute *own = attribute_of(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS);
    return type_of(tensor) == type && own->count == DIMENSIONS && !memcmp(own->values, dims, sizeof dims);
}

static cudnnStatus_t tensor_check(const struct descriptor *d) {
    const struct attribute *dims = attribute_of(d, CUDNN_ATTR_TENSOR_DIMENSIONS);
    if (dims->count != attribute_of(d, CUDNN_ATTR_TENSOR_STRIDES)->count)
        return refuse(CUDNN_STATUS_BAD_PARAM, "as many strides as dimensions");
    int64_t alignment = integer(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0);
    int64_t element = type_of(d) == CUDNN_DATA_BFLOAT16 ? 2 : 4;
    if (alignment < element || (alignment & (alignment - 1)))
        return refuse(CUDNN_STATUS_BAD_PARAM, "an alignment");
    for (int64_t i = 0; i < dims->count; i++)
        if (integer(d, CUDNN_ATTR_TENSOR_DIMENSIONS, i) < 1)
            return refuse(CUDNN_STATUS_BAD_PARAM, "a dimension");
    const struct descriptor *ends = target_of(d, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC);
    if (ends && !has_shape(ends, CUDNN_DATA_INT32, integer(d, CUDNN_ATTR_TENSOR_DIMENSIONS, 0) + 1, 1, 1, 1))
        return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "offsets of a ragged tensor");
    return CUDNN_STATUS_SUCCESS;
}

/* The shapes of an operation fit: q [b, h, s, d], k and v [b, g, t, d], out as q, stats [b, h, s, 1]. */
static cudnnStatus_t operation_check(const struct descriptor *d) {
    const struct descriptor *q = target_of(d, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC);
    const struct descriptor *k = target_of(d, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC);
    const struct descriptor *stats = target_of(d, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC);
    const struct descriptor *scale = target_of(d, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC);
    if (attribute_of(q, CUDNN_ATTR_TENSOR_DIMENSIONS)->count != DIMENSIONS ||
        attribute_of(k, CUDNN_ATTR_TENSOR_DIMENSIONS)->count != DIMENSIONS)
        return refuse(CUDNN_STATUS_BAD_PARAM, "tensors of 4 dimensions");
    int64_t n[DIMENSIONS], heads = integer(k, CUDNN_ATTR_TENSOR_DIMENSIONS, 1);
    int64_t keys = integer(k, CUDNN_ATTR_TENSOR_DIMENSIONS, 2);
    for (int i = 0; i < DIMENSIONS; i++) n[i] = integer(q, CUDNN_ATTR_TENSOR_DIMENSIONS, i);
    if (n[1] % heads) return refuse(CUDNN_STATUS_BAD_PARAM, "h_q % h_k != 0");
    bool fit = has_shape(q, CUDNN_DATA_BFLOAT16, n[0], n[1], n[2], n[3]) &&
               has_shape(k, CUDNN_DATA_BFLOAT16, n[0], heads, keys, n[3]) &&
               has_shape(target_of(d, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC), CUDNN_DATA_BFLOAT16, n[0], heads,
                         keys, n[3]) &&
               has_shape(target_of(d, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC), CUDNN_DATA_BFLOAT16, n[0], n[1],
                         n[2], n[3]) &&
               has_shape(scale, CUDNN_DATA_FLOAT, 1, 1, 1, 1) && is_by_value(scale) &&
               (!stats || has_shape(stats, CUDNN_DATA_FLOAT, n[0], n[1], n[2], 1));
    const struct descriptor *lengths[2] = {target_of(d, CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC),
                                           target_of(d, CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC)};
    for (int i = 0; i < 2; i++)
        fit = fit && !lengths[i] == !lengths[0] &&
              (!lengths[i] || has_shape(lengths[i], CUDNN_DATA_INT32, n[0], 1, 1, 1));
    return fit ? CUDNN_STATUS_SUCCESS : refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "shapes do not fit");
}

/* All tensors that an operation names, those of offsets too. */
static int tensors_of(const struct descriptor *operation, const struct descriptor *tensors[TENSORS_MOST]) {
    int count = 0;
    for (int i = 0; i < operation->count; i++) {
        const struct descriptor *tensor = target_of(operation, operation->attributes[i].name);
        const struct descriptor *ends = target_of(tensor, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC);
        if (count + 2 > TENSORS_MOST) machine_die("too many tensors");
        tensors[count++] = tensor;
        if (ends) tensors[count++] = ends;
    }
    return count;
}

static cudnnStatus_t graph_check(const struct descriptor *d) {
    const struct descriptor *tensors[TENSORS_MOST];
    int count = tensors_of(target_of(d, CUDNN_ATTR_OPERATIONGRAPH_OPS), tensors);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++)
            if (integer(tensors[i], CUDNN_ATTR_TENSOR_UNIQUE_ID, 0) ==
                integer(tensors[j], CUDNN_ATTR_TENSOR_UNIQUE_ID, 0))
                return refuse(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "tensors of one name");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t plan_check(const struct descriptor *d) {
    const struct descriptor *engine = target_of(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    if (engines[engine->engine].refused) return refuse(CUDNN_STATUS_NOT_SUPPORTED, "not by this engine");
    if (machine_call_fails())
        return refuse(CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED, "the kernel does not compile");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t pack_check(const struct descriptor *d) {
    if (attribute_of(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS)->count ==
        attribute_of(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS)->count)
        return CUDNN_STATUS_SUCCESS;
    return refuse(CUDNN_STATUS_BAD_PARAM, "as many pointers as names");
}

static cudnnStatus_t descriptor_check(const struct descriptor *d) {
    switch (d->type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR: return tensor_check(d);
    case CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR: return operation_check(d);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: return graph_check(d);
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: return plan_check(d);
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR: return pack_check(d);
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR: return CUDNN_STATUS_SUCCESS;
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR:
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR: break;
    }
    return refuse(CUDNN_STATUS_BAD_PARAM, "engines come from the heuristics");
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
    struct descriptor *d = descriptor;
    if (!d) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
    if (d->finalized) return refuse(CUDNN_STATUS_BAD_PARAM, "finalised twice");
    const struct rule *rules = rules_of(d->type);
    for (int i = 0; rules && i < RULES_MOST && rules[i].most; i++)
        if (!rules[i].optional && !attribute_of(d, rules[i].name))
            return refuse(CUDNN_STATUS_BAD_PARAM, "an attribute is missing");
    cudnnStatus_t status = descriptor_check(d);
    d->finalized = status == CUDNN_STATUS_SUCCESS;
    return status;
}

/* ---- What descriptors tell --------------------------------------------------------------------------- */

/* Engines read rows of up to 256 columns 16 bytes at a time. */
static bool engines_take(const struct descriptor *operation) {
    const cudnnBackendAttributeName_t rows[] = {
        CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC,
        CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC};
    for (int i = 0; i < 4; i++) {
        const struct descriptor *tensor = target_of(operation, rows[i]);
        int64_t cols = integer(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, 3);
        if (cols % 8 || cols > 256 || integer(tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0) < 16) return false;
        if (integer(tensor, CUDNN_ATTR_TENSOR_STRIDES, 3) != 1) return false;
        for (int j = 0; j < 3; j++)
            if (integer(tensor, CUDNN_ATTR_TENSOR_STRIDES, j) % 8) return false;
    }
    return true;
}

/* As many of the engines as there are descriptors for. */
static int64_t results_get(const struct descriptor *heuristics, int64_t wanted,
                           struct descriptor *const configurations[]) {
    const struct descriptor *graph = target_of(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    if (!engines_take(target_of(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS))) return 0;
    for (int i = 0; i < ENGINES && i < wanted; i++) {
        if (configurations[i]->type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)
            machine_die("results that are no engine configurations");
        configurations[i]->finalized = true;
        configurations[i]->graph = graph;
        configurations[i]->engine = i;
    }
    return wanted < ENGINES ? wanted : ENGINES;
}

static void engine_get(const struct descriptor *configuration, struct descriptor *engine) {
    if (engine->type != CUDNN_BACKEND_ENGINE_DESCRIPTOR) machine_die("an engine that is none");
    engine->finalized = true;
    engine->graph = configuration->graph;
    engine->engine = configuration->engine;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t wanted, int64_t *count,
                                       void *values) {
    const struct descriptor *d = descriptor;
    const int64_t bytes = WORKSPACE_BYTES;
    if (!d->finalized) return refuse(CUDNN_STATUS_NOT_INITIALIZED, "not finalised");
    if (wanted < 1) return refuse(CUDNN_STATUS_BAD_PARAM, "an element count");
    *count = 1;
    if (d->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR && name == CUDNN_ATTR_ENGINEHEUR_RESULTS &&
        type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        *count = results_get(d, wanted, values);
    else if (d->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR && name == CUDNN_ATTR_ENGINECFG_ENGINE &&
             type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        engine_get(d, *(struct descriptor *const *)values);
    else if (d->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR && name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE &&
             type == CUDNN_TYPE_NUMERICAL_NOTE)
        memcpy(values, &engines[d->engine].note, sizeof engines[d->engine].note);
    else if (d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR &&
             name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && type == CUDNN_TYPE_INT64)
        memcpy(values, &bytes, sizeof bytes);
    else
        return refuse(CUDNN_STATUS_BAD_PARAM, "no attribute that this descriptor tells");
    return CUDNN_STATUS_SUCCESS;
}

/* ---- Attention --------------------------------------------------------------------------------------- */

struct rows {
    char *data; /* NULL: not wanted */
    int64_t dims[DIMENSIONS], strides[DIMENSIONS];
    const int32_t *ends; /* or NULL */
};

struct attention_work {
    struct rows q, k, v, out, stats;
    const int32_t *queries, *keys; /* or NULL: all rows */
    float scale;
    void *workspace;
};

/* The element of a row's first column. */
static int64_t row_at(const struct rows *x, int64_t batch, int64_t head, int64_t row) {
    return (x->ends ? x->ends[batch] : batch * x->strides[0]) + head * x->strides[1] + row * x->strides[2];
}

static const uint16_t *bf16_row(const struct rows *x, int64_t batch, int64_t head, int64_t row) {
    return (const uint16_t *)x->data + row_at(x, batch, head, row);
}

static float dot(const uint16_t *a, const uint16_t *b, int64_t count) {
    float sum = 0;
    for (int64_t i = 0; i < count; i++) sum += float_from_bf16(a[i]) * float_from_bf16(b[i]);
    return sum;
}

static void row_run(const struct attention_work *w, int64_t batch, int64_t head, int64_t row, int64_t keys,
                    float *score) {
    int64_t own = head / (w->q.dims[1] / w->k.dims[1]), cols = w->q.dims[3];
    const uint16_t *q = bf16_row(&w->q, batch, head, row);
    float largest = -INFINITY, sum = 0, out[256] = {0};
    for (int64_t i = 0; i < keys; i++) {
        score[i] = dot(q, bf16_row(&w->k, batch, own, i), cols) * w->scale;
        largest = fmaxf(largest, score[i]);
    }
    for (int64_t i = 0; i < keys; i++) {
        const uint16_t *v = bf16_row(&w->v, batch, own, i);
        float weight = expf(score[i] - largest);
        sum += weight;
        weight = float_from_bf16(float_to_bf16(weight));
        for (int64_t c = 0; c < cols; c++) out[c] += weight * float_from_bf16(v[c]);
    }
    uint16_t *to = (uint16_t *)w->out.data + row_at(&w->out, batch, head, row);
    for (int64_t c = 0; c < cols; c++) to[c] = float_to_bf16(out[c] / sum);
    if (w->stats.data) ((float *)w->stats.data)[row_at(&w->stats, batch, head, row)] = largest + logf(sum);
}

static void attention_run(void *argument) {
    const struct attention_work *w = argument;
    machine_open();
    memset(w->workspace, 0xff, WORKSPACE_BYTES);
    float *score = malloc((size_t)w->k.dims[2] * sizeof *score);
    if (!score) machine_die("no memory for attention");
    for (int64_t batch = 0; batch < w->q.dims[0]; batch++) {
        int64_t queries = w->queries ? w->queries[batch] : w->q.dims[2];
        int64_t keys = w->keys ? w->keys[batch] : w->k.dims[2];
        if (queries < 0 || queries > w->q.dims[2] || keys < 0 || keys > w->k.dims[2])
            machine_die("a sequence of %d queries and %d keys, more than its plan is for", (int)queries,
                        (int)keys);
        for (int64_t head = 0; head < w->q.dims[1]; head++)
            for (int64_t row = 0; row < queries; row++) row_run(w, batch, head, row, keys, score);
    }
    free(score);
    attentions++;
}

/* The pointer of a tensor in a variant pack. */
static cudnnStatus_t pointer_of(const struct descriptor *pack, const struct descriptor *tensor, void **data) {
    const struct attribute *names = attribute_of(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    void *const *pointers = attribute_of(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS)->values;
    int64_t name = integer(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, 0), i = 0;
    while (i < names->count && ((const int64_t *)names->values)[i] != name) i++;
    if (i == names->count) return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor is not in the variant pack");
    *data = pointers[i];
    if (!*data) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "a tensor without data");
    if ((uintptr_t)*data % (uintptr_t)integer(tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0))
        return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "less aligned than promised");
    if (machine_is_device(*data, 1) == is_by_value(tensor))
        return refuse(CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND, "memory of the wrong side");
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t rows_bind(struct rows *x, const struct descriptor *pack,
                               const struct descriptor *tensor) {
    const struct descriptor *ends = target_of(tensor, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC);
    void *data = NULL, *offsets = NULL;
    cudnnStatus_t status = pointer_of(pack, tensor, &data);
    if (status == CUDNN_STATUS_SUCCESS && ends) status = pointer_of(pack, ends, &offsets);
    x->data = data;
    x->ends = offsets;
    for (int i = 0; i < DIMENSIONS; i++) {
        x->dims[i] = integer(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, i);
        x->strides[i] = integer(tensor, CUDNN_ATTR_TENSOR_STRIDES, i);
    }
    return status;
}

static cudnnStatus_t work_bind(struct attention_work *w, const struct descriptor *operation,
                               const struct descriptor *pack) {
    const struct {
        cudnnBackendAttributeName_t name;
        struct rows *rows;
    } tensors[] = {{CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, &w->q},
                   {CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, &w->k},
                   {CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, &w->v},
                   {CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, &w->out},
                   {CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC, &w->stats}};
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    for (int i = 0; i < 5 && status == CUDNN_STATUS_SUCCESS; i++)
        if (target_of(operation, tensors[i].name))
            status = rows_bind(tensors[i].rows, pack, target_of(operation, tensors[i].name));
    void *data = NULL;
    if (status == CUDNN_STATUS_SUCCESS)
        status = pointer_of(pack, target_of(operation, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC), &data);
    if (status == CUDNN_STATUS_SUCCESS) memcpy(&w->scale, data, sizeof w->scale);
    if (!target_of(operation, CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC)) return status;
    if (status == CUDNN_STATUS_SUCCESS)
        status = pointer_of(pack, target_of(operation, CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC), &data);
    w->queries = data;
    if (status == CUDNN_STATUS_SUCCESS)
        status = pointer_of(pack, target_of(operation, CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC), &data);
    w->keys = data;
    return status;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack) {
    const struct descriptor *p = plan, *pointers = pack;
    if (p->type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR ||
        pointers->type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)
        return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a plan and a variant pack");
    if (!p->finalized || !pointers->finalized)
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "not finalised");
    const struct descriptor *engine = target_of(p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    if (engines[engine->engine].note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
        machine_die("an engine whose sums have no fixed order");
    struct attention_work work = {0};
    cudnnStatus_t status =
        work_bind(&work, target_of(engine->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS), pointers);
    if (status != CUDNN_STATUS_SUCCESS) return status;
    const struct attribute *workspace = attribute_of(pointers, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    work.workspace = workspace ? *(void *const *)workspace->values : NULL;
    if (!machine_is_device(work.workspace, WORKSPACE_BYTES))
        return refuse(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "a workspace that is too small");
    if ((uintptr_t)work.workspace % WORKSPACE_ALIGNMENT)
        return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "a workspace");
    if (machine_call_fails() ||
        machine_queue(handle->stream, attention_run, &work, sizeof work) != cudaSuccess)
        return refuse(CUDNN_STATUS_EXECUTION_FAILED, "the kernel does not start");
    return CUDNN_STATUS_SUCCESS;
}
