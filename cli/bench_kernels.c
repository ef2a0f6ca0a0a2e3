/* vs2-bench kernels: the operations one by one, beside what the machine gives at most. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/bench.h"
#include "cli/options.h"
#include "tensor/arena.h"
#include "tensor/ops.h"

struct settings {
    const char *device;
    int dtype;
    int64_t rows, width, inner, vocab, repeat;
};

static const char *const dtype_choices[] = {"f32", "bf16", NULL};
static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16};

static const struct option_spec option_table[] = {
    {.name = "device",
     .argument = "KIND",
     .help = "who computes: auto, cpu, cuda or cuda:N",
     .standard = "auto",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, device)},
    {.name = "dtype",
     .argument = "TYPE",
     .help = "type of weights and activations",
     .standard = "bf16",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct settings, dtype),
     .choices = dtype_choices},
    {.name = "rows",
     .argument = "N",
     .help = "tokens of a prompt",
     .standard = "1629",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, rows),
     .low = 1,
     .high = 1 << 20},
    {.name = "width",
     .argument = "N",
     .help = "width of the model, a multiple of 64",
     .standard = "1024",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, width),
     .low = 64,
     .high = 1 << 16},
    {.name = "inner",
     .argument = "N",
     .help = "inner width of its feed-forward layers",
     .standard = "4096",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, inner),
     .low = 64,
     .high = 1 << 18},
    {.name = "vocab",
     .argument = "N",
     .help = "size of the vocabulary",
     .standard = "151936",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, vocab),
     .low = 64,
     .high = 1 << 20},
    {.name = "repeat",
     .argument = "N",
     .help = "runs of each, of which the fastest counts",
     .standard = "5",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, repeat),
     .low = 1,
     .high = 1000},
    {0},
};

static const struct program program = {
    .name = "vs2-bench kernels",
    .synopsis = "[options]",
    .summary = "Times matrix products, attention and the operations that memory bounds, and prints JSON.",
    .options = option_table,
    .examples = "vs2-bench kernels --dtype bf16 --width 1024 --inner 4096\n",
};

enum { HEAD_ROWS = 128 };           /* a chunk of labelled rows before the head */
enum { WEIGHTS_BYTES = 256 << 20 }; /* weights come from memory: each run takes others, in turn */

/* What the measurements share. */
struct kernels {
    struct device device;
    struct arena arena;
    struct device_peak peak;
    enum dtype dtype;
    int64_t repeat;
    bool first;
};

/* A kernel under measurement: `run` does it once, with the tensors it was set up with. */
struct task {
    struct tensor out, a, b, c;
    struct tensor more[4];         /* of backward halves */
    struct matmul_options options; /* of a matrix product */
    int64_t weights_rows;          /* rows of b that one run uses; b holds several such weights */
    int64_t turn;
    int heads;
    void (*run)(struct kernels *kernels, struct task *task);
};

/* Seconds of the fastest run. */
static double fastest(struct kernels *kernels, struct task *task) {
    double best = 0;
    struct error err;
    for (int64_t i = 0; i <= kernels->repeat; i++) { /* the first one warms up */
        double start = clock_seconds();
        task->run(kernels, task);
        device_synchronize(&kernels->device, &err);
        double seconds = clock_seconds() - start;
        if (i > 0 && (best == 0 || seconds < best)) best = seconds;
    }
    return best;
}

/* Measures and prints one kernel that does `flops` operations and moves `bytes`. */
static void report(struct kernels *kernels, struct task *task, const char *name, const char *shape,
                   double flops, double bytes) {
    double seconds = fastest(kernels, task);
    printf("%s\n  {\"name\": \"%s\", \"shape\": \"%s\", \"seconds\": %.6g, \"gflops\": %.5g, "
           "\"gflops_of_peak\": %.3f, \"gbytes\": %.4g, \"gbytes_of_peak\": %.3f}",
           kernels->first ? "" : ",", name, shape, seconds, flops / seconds * 1e-9,
           flops / seconds / device_peak_flops(&kernels->peak, kernels->dtype), bytes / seconds * 1e-9,
           bytes / seconds / kernels->peak.bytes);
    kernels->first = false;
    fflush(stdout);
}

