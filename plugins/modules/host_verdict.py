#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: host_verdict
short_description: End the play for a host that a report has named
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Fails, or reports the host as unreachable, so that C(ansible-playbook) ends with the exit code 2 or 4.
  - Runs on the controller and opens no connection. A host that does not answer costs no further timeout.
options:
  msg:
    description: Why, in one line. The callback P(dgxspark.vllm.brief#callback) does not repeat it.
    type: str
    required: true
  unreachable:
    description: Report the host as unreachable instead of failed.
    type: bool
    default: false
extends_documentation_fragment:
  - dgxspark.vllm.attributes
seealso:
  - module: dgxspark.vllm.health_report
"""

EXAMPLES = r"""
- name: Fail on the hosts that are not ready
  dgxspark.vllm.host_verdict:
    msg: not ready
  when: inventory_hostname in fleet.unhealthy
"""

RETURN = r"""
is_shown:
  description: Always V(true). A report has shown the reason.
  returned: always
  type: bool
  sample: true
"""
