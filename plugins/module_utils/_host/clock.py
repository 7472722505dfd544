# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times that a host wrote down, although its clock may have been set since.

A Spark that starts without a network may be years off until NTP answers. What Docker, logs and files say is by the
clock of that moment; what the kernel counts since its boot is not touched.
"""

from __future__ import annotations

import os
import re
import time
import typing as t

# The process of a container is made this much before Docker notes its start, at most.
TOLERANCE = 30.0


class Clock(t.NamedTuple):
    """The host's clock at a look, and by how many seconds it was set since the container began."""

    now: float  # seconds since 1970
    jump: float = 0.0

    def moment(self, stamp: float) -> float:
        """When it was, by the clock of today: the latest possible moment, never one to come."""
        return max((each for each in (stamp, stamp + self.jump) if each <= self.now), default=self.now)


def clock(now: float, started: float | None, age: float | None) -> Clock:
    """STARTED is the time that was noted at the start of a process, AGE its seconds by the kernel."""
    if started is None or age is None:
        return Clock(now)
    jump = now - age - started
    return Clock(now, jump if abs(jump) > TOLERANCE else 0.0)


def age_of(pid: int | None, proc: str = "/proc") -> float | None:
    """Seconds since a process began, by the kernel's count; None without such a process."""
    if pid is None:
        return None
    try:
        with open(os.path.join(proc, str(pid), "stat"), encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    if len(fields) < 20 or not re.fullmatch(r"\d{1,18}", fields[19], re.ASCII):
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
