# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: one_line
short_description: Turn the output of a program into one line that is safe on a terminal
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Removes control characters and escape sequences, and what reverses the direction of writing. Line breaks and other
    white space become single blanks.
options:
  _input:
    description: The output.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show what a program complained about
  ansible.builtin.debug:
    msg: "{{ result.stderr | dgxspark.vllm.one_line }}"
"""

RETURN = r"""
_value:
  description: The line.
  type: str
"""

import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain


def one_line(value: t.Any) -> str:
    return " ".join(plain(str(value)).split())


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"one_line": one_line}
