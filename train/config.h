/* The configuration of a training run: a YAML file with the names of LLaMA-Factory and of Hugging Face's
 * TrainingArguments, and "key=value" words that override it.
 *
 *     struct train_config config;
 *     if (train_config_read("configs/sft.yaml", words, count, &config, err) == STATUS_OK) ...
 *     fputs(config.notes, stderr);
 *     train_config_free(&config);
 *
 * What a key is called, allowed to be and means stands in one table (train/config_keys.h); members here have
 * the name of their key unless the comment says otherwise. What the file leaves out has the default of
 * LLaMA-Factory or Hugging Face (stage grpo: of Video-R1 or TRL), also where a key is null.
 */
#ifndef VS2_TRAIN_CONFIG_H
#define VS2_TRAIN_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/tensor.h"

enum train_stage { TRAIN_STAGE_SFT, TRAIN_STAGE_GRPO };

/* When something is done again: logging, saving, evaluating. */
enum train_strategy { TRAIN_NEVER, TRAIN_EVERY_STEPS, TRAIN_EVERY_EPOCH };

enum train_resume {
    TRAIN_RESUME_NEVER,  /* begin afresh; checkpoints of before in output_dir are in the way or overwritten */
    TRAIN_RESUME_ANY,    /* from the newest complete checkpoint in output_dir; when there is none, afresh */
    TRAIN_RESUME_NEWEST, /* the same, but none is an error */
    TRAIN_RESUME_FOLDER, /* from resume_folder */
};

struct train_names {
    char **names;
    int64_t count;
};

struct train_numbers {
    double *numbers;
    int64_t count;
};

/* Where a token of a video stands in time, for the positions of its pads. */
enum train_grid_time {
    TRAIN_GRID_SECONDS, /* real seconds of the frames, in rollouts and training alike */
    TRAIN_GRID_UNIT,    /* a second a temporal patch, in the training pass: what Video-R1 computes there */
};

/* What stage grpo has of its own. Numbers that were not given and have no default are NaN. */
struct train_grpo {
    /* Prompts. train_config.datasets and eval_datasets are the path of a JSON file each here; media_dir NULL
     * means the folder of the file itself. */
    char *question_template; /* the user's turn, with {problem} in it; @FILE reads it. NULL: the published one
                              */
    int64_t max_prompt_length; /* of longer prompts the right end is kept; INT64_MAX: all of it */
    const char *frame_policy;  /* a name that visual_policy_find knows */
    double video_fps, video_max_pixels, video_min_pixels, video_total_pixels, image_max_pixels,
        image_min_pixels;                   /* NaN: the policy's own */
    int64_t video_maxlen, video_min_frames; /* 0: the policy's own */
    int64_t max_pixels, min_pixels;         /* of the processor's resize; 0: the checkpoint's own */
    int second_per_grid;                    /* enum train_grid_time */

    /* Rollouts. */
    int64_t num_generations, max_completion_length;
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k;                   /* 0: all tokens */
    int64_t num_iterations;          /* times that the rollouts are trained on */
    int64_t steps_per_generation;    /* micro-batches whose rollouts are made with the same weights */
    bool dynamic_sampling;           /* groups of equal rewards are replaced */
    int64_t dynamic_sampling_rounds; /* times that prompts are drawn in their place, at most */
    int64_t rollout_batch_size;      /* sequences that grow at once; 0: decided here */
    int64_t rollout_cache_memory;    /* bytes of their keys and values */
    char *rollouts;                  /* file of recorded rollouts to train from, or NULL */
    bool log_completions;            /* write completions/step_N.jsonl */

    /* Rewards. */
    struct train_names reward_funcs;
    double *reward_weights; /* [reward_funcs.count] */
    double reward_timeout;  /* seconds that a reward's program may take */

    /* Loss. */
    const char *loss_type;                 /* grpo, bnpo, dr_grpo, dapo, cispo or gspo */
    const char *scale_rewards;             /* group, batch or none */
    const char *importance_sampling_level; /* token or sequence */
    double beta, epsilon, epsilon_high;
    double delta;                   /* NaN: no upper bound */
    double importance_sampling_cap; /* of training to rollout probabilities; NaN: no correction */
    bool mask_truncated_completions;
    double entropy_coef;
    bool sync_ref_model;
    double ref_model_mixup_alpha;
    int64_t ref_model_sync_steps;
    int64_t pass_tokens; /* groups share a pass up to this many tokens */

    /* Evaluation, and when to give up. */
    int64_t num_generations_eval;
    double eval_temperature;
    int64_t max_zero_std_steps; /* in a row, in which no group tells its completions apart; 0: any number */
    double max_kl;              /* mean a step; NaN: any */
};

struct communicator; /* train/communicator.h */

struct train_config {
    struct communicator *processes; /* that the run is shared by; NULL: one. Set by the program */
    int stage;                      /* enum train_stage */
    char *notes; /* whole lines for the user at the start; "" when there is nothing to say */

    /* Model. */
    char *model;           /* model_name_or_path: a folder or the name of a hub repository (model/hub.h) */
    char *device;          /* a name that device_open understands */
    bool bf16;             /* compute in bf16; else in f32. Master weights and moments are f32 in any case */
    enum dtype save_dtype; /* of saved weights: DTYPE_BF16 or DTYPE_F32; by default what is computed in */
    bool freeze_vision_tower;          /* visual.patch_embed and visual.blocks */
    bool freeze_multi_modal_projector; /* visual.merger */
    bool freeze_language_model;        /* all the rest; checks see to it that something is left to train */
    int64_t zero_stage;                /* 0 to 3 (train/optimizer.h); has no effect in one process */
    bool overlap_exchanges;            /* exchanges go on beside the passes (train/exchange.h) ... */
    bool overlap_unsaid;     /* ... or, when nothing says so, where devices exchange by themselves */
    double process_patience; /* seconds that processes wait for one that is busy */
    bool offload_optimizer;  /* master weights and moments are in the host's memory (train/offload.h) */

