#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a complete model into the cache, from another host or from a folder."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_copy
short_description: Copies a complete model into a Hugging Face cache, from another host or from a folder
version_added: "0.1.0"
description:
  - Gets a model without the internet, either from a host that has it, through the door that
    M(dgxspark.vllm.hf_cache_export) opened there, or from a cache in a folder of this host, for example on a mounted
    disk. The entry point C(download) of the role P(dgxspark.vllm.hf_cache#role) does all of it.
  - Each blob is copied once, with rsync, by the name of a partial download and under the lock that a client takes for
    it. It is hashed, and only then given its name. The lists of the files, the links and the ref follow in this order,
    so that a copy that stopped half way is never taken for a complete one.
  - A copy that was interrupted goes on where it stopped, in the middle of a file too. Blobs that are there are not
    copied, if their content is right.
  - Dead partial downloads of the model that nobody can go on with are removed first, and free space is compared with
    what is missing.
options:
  path:
    description: Absolute path of the cache.
    type: path
    default: /opt/hf
  model:
    description: Hugging Face id of the model.
    type: str
    required: true
  revision:
    description: Branch, tag or commit.
    type: str
    default: main
  state:
    description:
      - V(prepared) says whether the model is complete, and if not makes a key pair for the copy, in memory.
      - V(present) copies what is missing.
    type: str
    choices: [prepared, present]
    default: present
  source:
    description:
      - Absolute path of another cache on this host. Links are not needed there, as on a disk for all systems, if the
        list of the files is (C(.dgxspark)).
    type: path
  offer:
    description: What M(dgxspark.vllm.hf_cache_export) returned on the source.
    type: dict
  address:
    description: Address of the source. Needed with O(offer).
    type: str
  key_folder:
    description: Folder of the key pair, as RV(key_folder) told it. It is removed in any case. Needed with O(offer).
    type: path
  keep_free:
    description: Bytes of the disk that have to stay free after the copy.
    type: int
    default: 2147483648
attributes:
  check_mode:
    description: Can run in check mode and changes nothing.
    support: full
    details: Says what would be copied. Needs the O(offer) of a task in check mode, or a O(source).
  diff_mode:
    description: Shows what changes in diff mode.
    support: full
    details: Lists the blobs before and after.
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - Needs root and rsync.
author:
  - The dgxspark.vllm authors (@dgxspark)
seealso:
  - module: dgxspark.vllm.hf_cache_export
  - module: dgxspark.vllm.hf_download
"""

EXAMPLES = r"""
- name: Copy a model from a mounted disk
  dgxspark.vllm.hf_cache_copy:
    model: Qwen/Qwen3-8B-FP8
    source: /mnt/models
  become: true

- name: See whether the model is complete, and make a key for the copy if not
  dgxspark.vllm.hf_cache_copy:
    model: Qwen/Qwen3-8B-FP8
    state: prepared
  become: true
  register: key
"""

RETURN = r"""
complete:
  description: Whether all files are there. V(false) in check mode if they would be copied.
  returned: always
  type: bool
  sample: true
commit:
  description: Commit of the revision. V(null) if it is not known.
  returned: always
  type: str
  sample: 220b46e3b2180893580a4454f21f22d3ebb187d3
snapshot:
  description: Folder with the files. V(null) as long as there is none.
  returned: always
  type: str
  sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/snapshots/220b46e3b2180893580a4454f21f22d3ebb187d3
missing:
  description: What was missing or damaged, by name, before the copy.
  returned: always
  type: list
  elements: str
  sample: [model-00002-of-00002.safetensors]
expected_bytes:
  description: Size of the model.
  returned: when O(state=present)
  type: int
  sample: 9452126208
blobs:
  description: How many blobs came over.
  returned: when O(state=present)
  type: int
  sample: 12
bytes:
  description: How many bytes of content came over.
  returned: when O(state=present)
  type: int
  sample: 9452126208
received_bytes:
  description: The same with what rsync says beside, by its own count. Nothing for a copy from a folder.
  returned: when O(state=present)
  type: int
  sample: 9454470720
removed:
  description: Dead partial downloads that made room.
  returned: when O(state=present)
  type: list
  elements: str
  sample: []
seconds:
  description: How long it took.
  returned: when O(state=present)
  type: float
  sample: 31.5
public_key:
  description: Public half of the key pair.
  returned: when O(state=prepared) and the model is not complete
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample
key_folder:
  description: Where the key pair is, in memory.
  returned: when O(state=prepared) and the model is not complete
  type: str
  sample: /run/dgxspark-copy/k3j2h1
"""

import contextlib
import os
import re
import shutil
import tempfile
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import layout, partials
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import copy as hf_copy
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import download as hf_download
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import export
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.spark import filesystem_space

RUN = "/run/dgxspark-copy"  # in memory
IO_TIMEOUT = 120
SSH = (
    "ssh -F /dev/null -p {port} -o HostName={address} -o HostKeyAlias=source -o IdentityFile={folder}/key"
    " -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known_hosts -o GlobalKnownHostsFile=/dev/null"
    " -o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15"
    " -o ForwardAgent=no -o ClearAllForwardings=yes -o LogLevel=ERROR"
)


class Task:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        asked = module.params
        self.path: str = os.path.normpath(asked["path"])
        self.model: str = asked["model"]
        self.revision: str = asked["revision"]
        self.folder = hf_download.repository(self.path, self.model)
        self.result: dict[str, t.Any] = {"changed": False}
        self.look_up()
        self.missing: list[str] = self.result["missing"]

    def look_up(self) -> None:
        found = hf_download.look_up(self.path, self.model, self.revision)
        missing = [] if found.complete else found.missing + found.damaged or ["the snapshot"]
        self.result.update(complete=found.complete, commit=found.commit, snapshot=found.path, missing=missing)

    # --- prepared ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        if self.result["complete"] or self.module.check_mode:
            return
        keygen = self.module.get_bin_path("ssh-keygen", required=True)
        os.makedirs(RUN, mode=0o700, exist_ok=True)
        folder = tempfile.mkdtemp(dir=RUN)
        self.module.run_command(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", f"{folder}/key"], check_rc=True
        )
        with open(f"{folder}/key.pub", encoding="ascii") as file:
            self.result.update(public_key=file.read().strip(), key_folder=folder)

    # --- present -----------------------------------------------------------------------------------------------------

    def copy(self) -> None:
        begin = time.monotonic()
        self.result.update(expected_bytes=0, blobs=0, bytes=0, received_bytes=0, removed=[], seconds=0.0)
        if self.result["complete"]:
            return
        offer = self.offer()
        self.result["expected_bytes"] = offer.size
        sizes = {etag: blob.size for etag, blob in offer.blobs.items()}
        there = hf_copy.present(self.folder, offer)

        def can_be_resumed(partial: partials.Partial) -> bool:
            return hf_download.can_be_resumed(partial.path, partial.stat, sizes)

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
        command, source = self.transport(offer)
        copy = hf_copy.Copy(self.path, self.model, offer, self.run, command, source)
        received = copy.run(self.revision)
        self.look_up()
        if not self.result["complete"]:
            lacks = ", ".join(self.result["missing"][:5])
            raise hf_copy.CopyError(f"everything was copied, and yet {lacks} is missing; try again")
        self.result.update(
            missing=self.missing,
            blobs=received.blobs,
            bytes=received.content,
            received_bytes=received.total if self.module.params["offer"] else 0,
            seconds=round(time.monotonic() - begin, 1),
        )

    def offer(self) -> export.Offer:
        source, told = self.module.params["source"], self.module.params["offer"]
        if source is None:
            offer = export.parse(told)
            if told.get("identity") is not None and told["identity"] == export.identity(self.path):
                raise export.OfferError("the source is this very folder; name another host, or another folder")
            return offer
        if not os.path.isabs(source):
            raise export.OfferError(f"source: {source} is not absolute; use the whole path, like /mnt/models")
        if not os.path.isdir(source):
            raise export.OfferError(f"source: {source} is not a folder of this host; is its disk mounted?")
        if f"{os.path.realpath(source)}/".startswith(f"{os.path.realpath(self.path)}/"):
            raise export.OfferError(f"source: {source} is in {self.path}; use a folder outside of it")
        return export.find(os.path.normpath(source), self.model, self.revision)

    def check_space(self, needed: int, freed: int) -> None:
        free, keep = filesystem_space(self.path)["free_bytes"] + freed, self.module.params["keep_free"]
        if needed and needed + keep > free:
            cause = hf_download.no_space_cause(self.path, needed, free, keep)
            raise hf_copy.CopyError(f"{cause['meaning']}: {cause['evidence']}; {cause['remedy']}")

    def transport(self, offer: export.Offer) -> tuple[list[str], str]:
        """rsync with its options, and what it puts before the path of a file."""
        rsync = self.module.get_bin_path("rsync")
        if rsync is None:
            raise hf_copy.CopyError("rsync is not installed; run playbooks/prepare.yml")
        command = [rsync, f"--timeout={IO_TIMEOUT}"]
        if self.module.params["source"]:
            return command, os.path.join(offer.root, "")
        told, folder = self.module.params["offer"], self.module.params["key_folder"]
        with open(f"{folder}/known_hosts", "w", encoding="ascii") as file:
            file.write(f"source {told['host_key']}\n")
        address = self.module.params["address"].replace("%", "%%")  # of fe80::1%eth0: ssh expands it in HostName
        ssh = SSH.format(port=int(told["port"]), address=address, folder=folder)
        return [*command, "--no-motd", f"--rsh={ssh}"], "root@source::"

    def run(self, argv: list[str]) -> tuple[int, str, str]:
        rc, out, err = self.module.run_command(argv)
        return rc, out, err


def listing(blobs: t.Mapping[str, int]) -> str:
    return "".join(f"{etag} {size}\n" for etag, size in sorted(blobs.items()))


def forget(folder: str | None) -> None:
    """The key pair, which is of no use any more."""
    if folder and os.path.dirname(os.path.normpath(folder)) == RUN:
        shutil.rmtree(folder, ignore_errors=True)


def check(asked: dict[str, t.Any]) -> None:
    layout.check_path(asked["path"])
    layout.check_models([asked["model"]], "model")
    wrong = hf_download.check_revision(asked["revision"])
    if not wrong and asked["address"] and not re.fullmatch(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]*", asked["address"]):
        wrong = f"address: {asked['address']!r} is not allowed; use an address or a name of the source"
    if wrong:
        raise layout.CacheError(wrong)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/hf"},
            "model": {"type": "str", "required": True},
            "revision": {"type": "str", "default": "main"},
            "state": {"type": "str", "choices": ["prepared", "present"], "default": "present"},
            "source": {"type": "path"},
            "offer": {"type": "dict"},
            "address": {"type": "str"},
            "key_folder": {"type": "path", "no_log": False},
            "keep_free": {"type": "int", "default": 2147483648},
        },
        required_if=[("state", "present", ["source", "offer"], True)],
        required_by={"offer": ["address"]},
        mutually_exclusive=[("source", "offer")],
        supports_check_mode=True,
    )
    asked = module.params
    with contextlib.ExitStack() as stack:
        stack.callback(forget, asked["key_folder"])
        try:
            check(asked)
            task = Task(module)
            task.prepare() if asked["state"] == "prepared" else task.copy()
        except (layout.CacheError, export.OfferError, hf_copy.CopyError) as error:
            module.fail_json(msg=str(error))
        except OSError as error:
            remedy = "run this task with become: true" if isinstance(error, PermissionError) else "look at that path"
            module.fail_json(msg=f"{error.filename or asked['path']}: {error.strerror}; {remedy}")
        module.exit_json(**task.result)


if __name__ == "__main__":
    main()
