"""Metrics of result files by scipy, scikit-learn and krippendorff, and the published rules written out plainly.

    python tests/reference/metrics.py > tests/golden/metrics.json           (versions: requirements.txt)
    python tests/reference/metrics.py --check          computes the golden values anew: equal within 1e-9
    python tests/reference/metrics.py live PROGRAM [--seed N] [--cases N]
                                                       vs2-eval metrics on random files, and its intervals and tests

A case has a benchmark, a kind of score, rows and maybe pairs; "expected" is every figure by its key, times 100 where
it is shown in percent, null where it is not defined.
"""

import argparse
import csv
import io
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile
import warnings

import krippendorff
import numpy
import scipy.stats
import sklearn.metrics

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "metrics.json"
DIMENSIONS = "vtp"
warnings.filterwarnings("ignore")

# ---- Benchmarks: what pipeline.md says of them

IDENTITY = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}
FINENESS = {1: 0, 2: 0, 3: 1, 4: 1, 5: 2}
THREE = {1: 0, 2: 1, 3: 1, 4: 2, 5: 2}
BENCHMARKS = {
    "any": {"maps": [IDENTITY] * 3},
    "videoscore-bench-v2": {"maps": [IDENTITY] * 3},
    "videogen-reward-bench": {"maps": [None] * 3},
    "t2vqa-db": {"maps": ["raw"] * 3, "overall": "quality_score", "overall_map": None},
    "mj-bench-video": {"maps": [FINENESS, THREE, THREE], "overall": "total_score", "overall_map": THREE},
    "videophy2": {"maps": [None, IDENTITY, IDENTITY]},
    "genai-bench": {"maps": [None] * 3},
    "visionreward-db-video": {"maps": [None] * 3},
    "aigve-bench": {"maps": [IDENTITY, IDENTITY, {1: 1, 2: 1, 3: 3, 4: 3, 5: 5}]},
    "videophy": {"maps": [None] + [{1: 0, 2: 0, 3: 0, 4: 1, 5: 1}] * 2},
    "tvge": {"maps": ["raw", "raw", None]},
}


def stem(path):
    return path.split("/")[-1].split(".mp4")[0]


# ---- Figures

def correlation(function, x, y):
    if len(x) < 2:
        return None
    value = float(function(x, y)[0])
    return None if math.isnan(value) else 100 * value


def share(hits):
    return 100 * sum(hits) / len(hits) if hits else None


def alpha(x, y, level):
    if len({*x, *y}) < 2:
        return None
    return 100 * krippendorff.alpha(reliability_data=[x, y], level_of_measurement=level)


def kappa(x, y, levels):
    if not x or (len({*x, *y}) < 2):
        return None
    return 100 * sklearn.metrics.cohen_kappa_score(x, y, labels=levels, weights="quadratic")


def calibration_error(confidences, right):
    total = 0
    for low in range(10):
        inside = [i for i, c in enumerate(confidences) if low / 10 < c <= (low + 1) / 10 or (low == 0 and c == 0)]
        if inside:
            total += abs(sum(confidences[i] for i in inside) - sum(right[i] for i in inside)) / len(confidences)
    return 100 * total


def risk_area(confidences, right):
    """Over every coverage: the expected share of wrong ones among the k most confident, ties in random order."""
    total = 0
    for k in range(1, len(right) + 1):
        limit = sorted(confidences, reverse=True)[k - 1]
        surely = [r for c, r in zip(confidences, right) if c > limit]
        maybe = [r for c, r in zip(confidences, right) if c == limit]
        wrong = surely.count(False) + maybe.count(False) / len(maybe) * (k - len(surely))
        total += wrong / k
    return 100 * total / len(right)


def level_of(mapping, score):
    return mapping.get(int(score)) if score == int(score) else None


def rounded(score, whole):
    return score if whole else min(5, max(1, round(score)))


