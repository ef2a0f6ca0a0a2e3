"""Golden values of GRPO's rewards: the published functions themselves, taken out of their files.

    python tests/reference/grpo_rewards.py VIDEO_R1/src/r1-v/src/open_r1/grpo.py VIDEOSCORE2/training/RL/grpo_vs2_sft.py
        writes tests/golden/grpo/rewards.json            (pip install rouge_score nltk trl==1.16.0)

"accuracy": problem_type, solution, completion and the published reward. Scores ("video eval") are read by VideoScore2's
function, from answers in forms that its pattern reads; all others by Video-R1's, which looks into <answer>. "stems": words
and what NLTK makes of them. "repetition": token ids, and TRL's penalty. "questions": rows, and the user's turn that both
files write. "format": whether the published pattern matches.
"""
import ast
import contextlib
import io
import json
import random
import re
import sys
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "grpo" / "rewards.json"
RANDOM = random.Random(7)
DIMENSIONS = ["visual quality", "text-to-video alignment", "physical/common-sense consistency"]


def taken_from(path, names):
    """Functions and constants of a file, without the rest of it; `names` may lie within functions."""
    tree = ast.parse(Path(path).read_text())
    wanted = [node for node in ast.walk(tree)
              if isinstance(node, ast.FunctionDef) and node.name in names
              or isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in names]
    space = {"re": re, "os": __import__("os"), "datetime": __import__("datetime").datetime,
             "rouge_scorer": __import__("rouge_score.rouge_scorer", fromlist=["x"])}
    exec(compile(ast.Module(body=wanted, type_ignores=[]), path, "exec"), space)
    return space


def judged(published, kind, solution, completion):
    with contextlib.redirect_stdout(io.StringIO()):
        return published["accuracy_reward"]([[{"content": completion}]], [solution], problem_type=[kind])[0]


# ---- Accuracy ----------------------------------------------------------------------------------------------------------

def scores_text(scores, separator="; ", numbered=False):
    return separator.join((f"({i + 1}) " if numbered else "") + f"{name}: {score}"
                          for i, (name, score) in enumerate(zip(DIMENSIONS, scores)))


def video_eval_cases():
    for _ in range(60):
        truth = [RANDOM.randint(1, 5) for _ in range(3)]
        said = [min(5, max(1, score + RANDOM.choice([0, 0, 0, 1, -1, 2]))) for score in truth]
        form = RANDOM.choice([
            "\n<think>\nwords\n</think>\n\n" + scores_text(said, "\n", True) + "\n",
            "<think>It moves.</think><answer>" + scores_text(said) + "</answer>",
            scores_text(said, ", \n"), scores_text(said).upper(), "<think>a</think>" + scores_text(said, "\n\n")])
        yield f"<answer>{scores_text(truth)}</answer>", form
    truth = f"<answer>{scores_text([3, 3, 3])}</answer>"
    yield truth, ""
    yield truth, "<think>no answer</think>"
    yield truth, "visual quality: 3; text-to-video alignment: 3"
    yield truth, scores_text([3, "-", 3])


TEXT_CASES = {
    "multiple choice": [("A", "A"), ("A", " A "), ("A", "B"), ("A", "a"), ("A", "A."), ("A", "(A)"), ("A", ""), (" C\n", "C"),
                        ("B", "\u3000B\u00a0")],
    "numerical": [("42", "42"), ("42", " 42\n"), ("42", "42.0"), ("42.0", "42.00"), ("3.14", "3.141"), ("3.14", "3.146"),
                  ("1,234", "1,234"), ("1,234", "1234"), ("1,234.5", "1234.5"), ("-7", "-7"), ("-7", "7"), ("+7", "7"),
                  ("0.125", "0.12"), ("0.125", "0.13"), ("2.675", "2.68"), ("2.675", "2.67"), ("-0.001", "0.00"),
                  ("1e3", "1000"), ("5", "five"), ("5", ""), ("5", "5 cm"), ("5", "0x5"), ("5", "5 5"), ("5", "--5"),
                  ("12.", "12.0"), (".5", "0.50")],
    "OCR": [("hello world", "hello world"), ("hello world", "hello"), ("hello world", "world hello"), ("a b c d", "a x c d e"),
            ("a b c d", ""), ("a", "b c d e"), ("Case Matters", "case matters"), ("white   space\there", "white space here"),
            ("\u5f20\u3000\u4e09 \u674e", "\u5f20 \u4e09\u00a0\u674e"), ("a b a b a b", "b a b a b a")],
    "regression": [("10", "10"), ("10", "9"), ("10", "25"), ("10", "-10"), ("0", "0"), ("0", "1"), ("0.5", "0.25"),
                   ("1,000", "900"), ("-4", "-3"), ("10", "ten"), ("10", ""), ("9", "1,0 ,"), ("9", "1 0"), ("2.5", " 2.4 "), ("1e-3", "0.0011")],
    "free-form": [("The cat sat on the mat.", "the cat sat on the mat"), ("The cat sat on the mat.", "A cat was sitting on mats"),
                  ("running quickly", "he runs quick"), ("one", "two"), ("word", ""),
                  ("generalizations of relational operators", "the general relation operated"),
                  ("a a a b b c", "a b a b"), ("It's 3.5 m/s\u00b2, isn't it?", "3 5 m s 2 it is"),
                  ("\u732b cat \u72d7", "cat"), ("the the the", "the"), ("ONE Two three FOUR", "four three two one"),
                  ("happily flying skies, dying lies", "happy flies sky died lie"),
                  ("hopefulness and rationality", "hopeful rational national"),
                  ("the ball rolls down the hill and hits the wall", "a ball rolled down a hill, hitting walls twice")],
}


