#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_clean
short_description: Removes dead partial downloads from a Hugging Face cache
version_added: "0.1.0"
description:
  - Removes partial downloads (C(*.incomplete)) that nobody works on any more. Finished files, links, locks and
    everything else stay.
  - A partial is dead when its lock and vLLM's lock are free and no process, in whatever container, has it open. The
    locks are held from that check until it is removed, so a download cannot start in between. Age and size are never
    asked.
  - What cannot be told apart is kept, and the result says why. So it is on network file systems, without root, and next
    to a soft lock, which a client makes where locking is not supported.
  - Partials are looked for in O(path) itself, in C(hub) below it, and, unless O(models) is set, in plain folders that
    were the target of a download (C(.cache/huggingface/download), at most two levels down).
author:
  - The dgxspark.vllm authors (@dgxspark)
attributes:
  check_mode:
    support: full
    description: Says what would be removed.
  diff_mode:
    support: full
    description: Lists the partials before and after.
  idempotent:
    support: full
    description: The second run finds nothing to remove.
options:
  path:
    description: Absolute path of the cache. The root directory and a symbolic link are refused.
    type: path
    default: /opt/hf
  models:
    description: Only partials of these models, by their Hugging Face id. Everything by default.
    type: list
    elements: str
    default: []
notes:
  - Clients before huggingface_hub 1.18 resume from a partial of theirs, so cleaning makes them start that file anew.
seealso:
  - module: dgxspark.vllm.hf_cache_info
"""

EXAMPLES = r"""
- name: Remove what interrupted downloads left behind
  dgxspark.vllm.hf_cache_clean:
    path: /opt/hf
  become: true
  register: cleaned

- name: Say what it gave back
  ansible.builtin.debug:
    msg: "{{ cleaned.removed | length }} files, {{ cleaned.bytes_freed | human_readable }}"
"""

RETURN = r"""
removed:
  description: Partials that were removed, or would be in check mode.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      returned: always
      sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/blobs/0123456789abcdef0123456789abcdef01234567.incomplete
    bytes: {description: What it gave back to the disk., type: int, returned: always, sample: 1048576000}
    reason:
      description: Why it could go.
      type: str
      returned: always
      sample: "nobody downloads it: not locked, and no process has it open"
kept:
  description: Partials that stay.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      returned: always
      sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/blobs/76543210fedcba9876543210fedcba9876543210.incomplete
    bytes: {description: What it takes on the disk., type: int, returned: always, sample: 524288000}
    reason: {description: Why it stays., type: str, returned: always, sample: a process has it open}
    holder_pid:
      description: The process that downloads it, if it could be found.
      type: int
      returned: always
      sample: 4242
    holder_command:
      description: The first two words of its command line, tokens and keys masked.
      type: str
      returned: always
      sample: /usr/bin/python3 /usr/local/bin/vllm
bytes_freed:
  description: What was given back to the disk, or would be in check mode.
  returned: always
  type: int
  sample: 1048576000
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils import _hf_cache


def clean(path: str, models: list[str], check_mode: bool) -> dict[str, t.Any]:
    _repositories, partials = _hf_cache.scan(path, models)
    removed, kept = [], []
    with _hf_cache.judged(partials, path, exclusive=not check_mode):
        for partial in partials:
            reason = partial.reason
            if partial.live is False:
                try:
                    freed = _hf_cache.remove(partial, check_mode)
                except OSError as error:
                    reason = f"cannot be removed: {error.strerror}"
                else:
                    if freed is not None:
                        removed.append({"path": partial.path, "bytes": freed, "reason": reason})
                    continue
            kept.append(
                {
                    "path": partial.path,
                    "bytes": partial.allocated,
                    "reason": reason,
                    "holder_pid": partial.holder_pid,
                    "holder_command": partial.holder_command,
                }
            )
    return {"removed": removed, "kept": kept, "bytes_freed": sum(file["bytes"] for file in removed)}


def listing(files: list[dict[str, t.Any]]) -> str:
    return "".join(f"{file['path']} {file['bytes']}\n" for file in sorted(files, key=lambda file: file["path"]))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/hf"},
            "models": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        result = clean(module.params["path"], module.params["models"], module.check_mode)
    except _hf_cache.CacheError as error:
        module.fail_json(msg=str(error))
    if module._diff:
        result["diff"] = {"before": listing(result["removed"] + result["kept"]), "after": listing(result["kept"])}
    module.exit_json(changed=bool(result["removed"]), **result)


if __name__ == "__main__":
    main()
