/* oneDNN's matrix products behind one function. Primitives are made once for each shape and kept, up to a
 * bound. */
#ifndef VS2_TENSOR_CPU_ONEDNN_H
#define VS2_TENSOR_CPU_ONEDNN_H

#include <stdbool.h>

#include "base/error.h"
#include "tensor/ops.h"

struct onednn;

/* NULL with err set when oneDNN cannot start. */
struct onednn *onednn_open(struct error *err);
void onednn_close(struct onednn *onednn);

/* Whether this processor multiplies bf16 by bf16 on units of its own (AVX-512 BF16, AMX). */
bool onednn_has_bf16(void);

/* Whether oneDNN takes this product; it is then made, and onednn_matmul finds it. */
bool onednn_takes(struct onednn *onednn, struct tensor out, struct tensor a, struct tensor b,
                  struct matmul_options options);

/* matmul() of tensor/ops.h for a and b of the same type; out and the bias are f32, or of that type too. */
enum status onednn_matmul(struct onednn *onednn, struct tensor out, struct tensor a, struct tensor b,
                          struct matmul_options options, struct error *err);

#endif
