#include "tests/train/support_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/safetensors.h"
#include "tensor/float16.h"

const char fake_source[] = "tests/golden/model/tied";

float fake_value(int64_t step, size_t index, enum checkpoint_part part, int64_t element) {
    uint64_t mixed =
        (uint64_t)(step * 7919 + (int64_t)index * 104729 + element * 3 + (int64_t)part) * 0x9E3779B97F4A7C15u;
    return (float)(int32_t)(mixed >> 32) * 0x1p-31F;
}

static enum status read_fake(void *state, size_t index, enum checkpoint_part part, int64_t first,
                             int64_t count, float *elements, struct error *err) {
    const struct fake *fake = state;
    if (fake->fails) return error_set(err, "the device is gone");
    assert_true(fake->trained[index]);
    /* It is its own, or a weight that process 0 is given. */
    const struct parameter *parameter = &fake->parameters[index];
    int rank = communicator_rank(fake->processes);
    const struct shard own = communicator_shard(fake->processes, parameter->rows, parameter->cols, rank);
    if (rank > 0 || part != CHECKPOINT_WEIGHT)
        assert_int_equal(shard_common(own, (struct shard){first, count}).count, count);
    for (int64_t i = 0; i < count; i++) elements[i] = fake_value(fake->step, index, part, first + i);
    return STATUS_OK;
}

/* The others wait until process 0 has what it wants. */
static enum status wait_for_others(void *state, struct error *err) {
    const struct fake *fake = state;
    return communicator_agree(fake->processes, STATUS_OK, err);
}

struct fake fake_new(void) {
    struct error err;
    struct fake fake = {0};
    assert_int_equal(model_config_read(fake_source, &fake.config, &err), STATUS_OK);
    fake.parameters = parameters_list(&fake.config, &fake.count, &err);
    fake.trained = calloc(fake.count, sizeof *fake.trained);
    for (size_t i = 0; i < fake.count; i++) fake.trained[i] = strstr(fake.parameters[i].name, "layers.1.");
    fake.configuration = json_pack("{s:f, s:i}", "learning_rate", 5e-5, "seed", 42);
    return fake;
}

void fake_free(struct fake *fake) {
    free(fake->parameters);
    free(fake->trained);
    json_decref(fake->configuration);
}

struct checkpoint_run fake_run(struct fake *fake, const char *folder) {
    return (struct checkpoint_run){.processes = fake->processes,
                                   .output_dir = folder,
                                   .source = fake_source,
                                   .config = &fake->config,
                                   .parameters = fake->parameters,
                                   .trained = fake->trained,
                                   .count = fake->count,
                                   .dtype = DTYPE_BF16,
                                   .configuration = fake->configuration,
                                   .snapshot_limit = SIZE_MAX,
                                   .reader = {read_fake, wait_for_others, wait_for_others, fake}};
}

const struct checkpoint_file fake_files[2] = {{"trainer_state.json", "{}\n", 3},
                                              {"query_template.txt", "is {prompt} shown?", 18}};

enum status fake_save(struct checkpoint_writer *writer, struct fake *fake, int64_t step, struct error *err) {
    json_t *state = json_pack("{s:I, s:f}", "row", (json_int_t)step * 8, "loss", 0.1 * (double)step);
    fake->step = step;
    enum status status = state ? checkpoint_save(writer, step, state, fake_files, 2, err)
                               : error_set(err, "out of memory for the test");
    fake->step = -1; /* what is saved later must be the snapshot */
    json_decref(state);
    return status;
}

struct checkpoint_writer *fake_writer(const struct checkpoint_run *run) {
    struct error err;
    struct checkpoint_writer *writer = checkpoint_writer_new(run, &err);
    if (!writer) fail_msg("%s", err.message);
    return writer;
}

enum status fake_save_alone(const struct checkpoint_run *run, struct fake *fake, int64_t step,
                            struct error *err) {
    struct checkpoint_writer *writer = checkpoint_writer_new(run, err);
    enum status status = writer ? fake_save(writer, fake, step, err) : STATUS_FAILED;
    if (status == STATUS_OK) status = checkpoint_wait(writer, err);
    checkpoint_writer_free(writer);
    return status;
}

/* ---- Checks ------------------------------------------------------------------------------------------ */

/* What a resumed run is given, compared with what step `step` had. */
struct comparison {
    const struct checkpoint_run *run;
    const struct fake *fake;
    int64_t step;
    int64_t elements; /* that this process keeps */
};

static struct shard kept(void *state, size_t index) {
    const struct comparison *comparison = state;
    const struct checkpoint_run *run = comparison->run;
    return communicator_shard(run->processes, run->parameters[index].rows, run->parameters[index].cols,
                              communicator_rank(run->processes));
}

static enum status compare_piece(void *state, size_t index, enum checkpoint_part part, int64_t first,
                                 int64_t count, const float *elements, struct error *err) {
    struct comparison *comparison = state;
    (void)err;
    assert_true(comparison->fake->trained[index]);
    for (int64_t i = 0; i < count; i++)
        assert_true(elements[i] == fake_value(comparison->step, index, part, first + i));
    comparison->elements += shard_common(kept(state, index), (struct shard){first, count}).count;
    return STATUS_OK;
}

void fake_check_model(const struct fake *fake, const char *folder, int64_t step) {
    struct error err;
    struct safetensors saved, given;
    if (safetensors_open(folder, &saved, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(safetensors_open(fake_source, &given, &err), STATUS_OK);
    assert_int_equal(saved.count, fake->count);
    for (size_t i = 0; i < fake->count; i++) {
        char name[PARAMETER_NAME_SIZE];
        parameter_old_name(fake->parameters[i].name, name);
        const struct stored_tensor *tensor = safetensors_find(&saved, name);
        assert_non_null(tensor);
        assert_int_equal(tensor->type->dtype, DTYPE_BF16);
        const struct stored_tensor *frozen = safetensors_find(&given, name);
        if (!frozen) frozen = safetensors_find(&given, fake->parameters[i].name);
        for (int64_t k = 0; k < (int64_t)tensor->bytes / 2; k++) {
            uint16_t half, wanted;
            memcpy(&half, tensor->data + 2 * k, sizeof half);
            if (fake->trained[i])
                wanted = float_to_bf16(fake_value(step, i, CHECKPOINT_WEIGHT, k));
            else
                memcpy(&wanted, frozen->data + 2 * k, sizeof wanted);
            if (half != wanted) fail_msg("%s: %s differs at %lld", folder, name, (long long)k);
        }
    }
    safetensors_close(&saved);
    safetensors_close(&given);
}

int64_t fake_check_resumable(struct fake *fake, const struct checkpoint_run *run, const char *folder) {
    struct error err;
    struct checkpoint_resume resume;
    if (checkpoint_resume_open(folder, run, &resume, &err) != STATUS_OK) fail_msg("%s", err.message);
    const int64_t step = resume.step;
    struct comparison comparison = {run, fake, step, 0};
    const struct checkpoint_sink sink = {kept, compare_piece, &comparison};
    if (checkpoint_resume_read(&resume, sink, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(comparison.elements * (int64_t)sizeof(float), checkpoint_snapshot_bytes(run));
    assert_int_equal(json_integer_value(json_object_get(resume.state, "row")), step * 8);
    assert_true(json_real_value(json_object_get(resume.state, "loss")) == 0.1 * (double)step);
    checkpoint_resume_close(&resume);
    fake_check_model(fake, folder, step);
    return step;
}
