# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: check_variables
short_description: Validate the variables of this collection's roles before anything changes
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Validates every variable whose name begins with the name of the role, against the role's argument specification.
  - Checks names (and suggests the nearest known one), types, choices, ranges, paths, contradictions, and the
    compatibility of model, profile, image and options of vLLM.
  - Runs on the controller. It opens no connection, changes nothing, and never prints the value of a secret.
  - The role need not be loaded. Variables that are not set have the defaults of its argument specification.
options:
  role:
    description:
      - Role, or list of roles, whose variables are validated.
    type: list
    elements: str
    required: true
  whole_groups:
    description:
      - Also refuse a play that has some hosts of a C(vllm_nodes) and not the others. For what must be done to all hosts
        that serve a model together, such as a deployment or a stop.
    type: bool
    default: false
extends_documentation_fragment:
  - dgxspark.vllm.attributes
notes:
  - Names that begin with the name of a role are reserved for that role. Any other variable with such a name, such as a
    registered one, is reported as unknown.
seealso:
  - plugin: dgxspark.vllm.model
    plugin_type: lookup
  - plugin: dgxspark.vllm.image
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Validate the variables of one role
  dgxspark.vllm.check_variables:
    role: vllm

- name: Validate all roles before the first host is changed
  dgxspark.vllm.check_variables:
    role:
      - spark_host
      - container_runtime
      - hf_cache
      - vllm
"""

RETURN = r"""
problems:
  description:
    - One line for each problem, with the variable, its value, and the allowed values.
    - The task fails if there is a problem, with all lines in RV(ignore:msg).
  returned: always
  type: list
  elements: str
  sample:
    - "vllm_port: 99999 is not allowed; use a TCP port from 1 to 65535"
    - "vllm_modle: unknown variable; did you mean vllm_model?"
"""
