#include "model/tokenizer_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "model/tokenizer_vocabulary.h"

/* The special tokens of Qwen2.5-VL, in the order of their ids. */
static const char *const special_texts[] = {
    "<|endoftext|>",  "<|im_start|>",   "<|im_end|>",     "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>",  "<|box_end|>",    "<|quad_start|>", "<|quad_end|>",         "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",  "<|video_pad|>",
};

enum {
    SPECIAL_TOKENS = sizeof special_texts / sizeof *special_texts,
    END_OF_TEXT = 0, /* places in the list above */
    TURN_END = 2,
    VISION_START = 9,
    VISION_END = 10,
    IMAGE = 12,
    VIDEO = 13,
};

struct special_tokens special_tokens_after(int32_t ordinary) {
    return (struct special_tokens){
        .end_of_text = ordinary + END_OF_TEXT,
        .turn_end = ordinary + TURN_END,
        .image = ordinary + IMAGE,
        .video = ordinary + VIDEO,
        .vision_start = ordinary + VISION_START,
        .vision_end = ordinary + VISION_END,
        .count = ordinary + SPECIAL_TOKENS,
    };
}

/* The split of text before byte-level BPE, from the published tokenizer.json of Qwen2.5. */
static const char split_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* ChatML with the default system turn; a video or image is its pad between the vision marks. */
static const char chat_template[] =
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

int32_t tokenizer_byte_id(unsigned char byte) {
    enum { SHOWN = 188 }; /* '!' to '~', 0xA1 to 0xAC, 0xAE to 0xFF */
    const uint32_t spelling = byte_spelling(byte);
    if (spelling >= 0x100) return (int32_t)(SHOWN + spelling - 0x100);
    if (byte <= '~') return byte - '!';
    return byte < 0xAD ? byte - 0xA1 + 94 : byte - 0xAE + 106;
}

/* The ordinary tokens, spelled, by id. */
struct spelled_tokens {
    char **texts;
    int32_t count;
};

static void free_tokens(struct spelled_tokens *tokens) {
    for (int32_t i = 0; tokens->texts && i < tokens->count; i++) free(tokens->texts[i]);
    free(tokens->texts);
}

static enum status spell_tokens(const struct tokenizer_merges *merges, struct spelled_tokens *tokens,
                                struct error *err) {
    tokens->count = TOKENIZER_BYTES + (merges ? merges->count : 0);
    tokens->texts = memory_new((size_t)tokens->count, sizeof *tokens->texts, "the tokens", err);
    if (!tokens->texts) return STATUS_FAILED;
    for (int byte = 0; byte < TOKENIZER_BYTES; byte++) {
        const int32_t id = tokenizer_byte_id((unsigned char)byte);
        char spelled[4];
        size_t length = utf8_encode(byte_spelling((unsigned char)byte), spelled);
        tokens->texts[id] = memory_text(spelled, length, "a token", err);
        if (!tokens->texts[id]) return STATUS_FAILED;
    }
    for (int32_t i = TOKENIZER_BYTES; i < tokens->count; i++) {
        const struct tokenizer_merge *merge = &merges->items[i - TOKENIZER_BYTES];
        struct text text = {0};
        text_format(&text, "%s%s", tokens->texts[merge->left], tokens->texts[merge->right]);
        tokens->texts[i] = text_take(&text, "a token", err);
        if (!tokens->texts[i]) return STATUS_FAILED;
    }
    return STATUS_OK;
}

static json_t *describe_vocabulary(const struct spelled_tokens *tokens) {
    json_t *vocabulary = json_object();
    for (int32_t i = 0; i < tokens->count; i++)
        if (json_object_set_new(vocabulary, tokens->texts[i], json_integer(i)) != 0) {
            json_decref(vocabulary);
            return NULL;
        }
    return vocabulary;
}

