#include "tests/grpo/support_small_run.h"

void say_small_run(struct words *words, const char *folder, const char *name, const char *const *extra) {
    say(words, "stage=grpo");
    say(words, "model_name_or_path=tests/golden/model/tied");
    say(words, "dataset=tests/golden/grpo/rows.jsonl");
    say(words, "media_dir=tests/golden/video");
    say(words, "output_dir=%s/%s", folder, name);
    say(words, "num_generations=2");
    say(words, "max_completion_length=3");
    say(words, "per_device_train_batch_size=1");
    say(words, "gradient_accumulation_steps=2");
    say(words, "video_maxlen=4");
    say(words, "video_min_pixels=12544");
    say(words, "video_max_pixels=12544");
    say(words, "max_steps=1");
    say(words, "logging_steps=1");
    say(words, "save_strategy=no");
    say(words, "report_to=none");
    say(words, "device=cpu");
    say(words, "disable_tqdm=true");
    for (; *extra; extra++) say(words, "%s", *extra);
}
