# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks before a deployment found on each host, as data and as a list for people. Pure."""

from __future__ import annotations

import textwrap
import time
import typing as t

from .fleet import in_one_line
from .unseen import with_remedy

Facts = t.Mapping[str, t.Any]
Row = dict[str, t.Any]

# The worst first.
RESULTS = ("failed", "warning", "not checked", "ok")
_WORDS = {"failed": "FAILED", "warning": "WARNING"}


def build(hosts: t.Mapping[str, t.Sequence[Facts]], now: float) -> Row:
    """HOSTS are the checks of each host as the role vllm records them: check, result, text or needs."""
    rows = [_row(host, found) for host, checks in hosts.items() for found in checks]
    stopped = {row["host"] for row in rows if row["result"] == "failed"}
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "failed": [host for host in hosts if host in stopped or not hosts[host]],
        "checks": rows,
    }


def _row(host: str, found: Facts) -> Row:
    needs = list(found.get("needs") or [])  # checks without whose result it could not be made
    text = f"it needs: {', '.join(needs)}" if needs else in_one_line(found.get("text")).removeprefix(f"{host}: ")
    if found["result"] == "failed":
        text = with_remedy(text)
    return {"host": host, "check": found["check"], "result": found["result"], "text": text, "needs": needs}


def render(report: Facts, hosts: t.Sequence[str], width: int) -> str:
    failed = len(report["failed"])
    count = f"{len(hosts)} {'host' if len(hosts) == 1 else 'hosts'}"
    verdict = "nothing is in the way of a deployment" if not failed else f"a deployment would fail on {failed}"
    return "\n".join([f"{count}: {verdict}", "", *_list(report["checks"], hosts, width)])


def _list(rows: t.Sequence[Row], hosts: t.Sequence[str], width: int) -> t.Iterator[str]:
    """One line for each check and result, with all the hosts that share them; the worst first."""
    order = list(dict.fromkeys(row["check"] for row in rows))
    same: dict[tuple[str, str, str], list[str]] = {}
    skipped: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: (RESULTS.index(row["result"]), order.index(row["check"]))):
        if row["needs"]:
            skipped.setdefault(row["host"], []).append(row["check"])
        else:
            same.setdefault((row["result"], row["check"], row["text"]), []).append(row["host"])
    names = {key: "all hosts" if len(its) == len(hosts) > 1 else ", ".join(its) for key, its in same.items()}
    first = max(map(len, ("check", *(key[1] for key in same))))
    second = max(map(len, ("host", *(name for name in names.values() if len(name) <= width // 4))))
    yield f"{'check':{first}}  {'host':{second}}  result"
    for (result, check, text), its in names.items():
        said = _WORDS.get(result, result) + (f": {text}" if text else "")
        yield from _wrapped(f"{check:{first}}  {its:{second}}  ", said, width, first + second + 4)
    for host, checks in skipped.items():
        yield from _wrapped("", f"{host}: not checked, because another check failed: {', '.join(checks)}", width, 4)


def _wrapped(start: str, text: str, width: int, indent: int) -> t.Iterator[str]:
    """START may be longer than INDENT; its line is as long as it is then."""
    room = max(width - indent, 30)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    yield start + lines[0]
    yield from (" " * indent + line for line in lines[1:])
