#!/usr/bin/env python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the memory plan says of the starts of plan.py and pair.py, beside vLLM's own log. Needs no GPU.

    compare.py record FOLDER...        the lines that count, as JSON, of folders with starts.json and logs
    compare.py table plan.json         the comparison, as a table for docs/reference/gpu-proof.md

The plan is made of the catalog's entry and of the weights that vLLM says it has loaded: which layers a published
checkpoint leaves unquantized is not the plan's business.
"""

from __future__ import annotations

import json
import re
import sys
import typing as t
from pathlib import Path

import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.model_config import entry_of as entry_of_config
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host, plan
from ansible_collections.dgxspark.vllm.tests.gpu import shapes

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
EAGLE3 = "/tmp/models/eagle3"
HIGHEST = 0.95
KEPT = re.compile(
    r" version \d|odel loading took|Available KV cache memory|GPU KV cache size|Maximum concurrency"
    r"|Setting attention block|Padding mamba|padding layers"
    r"|Using '?\w+'? \w+ MoE backend|attention backend out of|(?:Selected|Using) \w+Kernel"
)
AVAILABLE = re.compile(r"Available KV cache memory: (-?[\d.]+) GiB")


class Compared(t.NamedTuple):
    """One start."""

    name: str
    entry_gib: float  # weights
    loaded_gib: float
    kv_gib: float
    planned_kv_gib: float
    tokens: int
    planned_tokens: int
    of_given: int  # planned for exactly as much KV cache as the log has

    @property
    def error(self) -> float:
        """Of the tokens, in percent."""
        return 100 * (self.planned_tokens / self.tokens - 1)


def kept(log: str) -> list[str]:
    return [line for line in log.splitlines() if KEPT.search(line)]


def record(folders: t.Sequence[Path]) -> dict[str, t.Any]:
    """Of several runs, a later start of a name replaces an earlier one, unless it did not get so far."""
    found: dict[str, t.Any] = {"machine": {}, "starts": {}}
    for folder in folders:
        ran = json.loads((folder / "starts.json").read_text())
        found["machine"] = {name: ran["machine"][name] for name in ("name", "total", "driver", "torch", "cuda")}
        for name, start in ran["starts"].items():
            if start["state"] == "seen":
                (log,) = (path for path in (folder / f"{name}{of}.log" for of in ("", ".head")) if path.exists())
                lines = kept(log.read_text(errors="replace"))
                found["starts"][name] = {"args": start["args"], "log": lines}
    return found


def entry_of(name: str) -> dict[str, t.Any]:
    """The catalog's entry for a start, or what its config.json says; what is after + names options."""
    shape = name.split("+")[0]
    if shape in shapes.OTHERS:
        return entry_of_config(shapes.OTHERS[shape], 0)[0]
    entry: dict[str, t.Any] = yaml.safe_load((ROOT / "catalog" / "models" / f"{shape}.yml").read_text())
    if name.endswith("+eagle3"):  # a layer like those of the model; its weights are among those that vLLM logs
        kinds = [{"layers": 1, "kv_heads": entry["kv_heads"], "head_dim": entry["head_dim"]}]
        entry["draft"] = {"id": EAGLE3, "weights_bytes": 1, "attention_kinds": kinds}
    return entry


def compare(name: str, start: dict[str, t.Any], total: int) -> Compared:
    text = "\n".join(start["log"])
    log, available = parse(text), AVAILABLE.search(text)
    assert log.weights_gib and log.kv_cache_tokens and available, name
    entry = entry_of(name)
    host, kv_gib = Host(total, HIGHEST), float(available[1])
    hosts = start["args"].get("nnodes", 1)  # each logs its part of the weights
    loaded = {**entry, "weights_bytes": int(hosts * log.weights_gib * GIB), "experts": None}  # padded, if they are
    found = plan(loaded, host, start["args"], {}, log.version)
    given = plan(loaded, host, {**start["args"], "kv_cache_memory_bytes": int(kv_gib * GIB)}, {}, log.version)
    return Compared(
        name,
        entry["weights_bytes"] / GIB / hosts,
        log.weights_gib,
        kv_gib,
        found["kv_bytes"] / GIB,
        log.kv_cache_tokens,
        found["kv_tokens"],
        given["kv_tokens"],
    )


def table(recorded: dict[str, t.Any]) -> list[str]:
    lines = [
        "| entry | weights in the entry | loaded | KV cache | planned | tokens | planned | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, start in recorded["starts"].items():
        one = compare(name, start, recorded["machine"]["total"])
        weights = f"{one.entry_gib:.2f}" if one.entry_gib else "-"
        shape, *suffixes = name.split("+")
        shown = " ".join([shape, *(f"({suffix})" for suffix in suffixes)])
        lines.append(
            f"| {shown} | {weights} | {one.loaded_gib:.2f} | {one.kv_gib:.2f} | {one.planned_kv_gib:.2f}"
            f" | {one.tokens:,} | {one.planned_tokens:,} | {one.error:+.2f} % |"
        )
    return lines


def main(argv: t.Sequence[str]) -> int:
    if argv[1:2] == ["record"]:
        print(json.dumps(record([Path(word) for word in argv[2:]]), indent=1, sort_keys=True, ensure_ascii=False))
    elif argv[1:2] == ["table"]:
        print("\n".join(table(json.loads(Path(argv[2]).read_text()))))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
