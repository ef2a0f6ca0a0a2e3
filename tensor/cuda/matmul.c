/* Matrix products.
 * - Few rows times transposed weights (decoding): an own kernel, exact by row (product.cu).
 * - The rest: cuBLASLt, on bf16 factors when both are, else on f32. What it does not take is made so first: a
 *   factor of the other type, or one whose rows are not aligned to 4 bytes, is copied; a result whose bias is
 *   of another type or not aligned to 16 bytes, and a bf16 one of f32 factors or not aligned, is computed in
 *   f32 and rounded at the end, once. Copies are bounded by going over the columns in panels.
 *
 * Row-major out = a b is column-major out^T = b^T a^T: cuBLASLt's A is b and its B is a, and a bias goes
 * along its rows. Plans (descriptions and the algorithm that its heuristics choose) are kept by shape. The
 * epilogues used are the bias and the sum with what is there; not GELU, which is the tanh form there (PyTorch
 * uses it for that form alone) and the exact one in the model: a kernel of its own (activation.cu). */
#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/cuda/cuda.h"

enum {
    PLANS = 1024,             /* kept; a power of two */
    LIBRARY_BYTES = 32 << 20, /* what cuBLASLt may use of the workspace */
#ifdef VS2_EMULATED
    PANEL_BYTES = 64 << 10, /* small shapes go over the edges too */
#else
    PANEL_BYTES = 256 << 20, /* copies of columns, about */
#endif
    PANEL_MULTIPLE = 64, /* columns */
    ALIGNMENT_MOST = 16, /* beyond it nothing is gained; but of a bias the library looks at all of it */
    BIAS_ALIGNMENT_MOST = 256,
    BIAS_ALIGNMENT_LEAST = 16, /* algorithms may take it for granted, whatever else was promised */
    PITCH_MULTIPLE = 8,        /* elements, of copies */
};

/* What an algorithm depends on. Compared as bytes: no padding. */
struct plan_key {
    int64_t m, n, k, a_stride, b_stride, out_stride; /* of the row-major product */
    int32_t transpose_a, transpose_b, bf16, out_bf16, bias, a_alignment, b_alignment, out_alignment;
};

struct plan {
    struct plan_key key;
    cublasLtMatmulDesc_t desc; /* NULL: an empty place */
    cublasLtMatrixLayout_t a, b, out;
    cublasLtMatmulAlgo_t algorithm;
};

struct cuda_products {
    cublasLtHandle_t handle;
    cublasLtMatmulPreference_t preference;
    struct plan plans[PLANS];
};

/* One call of cuBLASLt. */
struct call {
    struct tensor out, a, b;
    struct matmul_options options;
    void *workspace; /* LIBRARY_BYTES */
};

/* ---- Opening ----------------------------------------------------------------------------------------- */

static void plan_free(struct plan *plan) {
    if (plan->a) cublasLtMatrixLayoutDestroy(plan->a);
    if (plan->b) cublasLtMatrixLayoutDestroy(plan->b);
    if (plan->out) cublasLtMatrixLayoutDestroy(plan->out);
    if (plan->desc) cublasLtMatmulDescDestroy(plan->desc);
    *plan = (struct plan){0};
}

void cuda_products_close(struct cuda_products *products) {
    if (!products) return;
    for (int i = 0; i < PLANS; i++) plan_free(&products->plans[i]);
    if (products->preference) cublasLtMatmulPreferenceDestroy(products->preference);
    if (products->handle) cublasLtDestroy(products->handle);
    free(products);
}

/* Partial sums are joined in f32 through the workspace: in place their order would be the blocks'. */
static cublasStatus_t preference_make(cublasLtMatmulPreference_t *preference) {
    const uint64_t workspace = LIBRARY_BYTES;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(preference);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    status = cublasLtMatmulPreferenceSetAttribute(*preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                  &workspace, sizeof workspace);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    return cublasLtMatmulPreferenceSetAttribute(*preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                &reductions, sizeof reductions);
}

