/* Matrix products as cuBLASLt's documentation has them, for column-major layouts: D = alpha op(A) op(B) +
 * beta C
 * (+ bias, one a row of D). Taken are bf16 factors with a bf16 or f32 result, and f32 alone; C has D's type,
 * and so has the bias. An algorithm is for the alignments that were promised when it was asked for, takes it
 * for granted that workspace and bias are aligned to 16 bytes, and writes into its workspace. For 16-bit
 * factors that are not aligned to 4 bytes there is none: cuBLASLt may have one, but a program must not count
 * on it. */
#include <stdlib.h>
#include <string.h>

#include "cublasLt.h"
#include "tensor/float16.h"
#include "tests/emulator/machine.h"

enum { WORKSPACE_BYTES = 1024, ALIGNMENT = 16 /* of workspace and bias */ };

struct emulator_cublaslt {
    int unused;
};
struct emulator_matmul {
    cublasOperation_t a, b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
};
struct emulator_layout {
    cudaDataType_t type;
    int64_t rows, cols, ld;
};
struct emulator_preference {
    uint64_t workspace;
    uint32_t alignment[4]; /* of A, B, C and D */
    uint32_t reductions;
};

const char *cublasLtGetStatusString(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown status";
}

/* ---- Descriptions ------------------------------------------------------------------------------------ */

