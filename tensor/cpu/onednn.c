#include "tensor/cpu/onednn.h"

#include <dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* A model has some tens of products for each number of tokens; a longer history is not worth its memory. */
enum { CACHE_ENTRIES = 256 };

/* All that a primitive depends on; compared byte by byte, so filled over zeros. */
struct product_key {
    int64_t rows, cols, depth;
    int64_t out_stride, a_stride, b_stride;
    int32_t out_type, type;
    int32_t transpose_a, transpose_b, accumulate;
    int32_t bias;      /* whether there is one, */
    int64_t bias_type; /* and of what type; so wide that nothing lies between the members */
};

struct product {
    struct product_key key;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[4]; /* in the order of argument_kinds; the last is NULL without a bias */
    uint64_t used;           /* when last */
};

static const int argument_kinds[] = {DNNL_ARG_DST, DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS};
enum { ARGUMENTS = sizeof argument_kinds / sizeof argument_kinds[0] };

struct onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    uint64_t clock;
    size_t count;
    struct product products[CACHE_ENTRIES];
};

bool onednn_has_bf16(void) {
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return isa == dnnl_cpu_isa_avx512_core_bf16 || isa == dnnl_cpu_isa_avx512_core_amx;
}

struct onednn *onednn_open(struct error *err) {
    struct onednn *onednn = memory_new(1, sizeof *onednn, "oneDNN", err);
    if (!onednn) return NULL;
    if (dnnl_engine_create(&onednn->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&onednn->stream, onednn->engine, dnnl_stream_default_flags) != dnnl_success) {
        error_set(err, "oneDNN: it does not start on this processor");
        onednn_close(onednn);
        return NULL;
    }
    return onednn;
}

static void product_free(struct product *product) {
    if (product->primitive) dnnl_primitive_destroy(product->primitive);
    for (int i = 0; i < ARGUMENTS; i++)
        if (product->memory[i]) dnnl_memory_destroy(product->memory[i]);
    *product = (struct product){0};
}

void onednn_close(struct onednn *onednn) {
    if (!onednn) return;
    for (size_t i = 0; i < onednn->count; i++) product_free(&onednn->products[i]);
    if (onednn->stream) dnnl_stream_destroy(onednn->stream);
    if (onednn->engine) dnnl_engine_destroy(onednn->engine);
    free(onednn);
}

static dnnl_data_type_t type_of(int32_t dtype) {
    return dtype == DTYPE_F32 ? dnnl_f32 : dnnl_bf16;
}

/* A [rows, cols] matrix whose rows, or columns when transposed, are contiguous and `stride` apart. */
static bool describe(dnnl_memory_desc_t *desc, int64_t rows, int64_t cols, int32_t dtype, int64_t stride,
                     bool transposed) {
    const dnnl_dims_t dims = {rows, cols};
    const dnnl_dims_t plain = {stride, 1}, turned = {1, stride};
    return dnnl_memory_desc_init_by_strides(desc, 2, dims, type_of(dtype), transposed ? turned : plain) ==
           dnnl_success;
}

static bool describe_all(const struct product_key *key, dnnl_memory_desc_t desc[ARGUMENTS]) {
    return describe(&desc[0], key->rows, key->cols, key->out_type, key->out_stride, false) &&
           describe(&desc[1], key->rows, key->depth, key->type, key->a_stride, key->transpose_a) &&
           describe(&desc[2], key->depth, key->cols, key->type, key->b_stride, key->transpose_b) &&
           (!key->bias || describe(&desc[3], 1, key->cols, key->bias_type, key->cols, false));
}

/* Accumulation is a sum after the product, in f32, before the result is rounded. */
static bool accumulate_attributes(const struct product_key *key, dnnl_primitive_attr_t attributes) {
    if (!key->accumulate) return true;
    dnnl_post_ops_t operations = NULL;
    bool done = dnnl_post_ops_create(&operations) == dnnl_success &&
                dnnl_post_ops_append_sum(operations, 1.0f) == dnnl_success &&
                dnnl_primitive_attr_set_post_ops(attributes, operations) == dnnl_success;
    if (operations) dnnl_post_ops_destroy(operations);
    return done;
}

