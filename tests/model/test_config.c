/* config.json in every spelling that transformers 4.49 to 5.x writes, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "tests/model/support_checkpoint.h"

/* The published 7B file, as on the hub. */
static const char published[] =
    "{\"architectures\": [\"Qwen2_5_VLForConditionalGeneration\"], \"attention_dropout\": 0.0,"
    "\"bos_token_id\": 151643, \"eos_token_id\": 151645, \"vision_start_token_id\": 151652,"
    "\"vision_end_token_id\": 151653, \"vision_token_id\": 151654, \"image_token_id\": 151655,"
    "\"video_token_id\": 151656, \"hidden_act\": \"silu\", \"hidden_size\": 3584,"
    "\"initializer_range\": 0.02, \"intermediate_size\": 18944, \"max_position_embeddings\": 128000,"
    "\"max_window_layers\": 28, \"model_type\": \"qwen2_5_vl\", \"num_attention_heads\": 28,"
    "\"num_hidden_layers\": 28, \"num_key_value_heads\": 4, \"rms_norm_eps\": 1e-06,"
    "\"rope_theta\": 1000000.0, \"sliding_window\": 32768, \"tie_word_embeddings\": false,"
    "\"torch_dtype\": \"bfloat16\", \"transformers_version\": \"4.41.2\", \"use_cache\": true,"
    "\"use_sliding_window\": false, \"vision_config\": {\"depth\": 32, \"hidden_act\": \"silu\","
    "\"hidden_size\": 1280, \"intermediate_size\": 3420, \"num_heads\": 16, \"in_chans\": 3,"
    "\"out_hidden_size\": 3584, \"patch_size\": 14, \"spatial_merge_size\": 2, \"spatial_patch_size\": 14,"
    "\"window_size\": 112, \"fullatt_block_indexes\": [7, 15, 23, 31], \"tokens_per_second\": 2,"
    "\"temporal_patch_size\": 2}, \"rope_scaling\": {\"type\": \"mrope\", \"mrope_section\": [16, 24, 24]},"
    "\"vocab_size\": 152064}";

/* A small nested file: text_config with transformers 5's rope_parameters. */
static const char nested[] =
    "{\"model_type\": \"qwen2_5_vl\", \"hidden_size\": 7, \"text_config\": {\"hidden_size\": 64,"
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
    "\"intermediate_size\": 96, \"vocab_size\": 320, \"layer_types\": [\"full_attention\"],"
    "\"rope_parameters\": {\"rope_theta\": 10000.0, \"rope_type\": \"default\","
    "\"mrope_section\": [2, 3, 3]}}, \"image_token_id\": 1, \"video_token_id\": 2,"
    "\"vision_start_token_id\": 3, \"vision_end_token_id\": 4, \"vision_config\": {\"depth\": 2,"
    "\"hidden_size\": 32, \"num_heads\": 2, \"intermediate_size\": 40, \"out_hidden_size\": 64}}";

static enum status read_text(const char *text, struct model_config *config, struct error *err) {
    char *folder = support_folder();
    support_write_text(folder, "config.json", text);
    enum status status = model_config_read(folder, config, err);
    support_folder_remove(folder);
    return status;
}

static void published_file(void **state) {
    (void)state;
    struct error err;
    struct model_config config;
    if (read_text(published, &config, &err) != STATUS_OK) fail_msg("%s", err.message);
    const struct model_config expected = {
        .hidden = 3584,
        .layers = 28,
        .heads = 28,
        .kv_heads = 4,
        .head_dim = 128,
        .intermediate = 18944,
        .vocab = 152064,
        .max_positions = 128000,
        .rms_epsilon = 1e-6,
        .rope_theta = 1e6,
        .mrope_section = {16, 24, 24},
        .vision = {.depth = 32,
                   .hidden = 1280,
                   .heads = 16,
                   .intermediate = 3420,
                   .out_hidden = 3584,
                   .in_channels = 3,
                   .patch = 14,
                   .temporal_patch = 2,
                   .merge = 2,
                   .window = 112,
                   .full_blocks = {7, 15, 23, 31},
                   .full_block_count = 4,
                   .tokens_per_second = 2},
        .image_token = 151655,
        .video_token = 151656,
        .vision_start_token = 151652,
        .vision_end_token = 151653,
    };
    assert_memory_equal(&config, &expected, sizeof config);
}