def column_figures(name, points, mapping):
    """points: (truth, score, level, hard level, confidence) of the rows that have this truth."""
    truth, score = [p[0] for p in points], [p[1] for p in points]
    figures = {
        name + "_spcc": correlation(scipy.stats.spearmanr, truth, score),
        name + "_plcc": correlation(scipy.stats.pearsonr, truth, score),
        name + "_kendall": correlation(scipy.stats.kendalltau, truth, score),
    }
    accuracy = [name + "_acc", name + "_acc_constant"] + ([name + "_acc_relaxed"] if name != "overall" else [])
    if not isinstance(mapping, dict) or not points:
        for key in accuracy + [name + suffix for suffix in ("_mae", "_alpha_interval", "_alpha_ordinal", "_kappa")]:
            figures[key] = None
        return figures
    figures[name + "_acc"] = share([level == t for t, _, level, _, _ in points])
    if name != "overall":
        figures[name + "_acc_relaxed"] = share([level is not None and abs(level - t) <= 1 for t, _, level, _, _ in points])
    figures[name + "_acc_constant"] = 100 * max(truth.count(level) for level in mapping.values()) / len(truth)
    own_scale = mapping is not IDENTITY
    numbers = [(p[0], p[2] if own_scale else p[1]) for p in points if not own_scale or p[2] is not None]
    x, y = [p[0] for p in numbers], [p[1] for p in numbers]
    figures[name + "_mae"] = float(numpy.mean(numpy.abs(numpy.subtract(x, y)))) if numbers else None
    figures[name + "_alpha_interval"] = alpha(x, y, "interval")
    figures[name + "_alpha_ordinal"] = alpha(x, y, "ordinal")
    levels = sorted(set(mapping.values()))
    inside = [(p[0], p[2]) for p in points if p[0] in levels and p[2] in levels]
    figures[name + "_kappa"] = kappa([p[0] for p in inside], [p[1] for p in inside], levels)
    confident = [p for p in points if p[4] is not None and p[3] is not None]
    if name != "overall" and confident:
        confidences, right = [p[4] for p in confident], [p[3] == p[0] for p in confident]
        figures[name + "_ece"] = calibration_error(confidences, right)
        figures[name + "_aurc"] = risk_area(confidences, right)
    return figures


# ---- A file

def model_score(row, dimension, kind):
    if kind == "hard" and f"{dimension}_hard_score" in row:
        return row[f"{dimension}_hard_score"]
    if kind == "float" and f"{dimension}_normed_score" in row:
        return row[f"{dimension}_normed_score"]
    return row.get(f"{dimension}_score_model")


def hard_score(row, dimension):
    return row.get(f"{dimension}_hard_score", row.get(f"{dimension}_score_model"))


def is_whole(case):
    if case["score"] != "as-written":
        return case["score"] == "hard"
    values = [row.get(f"{d}_score_model") for row in case["rows"] for d in DIMENSIONS]
    return all(v is None or v == int(v) for v in values)


def expected(case):
    benchmark, whole = BENCHMARKS[case["benchmark"]], is_whole(case)
    scores = [[model_score(row, d, case["score"]) for d in DIMENSIONS] for row in case["rows"]]
    kept = [(row, s) for row, s in zip(case["rows"], scores) if None not in s]
    figures = {"rows": len(case["rows"]), "scored": len(kept), "missing": len(case["rows"]) - len(kept)}
    for d, name in enumerate(DIMENSIONS):
        mapping, points = benchmark["maps"][d], []
        for row, s in kept if mapping else []:
            truth = row.get(f"{name}_score_gt")
            if truth is None:
                continue
            hard = hard_score(row, name)
            level = level_of(mapping, rounded(s[d], whole)) if mapping not in ("raw", IDENTITY) else rounded(s[d], whole)
            hard_level = None if hard is None else hard if mapping in ("raw", IDENTITY) else level_of(mapping, hard)
            points.append((truth, s[d], level, hard_level, row.get(f"{name}_confidence")))
        figures.update(column_figures(name, points, mapping))
    points = []
    for row, s in kept if "overall" in benchmark else []:
        if row.get(benchmark["overall"]) is not None:
            mean = int(sum(rounded(x, whole) for x in s) / 3)
            mapping = benchmark["overall_map"]
            points.append((row[benchmark["overall"]], s[0] + s[1] + s[2], mapping and level_of(mapping, mean), None, None))
    figures.update(column_figures("overall", points, benchmark.get("overall_map")))
    figures["acc_whole_item"] = None
    if all(isinstance(m, dict) for m in benchmark["maps"]):
        hits = []
        for row, s in kept:
            truth = [row.get(f"{d}_score_gt") for d in DIMENSIONS]
            if None not in truth:
                levels = [level_of(m, rounded(x, whole)) if m is not IDENTITY else rounded(x, whole)
                          for m, x in zip(benchmark["maps"], s)]
                hits.append(levels == truth)
        figures["acc_whole_item"] = share(hits)
    if case.get("pairs") is not None:
        figures.update(pair_figures(case["benchmark"], case_pairs(case), kept, whole))
    return figures


