#!/usr/bin/env python3
"""The tokenizer against transformers.

    python tests/reference/tokenizer.py golden
        trains the small tokenizer and writes tests/golden/tokenizer*/ and tests/golden/tokenizer_*.jsonl
    python tests/reference/tokenizer.py live build/tests/tokenizer_driver [QWEN_TIKTOKEN]
        compares encoding and decoding over random texts of all scripts, with the small tokenizer and with the full
        vocabulary (built from the qwen.tiktoken that the package qwen-agent has), and times both

Pinned: transformers 4.57.6, tokenizers 0.22.2 (qwen-agent 0.0.34 for the full vocabulary).
"""
import base64
import importlib.util
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2TokenizerFast
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
GOLDEN = os.path.join(ROOT, "tests", "golden")
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
           "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
           "<|image_pad|>", "<|video_pad|>"]
ADDED = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
         "<|repo_name|>", "<|file_sep|>"]

SENTENCES = """The video shows a small red car that drives along the coast while the sun is setting; its shadow is not consistent.
(1) visual quality: 4 (2) text-to-video alignment: 3 (3) physical/common-sense consistency: 2 <think> </think> It doesn't, I'll, we've, they're
Das Video zeigt eine Straße, über die größere Kinder laufen; die Qualität ist mäßig. Où êtes-vous allés après le dîner, à l'école ?
El niño comió la manzana mañana y el pingüino voló. Não há ações suficientes. Zażółć gęślą jaźń. Příliš žluťoučký kůň. Árvíztűrő tükörfúrógép
Быстрая коричневая лиса прыгает через ленивую собаку, и видео выглядит хорошо. Україна має їжака. Η ποιότητα του βίντεο είναι καλή και σταθερή.
这个视频的画面质量很好，但是物体的运动不符合物理规律。請問您今天要喝咖啡嗎？動画の品質は高いですが、動きが不自然です。ひらがなとカタカナ。
비디오의 화질은 좋지만 움직임이 부자연스럽습니다. 안녕하세요 여러분, 오늘은 날씨가 좋네요.
جودة الفيديو جيدة ولكن الحركة غير طبيعية. این ویدیو کیفیت خوبی دارد. איכות הסרטון טובה אבל התנועה לא טבעית.
वीडियो की गुणवत्ता अच्छी है लेकिन गति अस्वाभाविक है। ভিডিওর মান ভালো কিন্তু গতি অস্বাভাবিক। வீடியோவின் தரம் நன்றாக உள்ளது ఆనందం ಕನ್ನಡ മലയാളം
คุณภาพวิดีโอดีแต่การเคลื่อนไหวไม่เป็นธรรมชาติ ຄຸນນະພາບ ဗီဒီယိုအရည်အသွေး គុណភាពវីដេអូ བོད་ཡིག Chất lượng video tốt nhưng chuyển động không tự nhiên
ვიდეოს ხარისხი კარგია Տեսանյութի որակը լավն է የቪዲዮ ጥራት ጥሩ ነው ᠮᠣᠩᠭᠣᠯ ᏣᎳᎩ
for (int i = 0; i < n; i++) { sum += a[i] * b[i]; } // comment    if x == "y": return None 1234567890 3.14159 https://example.com/?q=1&r=%20
😀😃🎬🎥👍🏽👨‍👩‍👧‍👦🇩🇪❤️ ∑∫√∞≈≠ →⇒ €£¥ “quotes” ‘single’ … — – • ½ ² № ™""".split("\n")


def added_tokens(first_id):
    return {first_id + i: AddedToken(text, special=i < len(SPECIAL), normalized=False, lstrip=False, rstrip=False,
                                     single_word=False) for i, text in enumerate(SPECIAL + ADDED)}


