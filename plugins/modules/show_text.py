#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: show_text
short_description: Show a text of several lines as it is
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Prints a text directly, so it looks the same with every callback and every format of results, where
    M(ansible.builtin.debug) may show its line breaks as C(\n).
  - It is not printed with the callbacks C(json), C(jsonl) and C(null), or with C(display_ok_hosts=false).
  - Runs on the controller and opens no connection.
options:
  msg:
    description: The text.
    type: str
    required: true
extends_documentation_fragment:
  - dgxspark.vllm.attributes
seealso:
  - module: ansible.builtin.debug
"""

EXAMPLES = r"""
- name: Show the result
  dgxspark.vllm.show_text:
    msg: |-
      spark01 serves Qwen/Qwen3-8B-FP8
      URL: http://127.0.0.1:8000/v1
"""

RETURN = r"""
msg:
  description: The text.
  returned: success
  type: str
  sample: spark01 serves Qwen/Qwen3-8B-FP8
"""
