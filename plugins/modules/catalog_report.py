# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_report
short_description: Show the catalog of models as one table
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Prints one table of the models that the lookup P(dgxspark.vllm.model#lookup) returns, with the memory plans of a
    host. Each figure is labeled with its source.
  - The table is printed directly, so it looks the same with every callback. It is not printed with the callbacks
    C(json), C(jsonl) and C(null), or with C(display_ok_hosts=false).
  - Runs on the controller and opens no connection. Use it with C(run_once).
options:
  models:
    description: The models, in the order of the table.
    type: list
    elements: dict
    required: true
  plans:
    description:
      - Memory plans by name of the model. Mappings with C(fits), C(kv_tokens), C(max_context) and C(sequences), as
        returned by the filter P(dgxspark.vllm.memory_plan#filter).
      - A model with C(image_cannot_run), which the lookup sets for an image, is shown as incompatible.
    type: dict
    default: {}
  images:
    description: References of the images that the plans are made with, by name of the model.
    type: dict
    default: {}
  title:
    description: Line above the table.
    type: str
    default: ""
extends_documentation_fragment:
  - dgxspark.vllm.attributes
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
  description: The printed table.
  returned: always
  type: str
"""
