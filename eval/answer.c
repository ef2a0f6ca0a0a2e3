/* The text is folded to code points (case, full-width forms, dashes and quotes made one), names of dimensions
 * are found in it, a score is sought behind (or before) each name in ever less formal shapes, and of the
 * entries found the last complete set is the answer. Every search is bounded by its entry, so that reading
 * is linear in the text. */
#include "eval/answer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "eval/folded.h"

const char *dimension_letter(enum dimension dimension) {
    static const char *const letters[DIMENSIONS] = {"v", "t", "p"};
    return letters[dimension];
}

const char *dimension_name(enum dimension dimension) {
    static const char *const names[DIMENSIONS] = {"visual quality", "text-to-video alignment",
                                                  "physical/common-sense consistency"};
    return names[dimension];
}

/* ---- Names and words --------------------------------------------------------------------------------- */

/* Lists of words that mean the same to the reader, as match_any takes them. */

/* What the dimensions are called. */
static const char *const strong_names[DIMENSIONS] = {
    "visual quality|visual and optical quality|image quality|picture quality|visual fidelity|"
    "visual score|v score|dimension 1|dim 1|视觉质量|视觉品质|画面质量|視覺質量|視覺品質|画质",
    "text to video alignment|text to video consistency|text video alignment|text video consistency|"
    "video text alignment|video to text alignment|text alignment|text consistency|text adherence|"
    "t2v alignment|t2v consistency|t2v score|semantic alignment|semantic adherence|semantic consistency|"
    "prompt alignment|prompt adherence|prompt consistency|prompt fidelity|prompt following|"
    "instruction following|alignment with the prompt|alignment with the text|t score|dimension 2|dim 2|"
    "文本到视频对齐|文本 视频对齐|文本与视频对齐|文本对齐|文本一致性|文本 视频一致性|文本与视频一致性|"
    "文本与视频的一致性|图文一致性|语义对齐|语义一致性|提示词一致性|提示词对齐|文本 影片對齊|文本對齊",
    "physical common sense consistency|physical and common sense consistency|"
    "physical or common sense consistency|physical common sense|common sense physical consistency|"
    "physical consistency|physical plausibility|physical realism|physical correctness|physical score|"
    "physics consistency|physics common sense consistency|physics plausibility|common sense consistency|"
    "phy score|phys score|p score|dimension 3|dim 3|物理 常识一致性|物理与常识一致性|物理和常识一致性|"
    "物理一致性|物理合理性|物理真实性|常识一致性|物理 常識一致性"};
/* These may be ordinary words: they count only at the start of an entry and with a score right behind. */
static const char *const weak_names[DIMENSIONS] = {
    "video quality|visual clarity|visuals|visual|quality|视频质量|视觉|vq|v",
    "alignment|text to video|t2v|semantics|ta|t",
    "common sense|factual consistency|physical|physics|consistency|物理|phys|phy|pc|p"};
static const char *const number_words[] = {"one|一", "two|二|两", "three|三", "four|四", "five|五"};
static const char score_words[] = "final score|scores|score|rating|grade|得分|评分|分数|打分|評分";
static const char link_words[] =
    "is|are|was|would be|of|an|a|as|at|to be|gets|get|receives|received|earns|deserves|rated|rates|with|"
    "scored|given|about|around|roughly|approximately|only|just|to|为|是|给|约";
/* Words that may follow a score in its sentence. */
static const char next_words[] = "and|because|since|as|due|with|but|while|for|given|in";
static const char unit_words[] = "points|point|stars|star|分|星|点";
static const char none_words[] = "n/a|none|null|unknown|unclear|无";
static const char truth_words[] =
    "ground truth|groundtruth|gt|gold score|human score|human scores|reference score|reference scores|"
    "annotated scores|真实分数|真实得分|真实评分|标准答案|参考答案|人工评分";
static const char own_words[] = "my|i|final|predicted|prediction|answer|output";
static const char whole_words[] = "overall|total|average|mean|sum|总分|总体|综合|平均|整体";
static const char think_tags[] = "think|thinking|thought|reasoning";
static const char answer_tags[] = "answer";

/* ---- Scores ------------------------------------------------------------------------------------------ */

enum reading { READ_NOTHING, READ_SCORE, READ_OUTSIDE, READ_SCALE, READ_RANGE, READ_NONE };
enum form { FORM_STRICT, FORM_LABELLED, FORM_LOOSE, FORMS };

struct score {
    enum reading reading;
    enum form form;
    double value;
    size_t start, end; /* the number itself */
    size_t next;       /* behind it, with its scale and unit */
};