/* Activations whose values do not matter, but for being ordinary numbers. */
static struct tensor fill(struct kernels *kernels, enum dtype dtype, int64_t rows, int64_t cols) {
    struct tensor t = arena_tensor(&kernels->arena, dtype, rows, cols);
    float *values = malloc((size_t)cols * sizeof *values);
    if (!values) {
        device_fail(&kernels->device, "out of memory");
        return t;
    }
    for (int64_t i = 0; i < cols; i++) values[i] = (float)(i % 17) / 16 - 0.5f;
    struct arena_mark mark = arena_mark(&kernels->arena);
    struct tensor row = arena_upload(&kernels->arena, DTYPE_F32, 1, cols, values);
    free(values);
    for (int64_t r = 0; r < rows && !kernels->device.failed; r++)
        convert(&kernels->device, tensor_rows(t, r, 1), row);
    arena_release(&kernels->arena, mark);
    return t;
}

/* ---- Matrix products --------------------------------------------------------------------------------- */

static void run_matmul(struct kernels *kernels, struct task *task) {
    int64_t weights = task->b.rows / task->weights_rows;
    struct tensor b = tensor_rows(task->b, task->turn++ % weights * task->weights_rows, task->weights_rows);
    matmul(&kernels->device, task->out, task->a, b, task->options);
}

static void bench_matmul(struct kernels *kernels, const char *name, int64_t m, int64_t n, int64_t k) {
    struct arena_mark mark = arena_mark(&kernels->arena);
    double weight_bytes = (double)n * (double)k * (double)dtype_size(kernels->dtype);
    int64_t weights = m > 64 ? 1 : (int64_t)(WEIGHTS_BYTES / weight_bytes) + 1;
    struct task task = {.out = fill(kernels, kernels->dtype, m, n),
                        .a = fill(kernels, kernels->dtype, m, k),
                        .b = fill(kernels, kernels->dtype, n * weights, k),
                        .options = {.transpose_b = true},
                        .weights_rows = n,
                        .run = run_matmul};
    char shape[64];
    snprintf(shape, sizeof shape, "%" PRId64 "x%" PRId64 "x%" PRId64, m, n, k);
    double activations = (double)m * (double)(n + k) * (double)dtype_size(kernels->dtype);
    if (!kernels->device.failed)
        report(kernels, &task, name, shape, 2.0 * (double)m * (double)n * (double)k,
               weight_bytes + activations);
    arena_release(&kernels->arena, mark);
}

/* A product of the backward pass: out[m, n] = op(a) b, over `depth`. */
static void bench_gradient(struct kernels *kernels, const char *name, int64_t m, int64_t n, int64_t depth,
                           enum dtype out, struct matmul_options options) {
    struct arena_mark mark = arena_mark(&kernels->arena);
    enum dtype dtype = kernels->dtype;
    struct task task = {.out = fill(kernels, out, m, n),
                        .a = options.transpose_a ? fill(kernels, dtype, depth, m)
                                                 : fill(kernels, dtype, m, depth),
                        .b = fill(kernels, dtype, depth, n),
                        .options = options,
                        .weights_rows = depth,
                        .run = run_matmul};
    char shape[64];
    snprintf(shape, sizeof shape, "%" PRId64 "x%" PRId64 "x%" PRId64, m, n, depth);
    double read = (double)(m + n) * (double)depth * (double)dtype_size(dtype);
    double written = (double)m * (double)n * (double)dtype_size(out) * (options.accumulate ? 2 : 1);
    if (!kernels->device.failed)
        report(kernels, &task, name, shape, 2.0 * (double)m * (double)n * (double)depth, read + written);
    arena_release(&kernels->arena, mark);
}

/* Of a linear layer y = x W^T: d_x = d_y W, and d_W += d_y^T x in f32. */
static void bench_linear_backward(struct kernels *kernels, const char *name, int64_t rows, int64_t outputs,
                                  int64_t inputs) {
    char title[64];
    snprintf(title, sizeof title, "%s, d_x", name);
    bench_gradient(kernels, title, rows, inputs, outputs, kernels->dtype, (struct matmul_options){0});
    snprintf(title, sizeof title, "%s, d_weight", name);
    bench_gradient(kernels, title, outputs, inputs, rows, DTYPE_F32,
                   (struct matmul_options){.transpose_a = true, .accumulate = true});
}

