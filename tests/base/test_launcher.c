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
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "PMI_RANK",
    "PMI_SIZE",
    "MPI_LOCALRANKID",
    "PMIX_RANK",
    "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_NTASKS",
    "SLURM_LOCALID",
    "SLURM_STEP_NODELIST",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "VS2_MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_USE_AGENT_STORE",
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
    setenv("TORCHELASTIC_RUN_ID", "none", 1); /* mpirun started torchrun */
    expect_place(3, 4);
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
    setenv("TORCHELASTIC_RUN_ID", "none", 1); /* whatever mpirun said, which started it */
    expect_local_rank(1);
    unsetenv("TORCHELASTIC_RUN_ID");
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", "-1", 1);
    struct launcher_place place;
    struct error err;
    assert_int_equal(launcher_find(&place, &err), STATUS_USAGE);
    assert_string_equal(err.message, "environment: OMPI_COMM_WORLD_LOCAL_RANK=-1 names no process");
}

static void expect_mpi(bool mpi) {
    struct launcher_place place;
    struct error err;
    assert_int_equal(launcher_find(&place, &err), STATUS_OK);
    assert_int_equal(place.mpi, mpi);
}

static void mpi_joins_its_own(void **state) {
    (void)state;
    setenv("RANK", "3", 1);
    setenv("WORLD_SIZE", "4", 1);
    expect_mpi(false);
    setenv("SLURM_PROCID", "1", 1);
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    expect_mpi(false);
    setenv("PMIX_RANK", "1", 1);
    expect_mpi(true);
    unsetenv("PMIX_RANK");
    setenv("PMI_RANK", "1", 1);
    setenv("PMI_SIZE", "2", 1);
    expect_mpi(true);
    setenv("TORCHELASTIC_RUN_ID", "none", 1);
    expect_mpi(false);
}

/* The meeting place by the environment. */
static void expect_meeting(const char *host, int port) {
    struct launcher_meeting meeting;
    struct error err;
    if (launcher_find_meeting(&meeting, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_string_equal(meeting.host, host);
    assert_int_equal(meeting.port, port);
}

static void expect_no_meeting(const char *message) {
    struct launcher_meeting meeting;
    struct error err;
    assert_int_equal(launcher_find_meeting(&meeting, &err), STATUS_USAGE);
    if (!strstr(err.message, message)) fail_msg("%s", err.message);
}

static void torchrun_says_where_they_meet(void **state) {
    (void)state;
    expect_no_meeting("MASTER_ADDR");
    setenv("MASTER_ADDR", "gpu1.example", 1);
    expect_no_meeting("MASTER_PORT");
    setenv("MASTER_PORT", "29500", 1);
    expect_meeting("gpu1.example", 29500);
    setenv("TORCHELASTIC_USE_AGENT_STORE", "False", 1);
    expect_meeting("gpu1.example", 29500);
    setenv("TORCHELASTIC_USE_AGENT_STORE", "True", 1); /* torchrun listens there itself */
    expect_meeting("gpu1.example", 29501);
    setenv("VS2_MASTER_PORT", "4000", 1);
    expect_meeting("gpu1.example", 4000);
    static const char *const bad[] = {"0", "-1", "65536", "", "x", "80x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv("VS2_MASTER_PORT", bad[i], 1);
        expect_no_meeting("VS2_MASTER_PORT=");
    }
    unsetenv("VS2_MASTER_PORT");
    setenv("MASTER_PORT", "65535", 1); /* there is no next one */
    expect_no_meeting("MASTER_PORT=65535");
    setenv("MASTER_ADDR", "", 1);
    expect_no_meeting("MASTER_ADDR= names no machine");
}

static void slurm_says_where_they_meet(void **state) {
    (void)state;
    static const char *const lists[][2] = {{"cpu7", "cpu7"},           {"cpu7,cpu9", "cpu7"},
                                           {"gpu[03-05,9]", "gpu03"},  {"gpu[12]-ib,x", "gpu12-ib"},
                                           {"r[1-2]n[07,9]", "r1n07"}, {"gpu[1", "gpu1"}};
    setenv("SLURM_JOB_ID", "1234567", 1);
    setenv("SLURM_STEP_ID", "2", 1);
    setenv("SLURM_PROCID", "0", 1);
    setenv("SLURM_STEP_NUM_TASKS", "2", 1);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        setenv("SLURM_STEP_NODELIST", lists[i][0], 1);
        expect_meeting(lists[i][1], 20000 + 4569);
    }
    char endless[600];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    setenv("SLURM_STEP_NODELIST", endless, 1);
    expect_no_meeting("names no machine");
    setenv("SLURM_STEP_NODELIST", "", 1);
    expect_no_meeting("SLURM_STEP_NODELIST= names no machine");
    setenv("MASTER_ADDR", "10.0.0.1", 1);
    setenv("MASTER_PORT", "5000", 1);
    expect_meeting("10.0.0.1", 5000);
    unsetenv("MASTER_PORT");
    setenv("PMI_RANK", "0", 1); /* mpirun has a step on each machine */
    setenv("PMI_SIZE", "2", 1);
    expect_meeting("10.0.0.1", 20000 + 4567);
}

/* The name of the run of this environment. */
static const char *name_of_run(struct launcher_meeting *meeting) {
    struct error err;
    if (launcher_find_meeting(meeting, &err) != STATUS_OK) fail_msg("%s", err.message);
    return meeting->run;
}

/* Runs that meet at one place by mistake have other names. */
static void runs_have_names(void **state) {
    (void)state;
    struct launcher_meeting one, other;
    setenv("MASTER_ADDR", "a", 1);
    setenv("MASTER_PORT", "1", 1);
    setenv("SLURM_PROCID", "0", 1);
    setenv("SLURM_STEP_NUM_TASKS", "2", 1);
    setenv("SLURM_JOB_ID", "7", 1);
    setenv("SLURM_STEP_ID", "0", 1);
    name_of_run(&one);
    setenv("SLURM_STEP_ID", "1", 1);
    assert_string_not_equal(one.run, name_of_run(&other));
    setenv("SLURM_STEP_ID", "0", 1);
    setenv("SLURM_JOB_ID", "8", 1);
    assert_string_not_equal(one.run, name_of_run(&other));
    setenv("TORCHELASTIC_RUN_ID", "x", 1);
    setenv("RANK", "0", 1);
    setenv("WORLD_SIZE", "2", 1);
    name_of_run(&one);
    setenv("SLURM_STEP_ID", "1", 1); /* torchrun was started by a step on each machine, or by ssh */
    assert_string_equal(one.run, name_of_run(&other));
    unsetenv("SLURM_JOB_ID");
    assert_string_equal(one.run, name_of_run(&other));
    setenv("TORCHELASTIC_RUN_ID", "y", 1);
    assert_string_not_equal(one.run, name_of_run(&other));
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
        cmocka_unit_test_setup_teardown(nonsense_is_told, clear, clear),
        cmocka_unit_test_setup_teardown(the_place_on_the_machine_is_found, clear, clear),
        cmocka_unit_test_setup_teardown(mpi_joins_its_own, clear, clear),
        cmocka_unit_test_setup_teardown(torchrun_says_where_they_meet, clear, clear),
        cmocka_unit_test_setup_teardown(slurm_says_where_they_meet, clear, clear),
        cmocka_unit_test_setup_teardown(runs_have_names, clear, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
