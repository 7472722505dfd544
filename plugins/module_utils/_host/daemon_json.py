# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's daemon.json: parsed, merged, and shown without its secrets. Pure."""

from __future__ import annotations

import json
import math
import re
import typing as t

PATH = "/etc/docker/daemon.json"
# What a run has changed in it, until Docker runs with the change.
NOTE = "/var/lib/dgxspark/daemon_json.json"

# dockerd takes these from the file on SIGHUP (moby, daemon/reload.go), everything else when it starts.
# `features` are left out: a reload stores them, but the CDI driver is registered at the start only.
RELOADABLE = frozenset(
    {
        "allow-nondistributable-artifacts",
        "debug",
        "default-runtime",
        "insecure-registries",
        "labels",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "registry-mirrors",
        "runtimes",
        "shutdown-timeout",
    }
)

_KINDS = {dict: "a mapping", list: "a list"}
# In front of a host. Docker takes all up to the last @ of an address for user and password.
_CREDENTIALS = re.compile(r"(^|//|(?<=[\s,;=\"']))[^/\s,;=\"']*:[^/\s\"]+@|//[^/\s\"]+@")
_SECRET_KEY = re.compile(r"(?i)token|secret|password|passwd")
MASK = "********"
# No real file is nested deeper.
_DEEPEST = 50

Facts = dict[str, t.Any]


def parse(text: str | None) -> tuple[Facts | None, str | None]:
    """(content, error); (None, None) without a file. dockerd takes an empty file for {}, so do we."""
    if text is None:
        return None, None
    try:
        content = json.loads(text, object_pairs_hook=_once, parse_constant=_number, parse_float=_number)
    except (ValueError, RecursionError) as error:  # a ValueError names line and column
        return ({}, None) if not text.strip() else (None, f"not valid JSON: {error}")
    if not isinstance(content, dict):
        return None, f"must be a JSON object, is {type(content).__name__}"
    if _is_deep(content):
        return None, f"nested more than {_DEEPEST} times"
    try:
        render(content).encode()
    except UnicodeEncodeError:
        return None, "not valid UTF-8, or with half of a surrogate pair"
    return content, None


def _once(pairs: list[tuple[str, t.Any]]) -> Facts:
    """Of a key that is there twice Docker joins some values: to write one of them would lose the other."""
    names = [name for name, _value in pairs]
    twice = [name for name in dict(pairs) if names.count(name) > 1]
    if twice:
        raise ValueError(f"the key {json.dumps(twice[0])} is there twice")
    return dict(pairs)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number of JSON")
    return number


def _is_deep(content: t.Any) -> bool:
    level = [content]
    for _step in range(_DEEPEST):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        level = [value for values in inner for value in values]
    return bool(level)


def render(content: Facts) -> str:
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"


def merge(current: t.Any, options: t.Any, path: str = "") -> t.Any:
    """Mappings by key, lists united, other values replaced. ValueError: a mapping or a list became something else."""
    if current is None:
        return options
    if _kind(current) != _kind(options):
        raise ValueError(f"{path} must be {_kind(current)}, as in the daemon.json of the host; it is {_kind(options)}")
    if isinstance(current, dict):
        merged = dict(current)
        for key, value in options.items():
            merged[key] = merge(current.get(key), value, f"{path}.{key}" if path else key)
        return merged
    if isinstance(current, list):
        return current + [value for value in options if value not in current]
    return options


def _kind(value: t.Any) -> str:
    return next((text for kind, text in _KINDS.items() if isinstance(value, kind)), "a single value")


def mask_text(text: str) -> str:
    return _CREDENTIALS.sub(lambda found: f"{'//' if '//' in found.group() else ''}{MASK}@", text)


def mask(value: t.Any) -> t.Any:
    """The same without the passwords of addresses and the values of keys that name a secret."""
    if isinstance(value, dict):
        return {
            key: MASK if item and not isinstance(item, bool) and _SECRET_KEY.search(str(key)) else mask(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [mask(item) for item in value]
    return mask_text(value) if isinstance(value, str) else value


def changed_keys(before: Facts, after: Facts) -> list[str]:
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