static void nested_file(void **state) {
    (void)state;
    struct error err;
    struct model_config config;
    if (read_text(nested, &config, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(config.hidden, 64);
    assert_int_equal(config.head_dim, 16);
    assert_int_equal(config.max_positions, 32768);
    assert_true(config.rope_theta == 10000);
    assert_true(config.rms_epsilon == 1e-5);
    assert_int_equal(config.mrope_section[2], 3);
    assert_false(config.tied_embeddings);
    assert_int_equal(config.vision.full_block_count, 0); /* 7, 15, ... lie past the last block */
    assert_true(config.vision.tokens_per_second == 4);
    assert_int_equal(config.vision_end_token, 4);
}

/* `text` parsed, with the member at `path` ("a/b") set to `value` (JSON; NULL removes it). */
static char *edit(const char *text, const char *path, const char *value) {
    struct error err;
    json_t *root = json_read_text(text, strlen(text), "test", &err);
    json_t *object = root;
    const char *slash = strchr(path, '/');
    if (slash) {
        char *outer = strndup(path, (size_t)(slash - path));
        object = json_object_get(root, outer);
        free(outer);
        path = slash + 1;
    }
    assert_non_null(object);
    if (value) {
        json_t *parsed = json_read_text(value, strlen(value), "test", &err);
        assert_non_null(parsed);
        json_object_set_new(object, path, parsed);
    } else {
        json_object_del(object, path);
    }
    char *edited = json_dumps(root, 0);
    json_decref(root);
    return edited;
}

static void other_spellings(void **state) {
    (void)state;
    struct error err;
    struct model_config config;
    static const struct {
        const char *text, *path, *value;
        bool tied;
        int64_t kv_heads, patch;
    } cases[] = {
        {published, "tie_word_embeddings", "true", true, 4, 14},
        {published, "tie_word_embeddings", NULL, false, 4, 14},
        {published, "num_key_value_heads", "null", false, 28, 14},
        {published, "vision_config/patch_size", NULL, false, 4, 14},
        {published, "rope_scaling",
         "{\"rope_type\": \"default\", \"type\": \"default\", \"mrope_section\": [16, 24, 24]}", false, 4,
         14},
        {published, "use_sliding_window", "true", false, 4, 14}, /* from layer 28 on: none */
        {nested, "tie_word_embeddings", "true", true, 2, 14},
        {nested, "text_config/tie_word_embeddings", "true", true, 2, 14},
        {nested, "vision_config/spatial_patch_size", "7", false, 2, 7},
        {nested, "text_config/head_dim", "16", false, 2, 14},
        {nested, "text_config/dtype", "\"float8\"", false, 2, 14},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = edit(cases[i].text, cases[i].path, cases[i].value);
        if (read_text(text, &config, &err) != STATUS_OK) fail_msg("%s", err.message);
        assert_int_equal(config.tied_embeddings, cases[i].tied);
        assert_int_equal(config.kv_heads, cases[i].kv_heads);
        assert_int_equal(config.vision.patch, cases[i].patch);
        free(text);
    }
}

static void wrong_files_are_refused(void **state) {
    (void)state;
    struct error err;
    struct model_config config;
    static const struct {
        const char *path, *value, *message;
    } cases[] = {
        {"model_type", "\"qwen2_vl\"", "'model_type' is 'qwen2_vl', only 'qwen2_5_vl' is supported"},
        {"model_type", NULL, "'model_type' is missing"},
        {"vision_config", NULL, "'vision_config' is missing"},
        {"vision_config", "[]", "'vision_config' must be an object"},
        {"quantization_config", "{}", "quantized checkpoints are not supported"},
        {"hidden_size", "4611686018427387904",
         "'hidden_size' is 4611686018427387904, allowed are 1 to 65536"},
        {"hidden_size", "0", "'hidden_size' is 0"},
        {"hidden_size", "-3584", "'hidden_size' is -3584"},
        {"hidden_size", "\"big\"", "'hidden_size' must be an integer"},
        {"hidden_size", "3600", "is no multiple of 'num_attention_heads'"},
        {"hidden_size", NULL, "'hidden_size' is missing"},
        {"num_hidden_layers", "1000000000", "'num_hidden_layers' is 1000000000"},
        {"num_attention_heads", "14", "'num_attention_heads' 14 is no multiple of 'num_key_value_heads' 4"},
        {"num_attention_heads", "7", "heads of 512 elements"},
        {"num_key_value_heads", "3", "is no multiple of 'num_key_value_heads' 3"},
        {"head_dim", "130", "heads of 130 elements"},
        {"vocab_size", "1000", "'image_token_id' 151655 is not below 'vocab_size' 1000"},
        {"vocab_size", "2e9", "'vocab_size' must be an integer"},
        {"video_token_id", "-1", "'video_token_id' is -1"},
        {"rms_norm_eps", "0", "'rms_norm_eps' is 0"},
        {"rope_theta", "-1", "'rope_theta' is -1"},
        {"hidden_act", "\"gelu\"", "'hidden_act' is 'gelu'"},
        {"use_sliding_window", "1", "'use_sliding_window' must be true or false"},
        {"layer_types", "[\"full_attention\", \"sliding_attention\"]",
         "'layer_types' has 'sliding_attention'"},
        {"rope_scaling", "null", "with 'mrope_section' is missing"},
        {"rope_scaling", "{\"type\": \"yarn\", \"mrope_section\": [16, 24, 24]}",
         "rope_scaling: 'type' is 'yarn', only 'default' and 'mrope' are supported"},
        {"rope_parameters", "{\"rope_type\": \"dynamic\", \"mrope_section\": [16, 24, 24]}",
         "rope_parameters: 'rope_type' is 'dynamic'"},
        {"rope_scaling/mrope_section", "[16, 24]", "'mrope_section' must be a list of 3 integers"},
        {"rope_scaling/mrope_section", "[16, 24, 25]", "'mrope_section' sums to 65"},
        {"rope_scaling/mrope_section", "[-16, 40, 40]", "'mrope_section' must be 3 integers that sum to 64"},
        {"vision_config/depth", "99999", "vision_config: 'depth' is 99999"},
        {"vision_config/depth", NULL, "vision_config: 'depth' is missing"},
        {"vision_config/num_heads", "17", "'hidden_size' 1280 over 'num_heads' 17"},
        {"vision_config/in_chans", "4", "'in_chans' is 4"},
        {"vision_config/patch_size", "0", "'patch_size' is 0"},
        {"vision_config/window_size", "13", "'window_size' 13 is less than"},
        {"vision_config/out_hidden_size", "2048", "'out_hidden_size' is 2048"},
        {"vision_config/hidden_act", "\"relu\"", "vision_config: 'hidden_act' is 'relu'"},
        {"vision_config/fullatt_block_indexes", "[-1]", "'fullatt_block_indexes' must be a list of block"},
        {"vision_config/fullatt_block_indexes", "3", "'fullatt_block_indexes' must be a list"},
        {"vision_config/tokens_per_second", "0", "'tokens_per_second' is 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = edit(published, cases[i].path, cases[i].value);
        err.message[0] = '\0';
        assert_int_equal(read_text(text, &config, &err), STATUS_FAILED);
        if (!strstr(err.message, cases[i].message) || !strstr(err.message, "config.json: "))
            fail_msg("'%s' lacks '%s'", err.message, cases[i].message);
        free(text);
    }
    assert_int_equal(read_text("[1]", &config, &err), STATUS_FAILED);
    assert_int_equal(read_text("{\"model_type\": ", &config, &err), STATUS_FAILED);
    assert_int_equal(read_text("", &config, &err), STATUS_FAILED);
    assert_int_equal(model_config_read("/nowhere", &config, &err), STATUS_FAILED);
    assert_string_equal(err.message, "/nowhere/config.json: No such file or directory");
}

static enum status read_generation(const char *text, const char *model, struct generation_config *config,
                                   struct error *err) {
    char *folder = support_folder();
    if (text) support_write_text(folder, "generation_config.json", text);
    if (model) support_write_text(folder, "config.json", model);
    enum status status = generation_config_read(folder, config, err);
    support_folder_remove(folder);
    return status;
}

static void generation_files(void **state) {
    (void)state;
    struct error err;
    struct generation_config config;
    assert_int_equal(
        read_generation("{\"bos_token_id\": 151643, \"do_sample\": true, \"eos_token_id\": [151645, "
                        "151643], \"repetition_penalty\": 1.05, \"temperature\": 0.000001}",
                        NULL, &config, &err),
        STATUS_OK);
    const struct generation_config expected = {.do_sample = true,
                                               .temperature = 0.000001,
                                               .top_p = 1,
                                               .repetition_penalty = 1.05,
                                               .top_k = 50,
                                               .stop_tokens = {151645, 151643},
                                               .stop_token_count = 2};
    assert_memory_equal(&config, &expected, sizeof config);

    assert_int_equal(read_generation("{\"top_k\": null, \"eos_token_id\": 7, \"top_p\": 0.8, \"min_p\": 0.1}",
                                     NULL, &config, &err),
                     STATUS_OK);
    assert_int_equal(config.top_k, 0);
    assert_int_equal(config.stop_token_count, 1);
    assert_int_equal(config.stop_tokens[0], 7);
    assert_true(config.top_p == 0.8 && config.min_p == 0.1 && config.temperature == 1);
    assert_false(config.do_sample);

    assert_int_equal(read_generation(NULL, published, &config, &err), STATUS_OK);
    assert_int_equal(config.stop_token_count, 1);
    assert_int_equal(config.stop_tokens[0], 151645);
    assert_int_equal(read_generation("{}", nested, &config, &err), STATUS_OK);
    assert_int_equal(config.stop_token_count, 2);
    assert_int_equal(config.stop_tokens[1], 151643);

    static const struct {
        const char *text, *message;
    } wrong[] = {
        {"[]", "not a JSON object"},
        {"{\"temperature\": -1}", "'temperature' is -1"},
        {"{\"top_p\": 1.5}", "'top_p' is 1.5"},
        {"{\"top_k\": -5}", "'top_k' is -5"},
        {"{\"repetition_penalty\": 0}", "'repetition_penalty' is 0"},
        {"{\"do_sample\": \"yes\"}", "'do_sample' must be"},
        {"{\"eos_token_id\": \"</s>\"}", "'eos_token_id' must be"},
        {"{\"eos_token_id\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "more than 16 entries"},
        {"{\"eos_token_id\": 99999999999}", "'eos_token_id' must be"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(read_generation(wrong[i].text, published, &config, &err), STATUS_FAILED);
        if (!strstr(err.message, wrong[i].message)) fail_msg("%s", err.message);
    }
    assert_int_equal(read_generation(NULL, NULL, &config, &err), STATUS_FAILED);
}

/* What checkpoint_write_config writes is read back the same. */
static void written_config_is_read_back(void **state) {
    (void)state;
    struct error err;
    struct generation_config generation = {.do_sample = true,
                                           .temperature = 0.7,
                                           .top_p = 0.95,
                                           .min_p = 0.05,
                                           .repetition_penalty = 1.05,
                                           .top_k = 20,
                                           .stop_tokens = {299, 298},
                                           .stop_token_count = 2};
    for (int wide = 0; wide < 2; wide++) {
        struct model_config written = support_tiny_config(wide), config;
        struct generation_config sampling;
        if (wide) {
            written.head_dim = 32; /* heads wider than the model */
            written.mrope_section[0] = 10;
        }
        char *folder = support_folder();
        assert_int_equal(checkpoint_write_config(folder, &written, &generation, DTYPE_BF16, &err), STATUS_OK);
        if (model_config_read(folder, &config, &err) != STATUS_OK) fail_msg("%s", err.message);
        assert_int_equal(generation_config_read(folder, &sampling, &err), STATUS_OK);
        assert_memory_equal(&config, &written, sizeof config);
        assert_memory_equal(&sampling, &generation, sizeof sampling);
        support_folder_remove(folder);
    }
    struct model_config config = support_tiny_config(true);
    assert_int_equal(checkpoint_write_config("/nowhere", &config, &generation, DTYPE_BF16, &err),
                     STATUS_FAILED);
    assert_non_null(strstr(err.message, "/nowhere/config.json: cannot write"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_file),   cmocka_unit_test(nested_file),
        cmocka_unit_test(other_spellings),  cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(generation_files), cmocka_unit_test(written_config_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
