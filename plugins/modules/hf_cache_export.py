#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a model in the cache of this host readable for another host, for a limited time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_export
short_description: Makes a complete model in a Hugging Face cache readable for another host
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Verifies that a snapshot of a model is complete and every byte of it correct, returns the list of its files, and
    starts a temporary SSH server that accepts one key and serves the files read-only. Runs on the source of a copy;
    M(dgxspark.vllm.hf_cache_copy) runs on the target.
  - The SSH server runs in a transient systemd unit with a host key of its own. It accepts O(public_key) only, and
    answers every request with C(rsync --daemon), which can read the folder of that model, and also the store that
    repositories share (C(blobs)) if the model has files in it. That store is readable as a whole, including files of
    other models. The server forwards nothing and provides no shell.
  - No C(authorized_keys) file is modified, and the configuration of the host's own SSH server does not matter. The
    server is stopped with O(state=absent), or by systemd after a time that is sufficient for the model at 10 MB/s.
  - A file that has been hashed is hashed again only if it has changed (size, times, inode), so that many hosts can copy
    from one. This is recorded in C(.dgxspark/verified.json) next to the model.
extends_documentation_fragment:
  - dgxspark.vllm.hf_model
options:
  model:
    description: Hugging Face ID of the model. Required with O(state=present).
    type: str
    required: false
  public_key:
    description:
      - Public key that is accepted, as returned by M(dgxspark.vllm.hf_cache_copy_key).
      - Required with O(state=present), except in check mode.
    type: str
  address:
    description:
      - Address of this host to listen on, for example one of the fast ports. An address of another host is rejected.
        If it is a name that only this host resolves to itself (C(127.0.1.1)), the server listens on the address of
        the default route.
      - Required with O(state=present), except in check mode.
    type: str
  unit:
    description: Name of the unit to stop, as returned in RV(unit). Required with O(state=absent).
    type: str
  state:
    description:
      - V(present) starts the server.
      - V(absent) stops it and removes its keys.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
    details: Returns the files of a complete model. Hashes no file and starts no server.
  diff_mode:
    description: Shows what changes in diff mode.
    support: none
    details: Everything it creates is removed after the copy.
  idempotent:
    description: A second run changes nothing.
    support: none
    details: Each call with O(state=present) starts another server with another key.
notes:
  - Requires root, systemd, sshd and rsync.
seealso:
  - module: dgxspark.vllm.hf_cache_copy
  - module: dgxspark.vllm.hf_cache_copy_key
  - module: dgxspark.vllm.hf_cache_info
"""

EXAMPLES = r"""
- name: Check whether a model can be copied from here
  dgxspark.vllm.hf_cache_export:
    model: Qwen/Qwen3-8B-FP8
  become: true
  check_mode: true

- name: Let the holder of a key copy a model
  dgxspark.vllm.hf_cache_export:
    model: Qwen/Qwen3-8B-FP8
    public_key: "{{ key.public_key }}"
    address: 192.168.100.1
  become: true
  delegate_to: spark01
  register: exported

- name: Stop the server
  dgxspark.vllm.hf_cache_export:
    state: absent
    unit: "{{ exported.unit }}"
  become: true
  delegate_to: spark01
"""

RETURN = r"""
root:
  description: Folder that contains the model, either O(path) or C(hub) below it.
  returned: O(state=present)
  type: str
  sample: /opt/hf
commit:
  description: Commit of the revision.
  returned: O(state=present)
  type: str
  sample: 220b46e3b2180893580a4454f21f22d3ebb187d3
files:
  description: Names of the blobs by the names of the files in the snapshot.
  returned: O(state=present)
  type: dict
  sample: {config.json: 0123456789abcdef0123456789abcdef01234567}
blobs:
  description: Size and path of each blob, by its name.
  returned: O(state=present)
  type: dict
  sample: {0123456789abcdef0123456789abcdef01234567: {size: 905, path: models--a--b/blobs/0123456789abcdef}}
lists:
  description: Content of the lists of files that the client and M(dgxspark.vllm.hf_download) recorded.
  returned: O(state=present)
  type: dict
  sample: {}
identity:
  description: Identifies the folder, so that it is not copied onto itself.
  returned: O(state=present)
  type: str
  sample: 5b0e3f5c-8a0e-4d0c-9a55-0d1f6e7d3c11 2049 131
bytes:
  description: Size of the model in bytes.
  returned: O(state=present)
  type: int
  sample: 9452126208
verified_bytes:
  description: Number of bytes that were hashed. Files that were hashed before and have not changed are not included.
  returned: O(state=present)
  type: int
  sample: 9452126208
unit:
  description: Name of the systemd unit. V(null) in check mode.
  returned: O(state=present)
  type: str
  sample: dgxspark-export-3f2a9c41
port:
  description: TCP port of the server. V(null) in check mode.
  returned: O(state=present)
  type: int
  sample: 40213
host_key:
  description: Public host key of the server. V(null) in check mode.
  returned: O(state=present)
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import files as hf_files
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import layout, memory
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import export, model_files
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import ssh_server
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem

RSYNCD = """\
uid = 0
gid = 0
use chroot = yes
read only = yes
list = no
reverse lookup = no
log file = /dev/null
"""


def export_model(module: AnsibleModule) -> dict[str, t.Any]:
    asked = module.params
    path = os.path.normpath(asked["path"])
    layout.check_path(path)
    layout.check_models([asked["model"]], "model")
    wrong = model_files.check_revision(asked["revision"])
    if wrong:
        raise export.ExportError(wrong)
    found = export.find(path, asked["model"], asked["revision"])
    result: dict[str, t.Any] = {
        **export.describe(found),
        "identity": export.identity(path),
        "bytes": found.size,
        "verified_bytes": 0,
        **ssh_server.NO_SERVER,
    }
    if not module.check_mode:
        os.umask(hf_files.creation_mask(path))
        result["verified_bytes"] = export.verify(
            found, model_files.repository(found.root, asked["model"]), ssh_server.RUN
        )
        # a module's name is the first part of a blob's path: the model, and the store that repositories share
        folders = sorted({blob.path.split("/")[0] for blob in found.blobs.values()})
        readable = "".join(f"[{name}]\npath = {os.path.join(found.root, name)}\n" for name in folders)
        serve, files = "--server --daemon --config={folder}/rsyncd.conf .", {"rsyncd.conf": RSYNCD + readable}
        server = ssh_server.TemporarySshServer(module)
        result.update(server.serve("rsync", serve, asked["model"], ssh_server.limit(found.size), files))
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/hf"},
            "model": {"type": "str"},
            "revision": {"type": "str", "default": "main"},
            **ssh_server.OPTIONS,
            "unit": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["model"]), ("state", "absent", ["unit"])],
        supports_check_mode=True,
    )
    asked = module.params
    try:
        if asked["state"] == "present":
            ssh_server.check_request(asked["public_key"], asked["address"], module.check_mode)
            with memory.limited():
                exported = export_model(module)
            module.exit_json(changed=not module.check_mode, **exported)
        if not ssh_server.UNIT.fullmatch(asked["unit"]):
            raise export.ExportError(f"unit: {asked['unit']!r} is not allowed; use what hf_cache_export returned")
        module.exit_json(changed=not module.check_mode and ssh_server.TemporarySshServer(module, asked["unit"]).stop())
    except (layout.CacheError, export.ExportError, ssh_server.SshServerError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, asked["path"]))


if __name__ == "__main__":
    main()