static void bench_matmuls(struct kernels *kernels, const struct settings *s) {
    bench_matmul(kernels, "forward up", s->rows, s->inner, s->width);
    bench_matmul(kernels, "forward down", s->rows, s->width, s->inner);
    for (int64_t m = 1; m <= 64; m *= m == 1 ? 8 : m == 8 ? 2 : 4)
        bench_matmul(kernels, "decode up", m, s->inner, s->width);
    for (int64_t m = 1; m <= 8; m *= 8) bench_matmul(kernels, "head", m, s->vocab, s->width);
    bench_linear_backward(kernels, "backward up", s->rows, s->inner, s->width);
    bench_linear_backward(kernels, "backward down", s->rows, s->width, s->inner);
    bench_linear_backward(kernels, "backward head", HEAD_ROWS, s->vocab, s->width);
}

/* ---- What memory bounds ------------------------------------------------------------------------------ */

static void run_convert(struct kernels *kernels, struct task *task) {
    convert(&kernels->device, task->b, task->a);
}
static void run_add(struct kernels *kernels, struct task *task) {
    add(&kernels->device, task->out, task->a);
}
static void run_rmsnorm(struct kernels *kernels, struct task *task) {
    rmsnorm_forward(&kernels->device, task->out, (struct tensor){0}, task->a, task->c, 1e-6f);
}
static void run_add_rmsnorm(struct kernels *kernels, struct task *task) {
    add_rmsnorm_forward(&kernels->device, task->out, (struct tensor){0}, task->b, task->a, task->c, 1e-6f);
}
static void run_swiglu(struct kernels *kernels, struct task *task) {
    swiglu_forward(&kernels->device, task->out, task->a);
}
static void run_gelu(struct kernels *kernels, struct task *task) {
    gelu_forward(&kernels->device, task->out, task->a);
}
static void run_rope(struct kernels *kernels, struct task *task) {
    rope_forward(&kernels->device, task->out, task->b, task->c, task->heads, false);
}
static void run_logprob(struct kernels *kernels, struct task *task) {
    logprob_forward(&kernels->device, task->out, (struct tensor){0}, (struct tensor){0}, task->a, task->b, 1);
}
static void run_attention(struct kernels *kernels, struct task *task) {
    const struct attention_segment all = {.queries = task->a.rows, .keys = task->a.rows, .causal = true};
    attention_forward(&kernels->device, task->out, (struct tensor){0}, task->a, task->b, task->c,
                      (struct attention_segments){&all, 1}, task->heads, task->heads, 0.125f);
}

static void run_attention_backward(struct kernels *kernels, struct task *task) {
    const struct attention_segment all = {.queries = task->a.rows, .keys = task->a.rows, .causal = true};
    attention_backward(&kernels->device, task->more[0], task->more[1], task->more[2], task->a, task->out,
                       task->more[3], task->a, task->b, task->c, (struct attention_segments){&all, 1},
                       task->heads, task->heads, 0.125f);
}
static void run_rmsnorm_backward(struct kernels *kernels, struct task *task) {
    rmsnorm_backward(&kernels->device, task->out, task->more[0], task->a, task->b, task->c, task->more[1]);
}
static void run_swiglu_backward(struct kernels *kernels, struct task *task) {
    swiglu_backward(&kernels->device, task->out, task->a, task->b);
}
static void run_gelu_backward(struct kernels *kernels, struct task *task) {
    gelu_backward(&kernels->device, task->out, task->a, task->b);
}
static void run_sum_rows(struct kernels *kernels, struct task *task) {
    sum_rows(&kernels->device, task->out, task->a);
}
static void run_logprob_backward(struct kernels *kernels, struct task *task) {
    logprob_backward(&kernels->device, task->a, task->out, (struct tensor){0}, task->a, task->out, task->out,
                     task->b, 1);
}
static void run_adamw(struct kernels *kernels, struct task *task) {
    const struct adamw_options options = {.learning_rate = 1e-6,
                                          .beta1 = 0.9,
                                          .beta2 = 0.999,
                                          .epsilon = 1e-8,
                                          .gradient_scale = 1,
                                          .step = ++task->turn};
    adamw_step(&kernels->device, task->a, task->b, task->c, task->out, task->more[0], options);
}

