"""Random Qwen2.5-VL checkpoints of chosen shapes and spellings, for the goldens and the live comparison.

A Shape says sizes and how the checkpoint is written: flat or nested config.json, old or new tensor names,
one file or shards with an index, the stored type. Weights are drawn so that every part matters: gains
around one, norms and biases away from one and zero.
"""

import dataclasses
import json
import math
import pathlib

import torch
from safetensors.torch import save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
TYPE_NAMES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


@dataclasses.dataclass
class Shape:
    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    mrope_section: list
    tied: bool
    vision_hidden: int
    vision_heads: int
    vision_depth: int
    vision_intermediate: int
    full_blocks: list
    config_style: str  # "published" (flat), "nested" (as transformers 4.57 saves) or "parameters" (as 5.x)
    new_names: bool
    shards: int  # 1: one model.safetensors without an index
    stored: str  # "f32", "bf16" or "f16"
    rms_epsilon: float = 1e-6
    rope_theta: float = 1e6
    tokens_per_second: int = 2
    logit_gain: float = 3.0  # of the head: how far apart logits lie
    seed: int = 0


@dataclasses.dataclass
class Tokens:
    """Ids of the special tokens, and how many rows the embedding has."""

    vocab: int
    end_of_text: int
    im_start: int
    im_end: int
    vision_start: int
    vision_end: int
    vision_pad: int
    image_pad: int
    video_pad: int

    @classmethod
    def from_tokenizer(cls, tokenizer, vocab):
        """Looks the ids up in a Hugging Face tokenizer (or tokenizers.Tokenizer)."""
        find = getattr(tokenizer, "token_to_id", None) or tokenizer.convert_tokens_to_ids
        names = ["endoftext", "im_start", "im_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad"]
        return cls(vocab, *[find(f"<|{name}|>") for name in names])


def make_config(shape, tokens):
    """The configuration as transformers reads it, whatever spelling the folder will have."""
    return Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=tokens.vocab,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=32768,
            rms_norm_eps=shape.rms_epsilon,
            rope_theta=shape.rope_theta,
            rope_scaling={"type": "mrope", "mrope_section": list(shape.mrope_section)},
            tie_word_embeddings=shape.tied,
            bos_token_id=tokens.end_of_text,
            eos_token_id=tokens.im_end,
            pad_token_id=tokens.end_of_text,
        ),
        vision_config=dict(
            depth=shape.vision_depth,
            hidden_size=shape.vision_hidden,
            num_heads=shape.vision_heads,
            intermediate_size=shape.vision_intermediate,
            out_hidden_size=shape.hidden,
            fullatt_block_indexes=list(shape.full_blocks),
            tokens_per_second=shape.tokens_per_second,
            patch_size=14,
            spatial_merge_size=2,
            temporal_patch_size=2,
            window_size=112,
        ),
        image_token_id=tokens.image_pad,
        video_token_id=tokens.video_pad,
        vision_start_token_id=tokens.vision_start,
        vision_end_token_id=tokens.vision_end,
        vision_token_id=tokens.vision_pad,
        tie_word_embeddings=shape.tied,
    )


# Standard deviation times the square root of the inputs. Attention is sharp and the MLPs outweigh it, else
# random models average their context and say one word for ever.
GAINS = {"q_proj": 2.0, "k_proj": 2.0, "o_proj": 0.7, "gate_proj": 2.0, "mlp.down_proj": 2.5}


def _draw(name, tensor, shape, generator):
    noise = torch.randn(tensor.shape, generator=generator)
    if name.endswith("bias"):
        return 0.2 * noise
    if tensor.ndim == 1:
        return 1 + 0.2 * noise
    if "embed_tokens" in name:
        # A tied head is this matrix too: its scale is the logits'.
        return noise * (shape.logit_gain / math.sqrt(shape.hidden) if shape.tied else 1.0)
    fan_in = tensor[0].numel()
    if "lm_head" in name:
        return noise * shape.logit_gain / math.sqrt(fan_in)
    gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
    return noise * gain / math.sqrt(fan_in)


def random_state(shape, tokens):
    """Named tensors in the stored type, under transformers' own (new) names."""
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(make_config(shape, tokens))
    generator = torch.Generator().manual_seed(shape.seed)
    state = {}
    for name, tensor in model.named_parameters():  # a tied head is listed once, as the embedding
        state[name] = _draw(name, tensor, shape, generator).to(TYPES[shape.stored])
    return state


