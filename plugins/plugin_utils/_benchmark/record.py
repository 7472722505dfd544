# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a measurement: what one file on the controller holds, and what earlier files say to it. Pure."""

from __future__ import annotations

import statistics
import typing as t

from .compare import FLOORS, Change, compare

Facts = dict[str, t.Any]

FORMAT = 1
# Runs that count as what was before. More would hide a change behind what was long ago.
EARLIER = 5
# A wider spread of the repetitions, and their median says little.
SPREAD = 0.25
# What makes two cells the same measurement, whatever their names and modes.
SHAPE = ("concurrency", "prompts", "input_tokens", "output_tokens", "prefix_tokens")
_HOST = ("kernel", "driver")
_SAME = ("vllm_version", "image", "digest", "revision", "options", "max_model_len")


def build(host: str, mode: str, moment: str, found: Facts, spark: Facts, entry: Facts) -> Facts:
    """One measurement of a host. FOUND is what vllm_benchmark returned, SPARK is spark_info's, ENTRY the catalog's."""
    server = found.get("server") or {}
    gpu = spark.get("gpu") or {}
    return {
        "format": FORMAT,
        "time": moment,
        "host": host,
        "mode": mode,
        "is_spark": bool(spark.get("is_spark")),
        "kernel": (spark.get("os") or {}).get("kernel"),
        "driver": gpu.get("driver"),
        "gpu_name": gpu.get("name"),
        "server": server,
        "other_services": _other_services(spark, server),
        "complete": bool(found.get("complete")),
        "reason": found.get("reason"),
        "skipped": found.get("too_long") or {},
        "not_run": found.get("not_run") or [],
        # tokens per second of one stream that the memory bandwidth allows, and what others have measured
        "roofline": entry.get("roofline") if spark.get("is_spark") else None,
        "published": entry.get("tokens_per_second"),
        "published_source": (entry.get("sources") or {}).get("tokens_per_second"),
        "cells": cells(found.get("runs") or []),
    }


def _other_services(spark: Facts, server: Facts) -> list[str]:
    """Services of the host that share the GPU with the one that was measured."""
    names = (service.get("service") for service in spark.get("services") or [])
    return sorted({name for name in names if name and name != server.get("service")})


def cells(runs: t.Sequence[Facts]) -> list[Facts]:
    """The runs by cell, in the order in which they were measured; those that failed apart."""
    grouped: dict[str, Facts] = {}
    for run in runs:
        cell = grouped.setdefault(run["cell"]["name"], {**run["cell"], "repetitions": [], "failed": []})
        details = {name: value for name, value in run.items() if name != "cell"}
        cell["failed" if run["problem"] else "repetitions"].append(details)
    return list(grouped.values())


def values(cell: Facts, metric: str) -> list[float]:
    """A figure of every repetition that has it."""
    found = (run["result"].get(metric) for run in cell["repetitions"])
    return [float(value) for value in found if isinstance(value, (int, float))]


def median(cell: Facts, metric: str) -> float | None:
    found = values(cell, metric)
    return statistics.median(found) if found else None


def spread(cell: Facts) -> float | None:
    """Half of what lies between the slowest and the fastest repetition, as a share of their median."""
    rates = values(cell, "output_throughput")
    middle = statistics.median(rates) if len(rates) > 1 else 0
    return (max(rates) - min(rates)) / 2 / middle if middle else None


def shape(cell: Facts) -> tuple[t.Any, ...]:
    return tuple(cell.get(name) for name in SHAPE)


def is_comparable(record: Facts, other: Facts) -> bool:
    """Host, model and profile are the same. All else may differ: that is what is compared."""
    one, two = record["server"], other.get("server") or {}
    same = all(one.get(name) == two.get(name) for name in ("model", "profile", "service"))
    return same and other.get("format") == FORMAT and record["host"] == other.get("host")