/* A number or number word at i. */
static bool read_number(struct view v, size_t i, struct score *score) {
    *score = (struct score){.reading = READ_SCORE, .start = i};
    if (is_digit(at(v, i))) {
        double unit = 0.1;
        while (is_digit(at(v, i)) && score->value < 1e9)
            score->value = score->value * 10 + (at(v, i++) - '0');
        if (at(v, i) == '.' && is_digit(at(v, i + 1)))
            for (i++; is_digit(at(v, i)); i++, unit /= 10) score->value += (at(v, i) - '0') * unit;
        score->end = i;
        return !is_word(at(v, i));
    }
    for (int n = 0; n < 5; n++)
        if ((score->end = match_any(v, i, number_words[n]))) {
            score->value = n + 1;
            return true;
        }
    return false;
}

/* "/5", "out of 5", "of five", "分": behind the number. Sets `next`; true when a scale of five stands there.
 */
static bool read_scale(struct view v, struct score *score) {
    struct score of;
    size_t i = skip(v, score->end, "*_`\"' ");
    size_t bar = at(v, i) == '/' ? i + 1 : match_any(v, i, "out of");
    if (!bar) bar = match_any(v, i, "of");
    bool five = false;
    score->next = score->end;
    if (bar && read_number(v, skip(v, bar, "*_`\"' "), &of)) {
        five = of.value == 5;
        bool other = of.value == 10 || of.value == 100 || of.value == 4 || of.value == 7 || of.value == 20;
        if (other) score->reading = READ_SCALE;
        if (five || other) score->next = of.end;
    } else if (at(v, i) == '%') {
        score->reading = READ_SCALE;
        score->next = i + 1;
    }
    size_t unit = match_any(v, skip(v, score->next, " "), unit_words);
    if (unit) score->next = unit;
    return five;
}

struct name {
    enum dimension dimension;
    bool weak;
};

/* The end of the longest name at i, 0 for none. */
static size_t longest_name(struct view v, size_t i, struct name *name) {
    size_t longest = 0;
    *name = (struct name){0};
    for (int k = 0; k < 2 * DIMENSIONS; k++) {
        enum dimension dimension = (enum dimension)(k % DIMENSIONS);
        bool weak = k >= DIMENSIONS;
        size_t end = match_longest(v, i, weak ? weak_names[dimension] : strong_names[dimension]);
        if (end <= longest) continue;
        longest = end;
        *name = (struct name){dimension, weak};
    }
    return longest;
}

/* Whether what stands at i makes the score a range: "3-4", "3 to 4 points", but not "3 - 1 cat is missing".
 */
static bool ends_range(struct view v, size_t i, struct score *score) {
    struct score other;
    size_t dash = is_one_of(at(v, i), "-~") ? i + 1 : match_any(v, i, "to");
    size_t second = skip(v, dash, " ");
    if (!dash || !read_number(v, second, &other)) return false;
    bool five = read_scale(v, &other);
    bool tight = i == score->next && second == dash;
    if (!tight && !five && other.next == other.end && is_word(at(v, skip(v, other.next, " ")))) return false;
    score->reading = READ_RANGE;
    score->next = other.next;
    return true;
}

/* Whether a score may end where score->next stands: not "4 frames", "4:3", "5-second", "1. first". */
static bool ends_well(struct view v, struct score *score) {
    size_t i = skip(v, score->next, "*_`\"'$ ");
    uint32_t c = at(v, i), after = at(v, i + 1);
    if (ends_range(v, i, score)) return true;
    if (c == 0 || c == '\n' || is_one_of(c, ";!|()[]{}<>#\"'")) return true;
    if (c == '.') return !is_digit(after);
    if (c == ',') return !(is_digit(after) && is_digit(at(v, i + 2)) && is_digit(at(v, i + 3)));
    if (c == '-') return !is_word(after);
    if (c == ':') return !is_digit(after);
    if (is_one_of(c, "?\\&") || is_symbol(c)) return true;
    struct name name;
    size_t end = i > score->next ? longest_name(v, i, &name) : 0;
    return (end && (!name.weak || is_one_of(at(v, end), ":="))) || match_any(v, i, next_words);
}

/* A score at i that ends well; judges its range. */
static bool read_score(struct view v, size_t i, struct score *score) {
    if (!read_number(v, i, score)) return false;
    read_scale(v, score);
    if (!ends_well(v, score)) return false;
    if (score->reading == READ_SCORE && (score->value < 1 || score->value > 5)) score->reading = READ_OUTSIDE;
    return true;
}

