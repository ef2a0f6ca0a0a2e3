#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/json_reader.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "model/tokenizer_normalize.h"
#include "model/tokenizer_parts.h"

enum {
    BYTES_PER_TOKEN = 24, /* of a vocabulary's or a merge list's JSON, to guess the size of the tables */
};
static const size_t MAX_FILE = (size_t)256 << 20;

static const char split_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* {"TEXT": ID, ...} */
static enum status read_vocabulary(struct vocabulary *vocabulary, struct json_reader *reader,
                                   struct error *err) {
    bool more;
    if (json_reader_open(reader, '{', err) != STATUS_OK) return STATUS_FAILED;
    for (;;) {
        struct json_slice text;
        int64_t id;
        if (json_reader_next(reader, '}', &more, err) != STATUS_OK) return STATUS_FAILED;
        if (!more) return STATUS_OK;
        if (json_reader_key(reader, &text, err) != STATUS_OK ||
            json_reader_integer(reader, INT32_MIN, INT32_MAX, &id, err) != STATUS_OK)
            return STATUS_FAILED;
        if (vocabulary_add(vocabulary, text.data, text.length, id, err) != STATUS_OK) {
            error_prefix(err, "%s", reader->place);
            return STATUS_FAILED;
        }
    }
}

static enum status add_merge(struct vocabulary *vocabulary, struct json_slice left, struct json_slice right,
                             uint32_t order, const char *place, struct error *err) {
    enum status status =
        vocabulary_add_merge(vocabulary, left.data, left.length, right.data, right.length, order, err);
    if (status != STATUS_OK) error_prefix(err, "%s: merge %u", place, order + 1);
    return status;
}

/* Adds the merge "LEFT RIGHT". */
static enum status add_merge_line(struct vocabulary *vocabulary, struct json_slice line, uint32_t order,
                                  const char *place, struct error *err) {
    const char *space = memchr(line.data, ' ', line.length);
    struct json_slice left = {line.data, space ? (size_t)(space - line.data) : 0};
    struct json_slice right = {line.data + left.length + 1, space ? line.length - left.length - 1 : 0};
    if (left.length == 0 || right.length == 0 || memchr(right.data, ' ', right.length))
        return error_set(err, "%s: merge %u: two tokens with a space between them expected", place,
                         order + 1);
    return add_merge(vocabulary, left, right, order, place, err);
}

/* ["LEFT", "RIGHT"]; the left one is copied to a buffer, since the reader may overwrite it. */
static enum status read_merge_pair(struct vocabulary *vocabulary, struct json_reader *reader, uint32_t order,
                                   struct text *buffer, struct error *err) {
    struct json_slice tokens[2];
    bool more;
    if (json_reader_open(reader, '[', err) != STATUS_OK) return STATUS_FAILED;
    for (int i = 0; i < 2; i++) {
        if (json_reader_next(reader, ']', &more, err) != STATUS_OK) return STATUS_FAILED;
        if (!more) return error_set(err, "%s: merge %u: two tokens expected", reader->place, order + 1);
        if (json_reader_string(reader, &tokens[i], err) != STATUS_OK) return STATUS_FAILED;
        if (i == 1) break;
        buffer->length = 0;
        text_append(buffer, tokens[0].data, tokens[0].length);
        if (text_check(buffer, "the merges", err) != STATUS_OK) return STATUS_FAILED;
        tokens[0].data = buffer->data;
    }
    if (json_reader_next(reader, ']', &more, err) != STATUS_OK) return STATUS_FAILED;
    if (more) return error_set(err, "%s: merge %u: two tokens expected", reader->place, order + 1);
    return add_merge(vocabulary, tokens[0], tokens[1], order, reader->place, err);
}

/* ["LEFT RIGHT", ...] or [["LEFT", "RIGHT"], ...] */
static enum status read_merges(struct vocabulary *vocabulary, struct json_reader *reader, struct error *err) {
    enum status status = json_reader_open(reader, '[', err);
    struct text buffer = {0};
    for (uint32_t order = 0; status == STATUS_OK; order++) {
        bool more;
        struct json_slice line;
        status = json_reader_next(reader, ']', &more, err);
        if (status != STATUS_OK || !more) break;
        if (json_reader_peek(reader) == '[') {
            status = read_merge_pair(vocabulary, reader, order, &buffer, err);
        } else {
            status = json_reader_string(reader, &line, err);
            if (status == STATUS_OK) status = add_merge_line(vocabulary, line, order, reader->place, err);
        }
    }
    text_free(&buffer);
    return status;
}