/* Makes the primitive and its memory objects, whose addresses are set at each use. */
static bool product_make(struct onednn *onednn, const struct product_key *key, struct product *product) {
    dnnl_memory_desc_t desc[ARGUMENTS];
    dnnl_matmul_desc_t operation;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t description = NULL;
    bool done = describe_all(key, desc) && dnnl_primitive_attr_create(&attributes) == dnnl_success &&
                accumulate_attributes(key, attributes) &&
                dnnl_matmul_desc_init(&operation, &desc[1], &desc[2], key->bias ? &desc[3] : NULL,
                                      &desc[0]) == dnnl_success &&
                dnnl_primitive_desc_create(&description, &operation, attributes, onednn->engine, NULL) ==
                    dnnl_success &&
                dnnl_primitive_create(&product->primitive, description) == dnnl_success;
    for (int i = 0; done && i < (key->bias ? 4 : 3); i++)
        done = dnnl_memory_create(&product->memory[i], &desc[i], onednn->engine, DNNL_MEMORY_NONE) ==
               dnnl_success;
    if (description) dnnl_primitive_desc_destroy(description);
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    if (done)
        product->key = *key;
    else
        product_free(product);
    return done;
}

/* The cached product of the key, made if new in place of the one longest unused; NULL: not to be had. */
static struct product *product_find(struct onednn *onednn, const struct product_key *key) {
    struct product *oldest = NULL;
    for (size_t i = 0; i < onednn->count; i++) {
        struct product *product = &onednn->products[i];
        if (product->primitive && memcmp(&product->key, key, sizeof *key) == 0) return product;
        if (!oldest || product->used < oldest->used) oldest = product;
    }
    if (onednn->count < CACHE_ENTRIES)
        oldest = &onednn->products[onednn->count++];
    else
        product_free(oldest);
    return product_make(onednn, key, oldest) ? oldest : NULL;
}

static struct product_key key_of(struct tensor out, struct tensor a, struct tensor b,
                                 struct matmul_options options) {
    struct product_key key;
    memset(&key, 0, sizeof key);
    key.rows = out.rows;
    key.cols = out.cols;
    key.depth = options.transpose_a ? a.rows : a.cols;
    key.out_stride = out.stride;
    key.a_stride = a.stride;
    key.b_stride = b.stride;
    key.out_type = (int32_t)out.dtype;
    key.type = (int32_t)a.dtype;
    key.transpose_a = options.transpose_a;
    key.transpose_b = options.transpose_b;
    key.accumulate = options.accumulate;
    key.bias = options.bias.data != NULL;
    if (key.bias) key.bias_type = options.bias.dtype;
    return key;
}

bool onednn_takes(struct onednn *onednn, struct tensor out, struct tensor a, struct tensor b,
                  struct matmul_options options) {
    const struct product_key key = key_of(out, a, b, options);
    return product_find(onednn, &key) != NULL;
}

enum status onednn_matmul(struct onednn *onednn, struct tensor out, struct tensor a, struct tensor b,
                          struct matmul_options options, struct error *err) {
    const struct product_key key = key_of(out, a, b, options);
    struct product *product = product_find(onednn, &key);
    if (!product)
        return error_set(err, "oneDNN: no product %lld x %lld x %lld of %s", (long long)key.rows,
                         (long long)key.cols, (long long)key.depth, dtype_name(a.dtype));
    product->used = ++onednn->clock;

    void *const addresses[ARGUMENTS] = {out.data, a.data, b.data, options.bias.data};
    dnnl_exec_arg_t arguments[ARGUMENTS];
    int count = key.bias ? 4 : 3;
    for (int i = 0; i < count; i++) {
        arguments[i] = (dnnl_exec_arg_t){argument_kinds[i], product->memory[i]};
        dnnl_memory_set_data_handle(product->memory[i], addresses[i]);
    }
    if (dnnl_primitive_execute(product->primitive, onednn->stream, count, arguments) != dnnl_success ||
        dnnl_stream_wait(onednn->stream) != dnnl_success)
        return error_set(err, "oneDNN: the product %lld x %lld x %lld failed", (long long)key.rows,
                         (long long)key.cols, (long long)key.depth);
    return STATUS_OK;
}
