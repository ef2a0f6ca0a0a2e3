#!/usr/bin/env python3
"""Makes tests/golden/model/: three tiny random checkpoints and what transformers computes from them.

    python tests/reference/model.py [--check] [FOLDER]

--check compares what it makes with the committed files and writes nothing. README.md in the folder
documents every tensor of NAME/golden/model.safetensors.
"""

import argparse
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import checkpoints
from checkpoints import Shape, Tokens

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "model"
VOCAB = 300
NEW_TOKENS = 40
LOGIT_ROWS = 4
ROW_STEP = 5  # activations keep rows 0, 5, 10, ...; it has no factor in common with windows and frames
MIN_GAP = 0.005  # between the best and the second best logit at every greedy step, in f32
SPECIAL = (
    "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end "
    "vision_start vision_end vision_pad image_pad video_pad"
).split()
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

SHAPES = [
    Shape("tied", 64, 2, 4, 2, 48, [2, 3, 3], True, 40, 2, 3, 32, [1], "published", False, 1, "bf16",
          seed=9),
    Shape("untied", 48, 2, 3, 1, 64, [2, 3, 3], False, 24, 2, 4, 40, [1, 3], "parameters", True, 3, "f16",
          rms_epsilon=1e-5, rope_theta=10000.0, seed=5),
    Shape("square", 40, 2, 2, 2, 48, [2, 4, 4], True, 16, 1, 2, 20, [0], "nested", True, 1, "f32",
          tokens_per_second=4, seed=5),
]