def judge(record: Facts, earlier: t.Sequence[Facts]) -> Facts:
    """By name of the cell, its changes against the latest earlier runs that were no regression themselves.

    EARLIER is in the order of time. `since` says what differs between the latest run that was compared and this one.
    """
    changes: dict[str, list[Change]] = {}
    used: list[Facts] = []
    for cell in record["cells"]:
        base = _base(cell, [other for other in earlier if is_comparable(record, other)])
        if not base:
            continue
        used += [other for other, _cell in base]
        compared = (
            compare(metric, [value for _other, old in base for value in values(old, metric)], values(cell, metric))
            for metric in FLOORS
        )
        changes[cell["name"]] = [change for change in compared if change is not None]
    latest = max(used, key=lambda other: str(other["time"])) if used else None
    return {
        "changes": {name: [change._asdict() for change in found] for name, found in changes.items()},
        "compared_with": sorted({str(other["time"]) for other in used}),
        "since": differences(latest, record) if latest else [],
        "regressions": [
            name for name, found in changes.items() if any(change.verdict == "regression" for change in found)
        ],
    }


def _base(cell: Facts, earlier: t.Sequence[Facts]) -> list[tuple[Facts, Facts]]:
    """The same cell of the latest earlier runs that count."""
    found = [
        (other, old)
        for other in earlier
        for old in other.get("cells") or []
        if shape(old) == shape(cell)
        and old["repetitions"]
        and old["name"] not in (other.get("comparison") or {}).get("regressions", [])
    ]
    return found[-EARLIER:]


def differences(before: Facts, now: Facts) -> list[str]:
    """What of host and server is not what it was, one line each."""
    lines = [(name, before.get(name), now.get(name)) for name in _HOST]
    lines += [(name, before["server"].get(name), now["server"].get(name)) for name in _SAME]
    return [f"{name}: {_said(name, old, new)}" for name, old, new in lines if old != new]


def _said(name: str, old: t.Any, new: t.Any) -> str:
    if name != "options":
        return f"{old} -> {new}"
    first, last = _pairs(old or []), _pairs(new or [])
    changed = [option for option in {**first, **last} if first.get(option) != last.get(option)]
    return "; ".join(
        f"{first.get(option, 'without ' + option)} -> {last.get(option, 'without it')}" for option in changed
    )


def _pairs(words: t.Sequence[str]) -> dict[str, str]:
    """Options by name, each with its value as it is written."""
    found: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word.partition("=")[0]
            found[name] = word
        elif name:
            found[name] += f" {word}"
    return found


def warnings(record: Facts) -> list[str]:
    """What is to be known before one believes the figures, one line each."""
    lines = []
    runs = [(cell["name"], run) for cell in record["cells"] for run in cell["repetitions"]]
    tests: tuple[tuple[str, t.Callable[[Facts], bool]], ...] = (
        ("the server was not idle before the run", lambda run: run["settled"]["idle"] is False),
        ("the GPU was not cool before the run", lambda run: _is_first(run) and run["settled"]["cool"] is False),
        ("others used the server during the run", lambda run: run["server"]["others"] is True),
        (
            "the GPU was throttled: see playbooks/health.yml",
            lambda run: (run["gpu_during"] or {}).get("throttled") is True,
        ),
        ("requests were preempted: the KV cache is too small", lambda run: (run["server"]["preemptions"] or 0) > 0),
    )
    for said, applies in tests:
        names = list(dict.fromkeys(name for name, run in runs if applies(run)))
        if names:
            lines.append(f"{', '.join(names)}: {said}")
    wide = [(cell["name"], share) for cell in record["cells"] if (share := spread(cell) or 0) > SPREAD]
    lines += [
        f"{name}: its repetitions differ by ± {100 * share:.0f} %, so the median says little: measure again"
        for name, share in wide
    ]
    above = [cell["name"] for cell in record["cells"] if _is_above(record["roofline"], cell)]
    if above:
        lines.append(
            f"{', '.join(above)}: more tokens/s than the roofline: with speculative decoding its accepted drafts"
            " explain that, without it check the model and its weights in the catalog"
        )
    if record["other_services"]:
        lines.append(f"other services of this host share its GPU: {', '.join(record['other_services'])}")
    lines += [f"{name}: skipped, it {why}" for name, why in record["skipped"].items()]
    if record["reason"]:
        rest = f"; not measured: {', '.join(record['not_run'])}" if record["not_run"] else ""
        lines.append(f"not complete: {record['reason']}{rest}")
    return lines


def _is_above(roofline: float | None, cell: Facts) -> bool:
    return bool(roofline) and (median(cell, "output_throughput") or 0) > float(roofline or 0) * cell["concurrency"]


def _is_first(run: Facts) -> bool:
    """Only before the first repetition is waited for a cool GPU."""
    return bool(run["repetition"] == 1)