# ---- Pairs, as the published script goes through them

def case_pairs(case):
    if isinstance(case["pairs"], str):
        return list(csv.DictReader(io.StringIO(case["pairs"].lstrip("\ufeff"), newline="")))
    return case["pairs"]


def judge(a, b, threshold, words):
    if a - b > threshold:
        return words[0]
    return words[1] if a - b < -threshold else words[2]


def pair_figures(benchmark, pairs, kept, whole):
    by_name = {stem(row["video_name"]): s for row, s in kept}
    total = {aspect: {True: [], False: []} for aspect in ("vq", "ta", "overall")}
    dropped = 0
    for pair in pairs:
        if benchmark == "videogen-reward-bench":
            names, words = (stem(pair["path_A"]), stem(pair["path_B"])), ("A", "B", "same")
            aspects = {"vq": (pair["VQ"], lambda s: s[0]), "ta": (pair["TA"], lambda s: s[1]),
                       "overall": (pair["Overall"], lambda s: s[0] + s[1] + s[2])}
        elif benchmark == "mj-bench-video":
            names = (stem(pair["video_0_path"]), stem(pair["video_1_path"]))
            words = ("Video 1 better", "Video 2 better", "Same")
            aspects = {"overall": (pair["overall_preference"], lambda s: (s[0] + s[1] + s[2]) / 3)}
        elif benchmark == "t2vqa-db":
            names, words = (pair["video1"], pair["video2"]), ("1", "2", "same")
            aspects = {"overall": (pair["preference"], lambda s: (s[0] + s[1] + s[2]) / 3)}
        elif benchmark == "genai-bench":
            names = tuple(pair[side + "_model"] + "_" + stem(pair[side + "_video"]) for side in ("left", "right"))
            words = ("leftvote", "rightvote", "tievote")
            vote = pair["vote_type"].replace("bothbad_vote", "tievote")
            aspects = {"overall": (vote, lambda s: s[0] + s[1] + s[2])}
        elif benchmark == "visionreward-db-video":
            names, words = (stem(pair["video1_path"]), stem(pair["video2_path"])), ("video1", "video2", "tie")
            aspects = {"overall": (pair["standard_answer"], lambda s: s[0] + s[1] + s[2])}
        else:
            names, words = (pair["video1"], pair["video2"]), ("1", "2", "same")
            aspects = {"vq": (pair["video_quality_pref"], lambda s: s[0]),
                       "ta": (pair["text_alignment_pref"], lambda s: s[1])}
        if names[0] not in by_name or names[1] not in by_name:
            dropped += 1
            continue
        for aspect, (truth, score) in aspects.items():
            a, b = score(by_name[names[0]]), score(by_name[names[1]])
            total[aspect][True].append(judge(a, b, 0.5 if whole else 0.001, words) == truth)
            if truth != words[2]:
                total[aspect][False].append(judge(a, b, 0, words) == truth)
    figures = {"pairs": len(pairs), "pairs_dropped": dropped}
    for aspect, hits in total.items():
        figures[aspect + "_acc_ties"] = share(hits[True])
        figures[aspect + "_acc_no_ties"] = share(hits[False])
    return figures


# ---- Random files