/* The end of a remark in brackets at i, "(1-5)" or "(clarity, artifacts)", when a score follows behind it. */
static size_t skip_remark(struct view v, size_t i) {
    size_t close = i;
    while (close < v.end && close - i < LINE_REACH && at(v, close) != ')' && at(v, close) != '\n') close++;
    if (at(v, close) != ')') return 0;
    size_t j = skip(v, close + 1, "*_`\"' ");
    if (!is_one_of(at(v, j), ":=|-")) return 0;
    struct score score;
    j = skip(v, j, ":=|- *_`\"'([<");
    return read_number(v, j, &score) ? close + 1 : 0;
}

/* A score right behind a name: separators, decoration, "score", "is" and the like between them. */
static bool read_direct(struct view v, size_t i, struct score *score) {
    size_t separators = 0, lines = 0, end;
    bool loose = false, colon = false;
    for (;; i = end) {
        uint32_t c = at(v, i);
        if (c == '(' && (end = skip_remark(v, i))) continue;
        end = i + 1;
        if (c == '\n') {
            if (++lines > 2) return false;
        } else if (is_one_of(c, ":=|>-/.)]}") && !(c == '.' && at(v, end) != '.')) {
            if (c == '-' && colon && is_digit(at(v, end))) break;
            separators += c != '.' && c != ')';
            colon |= c == ':' || c == '=';
        } else if (!is_decoration(c)) {
            if ((end = match_any(v, i, score_words)) || (end = match_any(v, i, "boxed|text"))) continue;
            if (!(end = match_any(v, i, link_words))) break;
            loose = true;
        } else {
            separators += c == '(' || c == '[';
        }
    }
    bool negative = at(v, i) == '-';
    if (!read_score(v, negative ? i + 1 : i, score)) {
        size_t none = colon ? match_any(v, i, none_words) : 0;
        if (!none) return false;
        *score = (struct score){.reading = READ_NONE, .start = i, .end = none, .next = none};
    }
    if (negative) score->reading = READ_OUTSIDE;
    /* On a line of its own it must stand alone: "1. Clear picture" is a list. */
    size_t rest = skip(v, score->next, "*_`\"'$ .)]}|");
    if (lines && !colon && rest < v.end && at(v, rest) != '\n') return false;
    if (lines && at(v, rest) != '\n' && at(v, rest) != 0 && !is_one_of(at(v, rest), ",;(-<")) return false;
    score->form = loose ? FORM_LOOSE : separators || lines ? FORM_STRICT : FORM_LABELLED;
    return true;
}

/* "visual quality - clarity, artifacts: 4": the last separator with a score on the name's line. */
static bool read_behind_remark(struct view v, size_t i, struct score *score) {
    bool found = false;
    size_t end = line_end(v, i);
    for (; i < end; i++) {
        uint32_t c = at(v, i);
        bool dash = c == '-' && is_one_of(at(v, i - 1), " ") && is_one_of(at(v, i + 1), " ");
        if (!dash && !is_one_of(c, ":=|>")) continue;
        struct score candidate;
        if (read_score(v, skip(v, i + 1, " *_`\"'([{<$~"), &candidate)) {
            *score = candidate;
            score->form = FORM_STRICT;
            found = true;
        }
    }
    return found;
}

/* Further behind: "score: 4", "4/5", or "(4)" on the name's line; the last of the first kind that is there.
 */
static bool read_labelled(struct view v, size_t begin, struct score *score) {
    struct score labelled = {0}, scaled = {0}, bracketed = {0}, candidate;
    size_t end = line_end(v, begin);
    for (size_t i = begin; i < v.end; i++) {
        size_t word = match_any(v, i, score_words);
        if (word) {
            size_t j = skip(v, word, " *_`\"':=>|-([{<");
            size_t link = match_any(v, j, link_words);
            if (link) j = skip(v, link, " *_`\"'");
            if (read_score(v, j, &candidate)) labelled = candidate;
        }
        if (is_word(at(v, i - 1)) || at(v, i - 1) == '.') continue;
        if (read_number(v, i, &candidate) && read_scale(v, &candidate) && candidate.value >= 1 &&
            candidate.value <= 5)
            scaled = candidate;
        if (i < end && at(v, i - 1) == '(' && read_score(v, i, &candidate) && at(v, candidate.next) == ')')
            bracketed = candidate;
    }
    *score = labelled.reading ? labelled : scaled.reading ? scaled : bracketed;
    score->form = FORM_LABELLED;
    return score->reading != READ_NOTHING;
}

