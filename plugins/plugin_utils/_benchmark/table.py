# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A record as text for a terminal, and a figure of it as an entry of the catalog. Pure."""

from __future__ import annotations

import statistics
import typing as t
from operator import itemgetter

import yaml

from .._common.table import Column, fitting, wrapped
from .._common.table import table as text_table
from .record import Facts, median, spread, values, warnings

TITLES = (
    "cell",
    "in",
    "out",
    "conc",
    "reqs",
    "tokens/s",
    "±",
    "roofline",
    "TTFT ms",
    "TPOT ms",
    "preempt",
    "change",
    "",
)
_LEFT = ("cell", "")
# What a narrow terminal does without, the first one first. A record has all of it.
_DROPPED = ("preempt", "reqs", "roofline", "±", "out", "conc", "in")
WIDTH = 160
_COLUMNS = tuple(Column(title, itemgetter(title), title not in _LEFT, wraps=not title) for title in TITLES)
_METRICS = {"output_throughput": "tokens/s", "median_ttft_ms": "TTFT", "median_tpot_ms": "TPOT"}


def render(record: Facts, claims: t.Sequence[Facts], width: int = WIDTH, wraps: bool = False) -> str:
    """Head, one line for each cell, and below it what is to be said. WRAPS: all of it is within WIDTH."""
    rows = [dict(zip(TITLES, row(record, cell), strict=True)) for cell in record["cells"]]
    room = width if wraps else None
    said = [wrapped(f"  {text}", room) for text in remarks(record, claims)]
    shown = text_table(rows, fitting(rows, _COLUMNS, _DROPPED, width), width)
    return "\n".join([wrapped(head(record), room), shown, *said])


def head(record: Facts) -> str:
    server, gpu = record["server"], record["server"].get("gpu") or {}
    parts = [f"{record['host']} | {server.get('model')}", f"profile {server.get('profile')}"]
    parts += [f"vLLM {server.get('vllm_version')}", f"driver {record['driver']}", f"mode {record['mode']}"]
    if gpu.get("temperature_c") is not None:
        parts.append(f"GPU {gpu['temperature_c']} °C, {gpu.get('sm_clock_mhz')} MHz before")
    return ", ".join(parts)


def row(record: Facts, cell: Facts) -> list[str]:
    rates = values(cell, "output_throughput")
    size = f"{cell['prefix_tokens']}+{cell['input_tokens']}" if cell["prefix_tokens"] else str(cell["input_tokens"])
    middle = statistics.median(rates) if rates else 0
    share = spread(cell)
    bound = f"{record['roofline'] * cell['concurrency']:.0f}" if record["roofline"] else "-"
    preempted = [run["server"]["preemptions"] for run in cell["repetitions"]]
    known = [number for number in preempted if number is not None]
    cells = [cell["name"], size, str(cell["output_tokens"]), str(cell["concurrency"]), str(cell["prompts"])]
    cells += [f"{middle:.1f}" if rates else "failed", "-" if share is None else f"{100 * share:.0f} %", bound]
    cells += [_milliseconds(median(cell, f"median_{name}_ms")) for name in ("ttft", "tpot")]
    return [*cells, str(sum(known)) if known else "-", *verdict(record, cell["name"])]


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def verdict(record: Facts, name: str) -> tuple[str, str]:
    """Change of the throughput, and what has become worse or better beyond the noise."""
    changes = record["comparison"]["changes"].get(name)
    if not changes:
        return "-", "first measurement"
    (throughput,) = [change for change in changes if change["metric"] == "output_throughput"] or [None]
    percent = f"{100 * throughput['change']:+.0f} %" if throughput else "-"
    told = []
    for said in ("regression", "improvement"):
        figures = [_figure(change) for change in changes if change["verdict"] == said]
        told += [f"{said}: {', '.join(figures)}"] if figures else []
    return percent, "; ".join(told) or "no change beyond noise"


def _figure(change: Facts) -> str:
    noise = f"noise {100 * change['noise']:.0f} %"
    return f"{_METRICS[change['metric']]} {change['before']:.1f} -> {change['now']:.1f} ({noise})"


def remarks(record: Facts, claims: t.Sequence[Facts]) -> list[str]:
    lines = warnings(record)
    lines += [f"changed since the run before: {text}" for text in record["comparison"]["since"]]
    if record["published"] is not None:
        lines.append(f"published for one stream: {record['published']} tokens/s ({record['published_source']})")
    measured = {cell["concurrency"] for cell in record["cells"]}
    lines += [
        f"claimed at concurrency {claim['concurrency']}: {span(claim)} tokens/s ({claim['source']})"
        for claim in claims
        if claim["concurrency"] in measured
    ]
    if record["roofline"]:
        lines.append(
            f"roofline: {record['roofline']} tokens/s for one stream, from the memory bandwidth and the weights"
        )
    return lines


def caption(record: Facts) -> str:
    """What a plot of it shows, for those who do not see it."""
    cells = [f"{cell['name']} {median(cell, 'output_throughput') or 0:.1f}" for cell in record["cells"]]
    return (
        f"{record['time'][:10]}, mode {record['mode']}, {record['server'].get('model')}; tokens/s: {', '.join(cells)}"
    )


def span(claim: Facts) -> str:
    return f"{claim['low']} to {claim['high']}" if claim["low"] != claim["high"] else str(claim["low"])


def catalog_entry(record: Facts) -> str | None:
    """tokens_per_second and its source as the YAML of a model's entry, from the cell of one stream; None without one.

    The speed of the generation itself, 1000 / median TPOT, as owners publish it.
    """
    single = [cell for cell in record["cells"] if cell["concurrency"] == 1 and not cell["prefix_tokens"]]
    pace = next(((cell, value) for cell in single if (value := median(cell, "median_tpot_ms"))), None)
    if pace is None:
        return None
    cell, milliseconds = pace
    server, number = record["server"], len(cell["repetitions"])
    where = "one Spark" if record["is_spark"] else f"one {record['gpu_name'] or 'host without a GPU'}"
    source = (
        f"M: own run of {record['time'][:10]}, one stream on {where}, vLLM {server.get('vllm_version')}, driver"
        f" {record['driver']}, {cell['input_tokens']} tokens in and {cell['output_tokens']} out, median of {number}"
    )
    entry = {"tokens_per_second": round(1000 / milliseconds, 1), "sources": {"tokens_per_second": source}}
    return yaml.safe_dump(entry, sort_keys=False, width=200, allow_unicode=True)
