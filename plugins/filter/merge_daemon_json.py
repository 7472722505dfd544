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
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.daemon_json import merge


def merge_daemon_json(current: t.Any, options: t.Any) -> dict[str, t.Any]:
    for name, value in (("input", current), ("options", options)):
        if not isinstance(value, Mapping):
            raise AnsibleFilterError(f"merge_daemon_json: {name} must be a mapping, not {type(value).__name__}")
    try:
        merged: dict[str, t.Any] = merge(current, options)
    except ValueError as error:
        raise AnsibleFilterError(f"container_runtime_daemon_options: {error}") from error
    return merged


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"merge_daemon_json": merge_daemon_json}
