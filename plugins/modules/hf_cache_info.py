#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_info
short_description: Tells what a Hugging Face cache holds, what is missing, and which partial downloads are alive
version_added: "0.1.0"
description:
  - Lists the repositories of a Hugging Face cache with their revisions, sizes and partial downloads.
  - Both layouts are read, the tree in O(path) itself (what vLLM's C(--download-dir) makes) and the one in C(hub) below
    it. A repository that is in both is listed twice.
  - A partial download is live when a process has it open, or its lock or vLLM's lock is held. Its age says nothing,
    because a running download can rest for long. Locks are only tried, for an instant, and none is created.
  - Run it as root. Otherwise the open files of others cannot be seen, and whether a partial is live stays V(null).
  - A folder that does not exist is an empty cache, not an error.
author:
  - The dgxspark.vllm authors (@dgxspark)
attributes:
  check_mode:
    support: full
    description: Can run in check mode and changes nothing.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference to show.
  idempotent:
    support: full
    description: Reads only.
options:
  path:
    description: Absolute path of the cache. The root directory and a symbolic link are refused.
    type: path
    default: /opt/hf
  models:
    description: Only these models, by their Hugging Face id. All repositories by default.
    type: list
    elements: str
    default: []
seealso:
  - module: dgxspark.vllm.hf_cache_clean
"""

EXAMPLES = r"""
- name: Look at the cache
  dgxspark.vllm.hf_cache_info:
    path: /opt/hf
    models: [Qwen/Qwen3-8B-FP8]
  become: true
  register: cache

- name: Name the models that can be served offline
  ansible.builtin.debug:
    msg: "{{ cache.repositories | selectattr('complete', 'eq', true) | map(attribute='repo_id') }}"
"""

RETURN = r"""
path:
  description: The cache.
  returned: always
  type: str
  sample: /opt/hf
exists:
  description: Whether the folder exists.
  returned: always
  type: bool
  sample: true
total_bytes:
  description: Size of the file system that holds, or would hold, the cache.
  returned: always
  type: int
  sample: 3936818806784
free_bytes:
  description: What an ordinary user may still fill of it.
  returned: always
  type: int
  sample: 3519069872128
bytes:
  description: Size of all finished files in the listed repositories; a file that several of them share counts once.
  returned: always
  type: int
  sample: 9452126208
repositories:
  description: What is in the cache.
  returned: always
  type: list
  elements: dict
  contains:
    repo_id: {description: Id of the repository., type: str, returned: always, sample: Qwen/Qwen3-8B-FP8}
    type: {description: 'V(model), V(dataset), V(space) or V(kernel).', type: str, returned: always, sample: model}
    path: {description: Its folder., type: str, returned: always, sample: /opt/hf/models--Qwen--Qwen3-8B-FP8}
    bytes: {description: Size of its finished files., type: int, returned: always, sample: 9452126208}
    revisions:
      description: Commits of which there is a snapshot.
      type: list
      elements: str
      returned: always
      sample: [220b46e3b2180893580a4454f21f22d3ebb187d3]
    refs:
      description: Commits by name of the branch or tag.
      type: dict
      returned: always
      sample: {main: 220b46e3b2180893580a4454f21f22d3ebb187d3}
    complete:
      description:
        - Whether the snapshot of C(main), or the only snapshot, has all that serving needs. These are C(config.json),
          weights, every shard of the index, no broken link, the sizes of the manifest where there is one, and no
          partial of an absent file.
        - V(null) when there are several snapshots and no C(main), and for what is not a model.
        - Sizes are compared, contents are not.
      type: bool
      returned: always
      sample: false
    missing:
      description: What keeps it from being complete.
      type: list
      elements: str
      returned: always
      sample: [model-00002-of-00002.safetensors]
    partials:
      description: Its partial downloads, as in RV(partials).
      type: list
      elements: dict
      returned: always
      sample: []
partials:
  description: All partial downloads, those into plain folders included unless O(models) is set.
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
      description: Its repository, V(null) in a plain folder.
      type: str
      returned: always
      sample: Qwen/Qwen3-8B-FP8
    bytes: {description: Its size., type: int, returned: always, sample: 1048576000}
    allocated_bytes:
      description: What it takes on the disk. Less than the size when the file has holes.
      type: int
      returned: always
      sample: 1048576000
    live:
      description: Whether somebody downloads it. V(null) when that cannot be told.
      type: bool
      returned: always
      sample: true
    reason: {description: Why., type: str, returned: always, sample: a process has it open}
    holder_pid: {description: The process that downloads it., type: int, returned: always, sample: 4242}
    holder_command:
      description: The first two words of its command line, tokens and keys masked.
      type: str
      returned: always
      sample: /usr/bin/python3 /usr/local/bin/vllm
    age_seconds:
      description: Time since the last write. For the reader only; it is no sign of life.
      type: int
      returned: always
      sample: 17
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils import _hf_cache, _spark


def read_cache(path: str, models: list[str]) -> dict[str, t.Any]:
    repositories, partials = _hf_cache.scan(path, models)
    with _hf_cache.judged(partials, path, exclusive=False):
        pass
    described = [_hf_cache.describe(repository, path) for repository in repositories]
    files: dict[tuple[int, int], int] = {}
    for _repository, own in described:
        files.update(own)
    return {
        "path": path,
        "exists": os.path.isdir(path),
        **_spark.filesystem_space(path),
        "bytes": sum(files.values()),
        "repositories": [repository for repository, _own in described],
        "partials": [partial.describe() for partial in partials],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/hf"},
            "models": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **read_cache(module.params["path"], module.params["models"]))
    except _hf_cache.CacheError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
