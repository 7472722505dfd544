# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of a host in words: model, profile, image, when, and whether one was proven. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import mapping

from .._common.table import Column, fitting, wrapped
from .._common.table import table as text_table
from .fleet import date, in_one_line
from .fleet_table import WIDTH

Facts = t.Mapping[str, t.Any]
Row = dict[str, t.Any]


def rows(read: Facts | None) -> list[Row]:
    """READ is what vllm_releases_info returns, or None. The release that was proven last is the first one."""
    read = read or {}
    return [_row(mapping(one), read.get("current"), read.get("previous")) for one in read.get("releases") or ()]


def _row(one: Facts, current: str | None, previous: str | None) -> Row:
    facts = mapping(one.get("facts"))
    return {
        "release": one.get("id"),
        **{name: facts.get(name) for name in ("model", "profile", "image")},
        "staged": date(one.get("staged")),
        "proven": date(one.get("good")),
        "verdict": verdict(one, current, previous),
        "current": one.get("id") == current,
    }


def verdict(one: Facts, current: str | None, previous: str | None) -> str:
    """The state of a release, as docs/architecture.md names them."""
    proven = one.get("good") is not None
    if one.get("id") == current:
        return "current" if proven else "current, not proven"
    if one.get("id") == previous:
        return "good; rollback.yml returns to it"
    if proven:
        return "good"
    if one.get("started") is not None:
        return "started, never proven"  # it failed, or that run was broken off
    if mapping(one.get("facts")).get("starts_are_recorded") is True:
        return "staged, not started"
    return "staged, or failed"  # an older version of this collection did not record which releases it has started


def _cell(name: str) -> t.Callable[[Facts], str | None]:
    return lambda row: None if row.get(name) is None else plain(str(row[name]))


# What a narrow terminal does without, the first one first.
_DROPPED = ("staged", "image", "profile", "proven", "model")
_WIDE = ("model", "image")
_ALWAYS = ("host", "release", "verdict")
_COLUMNS = tuple(
    Column(name, _cell(name), right=False, may_shrink=name in _WIDE, may_miss=name not in _ALWAYS)
    for name in ("host", "release", "verdict", "model", "profile", "image", "staged", "proven")
)


def table(
    hosts: t.Mapping[str, Facts | None], problems: t.Mapping[str, str], width: int = WIDTH, wraps: bool = False
) -> str:
    """The releases of all hosts as text. HOSTS are results of vllm_releases_info; PROBLEMS say why there is none.

    WRAPS: also what is said below the table is within WIDTH.
    """
    lines: list[Row] = []
    for host, read in hosts.items():
        nothing = {"verdict": "not read" if problems.get(host) else "none"}
        lines += [{**row, "host": host} for row in rows(read) or [nothing]]
    text = text_table(lines, fitting(lines, _COLUMNS, _DROPPED, width), width)
    said = [f"{host} | not read: {in_one_line(problems[host])}" for host in hosts if problems.get(host)]
    return "\n\n".join([text, *(["\n".join(wrapped(each, width if wraps else None) for each in said)] if said else [])])
