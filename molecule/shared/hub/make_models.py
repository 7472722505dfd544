#!/usr/bin/env python3
"""Make the hub's models: tiny Qwen3 with random weights, always the same, by the standard library alone.

    make_models.py FOLDER

FOLDER/Qwen/Qwen3-8B-FP8 has two shards of 56 MB and the real one's context length, so that the real command line runs
and its download takes a while. Nearly all of it are rows of the vocabulary that no text uses: they cost bytes, but no
computing (vLLM warms up with as many tokens as it may batch). FOLDER/sandbox/{gated,tiny} are some hundred kB.
"""

from __future__ import annotations

import json
import random
import re
import struct
import sys
from collections import Counter
from pathlib import Path

TOKENS = 640
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = """
A workshop keeps its tools where a hand finds them without a thought. The hammer hangs beside the saw, nails lie in
small boxes sorted by length, and every drawer carries a label written by somebody patient. Visitors often ask why such
order matters, since any carpenter could search a little longer. The answer comes on a dark winter afternoon when the
power fails, water runs through the ceiling and three people must repair a broken pipe together. Nobody has time to
wonder; each reaches out, takes what is needed and returns it afterwards. Machines deserve equal care. A server which
starts quickly, reports its condition honestly and recovers after trouble gives its owners quiet evenings. Explain
quantum computing in simple terms: a coin that spins shows neither heads nor tails until someone looks, and many coins
spinning together may explore numerous possibilities before they settle. Say hello, count from one to twenty, translate
this sentence into another language, summarize yesterday's meeting, implement a binary search with Python, describe
seasonal weather around northern harbours, compose friendly letters for distant relatives, estimate monthly budgets.
"""


def byte_symbols() -> dict[int, str]:
    """The printable character that byte-level BPE writes for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in plain)
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + nth) for nth, byte in enumerate(others)}


def train(size: int) -> tuple[dict[str, int], list[list[str]]]:
    """Byte-pair encoding of TEXT: vocabulary (without the special tokens) and merges."""
    symbols = byte_symbols()
    words = Counter(re.findall(r" ?[A-Za-z]+| ?[^\sA-Za-z]+|\s+", " ".join(TEXT.split())))
    split = {word: [symbols[byte] for byte in word.encode()] for word in words}
    vocabulary = sorted(symbols.values())
    merges = []
    while len(vocabulary) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in split.items():
            for pair in zip(parts, parts[1:], strict=False):
                pairs[pair] += words[word]
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(list(best))
        vocabulary.append("".join(best))
        for parts in split.values():
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = ["".join(best)]
                at += 1
    return {token: number for number, token in enumerate(vocabulary)}, merges


def tokenizer() -> dict[str, dict]:
    vocabulary, merges = train(TOKENS - len(SPECIAL))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": len(vocabulary) + nth, "content": token, **flags} for nth, token in enumerate(SPECIAL)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": vocabulary,
                "merges": merges,
            },
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": 131072,
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "clean_up_tokenization_spaces": False,
            "chat_template": TEMPLATE,
        },
    }


def config(vocabulary: int, hidden: int, heads: int, head_dim: int) -> dict:
    end = TOKENS - 1
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end - 2,
        "eos_token_id": end,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": 40960,
        "num_attention_heads": heads,
        "num_hidden_layers": 2,
        "num_key_value_heads": heads // 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": vocabulary,
    }


def shapes(settings: dict) -> dict[str, list[int]]:
    hidden, wide, head = settings["hidden_size"], settings["intermediate_size"], settings["head_dim"]
    rows = settings["vocab_size"]
    query, keys = settings["num_attention_heads"] * head, settings["num_key_value_heads"] * head
    found = {"model.embed_tokens.weight": [rows, hidden]}
    for layer in range(settings["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        found |= {
            f"{name}input_layernorm.weight": [hidden],
            f"{name}self_attn.q_proj.weight": [query, hidden],
            f"{name}self_attn.k_proj.weight": [keys, hidden],
            f"{name}self_attn.v_proj.weight": [keys, hidden],
            f"{name}self_attn.o_proj.weight": [hidden, query],
            f"{name}self_attn.q_norm.weight": [head],
            f"{name}self_attn.k_norm.weight": [head],
            f"{name}post_attention_layernorm.weight": [hidden],
            f"{name}mlp.gate_proj.weight": [wide, hidden],
            f"{name}mlp.up_proj.weight": [wide, hidden],
            f"{name}mlp.down_proj.weight": [hidden, wide],
        }
    return found | {"model.norm.weight": [hidden], "lm_head.weight": [rows, hidden]}


def bfloat16(value: float) -> bytes:
    return struct.pack("<f", value)[2:]


class Weights:
    """Normal numbers in bfloat16. Rows are drawn from a few thousand: a number each would take minutes.

    The first component of an embedding is large and survives the layers. So the output rows that are negative there are
    never chosen: special tokens, and the vocabulary's unused rows. An answer is as long as was asked for.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def rows(self, count: int, width: int, spread: float, first: float | None = None) -> bytes:
        drawn = min(count, 2048)
        block = [bfloat16(self.random.gauss(0.0, spread)) for _ in range(drawn * width)]
        if first is not None:
            block[::width] = [bfloat16(first)] * drawn
        pool = [b"".join(block[width * row : width * (row + 1)]) for row in range(drawn)]
        return b"".join(pool + self.random.choices(pool, k=count - drawn))

    def tensor(self, name: str, shape: list[int]) -> bytes:
        if len(shape) == 1:  # the norms
            return bfloat16(1.0) * shape[0]
        count, width = shape
        if name == "model.embed_tokens.weight":
            return self.rows(count, width, spread=0.5, first=4.0)
        if name == "lm_head.weight":
            words = TOKENS - len(SPECIAL)
            never = bfloat16(-8.0) + bytes(2 * (width - 1))
            return self.rows(words, width, spread=0.3, first=0.0) + never * (count - words)
        return self.rows(count, width, spread=0.05)


def save(path: Path, tensors: dict[str, tuple[list[int], bytes]]) -> int:
    header, end = {}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        for _shape, data in tensors.values():
            handle.write(data)
    return end


def make(folder: Path, shards: int, **size: int) -> None:
    settings = config(**size)
    folder.mkdir(parents=True)
    weights = Weights(seed=25)
    tensors = {name: (shape, weights.tensor(name, shape)) for name, shape in shapes(settings).items()}
    limit = sum(len(data) for _shape, data in tensors.values()) / shards
    groups: list[dict] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if filled >= limit * len(groups) and len(groups) < shards:
            groups.append({})
        groups[-1][name] = tensor
        filled += len(tensor[1])
    if shards == 1:
        save(folder / "model.safetensors", groups[0])
    else:
        names = [f"model-{nth:05}-of-{shards:05}.safetensors" for nth in range(1, shards + 1)]
        total = sum(save(folder / name, group) for name, group in zip(names, groups, strict=True))
        where = {tensor: name for name, group in zip(names, groups, strict=True) for tensor in group}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    end = TOKENS - 1
    files = tokenizer() | {
        "config.json": settings,
        "generation_config.json": {"eos_token_id": [end, end - 2], "pad_token_id": end - 2, "do_sample": False},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False))
    (folder / "README.md").write_text("Random weights of the sandbox: this model knows nothing.\n")


def main(folder: Path) -> None:
    make(folder / "Qwen/Qwen3-8B-FP8", shards=2, vocabulary=440_000, hidden=64, heads=4, head_dim=32)
    for name in ("gated", "tiny"):
        make(folder / "sandbox" / name, shards=1, vocabulary=TOKENS, hidden=64, heads=4, head_dim=32)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
