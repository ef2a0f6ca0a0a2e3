/* Checkpoints of processes that share the state: each writes its shards, any number of them resumes, and the
 * failure of one leaves nothing. Run alone here; test_processes.sh runs it by mpirun with several. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/folder.h"
#include "model/safetensors.h"
#include "tensor/float16.h"
#include "tests/train/support_fake.h"
#include "tests/train/support_outputs.h"

static struct error err;
static struct communicator *all;
static int rank, size;

static void wait_for_all(void) {
    assert_int_equal(communicator_agree(all, STATUS_OK, &err), STATUS_OK);
}

/* A folder that all processes use. */
struct fixture {
    struct fake fake;
    char *folder;
    struct checkpoint_run run;
};

static void prepare(struct fixture *fixture) {
    char *own = rank == 0 ? outputs_folder() : strdup("");
    char **folders = communicator_share(all, own, &err);
    assert_non_null(folders);
    fixture->folder = folders[0];
    for (int r = 1; r < size; r++) free(folders[r]);
    free(folders);
    free(own);
    fixture->fake = fake_new();
    fixture->fake.processes = all;
    fixture->run = fake_run(&fixture->fake, fixture->folder);
}

static void finish(struct fixture *fixture) {
    wait_for_all();
    fake_free(&fixture->fake);
    if (rank == 0)
        outputs_remove(fixture->folder);
    else
        free(fixture->folder);
}

static void save_surely(struct fixture *fixture, int64_t step) {
    if (fake_save_alone(&fixture->run, &fixture->fake, step, &err) != STATUS_OK) fail_msg("%s", err.message);
}

/* The file of a process's shards in checkpoint-STEP; free() it. */
static char *shards_of(const struct fixture *fixture, int64_t step, int process) {
    char name[128];
    if (size == 1)
        snprintf(name, sizeof name, "checkpoint-%lld/vs2_state/model.safetensors", (long long)step);
    else
        snprintf(name, sizeof name, "checkpoint-%lld/vs2_state/process-%d-of-%d/model.safetensors",
                 (long long)step, process + 1, size);
    return file_join(fixture->folder, name, &err);
}

static char *checkpoint_of(const struct fixture *fixture, int64_t step) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)step);
    return file_join(fixture->folder, name, &err);
}

/* The names of all that lies in the output folder. */
static void assert_names(const struct fixture *fixture, const char *expected) {
    struct folder_names list;
    char names[256] = "";
    assert_int_equal(folder_list(fixture->folder, &list, &err), STATUS_OK);
    for (size_t i = 0; i < list.count; i++) {
        strncat(names, list.names[i], sizeof names - strlen(names) - 1);
        strncat(names, " ", sizeof names - strlen(names) - 1);
    }
    folder_names_free(&list);
    assert_string_equal(names, expected);
}

/* ---- Tests ------------------------------------------------------------------------------------------- */

static void check_own(bool has_reference) {
    struct fixture fixture;
    prepare(&fixture);
    fixture.run.has_reference = has_reference;
    save_surely(&fixture, 10);
    fixture.run.snapshot_limit = 0; /* and without a thread */
    save_surely(&fixture, 20);
    assert_names(&fixture, "checkpoint-10 checkpoint-20 ");
    for (int64_t step = 10; step <= 20; step += 10) {
        char *folder = checkpoint_of(&fixture, step);
        for (int r = 0; r < size; r++) {
            char *shards = shards_of(&fixture, step, r);
            assert_int_equal(access(shards, R_OK), 0);
            free(shards);
        }
        assert_int_equal(fake_check_resumable(&fixture.fake, &fixture.run, folder), step);
        struct checkpoint_run alone = fixture.run; /* one process resumes from them */
        alone.processes = NULL;
        assert_int_equal(fake_check_resumable(&fixture.fake, &alone, folder), step);
        free(folder);
    }
    finish(&fixture);
}

static void each_writes_its_own(void **state) {
    (void)state;
    check_own(false);
    check_own(true); /* the weights of a moving reference model, too */
}

/* Several go on from what one has written. */
static void from_one_to_many(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture);
    if (rank == 0) {
        fixture.fake.processes = NULL;
        fixture.run.processes = NULL;
        save_surely(&fixture, 10);
        fixture.fake.processes = fixture.run.processes = all;
    }
    wait_for_all();
    char *folder = checkpoint_of(&fixture, 10);
    assert_int_equal(fake_check_resumable(&fixture.fake, &fixture.run, folder), 10);
    free(folder);
    finish(&fixture);
}

static void only_the_model(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture);
    fixture.run.only_model = true;
    save_surely(&fixture, 10);
    char *folder = checkpoint_of(&fixture, 10);
    fake_check_model(&fixture.fake, folder, 10);
    assert_false(outputs_exists(folder, "vs2_state"));
    struct checkpoint_writer *writer = fake_writer(&fixture.run);
    fixture.fake.step = 30;
    assert_int_equal(checkpoint_save_final(writer, fake_files, 2, &err), STATUS_OK);
    checkpoint_writer_free(writer);
    fake_check_model(&fixture.fake, fixture.folder, 30);
    free(folder);
    finish(&fixture);
}

