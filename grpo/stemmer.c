#include "grpo/stemmer.h"

#include <stdbool.h>
#include <string.h>

struct word {
    char *letters;
    size_t length;
};

/* ---- What the rules ask of a stem -------------------------------------------------------------------- */

/* y is a vowel after a consonant. */
static bool is_consonant_after(bool consonant, const char *letters, size_t i) {
    return letters[i] == 'y' ? i == 0 || !consonant : !strchr("aeiou", letters[i]);
}

static bool is_consonant(const char *letters, size_t i) {
    size_t first = i;
    while (first > 0 && letters[first] == 'y') first--;
    bool consonant = false;
    for (size_t at = first; at <= i; at++) consonant = is_consonant_after(consonant, letters, at);
    return consonant;
}

/* How often consonants follow vowels: m of the paper. */
static size_t measure(const char *letters, size_t length) {
    size_t found = 0;
    bool consonant = true;
    for (size_t i = 0; i < length; i++) {
        bool next = is_consonant_after(consonant, letters, i);
        found += !consonant && next;
        consonant = next;
    }
    return found;
}

static bool measures_some(const char *letters, size_t length) {
    return measure(letters, length) > 0;
}

static bool measures_two(const char *letters, size_t length) {
    return measure(letters, length) > 1;
}

static bool measures_two_before_ion(const char *letters, size_t length) {
    return measures_two(letters, length) && (letters[length - 1] == 's' || letters[length - 1] == 't');
}

/* "log" of "logi": its l counts to the stem. */
static bool measures_some_with_next(const char *letters, size_t length) {
    return measures_some(letters, length + 1);
}

static bool measures_two_with_next(const char *letters, size_t length) {
    return measures_two(letters, length + 1);
}

static bool has_vowel(const char *letters, size_t length) {
    bool consonant = true;
    for (size_t i = 0; consonant && i < length; i++) consonant = is_consonant_after(consonant, letters, i);
    return !consonant;
}

/* NLTK: y becomes i after a consonant that is not the first letter. */
static bool ends_in_later_consonant(const char *letters, size_t length) {
    return length > 1 && is_consonant(letters, length - 1);
}

static bool ends_in_double_consonant(const char *letters, size_t length) {
    return length >= 2 && letters[length - 1] == letters[length - 2] && is_consonant(letters, length - 1);
}

/* Consonant, vowel, consonant that is not w, x or y; NLTK: also a word of a vowel and a consonant. */
static bool ends_short(const char *letters, size_t length) {
    if (length == 2) return !is_consonant(letters, 0) && is_consonant(letters, 1);
    return length >= 3 && is_consonant(letters, length - 3) && !is_consonant(letters, length - 2) &&
           is_consonant(letters, length - 1) && !strchr("wxy", letters[length - 1]);
}

/* ---- Rules ------------------------------------------------------------------------------------------- */

/* The first rule of a list whose suffix ends the word is the one that counts. */
struct rule {
    const char *suffix, *replacement;    /* suffix NULL: the end of the list */
    bool (*holds)(const char *, size_t); /* of what stands before the suffix; NULL: always */
};

static const struct rule plurals[] = {
    {"sses", "ss", NULL}, {"ies", "i", NULL}, {"ss", "ss", NULL}, {"s", "", NULL}, {0}};

static const struct rule past[] = {
    {"eed", "ee", measures_some}, {"ed", "", has_vowel}, {"ing", "", has_vowel}, {0}};

static const struct rule after_past[] = {{"at", "ate", NULL}, {"bl", "ble", NULL}, {"iz", "ize", NULL}, {0}};

static const struct rule last_y[] = {{"y", "i", ends_in_later_consonant}, {0}};

static const struct rule double_suffixes[] = {{"ational", "ate", measures_some},
                                              {"tional", "tion", measures_some},
                                              {"enci", "ence", measures_some},
                                              {"anci", "ance", measures_some},
                                              {"izer", "ize", measures_some},
                                              {"bli", "ble", measures_some},
                                              {"alli", "al", measures_some},
                                              {"entli", "ent", measures_some},
                                              {"eli", "e", measures_some},
                                              {"ousli", "ous", measures_some},
                                              {"ization", "ize", measures_some},
                                              {"ation", "ate", measures_some},
                                              {"ator", "ate", measures_some},
                                              {"alism", "al", measures_some},
                                              {"iveness", "ive", measures_some},
                                              {"fulness", "ful", measures_some},
                                              {"ousness", "ous", measures_some},
                                              {"aliti", "al", measures_some},
                                              {"iviti", "ive", measures_some},
                                              {"biliti", "ble", measures_some},
                                              {"fulli", "ful", measures_some},
                                              {"logi", "log", measures_some_with_next},
                                              {0}};