/* A member that is too big for a tree of values. */
struct big_member {
    const char *key;
    struct json_slice value; /* its text, once read_members has found it */
    /* An object whose own members are told apart likewise, the small ones going to its `small`; value.data
     * then says no more than that it is there. */
    struct big_member *members;
    size_t count;
    json_t *small;
};

/* Parses one small member into the object. */
static enum status read_small(struct json_reader *reader, const char *key, json_t *small, struct error *err) {
    struct json_slice value;
    struct text place = {0};
    json_t *tree = NULL;
    enum status status = json_reader_skip(reader, &value, err);
    if (status != STATUS_OK) return status;
    text_format(&place, "%s: '%s'", reader->place, key);
    status = text_check(&place, reader->place, err);
    if (status == STATUS_OK) {
        tree = json_read_text(value.data, value.length, place.data, err);
        status = tree ? STATUS_OK : STATUS_FAILED;
    }
    if (tree && json_object_set_new(small, key, tree) != 0)
        status = error_set(err, "%s: out of memory", place.data);
    text_free(&place);
    return status;
}

static enum status read_members(struct json_reader *reader, struct big_member *object, struct error *err);

static enum status read_big(struct json_reader *reader, struct big_member *member, struct error *err) {
    if (!member->members) return json_reader_skip(reader, &member->value, err);
    member->value.data = reader->at;
    return read_members(reader, member, err);
}

/* Reads an object, its members as object->members says. */
static enum status read_members(struct json_reader *reader, struct big_member *object, struct error *err) {
    enum status status = json_reader_open(reader, '{', err);
    while (status == STATUS_OK) {
        struct json_slice slice;
        size_t which = 0;
        bool more;
        status = json_reader_next(reader, '}', &more, err);
        if (status != STATUS_OK || !more) break;
        if (json_reader_key(reader, &slice, err) != STATUS_OK) return STATUS_FAILED;
        char *key = memory_text(slice.data, slice.length, reader->place, err);
        if (!key) return STATUS_FAILED;
        while (which < object->count && strcmp(object->members[which].key, key) != 0) which++;
        status = which < object->count ? read_big(reader, &object->members[which], err)
                                       : read_small(reader, key, object->small, err);
        free(key);
    }
    return status;
}

/* The "type" of a component of the tokenizer, "" when it has none. */
static const char *type_of(const json_t *component) {
    const char *type = json_string_value(json_object_get(component, "type"));
    return type ? type : "";
}

static bool is_false(const json_t *component, const char *key) {
    return json_is_false(json_object_get(component, key));
}

static bool is_null(const json_t *value) {
    return !value || json_is_null(value);
}

/* null, NFC, or a sequence of these. */
static enum status check_normalizer(const json_t *normalizer, bool *nfc, const char *path,
                                    struct error *err) {
    size_t i;
    json_t *part;
    *nfc = false;
    if (is_null(normalizer)) return STATUS_OK;
    const json_t *parts = json_object_get(normalizer, "normalizers");
    bool known = strcmp(type_of(normalizer), "NFC") == 0;
    if (strcmp(type_of(normalizer), "Sequence") == 0 && json_is_array(parts)) {
        known = true;
        json_array_foreach(parts, i, part) if (strcmp(type_of(part), "NFC") != 0) known = false;
    }
    if (!known)
        return error_set(err, "%s: normalizer '%s' is not supported, only NFC is", path, type_of(normalizer));
    *nfc = !parts || json_array_size(parts) > 0;
    return STATUS_OK;
}

/* Qwen2's: split by its pattern, then bytes to characters. */
static enum status check_pre_tokenizer(const json_t *pre_tokenizer, const char *path, struct error *err) {
    const json_t *parts = json_object_get(pre_tokenizer, "pretokenizers");
    const json_t *split = json_array_get(parts, 0);
    const json_t *bytes = json_array_get(parts, 1);
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    const char *pattern = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    if (strcmp(type_of(pre_tokenizer), "Sequence") != 0 || json_array_size(parts) != 2 ||
        strcmp(type_of(split), "Split") != 0 || !pattern || !behavior || strcmp(behavior, "Isolated") != 0 ||
        !is_false(split, "invert") || strcmp(type_of(bytes), "ByteLevel") != 0 ||
        !is_false(bytes, "add_prefix_space") || !is_false(bytes, "use_regex"))
        return error_set(err,
                         "%s: pre_tokenizer '%s' is not supported, only Qwen2's is (Split, then ByteLevel)",
                         path, type_of(pre_tokenizer));
    if (strcmp(pattern, split_pattern) != 0)
        return error_set(err, "%s: pre_tokenizer: the pattern '%s' is not supported, only Qwen2's is", path,
                         pattern);
    return STATUS_OK;
}