enum status cuda_products_open(struct cuda_products **products, struct error *err) {
    *products = memory_new(1, sizeof **products, "matrix products on the GPU", err);
    if (!*products) return STATUS_FAILED;
    cublasStatus_t status = cublasLtCreate(&(*products)->handle);
    if (status == CUBLAS_STATUS_SUCCESS) status = preference_make(&(*products)->preference);
    if (status == CUBLAS_STATUS_SUCCESS) return STATUS_OK;
    return error_set(err, "cuBLASLt cannot be used: %s", cublasLtGetStatusString(status));
}

/* ---- Plans ------------------------------------------------------------------------------------------- */

static int32_t alignment_of(const void *data, int32_t alignment) {
    while ((uintptr_t)data % (uintptr_t)alignment) alignment /= 2;
    return alignment;
}

static int64_t pitch_of(int64_t cols) {
    return (cols + PITCH_MULTIPLE - 1) / PITCH_MULTIPLE * PITCH_MULTIPLE;
}

/* Of a single row any will do, so one that is aligned. */
static int64_t stride_of(struct tensor t) {
    return t.rows > 1 ? t.stride : pitch_of(t.cols);
}

static struct plan_key key_of(const struct call *c) {
    bool transposed = c->options.transpose_a;
    return (struct plan_key){
        .m = c->out.rows,
        .n = c->out.cols,
        .k = transposed ? c->a.rows : c->a.cols,
        .a_stride = stride_of(c->a),
        .b_stride = stride_of(c->b),
        .out_stride = stride_of(c->out),
        .transpose_a = transposed,
        .transpose_b = c->options.transpose_b,
        .bf16 = c->a.dtype == DTYPE_BF16,
        .out_bf16 = c->out.dtype == DTYPE_BF16,
        .bias = c->options.bias.data ? alignment_of(c->options.bias.data, BIAS_ALIGNMENT_MOST) : 0,
        .a_alignment = alignment_of(c->a.data, ALIGNMENT_MOST),
        .b_alignment = alignment_of(c->b.data, ALIGNMENT_MOST),
        .out_alignment = alignment_of(c->out.data, ALIGNMENT_MOST)};
}

/* FNV-1a. */
static size_t hash_of(const struct plan_key *key) {
    uint64_t hash = 0xcbf29ce484222325u;
    const unsigned char *bytes = (const unsigned char *)key;
    for (size_t i = 0; i < sizeof *key; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return (size_t)(hash ^ hash >> 32);
}

static cudaDataType_t type_of(bool bf16) {
    return bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

static cublasStatus_t desc_make(struct plan *plan) {
    cublasOperation_t a = plan->key.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t b = plan->key.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = plan->key.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    cublasStatus_t status = cublasLtMatmulDescCreate(&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    status = cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_TRANSA, &a, sizeof a);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    status = cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_TRANSB, &b, sizeof b);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    return cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                          sizeof epilogue);
}

static cublasStatus_t layout_make(cublasLtMatrixLayout_t *layout, bool bf16, int64_t rows, int64_t cols,
                                  int64_t stride) {
    return cublasLtMatrixLayoutCreate(layout, type_of(bf16), (uint64_t)cols, (uint64_t)rows, stride);
}

static cublasStatus_t layouts_make(struct plan *plan, const struct call *c) {
    const struct plan_key *key = &plan->key;
    cublasStatus_t status = layout_make(&plan->a, key->bf16, c->b.rows, c->b.cols, key->b_stride);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = layout_make(&plan->b, key->bf16, c->a.rows, c->a.cols, key->a_stride);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = layout_make(&plan->out, key->out_bf16, c->out.rows, c->out.cols, key->out_stride);
    return status;
}

static cublasStatus_t bias_set(const struct plan *plan, const void *bias) {
    if (!plan->key.bias) return CUBLAS_STATUS_SUCCESS;
    return cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
}