def make_tokenizer(folder=None):
    """A byte-level BPE of Qwen2's kind with VOCAB tokens: bytes, a few merges, the special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    text = "(1) visual quality: 4\n(2) text-to-video alignment: 3\n(3) physical/common-sense consistency: 5\n"
    tokenizer.train_from_iterator([text] * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True, normalized=False) for name in SPECIAL])
    assert tokenizer.get_vocab_size() == VOCAB
    if folder:
        (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False) + "\n")
        config = {
            "tokenizer_class": "Qwen2Tokenizer",
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "add_bos_token": False,
            "clean_up_tokenization_spaces": False,
            "errors": "replace",
            "model_max_length": 131072,
            "split_special_tokens": False,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return tokenizer


def patches(rows, seed):
    """[rows, 1176]: value n (counted along rows) is ((n + seed) * 2654435761 mod 2^32 >> 24) / 128 - 1."""
    n = torch.arange(rows * 1176, dtype=torch.int64) + seed
    return (((n * 2654435761) % 2**32 >> 24).to(torch.float32) / 128 - 1).reshape(rows, 1176)


def text_ids(count, seed):
    """Ordinary token ids: ((k + seed) * 2654435761 mod 2^32 >> 16) mod 286."""
    return [((k + seed) * 2654435761 % 2**32 >> 16) % (VOCAB - len(SPECIAL)) for k in range(count)]


def make_cases(tokens):
    """name -> (parts, seed); a part is a text length, ("video", grid, second_per_grid) or ("image", grid)."""
    described = {
        "text": [24],
        "video": [7, ("video", (2, 10, 6), 1.2), 9],
        "mixed": [3, ("image", (1, 6, 14)), 2, ("video", (3, 4, 10), 2.7), ("video", (1, 8, 16), 0.5), 6],
    }
    cases = {}
    for number, (name, parts) in enumerate(described.items()):
        ids, media = [], {"image": [], "video": [], "seconds": []}
        for part in parts:
            if isinstance(part, int):
                ids += text_ids(part, 100 * number + len(ids))
                continue
            kind, (t, h, w) = part[0], part[1]
            pad = tokens.image_pad if kind == "image" else tokens.video_pad
            ids += [tokens.vision_start] + [pad] * (t * h * w // 4) + [tokens.vision_end]
            media[kind].append((t, h, w))
            if kind == "video":
                media["seconds"].append(part[2])
        case = {"input_ids": torch.tensor([ids])}
        for kind, pixels, seed in (("image", "pixel_values", 0), ("video", "pixel_values_videos", 5000)):
            if media[kind]:
                grid = torch.tensor(media[kind])
                case[f"{kind}_grid_thw"] = grid
                case[pixels] = patches(int(grid.prod(1).sum()), seed)
        if media["seconds"]:
            case["second_per_grid_ts"] = torch.tensor(media["seconds"])
        cases[name] = case
    return cases


def watch(model):
    """Records outputs of blocks by name while the model runs; returns (record, remove)."""
    record, handles = {}, []

    def hook(name):
        def keep(_module, _inputs, output):
            value = output[0] if isinstance(output, tuple) else output
            record.setdefault(name, []).append(value.detach().float().reshape(-1, value.shape[-1]))

        return keep

    visual, language = model.model.visual, model.model.language_model
    handles.append(visual.patch_embed.register_forward_hook(hook("vision.patch_embed")))
    for i, block in enumerate(visual.blocks):
        handles.append(block.register_forward_hook(hook(f"vision.block.{i}")))
    handles.append(visual.register_forward_hook(hook("vision.features")))
    for i, layer in enumerate(language.layers):
        handles.append(layer.register_forward_hook(hook(f"language.layer.{i}")))
    handles.append(language.norm.register_forward_hook(hook("language.hidden")))
    return record, lambda: [h.remove() for h in handles]


def run_forward(model, case):
    """One pass over the prompt: (activations by name, f32 logits [tokens, vocab])."""
    record, remove = watch(model)
    with torch.no_grad():
        logits = model(**typed(case, model.dtype)).logits[0].float()
    remove()
    return record, logits


def typed(case, dtype):
    return {k: v.to(dtype) if k.startswith("pixel") else v for k, v in case.items()}


def greedy(model, case, penalty):
    """NEW_TOKENS greedy ids by generate (nothing stops it), raw log-probabilities, the smallest gap of scores."""
    with torch.no_grad():
        out = model.generate(
            **typed(case, model.dtype),
            attention_mask=torch.ones_like(case["input_ids"]),
            do_sample=False,
            temperature=None,
            top_k=None,
            top_p=None,
            repetition_penalty=penalty,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=None,
            output_scores=True,
            output_logits=True,
            return_dict_in_generate=True,
        )
    ids = out.sequences[0, case["input_ids"].shape[1]:]
    raw = torch.log_softmax(torch.stack([row[0].float() for row in out.logits]), -1)
    best = torch.stack([row[0].float() for row in out.scores]).topk(2, -1).values
    return ids, raw[torch.arange(len(ids)), ids], float((best[:, 0] - best[:, 1]).min())


GREEDY = {"greedy": 1.0, "greedy_penalty_1.05": 1.05, "greedy_penalty_1.3": 1.3}


def lively(model, cases):
    """Do greedy texts vary and never hang on a near tie?"""
    for case in cases.values():
        for name, penalty in GREEDY.items():
            ids, _, gap = greedy(model, case, penalty)
            distinct = len(set(ids.tolist()))
            if gap < MIN_GAP or distinct < 12:
                return False
    return True


def find_seed(shape, tokens, cases):
    """The weights of the first good seed from the shape's own on; that one is good, with the pinned versions."""
    for seed in range(shape.seed, 3000):
        shape.seed = seed
        state = checkpoints.random_state(shape, tokens)
        if lively(checkpoints.load_model(shape, tokens, state, "f32"), cases):
            return state
    raise SystemExit(f"{shape.name}: no seed gives lively text")


def geometry(model, case):
    """Position ids [3, tokens], and for the images and the videos apart the window order and segments."""
    out = {}
    grids = {k: case.get(f"{k}_grid_thw") for k in ("image", "video")}
    positions, deltas = model.model.get_rope_index(
        case["input_ids"], grids["image"], grids["video"], case.get("second_per_grid_ts")
    )
    out["position_ids"] = positions[:, 0]
    out["rope_delta"] = deltas[0]
    for kind, grid in grids.items():
        if grid is None:
            continue
        index, segments = model.model.visual.get_window_index(grid)
        out[f"{kind}.window_index"] = index
        out[f"{kind}.cu_window_seqlens"] = torch.unique_consecutive(torch.tensor(segments))
        frames = torch.repeat_interleave(grid[:, 1] * grid[:, 2], grid[:, 0]).cumsum(0)
        out[f"{kind}.cu_seqlens"] = torch.cat([torch.zeros(1, dtype=frames.dtype), frames])
    return out