def load_model(shape, tokens, state, compute, attention="sdpa"):
    """The model in transformers, from the tensors that the folder holds, computing in `compute`."""
    config = make_config(shape, tokens)
    config._attn_implementation = attention
    model = Qwen2_5_VLForConditionalGeneration(config).eval().to(TYPES[compute])
    missing, surplus = model.load_state_dict({k: v.to(TYPES[compute]) for k, v in state.items()}, strict=False)
    assert not surplus and set(missing) <= {"lm_head.weight"}, (missing, surplus)
    model.tie_weights()
    model.generation_config.pad_token_id = tokens.end_of_text
    return model


def old_name(name):
    """The name a tensor had before transformers 4.52."""
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def config_json(shape, tokens):
    """config.json in the shape's style."""
    config = make_config(shape, tokens)
    vision = {
        "depth": shape.vision_depth,
        "hidden_act": "silu",
        "hidden_size": shape.vision_hidden,
        "intermediate_size": shape.vision_intermediate,
        "num_heads": shape.vision_heads,
        "in_chans": 3,
        "out_hidden_size": shape.hidden,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": list(shape.full_blocks),
        "tokens_per_second": shape.tokens_per_second,
        "temporal_patch_size": 2,
    }
    text = {
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": 32768,
        "max_window_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.rms_epsilon,
        "sliding_window": 32768,
        "use_cache": True,
        "use_sliding_window": False,
        "attention_dropout": 0.0,
        "vocab_size": tokens.vocab,
        "bos_token_id": tokens.end_of_text,
        "eos_token_id": tokens.im_end,
    }
    top = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "image_token_id": tokens.image_pad,
        "video_token_id": tokens.video_pad,
        "vision_start_token_id": tokens.vision_start,
        "vision_end_token_id": tokens.vision_end,
        "vision_token_id": tokens.vision_pad,
    }
    if shape.config_style == "published":
        return {
            **top,
            **text,
            "rope_theta": shape.rope_theta,
            "rope_scaling": {"type": "mrope", "mrope_section": list(shape.mrope_section)},
            "tie_word_embeddings": shape.tied,
            "torch_dtype": TYPE_NAMES[shape.stored],
            "transformers_version": "4.41.2",
            "vision_config": vision,
        }
    if shape.config_style == "nested":
        saved = config.to_dict()
        saved["architectures"] = top["architectures"]
        saved["dtype"] = saved["text_config"]["dtype"] = TYPE_NAMES[shape.stored]
        return saved
    assert shape.config_style == "parameters"
    vision["in_channels"] = vision.pop("in_chans")
    return {
        **top,
        "dtype": TYPE_NAMES[shape.stored],
        "tie_word_embeddings": shape.tied,
        "transformers_version": "5.0.0",
        "text_config": {
            **text,
            "model_type": "qwen2_5_vl_text",
            "layer_types": ["full_attention"] * shape.layers,
            "rope_parameters": {
                "mrope_section": list(shape.mrope_section),
                "rope_theta": shape.rope_theta,
                "rope_type": "default",
            },
        },
        "vision_config": {**vision, "model_type": "qwen2_5_vl"},
    }


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _write_weights(folder, shape, state):
    named = {name if shape.new_names else old_name(name): tensor for name, tensor in state.items()}
    if shape.shards == 1:
        save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
        return
    total = sum(t.numel() * t.element_size() for t in named.values())
    parts, size = [{}], 0
    for name in sorted(named):
        tensor = named[name]
        if size > total * len(parts) / shape.shards and len(parts) < shape.shards:
            parts.append({})
        parts[-1][name] = tensor
        size += tensor.numel() * tensor.element_size()
    weight_map = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update({name: file for name in part})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)


def write_checkpoint(folder, shape, tokens, state, generation=None):
    """Writes config.json, generation_config.json, preprocessor_config.json and the weights."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("model*.safetensors*"):
        stale.unlink()
    _write_json(folder / "config.json", config_json(shape, tokens))
    _write_json(
        folder / "generation_config.json",
        generation
        or {
            "bos_token_id": tokens.end_of_text,
            "pad_token_id": tokens.end_of_text,
            "do_sample": True,
            "eos_token_id": [tokens.im_end, tokens.end_of_text],
            "repetition_penalty": 1.05,
            "temperature": 0.000001,
            "transformers_version": "4.49.0",
        },
    )
    _write_json(
        folder / "preprocessor_config.json",
        {
            "min_pixels": 3136,
            "max_pixels": 12845056,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )
    _write_weights(folder, shape, state)
