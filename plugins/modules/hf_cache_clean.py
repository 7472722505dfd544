#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_clean
short_description: Remove dead partial downloads, broken files and unwanted models from a Hugging Face cache
version_added: "0.1.0"
description:
  - Removes the files selected by O(classes), by default partial downloads (C(*.incomplete)) that are no longer in use.
    All other files stay. Locks are never removed.
  - A file is in use if its lock or vLLM's lock is held, or if a process, in any container, has it open. For all classes
    except V(partials), no file of the repository may be in use. The locks are held from that check until the file is
    removed, so a download cannot start in between. Age and size are not considered.
  - If it is unknown whether a file is in use, it is kept, and RV(kept) gives the reason. This applies to network file
    systems, to runs without root, and to soft locks, which clients use if the file system does not support locking.
  - A defective blob is removed together with its links, so that the next start of a model downloads it again.
author:
  - The dgxspark.vllm authors (@dgxspark)
extends_documentation_fragment:
  - dgxspark.vllm.hf_cache
attributes:
  check_mode:
    support: full
    description: Reports what would be removed.
  diff_mode:
    support: full
    description: Lists the selected files before and after.
  idempotent:
    support: full
    description: The second run finds nothing to remove.
options:
  models:
    description: Models whose files are considered, by Hugging Face ID. All by default.
    type: list
    elements: str
    default: []
  classes:
    description:
      - Classes of files to remove.
      - V(partials) are incomplete downloads in repositories and plain folders.
      - V(dangling_links) have no target, or form a loop. The tools of the client do not list a repository with one.
      - V(truncated) files have another size than their header or the manifest specifies.
      - V(empty) files have no content, although their hash is not that of an empty file.
      - V(lfs_pointers) are git-lfs pointer files in place of weights.
      - V(invalid_json) is a C(config.json) or an index that cannot be parsed.
      - V(corrupt) files have another hash than their name. Every file is hashed to find them.
      - V(sparse) files have unwritten parts. They are hashed, and removed if they are corrupt.
      - V(refs) are empty, not a commit, or name a snapshot that does not exist.
      - V(unreferenced) blobs are in no snapshot.
      - V(probes) are temporary files of a client that was killed.
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
      - Models to keep. Every other model is removed completely, unless it is being downloaded or a process has one of
        its files open. Repositories of other types and plain folders stay.
      - By default no model is removed. An empty list is rejected, and so is the combination with O(models).
    type: list
    elements: str
  assume_idle:
    description:
      - Set to V(true) if no other host uses the cache. It allows removals on a network file system, where a lock that
        seems free may be held on another host.
      - Open files and locks on this host are considered in any case.
    type: bool
    default: false
notes:
  - Clients before huggingface_hub 1.18 resume partial downloads. After a clean they download the file from the start.
seealso:
  - module: dgxspark.vllm.hf_cache_info
"""

EXAMPLES = r"""
- name: Remove the remains of interrupted downloads
  dgxspark.vllm.hf_cache_clean:
    path: /opt/hf
  become: true
  register: cleaned

- name: Show the freed space
  ansible.builtin.debug:
    msg: "{{ cleaned.removed | length }} files, {{ cleaned.bytes_freed | human_readable }}"

- name: Remove defective files of a model, so that the next start downloads them again
  dgxspark.vllm.hf_cache_clean:
    models: [Qwen/Qwen3-8B-FP8]
    classes: [partials, dangling_links, truncated, empty, lfs_pointers, invalid_json, corrupt]
  become: true

- name: Show which models would be removed
  dgxspark.vllm.hf_cache_clean:
    keep_models: [Qwen/Qwen3-8B-FP8]
  become: true
  check_mode: true
  diff: true
"""

RETURN = r"""
removed:
  description: Files that were removed, or would be in check mode.
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
    size: {description: Size., type: int, returned: always, sample: 1073741824}
    bytes:
      description:
        - Space freed on disk. Less than the size if the file is sparse, 0 if it has another hard link.
      type: int
      returned: always
      sample: 1048576000
    reason:
      description: Why it was removed.
      type: str
      returned: always
      sample: "nobody downloads it: not locked, and no process has it open"
kept:
  description:
    - Files that O(classes) or O(keep_models) would have removed if they were not in use. Models that O(keep_models)
      names are not listed.
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
    size: {description: Size., type: int, returned: always, sample: 1073741824}
    bytes: {description: Space used on disk., type: int, returned: always, sample: 524288000}
    reason: {description: Why it was kept., type: str, returned: always, sample: a process has it open}
    holder_pid:
      description: Process that downloads or uses it, if known.
      type: int
      returned: always
      sample: 4242
    holder_command:
      description: First two words of its command line, without tokens and keys.
      type: str
      returned: always
      sample: /usr/bin/python3 /usr/local/bin/vllm
bytes_freed:
  description: Space freed on disk, or that would be in check mode.
  returned: always
  type: int
  sample: 1048576000
unread:
  description: Unreadable files and folders, which were left unchanged.
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
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import layout, memory


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
        "unread": [
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
        with memory.limited():
            result = clean(module.params, module.check_mode)
    except layout.CacheError as error:
        module.fail_json(msg=str(error))
    if module._diff:
        result["diff"] = {"before": listing(result["removed"] + result["kept"]), "after": listing(result["kept"])}
    module.exit_json(changed=bool(result["removed"]), **result)


if __name__ == "__main__":
    main()
