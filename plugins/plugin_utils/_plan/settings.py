# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and environment of a service, merged layer by layer, with where each value comes from. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._catalog.vllm_options import to_argv

KINDS = ("args", "environment")
WIDEST = 60


@dataclass(frozen=True)
class Layer:
    source: str  # for people, such as "profile latency"; the name of the variable where it is one
    args: t.Mapping[str, t.Any] = field(default_factory=dict)
    environment: t.Mapping[str, t.Any] = field(default_factory=dict)
    notes: t.Mapping[str, str] = field(default_factory=dict)  # a word on single values, by name
    # What stands before a name where the user writes it: "vllm_extra_args.". Empty where the source is a single value.
    args_at: str = ""
    environment_at: str = ""

    def at(self, kind: str, name: str) -> str:
        """Where the user writes this value."""
        before = self.args_at if kind == "args" else self.environment_at
        return f"{before}{name}" if before else self.source


class Settings(t.NamedTuple):
    args: dict[str, t.Any]
    environment: dict[str, t.Any]
    explained: list[dict[str, t.Any]]

    @property
    def lines(self) -> list[str]:
        """One line for each value: what it is, where it comes from, what it won over. The options first."""
        options = [item for item in self.explained if item["kind"] == "args"]
        variables = [item for item in self.explained if item["kind"] == "environment"]
        return _lines(options, _option) + _lines(variables, lambda name, value: f"{name}={value}")


def merged(layers: t.Sequence[Layer]) -> Settings:
    """The values by name, and how each came about. A later layer wins; a name keeps its first place in the order."""
    values: dict[str, dict[str, t.Any]] = {kind: {} for kind in KINDS}
    history: dict[tuple[str, str], list[dict[str, t.Any]]] = {}
    for layer in layers:
        for kind in KINDS:
            for name, value in getattr(layer, kind).items():
                values[kind][name] = value
                origin = {
                    "from": layer.source,
                    "value": value,
                    "note": layer.notes.get(name),
                    "at": layer.at(kind, name),
                }
                history.setdefault((kind, name), []).append(origin)
    explained = [
        {"kind": kind, "name": name, **origins[-1], "over": origins[-2::-1]}
        for (kind, name), origins in sorted(history.items(), key=lambda item: KINDS.index(item[0][0]))
    ]
    return Settings(values["args"], values["environment"], explained)


def _option(name: str, value: t.Any) -> str:
    """As the command line has it; what is dropped is named, too."""
    return " ".join(to_argv({name: value})) or f"({name} is dropped)"


def _lines(explained: t.Sequence[t.Mapping[str, t.Any]], say: t.Callable[[str, t.Any], str]) -> list[str]:
    written = [say(item["name"], item["value"]) for item in explained]
    width = min(WIDEST, max(map(len, written), default=0))
    return [f"{text.ljust(width)}  {_origin(item)}" for text, item in zip(written, explained, strict=True)]


def _origin(item: t.Mapping[str, t.Any]) -> str:
    note = f" ({item['note']})" if item["note"] else ""
    over = ", ".join(f"{other['value']} of {other['from']}" for other in item["over"])
    return f"{item['from']}{note}{f', instead of {over}' if over else ''}"