static void bench_rows_of(struct kernels *kernels, const struct settings *s) {
    struct arena_mark mark = arena_mark(&kernels->arena);
    enum dtype dtype = kernels->dtype;
    double size = (double)dtype_size(dtype);
    double elements = (double)s->rows * (double)s->inner;
    struct tensor a = fill(kernels, dtype, s->rows, s->inner), b = fill(kernels, dtype, s->rows, s->inner);
    struct tensor out = fill(kernels, dtype, s->rows, s->inner);
    struct tensor twice = fill(kernels, dtype, s->rows, 2 * s->inner);
    struct tensor f32 = fill(kernels, DTYPE_F32, s->rows, s->inner);
    struct tensor weight = fill(kernels, DTYPE_F32, 1, s->inner);
    struct tensor angles = fill(kernels, DTYPE_F32, s->rows, 32);
    struct tensor sum = fill(kernels, DTYPE_F32, 1, s->inner), inverse = fill(kernels, DTYPE_F32, 1, s->rows);
    struct tensor d_twice = fill(kernels, dtype, s->rows, 2 * s->inner);
    char shape[64];
    snprintf(shape, sizeof shape, "%" PRId64 "x%" PRId64, s->rows, s->inner);
    if (kernels->device.failed) return;
    const struct {
        const char *name;
        struct task task;
        double flops, bytes; /* of an element */
    } rows[] = {
        {"convert to f32", {.a = a, .b = f32, .run = run_convert}, 0, size + 4},
        {"add", {.out = out, .a = a, .run = run_add}, 1, 3 * size},
        {"rmsnorm", {.out = out, .a = a, .c = weight, .run = run_rmsnorm}, 4, 2 * size},
        {"add rmsnorm", {.out = out, .a = a, .b = b, .c = weight, .run = run_add_rmsnorm}, 5, 4 * size},
        {"swiglu", {.out = out, .a = twice, .run = run_swiglu}, 0, 3 * size},
        {"gelu", {.out = out, .a = a, .run = run_gelu}, 0, 2 * size},
        {"rope",
         {.out = out, .b = angles, .c = angles, .heads = (int)(s->inner / 64), .run = run_rope},
         3,
         2 * size},
        {"rmsnorm backward",
         {.out = out, .a = a, .b = b, .c = weight, .more = {sum, inverse}, .run = run_rmsnorm_backward},
         9,
         4 * size},
        {"swiglu backward", {.out = d_twice, .a = a, .b = twice, .run = run_swiglu_backward}, 0, 5 * size},
        {"gelu backward", {.out = out, .a = a, .b = b, .run = run_gelu_backward}, 0, 3 * size},
        {"sum rows", {.out = sum, .a = a, .run = run_sum_rows}, 1, size},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct task task = rows[i].task;
        report(kernels, &task, rows[i].name, shape, rows[i].flops * elements, rows[i].bytes * elements);
    }
    arena_release(&kernels->arena, mark);
}

static void bench_attention(struct kernels *kernels, const struct settings *s) {
    struct arena_mark mark = arena_mark(&kernels->arena);
    enum dtype dtype = kernels->dtype;
    struct task task = {.out = fill(kernels, dtype, s->rows, s->width),
                        .a = fill(kernels, dtype, s->rows, s->width),
                        .b = fill(kernels, dtype, s->rows, s->width),
                        .c = fill(kernels, dtype, s->rows, s->width),
                        .heads = (int)(s->width / 64),
                        .run = run_attention};
    char shape[64];
    snprintf(shape, sizeof shape, "%" PRId64 " tokens, %d heads of 64, causal", s->rows, task.heads);
    double pairs = (double)s->rows * (double)(s->rows + 1) / 2;
    double bytes = (double)s->rows * (double)s->width * (double)dtype_size(dtype);
    for (int i = 0; i < 3; i++) task.more[i] = fill(kernels, dtype, s->rows, s->width);
    task.more[3] = fill(kernels, DTYPE_F32, s->rows, task.heads);
    if (!kernels->device.failed)
        report(kernels, &task, "attention", shape, 4 * pairs * (double)s->width, 4 * bytes);
    task.run = run_attention_backward;
    if (!kernels->device.failed)
        report(kernels, &task, "attention backward", shape, 10 * pairs * (double)s->width, 8 * bytes);
    arena_release(&kernels->arena, mark);
}

