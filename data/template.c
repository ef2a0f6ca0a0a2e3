#include "data/template.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

const struct template_marks template_published_marks = {
    .before = "its text prompt:",
    .after = "Based on the video content and the dimension definitions",
};

static const char place[] = "{prompt}";

enum { MOST_FRAMES = 16 }; /* different texts around the prompt that are told apart */

/* A piece of text that something else owns. */
struct slice {
    const char *data;
    size_t length;
};

/* A user's turn: `before` ends with the first mark, `after` begins with the second. */
struct parts {
    struct slice before, middle, after;
};

/* The text around the prompt in some of the rows. */
struct frame {
    struct text before, after;
    struct text lead, trail; /* of the middle: what all these rows share */
    int64_t count;
};

struct recovery {
    const struct dataset *dataset;
    const struct template_marks *marks;
    struct frame frames[MOST_FRAMES];
    int count;
};

static struct slice slice(const char *begin, const char *end) {
    return (struct slice){begin, (size_t)(end - begin)};
}

static bool same(const struct text *text, struct slice part) {
    return text->length == part.length &&
           (part.length == 0 || memcmp(text->data, part.data, part.length) == 0);
}

static bool ends_sentence(char c) {
    return c == '.' || c == '!' || c == '?';
}

/* White space and quotes. */
static bool surrounds(char c) {
    return c && strchr(" \t\r\n\"'`", c);
}

/* Divides the first user's turn; false when it lacks the marks. */
static bool divide(const struct row *row, const struct template_marks *marks, struct parts *parts) {
    const struct chat_message *message = &row->messages[row->messages[0].role == CHAT_SYSTEM];
    const char *end = message->text + message->length;
    const char *before = memmem(message->text, message->length, marks->before, strlen(marks->before));
    if (!before) return false;
    before += strlen(marks->before);
    const char *after = memmem(before, (size_t)(end - before), marks->after, strlen(marks->after));
    if (!after) return false;
    *parts = (struct parts){slice(message->text, before), slice(before, after), slice(after, end)};
    return true;
}

/* ---- First round: which text is around the prompt, and what white space and quotes ---- */

static void start_frame(struct frame *frame, const struct parts *parts) {
    const struct slice middle = parts->middle;
    size_t lead = 0, trail = 0;
    while (lead < middle.length && surrounds(middle.data[lead])) lead++;
    while (trail < middle.length - lead && surrounds(middle.data[middle.length - 1 - trail])) trail++;
    text_append(&frame->before, parts->before.data, parts->before.length);
    text_append(&frame->after, parts->after.data, parts->after.length);
    text_append(&frame->lead, middle.data, lead);
    text_append(&frame->trail, middle.data + middle.length - trail, trail);
}

/* Keeps of lead and trail what this row has too. */
static void narrow_frame(struct frame *frame, struct slice middle) {
    size_t lead = 0, trail = 0;
    while (lead < frame->lead.length && lead < middle.length && middle.data[lead] == frame->lead.data[lead])
        lead++;
    while (trail < frame->trail.length && trail < middle.length - lead &&
           middle.data[middle.length - 1 - trail] == frame->trail.data[frame->trail.length - 1 - trail])
        trail++;
    frame->lead.length = lead;
    if (trail < frame->trail.length) {
        memmove(frame->trail.data, frame->trail.data + frame->trail.length - trail, trail);
        frame->trail.length = trail;
    }
}

/* Adds a row to its frame; texts beyond the first MOST_FRAMES different ones are not counted. */
static enum status add_row(struct recovery *recovery, const struct parts *parts, struct error *err) {
    struct frame *frame = recovery->frames;
    const struct frame *end = frame + recovery->count;
    while (frame < end && !(same(&frame->before, parts->before) && same(&frame->after, parts->after)))
        frame++;
    if (frame < end) {
        narrow_frame(frame, parts->middle);
    } else {
        if (recovery->count == MOST_FRAMES) return STATUS_OK;
        recovery->count++;
        start_frame(frame, parts);
    }
    frame->count++;
    return frame->before.failed || frame->after.failed || frame->lead.failed || frame->trail.failed
               ? error_set(err, "out of memory for a template")
               : STATUS_OK;
}