def text_cases(kind):
    for solution, answer in TEXT_CASES[kind]:
        yield f"<answer>{solution}</answer>", f"<think>thought</think>\n<answer>{answer}</answer>"
    solution, answer = TEXT_CASES[kind][0]
    yield f"<answer> {solution} </answer>", f"<think></think><answer>\n{answer}\n</answer> and <answer>x</answer>"
    yield f"<answer>{solution}</answer>", answer
    yield f"<answer>{solution}</answer>", f"<answer>{answer}"


def words(count):
    some = "the a ball rolls rolling down up hill hills quickly quick hopeful hoping agreed agreement generalized 3 42".split()
    return " ".join(RANDOM.choice(some) for _ in range(count))


def accuracy(video_r1, videoscore2):
    cases = [("video eval", *case, videoscore2) for case in video_eval_cases()]
    for kind in TEXT_CASES:
        cases += [(kind, *case, video_r1) for case in text_cases(kind)]
    for kind in ("OCR", "free-form"):
        for _ in range(15):
            cases.append((kind, f"<answer>{words(RANDOM.randint(1, 12))}</answer>",
                          f"<answer>{words(RANDOM.randint(1, 15))}</answer>", video_r1))
    return [{"problem_type": kind, "solution": solution, "completion": completion,
             "reward": judged(published, kind, solution, completion)}
            for kind, solution, completion, published in cases]


# ---- The others --------------------------------------------------------------------------------------------------------

ROOTS = """relat condition valenc hesit digit conform radic differ vile analog vietnam predic oper feudal decis hope callous
formal sensit sens triplic form electr good reviv allow infer airlin gyroscop adjust defens irrit replac depend adopt homolog
commun activ angular effect bowdler prob rat ceas controll roll caress pon t cat feed agre plaster bled motor sing conflat
troubl siz hopp tann fall hiss fizz fail fil happ sk enjo sp fl play yy y toy syzyg by geo theo archaeo phil""".split()
SUFFIXES = """s es ies ed eed ied ing ings y ying ational tional ation ator izer ization enci anci bli abli alli entli eli ousli
alism iveness fulness ousness aliti iviti biliti fulli logi logy icate ative alize iciti ical ful ness al ance ence er ic able ible
ant ement ment ent ion tion sion ou ism ate iti ous ive ize e ee ll lle""".split()
SPECIAL = """sky skies dying lying tying news innings inning outings outing cannings canning howe proceed exceed succeed flies dies
died tied spied abbes 1990s mp4s y2ks eed ied ies aaaa yyyy bbbb seeing being enjoying generalizations oscillators""".split()


def stems():
    from nltk.stem import porter

    stemmer = porter.PorterStemmer()
    made = sorted({root + suffix for root in ROOTS for suffix in SUFFIXES if len(root + suffix) > 3})
    chosen = SPECIAL + RANDOM.sample(made, 700)
    return {word: stemmer.stem(word) for word in chosen if len(word) > 3}


def repetition():
    from trl.rewards import get_repetition_penalty_reward

    ids = [[], [1], [1, 2], [1, 2, 3], [5] * 9, [1, 2, 3, 1, 2, 3, 1, 2, 3], [RANDOM.randint(0, 2) for _ in range(60)],
           [151644, -1, 3, 151644, -1, 3], list(range(40))]
    return [{"ids": row, "reward": value} for row, value in zip(ids, get_repetition_penalty_reward()(ids))]


def questions(files):
    rows = [{"problem_type": kind, "problem": "How good is it?\nSay {problem} or {Question}.",
             "options": ["A. good", "B. bad"]} for kind in TEXT_CASES] + [
                 {"problem_type": "video eval", "problem": "  An expert's prompt: \u732b\n ", "options": []}]
    made = []
    for row in rows:
        texts = set()
        for space in files:
            if row["problem_type"] not in space["TYPE_TEMPLATE"]:
                continue
            message = space["make_conversation_image_and_video"]({**row, "data_type": "video"})
            texts.add(message["prompt"][0]["content"][1]["text"])
        assert len(texts) == 1
        made.append({**row, "question": texts.pop()})
    return made


def formats(published):
    texts = ["<think>a</think>", "<think></think>b", "<think>\na\n</think>\n\n(1) visual quality: 4", "<think>a", "a<think>b</think>",
             "</think><think>", "<THINK>a</THINK>", "", "<think>a</think", "<think> <think>a</think>"]
    pattern = re.search(r'^    pattern = r"(.*)"$', published, re.M).group(1)
    return [{"text": text, "matches": bool(re.match(pattern, text, re.DOTALL))} for text in texts]


def main():
    names = ["accuracy_reward", "QUESTION_TEMPLATE", "TYPE_TEMPLATE", "make_conversation_image_and_video"]
    video_r1, videoscore2 = (taken_from(path, names) for path in sys.argv[1:3])
    golden = {"accuracy": accuracy(video_r1, videoscore2), "repetition": repetition(),
              "questions": questions([video_r1, videoscore2]), "format": formats(Path(sys.argv[2]).read_text())}
    parts = [f' "{name}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n ]" for name, rows in golden.items()]
    parts.append(' "stems": ' + json.dumps(stems()))
    GOLDEN.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