static void bench_logprob(struct kernels *kernels, const struct settings *s) {
    struct arena_mark mark = arena_mark(&kernels->arena);
    enum { CHUNK = 128 };
    struct tensor target = arena_tensor(&kernels->arena, DTYPE_I32, 1, CHUNK);
    device_write(&kernels->device, target, (const int32_t[CHUNK]){0});
    struct task task = {.out = arena_tensor(&kernels->arena, DTYPE_F32, 1, CHUNK),
                        .a = fill(kernels, kernels->dtype, CHUNK, s->vocab),
                        .b = target,
                        .run = run_logprob};
    char shape[64];
    snprintf(shape, sizeof shape, "%dx%" PRId64, CHUNK, s->vocab);
    if (!kernels->device.failed)
        report(kernels, &task, "logprob", shape, 0,
               (double)CHUNK * (double)s->vocab * (double)dtype_size(kernels->dtype));
    task.run = run_logprob_backward;
    if (!kernels->device.failed)
        report(kernels, &task, "logprob backward", shape, 0,
               2 * (double)CHUNK * (double)s->vocab * (double)dtype_size(kernels->dtype));
    arena_release(&kernels->arena, mark);
}

static void bench_adamw(struct kernels *kernels, const struct settings *s) {
    struct arena_mark mark = arena_mark(&kernels->arena);
    int64_t rows = 4 * s->width; /* the weights of some layers: more than a cache holds */
    struct task task = {.a = fill(kernels, DTYPE_F32, rows, s->inner),
                        .b = fill(kernels, DTYPE_F32, rows, s->inner),
                        .c = arena_tensor(&kernels->arena, DTYPE_F32, rows, s->inner),
                        .out = fill(kernels, DTYPE_F32, rows, s->inner),
                        .run = run_adamw};
    clear(&kernels->device, task.c);
    if (kernels->dtype == DTYPE_BF16) task.more[0] = fill(kernels, DTYPE_BF16, rows, s->inner);
    char shape[64];
    snprintf(shape, sizeof shape, "%" PRId64 "x%" PRId64, rows, s->inner);
    double bytes = kernels->dtype == DTYPE_BF16 ? 34 : 32; /* of an element, read and written */
    if (!kernels->device.failed)
        report(kernels, &task, "adamw step", shape, 0, bytes * (double)rows * (double)s->inner);
    arena_release(&kernels->arena, mark);
}

static enum status run(const struct settings *settings, struct error *err) {
    struct kernels kernels = {.dtype = dtypes[settings->dtype], .repeat = settings->repeat, .first = true};
    enum status status = device_open(settings->device, &kernels.device, err);
    if (status != STATUS_OK) return status;
    arena_init(&kernels.arena, &kernels.device, 0);
    struct device_info info = device_describe(&kernels.device);
    kernels.peak = device_measure(&kernels.device);
    printf(
        "{\"device\": \"%s\", \"threads\": %d, \"native_bf16\": %s, \"dtype\": \"%s\", "
        "\"peak_f32_gflops\": %.5g, \"peak_bf16_gflops\": %.5g, \"peak_read_gbytes\": %.4g, \"kernels\": [",
        info.name, info.threads, info.native_bf16 ? "true" : "false", dtype_name(kernels.dtype),
        kernels.peak.flops * 1e-9, kernels.peak.bf16_flops * 1e-9, kernels.peak.bytes * 1e-9);
    bench_matmuls(&kernels, settings);
    bench_attention(&kernels, settings);
    bench_rows_of(&kernels, settings);
    bench_logprob(&kernels, settings);
    bench_adamw(&kernels, settings);
    printf("\n], \"peak_memory_bytes\": %zu}\n", bench_peak_memory());
    status = device_synchronize(&kernels.device, err);
    arena_free(&kernels.arena);
    device_close(&kernels.device);
    return status;
}

int bench_kernels(int argc, char **argv) {
    struct settings settings = {.device = "auto",
                                .dtype = 1,
                                .rows = 1629,
                                .width = 1024,
                                .inner = 4096,
                                .vocab = 151936,
                                .repeat = 5};
    struct error err;
    int first;
    bool finished;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (finished && !status) return STATUS_OK;
    if (!status && (settings.width % 64 || settings.inner % 64))
        status = error_usage(&err, "--width and --inner: heads are 64 wide, so these are multiples of 64");
    if (!status) status = run(&settings, &err);
    return status ? program_fail(&program, status, &err) : STATUS_OK;
}