static json_t *describe_merges(const struct spelled_tokens *tokens, const struct tokenizer_merges *merges) {
    json_t *list = json_array();
    for (int32_t i = 0; merges && i < merges->count; i++)
        if (json_array_append_new(list, json_sprintf("%s %s", tokens->texts[merges->items[i].left],
                                                     tokens->texts[merges->items[i].right])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *added_tokens(int32_t first) {
    json_t *list = json_array();
    for (int32_t i = 0; i < SPECIAL_TOKENS; i++)
        if (json_array_append_new(list, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", first + i,
                                                  "content", special_texts[i], "single_word", 0, "lstrip", 0,
                                                  "rstrip", 0, "normalized", 0, "special", 1)) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *byte_level(int add_prefix_space) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", add_prefix_space,
                     "trim_offsets", 0, "use_regex", 0);
}

static json_t *describe_tokenizer(const struct spelled_tokens *tokens,
                                  const struct tokenizer_merges *merges) {
    return json_pack("{s:s, s:n, s:n, s:o, s:{s:s}, s:{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}, s:o, s:o, "
                     "s:{s:s, s:n, s:n, s:s, s:s, s:b, s:b, s:b, s:o, s:o}}",
                     "version", "1.0", "truncation", "padding", "added_tokens", added_tokens(tokens->count),
                     "normalizer", "type", "NFC", "pre_tokenizer", "type", "Sequence", "pretokenizers",
                     "type", "Split", "pattern", "Regex", split_pattern, "behavior", "Isolated", "invert", 0,
                     byte_level(0), "post_processor", byte_level(0), "decoder", byte_level(0), "model",
                     "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "",
                     "end_of_word_suffix", "", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab",
                     describe_vocabulary(tokens), "merges", describe_merges(tokens, merges));
}

static json_t *describe_settings(void) {
    return json_pack("{s:s, s:s, s:s, s:s, s:n, s:n, s:b, s:b, s:s, s:i, s:s}", "tokenizer_class",
                     "Qwen2Tokenizer", "processor_class", "Qwen2_5_VLProcessor", "eos_token", "<|im_end|>",
                     "pad_token", "<|endoftext|>", "bos_token", "unk_token", "add_prefix_space", 0,
                     "clean_up_tokenization_spaces", 0, "errors", "replace", "model_max_length", 131072,
                     "chat_template", chat_template);
}

/* Writes the JSON and drops it; NULL means that there was no memory for it. */
static enum status write_dropping(const char *folder, const char *name, json_t *json, struct error *err) {
    enum status status = json_write_file(folder, name, json, err);
    json_decref(json);
    return status;
}

/* The older form of the merges: "LEFT RIGHT" a line. */
static enum status write_merges(const char *folder, const struct spelled_tokens *tokens,
                                const struct tokenizer_merges *merges, struct error *err) {
    struct text text = {0};
    text_append_string(&text, "#version: 0.2\n");
    for (int32_t i = 0; merges && i < merges->count; i++)
        text_format(&text, "%s %s\n", tokens->texts[merges->items[i].left],
                    tokens->texts[merges->items[i].right]);
    enum status status = text_check(&text, "merges.txt", err);
    char *path = status == STATUS_OK ? file_join(folder, "merges.txt", err) : NULL;
    status = path ? file_write(path, text.data, text.length, err) : STATUS_FAILED;
    free(path);
    text_free(&text);
    return status;
}

enum status tokenizer_write(const char *folder, const struct tokenizer_merges *merges, struct error *err) {
    struct spelled_tokens tokens = {0};
    enum status status = spell_tokens(merges, &tokens, err);
    if (status == STATUS_OK)
        status = write_dropping(folder, "tokenizer.json", describe_tokenizer(&tokens, merges), err);
    if (status == STATUS_OK) status = write_dropping(folder, "vocab.json", describe_vocabulary(&tokens), err);
    if (status == STATUS_OK) status = write_merges(folder, &tokens, merges, err);
    if (status == STATUS_OK)
        status = write_dropping(folder, "tokenizer_config.json", describe_settings(), err);
    if (status == STATUS_OK) /* where the processor looks for it */
        status = write_dropping(folder, "chat_template.json",
                                json_pack("{s:s}", "chat_template", chat_template), err);
    free_tokens(&tokens);
    return status;
}