def random_row(rng, i, benchmark, kind, missing):
    row = {"video_name": f"{rng.choice(['', 'videos/'])}v{i}{rng.choice(['', '.mp4'])}"}
    maps = BENCHMARKS[benchmark]["maps"]
    quality = round(rng.uniform(0, 100), 6)
    for d, mapping in zip(DIMENSIONS, maps):
        true_score = rng.randint(1, 5)
        if benchmark == "t2vqa-db":
            row[d + "_score_gt"] = quality
        elif mapping == "raw":
            row[d + "_score_gt"] = round(rng.uniform(1, 5), 2)
        elif mapping:
            row[d + "_score_gt"] = None if rng.random() < missing / 2 else mapping[true_score]
        elif any(maps):
            row[d + "_score_gt"] = None
        hard = min(5, max(1, true_score + rng.choice([-2, -1, 0, 0, 0, 1])))
        confidence = rng.choice([0.5, round(rng.uniform(0.2, 1), 4)])
        normed = round(hard * confidence, 4)
        unread = rng.random() < missing / 3
        row[d + "_score_model"] = None if unread else normed if kind == "float" else hard
        if kind == "run":
            row[d + "_hard_score"] = None if unread else hard
            row[d + "_normed_score"] = None if unread else normed
        if kind != "float":
            row[d + "_confidence"] = None if unread or rng.random() < missing else confidence
    if benchmark == "mj-bench-video":
        row["total_score"] = rng.randint(0, 2)
    if benchmark == "t2vqa-db":
        row["quality_score"] = quality
    return row


def random_pairs(rng, benchmark, rows):
    names = [stem(row["video_name"]) for row in rows] + ["unknown", "also unknown.mp4"]
    pairs = []
    for _ in range(2 * len(rows)):
        a, b = rng.choice(names), rng.choice(names)
        path = lambda name: rng.choice(["", "videos/", "a/b/"]) + name + rng.choice(["", ".mp4"])
        if benchmark == "videogen-reward-bench":
            words = ["A", "B", "same"]
            pairs.append({"path_A": path(a), "path_B": path(b), "prompt": rng.choice(['a, "b"', "two\nlines", "plain"]),
                          "VQ": rng.choice(words), "MQ": "", "TA": rng.choice(words), "Overall": rng.choice(words)})
        elif benchmark == "mj-bench-video":
            pairs.append({"caption": "c", "video_0_path": path(a), "video_1_path": path(b),
                          "overall_preference": rng.choice(["Video 1 better", "Video 2 better", "Same"])})
        elif benchmark == "t2vqa-db":
            pairs.append({"video1": a, "video2": b, "preference": rng.choice(["1", "2", "same"])})
        elif benchmark == "genai-bench":
            left, right = rng.choice(rows)["video_name"], rng.choice(rows)["video_name"]
            (left_model, left_video), (right_model, right_video) = (stem(x).split("_", 1) for x in (left, right))
            pairs.append({"left_model": left_model, "left_video": path(left_video), "right_model": right_model,
                          "right_video": path(right_video),
                          "vote_type": rng.choice(["leftvote", "rightvote", "tievote", "bothbad_vote"])})
        elif benchmark == "visionreward-db-video":
            pairs.append({"video1_path": path(a), "video2_path": path(b),
                          "standard_answer": rng.choice(["video1", "video2", "tie"])})
        elif benchmark == "tvge":
            pairs.append({"video1": a, "video2": b, "video_quality_pref": rng.choice(["1", "2", "same"]),
                          "text_alignment_pref": rng.choice(["1", "2", "same"])})
        else:
            return None
    if benchmark == "videogen-reward-bench":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, pairs[0].keys(), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(pairs)
        return "\ufeff" + text.getvalue()
    return pairs


def random_case(rng, name, benchmark, kind, score, count, missing=0.0):
    rows = [random_row(rng, i, benchmark, kind, missing) for i in range(count)]
    if benchmark == "genai-bench":
        for row in rows:
            row["video_name"] = f"{rng.choice(['model-a', 'model.b'])}_{stem(row['video_name'])}"
    return {"name": name, "benchmark": benchmark, "score": score, "rows": rows,
            "pairs": random_pairs(rng, benchmark, rows) if rows else None}


def constant(case, field, value):
    for row in case["rows"]:
        row[field] = value
    return case


