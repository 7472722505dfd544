#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_clean
short_description: Removes dead partial downloads, broken files and models that nobody wants from a Hugging Face cache
version_added: "0.1.0"
description:
  - Removes what is chosen with O(classes), by default partial downloads (C(*.incomplete)) that nobody works on any
    more. Everything else stays, locks always.
  - A file is dead when its lock and vLLM's lock are free and no process, in whatever container, has it open. For all
    classes but V(partials) no file at all of the repository may be under way. The locks are held from that check until
    the file is gone, so a download cannot start in between. Age and size are never asked.
  - What cannot be told apart is kept, and the result says why. So it is on network file systems, without root, and next
    to a soft lock, which a client makes where locking is not supported.
  - A bad blob goes with its links, so that the next start of a model downloads it again.
author:
  - The dgxspark.vllm authors (@dgxspark)
extends_documentation_fragment:
  - dgxspark.vllm.hf_cache
attributes:
  check_mode:
    support: full
    description: Says what would be removed.
  diff_mode:
    support: full
    description: Lists the chosen files before and after.
  idempotent:
    support: full
    description: The second run finds nothing to remove.
options:
  models:
    description: Only files of these models, by their Hugging Face id. Everything by default.
    type: list
    elements: str
    default: []
  classes:
    description:
      - What to remove.
      - V(partials) are incomplete downloads, of repositories and in plain folders.
      - V(dangling_links) lead to nothing, or in a circle. One of them hides the repository from the client's own tools.
      - V(truncated) files are shorter or longer than their header or the manifest says.
      - V(empty) files have no byte, and their name says that they should.
      - V(lfs_pointers) are what git has instead of the weights.
      - V(invalid_json) is C(config.json) or an index that cannot be read.
      - V(corrupt) files have another hash than their name says. Every byte is read to find them.
      - V(sparse) files were partly never written. They are hashed, and removed when they are corrupt.
      - V(refs) are empty, no commit, or name a snapshot that is not there.
      - V(unreferenced) blobs are in no snapshot.
      - V(probes) are scratch files of a client that was killed.
    type: list
    elements: str
    choices:
      - partials
      - dangling_links
      - truncated
      - empty
      - lfs_pointers
      - invalid_json
      - corrupt
      - sparse
      - refs
      - unreferenced
      - probes
    default: [partials]
  keep_models:
    description:
      - Remove every model that is not in this list, whole, unless it is being downloaded or a process has a file of it
        open. Other repositories and plain folders stay.
      - Nothing is removed for this reason by default. An empty list is refused, and so is O(models) beside it.
    type: list
    elements: str
  assume_idle:
    description:
      - On network file systems a lock that seems free may be held on another host, so everything is kept there.
        V(true) says that no other host uses the cache now.
      - Open files and locks that can be seen on this host count all the same.
    type: bool
    default: false
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

- name: Remove what keeps a model from loading, so that the next start downloads it again
  dgxspark.vllm.hf_cache_clean:
    models: [Qwen/Qwen3-8B-FP8]
    classes: [partials, dangling_links, truncated, empty, lfs_pointers, invalid_json, corrupt]
  become: true

- name: See which models would go
  dgxspark.vllm.hf_cache_clean:
    keep_models: [Qwen/Qwen3-8B-FP8]
  become: true
  check_mode: true
  diff: true
"""

RETURN = r"""
removed:
  description: What was removed, or would be in check mode.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file or link, or the folder of a model that is not in O(keep_models).
      type: str
      returned: always
      sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/blobs/0123456789abcdef0123456789abcdef01234567.incomplete
    class: {description: 'One of O(classes), or V(pruned).', type: str, returned: always, sample: partials}
    size: {description: Its size., type: int, returned: always, sample: 1073741824}
    bytes:
      description:
        - What it gave back to the disk. Less than the size when the file has holes, nothing when it has another name.
      type: int
      returned: always
      sample: 1048576000
    reason:
      description: Why it could go.
      type: str
      returned: always
      sample: "nobody downloads it: not locked, and no process has it open"
kept:
  description: What was chosen and stays.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      returned: always
      sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/blobs/76543210fedcba9876543210fedcba9876543210.incomplete
    class: {description: 'As in RV(removed).', type: str, returned: always, sample: partials}
    size: {description: Its size., type: int, returned: always, sample: 1073741824}
    bytes: {description: What it takes on the disk., type: int, returned: always, sample: 524288000}
    reason: {description: Why it stays., type: str, returned: always, sample: a process has it open}
    holder_pid:
      description: The process that downloads or uses it, if it could be found.
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
skipped:
  description: What could not be read, and was left alone.
  returned: always
  type: list
  elements: dict
  contains:
    path: {description: The file or folder., type: str, returned: always, sample: /opt/hf/models--a--b/blobs}
    reason: {description: Why., type: str, returned: always, sample: Permission denied}
  sample: []
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import clean as hf_clean
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import layout


def clean(asked: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    layout.check_path(asked["path"])
    layout.check_models(asked["models"], path=asked["path"])
    keep = asked["keep_models"]
    if keep is not None:
        layout.check_models(keep, "keep_models", asked["path"])
        if asked["models"]:
            raise layout.CacheError("keep_models: not together with models; use one of the two")
        if not keep:
            raise layout.CacheError("keep_models: the list is empty; use the models that stay, or leave it out")
    cleaning = hf_clean.Cleaning(
        os.path.normpath(asked["path"]), set(asked["classes"]), check_mode, asked["assume_idle"]
    )
    cleaning.run(asked["models"], keep)
    return {
        "removed": cleaning.removed,
        "kept": cleaning.kept,
        "bytes_freed": sum(file["bytes"] for file in cleaning.removed),
        "skipped": [
            {"path": layout.shown(place), "reason": reason} for place, reason in sorted(cleaning.look.skipped.items())
        ],
    }


def listing(files: list[dict[str, t.Any]]) -> str:
    return "".join(f"{file['path']} {file['bytes']}\n" for file in sorted(files, key=lambda file: file["path"]))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/hf"},
            "models": {"type": "list", "elements": "str", "default": []},
            "classes": {
                "type": "list",
                "elements": "str",
                "choices": list(hf_clean.CLASSES),
                "default": ["partials"],
            },
            "keep_models": {"type": "list", "elements": "str"},
            "assume_idle": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = clean(module.params, module.check_mode)
    except layout.CacheError as error:
        module.fail_json(msg=str(error))
    if module._diff:
        result["diff"] = {"before": listing(result["removed"] + result["kept"]), "after": listing(result["kept"])}
    module.exit_json(changed=bool(result["removed"]), **result)


if __name__ == "__main__":
    main()
