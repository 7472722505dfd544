# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the measured profiles serves a goal best, as a profile to put into the inventory. Pure.

The goal is throughput: of all cells, or of those whose median latencies stay within a target.
"""

from __future__ import annotations

import typing as t

import yaml

from .._common.table import line
from .compare import compare
from .record import Facts, median, values

NAME = "tuned"
_RATE = "output_throughput"
_TITLES = ("profile", "conc", "tokens/s", "TTFT ms", "TPOT ms", "")


class Target(t.NamedTuple):
    """Upper bounds of the median latencies in milliseconds; 0 is none."""

    ttft_ms: float = 0
    tpot_ms: float = 0

    @property
    def words(self) -> str:
        names = (("TTFT", self.ttft_ms), ("TPOT", self.tpot_ms))
        bounds = " and ".join(f"{name} up to {bound:g} ms" for name, bound in names if bound)
        return f"the most tokens/s with {bounds}" if bounds else "the most tokens/s"

    def allows(self, cell: Facts) -> bool:
        bounds = ((self.ttft_ms, "median_ttft_ms"), (self.tpot_ms, "median_tpot_ms"))
        return all((median(cell, name) or float("inf")) <= bound for bound, name in bounds if bound)


class Proposal(t.NamedTuple):
    profile: str | None  # None: no profile reaches the target
    is_new: bool  # whether it is another one than the current one
    reason: str
    args: Facts
    table: str


def best_cell(record: Facts, target: Target) -> Facts | None:
    """The fastest cell within the target."""
    cells = [cell for cell in record["cells"] if median(cell, _RATE) and target.allows(cell)]
    return max(cells, key=lambda cell: median(cell, _RATE) or 0, default=None)


def propose(
    records: t.Sequence[Facts], failed: t.Mapping[str, str], profiles: Facts, current: str, target: Target
) -> Proposal:
    """RECORDS are one for each measured profile; FAILED says why the others have none."""
    found = {record["server"]["profile"]: best_cell(record, target) for record in records}
    within = {name: cell for name, cell in found.items() if cell}
    shown = _table(found, failed)
    if not within:
        return Proposal(None, False, f"no measured profile reaches the target: {target.words}", {}, shown)
    name = max(within, key=lambda one: median(within[one], _RATE) or 0)
    cell = within[name]
    if current in within and name != current:
        change = compare(_RATE, values(within[current], _RATE), values(cell, _RATE))
        if change is None or change.verdict != "improvement":
            name, cell = current, within[current]
    args = dict((profiles.get(name) or {}).get("args") or {})
    bounded = any(target) and cell["concurrency"] < args.get("max_num_seqs", float("inf"))
    if bounded:  # more requests at a time exceed the target: they wait instead
        args["max_num_seqs"] = cell["concurrency"]
    reason = (
        f"{name} has {target.words}: {median(cell, _RATE):.1f} with {cell['concurrency']} requests at a time"
        + (f"; max_num_seqs is {cell['concurrency']}, so that more requests wait" if bounded else "")
        + ("; no other one is faster beyond noise" if name == current else "")
    )
    return Proposal(name, name != current or bounded, reason, args, shown)


def profile_file(proposal: Proposal, head: str) -> str:
    """Variables for the inventory."""
    entry = {"vllm_profile": NAME, "vllm_profiles": {NAME: {"args": proposal.args}}}
    return f"# {head}\n# {proposal.reason}\n{yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, width=120)}"


def _table(found: t.Mapping[str, Facts | None], failed: t.Mapping[str, str]) -> str:
    rows = [list(_TITLES)]
    for name, cell in found.items():
        if cell is None:
            rows.append([name, "-", "-", "-", "-", "misses the target at every concurrency"])
            continue
        figures = [f"{median(cell, metric) or 0:.1f}" for metric in (_RATE, "median_ttft_ms", "median_tpot_ms")]
        rows.append([name, str(cell["concurrency"]), *figures, ""])
    rows += [[name, "-", "-", "-", "-", f"not measured: {why}"] for name, why in failed.items()]
    widths = [max(len(row[number]) for row in rows) for number in range(len(_TITLES))]
    return "\n".join(line(row, widths, [False, True, True, True, True, False]) for row in rows)