    /* Data. */
    struct train_names datasets;      /* dataset, dataset_name: at least one */
    struct train_names eval_datasets; /* eval_dataset: none, or sets to evaluate on */
    char *dataset_dir;                /* holds dataset_info.json */
    char *media_dir;                  /* what relative paths of videos start from; dataset_dir by default */
    int64_t cutoff_len;
    int64_t max_samples;  /* of each set; INT64_MAX: all */
    double val_size;      /* below 1 a share of the samples, else how many; 0: none */
    bool mask_history;    /* labels on the last answer only */
    bool train_on_prompt; /* labels on everything */
    bool packing;      /* several samples a sequence of up to cutoff_len tokens; neat_packing says so, too */
    bool neat_packing; /* with packing: the samples of a sequence do not see each other */
    bool disable_shuffling;
    double max_skipped_ratio; /* more samples than this share unreadable: an error */
    int64_t preprocessing_num_workers, dataloader_num_workers; /* threads; 0: decided here */
    int64_t image_max_pixels, image_min_pixels;
    int64_t video_max_pixels, video_min_pixels, video_maxlen;
    double video_fps;

    /* Memory. */
    bool gradient_checkpointing; /* recompute activations in the backward pass */
    int64_t activation_memory;   /* bytes of activations that may be kept all the same; -1: not given */
    int64_t vision_cache_memory; /* bytes for features of the frozen vision tower; 0: none */
    char *vision_cache_dir;      /* folder for those that do not fit, or NULL */

    /* Optimization. */
    int64_t per_device_train_batch_size, per_device_eval_batch_size, gradient_accumulation_steps;
    double learning_rate, min_lr;  /* min_lr: where cosine_with_min_lr ends */
    const char *lr_scheduler_type; /* a name that schedule_find knows */
    double warmup_ratio;
    int64_t warmup_steps; /* wins over warmup_ratio when above 0 */
    double num_train_epochs;
    int64_t max_steps; /* wins over num_train_epochs when above 0; else -1 */
    double weight_decay, adam_beta1, adam_beta2, adam_epsilon;
    double max_grad_norm;    /* 0: gradients are not clipped */
    int64_t seed, data_seed; /* data_seed: of the order of the samples; seed by default */

    /* Output. Intervals in steps: below 1 a share of all steps, see train_interval. */
    char *output_dir;
    int resume;          /* enum train_resume, from resume_from_checkpoint and overwrite_output_dir */
    char *resume_folder; /* of TRAIN_RESUME_FOLDER, else NULL */
    bool overwrite_output_dir;
    int logging_strategy; /* enum train_strategy */
    double logging_steps;
    bool logging_first_step;
    int save_strategy; /* enum train_strategy */
    double save_steps;
    int64_t save_total_limit; /* checkpoints that stay; 0: all */
    bool save_only_model;
    int eval_strategy; /* enum train_strategy; TRAIN_NEVER when there is nothing to evaluate on */
    double eval_steps;
    bool eval_on_start;                             /* evaluate before the first step, too */
    bool do_eval;                                   /* and at the end */
    char *eval_benchmark, *eval_data, *eval_videos; /* a name of eval/benchmark.h, its file, and the folder of
                                                       its videos; all NULL: none is run */
    int64_t eval_limit, eval_max_new_tokens; /* its first videos, 0: all; tokens of an answer at most */
    bool plot_loss;                          /* draw training_loss.svg */
    bool tensorboard;                        /* write event files: yes, unless report_to is none */
    char *logging_dir;                       /* folder of the event files; NULL: "runs" in output_dir */
    bool disable_tqdm;                       /* no progress line */

    struct train_grpo grpo;
};

/* Reads the YAML file (path may be NULL: nothing but words) and then `count` words "key=value", whose values
 * are YAML as well. Errors are STATUS_USAGE "FILE:LINE: CAUSE" or "argument 'WORD': CAUSE"; a file that
 * cannot be read is STATUS_FAILED. On success train_config_free ends it; on failure there is nothing to free.
 */
enum status train_config_read(const char *path, const char *const *words, size_t count,
                              struct train_config *config, struct error *err);
void train_config_free(struct train_config *config);

/* The resolved values of all keys that several processes must agree on (struct config_key: not those that
 * each may have its own of), by the name of the key: a new object, or NULL when memory ran out. */
json_t *train_config_json(const struct train_config *config);

/* A new array of them, or NULL when memory ran out. */
json_t *train_names_json(const struct train_names *names);

/* Whether a key of that name means something to train_config_read, be it that it is ignored or refused. */
bool train_config_knows(const char *name);

/* Steps between two times of logging, saving or evaluating in a run of `total` steps. */
int64_t train_interval(double steps, int64_t total);

/* Micro-batches of an optimizer step, of all processes. */
int64_t train_step_batches(const struct train_config *config);

/* Optimizer steps of an epoch over `samples` samples (packed sequences when packing), as Hugging Face's
 * Trainer counts them: max(1, ceil(ceil(samples / batch) / micro-batches of a step)). */
int64_t train_epoch_steps(const struct train_config *config, int64_t samples);

/* Optimizer steps of a run: ceil(num_train_epochs * epoch_steps), or max_steps. */
int64_t train_total_steps(const struct train_config *config, int64_t epoch_steps);

#endif
