/* Matrix products. Three ways:
 * - few rows times transposed weights (decoding): own kernel, bound by reading the weights, exact by row;
 * - f32 by f32, and bf16 by bf16 where the processor has units for it: oneDNN, straight on the tensors;
 * - the rest: panels of the bf16 factors are made f32 in a workspace of bounded size, then oneDNN. */
#include "tensor/cpu/cpu.h"

#include "tensor/cpu/onednn.h"

enum {
    /* Up to how many rows the own kernel is the faster one. Without bf16 units: above 64 rows making
     * panels f32 has paid for itself. With them oneDNN is the faster one from a few rows on, so only the
     * promise of exact rows counts. */
    NARROW_ROWS = 64,
    NARROW_COLUMNS = 24, /* a task: whole tiles of every shape that kernels/gemm.c has */
    PANEL_FLOATS = 1 << 22,
    ACTIVATION_FLOATS = 8 << 20,
    PANEL_MULTIPLE = 64,
    PANEL_DEPTH = 8192, /* longer sums are cut: panels of a few columns would be read again and again */
};

/* A row of products goes to `out` from column `first` on. */
static void store_row(const struct gemm_kernels *gemm, void *out, enum dtype kind, const float *product,
                      struct matmul_options options, int64_t first, int64_t count) {
    struct tensor bias = options.bias.data ? tensor_cols(options.bias, first, count) : options.bias;
    gemm->store(out, kind, product, bias.data, bias.dtype, options.accumulate, count);
}

/* ---- Few rows ---------------------------------------------------------------------------------------- */

/* Columns [first, first + count) of all rows. */
static void narrow_task(const struct gemm_kernels *gemm, enum gemm_form form, struct tensor out,
                        const float *packed, int64_t pitch, struct tensor b, struct matmul_options options,
                        int64_t first, int64_t count) {
    float product[NARROW_ROWS * NARROW_COLUMNS];
    gemm->narrow(product, NARROW_COLUMNS, packed, pitch, out.rows, tensor_row(b, first), form, b.stride,
                 count, b.cols);
    struct tensor part = tensor_cols(out, first, count);
    for (int64_t m = 0; m < out.rows; m++)
        store_row(gemm, tensor_row(part, m), out.dtype, product + m * NARROW_COLUMNS, options, first, count);
}

static void matmul_narrow(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                          struct matmul_options options) {
    const struct gemm_kernels *gemm = cpu_kernels(device)->gemm;
    enum gemm_form form = gemm->form(a.dtype, b.dtype);
    int64_t pitch = gemm_pitch(b.cols, form);
    float *packed = cpu_workspace(device, out.rows * pitch);
    if (!packed) return;
    bool threads = out.rows * out.cols * b.cols >= CPU_PARALLEL_ELEMENTS;
#pragma omp parallel if (threads)
    {
#pragma omp for
        for (int64_t m = 0; m < out.rows; m++)
            gemm->pack(packed + m * pitch, tensor_row(a, m), a.dtype, b.cols, form);
#pragma omp for schedule(dynamic, 2)
        for (int64_t n = 0; n < out.cols; n += NARROW_COLUMNS) {
            int64_t count = out.cols - n < NARROW_COLUMNS ? out.cols - n : NARROW_COLUMNS;
            narrow_task(gemm, form, out, packed, pitch, b, options, n, count);
        }
    }
}

/* ---- Panels ------------------------------------------------------------------------------------------ */

/* The product cut into blocks of rows, panels of columns and pieces of the sums, and where their f32 copies
 * lie. */
struct panels {
    int64_t rows, cols, depth; /* of a block */
    float *a, *b, *out;        /* workspace; not used for tensors that are f32 already */
    bool direct;               /* oneDNN writes to out itself: no tensor of its epilogue is bf16 */
    struct matmul_options op;  /* the transposes alone */
};

/* No bias, or one that oneDNN adds to a product in f32. */
static bool has_f32_bias(struct matmul_options options) {
    return !options.bias.data || options.bias.dtype == DTYPE_F32;
}

/* How many rows of `depth` elements fill `floats`, in multiples, at most `all`. */
static int64_t panel_size(int64_t floats, int64_t depth, int64_t all) {
    int64_t size = floats / depth / PANEL_MULTIPLE * PANEL_MULTIPLE;
    if (size < PANEL_MULTIPLE) size = PANEL_MULTIPLE;
    return size < all ? size : all;
}

static bool panels_plan(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                        struct matmul_options options, struct panels *p) {
    int64_t depth = options.transpose_a ? a.rows : a.cols;
    if (depth > PANEL_DEPTH) depth = PANEL_DEPTH;
    p->depth = depth;
    p->direct = out.dtype == DTYPE_F32 && has_f32_bias(options);
    p->cols = panel_size(PANEL_FLOATS, depth, out.cols);
    p->rows = a.dtype == DTYPE_F32 && p->direct
                  ? out.rows
                  : panel_size(ACTIVATION_FLOATS, depth > p->cols ? depth : p->cols, out.rows);
    int64_t a_floats = a.dtype == DTYPE_F32 ? 0 : p->rows * depth;
    int64_t b_floats = b.dtype == DTYPE_F32 ? 0 : p->cols * depth;
    int64_t out_floats = p->direct ? 0 : p->rows * p->cols;
    p->a = cpu_workspace(device, a_floats + b_floats + out_floats);
    p->b = p->a + a_floats;
    p->out = p->b + b_floats;
    p->op = (struct matmul_options){.transpose_a = options.transpose_a, .transpose_b = options.transpose_b};
    return !device->failed;
}