static cublasStatus_t algorithm_choose(struct cuda_products *products, struct plan *plan) {
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        int32_t alignment;
    } promises[] = {{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, plan->key.b_alignment},
                    {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, plan->key.a_alignment},
                    {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, plan->key.out_alignment},
                    {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, plan->key.out_alignment}};
    for (size_t i = 0; i < sizeof promises / sizeof promises[0]; i++) {
        uint32_t bytes = (uint32_t)promises[i].alignment;
        cublasStatus_t status = cublasLtMatmulPreferenceSetAttribute(
            products->preference, promises[i].attribute, &bytes, sizeof bytes);
        if (status != CUBLAS_STATUS_SUCCESS) return status;
    }
    cublasLtMatmulHeuristicResult_t best;
    int count = 0;
    cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(products->handle, plan->desc, plan->a, plan->b, plan->out, plan->out,
                                       products->preference, 1, &best, &count);
    if (status == CUBLAS_STATUS_SUCCESS && count == 0) status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (status == CUBLAS_STATUS_SUCCESS) plan->algorithm = best.algo;
    return status;
}

/* The plan of a call: found within a few places of where its hash points, or made in the place of the last
 * one looked at. NULL: the device has failed. */
static struct plan *plan_find(struct device *device, const struct call *c) {
    enum { PROBES = 8 };
    struct cuda_products *products = cuda_state(device)->products;
    struct plan_key key = key_of(c);
    struct plan *plan = NULL;
    for (size_t i = 0, place = hash_of(&key); i < PROBES; i++) {
        plan = &products->plans[(place + i) % PLANS];
        if (!plan->desc) break;
        if (memcmp(&plan->key, &key, sizeof key) == 0) return plan;
    }
    plan_free(plan);
    plan->key = key;
    cublasStatus_t status = desc_make(plan);
    if (status == CUBLAS_STATUS_SUCCESS) status = layouts_make(plan, c);
    if (status == CUBLAS_STATUS_SUCCESS) status = bias_set(plan, c->options.bias.data);
    if (status == CUBLAS_STATUS_SUCCESS) status = algorithm_choose(products, plan);
    if (status == CUBLAS_STATUS_SUCCESS) return plan;
    device_fail(device, "no way to a product of %lld x %lld x %lld: %s", (long long)key.m, (long long)key.n,
                (long long)key.k, cublasLtGetStatusString(status));
    plan_free(plan);
    return NULL;
}

static void library_product(struct device *device, const struct call *c) {
    const float one = 1, beta = c->options.accumulate ? 1 : 0;
    const struct plan *plan = plan_find(device, c);
    if (!plan) return;
    cublasStatus_t status = bias_set(plan, c->options.bias.data);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmul(cuda_state(device)->products->handle, plan->desc, &one, c->b.data, plan->a,
                                c->a.data, plan->b, &beta, c->out.data, plan->out, c->out.data, plan->out,
                                &plan->algorithm, c->workspace, LIBRARY_BYTES, cuda_state(device)->stream);
    if (status != CUBLAS_STATUS_SUCCESS)
        device_fail(device, "a product of %lld x %lld x %lld: %s", (long long)plan->key.m,
                    (long long)plan->key.n, (long long)plan->key.k, cublasLtGetStatusString(status));
}

/* ---- Making it fit ----------------------------------------------------------------------------------- */

/* How a product is brought into a form that cuBLASLt takes. */
struct form {
    enum dtype dtype; /* of both factors */
    bool copy_a, copy_b, copy_out;
    int64_t panel; /* columns of out at a time */
    size_t a_bytes, b_bytes, out_bytes;
};

static bool is_aligned(struct tensor t) {
    return (uintptr_t)t.data % 4 == 0 && (t.rows <= 1 || (size_t)t.stride * dtype_size(t.dtype) % 4 == 0);
}

static size_t copy_bytes(bool copied, int64_t rows, int64_t cols, enum dtype dtype) {
    return copied ? ((size_t)(rows * pitch_of(cols)) * dtype_size(dtype) + 255) / 256 * 256 : 0;
}

