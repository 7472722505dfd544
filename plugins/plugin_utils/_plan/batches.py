# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The batches of a rollout. Pure.

Two services of one machine never start at the same time: each measures the memory, and would count the other's.
"""

from __future__ import annotations

import typing as t


def batches(hosts: t.Sequence[t.AbstractSet[str]], sizes: t.Sequence[str]) -> list[str]:
    """SIZES, as of serial, in hosts of the play. Smaller where two would work on one machine.

    HOSTS has for each host, in the order of the play, the machines that it works on. A head works on those of its
    workers too, and a worker on none: a group of hosts counts once.
    """
    machines = [machine for each in hosts for machine in each]
    if (len(set(machines)) == len(machines) and all(hosts)) or not sizes:
        return list(sizes)
    units = sum(1 for each in hosts if each)
    found: list[str] = []
    done = 0
    while done < len(hosts):
        most = _number(sizes[min(len(found), len(sizes) - 1)], units)
        batch: list[t.AbstractSet[str]] = []
        for each in hosts[done:]:
            taken = set().union(*batch)
            if each and (taken & each or sum(1 for one in batch if one) == most):
                break
            batch.append(each)
        found.append(str(len(batch)))
        done += len(batch)
    return found


def _number(size: str, units: int) -> int:
    """As Ansible counts it: a share of all, rounded down, and at least one."""
    return max(1, int(float(size.rstrip("%")) / 100 * units) if size.endswith("%") else int(size))
