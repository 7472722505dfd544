#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: hf_download
short_description: Download a model into a Hugging Face cache, with live progress
version_added: "0.1.0"
description:
  - Downloads the files that vLLM needs of a model into the cache, so that a later start needs no download. These are
    configuration, tokenizer, templates, and the weights in the root of the repository (safetensors, or else C(*.bin),
    or else C(*.pt)). The same weights in other formats (folders C(original), C(metal), C(onnx), ...) are skipped.
  - The C(huggingface_hub) of the image that will serve the model does the download, in a container of its own, so the
    server reads the files with the version that wrote them. Versions 0.34 to 2.x are supported.
  - A complete model needs no network access. Missing files are found with the hub's list of files for the commit, so a
    newer commit of a branch is not looked for once one is complete.
  - Before the download, dead partial downloads of the model are removed (except those that this client can resume),
    free space is compared with the missing bytes, and files of a wrong size are removed. Files that somebody has edited
    are moved aside instead, see RV(set_aside).
  - The download continues when the playbook is stopped. The next task for the same model and cache joins it, and so
    does a concurrent one. Only one container at a time downloads a model into a cache.
  - The action plugin of the same name waits and prints the progress, at most one line every ten seconds.
extends_documentation_fragment:
  - dgxspark.vllm.hf_model
  - dgxspark.vllm.hf_model.hub
  - dgxspark.vllm.hf_model.size
options:
  commit:
    description:
      - Commit that O(revision) has to be, if that is a branch or tag. The branch is changed in the cache accordingly,
        so all hosts get what one of them has.
    type: str
  path:
    description:
      - Absolute path of the Hugging Face cache (C(HF_HUB_CACHE)).
      - The root directory and symbolic links are rejected.
    type: path
    default: /opt/hf
  image:
    description:
      - Image whose client does the download. It is pulled if it is not present.
      - Required unless O(offline=true).
    type: str
  env_file:
    description:
      - File on the host with the line C(HF_TOKEN='...'), for gated models. The file may be absent.
      - The token is not an option of this module, so it is not logged. In the container it is neither in an argument
        nor in the environment that C(docker inspect) shows.
    type: path
  environment:
    description: Additional environment variables for the client, such as C(HTTPS_PROXY).
    type: dict
    default: {}
  offline:
    description: Use neither the network nor a container. Fail if the model is not complete.
    type: bool
    default: false
  keep_free:
    description: Bytes of the file system that have to remain free after the download.
    type: int
    default: 2147483648
  stall_timeout:
    description:
      - Seconds without progress after which the download is stopped and the task fails. The total time is not limited.
      - Clients write up to 10 MB at once, so a slow connection needs a generous limit.
    type: int
    default: 900
  poll_interval:
    description: Initial seconds between two polls. The interval grows to 4 seconds.
    type: float
    default: 1.0
  follow:
    description: For the action plugin. ID of the container to poll; nothing is started.
    type: str
  cancel:
    description: For the action plugin. Stop the container O(follow).
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and changes nothing.
    support: full
    details:
      - Reports what would be downloaded. The list of files is read from the hub only if the image is present.
  diff_mode:
    description: Shows what changes in diff mode.
    support: full
    details: Lists the model's files before and after.
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - Requires root, because the files belong to the user of the container, which is root in vLLM's images.
  - Only file sizes are compared here. The client of the image verifies the contents that it downloads.
  - A task that joined the download of another task reports a change when the download succeeds.
author:
  - The dgxspark.vllm authors (@dgxspark)
seealso:
  - module: dgxspark.vllm.hf_cache_info
  - module: dgxspark.vllm.hf_cache_clean
"""

EXAMPLES = r"""
- name: Download a model before it is needed
  dgxspark.vllm.hf_download:
    model: Qwen/Qwen3-8B-FP8
    path: /opt/hf
    image: nvcr.io/nvidia/vllm:25.09-py3
  become: true

- name: Download a pinned revision of a gated model from a mirror
  dgxspark.vllm.hf_download:
    model: meta-llama/Llama-3.1-8B-Instruct
    revision: 0e9e39f249a16976918f6564b8830bc894c89659
    image: nvcr.io/nvidia/vllm:25.09-py3
    endpoint: https://hub.example.org
    env_file: /opt/vllm/.env
  become: true

- name: Fail unless the model is complete, without network access
  dgxspark.vllm.hf_download:
    model: Qwen/Qwen3-8B-FP8
    offline: true
  become: true
"""

RETURN = r"""
status:
  description:
    - V(complete) - all files are present.
    - V(missing) - check mode, RV(files) would be downloaded.
    - V(running) and V(gone) - for the action plugin, never the result of a task.
    - V(failed) - see RV(cause).
  returned: always
  type: str
  sample: complete
commit:
  description: Commit of the revision. V(null) if it is not known.
  returned: always
  type: str
  sample: 220b46e3b2180893580a4454f21f22d3ebb187d3
