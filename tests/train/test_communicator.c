/* What processes do together. Run alone here; test_processes.sh runs it by mpirun with several. */
#include "train/communicator.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/device.h"
#include "train/exchange.h"

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
    test_device_open(kind, &fixture->device);
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

/* The last one is as much for each of 2, 3 or 4 processes: devices exchange it as it is. */
static const int64_t lengths[] = {1, 3, 1000, (1 << 20) + 7, 3 << 18};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static int64_t all_lengths(void) {
    int64_t total = 0;
    for (size_t l = 0; l < LENGTHS; l++) total += lengths[l];
    return total;
}

/* The fixture's tensors of those lengths, the last one first, with slices in them or in `memory`. */
static void slice_up(const struct fixture *f, float *memory, struct sliced *list) {
    for (int64_t l = LENGTHS - 1, first = 0; l >= 0; first += lengths[l--]) {
        struct tensor whole = tensor_at((float *)f->x.data + first, DTYPE_F32, 1, lengths[l]);
        struct tensor apart = tensor_at(memory + first, DTYPE_F32, 1, lengths[l]);
        struct shard shard = communicator_shard(all, 1, lengths[l], rank);
        list[l] = (struct sliced){whole, shard_view(memory ? apart : whole, shard)};
    }
}

/* Shards follow each other, cover the whole, and the first is not smaller than another: rows where there are
 * some, else runs of columns. Some of few are empty. */
static void test_shards(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{1, 1},    {1, 15}, {1, 16}, {1, 17},
                                        {1, 5000}, {2, 3},  {7, 5},  {64, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int64_t rows = shapes[i][0], cols = shapes[i][1], next = 0;
        struct tensor whole = {NULL, DTYPE_F32, rows, cols, cols};
        for (int r = 0; r < size; r++) {
            struct shard shard = communicator_shard(all, rows, cols, r);
            assert_true(shard.first == next && shard.count >= 0);
            assert_true(shard.count <= communicator_shard(all, rows, cols, 0).count);
            struct tensor view = shard_view(whole, shard);
            assert_true(view.rows * view.cols == shard.count && view.stride == view.cols);
            next += shard.count;
        }
        assert_true(next == rows * cols);
    }
    struct shard none = shard_common((struct shard){0, 5}, (struct shard){5, 3});
    struct shard some = shard_common((struct shard){2, 5}, (struct shard){0, 4});
    assert_true(none.count == 0 && some.first == 2 && some.count == 2);
}

/* GPUs have an order of their own. */
static bool is_sum(float got, float expected) {
    return on_own_device() ? got == expected : fabsf(got - expected) <= 1e-6f * fabsf(expected);
}

/* The very bits of the sum in the order of the ranks, everywhere: of tensors that share a bucket, and of one
 * that takes several; with slices that lie in them, or in memory of their own, where they come again to be
 * added. */
static void test_slices(void **state) {
    (void)state;
    for (int own_memory = 0; size > 1 && own_memory < 2; own_memory++) {
        struct fixture f;
        struct sliced list[LENGTHS];
        const int64_t total = all_lengths();
        prepare(&f, "guard", total);
        void *memory = device_allocate(&f.device, (size_t)total * sizeof(float), "test", &err);
        slice_up(&f, own_memory ? memory : NULL, list);
        for (int times = 0; times <= own_memory; times++)
            assert_int_equal(communicator_reduce(all, &f.device, list, LENGTHS, times == 1, &err), STATUS_OK);
        assert_int_equal(communicator_gather(all, &f.device, list, LENGTHS, &err), STATUS_OK);
        const char *joined = getenv("VS2_TEST_JOINED"); /* "yes", or "no" */
        if (joined) assert_int_equal(f.device.collective != NULL, joined[0] == 'y');
        read_back(&f);
        for (int64_t i = 0; i < total; i++)
            if (!is_sum(f.host[i], sum_in_order(i) * (float)(1 + own_memory)))
                fail_msg("element %lld", (long long)i);
        device_release(&f.device, memory);
        finish(&f);
    }
}

