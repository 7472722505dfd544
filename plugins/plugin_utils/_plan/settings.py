# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it may change at any time.
"""Options and environment of a service, merged layer by layer, with where each value comes from. Pure."""

from __future__ import annotations

import typing as t

KINDS = ("args", "environment")

Settings = dict[str, t.Any]


def settings(layers: t.Sequence[t.Mapping[str, t.Any]]) -> Settings:
    """The values by name, and how each came about. A later layer wins; a name keeps its first place in the order."""
    merged: Settings = {kind: {} for kind in KINDS}
    history: dict[tuple[str, str], list[dict[str, t.Any]]] = {}
    for number, layer in enumerate(layers):
        strange = [key for key in layer if key not in (*KINDS, "from", "notes")]
        if strange or not layer.get("from"):
            raise ValueError(f"layer {number + 1}: use the keys from, args, environment and notes")
        for kind in KINDS:
            values = layer.get(kind) or {}
            if not isinstance(values, t.Mapping):
                raise ValueError(f"{layer['from']}: {kind} must be a mapping")
            for name, value in values.items():
                merged[kind][name] = value
                origin = {"from": layer["from"], "value": value, "note": (layer.get("notes") or {}).get(name)}
                history.setdefault((kind, name), []).append(origin)
    merged["explained"] = [
        {"kind": kind, "name": name, **origins[-1], "over": origins[-2::-1]}
        for (kind, name), origins in sorted(history.items(), key=lambda item: KINDS.index(item[0][0]))
    ]
    return merged


def lines(explained: t.Sequence[t.Mapping[str, t.Any]], say: t.Callable[[str, t.Any], str]) -> list[str]:
    """One line for each value: what it is, where it comes from, what it won over. SAY writes name and value."""
    written = [say(item["name"], item["value"]) for item in explained]
    width = min(60, max(map(len, written), default=0))
    return [f"{text.ljust(width)}  {_origin(item)}" for text, item in zip(written, explained, strict=True)]


def _origin(item: t.Mapping[str, t.Any]) -> str:
    note = f" ({item['note']})" if item["note"] else ""
    over = ", ".join(f"{other['value']} of {other['from']}" for other in item["over"])
    return f"{item['from']}{note}{f', instead of {over}' if over else ''}"
