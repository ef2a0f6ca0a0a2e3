/* The test clips as the published benchmarks have theirs. */
#ifndef VS2_DATA_SYNTH_BENCHMARKS_H
#define VS2_DATA_SYNTH_BENCHMARKS_H

#include "data/synth_set.h"

/* Writes into the folder, for clips in groups of SYNTH_GROUP:
 *
 *     rows.jsonl                    {"video": "videos/NAME.mp4", "prompt"} a line, for vs2-score --input
 *     videoscore-bench-v2.json      points: annotation rows
 *     videophy2.json                points: video_name, prompt, semantic, physical, 1 to 5
 *     mj-bench-video.json           points: alignment, fineness, consistency, total_score, 0 to 2
 *     mj-bench-video-pairs.json     pairs: video_0_path, video_1_path, overall_preference
 *     t2vqa-db.json                 points: video_name, prompt, quality_score, the sum of the three
 *     t2vqa-db-pairs.json           pairs: video1, video2, preference
 *     videogen-reward-bench.json    the videos of its pairs: video_name, prompt
 *     videogen-reward-bench.csv     pairs: path_A, path_B, prompt, VQ, TA, Overall
 *     best-of-n-prompts.jsonl       {"idx": group, "text": prompt} a line
 *
 * Each clip is in one pair with the next one of its prompt, and the last with the first. */
enum status synth_benchmarks_write(const char *folder, const struct synth_list *list, struct error *err);

#endif
