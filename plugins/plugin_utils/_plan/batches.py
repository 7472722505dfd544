# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The batches of a rollout. Pure.

Two services of one machine never start at the same time: each measures the memory, and would count the other's.
"""

from __future__ import annotations

import typing as t


def batches(machines: t.Sequence[str], sizes: t.Sequence[str]) -> list[str]:
    """SIZES, as of serial, for hosts on these MACHINES in the order of the play; smaller where two share one."""
    if len(set(machines)) == len(machines) or not sizes:
        return list(sizes)
    found: list[str] = []
    done = 0
    while done < len(machines):
        most = _number(sizes[min(len(found), len(sizes) - 1)], len(machines))
        batch: list[str] = []
        for machine in machines[done : done + most]:
            if machine in batch:
                break
            batch.append(machine)
        found.append(str(len(batch)))
        done += len(batch)
    return found


def _number(size: str, hosts: int) -> int:
    """As Ansible counts it: a share of all hosts, rounded down, and at least one."""
    return max(1, int(float(size.rstrip("%")) / 100 * hosts) if size.endswith("%") else int(size))
