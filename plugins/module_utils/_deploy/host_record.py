# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles have changed on a host: each thing as it was before, and as they left it (host_record). Pure.

A state is {section: {name: value}}, None or no entry for what is not there. Of a file it holds hash, owner and mode,
and before a change its content as well, which does not count in a comparison.
"""

from __future__ import annotations

import base64
import hashlib
import typing as t

Value = t.Any
State = dict[str, dict[str, Value]]
SECTIONS = ("units", "files", "sysctl", "packages")


class Change(t.TypedDict):
    before: Value
    after: Value
    others: bool  # someone else changed it between two of our changes


Changes = dict[str, dict[str, Change]]


def file_value(content: bytes, mode: int, uid: int, gid: int) -> dict[str, Value]:
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "mode": f"{mode:04o}",
        "uid": uid,
        "gid": gid,
        "content": base64.b64encode(content).decode("ascii"),
    }


def content_of(value: t.Mapping[str, Value]) -> bytes:
    return base64.b64decode(value["content"])


def without_content(value: Value) -> Value:
    return {key: item for key, item in value.items() if key != "content"} if isinstance(value, dict) else value


def same(one: Value, other: Value) -> bool:
    return bool(without_content(one) == without_content(other))


def snapshot(seen: State, earlier: State) -> State:
    """What was there before this run, or before an interrupted one, which had changed something already."""
    return {section: {**seen.get(section, {}), **earlier.get(section, {})} for section in SECTIONS}


def close(changes: Changes, before: State, after: State) -> Changes:
    """The changes with those of a run that found BEFORE and left AFTER."""
    merged = {section: dict(changes.get(section, {})) for section in SECTIONS}
    for section in SECTIONS:
        for name, found in before.get(section, {}).items():
            left, known = after.get(section, {}).get(name), merged[section].pop(name, None)
            if same(found, left):
                entry = known  # this run did not touch it
            elif known is None:
                entry = Change(before=found, after=without_content(left), others=False)
            else:
                # who put it back meanwhile has changed nothing that would be lost
                others = known["others"] or not (same(known["after"], found) or same(known["before"], found))
                entry = Change(before=known["before"], after=without_content(left), others=others)
            if entry and not same(entry["before"], entry["after"]):
                merged[section][name] = entry
    return merged


def is_empty(changes: Changes) -> bool:
    return not any(changes.get(section) for section in SECTIONS)


def why_left(change: Change, now: Value) -> str | None:
    """Why something is not put back; None if it is as we left it."""
    if now is None and change["after"] is not None:
        return "it was removed since"
    if change["others"] or not same(change["after"], now):
        return "it was changed by others since"
    return None