/* Further behind in the sentence: "visual quality of this clip is 4". */
static bool read_in_sentence(struct view v, size_t i, struct score *score) {
    enum { NEAR = 60 };
    size_t end = i + NEAR < v.end ? i + NEAR : v.end;
    for (; i < end && !is_one_of(at(v, i), "\n.;!?"); i++) {
        size_t word = match_any(v, i, link_words);
        if (word && read_score(v, skip(v, word, " *_`\"'"), score)) {
            score->form = FORM_LOOSE;
            return true;
        }
    }
    return false;
}

/* Whether the number at i is what another is out of: "/5", "out of 5". */
static bool is_scale(struct view v, size_t i) {
    while (i > v.begin && at(v, i - 1) == ' ') i--;
    return i > v.begin + 1 && (at(v, i - 1) == '/' || match_any(v, i - 2, "of"));
}

/* "a 4 for visual quality": the score before the name. */
static bool read_before(struct view v, size_t name, struct score *score) {
    enum { NEAR = 32 };
    size_t first = name - v.begin > NEAR ? name - NEAR : v.begin;
    for (size_t i = name; i-- > first;) {
        if (is_one_of(at(v, i), "\n;")) return false;
        if (i > v.begin && (is_word(at(v, i - 1)) || at(v, i - 1) == '.')) continue;
        if (!read_number(v, i, score) || is_scale(v, i)) continue;
        read_scale(v, score);
        size_t j = match_any(v, skip(v, score->next, " *_`\"'"), "for|in|on|to");
        if (!j) return false;
        j = skip(v, j, " *_`\"'(");
        size_t the = match_any(v, j, "the");
        if (the) j = skip(v, the, " *_`\"'(");
        if (j != name) return false;
        if (score->reading == READ_SCORE && (score->value < 1 || score->value > 5))
            score->reading = READ_OUTSIDE;
        score->form = FORM_LOOSE;
        return true;
    }
    return false;
}

/* ---- Entries ----------------------------------------------------------------------------------------- */

struct entry {
    enum dimension dimension;
    bool weak;
    size_t name, name_end;
    struct score score;
};

struct entries {
    struct entry *list;
    size_t count, capacity;
    size_t names; /* that stand in the view, with or without a score */
};

/* Whether only list marks and decoration lie between i and the start of its line or clause. */
static bool at_entry_start(struct view v, size_t i) {
    while (i > v.begin) {
        uint32_t c = at(v, --i);
        if (is_one_of(c, "\n,;{|[:=>")) return true;
        if (!is_decoration(c) && !is_digit(c) && !is_one_of(c, ".)+-")) return false;
    }
    return true;
}

/* The end of the name at i that may begin an entry, 0 for none. */
static size_t find_name(struct view v, size_t i, struct name *name) {
    struct score score;
    size_t end = longest_name(v, i, name);
    if (end && name->weak &&
        !(at_entry_start(v, i) && read_direct(v, end, &score) && score.form == FORM_STRICT))
        return 0;
    return end;
}

/* The last place in [from, to) where one of the words stands, or `from` - 1 (as a signed number). */
static ptrdiff_t last_word(struct view v, size_t from, size_t to, const char *words) {
    for (size_t i = to; i-- > from;)
        if (match_any(v, i, words)) return (ptrdiff_t)i;
    return (ptrdiff_t)from - 1;
}

static bool tells_truth(struct view v, size_t from, size_t to) {
    return last_word(v, from, to, truth_words) > last_word(v, from, to, own_words);
}

/* Whether an entry is a quoted ground truth: said on its line, between name and score, or in the heading of
 * the list that it stands in. */
static bool is_ground_truth(struct view v, const struct entry *entry) {
    size_t line = line_start(v, entry->name);
    size_t to = entry->score.start > entry->name_end ? entry->score.start : entry->name_end;
    if (tells_truth(v, line, to - entry->name < LINE_REACH ? to : entry->name + LINE_REACH)) return true;
    for (int lines = 0; lines < DIMENSIONS + 1 && line > v.begin; lines++) {
        size_t end = line - 1;
        line = line_start(v, end);
        size_t last = end;
        while (last > line && is_one_of(at(v, last - 1), " *_")) last--;
        if (last > line && at(v, last - 1) == ':') return tells_truth(v, line, end);
    }
    return false;
}

/* Where what belongs to the entry before `name` ends: without the list mark, or the "3 for", of `name`. */
static size_t trim_before(struct view v, size_t name) {
    struct score score;
    if (read_before(v, name, &score)) return score.start;
    size_t i = name;
    while (i > v.begin && (is_decoration(at(v, i - 1)) || is_one_of(at(v, i - 1), "-+>"))) i--;
    if (i > v.begin + 1 && is_one_of(at(v, i - 1), ".):") && is_digit(at(v, i - 2))) {
        i -= 2;
        if (i > v.begin && at(v, i - 1) == '(') i--;
    }
    return i;
}

