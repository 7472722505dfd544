# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vllm_argv
short_description: Arguments of C(vllm serve) from a mapping of options
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Turns a mapping of options into the list of arguments that C(vllm serve) takes. The order of the mapping is kept.
  - Names are written with C(_), as in C(max_model_len). Other spellings are refused, so that an option cannot stand
    twice.
  - V(true) gives the bare flag, V(false) gives C(--no-FLAG), V(null) drops the option.
  - A list gives its values one after the other behind the flag, a mapping gives JSON, and anything else is passed on
    as text.
  - C(gpu_memory_utilization) is written with two digits.
options:
  _input:
    description: The options by name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the arguments
  ansible.builtin.debug:
    msg: "{{ {'max_model_len': 32768, 'enable_prefix_caching': true} | dgxspark.vllm.vllm_argv }}"
# => ['--max-model-len', '32768', '--enable-prefix-caching']

- name: Drop a flag of the profile, switch another one off
  ansible.builtin.debug:
    msg: "{{ profile | combine({'max_num_seqs': none, 'enable_prefix_caching': false}) | dgxspark.vllm.vllm_argv }}"
  vars:
    profile:
      max_num_seqs: 64
      enable_prefix_caching: true
# => ['--no-enable-prefix-caching']
"""

RETURN = r"""
_value:
  description: The arguments.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import to_argv


def vllm_argv(options: t.Any) -> list[str]:
    if not isinstance(options, t.Mapping):
        raise AnsibleFilterError(f"vllm_argv: wants a mapping of options, not {type(options).__name__}")
    try:
        return to_argv(options)
    except ValueError as error:
        raise AnsibleFilterError(f"vllm_argv: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"vllm_argv": vllm_argv}
