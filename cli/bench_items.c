#include <string.h>

#include "base/clock.h"
#include "cli/bench.h"
#include "model/chat.h"

enum status bench_item_read(const struct bench_row *row, const struct visual_options *options,
                            const struct tokenizer *tokenizer, struct bench_item *item, double *seconds,
                            struct error *err) {
    double start = clock_seconds();
    enum status status = visual_read_video(row->video, options, &item->visual, err);
    if (status != STATUS_OK) return status;
    *seconds += clock_seconds() - start;
    const struct visual *visual = &item->visual;
    item->grid =
        (struct visual_grid){visual->grid[0], visual->grid[1], visual->grid[2], visual->second_per_grid};
    item->patches = visual->patches;
    const struct chat_message message = {CHAT_USER, row->prompt, strlen(row->prompt), true};
    const struct chat_visuals pads = {.video_pads = &visual->tokens, .video_count = 1};
    return chat_encode(tokenizer, &message, 1, &pads, &item->tokens, NULL, err);
}

void bench_item_free(struct bench_item *item) {
    visual_free(&item->visual);
    token_list_free(&item->tokens);
    *item = (struct bench_item){0};
}
