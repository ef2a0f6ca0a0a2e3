/* Learning rates and the lengths of runs, against transformers (tests/reference/schedules.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "base/json.h"
#include "train/config.h"
#include "train/schedule.h"

static json_t *golden;

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("the golden file has no number %s", key);
    return json_number_value(value);
}

static void rates_are_those_of_transformers(void **state) {
    (void)state;
    size_t i, j, compared = 0;
    json_t *run, *at;
    json_array_foreach(json_object_get(golden, "rates"), i, run) {
        const char *name = json_string_value(json_object_get(run, "lr_scheduler_type"));
        struct schedule schedule = {
            .kind = schedule_find(name),
            .learning_rate = number(run, "learning_rate"),
            .steps = (int64_t)number(run, "steps"),
            .warmup_steps = (int64_t)number(run, "warmup_steps"),
        };
        assert_non_null(schedule.kind);
        if (json_object_get(run, "min_lr")) schedule.min_learning_rate = number(run, "min_lr");
        if (json_object_get(run, "min_lr_rate"))
            schedule.min_learning_rate = number(run, "min_lr_rate") * schedule.learning_rate;
        json_array_foreach(json_object_get(run, "at"), j, at) {
            int64_t step = json_integer_value(at);
            double wanted = json_number_value(json_array_get(json_object_get(run, "rates"), j));
            double rate = schedule_rate(&schedule, step);
            if (fabs(rate - wanted) > 1e-14 * schedule.learning_rate)
                fail_msg("%s of %g, step %lld of %lld: %.17g, not %.17g", name, schedule.learning_rate,
                         (long long)step, (long long)schedule.steps, rate, wanted);
            compared++;
        }
    }
    assert_true(compared > 200);
}

static void runs_are_as_long_as_in_transformers(void **state) {
    (void)state;
    size_t i;
    json_t *run;
    json_array_foreach(json_object_get(golden, "runs"), i, run) {
        const struct train_config config = {
            .per_device_train_batch_size = (int64_t)number(run, "per_device_train_batch_size"),
            .gradient_accumulation_steps = (int64_t)number(run, "gradient_accumulation_steps"),
            .num_train_epochs = number(run, "num_train_epochs"),
            .max_steps = (int64_t)number(run, "max_steps"),
        };
        int64_t epoch_steps = train_epoch_steps(&config, (int64_t)number(run, "samples"));
        int64_t total = train_total_steps(&config, epoch_steps);
        assert_int_equal(total, number(run, "total"));
        assert_int_equal(
            schedule_warmup(total, (int64_t)number(run, "warmup_steps"), number(run, "warmup_ratio")),
            number(run, "warmup"));
        assert_int_equal(train_interval(number(run, "logging_steps"), total),
                         number(run, "logging_interval"));
    }
    assert_int_equal(i, 8);
}

static void names_are_known(void **state) {
    (void)state;
    for (int i = 0; schedule_names[i]; i++) assert_non_null(schedule_find(schedule_names[i]));
    assert_null(schedule_find("polynomial"));
    assert_null(schedule_find(""));
}

static int read_golden(void **state) {
    (void)state;
    struct error err;
    golden = json_read_file("tests/golden/schedules.json", 1 << 20, &err);
    if (!golden) print_error("%s\n", err.message);
    return golden ? 0 : -1;
}

static int free_golden(void **state) {
    (void)state;
    json_decref(golden);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_those_of_transformers),
        cmocka_unit_test(runs_are_as_long_as_in_transformers),
        cmocka_unit_test(names_are_known),
    };
    return cmocka_run_group_tests(tests, read_golden, free_golden);
}