/* What lies behind a name up to the next one, or to a line about the whole ("Overall score: 4"). */
static struct view entry_view(struct view v, const struct entry *entry, size_t next) {
    struct view span = {v.code, entry->name, next};
    for (size_t i = line_end(span, entry->name_end); i < next; i = line_end(span, i + 1)) {
        size_t word = i + 1;
        while (is_decoration(at(span, word)) || is_one_of(at(span, word), "-+>")) word++;
        if (match_any(span, word, whole_words)) span.end = i;
        if (match_any(span, word, whole_words)) break;
    }
    return span;
}

static void read_entry(struct view v, struct entry *entry, size_t next, bool last) {
    struct score *score = &entry->score;
    struct view span = entry_view(v, entry, next);
    struct view open = {v.code, entry->name, v.end}; /* a score may be followed by the next name */
    if (read_before(v, entry->name, score)) return;
    if (read_direct(open, entry->name_end, score) && score->start < next) return;
    if (!last && span.end == next) span.end = trim_before(v, next);
    if (span.end < entry->name_end) span.end = entry->name_end;
    if (read_behind_remark(span, entry->name_end, score)) return;
    if (read_labelled(span, entry->name_end, score)) return;
    if (read_in_sentence(span, entry->name_end, score)) return;
    *score = (struct score){0};
}

/* Three names and then three scores, in a sentence or as the head and row of a table. */
static void read_row(struct view v, struct entry *three) {
    if (three[0].dimension == three[1].dimension || three[1].dimension == three[2].dimension ||
        three[0].dimension == three[2].dimension)
        return;
    for (int k = 0; k < 2; k++)
        for (size_t i = three[k].name_end; i < three[k + 1].name; i++)
            if (is_digit(at(v, i)) || at(v, i) == '\n' || at(v, i) == ':') return;
    struct score scores[DIMENSIONS];
    size_t i = three[2].name_end;
    for (int k = 0; k < DIMENSIONS; k++) {
        i = skip(v, i, k ? " *_`\"'|,;/)]" : " *_`\"'|:=-\n([{)]}");
        size_t word = match_any(v, i, k ? "and" : "are");
        if (word) i = skip(v, word, " ");
        if (!read_number(v, i, &scores[k]) || scores[k].value < 1 || scores[k].value > 5) return;
        i = scores[k].next = scores[k].end;
    }
    if (!ends_well(v, &scores[2]) || scores[2].reading != READ_SCORE) return;
    for (int k = 0; k < DIMENSIONS; k++) three[k].score = scores[k];
}

/* Leaves out the weak names of dimensions that have a strong one. */
static void drop_weak(struct entries *entries) {
    bool strong[DIMENSIONS] = {false};
    size_t kept = 0;
    for (size_t k = 0; k < entries->count; k++) strong[entries->list[k].dimension] |= !entries->list[k].weak;
    for (size_t k = 0; k < entries->count; k++)
        if (!entries->list[k].weak || !strong[entries->list[k].dimension])
            entries->list[kept++] = entries->list[k];
    entries->count = kept;
}

/* All names in the view, with their scores; those of a ground truth and those without any score are left out.
 */
static enum status read_entries(struct view v, struct entries *entries, struct error *err) {
    entries->count = 0;
    for (size_t i = v.begin; i < v.end;) {
        struct name name;
        size_t end = find_name(v, i, &name);
        if (!end) {
            i++;
            continue;
        }
        enum status status = memory_grow(&entries->list, &entries->capacity, entries->count + 1,
                                         sizeof(struct entry), "the answer", err);
        if (status != STATUS_OK) return status;
        entries->list[entries->count++] =
            (struct entry){.dimension = name.dimension, .weak = name.weak, .name = i, .name_end = end};
        i = end;
    }
    size_t count = entries->count, kept = 0;
    entries->names = count;
    for (size_t k = 0; k < count; k++) {
        size_t next = k + 1 < count ? entries->list[k + 1].name : v.end;
        read_entry(v, &entries->list[k], next, k + 1 == count);
    }
    for (size_t k = 0; k + DIMENSIONS <= count; k++)
        if (!entries->list[k].score.reading && !entries->list[k + 1].score.reading)
            read_row(v, &entries->list[k]);
    for (size_t k = 0; k < count; k++)
        if (entries->list[k].score.reading && !is_ground_truth(v, &entries->list[k]))
            entries->list[kept++] = entries->list[k];
    entries->count = kept;
    drop_weak(entries);
    return STATUS_OK;
}