static cublasStatus_t object_new(void *object, size_t bytes) {
    void *made = machine_call_fails() ? NULL : calloc(1, bytes);
    memcpy(object, &made, sizeof made);
    return made ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

static cublasStatus_t attribute_set(void *to, size_t size, const void *value, size_t bytes) {
    if (bytes != size) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, size);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    return object_new(handle, sizeof **handle);
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
    cublasStatus_t status = object_new(layout, sizeof **layout);
    if (status == CUBLAS_STATUS_SUCCESS)
        **layout = (struct emulator_layout){type, (int64_t)rows, (int64_t)cols, ld};
    return status;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    cublasStatus_t status = object_new(desc, sizeof **desc);
    if (status == CUBLAS_STATUS_SUCCESS) (*desc)->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    return status;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    free(desc);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute, const void *value,
                                              size_t bytes) {
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return attribute_set(&desc->a, sizeof desc->a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return attribute_set(&desc->b, sizeof desc->b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return attribute_set(&desc->epilogue, sizeof desc->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return attribute_set(&desc->bias, sizeof desc->bias, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    cublasStatus_t status = object_new(preference, sizeof **preference);
    for (int i = 0; status == CUBLAS_STATUS_SUCCESS && i < 4; i++) (*preference)->alignment[i] = 256;
    return status;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return attribute_set(&preference->workspace, sizeof preference->workspace, value, bytes);
    if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        return attribute_set(&preference->reductions, sizeof preference->reductions, value, bytes);
    int which = (int)attribute - (int)CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    if (which < 0 || which > 3) return CUBLAS_STATUS_INVALID_VALUE;
    return attribute_set(&preference->alignment[which], sizeof(uint32_t), value, bytes);
}

/* ---- What is taken ----------------------------------------------------------------------------------- */

static size_t element_size(cudaDataType_t type) {
    return type == CUDA_R_32F ? 4 : 2;
}

static bool layout_valid(const struct emulator_layout *x) {
    return x->rows > 0 && x->cols > 0 && x->ld >= x->rows;
}

/* The shapes fit: op(A) is m by k, op(B) k by n, C and D m by n. */
static bool shapes_fit(const struct emulator_matmul *desc, const struct emulator_layout *const x[4]) {
    int64_t m = x[3]->rows, n = x[3]->cols;
    bool at = desc->a == CUBLAS_OP_T, bt = desc->b == CUBLAS_OP_T;
    int64_t k = at ? x[0]->rows : x[0]->cols;
    for (int i = 0; i < 4; i++)
        if (!layout_valid(x[i])) return false;
    return (at ? x[0]->cols : x[0]->rows) == m && (bt ? x[1]->cols : x[1]->rows) == k &&
           (bt ? x[1]->rows : x[1]->cols) == n && x[2]->rows == m && x[2]->cols == n;
}

static bool types_taken(const struct emulator_layout *const x[4]) {
    bool factors = x[0]->type == x[1]->type && x[2]->type == x[3]->type;
    return factors && (x[0]->type == CUDA_R_16BF || x[3]->type == CUDA_R_32F);
}

/* To how many bytes every column of a matrix is aligned when its address is to `promised`. */
static uint64_t column_alignment(const struct emulator_layout *x, uint64_t promised) {
    uint64_t pitch = (uint64_t)x->ld * element_size(x->type);
    while (pitch % promised) promised /= 2;
    return promised;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *count) {
    (void)handle;
    const struct emulator_layout *const layouts[4] = {a, b, c, d};
    *count = 0;
    machine_count(EMULATOR_HEURISTICS);
    if (!shapes_fit(desc, layouts) || wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
    if (!types_taken(layouts) || preference->workspace < WORKSPACE_BYTES || machine_call_fails())
        return CUBLAS_STATUS_NOT_SUPPORTED;
    results[0] = (cublasLtMatmulHeuristicResult_t){.workspaceSize = WORKSPACE_BYTES};
    for (int i = 0; i < 4; i++) {
        uint32_t promised = preference->alignment[i];
        if (promised < element_size(layouts[i]->type) || column_alignment(layouts[i], promised) < 4)
            return CUBLAS_STATUS_NOT_SUPPORTED;
        results[0].algo.data[i] = promised;
    }
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- Products ---------------------------------------------------------------------------------------- */

struct matmul_work {
    struct emulator_matmul desc;
    struct emulator_layout layout[4];
    const void *data[3];
    void *out, *workspace;
    float alpha, beta;
};

static float element(const void *data, const struct emulator_layout *x, int64_t row, int64_t col) {
    int64_t at = col * x->ld + row;
    return x->type == CUDA_R_32F ? ((const float *)data)[at] : float_from_bf16(((const uint16_t *)data)[at]);
}

/* op(x) or its transpose as rows of f32. */
static float *rows_of(const void *data, const struct emulator_layout *x, bool columns) {
    int64_t rows = columns ? x->cols : x->rows, cols = columns ? x->rows : x->cols;
    float *packed = malloc((size_t)(rows * cols) * sizeof *packed);
    if (!packed) machine_die("no memory for a matrix product");
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            packed[i * cols + j] = columns ? element(data, x, j, i) : element(data, x, i, j);
    return packed;
}

static float dot(const float *a, const float *b, int64_t count) {
    enum { SUMS = 16 };
    float sums[SUMS] = {0}, total = 0;
    int64_t i = 0;
    for (; i + SUMS <= count; i += SUMS)
        for (int j = 0; j < SUMS; j++) sums[j] += a[i + j] * b[i + j];
    for (; i < count; i++) sums[i % SUMS] += a[i] * b[i];
    for (int j = 0; j < SUMS; j++) total += sums[j];
    return total;
}

static void matmul_run(void *argument) {
    struct matmul_work *work = argument;
    const struct emulator_layout *d = &work->layout[3];
    bool at = work->desc.a == CUBLAS_OP_T, bt = work->desc.b == CUBLAS_OP_T;
    int64_t depth = at ? work->layout[0].rows : work->layout[0].cols;
    machine_open();
    float *a = rows_of(work->data[0], &work->layout[0], at),
          *b = rows_of(work->data[1], &work->layout[1], !bt);
    memset(work->workspace, 0xff, WORKSPACE_BYTES);
    for (int64_t n = 0; n < d->cols; n++) {
        for (int64_t m = 0; m < d->rows; m++) {
            float sum = work->alpha * dot(a + m * depth, b + n * depth, depth);
            if (work->beta != 0) sum += work->beta * element(work->data[2], &work->layout[2], m, n);
            if (work->desc.epilogue == CUBLASLT_EPILOGUE_BIAS)
                sum +=
                    element(work->desc.bias, &(struct emulator_layout){d->type, d->rows, 1, d->rows}, m, 0);
            if (d->type == CUDA_R_32F)
                ((float *)work->out)[n * d->ld + m] = sum;
            else
                ((uint16_t *)work->out)[n * d->ld + m] = float_to_bf16(sum);
        }
    }
    free(a);
    free(b);
}

static bool is_aligned_device(const void *data, size_t bytes) {
    return (uintptr_t)data % ALIGNMENT == 0 && machine_is_device(data, bytes);
}

static bool operand_valid(const void *data, const struct emulator_layout *x, uint64_t alignment) {
    size_t bytes = (size_t)((x->cols - 1) * x->ld + x->rows) * element_size(x->type);
    return (uintptr_t)data % alignment == 0 && machine_is_device(data, bytes);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a_data, cublasLtMatrixLayout_t a, const void *b_data,
                              cublasLtMatrixLayout_t b, const void *beta, const void *c_data,
                              cublasLtMatrixLayout_t c, void *d_data, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
    (void)handle;
    const struct emulator_layout *const layouts[4] = {a, b, c, d};
    const void *const data[4] = {a_data, b_data, c_data, d_data};
    if (!algo || !shapes_fit(desc, layouts) || !types_taken(layouts)) return CUBLAS_STATUS_INVALID_VALUE;
    for (int i = 0; i < 4; i++)
        if (!operand_valid(data[i], layouts[i], algo->data[i])) return CUBLAS_STATUS_INVALID_VALUE;
    if (workspace_bytes < WORKSPACE_BYTES || !is_aligned_device(workspace, WORKSPACE_BYTES))
        return CUBLAS_STATUS_INVALID_VALUE;
    bool biased = desc->epilogue == CUBLASLT_EPILOGUE_BIAS;
    if (biased && !is_aligned_device(desc->bias, (size_t)d->rows * element_size(d->type)))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (machine_call_fails()) return CUBLAS_STATUS_EXECUTION_FAILED;
    struct matmul_work work = {.desc = *desc,
                               .layout = {*a, *b, *c, *d},
                               .data = {a_data, b_data, c_data},
                               .out = d_data,
                               .workspace = workspace};
    memcpy(&work.alpha, alpha, sizeof work.alpha);
    memcpy(&work.beta, beta, sizeof work.beta);
    cudaError_t error = machine_queue(stream, matmul_run, &work, sizeof work);
    return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
