#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_info
short_description: Read the content, defects and running downloads of a Hugging Face cache
version_added: "0.1.0"
description:
  - Lists the repositories of a Hugging Face cache with their revisions, sizes, partial downloads and broken files, and
    whether a model is complete.
  - Both layouts are read, the tree in O(path) itself (as made by vLLM's C(--download-dir)) and the one in its subfolder
    C(hub). A repository that is in both is listed twice.
  - A partial download is live if a process has it open, or its lock or vLLM's lock is held. Its age is not considered,
    because a running download can pause for long. Locks are only tried, for an instant, and none is created.
  - A folder that does not exist is an empty cache, not an error. Unreadable files and folders are listed in
    RV(unread).
author:
  - The dgxspark.vllm authors (@dgxspark)
extends_documentation_fragment:
  - dgxspark.vllm.attributes
  - dgxspark.vllm.hf_cache
options:
  models:
    description:
      - Models to read, by Hugging Face ID. All repositories by default.
      - C(ORGANIZATION/NAME@REVISION) selects the snapshot of a commit, branch or tag instead of C(main).
    type: list
    elements: str
    default: []
  verify:
    description:
      - Depth of the verification. The network is never used.
      - V(none) checks names, links and sizes.
      - V(headers) also reads the header of each weight file and the required JSON files. It finds truncated files and
        git-lfs pointers.
      - V(full) also hashes every file, and compares the hash with the name in the cache. It uses one thread per core,
        and is limited by the speed of the disk.
    type: str
    choices: [none, headers, full]
    default: headers
  owner:
    description:
      - Expected owner of every file, by name or number. Other files are reported as V(wrong_owner).
      - The owner is not checked by default.
    type: str
seealso:
  - module: dgxspark.vllm.hf_cache_clean
"""

EXAMPLES = r"""
- name: Read the cache
  dgxspark.vllm.hf_cache_info:
    path: /opt/hf
  become: true
  register: cache

- name: Show the models that can be served offline
  ansible.builtin.debug:
    msg: "{{ cache.repositories | selectattr('complete', 'eq', true) | map(attribute='repo_id') }}"

- name: Verify every byte of one model
  dgxspark.vllm.hf_cache_info:
    models: [Qwen/Qwen3-8B-FP8]
    verify: full
  become: true
  register: model
  failed_when: not model.models[0].complete
"""

RETURN = r"""
path:
  description: Path of the cache.
  returned: always
  type: str
  sample: /opt/hf
exists:
  description: Whether the folder exists.
  returned: always
  type: bool
  sample: true
filesystem:
  description: Type of the file system that holds, or would hold, the cache.
  returned: always
  type: str
  sample: ext4
total_bytes:
  description: Size of that file system.
  returned: always
  type: int
  sample: 3936818806784
free_bytes:
  description: Space of that file system that is available to ordinary users.
  returned: always
  type: int
  sample: 3519069872128
bytes:
  description:
    - Size of all complete files in the listed repositories and folders. A shared file counts once.
    - Without O(models), the whole shared blob store counts.
  returned: always
  type: int
  sample: 9452126208
allocated_bytes:
  description: Space that these files use on disk.
  returned: always
  type: int
  sample: 9452142592
models:
  description: One entry for each of O(models), in their order, from the tree that holds more of the model.
  returned: always
  type: list
  elements: dict
  contains:
    repo_id: {description: ID of the model., type: str, returned: always, sample: Qwen/Qwen3-8B-FP8}
    revision: {description: 'The requested revision, V(null) for C(main).', type: str, returned: always, sample: main}
    commit:
      description: The commit that was checked. V(null) if there is none.
      type: str
      returned: always
      sample: 220b46e3b2180893580a4454f21f22d3ebb187d3
    path:
      description: Folder of the repository. V(null) if it does not exist.
      type: str
      returned: always
      sample: /opt/hf/models--Qwen--Qwen3-8B-FP8
    complete: {description: 'As in RV(repositories).', type: bool, returned: always, sample: true}
    missing:
      description: Missing files, and whether the other tree has them.
      type: list
      elements: str
      returned: always
      sample: ["config.json (it is in /opt/hf/hub/models--Qwen--Qwen3-8B-FP8)"]
repositories:
  description: Repositories of the cache.
  returned: always
  type: list
  elements: dict
  contains:
    repo_id: {description: ID of the repository., type: str, returned: always, sample: Qwen/Qwen3-8B-FP8}
    type: {description: 'V(model), V(dataset), V(space) or V(kernel).', type: str, returned: always, sample: model}
    path: {description: Its folder., type: str, returned: always, sample: /opt/hf/models--Qwen--Qwen3-8B-FP8}
    bytes: {description: Size of its complete files., type: int, returned: always, sample: 9452126208}
    allocated_bytes: {description: Space that they use on disk., type: int, returned: always, sample: 9452142592}
    files: {description: Number of files., type: int, returned: always, sample: 12}
    revisions:
      description: Commits that have a snapshot.
      type: list
      elements: str
      returned: always
      sample: [220b46e3b2180893580a4454f21f22d3ebb187d3]
    refs:
      description: Commits by branch or tag.
      type: dict
      returned: always
      sample: {main: 220b46e3b2180893580a4454f21f22d3ebb187d3}
    complete:
      description:
        - Whether the snapshot of C(main), or the only snapshot, can be served. It needs C(config.json), weights, every
          shard of the index, no broken link, the sizes of the manifest if there is one, all files that
          M(dgxspark.vllm.hf_download) selected, and no partial download of an absent file. Defects found by O(verify)
          count too.
        - V(null) if there are several snapshots and no C(main), and for repositories that are not models.
      type: bool
      returned: always
      sample: false
    missing:
      description: Missing or defective files.
      type: list
      elements: str
      returned: always
      sample: [model-00002-of-00002.safetensors]
    partials:
      description: Partial downloads, as in RV(partials).
      type: list
      elements: dict
      returned: always
      sample: []
    broken:
      description: Defects, as in RV(broken).
      type: list
      elements: dict
      returned: always
      sample: []
local_folders:
  description: Plain folders that were the target of a download, unless O(models) is set.
  returned: always
  type: list
  elements: dict
  contains:
    path: {description: The folder., type: str, returned: always, sample: /opt/hf/qwen3}
    bytes: {description: Size of the files that a client put there., type: int, returned: always, sample: 9452126208}
    allocated_bytes: {description: Space that they use on disk., type: int, returned: always, sample: 9452142592}
    files: {description: Number of files., type: int, returned: always, sample: 12}
    complete: {description: 'As in RV(repositories), without a manifest.', type: bool, returned: always, sample: true}
    missing: {description: Missing or defective files., type: list, elements: str, returned: always, sample: []}
    partials: {description: 'As in RV(partials).', type: list, elements: dict, returned: always, sample: []}
    broken: {description: 'As in RV(broken).', type: list, elements: dict, returned: always, sample: []}
broken:
  description:
    - Defects of the cache.
    - The states are also the classes of M(dgxspark.vllm.hf_cache_clean), except V(outside) and V(wrong_owner), which
      are only reported.
  returned: always
  type: list
  elements: dict
  contains:
    state:
      description:
        - V(dangling_links) have no target, or form a loop.
        - V(truncated) files have another size than their header or the manifest specifies.
        - V(empty) files have no content, although their hash is not that of an empty file.
        - V(lfs_pointers) are git-lfs pointer files in place of weights.
        - V(invalid_json) is a C(config.json) or an index that cannot be parsed.
        - V(corrupt) files have another hash than their name. Only O(verify=full) finds them.
        - V(sparse) files have unwritten parts. They may be corrupt; O(verify=full) confirms or clears them.
        - V(refs) are empty, not a commit, or name a snapshot that does not exist.
        - V(unreferenced) blobs are in no snapshot.
        - V(probes) are temporary files of a client that was killed.
        - V(outside) links lead out of the cache.
        - V(wrong_owner) is reported once per repository, see O(owner).
      type: str
      returned: always
      sample: truncated
    path:
      description: The blob, link, ref or file.
      type: str
      returned: always
      sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/blobs/0123456789abcdef0123456789abcdef01234567
    file:
      description: Name in the snapshot. V(null) if it has none.
      type: str
      returned: always
      sample: model-00002-of-00002.safetensors
    repo_id: {description: 'Repository, V(null) in a plain folder.', type: str, returned: always, sample: a/b}
    reason: {description: The defect., type: str, returned: always, sample: 1048576 bytes instead of 4900000000}
    bytes: {description: Size., type: int, returned: always, sample: 1048576}
    allocated_bytes: {description: Space used on disk., type: int, returned: always, sample: 1048576}
partials:
  description: All partial downloads. Those into plain folders are included unless O(models) is set.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      returned: always
      sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/blobs/0123456789abcdef0123456789abcdef01234567.incomplete
    repo_id:
      description: Repository, V(null) in a plain folder.
      type: str
      returned: always
      sample: Qwen/Qwen3-8B-FP8
    bytes: {description: Size., type: int, returned: always, sample: 1048576000}
    allocated_bytes:
      description: Space used on disk. Less than the size if the file is sparse.
      type: int
      returned: always
      sample: 1048576000
    live:
      description: Whether a process is downloading it. V(null) if unknown.
      type: bool
      returned: always
      sample: true
    reason: {description: Reason., type: str, returned: always, sample: a process has it open}
    holder_pid: {description: The process that downloads it., type: int, returned: always, sample: 4242}
    holder_command:
      description: First two words of its command line, without tokens and keys.
      type: str
      returned: always
      sample: /usr/bin/python3 /usr/local/bin/vllm
    age_seconds:
      description: Seconds since the last write. Not used to determine RV(partials[].live).
      type: int
      returned: always
      sample: 17
verified:
  description: Files that were hashed. None without O(verify=full).
  returned: always
  type: dict
  contains:
    files: {description: Number of files., type: int, returned: always, sample: 12}
    bytes: {description: Bytes read., type: int, returned: always, sample: 9452126208}
unread:
  description: Unreadable files and folders. They are in no other part of the result.
  returned: always
  type: list
  elements: dict
  contains:
    path: {description: The file or folder., type: str, returned: always, sample: /opt/hf/models--a--b/blobs}
    reason: {description: Reason., type: str, returned: always, sample: Permission denied}
  sample: []
"""

import os
import pwd
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import (
    blob_store,
    hashing,
    layout,
    local_dirs,
    locks,
    memory,
    snapshot,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.content import Asked, Content, Totals
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import spark


def read_cache(path: str, models: list[str], verify: str, owner: int | None) -> dict[str, t.Any]:
    look = layout.Look()
    layout.check_path(path)
    path = os.path.normpath(path)
    wanted = [model.partition("@") for model in models]
    names = [name for name, _at, _revision in wanted]
    layout.check_models(names, path=path)
    totals = Totals(counts_store=not models)
    asked = Asked(
        headers=verify != "none",
        owner=owner,
        kind=locks.filesystem_of(path),
        revisions={name: revision for name, _at, revision in wanted if revision},
        totals=totals,
    )
    repositories = layout.find_repositories(path, names, look)
    trees = [snapshot.scan_repository(repository, asked, look) for repository in repositories]
    folders = [] if models else layout.find_local_folders(path, look)
    plain = [local_dirs.scan_local(folder, asked, look) for folder in folders]
    contents = trees + plain
    verified = hashing.verify(contents, look) if verify == "full" else {"files": 0, "bytes": 0}
    broken = [each.describe(content.repo_id) for content in contents for each in content.broken]
    if not models:
        broken += blob_store.count_stores(path, totals, look, waste=verify == "full")
    partials = [partial for content in contents for partial in content.partials]
    with locks.judged(partials, path, exclusive=False):
        pass
    return {
        "path": path,
        "exists": os.path.isdir(path),
        "filesystem": asked.kind,
        **spark.filesystem_space(path),
        "bytes": totals.bytes,
        "allocated_bytes": totals.allocated,
        "models": [_answer(name, revision or None, trees) for name, _at, revision in wanted],
        "repositories": [_repository(*both) for both in zip(repositories, trees)],
        "local_folders": [content.describe() for content in plain],
        "broken": broken,
        "partials": [partial.describe() for partial in partials],
        "verified": verified,
        "unread": [{"path": layout.shown(place), "reason": reason} for place, reason in sorted(look.skipped.items())],
    }


def _repository(repository: layout.Repository, content: Content) -> dict[str, t.Any]:
    shown = layout.shown
    return {
        "repo_id": shown(repository.repo_id),
        "type": repository.type,
        "revisions": [shown(revision) for revision in content.revisions],
        "refs": {shown(name): shown(commit) for name, commit in content.refs.items()},
        **content.describe(),
    }


def _answer(name: str, revision: str | None, trees: list[Content]) -> dict[str, t.Any]:
    """What both trees together say of a model: it may be whole in one, or half in each."""
    mine = sorted(
        (tree for tree in trees if tree.repo_id == name), key=lambda tree: (not tree.complete, len(tree.missing))
    )
    answer: dict[str, t.Any] = {"repo_id": name, "revision": revision, "commit": None, "path": None}
    if not mine:
        return {**answer, "complete": False, "missing": ["the repository"]}
    best, others = mine[0], mine[1:]
    missing = []
    for gap in best.missing:
        has = [tree.path for tree in others if tree.commit and gap not in tree.missing and tree.has(gap)]
        missing.append(layout.shown(gap) + (f" (it is in {layout.shown(has[0])})" if has else ""))
    found = {"commit": best.commit and layout.shown(best.commit), "path": layout.shown(best.path)}
    return {**answer, **found, "complete": best.complete, "missing": missing}


def _uid(owner: str) -> int:
    try:
        return int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise layout.CacheError(f"owner: there is no user {owner}; use a name or a number, like root") from None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/hf"},
            "models": {"type": "list", "elements": "str", "default": []},
            "verify": {"type": "str", "choices": ["none", "headers", "full"], "default": "headers"},
            "owner": {"type": "str"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    try:
        owner = _uid(asked["owner"]) if asked["owner"] else None
        with memory.limited():
            found = read_cache(asked["path"], asked["models"], asked["verify"], owner)
    except layout.CacheError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
