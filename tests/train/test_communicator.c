/* What processes do together. Run alone here; test_processes.sh runs it by mpirun with several. */
#include "train/communicator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct error err;
static struct communicator *all;
static int rank, size;

static int meet(void **state) {
    (void)state;
    if (communicator_open(&all, &err) != STATUS_OK) return -1;
    rank = communicator_rank(all);
    size = communicator_size(all);
    const char *wanted = getenv("VS2_TEST_PROCESSES");
    return size == (wanted ? atoi(wanted) : 1) ? 0 : -1;
}

static int part(void **state) {
    (void)state;
    communicator_close(all, STATUS_OK);
    communicator_close(NULL, STATUS_OK);
    return 0;
}

/* What process r has at place i: sums of these depend on their order in the last bits. */
static float value(int r, int64_t i) {
    return (float)((r + 1) * 1000003 % 97) + (float)(i % 1009) * 1e-3f + (float)r * 1e-6f;
}

static float sum_in_order(int64_t i) {
    float sum = value(0, i);
    for (int r = 1; r < size; r++) sum += value(r, i);
    return sum;
}

/* A tensor on the device with this process's values. */
struct fixture {
    struct device device;
    struct tensor x;
    float *host;
    int64_t elements;
};

static void prepare(struct fixture *fixture, const char *kind, int64_t elements) {
    *fixture = (struct fixture){.elements = elements};
    assert_int_equal(device_open(kind, &fixture->device, &err), STATUS_OK);
    void *memory = device_allocate(&fixture->device, (size_t)elements * sizeof(float), "test", &err);
    assert_non_null(memory);
    fixture->x = tensor_at(memory, DTYPE_F32, 1, elements);
    fixture->host = malloc((size_t)elements * sizeof(float));
    assert_non_null(fixture->host);
    for (int64_t i = 0; i < elements; i++) fixture->host[i] = value(rank, i);
    device_write(&fixture->device, fixture->x, fixture->host);
}

static void finish(struct fixture *fixture) {
    free(fixture->host);
    device_release(&fixture->device, fixture->x.data);
    device_close(&fixture->device);
}

static void read_back(struct fixture *fixture) {
    assert_int_equal(device_read(&fixture->device, fixture->host, fixture->x, &err), STATUS_OK);
}

static const int64_t lengths[] = {1, 3, 1000, (1 << 20) + 7};

/* The very bits of the sum in the order of the ranks, everywhere; tensors of several blocks too. */
static void test_sum(void **state) {
    (void)state;
    static const char *const kinds[] = {"cpu", "guard"};
    for (size_t k = 0; k < 2; k++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            struct fixture fixture;
            prepare(&fixture, kinds[k], lengths[l]);
            assert_int_equal(communicator_sum(all, &fixture.device, fixture.x, &err), STATUS_OK);
            read_back(&fixture);
            for (int64_t i = 0; i < lengths[l]; i++)
                if (fixture.host[i] != sum_in_order(i)) fail_msg("element %lld", (long long)i);
            finish(&fixture);
        }
}

static void test_sum_values(void **state) {
    (void)state;
    double values[2] = {rank + 1, 0.5}, expected = 0;
    for (int r = 0; r < size; r++) expected += r + 1;
    assert_int_equal(communicator_sum_values(all, values, 2, &err), STATUS_OK);
    assert_true(values[0] == expected);
    assert_true(values[1] == 0.5 * size);
}

static void test_share(void **state) {
    (void)state;
    char text[32] = "";
    for (int i = 0; i < rank; i++) strcat(text, "abc");
    char **texts = communicator_share(all, text, &err);
    assert_non_null(texts);
    for (int r = 0; r < size; r++) {
        assert_int_equal(strlen(texts[r]), 3 * r);
        free(texts[r]);
    }
    free(texts);
}

static void test_agree(void **state) {
    (void)state;
    assert_int_equal(communicator_agree(all, STATUS_OK, &err), STATUS_OK);
    enum status status = rank == size - 1 ? error_set(&err, "the disk is full") : STATUS_OK;
    assert_int_equal(communicator_agree(all, status, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "the disk is full"));
    char place[32];
    snprintf(place, sizeof place, "process %d on ", size - 1);
    if (size > 1) assert_memory_equal(err.message, place, strlen(place));
    assert_true(communicator_tells(all) == (rank == 0));
}

static void test_compare(void **state) {
    (void)state;
    json_t *same = json_pack("{s:i, s:s}", "seed", 1, "name", "x");
    assert_int_equal(communicator_compare(all, "the settings", same, &err), STATUS_OK);
    json_object_set_new(same, "seed", json_integer(1 + (rank == size - 1)));
    enum status status = communicator_compare(all, "the settings", same, &err);
    assert_int_equal(status, size > 1 ? STATUS_USAGE : STATUS_OK);
    if (size > 1 && !strstr(err.message, "the settings differ: 'seed' is 2 here and 1 in process 0"))
        fail_msg("%s", err.message);
    json_object_set_new(same, "seed", json_integer(1));
    if (rank == size - 1) json_object_set_new(same, "more", json_true());
    status = communicator_compare(all, "the settings", same, &err);
    assert_int_equal(status, size > 1 ? STATUS_USAGE : STATUS_OK);
    if (size > 1) assert_non_null(strstr(err.message, "'more' is true here and nothing in process 0"));
    json_decref(same);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),     cmocka_unit_test(test_sum_values), cmocka_unit_test(test_agree),
        cmocka_unit_test(test_compare), cmocka_unit_test(test_share),
    };
    return cmocka_run_group_tests(tests, meet, part);
}
