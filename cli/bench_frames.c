#include "cli/bench.h"

#define AT(member) .offset = offsetof(struct bench_frames, member)
const struct option_spec bench_frame_options[] = {{.name = "fps",
                                                   .argument = "N",
                                                   .help = "frames a second",
                                                   .standard = "2",
                                                   .kind = OPTION_NUMBER,
                                                   AT(fps),
                                                   .low = 0.001,
                                                   .high = 1000},
                                                  {.name = "max-frames",
                                                   .argument = "N",
                                                   .help = "frames of a video at most",
                                                   .standard = "10",
                                                   .kind = OPTION_INTEGER,
                                                   AT(max_frames),
                                                   .low = 1,
                                                   .high = 65536},
                                                  {.name = "max-pixels",
                                                   .argument = "N",
                                                   .help = "pixels of a frame at most",
                                                   .standard = "691200",
                                                   .kind = OPTION_INTEGER,
                                                   AT(max_pixels),
                                                   .low = 1,
                                                   .high = 1 << 26},
                                                  {0}};

struct bench_frames bench_frames_default(void) {
    return (struct bench_frames){.fps = 2, .max_frames = 10, .max_pixels = 691200};
}

struct visual_options bench_visual_options(const struct bench_frames *frames) {
    struct visual_options options = visual_options_default(visual_policy_find("llamafactory"));
    options.fps = frames->fps;
    options.max_frames = frames->max_frames;
    options.max_pixels = (double)frames->max_pixels;
    return options;
}
