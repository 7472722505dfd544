# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: settings
short_description: Options and environment of a vLLM service, with where each value comes from
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Merges layers of options and environment variables. A later layer wins over an earlier one, name by name, and a name
    keeps the place in which it came first.
  - The role C(vllm) makes its command line and its environment with this filter, and C(vllm_explain) prints what it
    says, so that the two cannot differ. Its layers are, in this order, the collection, the profile, the model, the
    image, the host (with the variables that have a name of their own), the extra options, and what
    C(vllm_auto_remedy) has found.
  - Nothing is judged here. RV(_value.args) goes to P(dgxspark.vllm.vllm_argv#filter), which refuses bad names, and to
    which V(none) means that an option is dropped.
options:
  _input:
    description:
      - The layers, the weakest first. Each is a dictionary with C(from) and, as it has them, C(args), C(environment)
        and C(notes), a word on single values by name.
    type: list
    elements: dict
    required: true
seealso:
  - plugin: dgxspark.vllm.vllm_argv
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Where does each option come from?
  ansible.builtin.debug:
    msg: "{{ (layers | dgxspark.vllm.settings).lines }}"
  vars:
    layers:
      - from: profile latency
        args: {max_model_len: 16384, max_num_seqs: 16}
      - from: vllm_extra_args
        args: {max_num_seqs: 4}
# => ['--max-model-len 16384  profile latency',
#     '--max-num-seqs 4       vllm_extra_args, instead of 16 of profile latency']
"""

RETURN = r"""
_value:
  description: What the layers make together.
  type: dict
  contains:
    args:
      description: The options by name, in their order.
      type: dict
    environment:
      description: The environment variables by name, in their order.
      type: dict
    explained:
      description:
        - One entry for each value, with C(kind), C(name), C(value), C(from), C(note), and in C(over) what lost, the
          strongest first.
      type: list
      elements: dict
    lines:
      description: The same as text, one line each, the options first.
      type: list
      elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import plain, to_argv
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan import settings as plan_settings


def settings(layers: t.Any) -> dict[str, t.Any]:
    if not isinstance(layers, (list, tuple)) or not all(isinstance(layer, t.Mapping) for layer in layers):
        raise AnsibleFilterError("settings: the input must be a list of layers")
    try:
        merged = plan_settings.settings(plain(layers))
        of_kind = {kind: [item for item in merged["explained"] if item["kind"] == kind] for kind in plan_settings.KINDS}
        options = plan_settings.lines(of_kind["args"], _option)
        environment = plan_settings.lines(of_kind["environment"], lambda name, value: f"{name}={value}")
    except ValueError as error:
        raise AnsibleFilterError(f"settings: {error}") from error
    return {**merged, "lines": options + environment}


def _option(name: str, value: t.Any) -> str:
    """As the command line has it; what is dropped is named, too."""
    return " ".join(to_argv({name: value})) or f"({name} is dropped)"


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"settings": settings}
