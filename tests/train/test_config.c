/* Training configurations: what files and words are read to, what keys say together, and how they say no. */
#include "train/config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_outputs.h"
#include "train/config_keys.h"

static struct error err;
static char *folder;

static int make_folder(void **state) {
    (void)state;
    folder = outputs_folder();
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    outputs_remove(folder);
    return 0;
}

/* What must be there, before the keys that a case is about. */
static const char *const basis[] = {"model_name_or_path=model", "dataset=some", "output_dir=out"};
enum { BASIS = sizeof basis / sizeof *basis, MOST_WORDS = 12 };

/* Reads the basis and then the words, which are separated by spaces. */
static enum status read_words(const char *words, struct train_config *config) {
    const char *list[BASIS + MOST_WORDS];
    char copy[512];
    size_t count = BASIS;
    memcpy(list, basis, sizeof basis);
    assert_true(strlen(words) < sizeof copy);
    strcpy(copy, words);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        assert_true(count < BASIS + MOST_WORDS);
        list[count++] = word;
    }
    return train_config_read(NULL, list, count, config, &err);
}

static struct train_config config_of(const char *words) {
    struct train_config config;
    if (read_words(words, &config) != STATUS_OK) fail_msg("%s: %s", words, err.message);
    return config;
}

static enum status read_text(const char *text, struct train_config *config) {
    char path[256];
    outputs_write(folder, "run.yaml", text);
    snprintf(path, sizeof path, "%s/run.yaml", folder);
    return train_config_read(path, NULL, 0, config, &err);
}

static struct train_config config_of_text(const char *text) {
    struct train_config config;
    if (read_text(text, &config) != STATUS_OK) fail_msg("%s: %s", text, err.message);
    return config;
}

/* ---- Defaults ---------------------------------------------------------------------------------------- */

/* Those of LLaMA-Factory and Hugging Face, where the file says nothing. */
static void test_defaults(void **state) {
    (void)state;
    struct train_config config = config_of("");
    assert_int_equal(config.stage, TRAIN_STAGE_SFT);
    assert_string_equal(config.notes, "");
    assert_string_equal(config.dataset_dir, "data");
    assert_string_equal(config.media_dir, "data");
    assert_true(config.freeze_vision_tower && config.freeze_multi_modal_projector);
    assert_false(config.freeze_language_model);
    assert_true(config.gradient_checkpointing);
    assert_int_equal(config.activation_memory, -1);
    assert_int_equal(config.vision_cache_memory, INT64_C(1) << 30);
    assert_int_equal(config.cutoff_len, 2048);
    assert_true(config.max_samples == INT64_MAX);
    assert_int_equal(config.max_steps, -1);
    assert_true(config.learning_rate == 5e-5 && config.min_lr == 0 && config.weight_decay == 0);
    assert_true(config.adam_beta1 == 0.9 && config.adam_beta2 == 0.999 && config.adam_epsilon == 1e-8);
    assert_true(config.max_grad_norm == 1 && config.num_train_epochs == 3);
    assert_int_equal(config.seed, 42);
    assert_int_equal(config.data_seed, 42);
    assert_int_equal(config.save_dtype, DTYPE_F32);
    assert_int_equal(config.resume, TRAIN_RESUME_ANY);
    assert_int_equal(config.eval_strategy, TRAIN_NEVER);
    assert_true(config.tensorboard);
    train_config_free(&config);
}

/* ---- Files ------------------------------------------------------------------------------------------- */

static const char head[] = "model_name_or_path: model\ndataset: a, b\noutput_dir: out\n";

static struct train_config config_behind(const char *text) {
    char whole[1024];
    snprintf(whole, sizeof whole, "%s%s", head, text);
    return config_of_text(whole);
}

/* Comments, null, numbers with exponents, sections, lists, maps as text. */
static void test_yaml(void **state) {
    (void)state;
    struct train_config config =
        config_behind("# a comment\nlearning_rate: 5.0e-5 # behind\nresume_from_checkpoint: null\n"
                      "train:\n  optimizer:\n    adam_beta2: 0.95\n  warmup_ratio: 0.1\n"
                      "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: '{\"min_lr\": 1e-6}'\n"
                      "eval_dataset: [c, d]\nbf16: True\nuse_audio_in_video: False\nmax_samples: null\n"
                      "vision_cache_memory: 1.5 GB\n");
    assert_int_equal(config.datasets.count, 2);
    assert_string_equal(config.datasets.names[1], "b");
    assert_int_equal(config.eval_datasets.count, 2);
    assert_string_equal(config.eval_datasets.names[0], "c");
    assert_true(config.learning_rate == 5e-5 && config.adam_beta2 == 0.95 && config.warmup_ratio == 0.1);
    assert_true(config.min_lr == 1e-6);
    assert_true(config.bf16);
    assert_int_equal(config.save_dtype, DTYPE_BF16);
    assert_int_equal(config.resume, TRAIN_RESUME_ANY);
    assert_true(config.max_samples == INT64_MAX);
    assert_int_equal(config.vision_cache_memory, 1500000000);
    train_config_free(&config);
}

