/* What the optimizer's tensors hold, for checkpoints. */
#include "base/memory.h"
#include "train/run_state.h"

static enum optimizer_part part_of(enum checkpoint_part part) {
    switch (part) {
    case CHECKPOINT_FIRST_MOMENT: return OPTIMIZER_FIRST;
    case CHECKPOINT_SECOND_MOMENT: return OPTIMIZER_SECOND;
    default: return OPTIMIZER_WEIGHT;
    }
}

/* The model's parameter `index`, which is trained, where the part is. */
static const struct trained_parameter *find_trained(const struct run_tensors *tensors, size_t index,
                                                    enum checkpoint_part part) {
    const struct optimizer *optimizer =
        part == CHECKPOINT_REFERENCE ? tensors->reference : tensors->optimizer;
    const struct trained_parameter *trained = optimizer->trained;
    while (trained->parameter != &optimizer->parameters[index]) trained++;
    return trained;
}

/* ---- Reading ----------------------------------------------------------------------------------------- */

/* What process 0 wants of all. */
enum request { REQUEST_GOES_ON, REQUEST_INDEX, REQUEST_PART, REQUEST_FIRST, REQUEST_COUNT, REQUEST_VALUES };

/* All hear what process 0 says: the others add zeros. */
static enum status tell(const struct run_tensors *tensors, double request[REQUEST_VALUES],
                        struct error *err) {
    return communicator_sum_values(tensors->optimizer->processes, request, REQUEST_VALUES, err);
}

static enum status give(const struct run_tensors *tensors, const double request[REQUEST_VALUES],
                        float *elements, struct error *err) {
    enum checkpoint_part part = (enum checkpoint_part)request[REQUEST_PART];
    const struct trained_parameter *trained = find_trained(tensors, (size_t)request[REQUEST_INDEX], part);
    const struct optimizer *optimizer = tensors->optimizer;
    const struct shard wanted = {(int64_t)request[REQUEST_FIRST], (int64_t)request[REQUEST_COUNT]};
    return communicator_collect(optimizer->processes, optimizer->keeper, trained->parameter->rows,
                                trained->parameter->cols, trained->parts[part_of(part)], wanted, elements,
                                err);
}

static enum status read_elements(void *state, size_t index, enum checkpoint_part part, int64_t first,
                                 int64_t count, float *elements, struct error *err) {
    const struct run_tensors *tensors = state;
    const struct trained_parameter *trained = find_trained(tensors, index, part);
    const struct shard wanted = {first, count};
    if (shard_common(trained->shard, wanted).count == count) {
        struct tensor kept = trained->parts[part_of(part)];
        struct tensor flat = tensor_reshape(kept, 1, kept.rows * kept.cols);
        return device_read(tensors->optimizer->keeper, elements,
                           tensor_cols(flat, first - trained->shard.first, count), err);
    }
    double request[REQUEST_VALUES] = {1, (double)index, (double)part, (double)first, (double)count};
    enum status status = tell(tensors, request, err);
    return status == STATUS_OK ? give(tensors, request, elements, err) : status;
}

static enum status serve(void *state, struct error *err) {
    const struct run_tensors *tensors = state;
    enum status status = STATUS_OK, told = STATUS_OK;
    for (;;) {
        double request[REQUEST_VALUES] = {0};
        told = tell(tensors, request, err);
        if (told != STATUS_OK || !request[REQUEST_GOES_ON]) break;
        enum status given = give(tensors, request, NULL, err);
        if (given != STATUS_OK) status = given; /* process 0 heard of it, and is going to end */
    }
    return told != STATUS_OK ? told : status;
}

static enum status served(void *state, struct error *err) {
    double end[REQUEST_VALUES] = {0};
    return tell(state, end, err);
}

struct checkpoint_reader run_state_reader(struct run_tensors *tensors) {
    return (struct checkpoint_reader){read_elements, serve, served, tensors};
}

/* ---- Writing ----------------------------------------------------------------------------------------- */

static struct shard kept_shard(void *state, size_t index) {
    return find_trained(state, index, CHECKPOINT_WEIGHT)->shard;
}

/* Takes what this process keeps. */
static enum status write_elements(void *state, size_t index, enum checkpoint_part part, int64_t first,
                                  int64_t count, const float *elements, struct error *err) {
    (void)err; /* a failing device says so at the end */
    const struct run_tensors *tensors = state;
    const struct trained_parameter *trained = find_trained(tensors, index, part);
    struct shard own = shard_common(trained->shard, (struct shard){first, count});
    struct tensor kept = trained->parts[part_of(part)];
    struct tensor flat = tensor_reshape(kept, 1, kept.rows * kept.cols);
    if (own.count > 0)
        device_write(tensors->optimizer->keeper,
                     tensor_cols(flat, own.first - trained->shard.first, own.count),
                     elements + (own.first - first));
    return STATUS_OK;
}

struct checkpoint_sink run_state_sink(struct run_tensors *tensors) {
    return (struct checkpoint_sink){kept_shard, write_elements, tensors};
}

bool *run_trained(const struct optimizer *optimizer, struct error *err) {
    bool *trained = memory_new(optimizer->parameter_count, sizeof *trained, "the list of parameters", err);
    if (!trained) return NULL;
    for (size_t i = 0; i < optimizer->count; i++)
        trained[optimizer->trained[i].parameter - optimizer->parameters] = true;
    return trained;
}