/* Whichever process fails, all hear of it, and the checkpoint before stays alone. */
static void one_fails(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture);
    save_surely(&fixture, 10);
    for (int threads = 0; threads < 2; threads++)
        for (int failing = 0; failing < size; failing++) {
            char named[64];
            fixture.run.snapshot_limit = threads ? SIZE_MAX : 0;
            fixture.fake.fails = rank == failing;
            assert_int_equal(fake_save_alone(&fixture.run, &fixture.fake, 20, &err), STATUS_FAILED);
            snprintf(named, sizeof named, "process %d on ", failing);
            if (size > 1) assert_non_null(strstr(err.message, named));
            assert_non_null(strstr(err.message, "the device is gone"));
            wait_for_all();
            assert_names(&fixture, "checkpoint-10 ");
            wait_for_all();
        }
    fixture.fake.fails = false;
    save_surely(&fixture, 20);
    assert_names(&fixture, "checkpoint-10 checkpoint-20 ");
    finish(&fixture);
}

/* Files of this process end at so many bytes, as on a disk that is full. */
static void limit_files(rlim_t bytes) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void one_disk_is_full(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture);
    save_surely(&fixture, 10);
    signal(SIGXFSZ, SIG_IGN);
    if (rank == size - 1) limit_files(1000);
    enum status status = fake_save_alone(&fixture.run, &fixture.fake, 20, &err);
    limit_files(RLIM_INFINITY);
    assert_int_equal(status, STATUS_FAILED);
    assert_non_null(strstr(err.message, strerror(EFBIG)));
    wait_for_all();
    assert_names(&fixture, "checkpoint-10 ");
    finish(&fixture);
}

/* A folder that a process does not see, as on a machine with disks of its own. */
static void one_sees_another_folder(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture);
    if (size > 1) {
        char *elsewhere = file_join(fixture.folder, "elsewhere", &err);
        if (rank == 1) fixture.run.output_dir = elsewhere;
        assert_int_equal(fake_save_alone(&fixture.run, &fixture.fake, 10, &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, "process 1 on "));
        assert_non_null(strstr(err.message, "checkpoint-10"));
        wait_for_all();
        assert_names(&fixture, "");
        free(elsewhere);
    }
    finish(&fixture);
}

/* What is begun and not waited for leaves nothing, or, of one process, the whole. */
static void left_before_the_end(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture);
    struct checkpoint_writer *writer = fake_writer(&fixture.run);
    assert_int_equal(fake_save(writer, &fixture.fake, 10, &err), STATUS_OK);
    bool complete = outputs_exists(fixture.folder, "checkpoint-10");
    checkpoint_writer_free(writer);
    wait_for_all();
    assert_names(&fixture, size == 1 || complete ? "checkpoint-10 " : "");
    finish(&fixture);
}

/* Steps go on while it is written, and one of the polls after them completes it. */
static void polls_complete_it(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture);
    struct checkpoint_writer *writer = fake_writer(&fixture.run);
    assert_int_equal(checkpoint_poll(writer, &err), STATUS_OK);
    assert_int_equal(fake_save(writer, &fixture.fake, 10, &err), STATUS_OK);
    for (bool found = false; !found; usleep(1000)) {
        assert_int_equal(checkpoint_poll(writer, &err), STATUS_OK);
        double seen = outputs_exists(fixture.folder, "checkpoint-10");
        assert_int_equal(communicator_sum_values(all, &seen, 1, &err), STATUS_OK);
        found = seen == size;
    }
    assert_names(&fixture, "checkpoint-10 ");
    checkpoint_writer_free(writer);
    finish(&fixture);
}

/* The first byte of a weight in the folder's only file becomes another one. */
static void change_weight(const char *folder) {
    struct safetensors stored;
    assert_int_equal(safetensors_open(folder, &stored, &err), STATUS_OK);
    size_t i = 0;
    while (!strstr(stored.tensors[i].name, ".weight.weight")) i++;
    const unsigned char *begin = stored.files[0].map.data;
    long at = (long)(stored.tensors[i].data - begin);
    FILE *file = fopen(stored.files[0].path, "r+b");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    fputc(begin[at] ^ 1, file);
    fclose(file);
    safetensors_close(&stored);
}

/* What is trained comes out as it was kept, and the rest as it is in the source, which is bf16. */
static void check_merged(const struct fixture *fixture, const char *folder, int64_t step) {
    const struct fake *fake = &fixture->fake;
    struct safetensors merged, given;
    assert_int_equal(safetensors_open(folder, &merged, &err), STATUS_OK);
    assert_int_equal(safetensors_open(fake_source, &given, &err), STATUS_OK);
    assert_int_equal(merged.count, fake->count);
    for (size_t i = 0; i < fake->count; i++) {
        char name[PARAMETER_NAME_SIZE];
        parameter_old_name(fake->parameters[i].name, name);
        const struct stored_tensor *tensor = safetensors_find(&merged, name);
        const struct stored_tensor *frozen = safetensors_find(&given, name);
        assert_non_null(tensor);
        assert_int_equal(tensor->type->dtype, DTYPE_F32);
        for (int64_t k = 0; k < (int64_t)(tensor->bytes / sizeof(float)); k++) {
            float value;
            uint16_t half;
            memcpy(&value, tensor->data + (size_t)k * sizeof value, sizeof value);
            if (fake->trained[i]) {
                assert_true(value == fake_value(step, i, CHECKPOINT_WEIGHT, k));
                continue;
            }
            memcpy(&half, frozen->data + 2 * k, sizeof half);
            assert_true(value == float_from_bf16(half));
        }
    }
    safetensors_close(&merged);
    safetensors_close(&given);
}

