/* What models write, and what a person reads in it. A 0 means: not read. */
#ifndef VS2_TESTS_EVAL_ANSWER_CASES_H
#define VS2_TESTS_EVAL_ANSWER_CASES_H

struct answer_case {
    const char *text;
    double v, t, p;
};

#define THINK                                                                                                \
    "<think>\nThe frames look fine. Visual quality: 1, text-to-video alignment: 1, physical consistency: "   \
    "1.\n</think>\n\n"
#define TRAINED                                                                                              \
    "(1) visual quality: 4\n(2) text-to-video alignment: 3\n(3) physical/common-sense consistency: 5\n"

static const struct answer_case answer_cases[] = {
    /* ---- As trained -------------------------------------------------------------------------------- */
    {"\n<think>\nSome rationale.\n</think>\n\n" TRAINED, 4, 3, 5},
    {THINK TRAINED, 4, 3, 5},
    {TRAINED, 4, 3, 5},
    {THINK "(1) visual quality: 4\r\n(2) text-to-video alignment: 3\r\n(3) physical/common-sense "
           "consistency: 5\r\n",
     4, 3, 5},
    {THINK "(1) visual quality: 4\n(2) text-to-video alignment: 3\n(3) physical consistency: 5", 4, 3, 5},
    {THINK "visual quality: 4; \ntext-to-video alignment: 3, \nphysical/common-sense consistency: 5", 4, 3,
     5},
    {THINK "visual quality: 4; text-to-video alignment: 3; physical/common-sense consistency: 5", 4, 3, 5},
    {THINK "visual quality: 4, text-to-video alignment: 3, physical/common-sense consistency: 5.", 4, 3, 5},
    {THINK "visual quality: 4 text-to-video alignment: 3 physical/common-sense consistency: 5", 4, 3, 5},
    {THINK "VISUAL QUALITY: 4\nTEXT-TO-VIDEO ALIGNMENT: 3\nPHYSICAL/COMMON-SENSE CONSISTENCY: 5", 4, 3, 5},
    {"<|im_start|>assistant\n" THINK TRAINED "<|im_end|>\n<|endoftext|>", 4, 3, 5},
    {THINK "(1)visual quality:4\n(2)text-to-video alignment:3\n(3)physical/common-sense consistency:5", 4, 3,
     5},
    {THINK "1. visual quality: 4\n2. text-to-video alignment: 3\n3. physical/common-sense consistency: 5", 4,
     3, 5},
    {THINK "1) visual quality: 4\n2) text-to-video alignment: 3\n3) physical/common-sense consistency: 5", 4,
     3, 5},
    {THINK "(1) visual quality: 1\n(2) text-to-video alignment: 2\n(3) physical/common-sense consistency: 3",
     1, 2, 3},
    {THINK "(1) visual quality: 5\n(2) text-to-video alignment: 5\n(3) physical/common-sense consistency: 5",
     5, 5, 5},

    /* ---- Descriptors between name and score -------------------------------------------------------- */
    {THINK
     "(1) visual quality - clarity, smoothness, artifacts: 4\n(2) text-to-video alignment - fidelity to the "
     "prompt: 3\n(3) physical/common-sense consistency - naturalness and physics plausibility: 5",
     4, 3, 5},
    {THINK "(1) visual quality \xE2\x80\x93 clarity, smoothness, artifacts: 4\n(2) text-to-video alignment "
           "\xE2\x80\x93 fidelity to the prompt: 3\n(3) physical/common-sense consistency \xE2\x80\x93 "
           "naturalness and physics \xE2\x80\xA6: 5",
     4, 3, 5},
    {THINK
     "visual quality \xE2\x80\x94 clarity, smoothness, artifacts: 4; text-to-video alignment \xE2\x80\x94 "
     "fidelity to the prompt: 3; physical/common-sense consistency \xE2\x80\x94 naturalness: 5",
     4, 3, 5},
    {THINK "visual quality (clarity, smoothness, artifacts): 4\ntext-to-video alignment (fidelity to the "
           "prompt): 3\nphysical/common-sense consistency (naturalness and physics plausibility): 5",
     4, 3, 5},
    {THINK
     "visual quality (1-5): 4\ntext-to-video alignment (1-5): 3\nphysical/common-sense consistency (1-5): 5",
     4, 3, 5},
    {THINK "visual quality (out of 5): 4\ntext-to-video alignment (out of 5): 3\nphysical consistency (out "
           "of 5): 5",
     4, 3, 5},
    {THINK "visual quality score (1 to 5): 4\ntext-to-video alignment score (1 to 5): 3\nphysical "
           "consistency score (1 to 5): 5",
     4, 3, 5},
    {THINK
     "visual quality score: 4\ntext-to-video alignment score: 3\nphysical/common-sense consistency score: 5",
     4, 3, 5},
    {THINK "visual quality rating: 4\ntext alignment rating: 3\nphysical consistency rating: 5", 4, 3, 5},
    {THINK "visual quality - resolution in 4K, sharp edges: 4\ntext alignment - 2 of 3 cats are there: "
           "3\nphysical consistency - 1 jump: 5",
     4, 3, 5},
    {THINK "visual quality: Good clarity with minor artifacts. Score: 4\ntext-to-video alignment: Follows "
           "the prompt. Score: 3\nphysical consistency: Natural. Score: 5",
     4, 3, 5},
    {THINK
     "visual quality: good, score 4\ntext alignment: fair, score 3\nphysical consistency: great, score 5",
     4, 3, 5},
    {THINK "visual quality: good (4)\ntext alignment: fair (3)\nphysical consistency: excellent (5)", 4, 3,
     5},
    {THINK "visual quality: good - 4\ntext alignment: fair - 3\nphysical consistency: excellent - 5", 4, 3,
     5},
    {THINK "visual quality: good, 4/5\ntext alignment: fair, 3/5\nphysical consistency: excellent, 5/5", 4, 3,
     5},
    {THINK "visual quality: 4 (good)\ntext alignment: 3 (fair)\nphysical consistency: 5 (excellent)", 4, 3,
     5},
    {THINK "visual quality: 4 - good\ntext alignment: 3 - fair\nphysical consistency: 5 - excellent", 4, 3,
     5},
    {THINK "visual quality: 4. The frames are sharp.\ntext alignment: 3. One cat of 2 is missing.\nphysical "
           "consistency: 5. Nothing odd in 10 frames.",
     4, 3, 5},
    {THINK "visual quality: 4 because the frames are sharp\ntext alignment: 3 since 1 cat is "
           "missing\nphysical consistency: 5 as nothing is odd",
     4, 3, 5},
    {THINK "visual quality: 4, sharp\ntext alignment: 3, a cat is missing\nphysical consistency: 5, natural",
     4, 3, 5},
    {THINK "visual quality: 4 | text alignment: 3 | physical consistency: 5", 4, 3, 5},
    {THINK "visual quality: 4 (clarity: 3, smoothness: 5)\ntext alignment: 3 (objects: 2, actions: "
           "4)\nphysical consistency: 5 (gravity: 4)",
     4, 3, 5},

    /* ---- Markdown, brackets, quotes ---------------------------------------------------------------- */
    {THINK "**visual quality**: 4\n**text-to-video alignment**: 3\n**physical/common-sense consistency**: 5",
     4, 3, 5},
    {THINK "**visual quality:** 4\n**text-to-video alignment:** 3\n**physical/common-sense consistency:** 5",
     4, 3, 5},
    {THINK "visual quality: **4**\ntext-to-video alignment: **3**\nphysical/common-sense consistency: **5**",
     4, 3, 5},
    {THINK "**visual quality: 4**\n**text-to-video alignment: 3**\n**physical/common-sense consistency: 5**",
     4, 3, 5},
    {THINK "- **Visual Quality**: **4/5**\n- **Text-to-Video Alignment**: **3/5**\n- **Physical/Common-sense "
           "Consistency**: **5/5**",
     4, 3, 5},
    {THINK "* visual quality: 4\n* text-to-video alignment: 3\n* physical/common-sense consistency: 5", 4, 3,
     5},
    {THINK "\xE2\x80\xA2 visual quality: 4\n\xE2\x80\xA2 text-to-video alignment: 3\n\xE2\x80\xA2 "
           "physical/common-sense consistency: 5",
     4, 3, 5},
    {THINK "### visual quality: 4\n### text-to-video alignment: 3\n### physical/common-sense consistency: 5",
     4, 3, 5},
    {THINK "> visual quality: 4\n> text-to-video alignment: 3\n> physical/common-sense consistency: 5", 4, 3,
     5},
    {THINK "`visual quality`: `4`\n`text-to-video alignment`: `3`\n`physical/common-sense consistency`: `5`",
     4, 3, 5},
    {THINK "_visual quality_: _4_\n_text-to-video alignment_: _3_\n_physical/common-sense consistency_: _5_",
     4, 3, 5},
    {THINK "visual quality: [4]\ntext-to-video alignment: [3]\nphysical/common-sense consistency: [5]", 4, 3,
     5},
    {THINK "visual quality: <4>\ntext-to-video alignment: <3>\nphysical/common-sense consistency: <5>", 4, 3,
     5},
    {THINK "visual quality: (4)\ntext-to-video alignment: (3)\nphysical/common-sense consistency: (5)", 4, 3,
     5},
    {THINK "visual quality: \"4\"\ntext-to-video alignment: \"3\"\nphysical/common-sense consistency: \"5\"",
     4, 3, 5},
    {THINK "visual quality: $4$\ntext-to-video alignment: $3$\nphysical/common-sense consistency: $5$", 4, 3,
     5},
    {THINK "visual quality: \\boxed{4}\ntext-to-video alignment: \\boxed{3}\nphysical/common-sense "
           "consistency: \\boxed{5}",
     4, 3, 5},
    {THINK "visual quality = 4\ntext-to-video alignment = 3\nphysical/common-sense consistency = 5", 4, 3, 5},
    {THINK "visual quality - 4\ntext-to-video alignment - 3\nphysical/common-sense consistency - 5", 4, 3, 5},
    {THINK "visual quality -> 4\ntext-to-video alignment -> 3\nphysical/common-sense consistency -> 5", 4, 3,
     5},
    {THINK "visual quality \xE2\x86\x92 4\ntext-to-video alignment \xE2\x86\x92 3\nphysical/common-sense "
           "consistency \xE2\x86\x92 5",
     4, 3, 5},
    {THINK "visual quality (4)\ntext-to-video alignment (3)\nphysical/common-sense consistency (5)", 4, 3, 5},
    {THINK "visual quality (4), text alignment (3), physical consistency (5)", 4, 3, 5},
    {THINK "visual quality (4) text alignment (3) physical consistency (5)", 4, 3, 5},
    {THINK "visual quality [4/5]; text alignment [3/5]; physical consistency [5/5]", 4, 3, 5},
    {THINK "visual quality 4, text alignment 3, physical consistency 5", 4, 3, 5},
    {THINK "visual quality 4\ntext alignment 3\nphysical consistency 5", 4, 3, 5},
    {THINK "### Scores\n\n- visual quality: 4\n\n- text-to-video alignment: 3\n\n- physical/common-sense "
           "consistency: 5\n\n---",
     4, 3, 5},
    {THINK "```\n" TRAINED "```", 4, 3, 5},

    /* ---- Tables ------------------------------------------------------------------------------------ */
    {THINK "| Dimension | Score |\n|---|---|\n| Visual quality | 4 |\n| Text-to-video alignment | 3 |\n| "
           "Physical/common-sense consistency | 5 |",
     4, 3, 5},
    {THINK "| # | Dimension | Score |\n|:-:|:--|--:|\n| 1 | Visual quality | 4/5 |\n| 2 | Text-to-video "
           "alignment | 3/5 |\n| 3 | Physical consistency | 5/5 |",
     4, 3, 5},
    {THINK "| Dimension | Score | Comment |\n|---|---|---|\n| **Visual quality** | **4** | sharp |\n| **Text "
           "alignment** | **3** | one cat |\n| **Physical consistency** | **5** | natural |",
     4, 3, 5},
    {THINK "| Dimension | Comment | Score |\n|---|---|---|\n| Visual quality | sharp, 2 blurs | 4 |\n| Text "
           "alignment | one cat | 3 |\n| Physical consistency | natural | 5 |",
     4, 3, 5},
    {THINK "| Visual quality | Text alignment | Physical consistency |\n|---|---|---|\n| 4 | 3 | 5 |", 4, 3,
     5},
    {THINK "Visual quality | Text alignment | Physical consistency\n--- | --- | ---\n4 | 3 | 5", 4, 3, 5},
    {THINK "visual quality, text-to-video alignment, physical consistency: 4, 3, 5", 4, 3, 5},
    {THINK "visual quality / text alignment / physical consistency = 4 / 3 / 5", 4, 3, 5},
    {THINK "Visual quality\tText alignment\tPhysical consistency\n4\t3\t5", 4, 3, 5},

    /* ---- Scales, fractions, words ------------------------------------------------------------------ */
    {THINK "visual quality: 4/5\ntext-to-video alignment: 3/5\nphysical/common-sense consistency: 5/5", 4, 3,
     5},
    {THINK "visual quality: 4 / 5; text-to-video alignment: 3 / 5; physical consistency: 5 / 5", 4, 3, 5},
    {THINK "visual quality: 4/5.0\ntext-to-video alignment: 3/5.0\nphysical consistency: 5/5.0", 4, 3, 5},
    {THINK
     "visual quality: 4 out of 5\ntext-to-video alignment: 3 out of 5\nphysical consistency: 5 out of 5",
     4, 3, 5},
    {THINK "visual quality: **4** out of **5**\ntext-to-video alignment: **3** out of 5\nphysical "
           "consistency: 5 of 5",
     4, 3, 5},
    {THINK "visual quality: 4 points\ntext-to-video alignment: 3 points\nphysical consistency: 5 points", 4,
     3, 5},
    {THINK "visual quality: 4 stars\ntext-to-video alignment: 3 stars\nphysical consistency: 5 stars", 4, 3,
     5},
    {THINK "visual quality: 4.0\ntext-to-video alignment: 3.0\nphysical consistency: 5.0", 4, 3, 5},
    {THINK "visual quality: 3.5\ntext-to-video alignment: 2.25\nphysical consistency: 4.75", 3.5, 2.25, 4.75},
    {THINK "visual quality: 3.5/5\ntext-to-video alignment: 2.5/5\nphysical consistency: 4.5/5", 3.5, 2.5,
     4.5},
    {THINK "visual quality: four\ntext-to-video alignment: three\nphysical consistency: five", 4, 3, 5},
    {THINK "visual quality: Four\ntext-to-video alignment: TWO\nphysical consistency: One", 4, 2, 1},
    {THINK "visual quality: four out of five\ntext alignment: three out of five\nphysical consistency: five "
           "out of five",
     4, 3, 5},
    {THINK "visual quality: four (4)\ntext alignment: three (3)\nphysical consistency: five (5)", 4, 3, 5},
    {THINK "visual quality: ~4\ntext alignment: ~3\nphysical consistency: ~5", 4, 3, 5},
    {THINK "visual quality: \xEF\xBC\x94\ntext alignment: \xEF\xBC\x93\nphysical consistency: \xEF\xBC\x95",
     4, 3, 5},
    {THINK "visual quality\xEF\xBC\x9A"
           "4\ntext alignment\xEF\xBC\x9A"
           "3\nphysical consistency\xEF\xBC\x9A"
           "5",
     4, 3, 5},
    {THINK "\xEF\xBC\x88"
           "1\xEF\xBC\x89visual quality\xEF\xBC\x9A"
           "4\xEF\xBC\x9B\xEF\xBC\x88"
           "2\xEF\xBC\x89text alignment\xEF\xBC\x9A"
           "3\xEF\xBC\x9B\xEF\xBC\x88"
           "3\xEF\xBC\x89physical consistency\xEF\xBC\x9A"
           "5",
     4, 3, 5},
    {THINK
     "visual\xC2\xA0quality:\xC2\xA0"
     "4\ntext\xE2\x80\x91to\xE2\x80\x91video alignment: 3\nphysical/common\xE2\x80\x91sense consistency: 5",
     4, 3, 5},

    /* ---- Names ------------------------------------------------------------------------------------- */
    {THINK "Visual Quality: 4\nText Alignment: 3\nPhysical Consistency: 5", 4, 3, 5},
    {THINK "Visual quality: 4\nSemantic alignment: 3\nPhysical plausibility: 5", 4, 3, 5},
    {THINK "Visual quality: 4\nT2V alignment: 3\nCommon sense consistency: 5", 4, 3, 5},
    {THINK "Visual quality: 4\nPrompt adherence: 3\nPhysical realism: 5", 4, 3, 5},
    {THINK "Visual quality: 4\nPrompt alignment: 3\nPhysical and common-sense consistency: 5", 4, 3, 5},
    {THINK "Visual quality: 4\nText-video alignment: 3\nPhysical & common-sense consistency: 5", 4, 3, 5},
    {THINK "Visual quality: 4\nText-to-video consistency: 3\nPhysical commonsense consistency: 5", 4, 3, 5},
    {THINK "Visual quality: 4\nAlignment: 3\nPhysics: 5", 4, 3, 5},
    {THINK "Visual: 4\nAlignment: 3\nConsistency: 5", 4, 3, 5},
    {THINK "Video quality: 4\nText alignment: 3\nPhysical consistency: 5", 4, 3, 5},
    {THINK "Visual quality: 4\nText alignment: 3\nPhysical consistency: 5\nVideo quality: 2", 4, 3, 5},
    {THINK "Quality: 4\nAlignment: 3\nConsistency: 5", 4, 3, 5},
    {THINK "v: 4, t: 3, p: 5", 4, 3, 5},
    {THINK "V: 4 T: 3 P: 5", 4, 3, 5},
    {THINK "V=4; T=3; P=5", 4, 3, 5},
    {THINK "v_score: 4\nt_score: 3\np_score: 5", 4, 3, 5},
    {THINK "visual_score: 4\nt2v_score: 3\nphy_score: 5", 4, 3, 5},
    {THINK "VQ: 4\nTA: 3\nPC: 5", 4, 3, 5},
    {THINK "Dimension 1: 4\nDimension 2: 3\nDimension 3: 5", 4, 3, 5},
    {THINK "Dim-1 (visual quality): 4\nDim-2 (text-to-video alignment): 3\nDim-3 (physical consistency): 5",
     4, 3, 5},
    {THINK
     "physical consistency (also called common-sense consistency): 5\nvisual quality: 4\ntext alignment: 3",
     4, 3, 5},
    {THINK "Physical consistency: 5\nText alignment: 3\nVisual quality: 4", 4, 3, 5},
    {THINK "text-to-video alignment: 3\nphysical/common-sense consistency: 5\nvisual quality: 4", 4, 3, 5},
    {THINK "visual-quality: 4\ntext_to_video_alignment: 3\nphysical_common_sense_consistency: 5", 4, 3, 5},
    {THINK "VisualQuality: 4\nTextToVideoAlignment: 3\nPhysicalConsistency: 5", 4, 3, 5},
    {THINK "visual quality: 4\ntemporal consistency: 2\ntext-to-video alignment: 3\ndynamic degree: "
           "1\nphysical consistency: 5",
     4, 3, 5},
    {THINK "visual quality: 4\ntext-to-video alignment: 3\nphysical consistency: 5\noverall: 2", 4, 3, 5},
    {THINK "visual quality: 4\ntext-to-video alignment: 3\nphysical consistency: 5\n\nOverall score: 2/5", 4,
     3, 5},
    {THINK "Overall score: 2\nvisual quality: 4\ntext-to-video alignment: 3\nphysical consistency: 5", 4, 3,
     5},
    {THINK
     "visual quality: 4\ntext-to-video alignment: 3\nphysical consistency: very natural\n\nOverall score: 2",
     4, 3, 0},

    /* ---- Chinese ----------------------------------------------------------------------------------- */
    {THINK "\xE8\xA7\x86\xE8\xA7\x89\xE8\xB4\xA8\xE9\x87\x8F\xEF\xBC\x9A"
           "4\n\xE6\x96\x87\xE6\x9C\xAC\xE5\xAF\xB9\xE9\xBD\x90\xEF\xBC\x9A"
           "3\n\xE7\x89\xA9\xE7\x90\x86\xE4\xB8\x80\xE8\x87\xB4\xE6\x80\xA7\xEF\xBC\x9A"
           "5",
     4, 3, 5},
    {THINK "(1) 视觉质量：4分\n(2) 文本到视频对齐：3分\n(3) 物理/常识一致性：5分", 4, 3, 5},
    {THINK "（1）视觉质量：４\n（2）文本-视频对齐：３\n（3）物理/常识一致性：５", 4, 3, 5},
    {THINK "视觉质量：四分；文本对齐：三分；物理一致性：五分。", 4, 3, 5},
    {THINK "视觉质量得分：4，文本一致性得分：3，物理合理性得分：5", 4, 3, 5},
    {THINK "视觉质量为4分，文本对齐为3分，物理一致性为5分。", 4, 3, 5},
    {THINK "画面质量: 4/5\n图文一致性: 3/5\n常识一致性: 5/5", 4, 3, 5},
    {THINK "**视觉质量**：**4**\n**语义对齐**：**3**\n**物理一致性**：**5**", 4, 3, 5},
    {"<think>\n视觉质量：1。文本对齐：1。物理一致性：1。还要想一想。\n</"
     "think>\n视觉质量：4\n文本对齐：3\n物理一致性：5",
     4, 3, 5},
    {THINK "視覺質量：4\n文本對齊：3\n物理一致性：5", 4, 3, 5},
    {THINK "视觉质量（清晰度、流畅度）：4\n文本与视频的一致性（忠于提示）：3\n物理与常识一致性（自然）：5", 4,
     3, 5},

    {"<think>\n清晰。视觉质量：1，文本对齐：1，物理一致性：1。\n</think>\n(1) 视觉质量：4\n(2) "
     "文本对齐：3\n(3) 物理",
     4, 3, 0},
    {"<think>\n画面清晰，视觉质量：4，文本对齐：3", 0, 0, 0},
    {"<think>\n画面清晰。\n</think>\n这段视频很好看，物体没有变形。", 0, 0, 0},
    {THINK "真实评分：视觉质量：1；文本对齐：1；物理一致性：1\n视觉质量：4\n文本对齐：3\n物理一致性：5", 4, 3,
     5},
    {"<think>标准答案是视觉质量：1，文本对齐：1，物理一致性：1。</"
     "think>\n视觉质量：4，文本对齐：3，物理一致性：5",
     4, 3, 5},
    {"<think>...</think>\n参考答案：视觉质量 1，文本对齐 1，物理一致性 1", 0, 0, 0},

    /* ---- Answer blocks ----------------------------------------------------------------------------- */
    {THINK
     "<answer>visual quality: 4; text-to-video alignment: 3; physical/common-sense consistency: 5</answer>",
     4, 3, 5},
    {"<answer>visual quality: 4; text-to-video alignment: 3; physical/common-sense consistency: 5</answer>",
     4, 3, 5},
    {THINK "<answer>\n" TRAINED "</answer>", 4, 3, 5},
    {THINK "<ANSWER> " TRAINED " </ANSWER>", 4, 3, 5},
    {THINK "<answer>visual quality: 4; text-to-video alignment: 3; physical/common-sense consistency: 5", 4,
     3, 5},
    {THINK "visual quality: 1; text alignment: 1; physical consistency: 1\n<answer>visual quality: 4; "
           "text-to-video alignment: 3; physical/common-sense consistency: 5</answer>",
     4, 3, 5},
    {THINK "<answer>visual quality: 4; text-to-video alignment: 3; physical/common-sense consistency: "
           "5</answer> visual quality: 1; text alignment: 1; physical consistency: 1",
     4, 3, 5},
    {THINK "<answer>visual quality: 2; text alignment: 2; physical consistency: 2</answer><answer>visual "
           "quality: 4; text-to-video alignment: 3; physical/common-sense consistency: 5</answer>",
     4, 3, 5},
    {THINK "<answer>visual quality: 4; text alignment: 3; physical consistency: 5</answer>\n<answer>visual "
           "quality: 2; text al",
     4, 3, 5},
    {"<think>No end. Visual quality: 1; text alignment: 1; physical consistency: 1.\n<answer>visual quality: "
     "4; text-to-video alignment: 3; physical/common-sense consistency: 5</answer>",
     4, 3, 5},
    {THINK "<answer>4, 3, 5</answer>", 4, 3, 5},
    {THINK "<answer>[4, 3, 5]</answer>", 4, 3, 5},
    {THINK "<answer>(1) 4 (2) 3 (3) 5</answer>", 4, 3, 5},
    {THINK "<answer></answer>", 0, 0, 0},
    {THINK "<answer>good</answer>", 0, 0, 0},

    /* ---- JSON and XML ------------------------------------------------------------------------------ */
    {THINK
     "{\"visual quality\": 4, \"text-to-video alignment\": 3, \"physical/common-sense consistency\": 5}",
     4, 3, 5},
    {THINK "{\"visual_quality\": 4, \"text_alignment\": 3, \"physical_consistency\": 5}", 4, 3, 5},
    {THINK "```json\n{\n  \"visual_quality\": 4,\n  \"text_to_video_alignment\": 3,\n  "
           "\"physical_consistency\": 5\n}\n```",
     4, 3, 5},
    {THINK "{'visual quality': '4', 'text alignment': '3', 'physical consistency': '5'}", 4, 3, 5},
    {THINK "{\"v\": 4, \"t\": 3, \"p\": 5}", 4, 3, 5},
    {THINK "{\"v_score\": 4.0, \"t_score\": 3.0, \"p_score\": 5.0}", 4, 3, 5},
    {THINK "{\"visualQuality\":4,\"textToVideoAlignment\":3,\"physicalConsistency\":5}", 4, 3, 5},
    {THINK "{\"visual quality\": {\"score\": 4, \"reason\": \"2 blurs\"}, \"text alignment\": {\"score\": 3, "
           "\"reason\": \"1 cat\"}, \"physical consistency\": {\"score\": 5, \"reason\": \"fine\"}}",
     4, 3, 5},
    {THINK "{\"visual quality\": {\"reason\": \"2 blurs\", \"score\": 4}, \"text alignment\": {\"reason\": "
           "\"1 cat\", \"score\": 3}, \"physical consistency\": {\"reason\": \"fine\", \"score\": 5}}",
     4, 3, 5},
    {THINK "{\"visual quality\": null, \"text alignment\": 3, \"physical consistency\": 5}", 0, 3, 5},
    {THINK "<visual_quality>4</visual_quality>\n<text_alignment>3</text_alignment>\n<physical_consistency>5</"
           "physical_consistency>",
     4, 3, 5},

    /* ---- Sentences --------------------------------------------------------------------------------- */
    {THINK "Visual quality is 4, text-to-video alignment is 3, and physical consistency is 5.", 4, 3, 5},
    {THINK
     "The visual quality is rated 4, the text alignment is rated 3 and the physical consistency is rated 5.",
     4, 3, 5},
    {THINK "I would give visual quality a 4, text alignment a 3, and physical consistency a 5.", 4, 3, 5},
    {THINK
     "I give it a 4 for visual quality, a 3 for text-to-video alignment, and a 5 for physical consistency.",
     4, 3, 5},
    {THINK "4/5 for visual quality, 3/5 for text alignment, 5/5 for physical consistency.", 4, 3, 5},
    {THINK "4 for the visual quality; 3 for the text alignment; 5 for the physical consistency.", 4, 3, 5},
    {THINK "Visual quality gets a score of 4. Text alignment gets a score of 3. Physical consistency gets a "
           "score of 5.",
     4, 3, 5},
    {THINK "Visual quality of this clip is 4, text alignment with the prompt is 3, physical consistency of "
           "the motion is 5.",
     4, 3, 5},
    {THINK
     "My final scores are: visual quality 4, text-to-video alignment 3, physical/common-sense consistency 5.",
     4, 3, 5},
    {THINK "Visual quality and text alignment are good.\n\nvisual quality: 4\ntext-to-video alignment: "
           "3\nphysical consistency: 5",
     4, 3, 5},

    /* ---- Headings with the score below ------------------------------------------------------------- */
    {THINK "Visual quality\n4\n\nText-to-video alignment\n3\n\nPhysical consistency\n5", 4, 3, 5},
    {THINK "**Visual quality:**\n4\n**Text-to-video alignment:**\n3\n**Physical consistency:**\n5", 4, 3, 5},
    {THINK "### Visual quality\n- Sharp in 9 of 10 frames.\n- Score: 4\n### Text alignment\n- One cat of "
           "2.\n- Score: 3\n### Physical consistency\n- Natural.\n- Score: 5",
     4, 3, 5},
    {THINK "### Visual quality\nSharp.\n**Score: 4/5**\n\n### Text alignment\nFair.\n**Score: 3/5**\n\n### "
           "Physical consistency\nNatural.\n**Score: 5/5**",
     4, 3, 5},
    {THINK "## Visual quality: 4\nThe 10 frames are sharp.\n## Text alignment: 3\n2 cats are missing.\n## "
           "Physical consistency: 5\nNo jump in 5 s.",
     4, 3, 5},
    {THINK "1. Visual quality\n   Rating: 4\n2. Text alignment\n   Rating: 3\n3. Physical consistency\n   "
           "Rating: 5",
     4, 3, 5},

    /* ---- Bare numbers ------------------------------------------------------------------------------ */
    {THINK "4, 3, 5", 4, 3, 5},
    {THINK "4 3 5", 4, 3, 5},
    {THINK "(4, 3, 5)", 4, 3, 5},
    {THINK "[4, 3, 5]", 4, 3, 5},
    {THINK "4\n3\n5", 4, 3, 5},
    {THINK "4/5, 3/5, 5/5", 4, 3, 5},
    {THINK "(1) 4\n(2) 3\n(3) 5", 4, 3, 5},
    {THINK "(1): 4\n(2): 3\n(3): 5", 4, 3, 5},
    {THINK "1. 4\n2. 3\n3. 5", 4, 3, 5},
    {THINK "Scores: 4, 3, 5", 4, 3, 5},
    {THINK "4, 3", 0, 0, 0},
    {THINK "4, 3, 5, 2", 0, 0, 0},
    {THINK "4, 3, 7", 0, 0, 0},
    {"4, 3, 5", 4, 3, 5},

    /* ---- The rationale is not the answer ------------------------------------------------------------ */
    {"<think>ground-truth of Dim-1 \"Visual Quality\": 3, of Dim-2: 3, of Dim-3: 3.</think>\n" TRAINED, 4, 3,
     5},
    {"<think>visual quality: 1\ntext-to-video alignment: 1\nphysical/common-sense consistency: "
     "1</think>\n" TRAINED,
     4, 3, 5},
    {"<think>a</think>\nThe ground-truth of Dim-1 \"Visual Quality\": 1\n" TRAINED, 4, 3, 5},
    {"<think>a</think>\n" TRAINED "ground-truth of Dim-1 \"Visual Quality\": 1\n", 4, 3, 5},
    {"<think>a</think>\nGround-truth scores:\n(1) visual quality: 1\n(2) text-to-video alignment: 1\n(3) "
     "physical consistency: 1\n",
     0, 0, 0},
    {"<think>a</think>\nGround truth: visual quality: 1; text alignment: 1; physical consistency: 1\nMy "
     "scores: visual quality: 4; text alignment: 3; physical consistency: 5",
     4, 3, 5},
    {"<think>a</think>\n" TRAINED
     "\nGround truth: visual quality: 1; text alignment: 1; physical consistency: 1",
     4, 3, 5},
    {"<think>a</think>\nvisual quality (ground truth): 1\nvisual quality: 4\ntext alignment: 3\nphysical "
     "consistency: 5",
     4, 3, 5},
    {"<think>visual quality: 1; text alignment: 1; physical consistency: 1</think>\n(1) visual quality: "
     "4\n(2) text-to-video alignment: 3\n",
     4, 3, 0},
    {"<think>visual quality: 1; text alignment: 1; physical consistency: 1</think>\n(1) visual quality: "
     "4\n(2) text-to-vid",
     4, 0, 0},
    {"<think>visual quality: 1</think>\n(1) visual quality: ", 0, 0, 0},
    {"<think>First visual quality: 1, text alignment: 1, physical consistency: 1, as I see it. More words "
     "follow here.</think>",
     0, 0, 0},
    {"<think>Scoring: visual quality and text alignment are aligned with a score of 3, while physical "
     "consistency falls to a 2.</think>\n" TRAINED,
     4, 3, 5},
    {"<think>Let me think.\n" TRAINED "</think>", 4, 3, 5},
    {"<think>Let me think.\n" TRAINED "</think>\n", 4, 3, 5},
    {"<think>Let me think.\n" TRAINED "</think>\nI hope this helps.", 4, 3, 5},
    {"Let me think about visual quality: 1, text alignment: 1, physical consistency: "
     "1.\n</think>\n\n" TRAINED,
     4, 3, 5},
    {"<think>\nrationale </think>\n" TRAINED "</think>", 4, 3, 5},
    {"<think>one</think>\n<think>visual quality: 1; text alignment: 1; physical consistency: "
     "1</think>\n" TRAINED,
     4, 3, 5},
    {"<think>one</think>\n" TRAINED "<think>visual quality: 1; text alignment: 1; physical", 4, 3, 5},
    {"<thinking>visual quality: 1; text alignment: 1; physical consistency: 1</thinking>\n" TRAINED, 4, 3, 5},
    {"<THINK>visual quality: 1; text alignment: 1; physical consistency: 1</THINK>\n" TRAINED, 4, 3, 5},
    {"<think >visual quality: 1; text alignment: 1; physical consistency: 1</think >\n" TRAINED, 4, 3, 5},
    {"### Thinking Process:\nThe frames show visual quality: 1 blur. text-to-video alignment: 2 cats.\n\n### "
     "Score:\n" TRAINED,
     4, 3, 5},
    {"The visual quality is 2 at first sight, text alignment is 2, physical consistency is 2.\n\n" TRAINED, 4,
     3, 5},
    {"visual quality: 1\ntext alignment: 1\nphysical consistency: 1\nOn second thought:\n" TRAINED, 4, 3, 5},
    {TRAINED "\nNote that the visual quality: 5 would need a sharper picture.", 4, 3, 5},
    {TRAINED "\n(1) visual quality: 1\n(2) text-to-video ali", 4, 3, 5},

    {"\n<think>\nmulti-dimensional analysis:\nSharp frames.\n\nGround-truth scores:\nDim-1 Visual Quality: "
     "1\nDim-2 "
     "Text-to-Video Alignment: 1\nDim-3 Physical Consistency: 1\n\n</think>\n\n" TRAINED,
     4, 3, 5},
    {"\n<think>\nmulti-dimensional analysis:\\nSharp frames.\\n\\nVisual Quality: 1\\nAlignment: "
     "1\\nPhysics: "
     "1\n</think>\n\n" TRAINED,
     4, 3, 5},
    {"<think>a\n\nGround-truth scores to align with: Visual Quality = 1, Text-to-Video Alignment = 1, "
     "Physical "
     "Consistency = 1.\n</think>\n\n" TRAINED,
     4, 3, 5},
    {"<think>a\n\nFinal Scoring:\nVisual Quality: 1\nText-to-Video Alignment: 1\nPhysical Consistency: "
     "1\n</think>\n\n(1) visual quality: 4\n(2) text-to-v",
     4, 0, 0},
    {"<think>a</think>\n\nAnnotated scores: visual quality 1, text alignment 1, physical consistency "
     "1\n" TRAINED,
     4, 3, 5},
    {"<think>a</think>\n\nAnnotated scores: visual quality 1, text alignment 1, physical consistency 1\n", 0,
     0, 0},
    {"<think>a</think>\n人工评分：视觉质量：1，文本对齐：1，物理一致性：1", 0, 0, 0},
    {"<think>a</think>\n\nReference scores: visual quality: 1, text alignment: 1, physical consistency: 1\n",
     0, 0, 0},

    /* ---- Cut off ----------------------------------------------------------------------------------- */
    {"<think>\nThe frames show a cat. Visual quality: 3 of the frames are bl", 0, 0, 0},
    {"<think>\n**Visual Quality: 3**\nThe frames are blurred.\n**Text alignment: 4**\nThe cat is there and "
     "then the",
     0, 0, 0},
    {"<think>\n**Visual Quality: 3**\nThe frames are blurred.\n**Text alignment: 4**\nThe cat "
     "is.\n**Physical consistency: 2**\nThe tail passes through the sofa and th",
     0, 0, 0},
    {"<think>\nThe frames are fine.\n\n" TRAINED, 4, 3, 5},
    {"<think>\nThe frames are fine.\n\n(1) visual quality: 4\n(2) text-to-video alig", 0, 0, 0},
    {"<think>\nThe ground-truth of Dim-1 is 3.\nground-truth of Dim-1: 3\nground-truth of Dim-2: "
     "3\nground-truth of Dim-3: 3",
     0, 0, 0},
    {"Some words about the clip.\n(1) visual quality: 4\n(2) text-to-video alignment: 3\n(3) physical", 4, 3,
     0},
    {"Some words about the clip.\n(1) visual quality: 4\n(2) text-to-vid", 4, 0, 0},
    {"Some words about the clip.\n**Visual quality: 4**\nThe frames are sharp and the light is even, with a "
     "little noise in the shadows of the second half and",
     0, 0, 0},
    {"</think>", 0, 0, 0},
    {"<think>", 0, 0, 0},
    {"<think></think>", 0, 0, 0},
    {"", 0, 0, 0},
    {" \n", 0, 0, 0},
    {"The video shows a cat on a sofa. It is nice, and 5 seconds long.", 0, 0, 0},
    {"I cannot rate this video.", 0, 0, 0},

    /* ---- No score, or none on the scale ------------------------------------------------------------- */
    {THINK "visual quality: 8\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: 0\ntext-to-video alignment: 3\nphysical consistency: 6", 0, 3, 0},
    {THINK "visual quality: -2\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: 8/10\ntext-to-video alignment: 6/10\nphysical consistency: 9/10", 0, 0, 0},
    {THINK "visual quality: 4/10\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: 80%\ntext-to-video alignment: 60%\nphysical consistency: 100%", 0, 0, 0},
    {THINK "visual quality: 3-4\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: 3 to 4\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK
     "visual quality: 3 to 4 points\ntext-to-video alignment: 3 - 4\nphysical consistency: 4-5 out of 5",
     0, 0, 0},
    {THINK "visual quality: 3~4\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: N/A\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: none\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: good\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: <v_score>\ntext-to-video alignment: <t_score>\nphysical consistency: <p_score>",
     0, 0, 0},
    {THINK "visual quality: 4K\ntext-to-video alignment: 3D\nphysical consistency: 5x", 0, 0, 0},
    {THINK "visual quality: 4 frames are blurred\ntext-to-video alignment: 3 cats are missing\nphysical "
           "consistency: 5 jumps",
     0, 0, 0},
    {THINK "visual quality: one of the best\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: 4:3 aspect ratio\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: 5-second clip\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: 2,000 pixels\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK
     "visual quality:\n1. Sharp frames\n2. Even light\ntext-to-video alignment: 3\nphysical consistency: 5",
     0, 3, 5},
    {THINK "(1) visual quality\n(2) text-to-video alignment\n(3) physical consistency", 0, 0, 0},
    {THINK "(1) visual quality: good; (2) text-to-video alignment: fair; (3) physical consistency: great", 0,
     0, 0},
    {THINK "(1) visual quality: good\n(2) text-to-video alignment: 3\n(3) physical consistency: great", 0, 3,
     0},
    {THINK "visual quality: 44\ntext-to-video alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "visual quality: 99999999999999999999999\ntext-to-video alignment: 3\nphysical consistency: 5", 0,
     3, 5},

    /* ---- As seen from general models ---------------------------------------------------------------- */
    {THINK "visual quality: 4\xEF\xB8\x8F\xE2\x83\xA3\ntext alignment: 3\xEF\xB8\x8F\xE2\x83\xA3\nphysical "
           "consistency: 5\xEF\xB8\x8F\xE2\x83\xA3",
     4, 3, 5},
    {THINK "visual quality: \xE2\xAD\x90\xE2\xAD\x90\xE2\xAD\x90\xE2\xAD\x90 (4/5)\ntext alignment: "
           "\xE2\xAD\x90 (3/5)\nphysical consistency: (5/5)",
     4, 3, 5},
    {THINK "Score (visual quality): 4\nScore (text-to-video alignment): 3\nScore (physical consistency): 5",
     4, 3, 5},
    {THINK
     "Score for visual quality: 4\nScore for text-to-video alignment: 3\nScore for physical consistency: 5",
     4, 3, 5},
    {THINK "Visual: 4/5 | Alignment: 3/5 | Physics: 5/5", 4, 3, 5},
    {THINK "1: 4\n2: 3\n3: 5", 4, 3, 5},
    {THINK "Final answer: visual quality: 4; text alignment: 3; physical consistency: 5", 4, 3, 5},
    {THINK
     "**Final Scores:**\n\n1. **Visual Quality:** 4 \xE2\x80\x93 sharp, 2 flickers.\n2. **Text-to-Video "
     "Alignment:** 3 \xE2\x80\x93 1 cat of 2.\n3. **Physical Consistency:** 5 \xE2\x80\x93 natural.",
     4, 3, 5},
    {THINK "Visual quality: 4 because of the 3 sharp scenes. Text alignment: 3 as 2 cats are there. Physical "
           "consistency: 5.",
     4, 3, 5},
    {THINK "The visual quality is good in 3 of 4 scenes, so I rate it 4/5.\nThe text alignment is fair, "
           "3/5.\nThe physical consistency is great, 5/5.",
     4, 3, 5},
    {THINK
     "Visual quality (weight 0.5): 4\nText alignment (weight 0.3): 3\nPhysical consistency (weight 0.2): 5",
     4, 3, 5},
    {THINK
     "visual quality: 4/5 points; text-to-video alignment: 3/5 points; physical consistency: 5/5 points",
     4, 3, 5},
    {THINK "visual quality: 4 out of 5 stars\ntext alignment: 3 out of 5 stars\nphysical consistency: 5 out "
           "of 5 stars",
     4, 3, 5},
    {THINK "visual quality: not 4 but less\ntext alignment: 3\nphysical consistency: 5", 0, 3, 5},
    {THINK "\xE2\x80\xA2 Visual Quality \xE2\x86\x92 4/5\n\xE2\x80\xA2 Text Alignment \xE2\x86\x92 "
           "3/5\n\xE2\x80\xA2 Physical Consistency \xE2\x86\x92 5/5",
     4, 3, 5},
    {THINK "{\"scores\": {\"visual_quality\": 4, \"text_to_video_alignment\": 3, "
           "\"physical_common_sense_consistency\": 5}, \"overall\": 4}",
     4, 3, 5},
    {THINK "[{\"dimension\": \"visual quality\", \"score\": 4}, {\"dimension\": \"text alignment\", "
           "\"score\": 3}, {\"dimension\": \"physical consistency\", \"score\": 5}]",
     4, 3, 5},
    {THINK "visual quality:\n  score: 4\n  reason: sharp\ntext alignment:\n  score: 3\n  reason: 1 "
           "cat\nphysical consistency:\n  score: 5\n  reason: natural",
     4, 3, 5},
    {"## Analysis\nThe visual quality suffers: 2 of 10 frames are blurred.\nText-to-video alignment: the "
     "prompt asks for 3 cats, 2 are there.\n\n## Scores\n" TRAINED,
     4, 3, 5},
    {"**Visual Quality Analysis:**\nResolution: 720p. 3 frames blur.\n**Text Alignment Analysis:**\n1. A "
     "cat\n2. A sofa\n**Physical Consistency Analysis:**\nIn 5 frames the tail bends.\n\n" TRAINED,
     4, 3, 5},
    {"<think>\n**Visual Quality Analysis:**\nI would give a 2 for visual quality.\n**Text Alignment "
     "Analysis:** score: 2\n</think>\n\n" TRAINED,
     4, 3, 5},
    {"<think>\nGround truth score of Dim-1 \"Visual Quality\": 3\nground-truth score of Dim-2 "
     "\"Text-to-Video Alignment\": 3\nground-truth of Dim-3 \"Physical Consistency\": 3\n",
     0, 0, 0},

    /* ---- Noise ------------------------------------------------------------------------------------- */
    {THINK "Here is my evaluation:\n\n" TRAINED "\nLet me know if you need more.", 4, 3, 5},
    {THINK "\xF0\x9F\x98\x80 visual quality: 4 \xF0\x9F\x91\x8D\ntext alignment: 3\nphysical consistency: 5",
     4, 3, 5},
    {THINK "\xFF\xFEvisual quality: 4\xFF\ntext alignment: 3\nphysical consistency: 5", 4, 3, 5},
    {THINK "visual quality: 4\n\n\n\n\ntext alignment: 3\n\n\n\n\nphysical consistency: 5", 4, 3, 5},
    {THINK "   visual   quality  :   4\n   text - to - video   alignment  :   3\n   physical / common - "
           "sense   consistency  :   5",
     4, 3, 5},
    {THINK "visual quality: 4,text-to-video alignment: 3,physical/common-sense consistency: 5", 4, 3, 5},
    {THINK "visual quality:4;text-to-video alignment:3;physical/common-sense consistency:5;", 4, 3, 5},
    {THINK "visual quality: 4!\ntext alignment: 3!\nphysical consistency: 5!", 4, 3, 5},
    {THINK "visual quality visual quality: 4\ntext alignment text alignment: 3\nphysical consistency: 5", 4,
     3, 5},
    {THINK "visual quality: 4\nvisual quality: 4\ntext alignment: 3\ntext alignment: 3\nphysical "
           "consistency: 5\nphysical consistency: 5",
     4, 3, 5},
};

#undef THINK
#undef TRAINED

#endif