def describe_case(golden, name, case, models, errors):
    """Adds the tensors of one case to `golden`, under `name`/."""
    put = lambda key, value: golden.__setitem__(
        f"{name}/{key}", value.to(torch.float32 if value.is_floating_point() else torch.int32).contiguous().clone()
    )
    for key, value in case.items():
        if not key.startswith("pixel"):
            put(key.replace("_thw", "").replace("_ts", ""), value[0] if key == "input_ids" else value)
    for key, value in geometry(models["f32"], case).items():
        put(key, value)
    kinds = [k for k in ("image", "video") if f"{k}_grid_thw" in case]  # the order transformers runs them in
    ids = case["input_ids"][0]
    record, logits = run_forward(models["f32"], case)
    record16, logits16 = run_forward(models["bf16"], case)
    record64, logits64 = run_forward(models["f64"], case)
    for key, values in record.items():
        for kind, value in zip(kinds if key.startswith("vision.") else ["language"], values):
            step = 1 if key == "vision.features" else ROW_STEP
            if name == "video" or step == 1 or key == "language.hidden":
                put(f"{kind}.{key.split('.', 1)[1]}", value[::step])
    logp, logp16 = (torch.log_softmax(x, -1)[:-1].gather(1, ids[1:, None])[:, 0] for x in (logits, logits16))
    put("logits", logits[-LOGIT_ROWS:])
    put("bf16.logits", logits16[-LOGIT_ROWS:])
    put("logprobs", logp)
    put("bf16.logprobs", logp16)
    if name == "video":
        put("bf16.video.features", record16["vision.features"][0])
    errors[name] = {
        "logits f32": (logits - logits64).abs().max().item(),
        "logits bf16": (logits16 - logits64).abs().max().item(),
        "logits spread": logits64.std().item(),
    }
    for kind, a, b, c in zip(kinds, *(r.get("vision.features", []) for r in (record, record16, record64))):
        errors[name][f"{kind} features f32"] = (a - c).abs().max().item()
        errors[name][f"{kind} features bf16"] = (b - c).abs().max().item()
    for key, penalty in GREEDY.items():
        chosen, logp, gap = greedy(models["f32"], case, penalty)
        put(key, chosen)
        put(f"{key}.logprobs", logp)
        errors[name][f"{key} gap"] = gap


def make_shape(shape, folder):
    """Writes one checkpoint folder with its golden/; returns the errors of f32 and bf16."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = Tokens.from_tokenizer(make_tokenizer(folder), VOCAB)
    cases = make_cases(tokens)
    state = find_seed(shape, tokens, cases)
    checkpoints.write_checkpoint(folder, shape, tokens, state)
    models = {k: checkpoints.load_model(shape, tokens, state, k) for k in ("f32", "bf16", "f64")}
    golden, errors = {}, {}
    for name, case in cases.items():
        describe_case(golden, name, case, models, errors)
    (folder / "golden").mkdir(exist_ok=True)
    save_file(golden, folder / "golden" / "model.safetensors", metadata={"attention": "sdpa"})
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)
    return errors


def same_golden(a, b):
    """Whether two machines' values agree: f32 in all but the last bits; bf16, where every machine rounds its sums
    in an order of its own, at least as well as the committed bf16 agrees with the committed f32."""
    def agree(key):
        if "bf16" not in key:
            return torch.allclose(a[key], b[key], rtol=0, atol=1e-4)
        noise = (a[key] - a[key.replace("bf16.", "")]).square().mean()
        return bool((a[key] - b[key]).square().mean() <= noise)

    return a.keys() == b.keys() and all(map(agree, a))


def check(made, committed):
    """Compares every file; returns how many differ."""
    bad = 0
    for file in sorted(committed.rglob("*")):
        if not file.is_file() or file.name == "README.md":
            continue
        other = made / file.relative_to(committed)
        if file.parent.name != "golden":
            same = other.exists() and other.read_bytes() == file.read_bytes()
        else:
            same = same_golden(load_file(file), load_file(other))
        if not same:
            bad += 1
            print(f"{file}: differs")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=GOLDEN)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    checkpoints.TYPES["f64"] = torch.float64
    import tempfile

    target = pathlib.Path(tempfile.mkdtemp()) if arguments.check else arguments.folder
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    for shape in SHAPES:
        errors = make_shape(shape, target / shape.name)
        print(f"{shape.name}: seed {shape.seed}")
        for case, values in errors.items():
            print(f"  {case}: " + ", ".join(f"{k} {v:.2g}" for k, v in values.items()))
    if arguments.check:
        sys.exit(1 if check(target, arguments.folder) else 0)


if __name__ == "__main__":
    main()
