/* The sums of a plan whose memory has two uses by turns, and what lowers them. */
#include "train/run_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A device of 10 GB, with 4 GB of weights, and so much beside them. */
static struct run_plan plan_of(double generates, double learns) {
    struct run_plan plan = {.device = {.own_memory = true, .free_memory = (size_t)10e9}};
    run_plan_bytes(&plan, "weights", 4e9);
    run_plan_phase(&plan, RUN_GENERATES);
    run_plan_bytes(&plan, "keys", generates);
    run_plan_phase(&plan, RUN_LEARNS);
    run_plan_bytes(&plan, "activations", learns);
    run_plan_phase(&plan, RUN_ALWAYS);
    return plan;
}

static void the_larger_counts(void **state) {
    (void)state;
    const struct run_plan learns = plan_of(1e9, 8e9), generates = plan_of(9e9, 1e9), fits = plan_of(6e9, 6e9);
    assert_true(run_plan_missing(&learns) == 2e9);
    assert_true(run_plan_missing(&generates) == 3e9);
    assert_true(run_plan_missing(&fits) == 0);
}

/* What run_plan_lower_number prints of a key whose values take so many GB in both phases. */
static enum status two_and_one(const void *context, int64_t value, struct phase_bytes *bytes,
                               struct error *err) {
    if (context) return error_set(err, "cannot be counted");
    *bytes =
        (struct phase_bytes){{[RUN_GENERATES] = 1e9 * (double)value, [RUN_LEARNS] = 2e9 * (double)value}};
    return STATUS_OK;
}

static void expect_advice(const struct run_plan *plan, int64_t now, struct phase_bytes less,
                          const char *number, const char *other) {
    char text[512] = "";
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    struct error err;
    assert_int_equal(run_plan_lower_number(plan, "count", 1, now, two_and_one, NULL, &err), STATUS_OK);
    run_plan_lower(plan, "other", "0", less);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    if (!strstr(text, number)) fail_msg("no '%s' in: %s", number, text);
    if (other ? !strstr(text, other) : strstr(text, "other") != NULL)
        fail_msg("not '%s' in: %s", other ? other : "other", text);
}

/* What is less where it is not the larger saves nothing; a sum cannot fall below the other phase's. */
static void advice_lowers_the_larger(void **state) {
    (void)state;
    const struct run_plan learns = plan_of(4e9, 8e9), generates = plan_of(8e9, 4e9);
    expect_advice(&learns, 4, (struct phase_bytes){{[RUN_GENERATES] = 3e9}},
                  "  count=3 saves 2.000 GB: then it fits\n", NULL);
    expect_advice(&learns, 4, (struct phase_bytes){{[RUN_LEARNS] = 7e9}},
                  "  count=3 saves 2.000 GB: then it fits\n", "  other=0 saves 4.000 GB: then it fits\n");
    expect_advice(&generates, 4, (struct phase_bytes){{[RUN_ALWAYS] = 1e9}},
                  "  count=2 saves 2.000 GB: then it fits\n", "  other=0 saves 1.000 GB: not enough alone\n");
    expect_advice(&generates, 2, (struct phase_bytes){{[RUN_ALWAYS] = 3e9, [RUN_GENERATES] = -4e9}},
                  "  count=1 saves 1.000 GB: not enough alone\n", NULL);
}

static void what_cannot_be_counted(void **state) {
    (void)state;
    const struct run_plan learns = plan_of(4e9, 8e9);
    struct error err;
    assert_int_equal(run_plan_lower_number(&learns, "count", 1, 4, two_and_one, &learns, &err),
                     STATUS_FAILED);
    assert_string_equal(err.message, "cannot be counted");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_larger_counts),
        cmocka_unit_test(advice_lowers_the_larger),
        cmocka_unit_test(what_cannot_be_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