def assemble(vocab, merges):
    """A tokenizers.Tokenizer as Qwen2.5-VL's tokenizer.json describes it."""
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def save_old_files(folder, vocab, merges):
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as file:
        json.dump(vocab, file, ensure_ascii=False, separators=(",", ":"))
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "".join("%s %s\n" % pair for pair in merges))
    decoder = {str(i): {"content": token.content, "lstrip": False, "normalized": False, "rstrip": False,
                        "single_word": False, "special": token.special}
               for i, token in added_tokens(len(vocab)).items()}
    config = {"add_prefix_space": False, "added_tokens_decoder": decoder, "bos_token": None,
              "clean_up_tokenization_spaces": False, "eos_token": "<|im_end|>", "errors": "replace",
              "pad_token": "<|endoftext|>", "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer",
              "unk_token": None, "additional_special_tokens": SPECIAL[1:]}
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, ensure_ascii=False, separators=(",", ":"))


def train_small():
    """A real BPE of about 4,000 tokens, trained on sentences of many scripts and on random words of theirs."""
    rng = random.Random(1)
    tokenizer = assemble({}, [])
    lines = []
    words = [word for sentence in SENTENCES for word in sentence.split(" ")]
    halves = [part for word in words for part in (word[:len(word) // 2], word[len(word) // 2:])]
    words += ["".join(rng.choice(halves) for _ in range(rng.randint(1, 3))) for _ in range(3000)]
    for _ in range(4000):
        lines.append(" ".join(rng.choice(words) for _ in range(12)) + rng.choice(["", "\n", "\n\n", "  ", "."]))
    trainer = trainers.BpeTrainer(vocab_size=4000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(SENTENCES + lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def merges_of_ranks(ranks):
    """The merge list of a tiktoken vocabulary: each token is split by the merges of lower ranks into two."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            pairs = [(ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1)]
            best, i = min(pairs)
            assert best < rank
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        merges.append(tuple(parts))
    return merges


def full_vocabulary(path):
    with open(path, "rb") as file:
        ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in file if line.strip()}
    spelling = bytes_to_unicode()
    spell = lambda token: "".join(spelling[b] for b in token)
    vocab = {spell(token): rank for token, rank in ranks.items()}
    return vocab, [(spell(a), spell(b)) for a, b in merges_of_ranks(ranks)]


def save_json(folder, vocab, merges, pretty):
    tokenizer = assemble(vocab, merges)
    tokenizer.add_tokens(list(added_tokens(len(vocab)).values()))
    tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=pretty)
    return tokenizer


def scripts():
    """Assigned code points in blocks that belong together."""
    blocks = [[]]
    for code in range(1, 0x110000):
        character = chr(code)
        if unicodedata.category(character) in ("Cn", "Cs", "Co"):
            continue
        if blocks[-1] and (code - blocks[-1][-1] > 8 or len(blocks[-1]) >= 128):
            blocks.append([])
        blocks[-1].append(code)
    return blocks


class Texts:
    """Random texts that try the tokenizer's corners."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.blocks = scripts()
        self.marks = [c for block in self.blocks for c in block if unicodedata.combining(chr(c))]
        self.composed = [c for block in self.blocks for c in block if unicodedata.decomposition(chr(c))]
        self.emoji = list(range(0x1F300, 0x1F6FF)) + [0x200D, 0xFE0F, 0x20E3, 0x1F3FB, 0x1F3FF, 0x1F1E9, 0x1F1EA]
        self.spaces = [" ", " ", "  ", "\n", "\r", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\u180e",
                       "\x0b", "\x0c", "\x1c", "   \n  "]
        self.bits = ["'s", "'S", "'t", "'re", "'RE", "'vE", "'m", "'ll", "'d", "'\u017f", "'x", "'", "''", "\u2019s", "<", "|",
                     "<|", "|>", "<|im_", "im_start|>", "a\u0301", "\u1100\u1161\u11a8", "\uac00\u11a8", "\u0958", "\u212b"]
        self.words = [word for sentence in SENTENCES for word in sentence.split(" ")]

    def one_of(self, block):
        return chr(self.rng.choice(block))

    def piece(self):
        rng = self.rng
        kind = rng.randrange(14)
        if kind <= 1:
            return rng.choice(self.words)
        if kind <= 4:
            block = rng.choice(self.blocks)
            return "".join(self.one_of(block) for _ in range(rng.randint(1, 8)))
        if kind == 5:
            return "".join(self.one_of(self.emoji) for _ in range(rng.randint(1, 5)))
        if kind == 6:
            return "".join(self.one_of(self.marks) for _ in range(rng.randint(1, 5)))
        if kind == 7:
            return "".join(unicodedata.normalize(rng.choice(["NFC", "NFD"]), self.one_of(self.composed))
                           for _ in range(rng.randint(1, 4)))
        if kind == 8:
            return rng.choice(SPECIAL + ADDED)
        if kind == 9:
            return rng.choice(self.bits)
        if kind == 10:
            return str(rng.randint(0, 10 ** rng.randint(1, 12)))
        if kind == 11:
            return "".join(chr(rng.randint(0x20, 0x7E)) for _ in range(rng.randint(1, 10)))
        return "".join(rng.choice(self.spaces) for _ in range(rng.randint(1, 3)))

    def text(self, most=12):
        if self.rng.randrange(20) == 0:  # anything at all
            codes = (self.rng.randrange(0x110000) for _ in range(self.rng.randint(1, 20)))
            return "".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000)
        return "".join(self.piece() for _ in range(self.rng.randint(1, most)))


def write_lines(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def golden():
    vocab, merges = train_small()
    for name in ("tokenizer", "tokenizer_files"):
        folder = os.path.join(GOLDEN, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
    save_json(os.path.join(GOLDEN, "tokenizer"), vocab, merges, pretty=False)
    save_old_files(os.path.join(GOLDEN, "tokenizer_files"), vocab, merges)
    tokenizer = Qwen2TokenizerFast.from_pretrained(os.path.join(GOLDEN, "tokenizer"))
    other = AutoTokenizer.from_pretrained(os.path.join(GOLDEN, "tokenizer_files"))
    texts = Texts(7)
    rows = [""] + SENTENCES + ["a" * 300, " " * 60 + "b", "\u0301" * 70 + "\u0323" * 3, "ab" * 100]
    rows += [texts.text(7) for _ in range(3000)]
    out = []
    for text in rows:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert ids == other.encode(text, add_special_tokens=False), text
        out.append([text, ids])
    write_lines(os.path.join(GOLDEN, "tokenizer_texts.jsonl"), out)
    # Decoding of ids in any order: broken UTF-8, special tokens kept and left out.
    rng = random.Random(9)
    out = []
    for _ in range(300):
        ids = [rng.choice([rng.randrange(len(vocab) + 30), rng.randrange(256)]) for _ in range(rng.randint(1, 10))]
        out.append([ids, tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=True)])
    write_lines(os.path.join(GOLDEN, "tokenizer_ids.jsonl"), out)


class Driver:
    """The C program under test."""

    def __init__(self, program, folder):
        self.process = subprocess.Popen([program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def take(self, size):
        (count,) = struct.unpack("<I", self.process.stdout.read(4))
        return self.process.stdout.read(count * size)

    def ask(self, data):
        self.process.stdin.write(struct.pack("<I", len(data)) + data)
        self.process.stdin.flush()
        ids = self.take(4)
        return list(struct.unpack("<%di" % (len(ids) // 4), ids)), self.take(1)

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def compare(name, program, folder, tokenizer, count, seed):
    driver, texts, bad = Driver(program, folder), Texts(seed), 0
    started = time.time()
    for i in range(count):
        text = texts.text() if i else "".join(chr(c) + "x" for c in range(0x110000) if not 0xD800 <= c < 0xE000)
        ids, decoded = driver.ask(text.encode())
        wanted = tokenizer.encode(text, add_special_tokens=False)
        if ids != wanted or decoded.decode() != tokenizer.decode(wanted):
            bad += 1
            if bad <= 5:
                print("DIFFERS", repr(text[:200]), ids[:50], wanted[:50])
    print("%s: %d texts, %d differ (%.0f s)" % (name, count, bad, time.time() - started))
    return driver.close() or bad


def save_variant(folder, flags, **options):
    """The small tokenizer with added tokens that have flags, and other options of the model."""
    with open(os.path.join(GOLDEN, "tokenizer", "tokenizer.json"), encoding="utf-8") as file:
        tree = json.load(file)
    next_id = max(token["id"] for token in tree["added_tokens"]) + 1
    for content, left, right, normalized in flags:
        known = tree["model"]["vocab"].get(content)
        next_id += known is None
        tree["added_tokens"].append({"id": next_id - 1 if known is None else known, "content": content, "single_word": False, "lstrip": left,
                                     "rstrip": right, "normalized": normalized, "special": False})
    tree["model"]["ignore_merges"] = options.get("ignore_merges", False)
    if not options.get("nfc", True):
        tree["normalizer"] = None
    os.makedirs(folder)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(tree, file)


def compare_variants(program):
    """Added tokens of every kind, among them such as begin alike, overlap, and are not in NFC."""
    flags = [(text, left, right, normalized) for i, text in enumerate(["<|im", "a", "\u00e9", "e\u0301x", " t", "\n", "the", "t"])
             for left, right, normalized in [(i % 2 == 0, i % 3 == 0, i % 4 < 2)]]
    bad = 0
    for i, options in enumerate([{}, {"ignore_merges": True}, {"nfc": False}]):
        with tempfile.TemporaryDirectory() as folder:
            folder = os.path.join(folder, "variant")
            save_variant(folder, flags if i != 1 else [], **options)
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
            bad += compare("variant %d" % i, program, folder, tokenizer, 5000, 20 + i)
    return bad


def measure(program, folder, tokenizer, name, text):
    path = os.path.join(folder, "text")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    print(name, "%.1f MB:" % (len(text.encode()) / 1e6),
          subprocess.run([program, folder, path], capture_output=True, text=True, check=True).stdout.strip())
    started = time.process_time()
    tokens = len(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)
    print("    Hugging Face: encode %.1f MB/s, %d tokens" %
          (len(text.encode()) / 1e6 / (time.process_time() - started), tokens))


def live(program, tiktoken=None):
    if not tiktoken:
        package = os.path.dirname(importlib.util.find_spec("qwen_agent").origin)
        tiktoken = os.path.join(package, "utils", "qwen.tiktoken")
    small = os.path.join(GOLDEN, "tokenizer")
    bad = compare("small", program, small, Qwen2TokenizerFast.from_pretrained(small), 20000, 11)
    bad += compare_variants(program)
    with tempfile.TemporaryDirectory() as folder:
        vocab, merges = full_vocabulary(tiktoken)
        print(len(vocab), "tokens,", len(merges), "merges")
        old, new = os.path.join(folder, "old"), os.path.join(folder, "new")
        os.makedirs(old), os.makedirs(new)
        save_json(new, vocab, merges, pretty=True)
        save_old_files(old, vocab, merges)
        size = os.path.getsize(os.path.join(new, "tokenizer.json"))
        started = time.process_time()
        Tokenizer.from_file(os.path.join(new, "tokenizer.json"))
        print("tokenizers loads tokenizer.json of %.1f MB in %.2f s" % (size / 1e6, time.process_time() - started))
        tokenizer = Qwen2TokenizerFast.from_pretrained(new)
        bad += compare("full, tokenizer.json", program, new, tokenizer, 50000, 12)
        bad += compare("full, vocab.json + merges.txt", program, old, tokenizer, 5000, 13)
        english = " ".join(SENTENCES[:2]) + "\n"
        mixed = "\n".join(SENTENCES) + "\n"
        noise = Texts(5)
        measure(program, new, tokenizer, "english", english * (4000000 // len(english)))
        measure(program, old, tokenizer, "mixed", mixed * (4000000 // len(mixed.encode())))
        measure(program, new, tokenizer, "noise", "".join(noise.text() for _ in range(20000)))
        measure(program, new, tokenizer, "a...a", "a" * 1000000)
        measure(program, new, tokenizer, "marks", "\u0301\u0323" * 250000)
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["golden"]:
        golden()
    elif sys.argv[1:2] == ["live"] and len(sys.argv) > 2:
        sys.exit(live(*sys.argv[2:4]))
    else:
        sys.exit(__doc__)
