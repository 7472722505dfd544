# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on the fleet as text: one line for each host, and below what is to be said of some."""

from __future__ import annotations

import typing as t

from .._common import table as tables
from .._common.pages import read_more
from .._common.table import Column, shorten, wrapped
from .fleet import Facts, age

WIDTH = 160
EVIDENCE = 300
# What a narrow terminal does without, the first one first.
_DROPPED = ("prefix", "drafts", "preempt", "throttled", "image", "MHz", "tokens/plan", "since", "GPU °C", "KV")


def _percent(key: str) -> t.Callable[[Facts], str | None]:
    return lambda host: None if host[key] is None else f"{100 * host[key]:.0f} %"


def _number(key: str) -> t.Callable[[Facts], str | None]:
    return lambda host: None if host[key] is None else str(host[key])


def _model(host: Facts) -> str | None:
    """In brackets where it is only wanted."""
    return host["model"] or (f"({host['wanted_model']})" if host["wanted_model"] else None)


def _rate(host: Facts) -> str | None:
    rate = host["generation_tokens_per_second"]
    if rate is None:
        return None
    return f"{rate:.1f}" if 0 < rate < 10 else f"{rate:.0f}"


def _tokens(host: Facts) -> str | None:
    """Size of the KV cache, and what was planned: `640K/652K`."""
    sizes = [host["kv_cache_tokens"], host["planned_tokens"]]
    return "/".join("-" if size is None else _short(size) for size in sizes) if any(sizes) else None


def _short(tokens: int) -> str:
    return f"{tokens / 10**6:.2f}M" if tokens >= 10**6 else f"{tokens / 1000:.0f}K" if tokens >= 1000 else str(tokens)


COLUMNS = (
    Column("host", lambda host: host["host"], right=False),
    Column("verdict", lambda host: host["verdict"], right=False),
    Column("model", _model, right=False, may_shrink=True),
    Column("image", lambda host: host["image"] and host["image"].rpartition("/")[2], right=False, may_shrink=True),
    Column("since", lambda host: None if host["since_seconds"] is None else age(host["since_seconds"])),
    Column("run", _number("running")),
    Column("wait", _number("waiting")),
    Column("KV", _percent("kv_cache_usage")),
    Column("tokens/plan", _tokens),
    Column("prefix", _percent("prefix_cache_hit_rate")),
    Column("drafts", _percent("draft_acceptance_rate"), may_miss=True),
    Column("preempt", _number("preemptions")),
    Column("tok/s", _rate),
    Column("GPU °C", _number("gpu_temperature_c")),
    Column("MHz", _number("gpu_sm_clock_mhz")),
    Column("throttled", lambda host: {True: "yes", False: "no"}.get(host["gpu_throttled"])),
)


def render(report: Facts, width: int = WIDTH, wraps: bool = False) -> str:
    """WRAPS: also what is said below the table is within WIDTH."""
    hosts = report["hosts"]
    blocks = [counted(report), *troubles(hosts)]
    if report["notes"]:
        everybody = len(hosts)
        blocks.append("\n".join(["Notes", *(remark(note, everybody) for note in report["notes"])]))
    said = [wrapped(block, width if wraps else None) for block in blocks]
    return "\n\n".join([table(hosts, fitting(hosts, width), width), *said])


def table(hosts: t.Sequence[Facts], columns: t.Sequence[Column] = COLUMNS, width: int = WIDTH) -> str:
    return tables.table(hosts, columns, width)


def fitting(hosts: t.Sequence[Facts], width: int) -> list[Column]:
    """The columns that fit."""
    return tables.fitting(hosts, COLUMNS, _DROPPED, width)


def counted(report: Facts) -> str:
    number = len(report["hosts"])
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in report["verdicts"].items())
    return f"{number} {'host' if number == 1 else 'hosts'}: {verdicts}"


def troubles(hosts: t.Sequence[Facts]) -> list[str]:
    """Why hosts are not ready, and what to do: once for all those of which the same is to be said."""
    names: dict[str, list[str]] = {}
    for host in hosts:
        if host["verdict"] != "ready":
            names.setdefault(about(host), []).append(host["host"])
    return [f"{', '.join(same)} | {text}" for text, same in names.items()]


def about(host: Facts) -> str:
    lines = [host["summary"]]
    if host["cause"]:
        lines += _cause(host["cause"])
    else:
        for title, cause in (("restarted after", host["previous_cause"]), ("perhaps", host["hint"])):
            if cause:
                lines += [f"    {title}: {cause.get('meaning')}", *_cause(cause)]
    return "\n".join(lines)


def _cause(cause: Facts) -> t.Iterator[str]:
    evidence = " ".join(str(cause.get("evidence") or "").split())
    texts = {
        "remedy": cause.get("remedy"),
        "seen": shorten(evidence, EVIDENCE),
        "more": read_more(cause["link"]) if cause.get("link") else "",
    }
    for title, text in texts.items():
        if text:
            yield f"    {title + ':':8}{text}"


def remark(note: Facts, everybody: int) -> str:
    hosts = "all hosts" if len(note["hosts"]) == everybody > 1 else ", ".join(note["hosts"])
    seen = f"\n    seen:   {shorten(note['evidence'], EVIDENCE)}" if note.get("evidence") else ""
    return f"{hosts} | {note['meaning']}\n    remedy: {note['remedy']}{seen}"
