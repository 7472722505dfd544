#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies a complete model into the cache, from another host or from a folder."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_copy
short_description: Copies a complete model into a Hugging Face cache, from another host or from a folder
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Gets a model without access to the internet. The source is either a host on which M(dgxspark.vllm.hf_cache_export)
    has started a temporary SSH server, or a cache in a folder of this host, for example on a mounted disk. The entry
    point C(download) of the role P(dgxspark.vllm.hf_cache#role) performs all steps.
  - Each blob is copied once with rsync, to a folder that only root may enter (C(.dgxspark/incoming)), under the lock
    that a client takes for it. It is hashed, and moved to its place only if its content is correct. The lists of the
    files, the links and the ref are written afterwards in this order, so that an interrupted copy is never mistaken for
    a complete one.
  - An interrupted copy is resumed where it stopped, also in the middle of a file. Blobs that are already present are
    not copied again if their content is correct.
  - Partial downloads of the model that no client can resume are removed first, and the free space is compared with the
    size of what is missing.
  - Whether a copy is needed is what M(dgxspark.vllm.hf_cache_copy_info) tells.
extends_documentation_fragment:
  - dgxspark.vllm.hf_model
options:
  source:
    description:
      - Absolute path of another cache on this host. Symbolic links are not required there, so a file system without
        them is possible, provided that the list of the files exists (C(.dgxspark)).
      - Either this or O(export) is required.
    type: path
  export:
    description: Result of M(dgxspark.vllm.hf_cache_export) on the source.
    type: dict
  address:
    description: Address or name of the source. Required with O(export).
    type: str
  key_folder:
    description:
      - Folder of the key pair that M(dgxspark.vllm.hf_cache_copy_key) created. It is removed in any case.
      - Required with O(export), except in check mode.
    type: path
  keep_free:
    description: Bytes of the file system that have to remain free after the copy.
    type: int
    default: 2147483648
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
    details: Reports what would be copied. Requires the O(export) of a task in check mode, or O(source).
  diff_mode:
    description: Shows what changes in diff mode.
    support: full
    details: Lists the blobs before and after.
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - Requires root and rsync.
seealso:
  - module: dgxspark.vllm.hf_cache_copy_info
  - module: dgxspark.vllm.hf_cache_copy_key
  - module: dgxspark.vllm.hf_cache_export
  - module: dgxspark.vllm.hf_download
"""

EXAMPLES = r"""
- name: Copy a model from a mounted disk
  dgxspark.vllm.hf_cache_copy:
    model: Qwen/Qwen3-8B-FP8
    source: /mnt/models
  become: true

- name: Copy a model from another host
  dgxspark.vllm.hf_cache_copy:
    model: Qwen/Qwen3-8B-FP8
    export: "{{ exported }}"
    address: 192.168.100.1
    key_folder: "{{ key.key_folder }}"
  become: true
"""

RETURN = r"""
complete:
  description: Whether all files are present. V(false) in check mode if they would be copied.
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
  description: Names of the files that were missing or damaged before the copy.
  returned: success
  type: list
  elements: str
  sample: [model-00002-of-00002.safetensors]
expected_bytes:
  description: Size of the model in bytes.
  returned: success
  type: int
  sample: 9452126208
blobs:
  description: Number of blobs that were copied.
  returned: success
  type: int
  sample: 12
bytes:
  description: Size of the copied content in bytes.
  returned: success
  type: int
  sample: 9452126208
received_bytes:
  description: Bytes that rsync received, including its protocol. V(0) for a copy from a folder.
  returned: success
  type: int
  sample: 9454470720
removed:
  description: Partial downloads that were removed.
  returned: success
  type: list
  elements: str
  sample: []
set_aside:
  description:
    - Files of the snapshot that were neither what the source has nor a broken download, such as an edited
      C(tokenizer.json). They were moved out of the way of the source's files, not deleted.
  returned: success
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
seconds:
  description: Duration of the copy in seconds.
  returned: success
  type: float
  sample: 31.5
cause:
  description: Why the copy failed.
  returned: failure
  type: dict
  contains:
    id:
      description:
        - V(source_address) if the connection to O(address) fails, breaks, or is answered by another machine.
        - V(source_unusable) if the source does not have the complete model.
        - V(no_space) if the file system is too small, V(rsync_missing) if rsync is not installed.
        - V(rsync_failed), V(wrong_content), V(blob_locked) and V(incomplete) if the copy itself fails.
        - V(bad_option) if an option has a value that is not allowed, V(file_error) if a file cannot be read or written.
      type: str
      returned: always
      sample: source_address
    meaning:
      description: The same as RV(ignore:msg).
      type: str
      returned: always
      sample: "the address of the source cannot be reached: ssh: connect to host 10.0.0.9 port 4022: Connection refused"
"""

import contextlib
import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import memory, partials
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.layout import CacheError
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import copy as hf_copy
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import export, model_files
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.download_causes import no_space_cause
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import ssh_server
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.spark import filesystem_space
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem

IO_TIMEOUT = 120


class Task:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        asked = module.params
        self.path: str = os.path.normpath(asked["path"])
        self.model: str = asked["model"]
        self.revision: str = asked["revision"]
        self.folder = model_files.repository(self.path, self.model)
        self.result: dict[str, t.Any] = {"changed": False}
        self.look_up()
        self.missing: list[str] = self.result["missing"]

    def look_up(self) -> None:
        self.result.update(hf_copy.look_up(self.path, self.model, self.revision))

    def copy(self) -> None:
        begin = time.monotonic()
        self.result.update(expected_bytes=0, blobs=0, bytes=0, received_bytes=0, removed=[], set_aside=[], seconds=0.0)
        if self.result["complete"]:
            return
        exported = self.exported()
        self.result["expected_bytes"] = exported.size
        sizes = {etag: blob.size for etag, blob in exported.blobs.items()}
        there = hf_copy.present(self.path, self.folder, exported)

        def can_be_resumed(partial: partials.Partial) -> bool:
            return model_files.can_be_resumed(partial.path, partial.stat, sizes)

        cleared = partials.clear(self.path, self.model, can_be_resumed, self.module.check_mode)
        self.result["removed"] = cleared.removed
        for problem in cleared.problems:
            self.module.warn(problem)
        absent = {etag: size for etag, size in sizes.items() if etag not in there}
        needed = sum(size - cleared.kept.get(etag, 0) for etag, size in absent.items())
        self.check_space(needed, cleared.freed if self.module.check_mode else 0)
        if self.module._diff:
            self.result["diff"] = {"before": listing(there), "after": listing(sizes)}
        self.result["changed"] = True
        if self.module.check_mode:
            self.result.update(blobs=len(absent), bytes=needed)
            return
        os.makedirs(self.path, exist_ok=True)
        command, source = self.transport(exported)
        copy = hf_copy.Copy(self.path, self.model, exported, self.run, command, source)
        received = copy.run(self.revision)
        self.result["set_aside"] = [own._asdict() for own in copy.set_aside]
        for own in copy.set_aside:
            self.module.warn(str(own))
        self.look_up()
        if not self.result["complete"]:
            lacks = ", ".join(self.result["missing"][:5])
            raise hf_copy.CopyError("incomplete", f"everything was copied, and yet {lacks} is missing; try again")
        self.result.update(
            missing=self.missing,
            blobs=received.blobs,
            bytes=received.content,
            received_bytes=received.total if self.module.params["export"] else 0,
            seconds=round(time.monotonic() - begin, 1),
        )

    def exported(self) -> export.Export:
        source, told = self.module.params["source"], self.module.params["export"]
        if source is None:
            exported = export.parse(told)
            if told.get("identity") is not None and told["identity"] == export.identity(self.path):
                raise export.ExportError("the source is this very folder; name another host, or another folder")
            return exported
        if not os.path.isabs(source):
            raise export.ExportError(f"source: {source} is not absolute; use the whole path, like /mnt/models")
        if not os.path.isdir(source):
            raise export.ExportError(f"source: {source} is not a folder of this host; is its disk mounted?")
        if f"{os.path.realpath(source)}/".startswith(f"{os.path.realpath(self.path)}/"):
            raise export.ExportError(f"source: {source} is in {self.path}; use a folder outside of it")
        return export.find(os.path.realpath(source), self.model, self.revision)

    def check_space(self, needed: int, freed: int) -> None:
        free, keep = filesystem_space(self.path)["free_bytes"] + freed, self.module.params["keep_free"]
        if needed and needed + keep > free:
            cause = no_space_cause(self.path, needed, free, keep)
            raise hf_copy.CopyError("no_space", f"{cause['meaning']}: {cause['evidence']}; {cause['remedy']}")

    def transport(self, exported: export.Export) -> tuple[list[str], str]:
        """rsync with its options, and what it puts before the path of a file."""
        rsync = self.module.get_bin_path("rsync")
        if rsync is None:
            raise hf_copy.CopyError("rsync_missing", "rsync is not installed; run playbooks/prepare.yml")
        command = [rsync, f"--timeout={IO_TIMEOUT}"]
        if self.module.params["source"]:
            return command, os.path.join(exported.root, "")
        told, folder = self.module.params["export"], self.module.params["key_folder"]
        ssh = ssh_server.client(told, self.module.params["address"], folder)
        return [*command, "--no-motd", f"--rsh={ssh}"], "root@source::"

    def run(self, argv: list[str], folder: str) -> tuple[int, str, str]:
        rc, out, err = self.module.run_command(argv, cwd=folder, ignore_invalid_cwd=False)
        return rc, out, err


def listing(blobs: t.Mapping[str, int]) -> str:
    return "".join(f"{etag} {size}\n" for etag, size in sorted(blobs.items()))


def check(asked: dict[str, t.Any]) -> None:
    hf_copy.check(asked["path"], asked["model"], asked["revision"])
    wrong = ssh_server.wrong_address(asked["address"])
    if wrong:
        raise CacheError(wrong)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/hf"},
            "model": {"type": "str", "required": True},
            "revision": {"type": "str", "default": "main"},
            "source": {"type": "path"},
            "export": {"type": "dict"},
            "address": {"type": "str"},
            "key_folder": {"type": "path", "no_log": False},
            "keep_free": {"type": "int", "default": 2147483648},
        },
        required_one_of=[("source", "export")],
        required_by={"export": ["address"]},
        mutually_exclusive=[("source", "export")],
        supports_check_mode=True,
    )
    asked = module.params

    def fail(cause: str, message: str) -> None:
        module.fail_json(msg=message, cause={"id": cause, "meaning": message})

    with contextlib.ExitStack() as stack:
        stack.callback(hf_copy.remove_key, asked["key_folder"])
        try:
            with memory.limited():
                check(asked)
                task = Task(module)
                task.copy()
        except CacheError as error:
            fail("bad_option", str(error))
        except export.ExportError as error:
            fail("source_unusable", str(error))
        except hf_copy.CopyError as error:
            fail(error.cause, str(error))
        except OSError as error:
            fail("file_error", os_problem.one_line(error, asked["path"]))
        module.exit_json(**task.result)


if __name__ == "__main__":
    main()
