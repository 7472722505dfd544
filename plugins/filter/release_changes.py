# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: release_changes
short_description: List the differences between two releases of a vLLM service
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Compares two releases that the role P(dgxspark.vllm.vllm#role) rendered, by their files C(compose.yaml) and C(.env).
  - Values of secrets are never returned, only that they differ. Values of environment variables whose name ends like
    that of a secret, and passwords in URLs, are masked.
positional: after
options:
  _input:
    description:
      - The release that runs, with C(compose) and C(env), the text of the files. V({}) if there is none, or if its file
        cannot be read.
    type: dict
    required: true
  after:
    description: The new release, in the same form.
    type: dict
    required: true
  servers:
    description:
      - Servers that are stopped for the new release, as C(holders) of M(dgxspark.vllm.vllm_conflicts_info). Read are
        C(listens), C(served_names), C(asks_key) and C(same_key).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show what is different
  ansible.builtin.debug:
    msg: "{{ ({'compose': old, 'env': ''} | dgxspark.vllm.release_changes({'compose': new, 'env': ''})).short }}"
"""

RETURN = r"""
_value:
  description: The differences.
  type: dict
  contains:
    short:
      description: One line for each kind of difference.
      type: list
      elements: str
      sample: ["address: 0.0.0.0:8000 -> 127.0.0.1:8000", "command line: --seed 1 -> 2, new --enforce-eager"]
    long:
      description: Each value before (-) and after (+), below a line with its kind.
      type: list
      elements: str
      sample: ["command line:", "- --max-model-len 32768", "+ --max-model-len 16384"]
    clients:
      description: Which clients lose access, and which get it.
      type: list
      elements: str
      sample: ["clients of other machines lose access: address 0.0.0.0 -> 127.0.0.1"]
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common import release_changes as compared


def release_changes(
    before: t.Any, after: t.Any, servers: t.Sequence[t.Mapping[str, t.Any]] = ()
) -> dict[str, list[str]]:
    for name, value in (("input", before), ("after", after)):
        if not isinstance(value, t.Mapping):
            raise AnsibleFilterError(f"release_changes: {name} must be a mapping, not {type(value).__name__}")
    old, new = (compared.parse(str(one.get("compose", "")), str(one.get("env", ""))) for one in (before, after))
    if new is None:
        raise AnsibleFilterError("release_changes: after.compose must be the compose.yaml of a release")
    found = compared.changes(old, new) if old else []
    stopped = [
        compared.Access(
            server.get("listens") or "",
            server.get("served_names") or [],
            server.get("asks_key"),
            new.access.key if server.get("same_key") else None,
        )
        for server in servers
    ]
    olds = [old.access, *stopped] if old else stopped
    clients = [line for access in olds for line in compared.lost_access(access, new.access)]
    return {
        "short": compared.short_lines(found),
        "long": compared.long_lines(found),
        "clients": list(dict.fromkeys(clients)),
    }


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"release_changes": release_changes}