def golden_cases(rng):
    yield random_case(rng, "whole scores with ties", "videoscore-bench-v2", "hard", "as-written", 40)
    yield random_case(rng, "missing scores", "videoscore-bench-v2", "hard", "hard", 30, 0.3)
    yield random_case(rng, "float scores", "videoscore-bench-v2", "float", "as-written", 30)
    yield random_case(rng, "a run's rows, hard", "any", "run", "hard", 20, 0.2)
    yield random_case(rng, "a run's rows, float", "any", "run", "float", 20, 0.2)
    yield constant(random_case(rng, "a constant model", "any", "hard", "hard", 12), "v_score_model", 3)
    yield constant(random_case(rng, "a constant truth", "any", "float", "float", 12), "t_score_gt", 4)
    yield constant(constant(random_case(rng, "both constant", "any", "hard", "hard", 6), "p_score_gt", 4), "p_score_model", 4)
    yield constant(random_case(rng, "a model that nobody could read", "any", "hard", "hard", 5), "p_score_model", None)
    yield random_case(rng, "one row", "any", "hard", "hard", 1)
    yield random_case(rng, "two rows", "any", "float", "as-written", 2)
    yield random_case(rng, "no row", "any", "hard", "hard", 0)
    for benchmark in BENCHMARKS:
        if benchmark in ("any", "videoscore-bench-v2"):
            continue
        yield random_case(rng, f"{benchmark}, whole", benchmark, "hard", "as-written", 16, 0.1)
        yield random_case(rng, f"{benchmark}, float", benchmark, "float", "float", 16, 0.1)


def dump(cases, out):
    """A row a line."""
    out.write("[\n")
    for i, case in enumerate(cases):
        compact = lambda value: json.dumps(value, separators=(",", ":"))
        rows = ",\n".join(compact(row) for row in case["rows"])
        head = {key: case[key] for key in ("name", "benchmark", "score", "pairs", "expected")}
        out.write(compact(head)[:-1] + ',"rows":[\n' + rows + "]}" + (",\n" if i + 1 < len(cases) else "\n"))
    out.write("]\n")


def near(a, b, tolerance):
    if a is None or b is None:
        return a is None and b is None
    return abs(a - b) <= tolerance


def check():
    wrong = 0
    for case in json.load(open(GOLDEN)):
        figures = expected(case)
        for key in {*figures, *case["expected"]}:
            if not near(figures.get(key), case["expected"].get(key), 1e-9):
                print(f"{case['name']}: {key}: {figures.get(key)}, golden {case['expected'].get(key)}")
                wrong += 1
    print(f"metrics: {wrong} golden values differ")
    return wrong


# ---- Live

