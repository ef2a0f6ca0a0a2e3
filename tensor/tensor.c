#include "tensor/tensor.h"

const char *dtype_name(enum dtype dtype) {
    static const char *const names[] = {"f32", "bf16", "f16", "i32", "u8"};
    return names[dtype];
}