static void merged_in_f32(void **state) {
    (void)state;
    struct fixture fixture;
    prepare(&fixture);
    size_t trained, expected = 0;
    save_surely(&fixture, 10);
    char *folder = checkpoint_of(&fixture, 10), *merged = file_join(fixture.folder, "merged", &err);
    for (size_t i = 0; i < fixture.fake.count; i++) expected += fixture.fake.trained[i];
    if (rank == 0) {
        assert_int_equal(checkpoint_merge(folder, merged, &trained, &err), STATUS_OK);
        assert_int_equal(trained, expected);
        check_merged(&fixture, merged, 10);
        assert_int_equal(checkpoint_merge(folder, folder, &trained, &err), STATUS_USAGE);
        assert_int_equal(checkpoint_merge(merged, folder, &trained, &err), STATUS_USAGE);
        assert_int_equal(checkpoint_merge(merged, fixture.folder, &trained, &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, "state.json"));
        char *last = shards_of(&fixture, 10, size - 1);
        *strrchr(last, '/') = '\0';
        char *again = file_join(fixture.folder, "again", &err);
        change_weight(last);
        assert_int_equal(checkpoint_merge(folder, again, &trained, &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, "is damaged"));
        assert_false(outputs_exists(again, "model.safetensors"));
        free(again);
        free(last);
    }
    free(merged);
    free(folder);
    finish(&fixture);
}

static void cut_file(const char *path, long bytes) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    assert_int_equal(ftruncate(fileno(file), ftell(file) - bytes), 0);
    fclose(file);
}

/* The last element of a file becomes another one. */
static void change_file(const char *path) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, -1, SEEK_END);
    int last = fgetc(file);
    fseek(file, -1, SEEK_END);
    fputc(last ^ 1, file);
    fclose(file);
}

static enum status read_nothing(void *state, size_t index, enum checkpoint_part part, int64_t first,
                                int64_t count, const float *elements, struct error *e) {
    (void)state, (void)index, (void)part, (void)first, (void)count, (void)elements, (void)e;
    return STATUS_OK;
}

static struct shard own_shard(void *state, size_t index) {
    const struct fixture *fixture = state;
    const struct parameter *parameter = &fixture->fake.parameters[index];
    return communicator_shard(all, parameter->rows, parameter->cols, rank);
}

/* Damage is found by those that read the shard; a missing or cut one by all. */
static void damaged_shards(void **state) {
    (void)state;
    struct fixture fixture;
    struct checkpoint_resume resume;
    prepare(&fixture);
    save_surely(&fixture, 10);
    char *folder = checkpoint_of(&fixture, 10), *last = shards_of(&fixture, 10, size - 1);
    if (rank == 0) change_file(last);
    wait_for_all();
    assert_int_equal(checkpoint_resume_open(folder, &fixture.run, &resume, &err), STATUS_OK);
    const struct checkpoint_sink sink = {own_shard, read_nothing, &fixture};
    enum status status = checkpoint_resume_read(&resume, sink, &err);
    assert_int_equal(status, rank == size - 1 ? STATUS_FAILED : STATUS_OK);
    if (status != STATUS_OK) assert_non_null(strstr(err.message, "is damaged"));
    checkpoint_resume_close(&resume);
    wait_for_all();
    if (rank == 0) cut_file(last, 4);
    wait_for_all();
    assert_int_equal(checkpoint_resume_open(folder, &fixture.run, &resume, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "bytes, not the"));
    wait_for_all();
    if (rank == 0) unlink(last);
    wait_for_all();
    assert_int_equal(checkpoint_resume_open(folder, &fixture.run, &resume, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "No such file"));
    free(last);
    free(folder);
    finish(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_writes_its_own), cmocka_unit_test(from_one_to_many),
        cmocka_unit_test(only_the_model),      cmocka_unit_test(one_fails),
        cmocka_unit_test(one_disk_is_full),    cmocka_unit_test(one_sees_another_folder),
        cmocka_unit_test(left_before_the_end), cmocka_unit_test(polls_complete_it),
        cmocka_unit_test(damaged_shards),      cmocka_unit_test(merged_in_f32),
    };
    if (communicator_open(&all, &err) != STATUS_OK) return EXIT_FAILURE;
    rank = communicator_rank(all);
    size = communicator_size(all);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    communicator_close(all, failed ? STATUS_FAILED : STATUS_OK);
    return failed;
}