/* The same beside other work: moved sums leave zeros behind, and add to what is there. */
static void test_exchanges(void **state) {
    (void)state;
    if (size == 1) return;
    struct fixture f;
    struct sliced list[LENGTHS];
    const int64_t total = all_lengths();
    prepare(&f, "guard", total);
    void *memory = device_allocate(&f.device, (size_t)total * sizeof(float), "test", &err);
    slice_up(&f, memory, list);
    struct exchange *exchange = exchange_new(all, &f.device, &err);
    assert_non_null(exchange);
    for (int moves = 0; moves < 2; moves++) {
        const enum exchange_kind kind = moves ? EXCHANGE_MOVE : EXCHANGE_SUM;
        assert_int_equal(exchange_begin(exchange, kind, list, LENGTHS, &err), STATUS_OK);
        assert_int_equal(exchange_end(exchange, &err), STATUS_OK);
    }
    read_back(&f);
    for (int64_t i = 0; i < total; i++) assert_true(f.host[i] == 0);
    assert_int_equal(exchange_begin(exchange, EXCHANGE_GATHER, list, LENGTHS, &err), STATUS_OK);
    assert_int_equal(exchange_end(exchange, &err), STATUS_OK);
    read_back(&f);
    for (int64_t i = 0; i < total; i++)
        if (!is_sum(f.host[i], 2 * sum_in_order(i))) fail_msg("element %lld", (long long)i);
    exchange_free(exchange);
    device_release(&f.device, memory);
    finish(&f);
}

/* bf16 and f32 side by side: elements go as they are. */
static void check_gather_types(int64_t count) {
    struct fixture f;
    uint16_t *halves = malloc((size_t)count * sizeof *halves);
    prepare(&f, "cpu", count + 8);
    void *memory = device_allocate(&f.device, (size_t)count * sizeof *halves, "test", &err);
    assert_true(halves && memory);
    struct tensor bf16 = tensor_at(memory, DTYPE_BF16, 1, count);
    for (int64_t i = 0; i < count; i++) halves[i] = (uint16_t)(i + 1000 * rank);
    device_write(&f.device, bf16, halves);
    const struct sliced list[] = {
        {bf16, shard_view(bf16, communicator_shard(all, 1, count, rank))},
        {f.x, shard_view(f.x, communicator_shard(all, 1, count + 8, rank))},
    };
    if (size > 1) assert_int_equal(communicator_gather(all, &f.device, list, 2, &err), STATUS_OK);
    assert_int_equal(device_read(&f.device, halves, bf16, &err), STATUS_OK);
    read_back(&f);
    for (int r = 0; r < size; r++) {
        struct shard few = communicator_shard(all, 1, count, r),
                     more = communicator_shard(all, 1, count + 8, r);
        for (int64_t i = few.first; i < few.first + few.count; i++)
            assert_int_equal(halves[i], (uint16_t)(i + 1000 * r));
        for (int64_t i = more.first; i < more.first + more.count; i++) assert_true(f.host[i] == value(r, i));
    }
    free(halves);
    device_release(&f.device, memory);
    finish(&f);
}

static void test_gather_types(void **state) {
    (void)state;
    check_gather_types(999);
    check_gather_types(3 << 18);
}

/* Process 0 gets any run of elements out of everybody's slices. */
static void test_collect(void **state) {
    (void)state;
    const int64_t rows = 700, cols = 1501, elements = rows * cols;
    static const struct shard wanted[] = {
        {0, 700 * 1501}, {1000, 3}, {350 * 1501 - 2, 10}, {5, 600000}, {9, 0}};
    struct fixture f;
    prepare(&f, "guard", elements);
    struct tensor own =
        shard_view(tensor_reshape(f.x, rows, cols), communicator_shard(all, rows, cols, rank));
    float *got = malloc((size_t)elements * sizeof *got);
    assert_non_null(got);
    for (size_t w = 0; size > 1 && w < sizeof wanted / sizeof *wanted; w++) {
        float *to = rank == 0 ? got : NULL;
        assert_int_equal(communicator_collect(all, &f.device, rows, cols, own, wanted[w], to, &err),
                         STATUS_OK);
        for (int r = 0; rank == 0 && r < size; r++) {
            struct shard part = shard_common(communicator_shard(all, rows, cols, r), wanted[w]);
            for (int64_t i = part.first; i < part.first + part.count; i++)
                if (got[i - wanted[w].first] != value(r, i)) fail_msg("element %lld", (long long)i);
        }
    }
    free(got);
    finish(&f);
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
        cmocka_unit_test(test_shards),    cmocka_unit_test(test_slices),
        cmocka_unit_test(test_exchanges), cmocka_unit_test(test_gather_types),
        cmocka_unit_test(test_collect),   cmocka_unit_test(test_sum_values),
        cmocka_unit_test(test_agree),     cmocka_unit_test(test_compare),
        cmocka_unit_test(test_share),
    };
    return cmocka_run_group_tests(tests, meet, part);
}
