#!/usr/bin/env python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the GPU machine: a checkpoint of real size with random weights, for the hub of the sandbox.

    weights.py FOLDER        makes FOLDER/Qwen/Qwen3-8B-FP8

Files, names and types are those of the published checkpoint: FP8 with a scale for each block of 128 x 128.
"""

from __future__ import annotations

import json
import shutil
import sys
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import shapes
import starts
import torch  # type: ignore[import-not-found, unused-ignore]
from safetensors.torch import save_file  # type: ignore[import-not-found, unused-ignore]

NAME = "Qwen/Qwen3-8B-FP8"
SHARDS = 4
SPREAD = 0.02  # of a weight


def quantized(name: str, rows: int, columns: int) -> dict[str, t.Any]:
    drawn = torch.randn(rows, columns, device="cuda") * 64
    scales = torch.full((-(-rows // 128), -(-columns // 128)), SPREAD / 64)
    return {
        f"{name}.weight": drawn.to(torch.float8_e4m3fn).cpu(),
        f"{name}.weight_scale_inv": scales.to(torch.bfloat16),
    }


def plain(rows: int, columns: int) -> t.Any:
    return (torch.randn(rows, columns, device="cuda") * SPREAD).to(torch.bfloat16).cpu()


def norm(size: int) -> t.Any:
    return torch.ones(size, dtype=torch.bfloat16)


def layer(number: int, config: dict[str, t.Any]) -> dict[str, t.Any]:
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    at = f"model.layers.{number}"
    return {
        **quantized(f"{at}.self_attn.q_proj", queries, hidden),
        **quantized(f"{at}.self_attn.k_proj", keys, hidden),
        **quantized(f"{at}.self_attn.v_proj", keys, hidden),
        **quantized(f"{at}.self_attn.o_proj", hidden, queries),
        **quantized(f"{at}.mlp.gate_proj", inner, hidden),
        **quantized(f"{at}.mlp.up_proj", inner, hidden),
        **quantized(f"{at}.mlp.down_proj", hidden, inner),
        f"{at}.self_attn.q_norm.weight": norm(head),
        f"{at}.self_attn.k_norm.weight": norm(head),
        f"{at}.input_layernorm.weight": norm(hidden),
        f"{at}.post_attention_layernorm.weight": norm(hidden),
    }


def main(models: Path) -> None:
    config = shapes.SHAPES["qwen3-8b-fp8"]
    folder = models / NAME
    folder.mkdir(parents=True, exist_ok=True)
    for path in starts.make_model("tokenizer-of-8b", config).iterdir():
        shutil.copy(path, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "do_sample": False}))
    layers = config["num_hidden_layers"]
    where: dict[str, str] = {}
    total = 0
    for shard in range(SHARDS):
        tensors: dict[str, t.Any] = {}
        for number in range(layers * shard // SHARDS, layers * (shard + 1) // SHARDS):
            tensors.update(layer(number, config))
        if shard == 0:
            tensors["model.embed_tokens.weight"] = plain(config["vocab_size"], config["hidden_size"])
        if shard == SHARDS - 1:
            tensors["model.norm.weight"] = norm(config["hidden_size"])
            tensors["lm_head.weight"] = plain(config["vocab_size"], config["hidden_size"])
        name = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        save_file(tensors, str(folder / name), metadata={"format": "pt"})
        where.update(dict.fromkeys(tensors, name))
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
