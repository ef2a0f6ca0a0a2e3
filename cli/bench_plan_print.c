/* The plan of vs2-bench plan, for people and for programs. */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "cli/bench_plan.h"
#include "train/config_keys.h"

/* ---- Text -------------------------------------------------------------------------------------------- */

/* "1 prompt", "8 prompts". */
static void print_count(int64_t count, const char *what) {
    printf("%" PRId64 " %s%s", count, what, count == 1 ? "" : "s");
}

static const char *row_name(const struct scale_settings *s) {
    return s->stage == TRAIN_STAGE_GRPO ? "prompt" : "sample";
}

static void print_settings(const struct bench_plan *plan) {
    const struct scale_settings *s = plan->settings;
    printf("%s on %" PRId64 " x %s, ZeRO %d, data parallel; %s; exchanges %s\n", config_stage_names[s->stage],
           s->gpus, s->gpu->product, s->zero,
           s->recompute ? "activations computed again" : "activations kept",
           s->overlap ? "beside the passes" : "waited for");
    printf("a step on each GPU: %" PRId64 " pass%s of ", s->accumulation, s->accumulation == 1 ? "" : "es");
    print_count(s->rows, row_name(s));
    printf(" of %" PRId64 " video and %" PRId64 " text tokens, ", plan->features, s->text_tokens);
    if (s->stage == TRAIN_STAGE_GRPO) {
        print_count(s->generations, "completion");
        printf(" of %" PRId64 " tokens each\n", s->answer_tokens);
    } else {
        printf("and %" PRId64 " of the answer\n", s->answer_tokens);
    }
    printf("all figures are computed, with %s %.4g TFLOP/s of products (%.3g%% of the peak), %.4g GB/s of "
           "memory (%.3g%%), and assumed %.3g%% of links\n",
           plan->measured ? "measured" : "assumed", s->shares.flops * s->gpu->flops / 1e12,
           100 * s->shares.flops, s->shares.bandwidth * s->gpu->bandwidth / 1e9, 100 * s->shares.bandwidth,
           100 * s->shares.link);
    if (plan->measured) printf("measured on %s\n", plan->device.name);
    printf("\n");
}

static void print_parts(const struct bench_plan *plan) {
    const struct scale_step *step = &plan->step;
    printf("%-28s %10s %10s %11s %10s %10s %10s\n", "a GPU in a step", "TFLOP", "GB moved", "GB received",
           "work, s", "messages", "both, s");
    for (int i = 0; i < SCALE_PARTS; i++) {
        const struct scale_work *work = &step->work[i];
        if (step->seconds[i] == 0) continue;
        printf("%-28s %10.2f %10.1f %11.2f %10.3f %10.3f %10.3f\n", scale_part_names[i], work->flops / 1e12,
               (work->product_bytes + work->other_bytes) / 1e9, step->messages[i] / 1e9,
               step->work_seconds[i], step->message_seconds[i], step->seconds[i]);
    }
    printf("%-28s %65.3f\n", "step", step->step_seconds);
    printf("%.0f tokens/s trained on by all GPUs, %.1f%% of the peak (what is computed again does not count)",
           step->tokens_per_second, 100 * step->peak_share);
    if (step->drawn > 0) printf("; %.0f tokens/s drawn", step->drawn_per_second);
    printf("\n\n");
}

static void print_memory(const struct bench_plan *plan) {
    printf("%-28s", "memory of a GPU, GB");
    for (int z = 0; z < PLAN_ZERO_STAGES; z++) printf("    ZeRO %d", z);
    printf("\n");
    for (int i = 0; i < SCALE_MEMORIES; i++) {
        double most = 0;
        for (int z = 0; z < PLAN_ZERO_STAGES; z++)
            if (plan->stages[z].memory[i] > most) most = plan->stages[z].memory[i];
        if (most == 0) continue;
        printf("%-28s", scale_memory_names[i]);
        for (int z = 0; z < PLAN_ZERO_STAGES; z++) printf(" %9.2f", plan->stages[z].memory[i] / 1e9);
        printf("\n");
    }
    printf("%-28s", plan->step.memory[SCALE_CACHE] > 0 ? "all, with the larger of both" : "all");
    for (int z = 0; z < PLAN_ZERO_STAGES; z++) printf(" %9.2f", plan->stages[z].memory_bytes / 1e9);
    printf("\n%-28s", "fits");
    for (int z = 0; z < PLAN_ZERO_STAGES; z++) printf(" %9s", plan->stages[z].fits ? "yes" : "no");
    printf("\n%-28s", "step, seconds");
    for (int z = 0; z < PLAN_ZERO_STAGES; z++) printf(" %9.3f", plan->stages[z].step_seconds);
    printf("\n\n");
}

