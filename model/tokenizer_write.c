#include "model/tokenizer_write.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

/* The special tokens of Qwen2.5-VL, in the order of their ids. */
static const char *const special_texts[] = {
    "<|endoftext|>",  "<|im_start|>",   "<|im_end|>",     "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>",  "<|box_end|>",    "<|quad_start|>", "<|quad_end|>",         "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",  "<|video_pad|>",
};

enum {
    BYTE_TOKENS = 256,
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

/* Whether GPT-2's byte-level alphabet shows the byte as the character of that number. */
static bool shows_itself(int byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* UTF-8 of a character below U+0800. */
static void spell(int character, char text[3]) {
    if (character < 0x80) {
        text[0] = (char)character;
        text[1] = '\0';
    } else {
        text[0] = (char)(0xC0 | character >> 6);
        text[1] = (char)(0x80 | (character & 0x3F));
        text[2] = '\0';
    }
}

/* Qwen's first 256 ids: the bytes that show themselves, then the others, spelled U+0100 and up. */
static json_t *byte_vocabulary(void) {
    json_t *vocabulary = json_object();
    int id = 0, shifted = 0x100;
    for (int pass = 0; pass < 2; pass++)
        for (int byte = 0; byte < BYTE_TOKENS; byte++) {
            char text[3];
            if (shows_itself(byte) != (pass == 0)) continue;
            spell(pass == 0 ? byte : shifted++, text);
            if (json_object_set_new(vocabulary, text, json_integer(id++)) != 0) {
                json_decref(vocabulary);
                return NULL;
            }
        }
    return vocabulary;
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

static json_t *describe_tokenizer(void) {
    return json_pack("{s:s, s:n, s:n, s:o, s:{s:s}, s:{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}, s:o, s:o, "
                     "s:{s:s, s:n, s:n, s:s, s:s, s:b, s:b, s:b, s:o, s:[]}}",
                     "version", "1.0", "truncation", "padding", "added_tokens", added_tokens(BYTE_TOKENS),
                     "normalizer", "type", "NFC", "pre_tokenizer", "type", "Sequence", "pretokenizers",
                     "type", "Split", "pattern", "Regex", split_pattern, "behavior", "Isolated", "invert", 0,
                     byte_level(0), "post_processor", byte_level(0), "decoder", byte_level(0), "model",
                     "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "",
                     "end_of_word_suffix", "", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab",
                     byte_vocabulary(), "merges");
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

enum status tokenizer_write_bytes(const char *folder, struct error *err) {
    if (write_dropping(folder, "tokenizer.json", describe_tokenizer(), err) != STATUS_OK)
        return STATUS_FAILED;
    if (write_dropping(folder, "tokenizer_config.json", describe_settings(), err) != STATUS_OK)
        return STATUS_FAILED;
    return write_dropping(folder, "chat_template.json", json_pack("{s:s}", "chat_template", chat_template),
                          err); /* where the processor looks for it */
}
