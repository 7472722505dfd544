# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares what spark_info has read with the state that a role wants. Pure.

Strict on purpose: whatever was not read, or is not known to be as wanted, is a difference. The caller then runs the
modules, which decide for themselves: a difference too many costs time, and nothing is missed.
"""

from __future__ import annotations

import hashlib
import typing as t

Values = t.Mapping[str, t.Any]

_FILE_KEYS = {"type", "owner", "group", "mode", "content", "settings"}
_UNIT_KEYS = {"active", "enabled"}


def differences(spark: Values, wanted: Values) -> list[str]:
    """One line for each respect in which the host differs. ValueError: WANTED is not what it should be."""
    unknown = set(wanted) - set(_COMPARE)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} cannot be compared; use {', '.join(_COMPARE)}")
    return [line for section, compare in _COMPARE.items() for line in compare(spark, wanted.get(section) or {})]


def _section(spark: Values, name: str) -> Values:
    section = spark.get(name)
    return section if isinstance(section, t.Mapping) else {}


def _files(spark: Values, wanted: Values) -> t.Iterator[str]:
    read = _section(spark, "files")
    for path, file in wanted.items():
        unknown = set(file) - _FILE_KEYS
        if unknown:
            raise ValueError(
                f"{path}: {', '.join(sorted(unknown))} cannot be compared; use {', '.join(sorted(_FILE_KEYS))}"
            )
        if path not in read:
            yield f"{path} was not read"
            continue
        kind = file.get("type", "file")
        if read[path].get("type") != kind:
            yield f"{path}: type is {read[path].get('type')}, not {kind}"
            continue
        yield from (f"{path}: {line}" for line in _file(read[path], file))


def _file(read: Values, wanted: Values) -> t.Iterator[str]:
    for name, number in (("owner", "uid"), ("group", "gid")):
        if name in wanted and str(wanted[name]) not in (read.get(name), str(read.get(number))):
            yield f"{name} is {read.get(name)}, not {wanted[name]}"
    if "mode" in wanted and not _same_mode(read.get("mode"), wanted["mode"]):
        yield f"mode is {read.get('mode')}, not {wanted['mode']}"
    if "content" in wanted and read.get("sha256") != hashlib.sha256(wanted["content"].encode()).hexdigest():
        yield "content differs"
    lines = (read.get("content") or "").split("\n")
    for key, value in (wanted.get("settings") or {}).items():
        line = f"{key}={_text(value)}"
        # the last one counts, for whoever reads such a file
        set_by = [other for other in lines if other.partition("=")[0].strip() == key and "=" in other]
        if set_by[-1:] != [line]:
            yield f"{key} is not set by the line {line}"


def _same_mode(read: t.Any, wanted: t.Any) -> bool:
    try:
        return int(str(read), 8) == int(str(wanted), 8)
    except ValueError:  # not read, or a symbolic mode
        return False


def _text(value: t.Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _sysctl(spark: Values, wanted: Values) -> t.Iterator[str]:
    read = _section(spark, "sysctl")
    for name, value in wanted.items():
        if read.get(name) is None:
            yield f"{name} was not read"
        elif str(read[name]).split() != _text(value).split():
            yield f"{name} is {read[name]}, not {_text(value)}"


def _units(spark: Values, wanted: Values) -> t.Iterator[str]:
    read = _section(spark, "units")
    for unit, state in wanted.items():
        unknown = set(state) - _UNIT_KEYS
        if unknown:
            raise ValueError(f"{unit}: {', '.join(sorted(unknown))} cannot be compared; use active, enabled")
        if unit not in read:
            yield f"{unit} was not read"
            continue
        if read[unit].get("load_state") != "loaded":
            yield f"{unit} is {read[unit].get('load_state')}, not loaded"
        if read[unit].get("needs_reload") is not False:
            yield f"{unit} was changed since systemd loaded it"
        for key, name, yes, no in (
            ("active", "active_state", "active", "inactive"),
            ("enabled", "unit_file_state", "enabled", "disabled"),
        ):
            if key in state and read[unit].get(name) != (yes if state[key] else no):
                yield f"{unit} is {read[unit].get(name)}, not {yes if state[key] else no}"


def _installed(section: str) -> t.Callable[[Values, t.Any], t.Iterator[str]]:
    def compare(spark: Values, wanted: t.Any) -> t.Iterator[str]:
        read = _section(spark, section)
        return (f"{name} is not installed" for name in wanted if not read.get(name))

    return compare


_COMPARE: dict[str, t.Callable[[Values, t.Any], t.Iterator[str]]] = {
    "packages": _installed("packages"),
    "commands": _installed("commands"),
    "files": _files,
    "sysctl": _sysctl,
    "units": _units,
}
