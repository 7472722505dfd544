# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The documentation of the action plugin of the same name, which does the work on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_report
short_description: Show the catalog of models as one table
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Takes models as the lookup P(dgxspark.vllm.model#lookup) gives them, and plans of a host for them, and prints one
    table. Every figure has the mark of its source.
  - The table is printed itself, not as a result, so that it looks the same with every callback. It is not printed when
    the output is meant for programs (callbacks C(json), C(jsonl) and C(null)), or with C(display_ok_hosts=false).
  - Runs on the controller and opens no connection. Use it with C(run_once).
options:
  models:
    description: The models, in the order in which they are shown.
    type: list
    elements: dict
    required: true
  plans:
    description:
      - By name of the model, what the host can do with it. A mapping with C(fits), C(kv_tokens), C(max_context) and
        C(sequences), as the filter P(dgxspark.vllm.memory_plan#filter) gives it.
      - A model that has C(image_cannot_run), which the lookup gives for an image, is shown as one that does not run.
    type: dict
    default: {}
  title:
    description: A line above the table.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Does the same in check mode, because it never changes anything.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Changes nothing.
seealso:
  - plugin: dgxspark.vllm.model
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Show every model
  dgxspark.vllm.catalog_report:
    models: "{{ query('dgxspark.vllm.model', '*') }}"
"""

RETURN = r"""
table:
  description: The table as it was shown.
  returned: always
  type: str
"""
