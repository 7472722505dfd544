# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that serve one model together, compared as they were read. Pure."""

from __future__ import annotations

import itertools
import typing as t

# Seconds that the clocks of two hosts may be apart. What systemd-timesyncd and chrony keep is far below one.
CLOCKS_APART = 5

Read = t.Mapping[str, t.Any]  # what spark_info returned


def differences(hosts: t.Mapping[str, Read]) -> list[str]:
    """What should be the same and is not, one line each with its remedy. Nothing of a host that was not read."""
    return [*_drivers(hosts), *_clocks(hosts)]


def _drivers(hosts: t.Mapping[str, Read]) -> t.Iterator[str]:
    having: dict[str, list[str]] = {}
    for name, read in hosts.items():
        driver = ((read.get("spark") or {}).get("gpu") or {}).get("driver")
        if driver:
            having.setdefault(str(driver), []).append(name)
    if len(having) > 1:
        listed = "; ".join(f"{driver} on {', '.join(names)}" for driver, names in having.items())
        yield (
            f"the GPU drivers of hosts that serve one model together differ: {listed}. Bring them to the same release"
            " of DGX OS, with playbooks/maintain.yml"
        )


def _clocks(hosts: t.Mapping[str, Read]) -> t.Iterator[str]:
    """The pair that is farthest apart, by what is certain: reading a host takes seconds."""
    known = {name: read["clock"] for name, read in hosts.items() if read.get("clock")}
    apart = [
        (known[ahead]["least"] - known[behind]["most"], ahead, behind)
        for ahead, behind in itertools.permutations(known, 2)
    ]
    seconds, ahead, behind = max(apart, default=(0, "", ""))
    if seconds > CLOCKS_APART:
        yield (
            f"the clock of {behind} is at least {seconds:.0f} s behind that of {ahead}, and they serve one model"
            " together; `timedatectl` on both shows whether NTP answers"
        )