static struct form form_of(struct tensor out, struct tensor a, struct tensor b,
                           struct matmul_options options) {
    bool bf16 = a.dtype == DTYPE_BF16 && b.dtype == DTYPE_BF16;
    struct form f = {.dtype = bf16 ? DTYPE_BF16 : DTYPE_F32};
    f.copy_a = a.dtype != f.dtype || !is_aligned(a);
    f.copy_b = b.dtype != f.dtype || !is_aligned(b);
    bool foreign_bias =
        options.bias.data && (options.bias.dtype != out.dtype ||
                              alignment_of(options.bias.data, BIAS_ALIGNMENT_LEAST) < BIAS_ALIGNMENT_LEAST);
    f.copy_out = foreign_bias || (out.dtype == DTYPE_BF16 && (!bf16 || !is_aligned(out)));
    int64_t depth = options.transpose_a ? a.rows : a.cols;
    int64_t column = (f.copy_b ? depth : 0) + (f.copy_out ? out.rows : 0); /* elements that a column takes */
    f.panel = out.cols;
    if (column > 0) {
        int64_t most = PANEL_BYTES / 4 / column / PANEL_MULTIPLE * PANEL_MULTIPLE;
        if (most < PANEL_MULTIPLE) most = PANEL_MULTIPLE;
        if (f.panel > most) f.panel = most;
    }
    f.a_bytes = copy_bytes(f.copy_a, a.rows, a.cols, f.dtype);
    f.b_bytes = options.transpose_b ? copy_bytes(f.copy_b, f.panel, depth, f.dtype)
                                    : copy_bytes(f.copy_b, depth, f.panel, f.dtype);
    f.out_bytes = copy_bytes(f.copy_out, out.rows, f.panel, DTYPE_F32);
    return f;
}

static struct tensor copied(struct device *device, struct tensor x, enum dtype dtype, void *memory) {
    struct tensor copy = {memory, dtype, x.rows, x.cols, pitch_of(x.cols)};
    cuda_convert(device, copy, x);
    return copy;
}

/* Columns [first, first + count) of out. */
static void panel_product(struct device *device, const struct form *f, struct call c, char *memory,
                          int64_t first, int64_t count) {
    struct tensor out = tensor_cols(c.out, first, count);
    struct matmul_options options = c.options;
    if (options.bias.data) options.bias = tensor_cols(options.bias, first, count);
    c.b = options.transpose_b ? tensor_rows(c.b, first, count) : tensor_cols(c.b, first, count);
    if (f->copy_b) c.b = copied(device, c.b, f->dtype, memory);
    c.out = out;
    c.options = options;
    if (f->copy_out) {
        c.out = (struct tensor){memory + f->b_bytes, DTYPE_F32, out.rows, count, pitch_of(count)};
        c.options.bias.data = NULL;
        c.options.accumulate = false;
    }
    if (!device->failed) library_product(device, &c);
    if (f->copy_out && !device->failed) cuda_finish_product(device, out, c.out, options);
}

static void product_through_library(struct device *device, struct tensor out, struct tensor a,
                                    struct tensor b, struct matmul_options options) {
    struct form f = form_of(out, a, b, options);
    char *memory = cuda_workspace(device, LIBRARY_BYTES + f.a_bytes + f.b_bytes + f.out_bytes);
    if (!memory) return;
    struct call c = {out, a, b, options, memory};
    memory += LIBRARY_BYTES;
    if (f.copy_a) c.a = copied(device, a, f.dtype, memory);
    for (int64_t n = 0; n < out.cols && !device->failed; n += f.panel)
        panel_product(device, &f, c, memory + f.a_bytes, n, out.cols - n < f.panel ? out.cols - n : f.panel);
}

void cuda_matmul(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                 struct matmul_options options) {
    int64_t depth = options.transpose_a ? a.rows : a.cols;
    if (depth == 0)
        cuda_finish_product(device, out, (struct tensor){0}, options); /* a sum over no elements */
    else if (options.transpose_b && !options.transpose_a && out.rows <= MATMUL_EXACT_ROWS_GPU)
        cuda_narrow_product(device, out, a, b, options);
    else
        product_through_library(device, out, a, b, options);
}
