/* What a kind of device provides: one table, a line for each operation. The arguments are those of
 * tensor/ops.h and tensor/device.h, checked there; a backend never sees a wrong shape, an empty tensor or a
 * failed device. Nothing above tensor/ includes this file. */
#ifndef VS2_TENSOR_BACKEND_H
#define VS2_TENSOR_BACKEND_H

#include "tensor/collective.h"
#include "tensor/ops.h"

struct backend {
    const char *name;   /* as --device spells it */
    int64_t exact_rows; /* matmul_exact_rows */
    int64_t part_rows;  /* matmul_part_rows */

    /* How many there are of it, at least one; NULL: one. */
    enum status (*count)(int *count, struct error *err);
    enum status (*open)(struct device *device, struct error *err); /* device->number; fills device->state */
    void (*close)(struct device *device);                          /* frees it */
    void (*describe)(const struct device *device, struct device_info *info);
    void (*measure)(struct device *device, struct device_peak *peak);
    void *(*allocate)(struct device *device, size_t bytes); /* zeroed, aligned to 64; NULL: none left */
    void (*release)(struct device *device, void *memory);
    void *(*import)(struct device *device, const void *host, size_t bytes); /* returns NULL: cannot */
    void (*unimport)(struct device *device, void *memory); /* NULL, and import too: it never can */
    void (*write)(struct device *device, void *to, const void *from, size_t bytes);
    void (*read)(struct device *device, void *to, const void *from, size_t bytes); /* waits */
    /* Copies beside the operations (tensor/ahead.h), which have read the host memory on return; and a point
     * at which both wait for each other. NULL: there are none. */
    void (*write_ahead)(struct device *device, void *to, const void *from, size_t bytes);
    void (*turn_ahead)(struct device *device);
    /* The halves of a read (device_fetch). NULL: it is read in the second. */
    void (*fetch)(struct device *device, int place, const void *from, size_t bytes);
    void (*fetched)(struct device *device, int place, void *to, size_t bytes);
    void (*synchronize)(struct device *device);              /* waits; failures through device_fail */
    void (*group_begin)(struct device *device, int64_t key); /* NULL, and group_end too: no groups */
    void (*group_end)(struct device *device);                /* also of a failed device */

    void (*convert)(struct device *, struct tensor out, struct tensor x);
    void (*gather_rows)(struct device *, struct tensor out, struct tensor table, struct tensor index);
    void (*scatter_rows)(struct device *, struct tensor out, struct tensor x, struct tensor index);
    void (*scatter_add_rows)(struct device *, struct tensor out, struct tensor x, struct tensor index);
    void (*add)(struct device *, struct tensor out, struct tensor x);
    void (*clear)(struct device *, struct tensor out);
    void (*matmul)(struct device *, struct tensor out, struct tensor a, struct tensor b,
                   struct matmul_options);
    void (*rmsnorm_forward)(struct device *, struct tensor out, struct tensor inverse_rms, struct tensor x,
                            struct tensor weight, float epsilon);
    void (*add_rmsnorm_forward)(struct device *, struct tensor out, struct tensor inverse_rms,
                                struct tensor residual, struct tensor x, struct tensor weight, float epsilon);
    void (*rmsnorm_backward)(struct device *, struct tensor d_x, struct tensor d_weight, struct tensor d_out,
                             struct tensor x, struct tensor weight, struct tensor inverse_rms);
    void (*swiglu_forward)(struct device *, struct tensor out, struct tensor gate_up);
    void (*swiglu_backward)(struct device *, struct tensor d_gate_up, struct tensor d_out,
                            struct tensor gate_up);
    void (*gelu_forward)(struct device *, struct tensor out, struct tensor x);
    void (*gelu_backward)(struct device *, struct tensor d_x, struct tensor d_out, struct tensor x);
    void (*rope_table)(struct device *, struct tensor cosine, struct tensor sine, struct tensor positions,
                       struct tensor axis, struct tensor inverse_frequency);
    void (*rope_forward)(struct device *, struct tensor x, struct tensor cosine, struct tensor sine,
                         int heads, bool inverse);
    void (*resize_frame)(struct device *, struct tensor out, struct tensor x, struct resize_pass);
    void (*cut_patches)(struct device *, struct tensor out, struct tensor x, struct tensor values,
                        struct patch_shape, int64_t place);
    void (*attention_forward)(struct device *, struct tensor out, struct tensor log_sum, struct tensor q,
                              struct tensor k, struct tensor v, struct attention_segments segments, int heads,
                              int kv_heads, float scale);
    void (*attention_backward)(struct device *, struct tensor d_q, struct tensor d_k, struct tensor d_v,
                               struct tensor d_out, struct tensor out, struct tensor log_sum, struct tensor q,
                               struct tensor k, struct tensor v, struct attention_segments segments,
                               int heads, int kv_heads, float scale);
    void (*logprob_forward)(struct device *, struct tensor logprob, struct tensor log_sum,
                            struct tensor entropy, struct tensor logits, struct tensor target, float scale);
    void (*logprob_backward)(struct device *, struct tensor d_logits, struct tensor d_logprob,
                             struct tensor d_entropy, struct tensor logits, struct tensor log_sum,
                             struct tensor entropy, struct tensor target, float scale);
    void (*reduce_sum)(struct device *, struct tensor out, struct tensor x);
    void (*reduce_sum_squares)(struct device *, struct tensor out, struct tensor x);
    void (*sum_rows)(struct device *, struct tensor out, struct tensor x);
    void (*adamw_step)(struct device *, struct tensor weight, struct tensor first, struct tensor second,
                       struct tensor gradient, struct tensor copy, struct adamw_options);
    void (*sample_tokens)(struct device *, struct sample_arguments arguments);

    /* Collectives (tensor/collective.h); can_join NULL: there are none. */
    bool (*can_join)(void);
    void (*identify)(const struct device *, struct collective_member *member);
    enum status (*ready)(struct device *, struct error *err); /* what join needs of this process alone */
    enum status (*name_collective)(struct collective_id *id, struct error *err);
    enum status (*join)(struct device *, const struct collective_id *id, int rank, int size, struct error *);
    void (*part)(struct device *); /* also where it has not joined */
    void (*begin_collectives)(struct device *);
    void (*end_collectives)(struct device *, enum collective_mark mark); /* also of a failed device */
    void (*await_collectives)(struct device *, enum collective_mark mark);
    void (*finish_collectives)(struct device *);
    void (*reduce_scatter)(struct device *, struct tensor out, struct tensor x);
    void (*all_gather)(struct device *, struct tensor out, struct tensor x);
};

extern const struct backend backend_cpu;
extern const struct backend backend_guard;
extern const struct backend backend_cuda;     /* a module: tensor/cuda_module.h */
extern const struct backend backend_emulated; /* tests/emulator; linked to tests alone */

#endif
