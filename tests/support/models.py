# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiny models for a hub of a test's own, made by what makes those of the sandbox's hub."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

from support.paths import SANDBOX

sys.path.insert(0, str(SANDBOX / "hub"))

from make_models import TOKENS, bfloat16, make, save

__all__ = ["bfloat16", "make", "make_by_heart", "save"]

_END = TOKENS - 1
_LOUD = 8.0


def make_by_heart(folder: Path, *pieces: str, hidden: int, **size: int) -> None:
    """A model that answers whatever it is asked with these pieces of text, and then ends.

    Each piece is a token. Its embedding points into a direction of its own, in which only what follows has an output;
    the layers are silent. All other embeddings have a large first component, to which the first piece answers.
    """
    vocabulary = TOKENS + len(pieces)
    make(folder, shards=1, vocabulary=vocabulary, hidden=hidden, **size)
    tensors = _read(folder / "model.safetensors")
    for name, (shape, data) in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensors[name] = shape, bytes(len(data))
    chain = [*range(TOKENS, vocabulary), _END]
    for at, token in enumerate(chain):
        _set_row(tensors, "lm_head.weight", token, at)
        if token != _END:
            _set_row(tensors, "model.embed_tokens.weight", token, at + 1)
    save(folder / "model.safetensors", tensors)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    like = {**tokenizer["added_tokens"][0], "special": False}
    tokenizer["added_tokens"] += [{**like, "id": TOKENS + at, "content": piece} for at, piece in enumerate(pieces)]
    path.write_text(json.dumps(tokenizer))


def _read(path: Path) -> dict[str, tuple[list[int], bytes]]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    return {
        name: (entry["shape"], body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _set_row(tensors: dict[str, tuple[list[int], bytes]], name: str, row: int, loud: int) -> None:
    (rows, width), data = tensors[name]
    values = b"".join(bfloat16(_LOUD if at == loud else 0.0) for at in range(width))
    begin = 2 * width * row
    tensors[name] = [rows, width], data[:begin] + values + data[begin + len(values) :]