/* ---- Choosing the answer ----------------------------------------------------------------------------- */

/* The places in a list of entries of the three scores that are the answer; -1: not there. */
struct choice {
    ptrdiff_t place[DIMENSIONS];
    bool complete;
};

static size_t extent(const struct entries *entries, const struct choice *choice) {
    size_t low = SIZE_MAX, high = 0;
    for (int d = 0; d < DIMENSIONS; d++) {
        const struct entry *entry = &entries->list[choice->place[d]];
        size_t start = entry->score.start < entry->name ? entry->score.start : entry->name;
        size_t end = entry->score.next > entry->name_end ? entry->score.next : entry->name_end;
        low = start < low ? start : low;
        high = end > high ? end : high;
    }
    return high - low;
}

/* The last complete set when the entries, from first to last or the other way, are cut into sets wherever a
 * dimension repeats. */
static struct choice last_set(const struct entries *entries, enum form form, bool backward) {
    struct choice best = {{-1, -1, -1}, false}, set = best;
    int filled = 0;
    for (size_t n = 0; n < entries->count; n++) {
        size_t k = backward ? entries->count - 1 - n : n;
        if (entries->list[k].score.form > form) continue;
        enum dimension dimension = entries->list[k].dimension;
        if (set.place[dimension] >= 0) {
            set = (struct choice){{-1, -1, -1}, false};
            filled = 0;
        }
        set.place[dimension] = (ptrdiff_t)k;
        if (++filled < DIMENSIONS) continue;
        set.complete = true;
        best = set;
        if (backward) break;
        set = (struct choice){{-1, -1, -1}, false};
        filled = 0;
    }
    return best;
}

/* The last complete set, of the most formal entries that give one. A stray entry shifts one of the two ways
 * of cutting; the closer set is the one that was written together. */
static struct choice choose_complete(const struct entries *entries) {
    if (entries->count < DIMENSIONS) return (struct choice){{-1, -1, -1}, false};
    for (enum form form = FORM_STRICT; form < FORMS; form++) {
        struct choice forward = last_set(entries, form, false), backward = last_set(entries, form, true);
        if (!forward.complete && !backward.complete) continue;
        if (!forward.complete) return backward;
        if (!backward.complete) return forward;
        return extent(entries, &backward) < extent(entries, &forward) ? backward : forward;
    }
    return (struct choice){{-1, -1, -1}, false};
}

/* The last entry of each dimension. */
static struct choice choose_partial(const struct entries *entries) {
    struct choice choice = {{-1, -1, -1}, false};
    for (enum form form = FORM_STRICT; form < FORMS; form++)
        for (size_t k = entries->count; k-- > 0;)
            if (entries->list[k].score.form == form && choice.place[entries->list[k].dimension] < 0)
                choice.place[entries->list[k].dimension] = (ptrdiff_t)k;
    return choice;
}

static size_t last_end(const struct entries *entries, const struct choice *choice) {
    size_t end = 0;
    for (int d = 0; d < DIMENSIONS; d++)
        if (choice->place[d] >= 0 && entries->list[choice->place[d]].score.next > end)
            end = entries->list[choice->place[d]].score.next;
    return end;
}

/* Whether a complete set reads as a list of scores, on lines of its own, that ends the view: what an answer
 * looks like when the rationale was never closed. */
static bool ends_the_view(struct view v, const struct entries *entries, const struct choice *choice) {
    enum { MOST_BETWEEN = 8, MOST_AFTER = 4 };
    size_t length = 0, end = last_end(entries, choice), begin = end;
    for (int d = 0; d < DIMENSIONS; d++) {
        const struct entry *entry = &entries->list[choice->place[d]];
        if (entry->score.form != FORM_STRICT) return false;
        length += letters_between(v, entry->name, entry->score.next);
        begin = entry->name < begin ? entry->name : begin;
    }
    size_t line = line_start(v, begin);
    return letters_between(v, line, begin) <= 1 && letters_between(v, begin, end) - length <= MOST_BETWEEN &&
           letters_between(v, end, v.end) <= MOST_AFTER;
}