/* Part of a factor as f32: itself, or a copy. */
static struct tensor panel_f32(struct device *device, struct tensor part, float *copy) {
    if (part.dtype == DTYPE_F32) return part;
    struct tensor to = tensor_at(copy, DTYPE_F32, part.rows, part.cols);
    cpu_convert(device, to, part);
    return to;
}

static void onednn_product(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                           struct matmul_options options) {
    struct error err;
    if (onednn_matmul(cpu_state(device)->onednn, out, a, b, options, &err) != STATUS_OK)
        device_fail(device, "%s", err.message);
}

/* A view of op(x) that is `rows` by `cols` from (row, col) on. */
static struct tensor part_of(struct tensor x, bool transposed, int64_t row, int64_t rows, int64_t col,
                             int64_t cols) {
    return transposed ? tensor_cols(tensor_rows(x, col, cols), row, rows)
                      : tensor_cols(tensor_rows(x, row, rows), col, cols);
}

static int64_t at_most(int64_t left, int64_t most) {
    return left < most ? left : most;
}

/* One block of out: the pieces of its sums are added up in f32, in out itself or in the workspace. The
 * epilogue (bias and accumulation) is oneDNN's when it writes to out, and done while storing otherwise. */
static void panel_product(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                          const struct panels *p, struct matmul_options epilogue) {
    struct tensor product = p->direct ? out : tensor_at(p->out, DTYPE_F32, out.rows, out.cols);
    struct matmul_options options = p->op;
    int64_t depth = options.transpose_a ? a.rows : a.cols;
    if (p->direct) options = epilogue;
    for (int64_t k = 0; k < depth && !device->failed; k += p->depth) {
        int64_t length = at_most(depth - k, p->depth);
        struct tensor a_part = part_of(a, options.transpose_a, 0, out.rows, k, length);
        struct tensor b_part = part_of(b, options.transpose_b, k, length, 0, out.cols);
        onednn_product(device, product, panel_f32(device, a_part, p->a), panel_f32(device, b_part, p->b),
                       options);
        options.bias = (struct tensor){0};
        options.accumulate = true;
    }
    if (p->direct || device->failed) return;
    const struct gemm_kernels *gemm = cpu_kernels(device)->gemm;
#pragma omp parallel for if (worth_threads(out))
    for (int64_t m = 0; m < out.rows; m++)
        store_row(gemm, tensor_row(out, m), out.dtype, tensor_row(product, m), epilogue, 0, out.cols);
}

static void matmul_panels(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                          struct matmul_options options) {
    struct panels p;
    if (!panels_plan(device, out, a, b, options, &p)) return;
    int64_t depth = options.transpose_a ? a.rows : a.cols;
    for (int64_t m = 0; m < out.rows; m += p.rows) {
        int64_t rows = at_most(out.rows - m, p.rows);
        struct tensor a_part = part_of(a, options.transpose_a, m, rows, 0, depth);
        if (depth == p.depth) a_part = panel_f32(device, a_part, p.a); /* once for all columns */
        for (int64_t n = 0; n < out.cols && !device->failed; n += p.cols) {
            int64_t cols = at_most(out.cols - n, p.cols);
            struct tensor b_part = part_of(b, options.transpose_b, 0, depth, n, cols);
            struct matmul_options part = options;
            if (options.bias.data) part.bias = tensor_cols(options.bias, n, cols);
            panel_product(device, tensor_cols(tensor_rows(out, m, rows), n, cols), a_part, b_part, &p, part);
        }
    }
}

/* A sum over no elements: zeros, the bias and what was there. */
static void matmul_nothing(struct device *device, struct tensor out, struct matmul_options options) {
    const float zeros[NARROW_COLUMNS] = {0};
    for (int64_t m = 0; m < out.rows; m++)
        for (int64_t n = 0; n < out.cols; n += NARROW_COLUMNS)
            store_row(cpu_kernels(device)->gemm, tensor_row(tensor_cols(out, n, out.cols - n), m), out.dtype,
                      zeros, options, n, at_most(out.cols - n, NARROW_COLUMNS));
}

void cpu_matmul(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                struct matmul_options options) {
    bool native = cpu_state(device)->native_bf16 && a.dtype == DTYPE_BF16 && b.dtype == DTYPE_BF16;
    bool linear = options.transpose_b && !options.transpose_a;
    int64_t depth = options.transpose_a ? a.rows : a.cols;
    if (depth == 0)
        matmul_nothing(device, out, options);
    else if (linear && out.rows <= (native ? MATMUL_EXACT_ROWS : NARROW_ROWS))
        matmul_narrow(device, out, a, b, options);
    else if ((native && onednn_takes(cpu_state(device)->onednn, out, a, b, options)) ||
             (a.dtype == DTYPE_F32 && b.dtype == DTYPE_F32 && out.dtype == DTYPE_F32 &&
              has_f32_bias(options)))
        onednn_product(device, out, a, b, options);
    else
        matmul_panels(device, out, a, b, options);
}
