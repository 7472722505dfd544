# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: merge_daemon_json
short_description: Merge options into the content of Docker's daemon.json
version_added: "0.1.0"
description:
  - Mappings are merged by key, lists are united, and other values are replaced. All other keys of the input are kept.
  - Lists keep their order, and missing elements are appended. Options that are already present change nothing, so
    Docker is not restarted. R(ansible.builtin.combine,ansible_collections.ansible.builtin.combine_filter) would reorder
    them.
  - Replacing a mapping or a list by a value of another type is an error.
author:
  - The dgxspark.vllm authors (@dgxspark)
positional: options
options:
  _input:
    description: Content of C(daemon.json).
    type: dict
    required: true
  options:
    description: Options to merge into it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Add a mirror to the owner's configuration
  ansible.builtin.debug:
    msg: "{{ owner | dgxspark.vllm.merge_daemon_json({'registry-mirrors': ['https://mirror.example']}) }}"
  vars:
    owner: {log-driver: journald, registry-mirrors: ['https://first.example']}
"""

RETURN = r"""
_value:
  description: The merged content.
  type: dict
  sample: {log-driver: journald, registry-mirrors: ['https://first.example', 'https://mirror.example']}
"""

import typing as t
from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError

KINDS = {dict: "a mapping", list: "a list"}


def _kind(value: t.Any) -> str:
    return next((text for kind, text in KINDS.items() if isinstance(value, kind)), "a single value")


def merge(current: t.Any, options: t.Any, path: str = "") -> t.Any:
    if current is None:
        return options
    if _kind(current) != _kind(options):
        raise AnsibleFilterError(
            f"container_runtime_daemon_options: {path} must be {_kind(current)}, as in the daemon.json of the host; "
            f"it is {_kind(options)}"
        )
    if isinstance(current, dict):
        merged = dict(current)
        for key, value in options.items():
            merged[key] = merge(current.get(key), value, f"{path}.{key}" if path else key)
        return merged
    if isinstance(current, list):
        return current + [value for value in options if value not in current]
    return options


def merge_daemon_json(current: t.Any, options: t.Any) -> dict[str, t.Any]:
    for name, value in (("input", current), ("options", options)):
        if not isinstance(value, Mapping):
            raise AnsibleFilterError(f"merge_daemon_json: {name} must be a mapping, not {type(value).__name__}")
    merged: dict[str, t.Any] = merge(current, options)
    return merged


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"merge_daemon_json": merge_daemon_json}
