#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells whether a model in the cache is complete, or has to be copied."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_copy_info
short_description: Tells whether a model in a Hugging Face cache is complete or has to be copied
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Looks up the files of one revision of a model, and compares their names and sizes with the list of files that the
    client or M(dgxspark.vllm.hf_download) recorded. No file is read, so that it takes a moment only.
  - This is what M(dgxspark.vllm.hf_cache_copy) checks before it copies anything. For a full report about a cache, see
    M(dgxspark.vllm.hf_cache_info).
extends_documentation_fragment:
  - dgxspark.vllm.attributes
  - dgxspark.vllm.hf_model
seealso:
  - module: dgxspark.vllm.hf_cache_copy
  - module: dgxspark.vllm.hf_cache_info
"""

EXAMPLES = r"""
- name: Check whether the model is complete
  dgxspark.vllm.hf_cache_copy_info:
    model: Qwen/Qwen3-8B-FP8
  become: true
  register: found
"""

RETURN = r"""
complete:
  description: Whether all files are present in their full size.
  returned: success
  type: bool
  sample: true
commit:
  description: Commit of the revision. V(null) if it is not known.
  returned: success
  type: str
  sample: 220b46e3b2180893580a4454f21f22d3ebb187d3
snapshot:
  description: Folder with the files. V(null) if there is none.
  returned: success
  type: str
  sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/snapshots/220b46e3b2180893580a4454f21f22d3ebb187d3
missing:
  description: Names of the files that are missing or damaged.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import memory
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.layout import CacheError
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import copy


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/hf"},
            "model": {"type": "str", "required": True},
            "revision": {"type": "str", "default": "main"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    try:
        with memory.limited():
            copy.check(asked["path"], asked["model"], asked["revision"])
            found = copy.look_up(os.path.normpath(asked["path"]), asked["model"], asked["revision"])
    except CacheError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
