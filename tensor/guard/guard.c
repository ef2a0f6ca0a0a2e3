/* A device for tests that computes as the CPU does but keeps its memory in pages of its own that nobody may
 * read or write outside operations: a layer above that looks into a tensor dies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "tensor/backend.h"

struct guard_region {
    void *memory;
    size_t bytes;
};

struct guard_state {
    struct device cpu;
    struct guard_region *regions;
    size_t count, capacity;
};

static struct guard_state *guard_state(const struct device *device) {
    return device->state;
}

/* A page that cannot be closed would make the device worthless as a witness, so that ends the program. */
static void guard_protect(struct device *device, int protection) {
    struct guard_state *state = guard_state(device);
    for (size_t i = 0; i < state->count; i++) {
        if (mprotect(state->regions[i].memory, state->regions[i].bytes, protection) != 0) {
            perror("guard device: mprotect");
            abort();
        }
    }
}

/* Opens the memory for one operation of the CPU; guard_leave closes it and takes over a failure. */
static struct device *guard_enter(struct device *device) {
    guard_protect(device, PROT_READ | PROT_WRITE);
    return &guard_state(device)->cpu;
}

static void guard_leave(struct device *device) {
    guard_protect(device, PROT_NONE);
    const struct device *cpu = &guard_state(device)->cpu;
    if (cpu->failed) device_fail(device, "%s", cpu->error.message);
}

static enum status guard_open(struct device *device, struct error *err) {
    struct guard_state *state = memory_new(1, sizeof *state, "the guard device", err);
    if (!state) return STATUS_FAILED;
    enum status status = device_open("cpu", &state->cpu, err);
    if (status != STATUS_OK) {
        free(state);
        return status;
    }
    device->state = state;
    return STATUS_OK;
}

static void guard_close(struct device *device) {
    struct guard_state *state = guard_state(device);
    for (size_t i = 0; i < state->count; i++) munmap(state->regions[i].memory, state->regions[i].bytes);
    free(state->regions);
    device_close(&state->cpu);
    free(state);
}

static void guard_describe(const struct device *device, struct device_info *info) {
    *info = device_describe(&guard_state(device)->cpu);
}

static void guard_measure(struct device *device, struct device_peak *peak) {
    *peak = device_measure(&guard_state(device)->cpu);
}

static void *guard_allocate(struct device *device, size_t bytes) {
    struct guard_state *state = guard_state(device);
    struct error err;
    if (memory_grow(&state->regions, &state->capacity, state->count + 1, sizeof state->regions[0],
                    "device memory", &err) != STATUS_OK)
        return NULL;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + page - 1) / page * page;
    void *memory = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    state->regions[state->count++] = (struct guard_region){memory, bytes};
    return memory;
}

static void guard_release(struct device *device, void *memory) {
    struct guard_state *state = guard_state(device);
    size_t i = 0;
    while (state->regions[i].memory != memory) i++;
    munmap(memory, state->regions[i].bytes);
    state->regions[i] = state->regions[--state->count];
}

static void guard_write(struct device *device, void *to, const void *from, size_t bytes) {
    guard_enter(device);
    memcpy(to, from, bytes);
    guard_leave(device);
}

static void guard_read(struct device *device, void *to, const void *from, size_t bytes) {
    guard_enter(device);
    memcpy(to, from, bytes);
    guard_leave(device);
}

static void *guard_import(struct device *device, const void *host, size_t bytes) {
    void *memory = guard_allocate(device, bytes ? bytes : 1);
    if (memory) guard_write(device, memory, host, bytes);
    return memory;
}

static void guard_synchronize(struct device *device) {
    (void)device;
}

static void guard_convert(struct device *device, struct tensor out, struct tensor x) {
    backend_cpu.convert(guard_enter(device), out, x);
    guard_leave(device);
}

static void guard_gather_rows(struct device *device, struct tensor out, struct tensor table,
                              struct tensor index) {
    backend_cpu.gather_rows(guard_enter(device), out, table, index);
    guard_leave(device);
}

static void guard_scatter_rows(struct device *device, struct tensor out, struct tensor x,
                               struct tensor index) {
    backend_cpu.scatter_rows(guard_enter(device), out, x, index);
    guard_leave(device);
}

