/* What the model tests share: golden tensors (tests/golden/model/README.md), and the tiny checkpoints they
 * came from. Everything fails the running test when it cannot be had. */
#ifndef VS2_TESTS_SUPPORT_GOLDEN_H
#define VS2_TESTS_SUPPORT_GOLDEN_H

#include "model/positions.h"
#include "model/safetensors.h"
#include "model/weights.h"
#include "tensor/arena.h"

/* One tensor: f32 or i32, contiguous; a vector has one row. */
struct golden_tensor {
    const void *data;
    int64_t rows, cols;
};

/* Where the checkpoints and goldens lie: tests/golden, or what VS2_GOLDEN names (the live comparison). */
const char *golden_root(void);

/* The golden tensors of a checkpoint; safetensors_close them. */
struct safetensors golden_open(const char *shape);
bool golden_has(const struct safetensors *golden, const char *name, ...)
    __attribute__((format(printf, 2, 3)));
struct golden_tensor golden_get(const struct safetensors *golden, const char *name, ...)
    __attribute__((format(printf, 2, 3)));

/* A prompt of the goldens, its visuals in the order of their pads. */
struct golden_case {
    const int32_t *tokens;
    int64_t count;
    struct visual_grid visuals[4];
    float *patches[4]; /* freed by golden_case_free */
    int64_t visual_count;
    int64_t images; /* the first `images` visuals are images, the others videos */
};

struct golden_case golden_case_get(const struct safetensors *golden, const char *name);
void golden_case_free(struct golden_case *prompt);

/* An open device ("cpu" or "guard") with one of the tiny checkpoints. */
struct golden_model {
    struct device device;
    struct model model;
    struct arena arena;
};

void golden_model_open(struct golden_model *opened, const char *shape, const char *device,
                       enum dtype compute);
void golden_model_close(struct golden_model *opened);

/* The names of the checkpoints and cases, ending with NULL. */
extern const char *const golden_shapes[];
extern const char *const golden_cases[];

/* A device tensor's values as f32; free() them. */
float *read_floats(struct golden_model *opened, struct tensor tensor);

/* Fails unless all |a - b| <= tolerance; `what` names them. */
void assert_close(const float *a, const float *b, int64_t count, double tolerance, const char *what);

/* The root of the mean of (a - b)^2. */
double distance(const float *a, const float *b, int64_t count);

#endif
