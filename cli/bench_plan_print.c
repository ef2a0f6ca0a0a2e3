/* The plan of vs2-bench plan, for people and for programs. */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "cli/bench_plan.h"
#include "train/config_keys.h"

/* ---- Text -------------------------------------------------------------------------------------------- */

static void print_settings(const struct bench_plan *plan) {
    const struct scale_settings *s = plan->settings;
    bool grpo = s->stage == TRAIN_STAGE_GRPO;
    printf("%s on %" PRId64 " x %s, ZeRO %d, data parallel; %s\n", config_stage_names[s->stage], s->gpus,
           s->gpu->product, s->zero, s->recompute ? "activations computed again" : "activations kept");
    printf("a step on each GPU: %" PRId64 " passes of %" PRId64 " %s of %" PRId64 " video and %" PRId64
           " text tokens, ",
           s->accumulation, s->rows, grpo ? "prompts" : "samples", plan->features, s->text_tokens);
    if (grpo)
        printf("%" PRId64 " completions of %" PRId64 " tokens each\n", s->generations, s->answer_tokens);
    if (!grpo) printf("and %" PRId64 " of the answer\n", s->answer_tokens);
    printf("all figures are computed, with %s %.4g TFLOP/s of products (%.3g%% of the peak), %.4g GB/s of "
           "memory "
           "(%.3g%%), and assumed %.3g%% of links\n\n",
           plan->measured ? "measured" : "assumed", s->shares.flops * s->gpu->flops / 1e12,
           100 * s->shares.flops, s->shares.bandwidth * s->gpu->bandwidth / 1e9, 100 * s->shares.bandwidth,
           100 * s->shares.link);
}

static void print_parts(const struct scale_step *step) {
    printf("%-28s %10s %10s %10s %10s\n", "a GPU in a step", "TFLOP", "GB moved", "GB received", "seconds");
    for (int i = 0; i < SCALE_PARTS; i++) {
        const struct scale_work *work = &step->work[i];
        if (step->seconds[i] == 0) continue;
        printf("%-28s %10.2f %10.1f %11.2f %10.3f\n", scale_part_names[i], work->flops / 1e12,
               (work->product_bytes + work->other_bytes) / 1e9, step->messages[i] / 1e9, step->seconds[i]);
    }
    printf("%-28s %43.3f\n", "step", step->step_seconds);
    printf("%.0f tokens/s on all GPUs, %.1f%% of the peak (what is computed again does not count)\n\n",
           step->tokens_per_second, 100 * step->peak_share);
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
    printf("%-28s", "all");
    for (int z = 0; z < PLAN_ZERO_STAGES; z++) printf(" %9.2f", plan->stages[z].memory_bytes / 1e9);
    printf("\n%-28s", "fits");
    for (int z = 0; z < PLAN_ZERO_STAGES; z++) printf(" %9s", plan->stages[z].fits ? "yes" : "no");
    printf("\n%-28s", "step, seconds");
    for (int z = 0; z < PLAN_ZERO_STAGES; z++) printf(" %9.3f", plan->stages[z].step_seconds);
    printf("\n\n");
}

static void print_growth(const struct bench_plan *plan) {
    printf("%6s %10s %12s %14s %10s %10s %6s\n", "GPUs", "rows", "step, s", "tokens/s", "of peak", "GB a GPU",
           "fits");
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
    print_parts(&plan->step);
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
                                json_pack("{s:f, s:f, s:f, s:f}", "flops", step->work[i].flops, "bytes",
                                          step->work[i].product_bytes + step->work[i].other_bytes,
                                          "received_bytes", step->messages[i], "seconds", step->seconds[i]));
    for (int i = 0; i < SCALE_MEMORIES; i++)
        if (step->memory[i] > 0)
            json_object_set_new(memory, scale_memory_names[i], json_real(step->memory[i]));
    return json_pack("{s:I, s:o, s:f, s:I, s:I, s:f, s:f, s:o, s:f, s:b}", "gpus", (json_int_t)gpus, "parts",
                     parts, "step_seconds", step->step_seconds, "tokens", (json_int_t)step->tokens,
                     "drawn_tokens", (json_int_t)step->drawn, "tokens_per_second", step->tokens_per_second,
                     "peak_share", step->peak_share, "memory", memory, "memory_bytes", step->memory_bytes,
                     "fits", step->fits);
}

static json_t *settings_json(const struct bench_plan *plan) {
    const struct scale_settings *s = plan->settings;
    return json_pack("{s:s, s:s, s:I, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "stage",
                     config_stage_names[s->stage], "gpu", s->gpu->product, "gpus", (json_int_t)s->gpus,
                     "zero", s->zero, "rows", (json_int_t)s->rows, "accumulation",
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
    json_t *all =
        json_pack("{s:b, s:b, s:{s:f, s:f, s:f}, s:o, s:o, s:o, s:o}", "computed", 1, "measured",
                  plan->measured, "shares", "flops", shares->flops, "bandwidth", shares->bandwidth, "link",
                  shares->link, "settings", settings_json(plan), "step",
                  step_json(&plan->step, plan->settings->gpus), "zero_stages", stages, "growth", growth);
    struct text text = {0};
    json_append(&text, all, true);
    json_decref(all);
    enum status status = text_check(&text, "the plan", err);
    if (status == STATUS_OK) printf("%s\n", text.data);
    text_free(&text);
    return status;
}
