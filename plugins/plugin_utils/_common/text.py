# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values, names and hints as they stand in a message. Pure."""

from __future__ import annotations

import difflib
import json
import re
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import parse_json

# What YAML, Compose or a terminal would change. Tabs and line feeds survive, quoted.
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


def show(value: t.Any) -> str:
    """A value as it stands in a message: short, on one line."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)  # a no-break space is not
    return text if len(text) <= 80 else text[:76] + '..."'


# ${NAME}, ${NAME:-default} of a shell or of Compose; as a whole also {name} of a recipe, and $NAME.
_PLACEHOLDER = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::?[-?+][^}]*)?\}")
_ALL_PLACEHOLDER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}|\$[A-Za-z_][A-Za-z0-9_]*")


def placeholder(value: t.Any, own: t.Collection[str] = ()) -> str | None:
    """What a value has of a script or a recipe that something there fills in, and nothing does here. OWN are names that
    the program itself replaces. JSON is what it says: in a mapping, such words are for whoever reads it."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        read = parse_json(value)
        value = value if read is None else read
    if isinstance(value, list):
        return next((line for item in value if isinstance(item, str) and (line := placeholder(item, own))), None)
    if not isinstance(value, str):
        return None
    words = [*_PLACEHOLDER.finditer(value), *filter(None, [_ALL_PLACEHOLDER.fullmatch(value.strip())])]
    found = next((word[0] for word in words if word[0].strip("${}") not in own), None)
    return f"nothing replaces {show(found)} here; write the value itself" if found else None


def _escaped(char: int) -> str:
    return f"\\u{char:04x}" if char <= 0xFFFF else f"\\U{char:08x}"


def nearest(name: str, known: t.Iterable[str]) -> str | None:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def hint(name: str, known: t.Iterable[str]) -> str:
    """`; did you mean X?`, or what there is when nothing is near."""
    names = list(known)
    near = nearest(name, names)
    return f"did you mean {near}?" if near else f"known: {', '.join(names)}"


def known_or_add(name: str, known: t.Iterable[str], variable: str) -> str:
    names = list(known)
    near = nearest(name, names)
    return f"{f'did you mean {near}? ' if near else ''}known: {', '.join(names)}; or add it to {variable}"