static void print_growth(const struct bench_plan *plan) {
    printf("%6s %9ss %12s %14s %10s %10s %6s\n", "GPUs", row_name(plan->settings), "step, s", "tokens/s",
           "of peak", "GB a GPU", "fits");
    for (int i = 0; i < PLAN_DOUBLINGS; i++) {
        const struct scale_step *step = &plan->growth[i];
        int64_t gpus = (int64_t)1 << i;
        printf("%6" PRId64 " %10" PRId64 " %12.3f %14.0f %9.1f%% %10.1f %6s\n", gpus,
               gpus * plan->settings->rows * plan->settings->accumulation, step->step_seconds,
               step->tokens_per_second, 100 * step->peak_share, step->memory_bytes / 1e9,
               step->fits ? "yes" : "no");
    }
}

void bench_plan_print_text(const struct bench_plan *plan) {
    print_settings(plan);
    print_parts(plan);
    print_memory(plan);
    print_growth(plan);
}

/* ---- JSON -------------------------------------------------------------------------------------------- */

/* NULL, as all json_* of jansson, when something in it is. */
static json_t *step_json(const struct scale_step *step, int64_t gpus) {
    json_t *parts = json_object(), *memory = json_object();
    for (int i = 0; i < SCALE_PARTS; i++)
        if (step->seconds[i] > 0)
            json_object_set_new(parts, scale_part_names[i],
                                json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "flops", step->work[i].flops,
                                          "bytes", step->work[i].product_bytes + step->work[i].other_bytes,
                                          "received_bytes", step->messages[i], "work_seconds",
                                          step->work_seconds[i], "message_seconds", step->message_seconds[i],
                                          "seconds", step->seconds[i]));
    for (int i = 0; i < SCALE_MEMORIES; i++)
        if (step->memory[i] > 0)
            json_object_set_new(memory, scale_memory_names[i], json_real(step->memory[i]));
    return json_pack("{s:I, s:o, s:f, s:I, s:I, s:f, s:f, s:f, s:o, s:f, s:b}", "gpus", (json_int_t)gpus,
                     "parts", parts, "step_seconds", step->step_seconds, "tokens", (json_int_t)step->tokens,
                     "drawn_tokens", (json_int_t)step->drawn, "tokens_per_second", step->tokens_per_second,
                     "drawn_per_second", step->drawn_per_second, "peak_share", step->peak_share, "memory",
                     memory, "memory_bytes", step->memory_bytes, "fits", step->fits);
}

static json_t *settings_json(const struct bench_plan *plan) {
    const struct scale_settings *s = plan->settings;
    return json_pack("{s:s, s:s, s:I, s:i, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "stage",
                     config_stage_names[s->stage], "gpu", s->gpu->product, "gpus", (json_int_t)s->gpus,
                     "zero", s->zero, "overlap", s->overlap, "rows", (json_int_t)s->rows, "accumulation",
                     (json_int_t)s->accumulation, "video_tokens", (json_int_t)plan->features, "text_tokens",
                     (json_int_t)s->text_tokens, "answer_tokens", (json_int_t)s->answer_tokens, "generations",
                     (json_int_t)s->generations, "recompute", s->recompute);
}

enum status bench_plan_print_json(const struct bench_plan *plan, struct error *err) {
    json_t *stages = json_array(), *growth = json_array();
    for (int i = 0; i < PLAN_ZERO_STAGES; i++)
        json_array_append_new(stages, step_json(&plan->stages[i], plan->settings->gpus));
    for (int i = 0; i < PLAN_DOUBLINGS; i++)
        json_array_append_new(growth, step_json(&plan->growth[i], (int64_t)1 << i));
    const struct scale_shares *shares = &plan->settings->shares;
    json_t *all = json_pack(
        "{s:b, s:b, s:s*, s:{s:f, s:f, s:f}, s:o, s:o, s:o, s:o}", "computed", 1, "measured", plan->measured,
        "device", plan->measured ? plan->device.name : NULL, "shares", "flops", shares->flops, "bandwidth",
        shares->bandwidth, "link", shares->link, "settings", settings_json(plan), "step",
        step_json(&plan->step, plan->settings->gpus), "zero_stages", stages, "growth", growth);
    struct text text = {0};
    json_append(&text, all, true);
    json_decref(all);
    enum status status = text_check(&text, "the plan", err);
    if (status == STATUS_OK) printf("%s\n", text.data);
    text_free(&text);
    return status;
}