def vs2_eval(program, folder, case, *further):
    result = folder / "res.json"
    result.write_text(json.dumps(case["rows"]))
    command = [program, "metrics", "--json", "--score", case["score"], str(result), *further]
    if case["benchmark"] != "any":
        command += ["--benchmark", case["benchmark"]]
    if case["pairs"] is not None:
        data = folder / ("pairs.csv" if isinstance(case["pairs"], str) else "pairs.json")
        data.write_text(case["pairs"] if isinstance(case["pairs"], str) else json.dumps(case["pairs"]), newline="")
        command += ["--data", str(data)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def live_figures(program, rng, folder, count):
    wrong = compared = 0
    for i in range(count):
        benchmark, kind = rng.choice(list(BENCHMARKS)), rng.choice(["hard", "float", "run"])
        score = {"hard": "as-written", "float": rng.choice(["as-written", "float"]), "run": rng.choice(["hard", "float"])}[kind]
        size = rng.choice([1, 2, 3, 10, 100, 300])
        case = random_case(rng, str(i), benchmark, kind, score, size, rng.choice([0, 0.2]))
        found = vs2_eval(program, folder, case)
        for key, value in expected(case).items():
            compared += 1
            if not near(found.get(key), value, 0.00051):
                print(f"seeded case {i} ({benchmark}, {kind}, {score}, {size} rows): {key}: {found.get(key)}, expected {value}")
                wrong += 1
    print(f"metrics: {compared} figures of {count} random files, {wrong} differ")
    return wrong


def live_intervals(program, rng, folder):
    """Intervals beside numpy's plain bootstrap: each end within a tenth of the width (some standard errors of both), and
    a step of a figure that has steps."""
    wrong = 0
    for size, kind in ((60, "hard"), (400, "float"), (20000, "float")):
        case = random_case(rng, "", "any", kind, "as-written", size)
        found = vs2_eval(program, folder, case)["intervals"]
        generator = numpy.random.default_rng(rng.randrange(1 << 30))
        truth = numpy.array([row["v_score_gt"] for row in case["rows"]], float)
        model = numpy.array([row["v_score_model"] for row in case["rows"]], float)
        samples = {"v_plcc": [], "v_spcc": [], "v_mae": [], "v_acc": []}
        for _ in range(4000 if size < 1000 else 300):
            chosen = generator.integers(0, size, size)
            x, y = truth[chosen], model[chosen]
            samples["v_plcc"].append(100 * scipy.stats.pearsonr(x, y)[0])
            samples["v_spcc"].append(100 * scipy.stats.spearmanr(x, y)[0])
            samples["v_mae"].append(numpy.mean(abs(x - y)))
            samples["v_acc"].append(100 * numpy.mean(numpy.clip(numpy.round(y), 1, 5) == x))
        for key, values in samples.items():
            low, high = numpy.percentile(values, [2.5, 97.5])
            error = max(abs(found[key][0] - low), abs(found[key][1] - high))
            step = {"v_acc": 100 / size, "v_mae": 1 / size}.get(key, 0)
            print(f"{size} rows, {key}: [{found[key][0]:.3f}, {found[key][1]:.3f}], plain bootstrap [{low:.3f}, {high:.3f}]")
            wrong += error > (0.1 if size < 1000 else 0.25) * (high - low) + step
    return wrong


def live_tests(program, rng, folder):
    """Tests of B against A beside scipy's permutation_test and binomtest."""
    wrong = 0
    a = random_case(rng, "a", "any", "hard", "hard", 40)
    b = random_case(rng, "b", "any", "hard", "hard", 40)
    for row, other in zip(a["rows"], b["rows"]):
        for d in DIMENSIONS:
            other[d + "_score_gt"] = row[d + "_score_gt"]
    second = folder / "b.json"
    second.write_text(json.dumps(b["rows"]))
    found = vs2_eval(program, folder, a, str(second))["comparisons"][0]["differences"]
    column = lambda case, field: numpy.array([row[field] for row in case["rows"]], float)
    truth, x, y = column(a, "v_score_gt"), column(a, "v_score_model"), column(b, "v_score_model")
    wins, losses = sum((y == truth) & (x != truth)), sum((x == truth) & (y != truth))
    reference = {"v_acc": scipy.stats.binomtest(int(wins), int(wins + losses)).pvalue if wins + losses else 1}
    generator = numpy.random.default_rng(1)
    r = lambda p, q: scipy.stats.pearsonr(truth, q)[0] - scipy.stats.pearsonr(truth, p)[0]
    mae = lambda p, q: numpy.mean(abs(q - truth)) - numpy.mean(abs(p - truth))
    for key, statistic in (("v_plcc", r), ("v_mae", mae)):
        seen, extreme = statistic(x, y), 0
        for _ in range(4000):
            swap = generator.random(len(x)) < 0.5
            extreme += abs(statistic(numpy.where(swap, y, x), numpy.where(swap, x, y))) >= abs(seen) - 1e-12
        reference[key] = extreme / 4000
    for key, p in reference.items():
        print(f"{key}: p {found[key]['p']:.4f}, reference {p:.4f}")
        wrong += abs(found[key]["p"] - p) > (1e-9 if key == "v_acc" else 0.04)
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", nargs="?")
    parser.add_argument("program", nargs="?")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--cases", type=int, default=120)
    options = parser.parse_args()
    if options.check:
        sys.exit(1 if check() else 0)
    if options.mode == "live":
        print(f"seed {options.seed}")
        rng = random.Random(options.seed)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            wrong = live_figures(options.program, rng, folder, options.cases)
            wrong += live_intervals(options.program, rng, folder) + live_tests(options.program, rng, folder)
        sys.exit(1 if wrong else 0)
    cases = list(golden_cases(random.Random(20260701)))
    for case in cases:
        case["expected"] = expected(case)
    dump(cases, sys.stdout)


main()
