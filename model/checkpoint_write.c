#include "model/checkpoint_write.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

enum {
    CHUNK_BYTES = 4 << 20,
    DATA_ALIGNMENT = 64, /* of the data in the file: matrices begin on cache lines when mapped */
    FILE_NAME_SIZE = 64,
};

static const size_t default_shard_bytes = 5000000000;

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

static size_t element_count(const struct checkpoint_entry *entry) {
    size_t count = 1;
    for (int i = 0; i < entry->rank; i++) count *= (size_t)entry->shape[i];
    return count;
}

static size_t entry_bytes(const struct checkpoint_entry *entry) {
    return element_count(entry) * dtype_size(entry->dtype);
}

struct checkpoint_entry checkpoint_entry_of(const struct parameter *parameter, enum dtype dtype,
                                            char old_name[PARAMETER_NAME_SIZE]) {
    struct checkpoint_entry entry = {.name = old_name, .dtype = dtype, .rank = parameter->rank};
    parameter_old_name(parameter->name, old_name);
    memcpy(entry.shape, parameter->shape, sizeof entry.shape);
    return entry;
}

/* ---- One safetensors file ---------------------------------------------------------------------------- */

static const char *stored_name(enum dtype dtype) {
    return dtype == DTYPE_F32 ? "F32" : dtype == DTYPE_BF16 ? "BF16" : "F16";
}

