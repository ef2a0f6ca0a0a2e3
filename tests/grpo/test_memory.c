/* Memory that ends: whatever rows, questions and rewards ask for, when it is refused they fail with a message
 * and leave nothing behind (the last is for the sanitizers to see). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "grpo/question.h"
#include "grpo/reward.h"

/* How many allocations succeed before all fail, or one does; negative: all succeed. JSON's are counted as
 * ours, but never fail alone: jansson goes on then with a string that lacks a byte. */
static int allowed = -1;
static bool for_a_moment, refused;

static bool refuse(void) {
    if (allowed < 0 || allowed-- > 0) return false;
    allowed = for_a_moment ? -1 : 0;
    refused = true;
    return true;
}

void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_calloc(size_t count, size_t size) {
    return refuse() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    return refuse() ? NULL : __real_realloc(memory, size);
}

static void *allocate_json(size_t size) {
    return !for_a_moment && refuse() ? NULL : malloc(size);
}

/* Lets one allocation more succeed each time until none is refused; before, the action must fail with a
 * message. */
static void survives(enum status (*action)(struct error *err), int least) {
    for (int count = 0;; count++) {
        struct error err = {0};
        allowed = count;
        refused = false;
        enum status status = action(&err);
        allowed = -1;
        if (!refused) {
            assert_int_equal(status, STATUS_OK);
            if (count < least) fail_msg("only %d allocations", count);
            return;
        }
        assert_int_equal(status, STATUS_FAILED);
        assert_int_not_equal(err.message[0], '\0');
        assert_true(count < 10000);
    }
}

/* ---- Rows and questions ------------------------------------------------------------------------------ */

static char path[] = "/tmp/vs2-test-memory-XXXXXX";
static struct grpo_rows *rows; /* of the file */
static struct grpo_row row;    /* the first of them */

static const char text[] =
    "{\"problem_id\": 5, \"problem\": \"Which?\", \"data_type\": \"video\", \"problem_type\": \"multiple "
    "choice\", \"options\": [\"A. x\", \"B. y\"], \"solution\": \"<answer>A</answer>\", \"path\": "
    "\"a.mp4\"}\n"
    "{\"problem\": \"How?\", \"data_type\": \"video\", \"problem_type\": \"video eval\", \"solution\": "
    "\"visual quality: 4; text-to-video alignment: 3; physical/common-sense consistency: 5\", \"path\": "
    "\"a.mp4\"}\n"
    "{\"problem\": \"Skip me\"}\n";

static int set_up(void **state) {
    (void)state;
    struct error err;
    int file = mkstemp(path);
    json_set_alloc_funcs(allocate_json, free);
    return file >= 0 && close(file) == 0 && file_write(path, text, strlen(text), &err) == STATUS_OK &&
                   grpo_rows_open(path, NULL, &rows, &err) == STATUS_OK &&
                   grpo_rows_read(rows, 0, &row, &err) == STATUS_OK
               ? 0
               : -1;
}

static int tear_down(void **state) {
    (void)state;
    grpo_row_free(&row);
    grpo_rows_close(rows);
    return unlink(path);
}

static enum status open_rows(struct error *err) {
    struct grpo_rows *opened;
    enum status status = grpo_rows_open(path, "/tmp", &opened, err);
    if (status != STATUS_OK) assert_null(opened);
    if (status == STATUS_OK) assert_int_equal(grpo_rows_count(opened), 2);
    if (status == STATUS_OK) assert_int_equal(grpo_rows_skip_count(opened), 1);
    grpo_rows_close(opened);
    return status;
}

static enum status read_row(struct error *err) {
    struct grpo_row read;
    if (grpo_rows_read(rows, 1, &read, err) != STATUS_OK) return STATUS_FAILED;
    assert_string_equal(read.id, "2");
    grpo_row_free(&read);
    return STATUS_OK;
}

static enum status find_media(struct error *err) {
    char *found = grpo_rows_media(rows, &row, err);
    if (!found) return STATUS_FAILED;
    assert_string_equal(found, "/tmp/a.mp4");
    free(found);
    return STATUS_OK;
}

static enum status ask(struct error *err) {
    char *template = question_template_read("Say: {problem}", err);
    char *question = template ? question_write(template, &row, err) : NULL;
    free(template);
    if (!question) return STATUS_FAILED;
    assert_string_equal(question, "Say: Which?Options:\nA. x\nB. y\n");
    free(question);
    return STATUS_OK;
}

/* Also where memory is short for a moment only: that is no fault of the row's that is read then. */
static void reading_survives(void **state) {
    (void)state;
    for (int moment = 0; moment < 2; moment++) {
        for_a_moment = moment;
        survives(open_rows, moment ? 10 : 30);
        survives(read_row, moment ? 1 : 5);
        survives(find_media, 1);
        survives(ask, 3);
    }
    for_a_moment = false;
}

/* ---- Rewards ----------------------------------------------------------------------------------------- */

static const int32_t tokens[] = {1, 2, 3, 1, 2, 3};

static const char answer[] = "<think>a</think>\n(1) visual quality: 4\n(2) text-to-video alignment: 3\n"
                             "(3) physical/common-sense consistency: 5";

/* By all rewards of the table and a program. */
static enum status reward_once(struct error *err) {
    enum { COMPLETIONS = 2, LIST = 10 };
    struct grpo_row asked;
    const struct reward_completion said[COMPLETIONS] = {
        {.text = answer, .length = sizeof answer - 1, .tokens = tokens, .count = 6}, {.text = ""}};
    const char *names[LIST] = {"cmd:printf '1\\n2\\n'"};
    double values[COMPLETIONS * LIST], totals[COMPLETIONS];
    struct rewards rewards = {0};
    struct text notes = {0};
    for (int i = 0; reward_names[i]; i++) names[i + 1] = reward_names[i];
    if (grpo_rows_read(rows, 1, &asked, err) != STATUS_OK) return STATUS_FAILED;
    const struct reward_group group = {&asked, said, COMPLETIONS, said, COMPLETIONS};
    enum status status = rewards_init(&rewards, names, LIST, NULL, 0, 10, err);
    if (status == STATUS_OK) status = rewards_compute(&rewards, &group, 1, values, totals, &notes, err);
    if (status == STATUS_OK) assert_true(values[0] == 1 && values[1] == 1 && values[LIST] == 2);
    text_free(&notes);
    rewards_free(&rewards);
    grpo_row_free(&asked);
    return status;
}

static void rewards_survive(void **state) {
    (void)state;
    survives(reward_once, 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_survives),
        cmocka_unit_test(rewards_survive),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
