/* Which process this is, by the environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/launcher.h"

static const char *const variables[] = {
    "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK",   "PMI_SIZE",   "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS",         "RANK",       "WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
    "MPI_LOCALRANKID",      "SLURM_LOCALID",        "LOCAL_RANK",
};

static int clear(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    return 0;
}

static void expect_place(int64_t rank, int64_t size) {
    struct launcher_place place;
    struct error err;
    assert_int_equal(launcher_find(&place, &err), STATUS_OK);
    assert_int_equal(place.rank, rank);
    assert_int_equal(place.size, size);
}

static void alone_by_default(void **state) {
    (void)state;
    expect_place(0, 1);
    setenv("SLURM_PROCID", "0", 1); /* a batch script: four tasks are allotted, none is started */
    setenv("SLURM_NTASKS", "4", 1);
    expect_place(0, 1);
    setenv("RANK", "3", 1);
    expect_place(0, 1);
}

static void each_launcher_is_known(void **state) {
    (void)state;
    setenv("RANK", "3", 1);
    setenv("WORLD_SIZE", "4", 1);
    expect_place(3, 4);
    setenv("SLURM_PROCID", "1", 1);
    setenv("SLURM_STEP_NUM_TASKS", "2", 1);
    expect_place(1, 2);
    setenv("PMI_RANK", "0", 1);
    setenv("PMI_SIZE", "7", 1);
    expect_place(0, 7);
    setenv("OMPI_COMM_WORLD_RANK", "11", 1);
    setenv("OMPI_COMM_WORLD_SIZE", "12", 1);
    expect_place(11, 12);
}

static void expect_local_rank(int64_t rank) {
    struct launcher_place place;
    struct error err;
    assert_int_equal(launcher_find(&place, &err), STATUS_OK);
    assert_int_equal(place.local_rank, rank);
}

static void the_place_on_the_machine_is_found(void **state) {
    (void)state;
    static const char *const local[] = {"LOCAL_RANK", "SLURM_LOCALID", "MPI_LOCALRANKID",
                                        "OMPI_COMM_WORLD_LOCAL_RANK"};
    setenv("SLURM_LOCALID", "1", 1); /* a batch script has it too */
    expect_local_rank(0);
    unsetenv("SLURM_LOCALID");
    setenv("RANK", "9", 1);
    setenv("WORLD_SIZE", "16", 1);
    expect_local_rank(9);
    for (int i = 0; i < 4; i++) { /* each before those that were set earlier */
        setenv(local[i], (const char[]){(char)('1' + i), 0}, 1);
        expect_local_rank(1 + i);
    }
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", "-1", 1);
    struct launcher_place place;
    struct error err;
    assert_int_equal(launcher_find(&place, &err), STATUS_USAGE);
    assert_string_equal(err.message, "environment: OMPI_COMM_WORLD_LOCAL_RANK=-1 names no process");
}

static void nonsense_is_told(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"4", "4"}, {"-1", "4"}, {"", "4"},
                                         {"0", "0"}, {"0x", "4"}, {"0", "99999999999999999999"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct launcher_place place;
        struct error err;
        setenv("PMI_RANK", bad[i][0], 1);
        setenv("PMI_SIZE", bad[i][1], 1);
        assert_int_equal(launcher_find(&place, &err), STATUS_USAGE);
        assert_non_null(strstr(err.message, "PMI_SIZE="));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(alone_by_default, clear, clear),
        cmocka_unit_test_setup_teardown(each_launcher_is_known, clear, clear),
        cmocka_unit_test_setup_teardown(the_place_on_the_machine_is_found, clear, clear),
        cmocka_unit_test_setup_teardown(nonsense_is_told, clear, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
