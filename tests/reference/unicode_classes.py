#!/usr/bin/env python3
"""Writes model/tokenizer_classes.c: the character classes that Hugging Face's tokenizers work with.

    python tests/reference/unicode_classes.py [tokenizers 0.22.2]

The classes are asked of the tokenizers library itself: its regular expressions (Oniguruma) for letters, numbers and
white space, its NFC for the characters that normalisation may change. The standard library's tables only
propose candidates for the latter.
"""
import os
import subprocess
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
NFC = normalizers.NFC().normalize_str


def matching(pattern):
    """The code points that match a one-character pattern."""
    found = set()
    removed = pre_tokenizers.Split(Regex(pattern), behavior="removed")
    for start in range(0, len(CODES), 4096):
        block = CODES[start:start + 4096]
        kept = set("".join(piece for piece, _ in removed.pre_tokenize_str("".join(map(chr, block)))))
        found.update(c for c in block if chr(c) not in kept)
    return found


def is_ordered(code, combining_class):
    """Whether NFC orders the mark by its class against U+0334 (class 1) or U+0323 (class 220)."""
    other = "\u0323" if combining_class == 1 else "\u0334"
    text = "q" + other + chr(code) if combining_class == 1 else "q" + chr(code) + other
    return unicodedata.normalize("NFC", text) == NFC(text) != text


def combining():
    """Code points that are not NFC_Quick_Check=Yes, or have a combining class, in the library's eyes."""
    found = set()
    for code in CODES:
        character = chr(code)
        combining_class = unicodedata.combining(character)
        if NFC(character) != character:
            found.add(code)
        elif combining_class == 1:
            if code == 0x334 or is_ordered(code, 1):
                found.add(code)
        elif combining_class and is_ordered(code, combining_class):
            found.add(code)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            pair = "".join(chr(int(part, 16)) for part in parts)
            if NFC(pair) == character:
                found.add(int(parts[1], 16))
    found.update(range(0x1161, 0x1176))  # the Hangul vowels and finals compose by arithmetic
    found.update(range(0x11A8, 0x11C3))
    return found


def ranges(codes):
    result = []
    for code in sorted(codes):
        if result and result[-1][1] == code - 1:
            result[-1][1] = code
        else:
            result.append([code, code])
    return result


def table(name, codes):
    rows = ", ".join("{0x%X, 0x%X}" % (first, last) for first, last in ranges(codes))
    return "static const struct range %s[] = {%s};\n\n" % (name, rows)


def main():
    tables = [("letters", matching(r"\p{L}"), "CHARACTER_LETTER"), ("numbers", matching(r"\p{N}"), "CHARACTER_NUMBER"),
              ("spaces", matching(r"\s"), "CHARACTER_SPACE"), ("newlines", {10, 13}, "CHARACTER_NEWLINE"),
              ("combining", combining(), "CHARACTER_COMBINES")]
    text = "/* Written by tests/reference/unicode_classes.py: do not edit. */\n"
    text += '#include "model/tokenizer_split.h"\n\n'
    text += "struct range {\n    uint32_t first, last;\n};\n\n"
    for name, codes, _ in tables:
        text += table(name, codes)
    text += ("static void mark(uint8_t *classes, const struct range *ranges, size_t count, uint8_t class) {\n"
             "for (size_t i = 0; i < count; i++)\n"
             "for (uint32_t code = ranges[i].first; code <= ranges[i].last; code++) classes[code] |= class;\n}\n\n")
    text += "void character_classes_fill(uint8_t classes[CHARACTER_COUNT]) {\n"
    for name, _, bit in tables:
        text += "mark(classes, %s, sizeof %s / sizeof *%s, %s);\n" % (name, name, name, bit)
    text += "}\n"
    path = os.path.join(ROOT, "model", "tokenizer_classes.c")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    subprocess.run(["clang-format", "-i", path], check=True)
    for name, codes, _ in tables:
        print(name, len(codes), "code points,", len(ranges(codes)), "ranges")


if __name__ == "__main__":
    main()