static bool is_absent_or_empty(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return is_null(value) || (json_is_string(value) && json_string_length(value) == 0);
}

/* What stands beside vocab and merges in "model". */
static enum status check_model(const json_t *model, bool *ignore_merges, const char *path,
                               struct error *err) {
    if (json_object_get(model, "type") && strcmp(type_of(model), "BPE") != 0)
        return error_set(err, "%s: model '%s' is not supported, only BPE is", path, type_of(model));
    if (!is_absent_or_empty(model, "continuing_subword_prefix") ||
        !is_absent_or_empty(model, "end_of_word_suffix"))
        return error_set(err, "%s: model: prefixes and suffixes of words are not supported", path);
    const json_t *dropout = json_object_get(model, "dropout");
    if (!is_null(dropout) && json_number_value(dropout) != 0)
        return error_set(err, "%s: model: dropout is not supported", path);
    return json_get_bool(model, "ignore_merges", false, ignore_merges, path, err);
}

/* Reads vocab and merges from their texts. */
static enum status read_model(struct tokenizer *tokenizer, struct json_slice vocab, struct json_slice merges,
                              const char *path, struct error *err) {
    struct json_reader reader;
    if (!vocab.data || !merges.data)
        return error_set(err, "%s: model: '%s' is missing", path, vocab.data ? "merges" : "vocab");
    if (vocabulary_create(&tokenizer->vocabulary, vocab.length / BYTES_PER_TOKEN,
                          merges.length / BYTES_PER_TOKEN, err) != STATUS_OK)
        return STATUS_FAILED;
    json_reader_start(&reader, vocab.data, vocab.length, path);
    enum status status = read_vocabulary(&tokenizer->vocabulary, &reader, err);
    json_reader_free(&reader);
    if (status != STATUS_OK) return status;
    json_reader_start(&reader, merges.data, merges.length, path);
    status = read_merges(&tokenizer->vocabulary, &reader, err);
    json_reader_free(&reader);
    return status;
}

/* Adds one added token: to the vocabulary, where it may be already, and to the set that is searched. */
static enum status add_token(struct tokenizer *tokenizer, struct added_token token, bool normalized,
                             struct error *err) {
    struct vocabulary *vocabulary = &tokenizer->vocabulary;
    struct text buffer = {0};
    const char *text = token.text;
    if (token.length == 0) return STATUS_OK; /* Hugging Face leaves these out too */
    int32_t known = vocabulary_find(vocabulary, token.text, token.length);
    if (known >= 0 && known != token.id)
        return error_set(err, "added token '%.64s' has id %d, but %d in the vocabulary", token.text, token.id,
                         known);
    if (known < 0 && vocabulary_add(vocabulary, token.text, token.length, token.id, err) != STATUS_OK)
        return STATUS_FAILED;
    enum status status = STATUS_OK;
    if (normalized && tokenizer->nfc)
        status = normalize_nfc(tokenizer->classes, &text, &token.length, &buffer, err);
    token.text = (char *)text;
    if (status == STATUS_OK)
        status = added_set_add(normalized ? &tokenizer->normalized : &tokenizer->raw, token, err);
    text_free(&buffer);
    return status;
}