static void guard_scatter_add_rows(struct device *device, struct tensor out, struct tensor x,
                                   struct tensor index) {
    backend_cpu.scatter_add_rows(guard_enter(device), out, x, index);
    guard_leave(device);
}

static void guard_add(struct device *device, struct tensor out, struct tensor x) {
    backend_cpu.add(guard_enter(device), out, x);
    guard_leave(device);
}

static void guard_clear(struct device *device, struct tensor out) {
    backend_cpu.clear(guard_enter(device), out);
    guard_leave(device);
}

static void guard_matmul(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                         struct matmul_options options) {
    backend_cpu.matmul(guard_enter(device), out, a, b, options);
    guard_leave(device);
}

static void guard_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms,
                                  struct tensor x, struct tensor weight, float epsilon) {
    backend_cpu.rmsnorm_forward(guard_enter(device), out, inverse_rms, x, weight, epsilon);
    guard_leave(device);
}

static void guard_add_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms,
                                      struct tensor residual, struct tensor x, struct tensor weight,
                                      float epsilon) {
    backend_cpu.add_rmsnorm_forward(guard_enter(device), out, inverse_rms, residual, x, weight, epsilon);
    guard_leave(device);
}

static void guard_rmsnorm_backward(struct device *device, struct tensor d_x, struct tensor d_weight,
                                   struct tensor d_out, struct tensor x, struct tensor weight,
                                   struct tensor inverse_rms) {
    backend_cpu.rmsnorm_backward(guard_enter(device), d_x, d_weight, d_out, x, weight, inverse_rms);
    guard_leave(device);
}

static void guard_swiglu_forward(struct device *device, struct tensor out, struct tensor gate_up) {
    backend_cpu.swiglu_forward(guard_enter(device), out, gate_up);
    guard_leave(device);
}

static void guard_swiglu_backward(struct device *device, struct tensor d_gate_up, struct tensor d_out,
                                  struct tensor gate_up) {
    backend_cpu.swiglu_backward(guard_enter(device), d_gate_up, d_out, gate_up);
    guard_leave(device);
}

static void guard_gelu_forward(struct device *device, struct tensor out, struct tensor x) {
    backend_cpu.gelu_forward(guard_enter(device), out, x);
    guard_leave(device);
}

static void guard_gelu_backward(struct device *device, struct tensor d_x, struct tensor d_out,
                                struct tensor x) {
    backend_cpu.gelu_backward(guard_enter(device), d_x, d_out, x);
    guard_leave(device);
}

static void guard_rope_table(struct device *device, struct tensor cosine, struct tensor sine,
                             struct tensor positions, struct tensor axis, struct tensor inverse_frequency) {
    backend_cpu.rope_table(guard_enter(device), cosine, sine, positions, axis, inverse_frequency);
    guard_leave(device);
}

static void guard_rope_forward(struct device *device, struct tensor x, struct tensor cosine,
                               struct tensor sine, int heads, bool inverse) {
    backend_cpu.rope_forward(guard_enter(device), x, cosine, sine, heads, inverse);
    guard_leave(device);
}

static void guard_resize_frame(struct device *device, struct tensor out, struct tensor x,
                               struct resize_pass pass) {
    backend_cpu.resize_frame(guard_enter(device), out, x, pass);
    guard_leave(device);
}

static void guard_cut_patches(struct device *device, struct tensor out, struct tensor x, struct tensor values,
                              struct patch_shape shape, int64_t place) {
    backend_cpu.cut_patches(guard_enter(device), out, x, values, shape, place);
    guard_leave(device);
}

static void guard_attention_forward(struct device *device, struct tensor out, struct tensor log_sum,
                                    struct tensor q, struct tensor k, struct tensor v,
                                    struct attention_segments segments, int heads, int kv_heads,
                                    float scale) {
    backend_cpu.attention_forward(guard_enter(device), out, log_sum, q, k, v, segments, heads, kv_heads,
                                  scale);
    guard_leave(device);
}

