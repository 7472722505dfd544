# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The documentation of the action plugin of the same name, which does the work on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: check_variables
short_description: Check the variables of this collection's roles before anything changes
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Reads every variable whose name begins with the name of the role, and the role's argument specification.
  - Checks names (with the nearest known one), types, choices, ranges, paths, contradictions, and whether model,
    profile, image and the options of vLLM fit together.
  - Runs on the controller. It opens no connection, changes nothing, and never prints the value of a secret.
  - A role that has not been loaded yet can be checked, too. The defaults of its argument specification stand in for
    what the user has not set.
options:
  role:
    description:
      - The role, or a list of roles, whose variables are checked.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
    description: Does the same in check mode, because it never changes anything.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Gives the same answer for the same variables.
notes:
  - Names that begin with the name of a role belong to that role. A registered variable of yours with such a name is
    reported as unknown.
seealso:
  - plugin: dgxspark.vllm.model
    plugin_type: lookup
  - plugin: dgxspark.vllm.image
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Check the variables of one role
  dgxspark.vllm.check_variables:
    role: vllm

- name: Check all of them before the first host is touched
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
    - One line for each problem. Each names the variable, its value, and what is allowed.
    - The task fails if there is one, with all lines in RV(ignore:msg).
  returned: always
  type: list
  elements: str
  sample:
    - "vllm_port: 99999 is not allowed; use a TCP port from 1 to 65535"
    - "vllm_modle: unknown variable; did you mean vllm_model?"
"""
