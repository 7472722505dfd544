# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seconds and size of the page of playbooks/report.yml for sixteen hosts. The figures are for the reader.

make bench
"""

from __future__ import annotations

import time

from support.fleet import sixteen

ROUNDS = 5


def main() -> None:
    fleet = sixteen()
    times = []
    for _round in range(ROUNDS):
        begin = time.perf_counter()
        text = fleet.page()
        times.append(time.perf_counter() - begin)
    size = len(text.encode()) / 1000
    print(f"page of {len(fleet.hosts)} hosts: {size:.0f} kB, first {times[0]:.3f} s, best {min(times):.3f} s")


if __name__ == "__main__":
    main()