/* Nothing but three scores in the view, in the published order: "4, 3, 5", "(1) 4 (2) 3 (3) 5". */
static bool read_bare(struct view v, struct score scores[DIMENSIONS]) {
    size_t i = skip(v, v.begin, " \n*_`\"'#{");
    size_t word = match_any(v, i, score_words);
    if (!word) word = match_any(v, i, "final answer|answer");
    if (word) i = word;
    for (int k = 0; k < DIMENSIONS; k++) {
        i = skip(v, i, k ? " \n*_`\"',;/|)]:" : " \n*_`\"':=[|");
        size_t mark = skip(v, i, "(");
        if (at(v, mark) == (uint32_t)('1' + k) && is_one_of(at(v, mark + 1), ").:")) {
            struct score marked;
            size_t j = skip(v, mark + 1, ").: *_`\"'-");
            if (read_number(v, j, &marked)) i = j;
        }
        i = skip(v, i, "([");
        if (!read_number(v, i, &scores[k]) || scores[k].value < 1 || scores[k].value > 5) return false;
        read_scale(v, &scores[k]);
        if (scores[k].reading != READ_SCORE) return false;
        i = scores[k].next;
    }
    return letters_between(v, i, v.end) == 0;
}

/* ---- Rationale and answer block ---------------------------------------------------------------------- */

/* What the tags say: the text without the rationale, and the rationale's last stretch. */
struct parts {
    struct view outside; /* a copy in which the rationale reads as line ends */
    struct view inside;  /* empty: no rationale */
    bool closed;         /* a rationale ended */
    bool open;           /* a rationale begins and never ends */
};

/* The end of a tag <NAME> or </NAME> at i, 0 for none. */
static size_t tag(struct view v, size_t i, bool closing, const char *tags) {
    if (at(v, i) != '<' || (at(v, i + 1) == '/') != closing) return 0;
    size_t end = match_any(v, skip(v, i + 1 + closing, " "), tags);
    end = end ? skip(v, end, " ") : 0;
    return end && at(v, end) == '>' ? end + 1 : 0;
}

static void split_parts(uint32_t *copy, struct view v, struct parts *parts) {
    *parts = (struct parts){.outside = {copy, v.begin, v.end}};
    size_t begin = v.end; /* of the rationale that is open here */
    for (size_t i = v.begin; i < v.end; i++) {
        size_t end = tag(v, i, false, think_tags);
        if (end && begin == v.end) begin = i;
        bool answer = begin < v.end && tag(v, i, false, answer_tags);
        end = tag(v, i, true, think_tags);
        if (!end && !answer) continue;
        /* A closing tag without an opening one ends a rationale that began with the text; a second closing
         * tag after an answer means nothing. */
        bool stray = begin == v.end && parts->closed;
        if (begin == v.end) begin = stray ? i : v.begin;
        if (answer && !parts->closed) end = i; /* <answer> ends a rationale that was not closed */
        if (answer && end != i) continue;
        for (size_t k = begin; k < end; k++) copy[k] = '\n';
        if (!stray) parts->inside = (struct view){v.code, begin, i};
        parts->closed = true;
        begin = v.end;
    }
    parts->open = begin < v.end;
    if (!parts->open) return;
    parts->inside = (struct view){v.code, begin, v.end};
    for (size_t k = begin; k < v.end; k++) copy[k] = '\n';
}

/* The last <answer> block that begins before *before, which is set to its tag; false when there is none. An
 * unclosed one reaches up to *before. */
static bool last_block(struct view v, size_t *before, struct view *block) {
    for (size_t i = *before; i-- > v.begin;) {
        size_t begin = tag(v, i, false, answer_tags);
        if (!begin) continue;
        size_t end = begin;
        while (end < *before && !tag(v, end, true, answer_tags)) end++;
        *block = (struct view){v.code, begin, end};
        *before = i;
        return true;
    }
    return false;
}

/* ---- Reading ----------------------------------------------------------------------------------------- */

static void take_score(const char *text, const struct folded *folded, const struct score *score,
                       struct answer_value *value) {
    value->start = folded->offset[score->start];
    value->end = folded->offset[score->end];
    char quoted[32];
    snprintf(quoted, sizeof(quoted), "%.*s", (int)(folded->offset[score->next] - value->start),
             text + value->start);
    switch (score->reading) {
    case READ_SCORE:
        value->found = true;
        value->value = score->value;
        return;
    case READ_OUTSIDE:
        snprintf(value->problem, sizeof(value->problem), "'%s' is not in 1 to 5", quoted);
        return;
    case READ_SCALE:
        snprintf(value->problem, sizeof(value->problem), "'%s' is on another scale", quoted);
        return;
    case READ_RANGE:
        snprintf(value->problem, sizeof(value->problem), "'%s' is a range, not a score", quoted);
        return;
    case READ_NONE: snprintf(value->problem, sizeof(value->problem), "the answer says '%s'", quoted); return;
    case READ_NOTHING: break;
    }
}

