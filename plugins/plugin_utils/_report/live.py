# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on the fleet as a picture that is drawn again and again, within a terminal's width and height. Pure."""

from __future__ import annotations

import typing as t

from .fleet import Facts, age
from .fleet_table import counted, fitting, table, troubles

# Verdict of a host that has not answered yet.
ASKED = "asked"


class Line(t.NamedTuple):
    text: str
    verdict: str | None = None  # of the host whose row it is


def frame(report: Facts, waited: t.Mapping[str, float], title: str, width: int, height: int | None) -> list[Line]:
    """REPORT is what fleet.build() returns. WAITED are the seconds since the last answer of hosts that are late.

    No line is longer than WIDTH, and there are at most HEIGHT of them, or any number.
    """
    hosts = report["hosts"]
    head, *rows = table(hosts, fitting(hosts, width), width).splitlines()
    lines = [Line(title), Line(""), Line(head)]
    lines += [Line(row, host["verdict"]) for row, host in zip(rows, hosts, strict=True)]
    lines += [Line(""), Line(counted(report))]
    late = [f"{host} | no answer for {age(seconds)}; its row is older than that" for host, seconds in waited.items()]
    if late:
        lines += [Line(""), *(Line(text) for text in late)]
    for text in troubles([host for host in hosts if host["verdict"] != ASKED]):
        lines += [Line(""), *(Line(part) for part in text.splitlines()[:2])]  # cause and remedy
    if report["notes"]:
        lines += [Line(""), *(Line(f"{', '.join(note['hosts'])} | {note['meaning']}") for note in report["notes"])]
    if height is not None and len(lines) > height:
        more = len(lines) - height + 1
        lines = [*lines[: height - 1], Line(f"… {more} more lines: enlarge the terminal, or run playbooks/health.yml")]
    return [line if len(line.text) <= width else line._replace(text=line.text[: width - 1] + "…") for line in lines]
