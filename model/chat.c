#include "model/chat.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const char default_system[] = "You are a helpful assistant.";

/* What is written around a message. */
static const struct {
    const char *name, *before, *after;
} roles[] = {
    [CHAT_SYSTEM] = {"system", "<|im_start|>system\n", "<|im_end|>\n"},
    [CHAT_USER] = {"user", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"},
    [CHAT_ASSISTANT] = {"assistant", "", "<|im_end|>\n"}, /* its beginning stands in the user's end */
};

enum kind { IMAGE, VIDEO, KINDS };

static const struct {
    const char *mark, *pad, *name;
} kinds[KINDS] = {
    [IMAGE] = {"<image>", "<|image_pad|>", "image"}, [VIDEO] = {"<video>", "<|video_pad|>", "video"}};

struct visual_list {
    const int64_t *pads;
    size_t count, used;
};

struct chat_encoder {
    const struct tokenizer *tokenizer;
    struct token_list *list;
    struct text text; /* what was written since the last visual */
    struct visual_list visuals[KINDS];
    int32_t pad_ids[KINDS], start_id, end_id;
    bool marks; /* marks are where visuals go */
};

void chat_answers_free(struct chat_answers *answers) {
    free(answers->items);
    *answers = (struct chat_answers){0};
}

int64_t chat_pads(int64_t time, int64_t height, int64_t width, int64_t merge) {
    return time * height * width / (merge * merge);
}

static enum status find_token(const struct tokenizer *tokenizer, const char *text, int32_t *id,
                              struct error *err) {
    *id = tokenizer_find(tokenizer, text);
    return *id >= 0 ? STATUS_OK : error_set(err, "the tokenizer has no token '%s'", text);
}

/* The first mark in [text, text + length) and its kind, or NULL. */
static const char *find_mark(const char *text, size_t length, enum kind *kind) {
    const char *first = NULL;
    if (length == 0) return NULL;
    for (int i = 0; i < KINDS; i++) {
        const char *found = memmem(text, length, kinds[i].mark, strlen(kinds[i].mark));
        if (!found || (first && found > first)) continue;
        first = found;
        *kind = (enum kind)i;
    }
    return first;
}

/* Marks count in what users and assistants say. */
static enum status check_marks(const struct chat_encoder *encoder, const struct chat_message *messages,
                               size_t count, struct error *err) {
    size_t found[KINDS] = {0};
    for (size_t i = 0; i < count; i++) {
        if (messages[i].role == CHAT_SYSTEM) continue;
        const char *at = messages[i].text, *end = at + messages[i].length;
        enum kind kind;
        while ((at = find_mark(at, (size_t)(end - at), &kind))) {
            at += strlen(kinds[kind].mark);
            found[kind]++;
        }
    }
    for (int i = 0; i < KINDS; i++)
        if (found[i] != encoder->visuals[i].count)
            return error_set(err, "the messages have %zu %s marks for %zu %ss", found[i], kinds[i].mark,
                             encoder->visuals[i].count, kinds[i].name);
    return STATUS_OK;
}

static enum status check_order(const struct chat_message *messages, size_t count, struct error *err) {
    size_t first = count > 0 && messages[0].role == CHAT_SYSTEM ? 1 : 0;
    if (first == count) return error_set(err, "a conversation needs a message of the user");
    for (size_t i = first; i < count; i++) {
        enum chat_role wanted = (i - first) % 2 == 0 ? CHAT_USER : CHAT_ASSISTANT;
        if (messages[i].role != wanted)
            return error_set(err, "message %zu is of the %s where the %s speaks", i + 1,
                             roles[messages[i].role].name, roles[wanted].name);
    }
    return STATUS_OK;
}

/* Tokenizes what was written so far. */
static enum status flush(struct chat_encoder *encoder, struct error *err) {
    if (text_check(&encoder->text, "a conversation", err) != STATUS_OK ||
        tokenizer_encode(encoder->tokenizer, encoder->text.data, encoder->text.length, encoder->list, err) !=
            STATUS_OK)
        return STATUS_FAILED;
    encoder->text.length = 0;
    return STATUS_OK;
}

static enum status put_visual(struct chat_encoder *encoder, enum kind kind, struct error *err) {
    struct visual_list *visuals = &encoder->visuals[kind];
    assert(visuals->used < visuals->count); /* check_marks has counted */
    int64_t pads = visuals->pads[visuals->used++];
    if (flush(encoder, err) != STATUS_OK ||
        token_list_push(encoder->list, encoder->start_id, err) != STATUS_OK)
        return STATUS_FAILED;
    for (int64_t i = 0; i < pads; i++)
        if (token_list_push(encoder->list, encoder->pad_ids[kind], err) != STATUS_OK) return STATUS_FAILED;
    return token_list_push(encoder->list, encoder->end_id, err);
}

/* Text of a user or an assistant, visuals in the place of its marks. */
static enum status put_marked(struct chat_encoder *encoder, const char *text, size_t length,
                              struct error *err) {
    const char *end = text + length, *mark;
    enum kind kind;
    while ((mark = find_mark(text, (size_t)(end - text), &kind))) {
        text_append(&encoder->text, text, (size_t)(mark - text));
        if (put_visual(encoder, kind, err) != STATUS_OK) return STATUS_FAILED;
        text = mark + strlen(kinds[kind].mark);
    }
    text_append(&encoder->text, text, (size_t)(end - text));
    return STATUS_OK;
}

static enum status put_message(struct chat_encoder *encoder, const struct chat_message *message,
                               struct error *err) {
    enum status status = STATUS_OK;
    text_append_string(&encoder->text, roles[message->role].before);
    for (int kind = 0; message->visuals_first && kind < KINDS; kind++)
        while (status == STATUS_OK && encoder->visuals[kind].used < encoder->visuals[kind].count)
            status = put_visual(encoder, (enum kind)kind, err);
    if (status != STATUS_OK) return status;
    if (message->role != CHAT_SYSTEM && encoder->marks)
        status = put_marked(encoder, message->text, message->length, err);
    else
        text_append(&encoder->text, message->text, message->length);
    if (status != STATUS_OK) return status;
    text_append_string(&encoder->text, roles[message->role].after);
    return flush(encoder, err);
}

static enum status put_messages(struct chat_encoder *encoder, const struct chat_message *messages,
                                size_t count, struct chat_answers *answers, struct error *err) {
    static const struct chat_message standard = {
        .role = CHAT_SYSTEM, .text = default_system, .length = sizeof default_system - 1};
    if (messages[0].role != CHAT_SYSTEM && put_message(encoder, &standard, err) != STATUS_OK)
        return STATUS_FAILED;
    for (size_t i = 0; i < count; i++) {
        const struct chat_message *message = &messages[i];
        size_t begin = encoder->list->count;
        if (message->role == CHAT_SYSTEM && message->length == 0) message = &standard;
        if (put_message(encoder, message, err) != STATUS_OK) return STATUS_FAILED;
        if (message->role != CHAT_ASSISTANT || !answers) continue;
        if (memory_grow(&answers->items, &answers->capacity, answers->count + 1, sizeof *answers->items,
                        "answers", err) != STATUS_OK)
            return STATUS_FAILED;
        answers->items[answers->count++] = (struct chat_answer){begin, encoder->list->count};
    }
    return STATUS_OK;
}

/* A text that names a pad brings one that stands for no patch: the references fail in the model then. */
static enum status check_pads(const struct chat_encoder *encoder, size_t first, struct error *err) {
    for (int kind = 0; kind < KINDS; kind++) {
        int64_t wanted = 0, found = 0;
        for (size_t i = 0; i < encoder->visuals[kind].count; i++) wanted += encoder->visuals[kind].pads[i];
        for (size_t i = first; i < encoder->list->count; i++)
            found += encoder->list->ids[i] == encoder->pad_ids[kind];
        if (found != wanted)
            return error_set(err, "the texts of the messages hold %lld %s of their own",
                             (long long)(found - wanted), kinds[kind].pad);
    }
    return STATUS_OK;
}

enum status chat_encode(const struct tokenizer *tokenizer, const struct chat_message *messages, size_t count,
                        const struct chat_visuals *visuals, struct token_list *list,
                        struct chat_answers *answers, struct error *err) {
    struct chat_encoder encoder = {
        .tokenizer = tokenizer,
        .list = list,
        .visuals = {[IMAGE] = {visuals->image_pads, visuals->image_count, 0},
                    [VIDEO] = {visuals->video_pads, visuals->video_count, 0}},
        .marks = true,
    };
    size_t old_count = list->count, old_answers = answers ? answers->count : 0;
    if (check_order(messages, count, err) != STATUS_OK ||
        find_token(tokenizer, "<|vision_start|>", &encoder.start_id, err) != STATUS_OK ||
        find_token(tokenizer, "<|vision_end|>", &encoder.end_id, err) != STATUS_OK)
        return STATUS_FAILED;
    for (int kind = 0; kind < KINDS; kind++)
        if (find_token(tokenizer, kinds[kind].pad, &encoder.pad_ids[kind], err) != STATUS_OK)
            return STATUS_FAILED;
    for (size_t i = 0; i < count; i++)
        if (messages[i].visuals_first) encoder.marks = false;
    if (encoder.marks && check_marks(&encoder, messages, count, err) != STATUS_OK) return STATUS_FAILED;

    enum status status = put_messages(&encoder, messages, count, answers, err);
    if (status == STATUS_OK) status = check_pads(&encoder, old_count, err);
    if (status != STATUS_OK) {
        list->count = old_count;
        if (answers) answers->count = old_answers;
    }
    text_free(&encoder.text);
    return status;
}
