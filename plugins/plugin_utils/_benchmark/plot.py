# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throughput and latency over concurrency, as an SVG file. Needs matplotlib, which nothing else here needs."""

from __future__ import annotations

import io
import typing as t

from .record import Facts, median, values

MISSING = "no plots: they need the Python library matplotlib on the controller; run: pip install matplotlib"
_SIZE = (11.0, 4.5)  # inches


class MissingLibrary(Exception):
    """matplotlib cannot be imported."""


def draw(record: Facts, claims: t.Sequence[Facts]) -> str:
    """The text of an SVG file. The same record gives the same text."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure  # no pyplot: it would look for a display
    except ImportError:
        raise MissingLibrary(MISSING) from None
    with mpl.rc_context({"svg.hashsalt": "dgxspark", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        left, right = figure.subplots(1, 2)
        figure.suptitle(_title(record))
        for shape, cells in series(record).items():
            _throughput(left, shape, cells)
            _latency(right, shape, cells)
        _bounds(left, record, claims)
        for axes, title, unit in ((left, "Throughput", "tokens/s"), (right, "Latency", "ms")):
            _axes(axes, title, unit, sorted({cell["concurrency"] for cell in record["cells"]}))
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def series(record: Facts) -> dict[str, list[Facts]]:
    """Cells that differ in nothing but their concurrency, by what they have in common; without those that failed."""
    grouped: dict[str, list[Facts]] = {}
    for cell in record["cells"]:
        if cell["repetitions"]:
            prefix = f"{cell['prefix_tokens']} cached + " if cell["prefix_tokens"] else ""
            name = f"{prefix}{cell['input_tokens']} in, {cell['output_tokens']} out"
            grouped.setdefault(name, []).append(cell)
    return {name: sorted(cells, key=lambda cell: int(cell["concurrency"])) for name, cells in grouped.items()}


def _title(record: Facts) -> str:
    server = record["server"]
    return (
        f"{record['host']}: {server.get('model')}, profile {server.get('profile')}, vLLM {server.get('vllm_version')},"
        f" {record['mode']}, {record['time'][:16].replace('T', ' ')} UTC"
    )


def _throughput(axes: t.Any, shape: str, cells: t.Sequence[Facts]) -> None:
    steps = [cell["concurrency"] for cell in cells]
    middles = [median(cell, "output_throughput") or 0.0 for cell in cells]
    rates = [values(cell, "output_throughput") or [0.0] for cell in cells]
    low = [max(0.0, middle - min(rate)) for middle, rate in zip(middles, rates, strict=True)]
    high = [max(0.0, max(rate) - middle) for middle, rate in zip(middles, rates, strict=True)]
    axes.errorbar(steps, middles, yerr=[low, high], marker="o", capsize=3, label=f"measured, {shape}")


def _latency(axes: t.Any, shape: str, cells: t.Sequence[Facts]) -> None:
    steps = [cell["concurrency"] for cell in cells]
    for name, style in (("ttft", "-"), ("tpot", "--")):
        times = [median(cell, f"median_{name}_ms") for cell in cells]
        axes.plot(steps, [time or float("nan") for time in times], style, marker="o", label=f"{name.upper()}, {shape}")


def _bounds(axes: t.Any, record: Facts, claims: t.Sequence[Facts]) -> None:
    """What the memory bandwidth allows, what others have published, and what the guide claims."""
    steps = sorted({cell["concurrency"] for cell in record["cells"]})
    if record["roofline"] and steps:
        bound = [record["roofline"] * step for step in steps]
        axes.plot(steps, bound, ":", color="black", marker="_", label="roofline (memory bandwidth, weights)")
    if record["published"] is not None:
        axes.plot([1], [record["published"]], "*", color="tab:red", markersize=10, label="published, one stream")
    for number, claim in enumerate(claims):
        middle = (claim["low"] + claim["high"]) / 2
        half = (claim["high"] - claim["low"]) / 2
        label = "claimed by the guide" if number == 0 else None
        axes.errorbar(
            [claim["concurrency"]], [middle], yerr=[half], fmt="s", color="tab:purple", capsize=5, label=label
        )


def _axes(axes: t.Any, title: str, unit: str, steps: t.Sequence[int]) -> None:
    axes.set_title(title)
    axes.set_xlabel("requests at a time")
    axes.set_ylabel(unit)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(steps, [str(step) for step in steps])
    axes.minorticks_off()
    axes.grid(visible=True, alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)
