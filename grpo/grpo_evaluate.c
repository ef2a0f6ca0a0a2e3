/* Accuracy and rewards on the held-out problems. */
#include <stdlib.h>

#include "base/memory.h"
#include "grpo/grpo_run.h"
#include "train/communicator.h"

/* Rollouts of evaluations are keyed by this step, so that all evaluations of a run draw alike. */
static const uint64_t evaluation_step = UINT64_MAX;

/* Sums over completions, in the order of what is logged. */
struct sums {
    double completions, accuracy, reward, tokens, truncated;
    double *rewards; /* [rewards.count] */
};

static enum status add_group(const struct grpo *grpo, const struct grpo_group *group, struct sums *sums,
                             struct error *err) {
    const struct grpo_row *row = &group->prompt->row;
    enum status status = STATUS_OK;
    for (int64_t c = 0; status == STATUS_OK && c < group->count; c++) {
        const struct grpo_completion *completion = &group->completions[c];
        struct text text = {0};
        double accuracy = 0;
        tokenizer_decode(grpo->run.tokenizer, completion->tokens, (size_t)completion->count, true, &text);
        text_append_string(&text, "");
        status = text_check(&text, "a completion's text", err);
        const struct passage words = {text.data, text.length};
        if (status == STATUS_OK) status = row->kind->accuracy(&row->truth, words, &accuracy, err);
        text_free(&text);
        sums->completions++;
        sums->accuracy += accuracy;
        sums->reward += completion->reward;
        sums->tokens += (double)completion->count;
        sums->truncated += completion->truncated;
        for (int64_t r = 0; r < grpo->rewards.count; r++) sums->rewards[r] += completion->rewards[r];
    }
    return status;
}

/* Evaluates on problems [first, last) of this process's. */
static enum status evaluate_batch(struct grpo *grpo, struct rollout *rollout, const int64_t *rows,
                                  int64_t count, struct sums *sums, struct run_evaluation *evaluation,
                                  struct error *err) {
    struct grpo_group *groups = memory_new((size_t)count, sizeof *groups, "an evaluation", err);
    struct grpo_list list = {memory_new((size_t)count, sizeof(struct grpo_group *), "an evaluation", err),
                             count};
    enum status status = groups && list.groups ? STATUS_OK : STATUS_FAILED;
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        groups[i].row = rows[i];
        list.groups[i] = &groups[i];
    }
    if (status == STATUS_OK) status = grpo_fetch(grpo, &grpo->problems.eval, &list, err);
    if (status == STATUS_OK)
        status = grpo_draw(grpo, rollout, evaluation_step, grpo->run.config->grpo.num_generations_eval, &list,
                           err);
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        if (!groups[i].prompt) continue;
        evaluation->samples++;
        status = add_group(grpo, &groups[i], sums, err);
    }
    evaluation->batches++;
    for (int64_t i = 0; groups && i < count; i++) grpo_group_clear(&groups[i]);
    free(groups);
    grpo_list_free(&list);
    return status;
}

/* All problems of this process, per_device_eval_batch_size at a time. */
static enum status evaluate_own(struct grpo *grpo, struct sums *sums, struct run_evaluation *evaluation,
                                struct error *err) {
    const struct train_config *config = grpo->run.config;
    const struct problem_set *set = &grpo->problems.eval;
    const struct rollout_settings settings = grpo_rollout_settings(grpo, config->grpo.eval_temperature);
    struct rollout *rollout = rollout_new(&settings, err);
    int64_t *rows = memory_new((size_t)set->count, sizeof *rows, "an evaluation", err), count = 0;
    enum status status = rollout && rows ? STATUS_OK : STATUS_FAILED;
    int size = communicator_size(config->processes), rank = communicator_rank(config->processes);
    for (int64_t i = rank; status == STATUS_OK && i < set->count; i += size) rows[count++] = set->list[i];
    int64_t batch = config->per_device_eval_batch_size;
    for (int64_t i = 0; status == STATUS_OK && i < count; i += batch)
        status = evaluate_batch(grpo, rollout, rows + i, count - i < batch ? count - i : batch, sums,
                                evaluation, err);
    free(rows);
    rollout_free(rollout);
    return status;
}

/* Figures of the evaluation. */
static enum status fill_values(const struct grpo *grpo, const struct sums *sums,
                               struct run_evaluation *evaluation, struct error *err) {
    const struct log_value values[] = {
        {"eval_accuracy", sums->accuracy},
        {"eval_reward", sums->reward},
        {"eval_completion_length", sums->tokens},
        {"eval_clipped_ratio", sums->truncated},
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < sizeof values / sizeof *values; i++)
        status = run_evaluation_add(evaluation, values[i].name, values[i].value / sums->completions, err);
    for (int64_t r = 0; status == STATUS_OK && r < grpo->rewards.count; r++)
        status =
            run_evaluation_add(evaluation, grpo->eval_names[r], sums->rewards[r] / sums->completions, err);
    return status;
}

enum status grpo_evaluate(void *context, struct run_evaluation *evaluation, struct error *err) {
    struct grpo *grpo = context;
    struct sums sums = {.rewards =
                            memory_new((size_t)grpo->rewards.count, sizeof(double), "an evaluation", err)};
    enum status status = run_agree(&grpo->run, sums.rewards ? STATUS_OK : STATUS_FAILED, err);
    if (status != STATUS_OK || !sums.rewards) { /* all have agreed on it */
        free(sums.rewards);
        return status;
    }
    status = optimizer_gather_weights(&grpo->run.optimizer, pass_runner_arena(grpo->run.runner), err);
    if (status == STATUS_OK) status = run_agree(&grpo->run, evaluate_own(grpo, &sums, evaluation, err), err);
    optimizer_drop_weights(&grpo->run.optimizer);
    double *const all[] = {&sums.completions, &sums.accuracy, &sums.reward, &sums.tokens, &sums.truncated};
    struct communicator *processes = grpo->run.config->processes;
    for (size_t i = 0; status == STATUS_OK && i < sizeof all / sizeof *all; i++)
        status = communicator_sum_values(processes, all[i], 1, err);
    if (status == STATUS_OK)
        status = communicator_sum_values(processes, sums.rewards, (int)grpo->rewards.count, err);
    double counts[] = {(double)evaluation->samples, (double)evaluation->batches};
    if (status == STATUS_OK) status = communicator_sum_values(processes, counts, 2, err);
    evaluation->samples = (int64_t)counts[0];
    evaluation->batches = (int64_t)counts[1];
    if (status == STATUS_OK) status = fill_values(grpo, &sums, evaluation, err);
    free(sums.rewards);
    return status;
}
