# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vllm_argv
short_description: Convert a mapping of options to the arguments of C(vllm serve)
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Converts a mapping of options to the list of arguments of C(vllm serve), in the order of the mapping.
  - Names are written with C(_), as in C(max_model_len). Other spellings are rejected, so that no option is passed
    twice.
  - V(true) becomes the flag without a value, V(false) becomes C(--no-FLAG), and V(null) drops the option.
  - A list becomes the flag followed by its values, a mapping becomes JSON, and any other value becomes text.
  - C(gpu_memory_utilization) is written with two decimals.
options:
  _input:
    description: Options by name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the arguments
  ansible.builtin.debug:
    msg: "{{ {'max_model_len': 32768, 'enable_prefix_caching': true} | dgxspark.vllm.vllm_argv }}"
# => ['--max-model-len', '32768', '--enable-prefix-caching']

- name: Drop one flag of the profile, and disable another one
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