static enum status find_frames(struct recovery *recovery, struct error *err) {
    enum status status = STATUS_OK;
    for (int64_t i = 0; status == STATUS_OK && i < dataset_count(recovery->dataset); i++) {
        struct row row;
        struct parts parts;
        if (dataset_read(recovery->dataset, i, &row, err) != STATUS_OK) return STATUS_FAILED;
        if (divide(&row, recovery->marks, &parts)) status = add_row(recovery, &parts, err);
        row_free(&row);
    }
    return status;
}

/* ---- Second round: whether a full stop is the template's ---- */

/* Whether all middles of the frame have a full stop before the trail, and in one of them another stop stands
 * before that. */
static enum status find_stop(const struct recovery *recovery, const struct frame *frame, bool *stop,
                             struct error *err) {
    bool all = true, twice = false;
    for (int64_t i = 0; all && i < dataset_count(recovery->dataset); i++) {
        struct row row;
        struct parts parts;
        if (dataset_read(recovery->dataset, i, &row, err) != STATUS_OK) return STATUS_FAILED;
        if (divide(&row, recovery->marks, &parts) && same(&frame->before, parts.before) &&
            same(&frame->after, parts.after)) {
            const char *prompt = parts.middle.data + frame->lead.length;
            size_t length = parts.middle.length - frame->lead.length - frame->trail.length;
            all = length > 0 && prompt[length - 1] == '.';
            twice = twice || (length > 1 && ends_sentence(prompt[length - 2]));
        }
        row_free(&row);
    }
    *stop = all && twice;
    return STATUS_OK;
}

static enum status put_together(const struct frame *frame, bool stop, struct template_found *found,
                                struct error *err) {
    struct text text = {0};
    if (memmem(frame->before.data, frame->before.length, place, strlen(place)) ||
        memmem(frame->after.data, frame->after.length, place, strlen(place)))
        return error_set(err, "the text around the prompt holds a %s of its own", place);
    text_append(&text, frame->before.data, frame->before.length);
    text_append(&text, frame->lead.data, frame->lead.length);
    text_append_string(&text, place);
    if (stop) text_append_string(&text, ".");
    text_append(&text, frame->trail.data, frame->trail.length);
    text_append(&text, frame->after.data, frame->after.length);
    found->text = text_take(&text, "a template", err);
    return found->text ? STATUS_OK : STATUS_FAILED;
}

static enum status choose_frame(const struct recovery *recovery, struct template_found *found,
                                struct error *err) {
    const struct frame *best = recovery->frames;
    bool stop;
    for (int i = 1; i < recovery->count; i++)
        if (recovery->frames[i].count > best->count) best = &recovery->frames[i];
    if (best->count == 0)
        return error_set(err, "no row has its prompt between '%s' and '%s'", recovery->marks->before,
                         recovery->marks->after);
    found->fitting = best->count;
    found->rows = dataset_count(recovery->dataset);
    return find_stop(recovery, best, &stop, err) == STATUS_OK ? put_together(best, stop, found, err)
                                                              : STATUS_FAILED;
}

enum status template_recover(const struct dataset *dataset, const struct template_marks *marks,
                             struct template_found *found, struct error *err) {
    struct recovery recovery = {.dataset = dataset, .marks = marks};
    *found = (struct template_found){0};
    enum status status = find_frames(&recovery, err);
    if (status == STATUS_OK) status = choose_frame(&recovery, found, err);
    for (int i = 0; i < recovery.count; i++) {
        struct frame *frame = &recovery.frames[i];
        text_free(&frame->before);
        text_free(&frame->after);
        text_free(&frame->lead);
        text_free(&frame->trail);
    }
    return status;
}