static const struct rule adjectives[] = {{"icate", "ic", measures_some}, {"ative", "", measures_some},
                                         {"alize", "al", measures_some}, {"iciti", "ic", measures_some},
                                         {"ical", "ic", measures_some},  {"ful", "", measures_some},
                                         {"ness", "", measures_some},    {0}};

static const struct rule single_suffixes[] = {
    {"al", "", measures_two},    {"ance", "", measures_two},
    {"ence", "", measures_two},  {"er", "", measures_two},
    {"ic", "", measures_two},    {"able", "", measures_two},
    {"ible", "", measures_two},  {"ant", "", measures_two},
    {"ement", "", measures_two}, {"ment", "", measures_two},
    {"ent", "", measures_two},   {"ion", "", measures_two_before_ion},
    {"ou", "", measures_two},    {"ism", "", measures_two},
    {"ate", "", measures_two},   {"iti", "", measures_two},
    {"ous", "", measures_two},   {"ive", "", measures_two},
    {"ize", "", measures_two},   {0}};

static const struct rule last_ll[] = {{"ll", "l", measures_two_with_next}, {0}};

static bool ends_with(const struct word *word, const char *suffix) {
    size_t length = strlen(suffix);
    return word->length >= length && memcmp(word->letters + word->length - length, suffix, length) == 0;
}

/* No replacement is longer than what was cut off before. */
static void replace(struct word *word, const char *suffix, const char *replacement) {
    word->length -= strlen(suffix);
    memcpy(word->letters + word->length, replacement, strlen(replacement));
    word->length += strlen(replacement);
}

/* The rule that changed the word, or NULL. */
static const struct rule *apply(struct word *word, const struct rule *rules) {
    while (rules->suffix && !ends_with(word, rules->suffix)) rules++;
    if (!rules->suffix) return NULL;
    if (rules->holds && !rules->holds(word->letters, word->length - strlen(rules->suffix))) return NULL;
    replace(word, rules->suffix, rules->replacement);
    return rules;
}

/* ---- Steps ------------------------------------------------------------------------------------------- */

/* What is left after -ed and -ing: an e comes back, or a doubled letter goes. */
static void mend_past(struct word *word) {
    if (ends_with(word, "at") || ends_with(word, "bl") || ends_with(word, "iz")) {
        apply(word, after_past);
    } else if (ends_in_double_consonant(word->letters, word->length)) {
        if (!strchr("lsz", word->letters[word->length - 1])) word->length--;
    } else if (measure(word->letters, word->length) == 1 && ends_short(word->letters, word->length)) {
        replace(word, "", "e");
    }
}

static void cut_past(struct word *word) {
    if (ends_with(word, "ied")) {
        replace(word, "ied", word->length == 4 ? "ie" : "i");
        return;
    }
    const struct rule *rule = apply(word, past);
    if (rule && rule != &past[0]) mend_past(word);
}

static void cut_last_e(struct word *word) {
    if (!ends_with(word, "e")) return;
    size_t length = word->length - 1, m = measure(word->letters, length);
    if (m > 1 || (m == 1 && !ends_short(word->letters, length))) word->length = length;
}

/* Words that the rules are not asked about. */
static bool is_irregular(struct word *word) {
    static const struct {
        const char *word, *stem;
    } forms[] = {
        {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
        {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
        {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
        {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strlen(forms[i].word) != word->length || !ends_with(word, forms[i].word)) continue;
        replace(word, forms[i].word, forms[i].stem);
        return true;
    }
    return false;
}

size_t stem_word(char *letters, size_t length) {
    struct word word = {letters, length};
    if (length <= 2 || is_irregular(&word)) return word.length;
    if (length == 4 && ends_with(&word, "ies"))
        word.length--;
    else
        apply(&word, plurals);
    cut_past(&word);
    apply(&word, last_y);
    const struct rule *rule;
    do rule = apply(&word, double_suffixes);
    while (rule && strcmp(rule->suffix, "alli") == 0);
    apply(&word, adjectives);
    apply(&word, single_suffixes);
    cut_last_e(&word);
    apply(&word, last_ll);
    return word.length;
}