/* {"dtype", "shape", "data_offsets"} of one tensor, or NULL. */
static json_t *describe(const struct checkpoint_entry *entry, size_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < entry->rank; i++)
        if (json_array_append_new(shape, json_integer(entry->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", stored_name(entry->dtype), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)(begin + entry_bytes(entry)));
}

/* The header as text, free() it; *length is of the text and the spaces that follow it up to the data. */
static char *make_header(const struct checkpoint_entry *entries, size_t count, size_t *length,
                         struct error *err) {
    char *text = NULL;
    size_t begin = 0;
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    for (size_t i = 0; header && i < count; i++) {
        if (json_object_set_new(header, entries[i].name, describe(&entries[i], begin)) != 0) goto err;
        begin += entry_bytes(&entries[i]);
    }
    if (header) text = json_dumps(header, JSON_COMPACT);
err:
    json_decref(header);
    if (!text) {
        error_set(err, "out of memory for the header of %zu tensors", count);
        return NULL;
    }
    const size_t prefix = sizeof(uint64_t);
    size_t end = prefix + strlen(text);
    *length = (end + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT - prefix;
    return text;
}

static void write_header(struct file_writer *writer, const char *text, size_t length) {
    static const char spaces[DATA_ALIGNMENT] =
        "                                                               ";
    unsigned char prefix[sizeof(uint64_t)];
    for (size_t i = 0; i < sizeof prefix; i++) prefix[i] = (unsigned char)((uint64_t)length >> (8 * i));
    file_writer_write(writer, prefix, sizeof prefix);
    file_writer_write(writer, text, strlen(text));
    for (size_t left = length - strlen(text); left > 0;) {
        size_t piece = left < sizeof spaces - 1 ? left : sizeof spaces - 1;
        file_writer_write(writer, spaces, piece);
        left -= piece;
    }
}

/* Writes entries [first, first + count) of the whole list into one file. */
static enum status write_shard(const char *path, const struct checkpoint_entry *entries, size_t first,
                               size_t count, struct checkpoint_source source, struct error *err) {
    struct file_writer writer;
    size_t length;
    char *header = NULL;
    void *chunk = memory_new(CHUNK_BYTES, 1, path, err);
    if (!chunk) return STATUS_FAILED;
    header = make_header(entries + first, count, &length, err);
    if (!header || file_writer_open(&writer, path, err) != STATUS_OK) goto err;

    write_header(&writer, header, length);
    for (size_t i = first; i < first + count && !writer.failure; i++) {
        const size_t size = dtype_size(entries[i].dtype);
        const int64_t total = (int64_t)element_count(&entries[i]), at_once = (int64_t)(CHUNK_BYTES / size);
        for (int64_t done = 0; done < total && !writer.failure; done += at_once) {
            int64_t piece = total - done < at_once ? total - done : at_once;
            if (source.read(source.state, i, done, piece, chunk, err) != STATUS_OK) {
                file_writer_abort(&writer);
                goto err;
            }
            file_writer_write(&writer, chunk, (size_t)piece * size);
        }
    }
    free(header);
    free(chunk);
    return file_writer_commit(&writer, err);
err:
    free(header);
    free(chunk);
    return STATUS_FAILED;
}

/* ---- Shards ------------------------------------------------------------------------------------------ */

/* Entries [first[i], first[i + 1]) go to shard i. */
struct division {
    size_t *first; /* [shards + 1] */
    size_t shards;
};

static enum status divide(const struct checkpoint_entry *entries, size_t count, size_t shard_bytes,
                          struct division *division, struct error *err) {
    division->first = memory_new(count + 2, sizeof *division->first, "the list of shards", err);
    if (!division->first) return STATUS_FAILED;
    size_t filled = 0;
    division->shards = 1;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = entry_bytes(&entries[i]);
        if (filled > 0 && (bytes > shard_bytes || filled > shard_bytes - bytes)) {
            division->first[division->shards++] = i;
            filled = 0;
        }
        filled += bytes;
    }
    division->first[division->shards] = count;
    return STATUS_OK;
}

static void shard_name(const struct division *division, size_t shard, char name[FILE_NAME_SIZE]) {
    if (division->shards == 1)
        snprintf(name, FILE_NAME_SIZE, "%s", single_name);
    else
        snprintf(name, FILE_NAME_SIZE, "model-%05zu-of-%05zu.safetensors", shard + 1, division->shards);
}

static enum status write_index(const char *folder, const struct checkpoint_entry *entries,
                               const struct division *division, struct error *err) {
    size_t total = 0;
    json_t *map = json_object();
    for (size_t shard = 0; shard < division->shards; shard++) {
        char name[FILE_NAME_SIZE];
        shard_name(division, shard, name);
        for (size_t i = division->first[shard]; i < division->first[shard + 1]; i++) {
            total += entry_bytes(&entries[i]);
            if (json_object_set_new(map, entries[i].name, json_string(name)) != 0) {
                json_decref(map);
                return error_set(err, "out of memory for %s/%s", folder, index_name);
            }
        }
    }
    json_t *index =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    enum status status = json_write_file(folder, index_name, index, err);
    json_decref(index);
    return status;
}

/* Whether the name is one that an earlier checkpoint may have left, and not of this one. */
static bool is_stale(const char *name, const struct division *division) {
    size_t shard, shards;
    int end = 0;
    if (strcmp(name, single_name) == 0) return division->shards > 1;
    if (strcmp(name, index_name) == 0) return division->shards == 1;
    if (sscanf(name, "model-%5zu-of-%5zu.safetensors%n", &shard, &shards, &end) != 2 || !end || name[end])
        return false;
    return division->shards == 1 || shards != division->shards || shard == 0 || shard > shards;
}

static enum status remove_stale(const char *folder, const struct division *division, struct error *err) {
    enum status status = STATUS_OK;
    DIR *listing = opendir(folder);
    for (struct dirent *entry; listing && status == STATUS_OK && (entry = readdir(listing));) {
        if (!is_stale(entry->d_name, division)) continue;
        char *path = file_join(folder, entry->d_name, err);
        if (!path)
            status = STATUS_FAILED;
        else
            unlink(path);
        free(path);
    }
    if (listing) closedir(listing);
    return status;
}

enum status checkpoint_write_tensors(const char *folder, const struct checkpoint_entry *entries, size_t count,
                                     struct checkpoint_source source, size_t shard_bytes, struct error *err) {
    struct division division;
    enum status status = STATUS_OK;
    if (divide(entries, count, shard_bytes ? shard_bytes : default_shard_bytes, &division, err) != STATUS_OK)
        return STATUS_FAILED;
    for (size_t shard = 0; shard < division.shards && status == STATUS_OK; shard++) {
        char name[FILE_NAME_SIZE];
        shard_name(&division, shard, name);
        char *path = file_join(folder, name, err);
        size_t first = division.first[shard], last = division.first[shard + 1];
        status = path ? write_shard(path, entries, first, last - first, source, err) : STATUS_FAILED;
        free(path);
    }
    if (status == STATUS_OK && division.shards > 1) status = write_index(folder, entries, &division, err);
    if (status == STATUS_OK) status = remove_stale(folder, &division, err);
    free(division.first);
    return status;
}

/* ---- Configuration files ----------------------------------------------------------------------------- */

static json_t *integer_list(const int64_t *values, int64_t count) {
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++)
        if (json_array_append_new(list, json_integer(values[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *stop_token_list(const struct generation_config *generation) {
    int64_t tokens[CONFIG_MAX_STOP_TOKENS];
    for (int i = 0; i < generation->stop_token_count; i++) tokens[i] = generation->stop_tokens[i];
    return integer_list(tokens, generation->stop_token_count);
}

/* A whole number as published files write it: 2, not 2.0. */
static json_t *describe_rate(double rate) {
    json_int_t whole = (json_int_t)rate;
    return (double)whole == rate ? json_integer(whole) : json_real(rate);
}

static json_t *describe_vision(const struct vision_config *vision) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:s}",
                     "model_type", "qwen2_5_vl", "depth", (json_int_t)vision->depth, "hidden_size",
                     (json_int_t)vision->hidden, "num_heads", (json_int_t)vision->heads, "intermediate_size",
                     (json_int_t)vision->intermediate, "out_hidden_size", (json_int_t)vision->out_hidden,
                     "in_channels", (json_int_t)vision->in_channels, "patch_size", (json_int_t)vision->patch,
                     "spatial_patch_size", (json_int_t)vision->patch, "temporal_patch_size",
                     (json_int_t)vision->temporal_patch, "spatial_merge_size", (json_int_t)vision->merge,
                     "window_size", (json_int_t)vision->window, "fullatt_block_indexes",
                     integer_list(vision->full_blocks, vision->full_block_count), "tokens_per_second",
                     describe_rate(vision->tokens_per_second), "hidden_act", "silu");
}

static json_t *describe_model(const struct model_config *config, const struct generation_config *generation,
                              enum dtype dtype) {
    return json_pack(
        "{s:[s], s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:{s:s, s:o}, s:b, s:b, s:I, "
        "s:I, s:I, s:I, s:I, s:o}",
        "architectures", "Qwen2_5_VLForConditionalGeneration", "model_type", "qwen2_5_vl", "torch_dtype",
        dtype == DTYPE_F32    ? "float32"
        : dtype == DTYPE_BF16 ? "bfloat16"
                              : "float16",
        "hidden_act", "silu", "hidden_size", (json_int_t)config->hidden, "num_hidden_layers",
        (json_int_t)config->layers, "num_attention_heads", (json_int_t)config->heads, "num_key_value_heads",
        (json_int_t)config->kv_heads, "intermediate_size", (json_int_t)config->intermediate, "vocab_size",
        (json_int_t)config->vocab, "max_position_embeddings", (json_int_t)config->max_positions,
        "rms_norm_eps", config->rms_epsilon, "rope_theta", config->rope_theta, "rope_scaling", "type",
        "mrope", "mrope_section", integer_list(config->mrope_section, 3), "tie_word_embeddings",
        (int)config->tied_embeddings, "use_sliding_window", 0, "eos_token_id",
        (json_int_t)(generation->stop_token_count ? generation->stop_tokens[0] : 0), "image_token_id",
        (json_int_t)config->image_token, "video_token_id", (json_int_t)config->video_token,
        "vision_start_token_id", (json_int_t)config->vision_start_token, "vision_end_token_id",
        (json_int_t)config->vision_end_token, "vision_config", describe_vision(&config->vision));
}

static json_t *describe_generation(const struct generation_config *generation) {
    return json_pack("{s:b, s:f, s:f, s:I, s:f, s:f, s:o}", "do_sample", (int)generation->do_sample,
                     "temperature", generation->temperature, "top_p", generation->top_p, "top_k",
                     (json_int_t)generation->top_k, "min_p", generation->min_p, "repetition_penalty",
                     generation->repetition_penalty, "eos_token_id", stop_token_list(generation));
}

/* As published for Qwen2.5-VL: pixel limits of 4 and 16,384 merged patches, CLIP's mean and deviation. */
static json_t *describe_preprocessor(const struct vision_config *vision) {
    const json_int_t merged = (json_int_t)(vision->patch * vision->patch * vision->merge * vision->merge);
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:[f, f, f], s:[f, f, f]}", "image_processor_type",
                     "Qwen2VLImageProcessor", "processor_class", "Qwen2_5_VLProcessor", "min_pixels",
                     4 * merged, "max_pixels", 16384 * merged, "patch_size", (json_int_t)vision->patch,
                     "temporal_patch_size", (json_int_t)vision->temporal_patch, "merge_size",
                     (json_int_t)vision->merge, "image_mean", 0.48145466, 0.4578275, 0.40821073, "image_std",
                     0.26862954, 0.26130258, 0.27577711);
}

enum status checkpoint_write_config(const char *folder, const struct model_config *config,
                                    const struct generation_config *generation, enum dtype dtype,
                                    struct error *err) {
    json_t *model = describe_model(config, generation, dtype);
    if (config->heads * config->head_dim != config->hidden &&
        json_object_set_new(model, "head_dim", json_integer(config->head_dim)) != 0) {
        json_decref(model);
        model = NULL; /* reported by json_write_file */
    }
    json_t *sampling = describe_generation(generation);
    json_t *preprocessor = describe_preprocessor(&config->vision);
    enum status status = json_write_file(folder, "config.json", model, err);
    if (status == STATUS_OK) status = json_write_file(folder, "generation_config.json", sampling, err);
    if (status == STATUS_OK) status = json_write_file(folder, "preprocessor_config.json", preprocessor, err);
    json_decref(model);
    json_decref(sampling);
    json_decref(preprocessor);
    return status;
}