static void take_choice(const char *text, const struct folded *folded, const struct entries *entries,
                        const struct choice *choice, const char *missing, struct answer *answer) {
    for (int d = 0; d < DIMENSIONS; d++) {
        struct answer_value *value = &answer->values[d];
        if (choice->place[d] >= 0)
            take_score(text, folded, &entries->list[choice->place[d]].score, value);
        else
            snprintf(value->problem, sizeof(value->problem), "%s", missing);
    }
}

/* Reads a view that holds the answer and nothing of the rationale. Returns whether there was a complete one,
 * or with `partial` any score at all. */
static enum status read_answer_view(const char *text, const struct folded *folded, struct view v,
                                    bool partial, struct entries *entries, struct answer *answer, bool *done,
                                    struct error *err) {
    *done = false;
    enum status status = read_entries(v, entries, err);
    if (status != STATUS_OK) return status;
    struct choice choice = choose_complete(entries);
    struct score bare[DIMENSIONS];
    if (!choice.complete && entries->count == 0 && read_bare(v, bare)) {
        for (int d = 0; d < DIMENSIONS; d++) take_score(text, folded, &bare[d], &answer->values[d]);
        *done = true;
    } else if (choice.complete || (partial && entries->count)) {
        if (!choice.complete) choice = choose_partial(entries);
        take_choice(text, folded, entries, &choice, "no score in the answer", answer);
        *done = true;
    }
    return STATUS_OK;
}

/* Reads the text outside the rationale. Where no tag sets the rationale apart, scores of an incomplete answer
 * are taken only where the text ends: before that they belong to the rationale. */
static enum status read_outside(const char *text, const struct folded *folded, const struct parts *parts,
                                struct entries *entries, struct answer *answer, bool *done,
                                struct error *err) {
    enum { MOST_AFTER = 48 };
    struct view v = parts->outside, block;
    bool blocks = false;
    for (size_t before = v.end; last_block(v, &before, &block);) {
        blocks = true;
        enum status status = read_answer_view(text, folded, block, false, entries, answer, done, err);
        if (status != STATUS_OK || *done) return status;
    }
    enum status status =
        read_answer_view(text, folded, v, parts->closed || blocks, entries, answer, done, err);
    if (status != STATUS_OK || *done || parts->open || !entries->count) return status;
    const struct entry *last = &entries->list[entries->count - 1];
    if (last->score.form != FORM_STRICT || letters_between(v, last->score.next, v.end) > MOST_AFTER)
        return STATUS_OK;
    size_t first = entries->count - 1;
    while (first > 0 && entries->list[first - 1].score.form == FORM_STRICT &&
           letters_between(v, entries->list[first - 1].score.next, entries->list[first].name) <=
               MOST_AFTER / 4)
        first--;
    struct entries tail = {.list = entries->list + first, .count = entries->count - first};
    struct choice choice = choose_partial(&tail);
    take_choice(text, folded, &tail, &choice, "the text ends before this score", answer);
    *done = true;
    return STATUS_OK;
}

/* Nothing outside: an answer may end a rationale that was not closed, or that swallowed it. */
static enum status read_inside(const char *text, const struct folded *folded, const struct parts *parts,
                               struct entries *entries, struct answer *answer, bool *done,
                               struct error *err) {
    enum status status = read_entries(parts->inside, entries, err);
    if (status != STATUS_OK) return status;
    struct choice choice = choose_complete(entries);
    *done = choice.complete && ends_the_view(parts->inside, entries, &choice);
    if (*done) take_choice(text, folded, entries, &choice, "", answer);
    return STATUS_OK;
}

enum status answer_read(const char *text, size_t length, struct answer *answer, struct error *err) {
    struct folded folded;
    struct parts parts;
    struct entries entries = {0};
    bool done = false;
    *answer = (struct answer){0};
    enum status status = folded_make(text, length, &folded, err);
    if (status != STATUS_OK) return status;
    split_parts(folded.copy, (struct view){folded.code, 0, folded.count}, &parts);
    status = read_outside(text, &folded, &parts, &entries, answer, &done, err);
    bool named = entries.names > 0;
    if (status == STATUS_OK && !done && !named && parts.inside.end > parts.inside.begin)
        status = read_inside(text, &folded, &parts, &entries, answer, &done, err);
    const char *why = length == 0    ? "the text is empty"
                      : parts.open   ? "the text ends inside the rationale"
                      : parts.closed ? "no score after the rationale"
                                     : "no answer in the text";
    for (int d = 0; d < DIMENSIONS && !done; d++)
        snprintf(answer->values[d].problem, sizeof(answer->values[d].problem), "%s", why);
    free(entries.list);
    folded_free(&folded);
    return status;
}
