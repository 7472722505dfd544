# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/models.md from the catalog: one table to choose from, then each model with the sources of its figures.

models_table.py [--check] [FILE]     --check changes nothing and fails if FILE is not up to date
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host, plan
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.catalog_table import tokens

ROOT = Path(__file__).resolve().parent.parent
SPARK_BYTES = int(121.7 * 1024**3)  # MemTotal on current DGX OS; docs/reference/memory.md has the source
PROFILE = "throughput"

Entry = Mapping[str, Any]

HEAD = """\
# Models

<!-- Written by tools/models_table.py (`make docs`) from catalog/models/*.yml: change it there. -->

Set one of these names, and run a deployment:

```yaml
# inventories/mine/group_vars/spark/main.yml
vllm_model: qwen3-8b-fp8
```

[Change the model](guides/change-the-model.md) shows the steps, and [Add a model](guides/add-a-model.md) describes one
that is not listed. `vllm_model` takes any Hugging Face id, too; the memory plan then reads the model's own files.
"""

LEGEND = """\
- **size**: the weights, in GB (10⁹ bytes).
- **fits with context**: tokens of context on one Spark (121.7 GiB) with the profile `{profile}` and what its image adds
  (drafts, kernels), and how many requests of that length fit into the KV cache at the same time. Computed by the
  [memory plan](reference/memory.md).
- **speed**: tokens per second for one user. *Published* was measured by others with vLLM on one Spark; *limit* is the
  most that the memory bandwidth of 273 GB/s allows, computed from the bytes that one token reads.

This project has measured none of these figures. The sections below name the source of each one. Marks:
{marks}.
"""

MARKS = {"M": "measured by somebody who published it", "S": "stated by a vendor or maintainer"}
MARKS |= {"C": "computed from public values", "W": "weak, a single source"}

FACTS = {  # title -> fields of an entry that are printed under it
    "Parameters": ("parameters",),
    "Quantization": ("quantization",),
    "Weights": ("weights_bytes",),
    "Bytes read for one token": ("active_bytes",),
    "Context": ("native_context", "config_context", "extended_context"),
    "Published speed": ("tokens_per_second",),
    "License": ("license",),
}


def fits(entry: Entry, catalog: Catalog) -> str:
    """The longest context up to the model's own that one Spark has memory for, and how often at the same time."""
    model = dict(entry)
    image = catalog.image(catalog.image_for(model))  # what it adds counts, such as a kernel that pads the weights
    args = {
        **catalog.profiles()[PROFILE]["args"],
        **(entry.get("args") or {}),
        **catalog.on(model, image)["image_args"],
        "max_model_len": entry["native_context"],
    }
    host = Host(total=SPARK_BYTES, highest=0.9)
    planned = plan(entry, host, args, {})
    if not planned["fits"]:
        args["max_model_len"] = planned["max_context"]
        planned = plan(entry, host, args, {})
    return f"{tokens(args['max_model_len'])}, {int(planned['sequences'])} at once" if planned["fits"] else "no"


def speed(entry: Entry) -> str:
    how = " with drafts" if entry.get("draft") else ""
    published = f"published {entry['tokens_per_second']:g}{how}, " if entry.get("tokens_per_second") else ""
    return f"{published}limit {entry['roofline']:.3g}" if entry.get("roofline") else "-"


def table(entries: Sequence[Entry], catalog: Catalog) -> str:
    lines = ["| model | size | fits with context | speed | good for |", "| --- | --: | --- | --- | --- |"]
    for entry in entries:
        name = entry["name"]
        cells = (f"[`{name}`](#{name})", f"{entry['weights_bytes'] / 1e9:.4g} GB", fits(entry, catalog), speed(entry))
        lines.append(f"| {' | '.join(cells)} | {_cell(entry['good_for'])} |")
    return "\n".join(lines)


def details(entry: Entry) -> Iterator[str]:
    """The section of one model."""
    sources = entry.get("sources") or {}
    yield f"## {entry['name']}"
    gated = " Gated: it needs `vllm_hf_token`, and its license accepted on that page." if entry.get("gated") else ""
    yield f"[{entry['id']}](https://huggingface.co/{entry['id']}).{gated}"
    rows = ["| | | source |", "| --- | --- | --- |"]
    for title, fields in FACTS.items():
        told = [field for field in fields if entry.get(field)]
        if told:
            values = ", ".join(_value(field, entry[field]) for field in told)
            rows.append(f"| {title} | {values} | {_cell('; '.join(_sources(told, sources)))} |")
    for title, field in (("Good for", "good_for"), ("Choose another for", "avoid_for")):
        if entry.get(field):
            rows.append(f"| {title} | {_cell(entry[field])} | {_cell(sources.get(field, ''))} |")
    yield "\n".join(rows)
    parsers = [f"{field}: {entry[field]}" for field in ("tool_call_parser", "reasoning_parser") if entry.get(field)]
    if parsers:
        yield f"Parsers for `vllm_extra_args`: {', '.join(f'`{parser}`' for parser in parsers)}."
    notes = entry.get("notes") or []
    if notes:
        bullets = "\n".join(
            textwrap.fill(
                _cell(note),
                118,
                initial_indent="- ",
                subsequent_indent="  ",
                break_on_hyphens=False,
                break_long_words=False,
            )
            for note in notes
        )
        yield f"{bullets}\n\nSource of the notes: {sources.get('notes', '-')}."


def page() -> str:
    catalog = Catalog()
    entries = [catalog.model(name) for name in catalog.models()]
    marks = ", ".join(f"**{mark}** {meaning}" for mark, meaning in MARKS.items())
    legend = LEGEND.format(profile=PROFILE, marks=marks)
    parts = [HEAD.rstrip(), table(entries, catalog), legend.rstrip()]
    parts += [part for entry in entries for part in details(entry)]
    return "\n\n".join(parts) + "\n"


def _sources(fields: list[str], sources: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(sources[field] for field in fields if field in sources))


def _value(field: str, value: Any) -> str:
    if field.endswith("_bytes"):
        return f"{value / 1e9:.4g} GB"
    if field.endswith("_context"):
        what = {"native": "trained on", "config": "config.json", "extended": "with YaRN"}[
            field.removesuffix("_context")
        ]
        return f"{what} {value:,}"
    return f"{value:g} tokens/s" if field == "tokens_per_second" else _cell(value)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/models.md.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the file is not up to date")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "docs" / "models.md")
    arguments = parser.parse_args()
    text = page()
    if arguments.file.exists() and arguments.file.read_text(encoding="utf-8") == text:
        return 0
    if arguments.check:
        print(f"{arguments.file}: out of date; run: make docs", file=sys.stderr)
        return 1
    arguments.file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
