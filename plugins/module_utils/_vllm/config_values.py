# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads values out of a config.json, which anybody on the hub may have written. Pure.

What no model has is a ConfigError: it would become a list of that length, or a figure that nothing can compute with.
"""

from __future__ import annotations

import math
import typing as t

Config = t.Mapping[str, t.Any]

MOST_LAYERS = 10_000
_LARGEST = 1 << 44
_DEEPEST = 32
_MOST_VALUES = 1_000_000


class ConfigError(ValueError):
    """One line that says what a config.json lacks, or what is wrong with it."""


def wrong(name: str, value: t.Any, allowed: str) -> ConfigError:
    shown = ascii(value if isinstance(value, (int, float, str)) else type(value).__name__)
    return ConfigError(f"its config.json has {name}: {shown[:40]}; {allowed}")


def check_depth(config: Config) -> None:
    """Refuse what is nested so deeply, or so large, that it cannot be walked or shown."""
    level: list[t.Any] = [config]
    values = 0
    for _depth in range(_DEEPEST):
        below: list[t.Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        values += len(below)
        if values > _MOST_VALUES:
            raise ConfigError(f"its config.json has more than {_MOST_VALUES} values")
        level = below
    if level:
        raise ConfigError(f"its config.json is nested more than {_DEEPEST} levels deep")


def whole(name: str, value: t.Any) -> int:
    """A whole number above 0; 0 for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        return 0
    if value > _LARGEST:
        raise wrong(name, value, f"at most {_LARGEST} is possible")
    return value


def number(config: Config, *names: str) -> int:
    """The first of these that is a whole number above 0."""
    return next((found for name in names if (found := whole(name, config.get(name)))), 0)


def count_of_layers(config: Config, *names: str) -> int:
    """The same of numbers of layers."""
    found = number(config, *names)
    if found > MOST_LAYERS:
        raise wrong(
            next(name for name in names if config.get(name) == found), found, f"at most {MOST_LAYERS} are possible"
        )
    return found


def listed(config: Config, *names: str) -> tuple[str, t.Sequence[t.Any]] | None:
    """The first of these that is a list, or a text with a character for each layer, and not empty; with its name."""
    for name in names:
        value = config.get(name)
        if isinstance(value, (list, str)) and value:
            if len(value) > MOST_LAYERS:
                raise wrong(name, f"{len(value)} items", f"at most {MOST_LAYERS} are possible")
            return name, value
    return None


def factor(name: str, value: t.Any) -> float | None:
    """A factor of positions; None where it is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not (math.isfinite(value) if isinstance(value, float) else value < _LARGEST) or not 0 < value <= 1e6:
        raise wrong(name, value, "a number above 0 and up to 1000000 is possible")
    return float(value)
