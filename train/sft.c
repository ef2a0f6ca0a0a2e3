#include "train/sft.h"

#include <stdlib.h>

#include "base/memory.h"
#include "data/template.h"
#include "train/sft_run.h"

static enum status make_encoding(struct sft *sft, struct error *err) {
    const struct train_config *config = sft->run.config;
    const struct visual_policy *policy = visual_policy_find("llamafactory");
    sft->encoding = (struct sample_options){
        .tokenizer = sft->run.tokenizer,
        .visual = visual_options_default(policy),
        .cutoff = config->cutoff_len,
        .train_on_prompt = config->train_on_prompt,
        .mask_history = config->mask_history,
    };
    struct visual_options *visual = &sft->encoding.visual;
    visual->fps = config->video_fps;
    visual->max_frames = config->video_maxlen;
    visual->max_pixels = (double)config->video_max_pixels;
    visual->min_pixels = (double)config->video_min_pixels;
    visual->image_max_pixels = (double)config->image_max_pixels;
    visual->image_min_pixels = (double)config->image_min_pixels;
    visual->threads = 1; /* rows are read side by side */
    sft->run.visual = visual;
    return patch_config_read(sft->run.folder, true, &visual->processor, err);
}

static enum status open_data(void *context, struct error *err) {
    struct sft *sft = context;
    struct train_run *run = &sft->run;
    enum status status = make_encoding(sft, err);
    if (status == STATUS_OK)
        status = sft_data_open(&sft->data, run->config, &sft->encoding, &run->skipped, run_show_reading,
                               run->progress, err);
    if (status != STATUS_OK) return status;
    int64_t groups = sft->data.train.group_count, batch = run->config->per_device_train_batch_size;
    run_schedule(run, (groups + batch - 1) / batch, train_epoch_steps(run->config, groups));
    run->evaluates = sft->data.eval.group_count > 0;
    sft->order = memory_new((size_t)groups, sizeof *sft->order, "the order of an epoch", err);
    return sft->order ? STATUS_OK : STATUS_FAILED;
}

/* The query's template goes with the model, so that vs2-score asks what was trained. Not every data set has
 * one. */
static void recover_template(struct sft *sft) {
    struct template_found found;
    struct error none;
    if (template_recover(sft->data.dataset, &template_published_marks, &found, &none) != STATUS_OK) return;
    sft->run.template = found.text;
    if (found.fitting < found.rows)
        progress_message(sft->run.progress, "query_template.txt: %lld of %lld rows ask this way",
                         (long long)found.fitting, (long long)found.rows);
}

static enum status open_model(void *context, struct error *err) {
    struct sft *sft = context;
    recover_template(sft);
    return run_reserve(&sft->run, sft_largest_pass(sft), 0, err);
}

static void announce(const void *context) {
    const struct sft *sft = context;
    progress_message(sft->run.progress,
                     "%lld rows in %lld sequences, %lld steps; %lld of the parameters are trained",
                     (long long)sft->data.train.row_count, (long long)sft->data.train.group_count,
                     (long long)sft->run.total_steps, (long long)sft->run.optimizer.elements);
}

static json_t *fingerprint(const void *context) {
    const struct sft *sft = context;
    const struct train_config *config = sft->run.config;
    const struct sft_set *set = &sft->data.train;
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:f}", "dataset",
                     train_names_json(&config->datasets), "rows of the data set", (json_int_t)set->row_count,
                     "sequences of the data set", (json_int_t)set->group_count, "tokens of the data set",
                     (json_int_t)set->tokens, "cutoff_len", (json_int_t)config->cutoff_len, "mask_history",
                     config->mask_history, "train_on_prompt", config->train_on_prompt, "packing",
                     config->packing, "image_max_pixels", (json_int_t)config->image_max_pixels,
                     "image_min_pixels", (json_int_t)config->image_min_pixels, "video_max_pixels",
                     (json_int_t)config->video_max_pixels, "video_min_pixels",
                     (json_int_t)config->video_min_pixels, "video_maxlen", (json_int_t)config->video_maxlen,
                     "video_fps", config->video_fps);
}

static void close_stage(void *context) {
    struct sft *sft = context;
    stream_stop(sft->stream);
    free(sft->order);
    sft_data_close(&sft->data);
}

struct run_stage sft_stage(struct sft *sft) {
    return (struct run_stage){
        .context = sft,
        .sample_name = "sequences",
        .open_data = open_data,
        .open = open_model,
        .announce = announce,
        .fingerprint = fingerprint,
        .gradients = sft_gradients,
        .evaluate = sft_evaluate,
        .close = close_stage,
    };
}

enum status train_sft_run(const struct train_config *config, struct error *err) {
    struct sft sft = {0};
    const struct run_stage stage = sft_stage(&sft);
    return train_run(&sft.run, config, &stage, err);
}