snapshot:
  description: Folder with the files. V(null) if it does not exist yet.
  returned: always
  type: str
  sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/snapshots/220b46e3b2180893580a4454f21f22d3ebb187d3
files:
  description: Files that were downloaded, or would be in check mode. Empty if not known.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Path in the repository., type: str, returned: always, sample: config.json}
    bytes: {description: File size., type: int, returned: always, sample: 905}
missing:
  description: Names of the files that were missing or damaged before the download.
  returned: always
  type: list
  elements: str
  sample: [model-00002-of-00002.safetensors]
removed:
  description: Files that were removed before the download, dead partials and damaged files.
  returned: always
  type: list
  elements: str
  sample: []
set_aside:
  description:
    - Files of the snapshot that were neither what the hub has nor a broken download, such as an edited
      C(tokenizer.json). They were moved out of the way of the hub's files, not deleted.
  returned: always
  type: list
  elements: dict
  sample: []
  contains:
    name:
      description: Name in the snapshot.
      type: str
      returned: always
      sample: tokenizer.json
    path:
      description: Where the file is now.
      type: str
      returned: always
      sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/.dgxspark/set-aside/20260131-120000-0a1b-tokenizer.json
bytes:
  description: Bytes of the wanted files on disk, including partial files. V(null) if not known.
  returned: always
  type: int
  sample: 9452126208
expected_bytes:
  description: Size of all wanted files. V(null) if not known.
  returned: always
  type: int
  sample: 9452126208
client:
  description: Version of the client that did the download. V(null) if none ran.
  returned: always
  type: str
  sample: 0.34.4
joined:
  description: Whether the download was already running when the task began.
  returned: always
  type: bool
  sample: false
container:
  description: ID of the container of the download. V(null) if there was none.
  returned: always
  type: str
  sample: 0d2c1fe39a1b
cause:
  description: Cause of the failure. V(null) without a failure.
  returned: always
  type: dict
  contains:
    id: {description: Short name of the cause., type: str, returned: always, sample: hf_gated_noauth}
    meaning: {description: What happened., type: str, returned: always, sample: the model is gated}
    remedy:
      description: What to do, in terms of the variables of the roles.
      type: str
      returned: always
      sample: accept the license on the model's page and set vllm_hf_token
    evidence: {description: 'Error message, without secrets.', type: str, returned: always, sample: 401 Client Error}
    link:
      description: Page of this collection's documentation with the details.
      type: str
      returned: always
      sample: docs/troubleshooting.md#hf_gated_noauth
seconds:
  description: Duration of the task.
  returned: always
  type: float
  sample: 97.5
msg:
  description: What failed, what it means and what to do, in one line.
  returned: on failure
  type: str
  sample: "sandbox/gated cannot be downloaded to /opt/hf on spark01: the model is gated ..."
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import layout, memory
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.download_causes import Failed
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.download_container import DownloadContainers
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.download_decide import begin
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.download_follow import follow
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.download_task import DownloadTask
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.model_files import check_revision, is_commit
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem


def argument_spec() -> dict[str, dict[str, t.Any]]:
    """The options of the module and of its action plugin, in one place."""
    return {
        "model": {"type": "str", "required": True},
        "revision": {"type": "str", "default": "main"},
        "commit": {"type": "str"},
        "path": {"type": "path", "default": "/opt/hf"},
        "image": {"type": "str"},
        "endpoint": {"type": "str"},
        "env_file": {"type": "path"},
        "environment": {"type": "dict", "default": {}},
        "offline": {"type": "bool", "default": False},
        "expected_bytes": {"type": "int"},
        "keep_free": {"type": "int", "default": 2147483648},
        "stall_timeout": {"type": "int", "default": 900},
        "poll_interval": {"type": "float", "default": 1.0},
        "follow": {"type": "str"},
        "cancel": {"type": "bool", "default": False},
    }


def download(module: AnsibleModule) -> DownloadTask:
    """One call: the first one starts a download or joins it, the later ones follow its container."""
    task = DownloadTask(module)
    containers = DownloadContainers(task)
    try:
        if module.params["follow"]:
            follow(task, containers, module.params["follow"])
        else:
            begin(task, containers)
    except Failed as failed:
        task.result.update(status="failed", cause=failed.cause)
    return task


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    options = module.params
    try:
        layout.check_path(options["path"])
        layout.check_models([options["model"]], "model")
        wrong = check_revision(options["revision"])
        if options["commit"] and not is_commit(options["commit"]):
            wrong = f"commit: {options['commit']!r} is not allowed; use 40 hexadecimal digits"
        if not (wrong or options["offline"] or options["image"]):
            wrong = "image: is not set; use the image that will serve the model, or offline: true"
        if wrong:
            raise layout.CacheError(wrong)
        with memory.limited():
            task = download(module)
    except layout.CacheError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, options["path"]))
    if module._diff and task.before != task.after:
        task.result["diff"] = {"before": task.before, "after": task.after}
    module.exit_json(**task.result)


if __name__ == "__main__":
    main()