static void test_yaml_errors(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a: [1\n", "run.yaml:"},
        {"- a\n- b\n", "not made of lines 'key: value'"},
        {"bf16: true\nbf16: false\n", "run.yaml:2: key 'bf16' stands there twice, first in line 1"},
        {"evaluation_strategy: no\neval_strategy: no\n", "run.yaml:2: eval_strategy: it was given before"},
        {"seed: 1\nlearning_rte: 1\n",
         "run.yaml:2: unknown key 'learning_rte' (did you mean 'learning_rate'?)"},
        {"zzzzqqqq: 1\n", "run.yaml:1: unknown key 'zzzzqqqq' (vs2-train --help-keys lists them all)"},
        {"\n\nlearning_rate: quick\n", "run.yaml:3: learning_rate: 'quick' is not a number"},
        {"cutoff_len: 1.5\n", "run.yaml:1: cutoff_len: '1.5' is not a whole number"},
        {"cutoff_len: 4\n", "run.yaml:1: cutoff_len: 4 is out of range"},
        {"bf16: perhaps\n", "run.yaml:1: bf16: 'perhaps' is neither true nor false"},
        {"save_steps: 1.5\n", "run.yaml:1: save_steps: '1.5' is neither a number of steps nor a share"},
        {"vision_cache_memory: 3 apples\n", "'3 apples' is not a size such as 2GiB"},
        {"lr_scheduler_type: step\n", "run.yaml:1: lr_scheduler_type: 'step' is none of "},
        {"dataset: [a, '']\n", "run.yaml:1: dataset: a name is empty"},
        {"lr_scheduler_kwargs: 3\n", "run.yaml:1: lr_scheduler_kwargs: a map is wanted"},
        {"finetuning_type: lora\n", "run.yaml:1: finetuning_type: "},
        {"quantization_bit: 4\n", "run.yaml:1: quantization_bit: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct train_config config;
        assert_int_equal(read_text(cases[i].text, &config), STATUS_USAGE);
        if (!strstr(err.message, cases[i].message)) fail_msg("%s: %s", cases[i].text, err.message);
    }
}

static void test_missing_file(void **state) {
    (void)state;
    struct train_config config;
    assert_int_equal(train_config_read("/nowhere/run.yaml", NULL, 0, &config, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "/nowhere/run.yaml"));
}

/* Keys without a meaning here are named in one line, however many. */
static void test_ignored(void **state) {
    (void)state;
    struct train_config config = config_of("trust_remote_code=true overwrite_cache=true ddp_backend=nccl");
    assert_string_equal(config.notes, "these keys have no meaning here: trust_remote_code, overwrite_cache, "
                                      "ddp_backend\n");
    train_config_free(&config);
}

/* ---- What keys say together -------------------------------------------------------------------------- */

static void test_contradictions(void **state) {
    (void)state;
    static const struct {
        const char *words, *message;
    } cases[] = {
        {"dataset=None", "'dataset': a data set of data/dataset_info.json must be named"},
        {"use_cpu=true device=cuda:1", "'use_cpu': it contradicts device: cuda:1"},
        {"device=gpu",
         "'device': device \"gpu\": there is no such device (auto, cpu, cuda, cuda:N or guard)"},
        {"freeze_language_model=true", "'freeze_language_model': vision tower, projector and language model "
                                       "are all frozen"},
        {"image_max_pixels=1000 image_min_pixels=2000", "'image_max_pixels': it is below image_min_pixels"},
        {"video_max_pixels=1000 video_min_pixels=2000", "'video_max_pixels': it is below video_min_pixels"},
        {"mask_history=true train_on_prompt=true", "'mask_history': it contradicts train_on_prompt"},
        {"gradient_checkpointing=false activation_memory=1GiB", "'activation_memory': without"},
        {"disable_gradient_checkpointing=true activation_memory=1GiB", "'activation_memory': without"},
        {"freeze_vision_tower=false vision_cache_dir=x", "'vision_cache_dir': features of a vision tower"},
        {"freeze_vision_tower=false vision_cache_memory=1GiB", "'vision_cache_memory': features of a vision"},
        {"lr_scheduler_kwargs.min_lr=1e-6", "'lr_scheduler_kwargs.min_lr': it belongs to"},
        {"lr_scheduler_kwargs.min_lr_rate=0.1", "'lr_scheduler_kwargs.min_lr_rate': it belongs to"},
        {"lr_scheduler_type=cosine_with_min_lr", "'lr_scheduler_type': cosine_with_min_lr wants"},
        {"lr_scheduler_type=cosine_with_min_lr lr_scheduler_kwargs.min_lr=1e-6 "
         "lr_scheduler_kwargs.min_lr_rate=0.1",
         "'lr_scheduler_kwargs.min_lr_rate': it and min_lr are given"},
        {"lr_scheduler_type=cosine_with_min_lr learning_rate=1e-5 lr_scheduler_kwargs.min_lr=1e-4",
         "'lr_scheduler_kwargs.min_lr': it is above learning_rate"},
        {"resume_from_checkpoint=/nowhere/checkpoint-3", "/nowhere/checkpoint-3: No such file"},
        {"report_to=paper", "'report_to': 'paper' is neither tensorboard nor none"},
        {"val_size=2.5", "'val_size': 2.5 is neither a share"},
        {"val_size=0.1 eval_dataset=other", "'val_size': eval_dataset is given as well"},
        {"eval_strategy=steps", "'eval_strategy': there is nothing to evaluate on"},
        {"eval_steps=5", "'eval_steps': there is nothing to evaluate on"},
        {"do_eval=true", "'do_eval': there is nothing to evaluate on"},
        {"eval_benchmark=videophy2 eval_data=x", "'eval_benchmark': eval_videos is missing"},
        {"eval_videos=x", "'eval_videos': eval_benchmark is missing"},
        {"eval_benchmark=videophy3 eval_data=x eval_videos=y",
         "'eval_benchmark': no benchmark 'videophy3' (did you mean 'videophy2'?)"},
        {"eval_on_start=true", "'eval_on_start': there is nothing to evaluate on"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct train_config config;
        assert_int_equal(read_words(cases[i].words, &config), STATUS_USAGE);
        if (!strstr(err.message, cases[i].message)) fail_msg("%s: %s", cases[i].words, err.message);
    }
}

static void test_required(void **state) {
    (void)state;
    static const char *const names[] = {"model_name_or_path", "dataset", "output_dir"};
    for (size_t left_out = 0; left_out < BASIS; left_out++) {
        const char *words[BASIS];
        size_t count = 0;
        struct train_config config;
        for (size_t i = 0; i < BASIS; i++)
            if (i != left_out) words[count++] = basis[i];
        assert_int_equal(train_config_read(NULL, words, count, &config, &err), STATUS_USAGE);
        assert_memory_equal(err.message, names[left_out], strlen(names[left_out]));
    }
}

static void test_together(void **state) {
    (void)state;
    struct train_config config =
        config_of("neat_packing=true freeze_vision_tower=false data_seed=7 max_steps=0 "
                  "bf16=true save_dtype=f32 dataset_dir=sets");
    assert_true(config.packing);
    assert_int_equal(config.vision_cache_memory, 0);
    assert_int_equal(config.data_seed, 7);
    assert_int_equal(config.max_steps, -1);
    assert_int_equal(config.save_dtype, DTYPE_F32);
    assert_string_equal(config.media_dir, "sets");
    train_config_free(&config);

    config = config_of("lr_scheduler_type=cosine_with_min_lr learning_rate=1e-4 "
                       "lr_scheduler_kwargs={min_lr_rate:\t0.1}");
    assert_true(config.min_lr == 0.1 * 1e-4);
    train_config_free(&config);

    config = config_of("val_size=0.1 eval_steps=5 report_to=wandb,none");
    assert_int_equal(config.eval_strategy, TRAIN_EVERY_STEPS);
    assert_false(config.tensorboard);
    assert_string_equal(config.notes, "report_to: nothing goes to wandb; the log is in output_dir\n");
    train_config_free(&config);

    config = config_of("val_size=0.1");
    assert_non_null(strstr(config.notes, "set apart, but never evaluated"));
    train_config_free(&config);
}

/* A word wins over the file, the later word over the earlier. */
static void test_words_win(void **state) {
    (void)state;
    struct train_config config;
    char path[256];
    const char *const words[] = {"seed=2", "seed=3", "run.optimizer.weight_decay=0.5"};
    outputs_write(folder, "run.yaml", "model_name_or_path: m\ndataset: d\noutput_dir: o\nseed: 1\n");
    snprintf(path, sizeof path, "%s/run.yaml", folder);
    assert_int_equal(train_config_read(path, words, 3, &config, &err), STATUS_OK);
    assert_int_equal(config.seed, 3);
    assert_true(config.weight_decay == 0.5);
    train_config_free(&config);
}

static void test_resume(void **state) {
    (void)state;
    static const struct {
        const char *words;
        int resume;
    } cases[] = {
        {"", TRAIN_RESUME_ANY},
        {"overwrite_output_dir=true", TRAIN_RESUME_NEVER},
        {"resume_from_checkpoint=true", TRAIN_RESUME_NEWEST},
        {"overwrite_output_dir=true resume_from_checkpoint=true", TRAIN_RESUME_NEWEST},
        {"resume_from_checkpoint=false", TRAIN_RESUME_NEVER},
        {"resume_from_checkpoint=null", TRAIN_RESUME_ANY},
        {"resume_from_checkpoint=/tmp", TRAIN_RESUME_FOLDER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct train_config config = config_of(cases[i].words);
        if (config.resume != cases[i].resume) fail_msg("%s: %d", cases[i].words, config.resume);
        if (config.resume == TRAIN_RESUME_FOLDER) assert_string_equal(config.resume_folder, "/tmp");
        train_config_free(&config);
    }
}

/* zero_stage and offload_optimizer win over the file's. */
static void test_zero_stage(void **state) {
    (void)state;
    static const struct {
        const char *words;
        int64_t stage;
    } cases[] = {{"seed=1", 0}, {"zero_stage=3", 3}, {"zero_stage=1 deepspeed=/nowhere/zero3.json", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct train_config config = config_of(cases[i].words);
        assert_int_equal(config.zero_stage, cases[i].stage);
        train_config_free(&config);
    }
    struct train_config config;
    assert_int_equal(read_words("zero_stage=4", &config), STATUS_USAGE);
    outputs_write(folder, "ds.json",
                  "{\"zero_optimization\": {\"stage\": 1, \"offload_optimizer\": {\"device\": \"cpu\"}}}");
    char words[256];
    snprintf(words, sizeof words, "deepspeed=%s/ds.json", folder);
    config = config_of(words);
    assert_int_equal(config.zero_stage, 1);
    assert_true(config.offload_optimizer);
    train_config_free(&config);
    snprintf(words, sizeof words, "deepspeed=%s/ds.json offload_optimizer=false", folder);
    config = config_of(words);
    assert_false(config.offload_optimizer);
    train_config_free(&config);
    config = config_of("offload_optimizer=true");
    assert_true(config.offload_optimizer);
    train_config_free(&config);
}

/* The stage of a DeepSpeed file: from its JSON, or from its name where it is not there. */
static void test_deepspeed(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t stage;
        const char *note;
    } cases[] = {
        {"examples/deepspeed/ds_z3_config.json", 3, "by its name it is ZeRO stage 3"},
        {"ds_z2_offload_config.json", 2, "by its name it is ZeRO stage 2"},
        {"scripts/zero3.json", 3, "by its name it is ZeRO stage 3"},
        {"zero_stage-1.json", 1, "by its name it is ZeRO stage 1"},
        {"nothing.json", 0, "its name tells no ZeRO stage"},
        {"z37.json", 0, "its name tells no ZeRO stage"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[128];
        snprintf(words, sizeof words, "deepspeed=/nowhere/%s", cases[i].name);
        struct train_config config = config_of(words);
        assert_int_equal(config.zero_stage, cases[i].stage);
        if (!strstr(config.notes, cases[i].note)) fail_msg("%s: %s", cases[i].name, config.notes);
        train_config_free(&config);
    }
}

static void test_deepspeed_file(void **state) {
    (void)state;
    static const struct {
        const char *text, *message; /* NULL: stage 2 */
    } cases[] = {
        {"{\"zero_optimization\": {\"stage\": 2}}", NULL},
        {"{\"zero_optimization\": {\"stage\": 5}}", "stage"},
        {"{\"zero_optimization\": 2}", "not a DeepSpeed configuration"},
        {"[]", "not a DeepSpeed configuration"},
        {"{", "ds_z3.json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[256];
        struct train_config config;
        outputs_write(folder, "ds_z3.json", cases[i].text);
        snprintf(words, sizeof words, "deepspeed=%s/ds_z3.json", folder);
        enum status status = read_words(words, &config);
        assert_int_equal(status, cases[i].message ? STATUS_USAGE : STATUS_OK);
        if (status == STATUS_OK) {
            assert_int_equal(config.zero_stage, 2);
            train_config_free(&config);
        } else if (!strstr(err.message, cases[i].message)) {
            fail_msg("%s: %s", cases[i].text, err.message);
        }
    }
}

/* A file in the form of LLaMA-Factory's ds_z3_config.json. */
static void write_ds_z3(const char *overlap) {
    char text[2048];
    snprintf(text, sizeof text,
             "{\n"
             "  \"train_batch_size\": \"auto\",\n"
             "  \"train_micro_batch_size_per_gpu\": \"auto\",\n"
             "  \"gradient_accumulation_steps\": \"auto\",\n"
             "  \"gradient_clipping\": \"auto\",\n"
             "  \"zero_allow_untested_optimizer\": true,\n"
             "  \"fp16\": {\n"
             "    \"enabled\": \"auto\",\n"
             "    \"loss_scale\": 0,\n"
             "    \"initial_scale_power\": 16\n"
             "  },\n"
             "  \"bf16\": {\n"
             "    \"enabled\": \"auto\"\n"
             "  },\n"
             "  \"zero_optimization\": {\n"
             "    \"stage\": 3,\n"
             "    %s\n"
             "    \"contiguous_gradients\": true,\n"
             "    \"sub_group_size\": 1e9,\n"
             "    \"reduce_bucket_size\": \"auto\",\n"
             "    \"stage3_prefetch_bucket_size\": \"auto\",\n"
             "    \"stage3_param_persistence_threshold\": \"auto\",\n"
             "    \"stage3_gather_16bit_weights_on_model_save\": true\n"
             "  }\n"
             "}\n",
             overlap);
    outputs_write(folder, "ds_z3_config.json", text);
}

/* overlap_comm: the key's, else the file's, else for the devices to say. */
static void test_overlap(void **state) {
    (void)state;
    static const struct {
        const char *file, *words; /* NULL: no file */
        bool overlaps, unsaid;
    } cases[] = {
        {NULL, "", false, true},
        {NULL, " overlap_comm=null", false, true},
        {NULL, " overlap_comm=true", true, false},
        {NULL, " overlap_comm=false", false, false},
        {"", "", false, true},
        {"\"overlap_comm\": \"auto\",", "", false, true},
        {"\"overlap_comm\": true,", "", true, false},
        {"\"overlap_comm\": false,", "", false, false},
        {"\"overlap_comm\":\n      true,", " overlap_comm=null", true, false},
        {"\"overlap_comm\": true,", " overlap_comm=false", false, false},
        {"\"overlap_comm\": false,", " overlap_comm=true", true, false},
        {"\"overlap_comm\": \"auto\",", " overlap_comm=true", true, false},
    };
    char words[256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].file) write_ds_z3(cases[i].file);
        if (cases[i].file)
            snprintf(words, sizeof words, "deepspeed=%s/ds_z3_config.json%s", folder, cases[i].words);
        else
            snprintf(words, sizeof words, "seed=1%s", cases[i].words);
        struct train_config config = config_of(words);
        assert_int_equal(config.zero_stage, cases[i].file ? 3 : 0);
        if (config.overlap_exchanges != cases[i].overlaps || config.overlap_unsaid != cases[i].unsaid)
            fail_msg("%s with %s", words, cases[i].file ? cases[i].file : "no file");
        train_config_free(&config);
    }
    struct train_config config;
    write_ds_z3("\"overlap_comm\": 1,");
    snprintf(words, sizeof words, "deepspeed=%s/ds_z3_config.json", folder);
    assert_int_equal(read_words(words, &config), STATUS_USAGE);
    assert_non_null(strstr(err.message, "overlap_comm"));
}

/* ---- What processes must have alike ------------------------------------------------------------------- */

/* What a key has to have beside it; of a stage, or of both. */
static const struct {
    const char *key, *with;
} companions[] = {
    {"freeze_language_model", "freeze_vision_tower=false"},
    {"lr_scheduler_kwargs.min_lr", "lr_scheduler_type=cosine_with_min_lr learning_rate=3"},
    {"lr_scheduler_kwargs.min_lr_rate", "lr_scheduler_type=cosine_with_min_lr"},
    {"eval_strategy", "val_size=2"},
    {"eval_steps", "val_size=2"},
    {"eval_on_start", "val_size=2"},
    {"do_eval", "val_size=2"},
    {"eval_benchmark", "eval_data=a eval_videos=b"},
    {"eval_data", "eval_benchmark=videophy2 eval_videos=b"},
    {"eval_videos", "eval_benchmark=videophy2 eval_data=a"},
    {"vision_cache_memory", "freeze_vision_tower=true"},
    {"vision_cache_dir", "freeze_vision_tower=true"},
    {"dynamic_sampling_rounds", "dynamic_sampling=true"},
    {"ref_model_mixup_alpha", "sync_ref_model=true"},
    {"ref_model_sync_steps", "sync_ref_model=true"},
};

static const char *companion_of(const char *key) {
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++)
        if (strcmp(companions[i].key, key) == 0) return companions[i].with;
    return "";
}

/* What the processes compare when the key has the value; NULL: it cannot have it. */
static json_t *compared_with(enum train_stage stage, const char *key, const char *value) {
    struct train_config config;
    char words[256];
    snprintf(words, sizeof words, "stage=%s %s %s=%s", config_stage_names[stage], companion_of(key), key,
             value);
    if (read_words(words, &config) != STATUS_OK) return NULL;
    json_t *json = train_config_json(&config);
    assert_non_null(json);
    train_config_free(&config);
    return json;
}

/* Counts the values that can be had, and those among them that are not compared as equal to the first. */
static void try_value(enum train_stage stage, const char *key, const char *value, json_t **first,
                      int *others) {
    json_t *json = compared_with(stage, key, value);
    if (!json) return;
    if (!*first) *first = json_incref(json);
    *others += !json_equal(*first, json);
    json_decref(json);
}

static void check_compared(enum train_stage stage, const struct config_key *key) {
    static const char *const values[] = {
        "true", "false", "0",    "0.25",       "0.5",        "1",           "2",
        "3",    "2000",  "3000", "1MiB",       "2MiB",       "x",           "y",
        "1,2",  "2,1",   "cpu",  "none",       ".",          "x_{problem}", "y_{problem}",
        "/",    "all",   "..",   "ds_z2.json", "ds_z3.json", "videophy2",   "videoscore-bench-v2",
    };
    json_t *first = NULL;
    int others = 0;
    for (size_t v = 0; v < sizeof values / sizeof *values; v++)
        try_value(stage, key->name, values[v], &first, &others);
    for (size_t c = 0; key->choices && key->choices[c]; c++)
        try_value(stage, key->name, key->choices[c], &first, &others);
    if (!first) fail_msg("%s: no value was accepted", key->name);
    if (key->own ? others > 0 : others == 0)
        fail_msg("%s of stage %s is %scompared", key->name, config_stage_names[stage],
                 key->own ? "" : "not ");
    json_decref(first);
}

/* Every key of the table, but those that each process may have its own of, decides what they compare. */
static void test_compared(void **state) {
    (void)state;
    const struct config_group *group;
    for (int stage = TRAIN_STAGE_SFT; stage <= TRAIN_STAGE_GRPO; stage++)
        for (size_t g = 0; (group = config_group_at(g)); g++)
            for (size_t k = 0; group->role == CONFIG_USED && k < group->count; k++)
                if (group->stages & 1u << stage && group->keys[k].kind != CONFIG_MAP)
                    check_compared((enum train_stage)stage, &group->keys[k]);
}

/* ---- Stage grpo -------------------------------------------------------------------------------------- */

/* A file of configs/, as it is. */
static struct train_config config_of_file(const char *path) {
    struct train_config config;
    if (train_config_read(path, NULL, 0, &config, &err) != STATUS_OK) fail_msg("%s", err.message);
    return config;
}

/* What the published script passes, and what it leaves to Video-R1's defaults. */
static void test_grpo_published(void **state) {
    (void)state;
    struct train_config config = config_of_file("configs/grpo.yaml");
    const struct train_grpo *grpo = &config.grpo;
    assert_int_equal(config.stage, TRAIN_STAGE_GRPO);
    assert_string_equal(config.model, "saves/vs2_qwen2_5vl_sft_27k_5e-5_2fps_960_720_8192");
    assert_string_equal(config.datasets.names[0], "Video-R1-data/data_27k_train_rl.json");
    assert_int_equal(config.zero_stage, 3);
    assert_true(config.bf16 && config.gradient_checkpointing && !config.save_only_model);
    assert_int_equal(config.per_device_train_batch_size, 1);
    assert_int_equal(config.gradient_accumulation_steps, 8);
    assert_true(config.learning_rate == 2e-6 && config.weight_decay == 0.01 && config.max_grad_norm == 5);
    assert_true(config.num_train_epochs == 1 && config.warmup_steps == 0 && config.warmup_ratio == 0);
    assert_string_equal(config.lr_scheduler_type, "cosine");
    assert_true(config.logging_steps == 2 && config.save_steps == 100);
    assert_false(config.freeze_vision_tower || config.freeze_multi_modal_projector);
    assert_int_equal(grpo->max_prompt_length, 16384);
    assert_int_equal(grpo->max_completion_length, 1024);
    assert_int_equal(grpo->num_generations, 8);
    assert_int_equal(grpo->num_iterations, 1);
    assert_int_equal(grpo->steps_per_generation, 8);
    assert_int_equal(grpo->max_pixels, 589824);
    assert_int_equal(grpo->reward_funcs.count, 3);
    assert_string_equal(grpo->reward_funcs.names[0], "accuracy");
    assert_string_equal(grpo->reward_funcs.names[1], "format");
    assert_string_equal(grpo->reward_funcs.names[2], "length");
    assert_true(grpo->reward_weights[0] == 1 && grpo->reward_weights[1] == 0 && grpo->reward_weights[2] == 1);
    assert_true(grpo->temperature == 1 && grpo->top_p == 0.95 && grpo->beta == 0.04);
    assert_true(grpo->epsilon == 0.2 && grpo->epsilon_high == 0.2 && isnan(grpo->delta));
    assert_string_equal(grpo->loss_type, "grpo");
    assert_string_equal(grpo->scale_rewards, "group");
    assert_string_equal(grpo->frame_policy, "qwen");
    assert_true(isnan(grpo->video_fps) && grpo->second_per_grid == TRAIN_GRID_SECONDS);
    assert_non_null(strstr(config.notes, "attn_implementation, run_name"));
    train_config_free(&config);
}

/* The ablation differs in the model that it begins with, where it writes, and the weight of the format. */
static void test_grpo_without_sft(void **state) {
    (void)state;
    struct train_config config = config_of_file("configs/grpo_wo_sft.yaml");
    struct train_config other = config_of_file("configs/grpo.yaml");
    assert_string_equal(config.model, "Qwen/Qwen2.5-VL-7B-Instruct");
    assert_string_equal(config.output_dir, "log/vs2_grpo_27k_2e-6_base_qwen2_5_vl");
    assert_true(config.grpo.reward_weights[0] == 1 && config.grpo.reward_weights[1] == 0.3);
    assert_true(config.grpo.reward_weights[2] == 1 && config.grpo.reward_funcs.count == 3);
    assert_string_equal(config.notes, other.notes);
    assert_string_equal(config.datasets.names[0], other.datasets.names[0]);
    assert_true(config.learning_rate == other.learning_rate && config.grpo.beta == other.grpo.beta);
    assert_true(config.weight_decay == other.weight_decay && config.max_grad_norm == other.max_grad_norm);
    assert_int_equal(config.grpo.max_pixels, other.grpo.max_pixels);
    assert_int_equal(config.grpo.num_generations, other.grpo.num_generations);
    assert_int_equal(config.grpo.max_prompt_length, other.grpo.max_prompt_length);
    assert_int_equal(config.grpo.max_completion_length, other.grpo.max_completion_length);
    train_config_free(&config);
    train_config_free(&other);
}

/* TRL's names and ways of writing. */
static void test_grpo_trl(void **state) {
    (void)state;
    struct train_config config =
        config_of("stage=grpo scale_rewards=false loss_type=gspo reward_funcs=[accuracy,cmd:./mine] "
                  "reward_weights=[1,0.5] vllm_importance_sampling_cap=2 shuffle_dataset=false "
                  "steps_per_generation=4 num_iterations=2 use_vllm=true");
    const struct train_grpo *grpo = &config.grpo;
    assert_string_equal(grpo->scale_rewards, "none");
    assert_string_equal(grpo->importance_sampling_level, "sequence");
    assert_int_equal(grpo->reward_funcs.count, 2);
    assert_string_equal(grpo->reward_funcs.names[1], "cmd:./mine");
    assert_true(grpo->reward_weights[1] == 0.5 && grpo->importance_sampling_cap == 2);
    assert_true(config.disable_shuffling && config.learning_rate == 1e-6 && config.logging_steps == 10);
    assert_int_equal(grpo->steps_per_generation, 4);
    assert_null(config.media_dir);
    train_config_free(&config);

    outputs_write(folder, "question.txt", "Rate: {problem}\n");
    char words[256];
    snprintf(words, sizeof words, "stage=grpo question_template=@%s/question.txt temporal=true", folder);
    config = config_of(words);
    assert_string_equal(config.grpo.question_template, "Rate: {problem}\n");
    assert_string_equal(config.grpo.reward_funcs.names[2], "temporal");
    train_config_free(&config);
}

static void test_grpo_contradictions(void **state) {
    (void)state;
    static const struct {
        const char *words, *message;
    } cases[] = {
        {"dataset=None", "'dataset': a JSON file of problems must be named"},
        {"dataset=a.json,b.json", "'dataset': one file is wanted, not several"},
        {"cutoff_len=100", "unknown key 'cutoff_len'"},
        {"num_generations=1", "'num_generations': one completion has nothing to be compared with"},
        {"gradient_accumulation_steps=4 steps_per_generation=6", "'steps_per_generation': 6 is no multiple"},
        {"reward_weights=[1,2,3]", "'reward_weights': 3 weights for 2 reward_funcs"},
        {"reward_weights=[1,x]", "'reward_weights': 'x' is not a number"},
        {"question_template=Rate_it", "'question_template': there is no {problem} in it"},
        {"question_template=@/nowhere/q", "/nowhere/q: No such file"},
        {"beta=0 sync_ref_model=true", "'sync_ref_model': at beta 0 there is no reference model"},
        {"ref_model_sync_steps=5", "'ref_model_sync_steps': it belongs to sync_ref_model: true"},
        {"dynamic_sampling_rounds=5", "'dynamic_sampling_rounds': it belongs to dynamic_sampling: true"},
        {"rollouts=x dynamic_sampling=true", "'dynamic_sampling': recorded rollouts cannot be replaced"},
        {"loss_type=gspo importance_sampling_level=token", "'importance_sampling_level': loss_type gspo"},
        {"frame_policy=llamafactory min_frames=2", "'video_min_frames': it belongs to frame_policy: qwen"},
        {"min_frames=8 max_frames=4", "'video_maxlen': it is below video_min_frames (8)"},
        {"min_pixels=1000 max_pixels=900", "'max_pixels': it is below min_pixels (1000)"},
        {"use_peft=true", "'use_peft': 'true' is not supported: there are no adapters"},
        {"loss_type=sapo", "'loss_type': 'sapo' is none of grpo, bnpo, dr_grpo, dapo, cispo, gspo"},
        {"eval_steps=5", "'eval_steps': there is nothing to evaluate on"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct train_config config;
        char words[256];
        snprintf(words, sizeof words, "stage=grpo %s", cases[i].words);
        assert_int_equal(read_words(words, &config), STATUS_USAGE);
        if (!strstr(err.message, cases[i].message)) fail_msg("%s: %s", cases[i].words, err.message);
    }
}

/* ---- Counts ------------------------------------------------------------------------------------------ */

static void test_steps(void **state) {
    (void)state;
    struct train_config config = config_of("per_device_train_batch_size=2 gradient_accumulation_steps=4");
    assert_int_equal(train_total_steps(&config, train_epoch_steps(&config, 17)),
                     9); /* 3 epochs of 9 batches in 3 steps */
    assert_int_equal(train_total_steps(&config, train_epoch_steps(&config, 1)), 3);
    config.num_train_epochs = 0.5;
    assert_int_equal(train_total_steps(&config, train_epoch_steps(&config, 17)), 2);
    config.max_steps = 100;
    assert_int_equal(train_total_steps(&config, train_epoch_steps(&config, 17)), 100);
    train_config_free(&config);
    assert_int_equal(train_interval(25, 10), 25);
    assert_int_equal(train_interval(0.25, 10), 3);
    assert_int_equal(train_interval(0.001, 10), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_yaml_errors),    cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_ignored),        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_required),       cmocka_unit_test(test_together),
        cmocka_unit_test(test_words_win),      cmocka_unit_test(test_resume),
        cmocka_unit_test(test_zero_stage),     cmocka_unit_test(test_deepspeed),
        cmocka_unit_test(test_deepspeed_file), cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_grpo_published), cmocka_unit_test(test_grpo_without_sft),
        cmocka_unit_test(test_grpo_trl),       cmocka_unit_test(test_grpo_contradictions),
        cmocka_unit_test(test_compared),       cmocka_unit_test(test_steps),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
