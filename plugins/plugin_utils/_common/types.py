# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of variables, checked against the types of an argument specification."""

from __future__ import annotations

import math
import re
import typing as t

from .numbers import number_meant
from .text import show

_TRUE = {"y", "yes", "on", "1", "true", "t"}
_FALSE = {"n", "no", "off", "0", "false", "f"}


class TypedValues:
    """The values that have the right type, as that type; for the others the role's default."""

    def __init__(self, known: t.Mapping[str, t.Any], unreadable: t.Container[str] = ()) -> None:
        self._defaults = {name: option.get("default") for name, option in known.items()}
        self._values: dict[str, t.Any] = {}
        self._bad = {name for name in known if name in unreadable}
        self._secret = [name for name, option in known.items() if option.get("no_log")]

    @classmethod
    def of(
        cls, known: t.Mapping[str, t.Any], values: t.Mapping[str, t.Any], unreadable: t.Container[str] = ()
    ) -> tuple[TypedValues, list[str]]:
        """The values of these options, and what is wrong with their types."""
        typed = cls(known, unreadable)
        given = [name for name in known if name in values]
        return typed, [line for name in given for line in typed.take(name, values[name], known[name])]

    def take(self, name: str, value: t.Any, option: t.Mapping[str, t.Any]) -> list[str]:
        kind = option.get("type", "str")
        secret = bool(option.get("no_log"))
        if value is None:
            if option.get("default") is None and not option.get("required"):
                return []
            self._bad.add(name)
            usual = option.get("default")
            default = f"remove the line to get the default {usual if usual in ({}, []) else show(usual)}"
            return [f"{name}: is null; {'give it a value' if option.get('required') else default}"]
        try:
            value = _CONVERT.get(kind, _text)(value)
        except ValueError as error:
            self._bad.add(name)
            got = "its value" if secret else show(value)
            meant = "" if secret or kind not in ("int", "float") else number_meant(name, value)
            return [f"{name}: {got} is not allowed; use {error}{meant and f', such as {meant}'}"]
        choices = option.get("choices") or []
        wrong = [item for item in (value if kind == "list" else [value]) if choices and item not in choices]
        if wrong:
            self._bad.add(name)
            return [f"{name}: {show(wrong[0])} is not allowed; use {', '.join(map(str, choices))}"]
        self._values[name] = value
        return []

    def __getitem__(self, name: str) -> t.Any:
        return self._values.get(name, self._defaults.get(name))

    def secrets(self) -> list[str]:
        return [self._values[name] for name in self._secret if self._values.get(name)]

    def valid(self, *names: str) -> bool:
        """Whether the role has these variables, and none has been complained about."""
        return all(name in self._defaults and name not in self._bad for name in names)

    def is_set(self, name: str) -> bool:
        return name in self._values


def _text(value: t.Any) -> str:
    if isinstance(value, (dict, list, tuple, set)):
        raise ValueError("one text, not a list or a mapping")
    if isinstance(value, bool):
        raise ValueError("a text; write it in quotes")
    return str(value)


def _boolean(value: t.Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if isinstance(value, (str, int, float)) and word in _TRUE | _FALSE | {"1.0", "0.0"}:
        return word in _TRUE | {"1.0"}
    raise ValueError("true or false")


def integer(value: t.Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value.strip(), re.ASCII):
        return int(value)
    raise ValueError("a whole number")


def number(value: t.Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    if isinstance(value, str):
        try:
            return number(float(value))
        except ValueError:
            pass
    raise ValueError("a number")


def _mapping(value: t.Any) -> dict[t.Any, t.Any]:
    if isinstance(value, t.Mapping):
        return dict(value)
    raise ValueError("a mapping (key: value)")


def _list(value: t.Any) -> list[t.Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    raise ValueError("a list")


_CONVERT: dict[str, t.Callable[[t.Any], t.Any]] = {
    "str": _text,
    "path": _text,
    "bool": _boolean,
    "int": integer,
    "float": number,
    "dict": _mapping,
    "list": _list,
}