static void guard_attention_backward(struct device *device, struct tensor d_q, struct tensor d_k,
                                     struct tensor d_v, struct tensor d_out, struct tensor out,
                                     struct tensor log_sum, struct tensor q, struct tensor k, struct tensor v,
                                     struct attention_segments segments, int heads, int kv_heads,
                                     float scale) {
    backend_cpu.attention_backward(guard_enter(device), d_q, d_k, d_v, d_out, out, log_sum, q, k, v, segments,
                                   heads, kv_heads, scale);
    guard_leave(device);
}

static void guard_logprob_forward(struct device *device, struct tensor logprob, struct tensor log_sum,
                                  struct tensor entropy, struct tensor logits, struct tensor target,
                                  float scale) {
    backend_cpu.logprob_forward(guard_enter(device), logprob, log_sum, entropy, logits, target, scale);
    guard_leave(device);
}

static void guard_logprob_backward(struct device *device, struct tensor d_logits, struct tensor d_logprob,
                                   struct tensor d_entropy, struct tensor logits, struct tensor log_sum,
                                   struct tensor entropy, struct tensor target, float scale) {
    backend_cpu.logprob_backward(guard_enter(device), d_logits, d_logprob, d_entropy, logits, log_sum,
                                 entropy, target, scale);
    guard_leave(device);
}

static void guard_reduce_sum(struct device *device, struct tensor out, struct tensor x) {
    backend_cpu.reduce_sum(guard_enter(device), out, x);
    guard_leave(device);
}

static void guard_reduce_sum_squares(struct device *device, struct tensor out, struct tensor x) {
    backend_cpu.reduce_sum_squares(guard_enter(device), out, x);
    guard_leave(device);
}

static void guard_sum_rows(struct device *device, struct tensor out, struct tensor x) {
    backend_cpu.sum_rows(guard_enter(device), out, x);
    guard_leave(device);
}

static void guard_adamw_step(struct device *device, struct tensor weight, struct tensor first,
                             struct tensor second, struct tensor gradient, struct tensor copy,
                             struct adamw_options options) {
    backend_cpu.adamw_step(guard_enter(device), weight, first, second, gradient, copy, options);
    guard_leave(device);
}

static void guard_sample_tokens(struct device *device, struct sample_arguments arguments) {
    backend_cpu.sample_tokens(guard_enter(device), arguments);
    guard_leave(device);
}

const struct backend backend_guard = {
    .name = "guard",
    .exact_rows = MATMUL_EXACT_ROWS,
    .part_rows = MATMUL_PART_ROWS,
    .open = guard_open,
    .close = guard_close,
    .describe = guard_describe,
    .measure = guard_measure,
    .allocate = guard_allocate,
    .release = guard_release,
    .import = guard_import,
    .unimport = guard_release,
    .write = guard_write,
    .read = guard_read,
    .synchronize = guard_synchronize,
    .convert = guard_convert,
    .gather_rows = guard_gather_rows,
    .scatter_rows = guard_scatter_rows,
    .scatter_add_rows = guard_scatter_add_rows,
    .add = guard_add,
    .clear = guard_clear,
    .matmul = guard_matmul,
    .rmsnorm_forward = guard_rmsnorm_forward,
    .add_rmsnorm_forward = guard_add_rmsnorm_forward,
    .rmsnorm_backward = guard_rmsnorm_backward,
    .swiglu_forward = guard_swiglu_forward,
    .swiglu_backward = guard_swiglu_backward,
    .gelu_forward = guard_gelu_forward,
    .gelu_backward = guard_gelu_backward,
    .rope_table = guard_rope_table,
    .rope_forward = guard_rope_forward,
    .resize_frame = guard_resize_frame,
    .cut_patches = guard_cut_patches,
    .attention_forward = guard_attention_forward,
    .attention_backward = guard_attention_backward,
    .logprob_forward = guard_logprob_forward,
    .logprob_backward = guard_logprob_backward,
    .reduce_sum = guard_reduce_sum,
    .reduce_sum_squares = guard_reduce_sum_squares,
    .sum_rows = guard_sum_rows,
    .adamw_step = guard_adamw_step,
    .sample_tokens = guard_sample_tokens,
};