/* {"content": ..., "single_word": ..., ...}, of tokenizer.json and of tokenizer_config.json alike. */
static enum status add_token_object(struct tokenizer *tokenizer, const json_t *object, int32_t id,
                                    const char *path, struct error *err) {
    const char *content;
    bool single_word, normalized;
    struct added_token token = {.id = id};
    if (json_get_string(object, "content", "", &content, path, err) != STATUS_OK ||
        json_get_bool(object, "single_word", false, &single_word, path, err) != STATUS_OK ||
        json_get_bool(object, "lstrip", false, &token.left, path, err) != STATUS_OK ||
        json_get_bool(object, "rstrip", false, &token.right, path, err) != STATUS_OK ||
        json_get_bool(object, "special", false, &token.special, path, err) != STATUS_OK ||
        json_get_bool(object, "normalized", !token.special, &normalized, path, err) != STATUS_OK)
        return STATUS_FAILED;
    if (single_word)
        return error_set(err, "%s: added token '%s': single_word is not supported", path, content);
    token.text = (char *)content; /* copied by whoever keeps it */
    token.length = json_string_length(json_object_get(object, "content"));
    if (add_token(tokenizer, token, normalized, err) != STATUS_OK) {
        error_prefix(err, "%s", path);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

static enum status read_added_tokens(struct tokenizer *tokenizer, const json_t *tokens, const char *path,
                                     struct error *err) {
    size_t i;
    json_t *object;
    if (!is_null(tokens) && !json_is_array(tokens))
        return error_set(err, "%s: 'added_tokens' must be an array", path);
    json_array_foreach(tokens, i, object) {
        long long id;
        if (json_get_integer(object, "id", 0, VOCABULARY_MAX_TOKENS - 1, -1, &id, path, err) != STATUS_OK)
            return STATUS_FAILED;
        if (id < 0) return error_set(err, "%s: added token %zu has no 'id'", path, i);
        if (add_token_object(tokenizer, object, (int32_t)id, path, err) != STATUS_OK) return STATUS_FAILED;
    }
    return STATUS_OK;
}

static void mark_special(struct tokenizer *tokenizer, const struct added_set *set) {
    for (size_t i = 0; i < set->count; i++)
        if (set->tokens[i].special) tokenizer->special[set->tokens[i].id] = 1;
}

/* Bytes that UTF-8 never has. */
static bool is_never_in_text(unsigned byte) {
    return byte == 0xC0 || byte == 0xC1 || byte >= 0xF5;
}

/* Derives what is looked up while encoding, once all tokens are there. */
static enum status finish(struct tokenizer *tokenizer, const char *path, struct error *err) {
    for (unsigned byte = 0; byte < 256; byte++) {
        char spelled[4];
        size_t length = utf8_encode(byte_spelling((unsigned char)byte), spelled);
        tokenizer->byte_ids[byte] = vocabulary_find(&tokenizer->vocabulary, spelled, length);
        if (tokenizer->byte_ids[byte] < 0 && !is_never_in_text(byte))
            return error_set(err, "%s: the vocabulary has no token for byte 0x%02X", path, byte);
    }
    added_set_sort(&tokenizer->raw);
    added_set_sort(&tokenizer->normalized);
    tokenizer->special = memory_new((size_t)tokenizer->vocabulary.limit, 1, path, err);
    if (!tokenizer->special) return STATUS_FAILED;
    mark_special(tokenizer, &tokenizer->raw);
    mark_special(tokenizer, &tokenizer->normalized);
    return STATUS_OK;
}

/* Fills the tokenizer from the parts of tokenizer.json. */
static enum status take_parts(struct tokenizer *tokenizer, const struct big_member *root, const char *path,
                              struct error *err) {
    const struct big_member *model = &root->members[0];
    const char *decoder = type_of(json_object_get(root->small, "decoder"));
    if (check_normalizer(json_object_get(root->small, "normalizer"), &tokenizer->nfc, path, err) !=
            STATUS_OK ||
        check_pre_tokenizer(json_object_get(root->small, "pre_tokenizer"), path, err) != STATUS_OK)
        return STATUS_FAILED;
    if (strcmp(decoder, "ByteLevel") != 0)
        return error_set(err, "%s: decoder '%s' is not supported, only ByteLevel is", path, decoder);
    if (!model->value.data) return error_set(err, "%s: 'model' is missing", path);
    if (check_model(model->small, &tokenizer->ignore_merges, path, err) != STATUS_OK ||
        read_model(tokenizer, model->members[0].value, model->members[1].value, path, err) != STATUS_OK ||
        read_added_tokens(tokenizer, json_object_get(root->small, "added_tokens"), path, err) != STATUS_OK)
        return STATUS_FAILED;
    return finish(tokenizer, path, err);
}

enum status tokenizer_read_json(struct tokenizer *tokenizer, const char *path, struct error *err) {
    struct big_member lists[] = {{.key = "vocab"}, {.key = "merges"}};
    struct big_member model = {.key = "model", .members = lists, .count = 2, .small = json_object()};
    struct big_member root = {.members = &model, .count = 1, .small = json_object()};
    struct json_reader reader = {0};
    char *text = NULL;
    size_t length;
    enum status status = model.small && root.small ? STATUS_OK : error_set(err, "%s: out of memory", path);
    if (status == STATUS_OK) status = file_read(path, MAX_FILE, &text, &length, err);
    if (status == STATUS_OK) {
        json_reader_start(&reader, text, length, path);
        status = read_members(&reader, &root, err);
    }
    if (status == STATUS_OK) status = json_reader_end(&reader, err);
    if (status == STATUS_OK) status = take_parts(tokenizer, &root, path, err);
    json_reader_free(&reader);
    json_decref(model.small);
    json_decref(root.small);
    free(text);
    return status;
}

/* Adds tokens from {"TEXT": ID, ...}; special ones are those named in the list. */
static enum status read_added_ids(struct tokenizer *tokenizer, const json_t *ids, const json_t *special,
                                  const char *path, struct error *err) {
    const char *text;
    json_t *value, *name;
    size_t i;
    json_object_foreach((json_t *)ids, text, value) {
        long long id;
        if (json_get_integer(ids, text, 0, VOCABULARY_MAX_TOKENS - 1, -1, &id, path, err) != STATUS_OK)
            return STATUS_FAILED;
        struct added_token token = {.text = (char *)text, .length = strlen(text), .id = (int32_t)id};
        json_array_foreach(special, i, name) if (strcmp(json_string_value(name), text) == 0) token.special =
            true;
        if (add_token(tokenizer, token, !token.special, err) != STATUS_OK) {
            error_prefix(err, "%s", path);
            return STATUS_FAILED;
        }
    }
    return STATUS_OK;
}

/* Appends the text of a special token, "TEXT" or {"content": "TEXT"}, to the list. */
static enum status add_special_name(json_t *names, const json_t *value, const char *path, struct error *err) {
    const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    if (text && json_array_append_new(names, json_string(text)) != 0)
        return error_set(err, "%s: out of memory", path);
    return STATUS_OK;
}

/* Collects the texts of special tokens from a tokenizer_config.json or special_tokens_map.json. */
static enum status add_special_names(json_t *names, const json_t *config, const char *path,
                                     struct error *err) {
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};
    size_t i;
    json_t *value;
    for (i = 0; i < sizeof keys / sizeof *keys; i++)
        if (add_special_name(names, json_object_get(config, keys[i]), path, err) != STATUS_OK)
            return STATUS_FAILED;
    json_array_foreach(json_object_get(config, "additional_special_tokens"), i,
                       value) if (add_special_name(names, value, path, err) !=
                                  STATUS_OK) return STATUS_FAILED;
    return STATUS_OK;
}

/* {"ID": {"content": ...}, ...}, the added_tokens_decoder of tokenizer_config.json. */
static enum status read_added_decoder(struct tokenizer *tokenizer, const json_t *decoder, const char *path,
                                      struct error *err) {
    const char *key;
    json_t *object;
    json_object_foreach((json_t *)decoder, key, object) {
        char *end;
        long id = strtol(key, &end, 10);
        if (end == key || *end || id < 0 || id >= VOCABULARY_MAX_TOKENS)
            return error_set(err, "%s: added_tokens_decoder: '%s' is no id", path, key);
        if (add_token_object(tokenizer, object, (int32_t)id, path, err) != STATUS_OK) return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* A JSON file of the folder that may be missing: *json is NULL then. *path names it, to be freed. */
static enum status read_optional(const char *folder, const char *name, char **path, json_t **json,
                                 struct error *err) {
    struct text joined = {0};
    *json = NULL;
    text_format(&joined, "%s/%s", folder, name);
    *path = text_take(&joined, name, err);
    if (!*path) return STATUS_FAILED;
    if (access(*path, F_OK) != 0) return STATUS_OK;
    *json = json_read_file(*path, MAX_FILE, err);
    return *json ? STATUS_OK : STATUS_FAILED;
}

/* The added tokens of the older files, as transformers reads them: tokenizer_config.json tells all, or
 * added_tokens.json has the ids and the other two files say which are special. */
static enum status read_older_added(struct tokenizer *tokenizer, const char *folder, struct error *err) {
    enum { CONFIG, MAP, ADDED, FILES };
    static const char *const names[FILES] = {"tokenizer_config.json", "special_tokens_map.json",
                                             "added_tokens.json"};
    char *paths[FILES] = {NULL};
    json_t *files[FILES] = {NULL};
    json_t *special = json_array();
    enum status status = special ? STATUS_OK : error_set(err, "%s: out of memory", folder);
    for (int i = 0; i < FILES && status == STATUS_OK; i++)
        status = read_optional(folder, names[i], &paths[i], &files[i], err);
    if (status != STATUS_OK) goto err;

    const json_t *decoder = json_object_get(files[CONFIG], "added_tokens_decoder");
    if (decoder) {
        status = read_added_decoder(tokenizer, decoder, paths[CONFIG], err);
        goto err;
    }
    status = add_special_names(special, files[CONFIG], paths[CONFIG], err);
    if (status == STATUS_OK) status = add_special_names(special, files[MAP], paths[MAP], err);
    if (status == STATUS_OK) status = read_added_ids(tokenizer, files[ADDED], special, paths[ADDED], err);
err:
    for (int i = 0; i < FILES; i++) {
        free(paths[i]);
        json_decref(files[i]);
    }
    json_decref(special);
    return status;
}

/* merges.txt: "#version..." lines, empty lines, and "LEFT RIGHT" lines. */
static enum status read_merge_lines(struct vocabulary *vocabulary, const char *text, size_t length,
                                    const char *path, struct error *err) {
    static const char version[] = "#version";
    uint32_t order = 0;
    size_t valid = utf8_valid_prefix(text, length);
    if (valid < length) return error_set(err, "%s: byte %zu: not UTF-8", path, valid + 1);
    while (length > 0) {
        const char *newline = memchr(text, '\n', length);
        size_t size = newline ? (size_t)(newline - text) : length;
        struct json_slice line = {text, size > 0 && text[size - 1] == '\r' ? size - 1 : size};
        bool comment = line.length >= strlen(version) && memcmp(text, version, strlen(version)) == 0;
        if (line.length > 0 && !comment && add_merge_line(vocabulary, line, order++, path, err) != STATUS_OK)
            return STATUS_FAILED;
        text += newline ? size + 1 : size;
        length -= newline ? size + 1 : size;
    }
    return STATUS_OK;
}

/* Reads vocab.json and merges.txt, both given as text. */
static enum status read_older_model(struct tokenizer *tokenizer, const char *const paths[2],
                                    char *const texts[2], const size_t lengths[2], struct error *err) {
    struct json_reader reader;
    if (vocabulary_create(&tokenizer->vocabulary, lengths[0] / BYTES_PER_TOKEN, lengths[1] / BYTES_PER_TOKEN,
                          err) != STATUS_OK)
        return STATUS_FAILED;
    json_reader_start(&reader, texts[0], lengths[0], paths[0]);
    enum status status = read_vocabulary(&tokenizer->vocabulary, &reader, err);
    if (status == STATUS_OK) status = json_reader_end(&reader, err);
    json_reader_free(&reader);
    if (status != STATUS_OK) return status;
    return read_merge_lines(&tokenizer->vocabulary, texts[1], lengths[1], paths[1], err);
}

enum status tokenizer_read_files(struct tokenizer *tokenizer, const char *folder, struct error *err) {
    static const char *const names[2] = {"vocab.json", "merges.txt"};
    enum status status = STATUS_FAILED;
    char *paths[2] = {NULL}, *texts[2] = {NULL};
    size_t lengths[2];
    for (int i = 0; i < 2; i++) {
        struct text path = {0};
        text_format(&path, "%s/%s", folder, names[i]);
        paths[i] = text_take(&path, names[i], err);
        if (!paths[i]) goto err;
        if (access(paths[i], F_OK) != 0) {
            error_set(err, "%s: no tokenizer: neither tokenizer.json nor %s is there", folder, names[i]);
            goto err;
        }
        if (file_read(paths[i], MAX_FILE, &texts[i], &lengths[i], err) != STATUS_OK) goto err;
    }
    tokenizer->nfc = true;
    if (read_older_model(tokenizer, (const char *const *)paths, texts, lengths, err) != STATUS_OK ||
        read_older_added(tokenizer, folder, err) != STATUS_OK)
        goto err;
    status = finish(tokenizer, folder, err);
err:
    for (int i = 0; i < 2; i++) {
        free(paths[i]);
        free(texts[i]);
    }
    return status;
}
