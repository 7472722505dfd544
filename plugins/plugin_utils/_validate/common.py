# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules of all roles are made of. One line for each problem."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.folders import wrong_folder

from .._common.text import CONTROL, show
from .._common.types import TypedValues

Lines = t.Iterator[str]
PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
WEEK = 7 * 86400  # seconds: nothing here is waited for any longer

_HF_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


def folder(
    checked: TypedValues,
    name: str,
    example: str,
    empty: bool = False,
    wrong_for: t.Callable[[t.Any, str], str | None] = wrong_folder,
) -> Lines:
    if not checked.valid(name) or (empty and checked[name] == ""):
        return
    wrong = wrong_for(checked[name], example)
    if wrong:
        yield f"{name}: {show(checked[name])} {wrong}"


def url(checked: TypedValues, name: str, example: str, empty: bool = False) -> Lines:
    if not checked.valid(name) or (empty and checked[name] == ""):
        return
    value = checked[name]
    if re.match(r"https?://[^/\s]*@", value):
        yield f"{name}: must not hold a user or password; use an address such as {example}"
    elif not re.fullmatch(rf"https?://[A-Za-z0-9.-]+(:{PORT})?(/[A-Za-z0-9._~%()$/-]*)?", value):
        yield f"{name}: {show(value)} is not allowed; use an address such as {example}"


def at_least(checked: TypedValues, name: str, low: int, unit: str, high: int | None = None) -> Lines:
    if not checked.valid(name) or checked[name] is None:
        return
    if checked[name] < low:
        yield f"{name}: {show(checked[name])} is not allowed; use at least {low} {unit}"
    elif high is not None and checked[name] > high:
        yield f"{name}: {show(checked[name])} is not allowed; use at most {high} {_plural(unit)}"


def _plural(unit: str) -> str:
    return unit if unit.endswith(("s", "C")) else f"{unit}s"


def texts(checked: TypedValues, name: str) -> Lines:
    for number, item in enumerate(checked[name] if checked.valid(name) else []):
        if not isinstance(item, str):
            yield f"{name}[{number}]: {show(item)} is not allowed; use a text; write it in quotes"


def matches(checked: TypedValues, name: str, pattern: str, rule: str, empty: bool = False) -> Lines:
    if checked.valid(name) and not (empty and checked[name] == "") and not re.fullmatch(pattern, str(checked[name])):
        yield f"{name}: {show(checked[name])} is not allowed; use {rule}"


def control_character(value: t.Any) -> str | None:
    """The first character in a value that YAML, Compose or a terminal would change, as its number."""
    if isinstance(value, dict):
        value = [item for pair in value.items() for item in pair]
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(control_character, value)), None)
    found = CONTROL.search(value) if isinstance(value, str) else None
    return f"U+{ord(found[0]):04X}" if found else None


def holds_secret(value: t.Any, secrets: t.Sequence[str]) -> bool:
    """Whether a secret of the user, or what looks like a Hugging Face token, is somewhere in a value."""
    if isinstance(value, dict):
        return any(holds_secret(item, secrets) for pair in value.items() for item in pair)
    if isinstance(value, (list, tuple)):
        return any(holds_secret(item, secrets) for item in value)
    text = str(value)
    return mask(text, secrets) != text


def mask(text: str, secrets: t.Sequence[str]) -> str:
    for secret in secrets:
        if len(secret) >= 8:  # a shorter one would tear words apart, and could be guessed from the gaps
            text = text.replace(secret, "********")
    return _HF_TOKEN.sub("hf_********", text)
