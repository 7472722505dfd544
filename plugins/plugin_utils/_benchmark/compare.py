# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a figure has changed by more than its noise. Pure.

The median of the repetitions is compared with the median of earlier ones. A change is real if it is larger than three
times the spread of either side, larger than a floor, and outside of everything that was measured before.
"""

from __future__ import annotations

import statistics
import typing as t

# Of the median. Latencies are noisier than throughputs: few requests decide them.
FLOORS = {"output_throughput": 0.05, "median_ttft_ms": 0.10, "median_tpot_ms": 0.10}
HIGHER_IS_BETTER = ("output_throughput",)
# With fewer values the spread is hardly known, so the floor is that many times higher.
ENOUGH, CAUTION = 3, 3.0
SPREADS = 3.0
# The interquartile range of a normal distribution in standard deviations.
_IQR = 1.349


class Change(t.NamedTuple):
    metric: str
    before: float
    now: float
    change: float  # above 0 is better, below 0 is worse: 0.5 is half as fast again, -0.5 is half as fast
    noise: float  # changes up to this one say nothing
    verdict: str  # regression, improvement or same


def spread(values: t.Sequence[float]) -> float:
    """The standard deviation as the interquartile range gives it, relative to the median. 0 for less than two values.

    One outlier among three hardly moves it, and the median not at all.
    """
    middle = statistics.median(values)
    if len(values) < 2 or middle <= 0:
        return 0.0
    low, _middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / _IQR / middle


def compare(metric: str, before: t.Sequence[float], now: t.Sequence[float]) -> Change | None:
    """None where one side has no value above 0: nothing can be said."""
    first, last = [value for value in before if value > 0], [value for value in now if value > 0]
    if not first or not last:
        return None
    old, new = statistics.median(first), statistics.median(last)
    better = metric in HIGHER_IS_BETTER
    change = (new / old if better else old / new) - 1
    floor = FLOORS[metric] * (1.0 if min(len(first), len(last)) >= ENOUGH else CAUTION)
    noise = max(floor, SPREADS * spread(first), SPREADS * spread(last))
    # twice as fast is as much of a change as half as fast
    size = max(change, 1 / (1 + change) - 1)
    lower, higher = new < min(first), new > max(first)
    verdict = "same"
    if size > noise and (lower if better else higher):
        verdict = "regression"
    elif size > noise and (higher if better else lower):
        verdict = "improvement"
    return Change(metric, old, new, change, noise, verdict)
