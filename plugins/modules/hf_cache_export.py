#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let another host copy one model from this one, for a while."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_export
short_description: Lets another host copy a complete model from the cache of this one
version_added: "0.1.0"
description:
  - Says which files belong to the snapshot of a model, if it is complete and every byte of it is right, and opens a
    door through which the holder of one key can read them. Runs on the source; M(dgxspark.vllm.hf_cache_copy) is its
    other end.
  - The door is an SSH server of its own, in a transient unit of systemd. It has a host key made for it, lets in
    O(public_key) alone, and answers whatever it is asked with C(rsync --daemon), which can read the folder of that
    model and nothing else, but for the store that repositories share (C(blobs)) if the model has files in it. That
    store is read as a whole, with the files of other models. It forwards nothing and gives no shell.
  - Nobody's C(authorized_keys) is touched, and the settings of the host's own SSH server do not matter. O(state=absent)
    closes the door. If nobody does, systemd does, after a time that suffices for the model at 1 MB/s.
  - What was hashed once is only hashed again when the file has changed (size, times, inode), so that many hosts can
    copy from one. This is noted in C(.dgxspark/verified.json) beside the model.
options:
  path:
    description: Absolute path of the cache.
    type: path
    default: /opt/hf
  model:
    description: Hugging Face id of the model. Needed for O(state=present).
    type: str
  revision:
    description: Branch, tag or commit.
    type: str
    default: main
  public_key:
    description: The key that is let in, as in a file C(.pub). Without it the files are only told.
    type: str
  address:
    description:
      - Address of this host to listen on, for example one of the fast ports. All addresses if it is not set, no
        address of this host, or a name that this host has for itself alone (C(127.0.1.1)).
    type: str
  unit:
    description: Name of the unit to stop, as RV(unit) told it. Needed for O(state=absent).
    type: str
  state:
    description: V(present) offers the model, V(absent) ends that.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Can run in check mode and changes nothing.
    support: full
    details: Tells the files of a complete model. Nothing is hashed, no door is opened.
  diff_mode:
    description: Shows what changes in diff mode.
    support: none
    details: What it makes is gone when the copy is done.
  idempotent:
    description: A second run changes nothing.
    support: none
    details: Each offer is a new door with a new key.
notes:
  - Needs root, systemd, sshd and rsync.
author:
  - The dgxspark.vllm authors (@dgxspark)
seealso:
  - module: dgxspark.vllm.hf_cache_copy
  - module: dgxspark.vllm.hf_cache_info
"""

EXAMPLES = r"""
- name: See whether a model could be copied from here
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
  register: offer

- name: End that
  dgxspark.vllm.hf_cache_export:
    state: absent
    unit: "{{ offer.unit }}"
  become: true
  delegate_to: spark01
"""

RETURN = r"""
root:
  description: The tree that has the model, O(path) or C(hub) below it.
  returned: when offered
  type: str
  sample: /opt/hf
commit:
  description: Commit of the revision.
  returned: when offered
  type: str
  sample: 220b46e3b2180893580a4454f21f22d3ebb187d3
files:
  description: Blobs by their names in the snapshot.
  returned: when offered
  type: dict
  sample: {config.json: 0123456789abcdef0123456789abcdef01234567}
blobs:
  description: Size and place of each blob.
  returned: when offered
  type: dict
  sample: {0123456789abcdef0123456789abcdef01234567: {size: 905, path: models--a--b/blobs/0123456789abcdef}}
lists:
  description: Text of the lists that client and M(dgxspark.vllm.hf_download) keep of the files.
  returned: when offered
  type: dict
  sample: {}
identity:
  description: Tells this folder from every other one, so that it is not copied onto itself.
  returned: when offered
  type: str
  sample: 5b0e3f5c-8a0e-4d0c-9a55-0d1f6e7d3c11 2049 131
bytes:
  description: Size of the model.
  returned: when offered
  type: int
  sample: 9452126208
verified_bytes:
  description: How much was hashed now. What was hashed before, and has not changed, is not in it.
  returned: when offered
  type: int
  sample: 9452126208
unit:
  description: The unit to stop. V(null) without a door.
  returned: when offered
  type: str
  sample: dgxspark-offer-3f2a9c41
port:
  description: TCP port of the door. V(null) without one.
  returned: when offered
  type: int
  sample: 40213
host_key:
  description: Public key by which the door is known. V(null) without one.
  returned: when offered
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample
"""

import ipaddress
import os
import re
import secrets
import shutil
import socket
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import files as hf_files
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import layout
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import download, export

RUN = "/run/dgxspark-offer"  # in memory
RUN_SSHD = "/run/sshd"  # sshd insists on it; where systemd starts it on demand, it may not be there yet
UNIT = re.compile(r"dgxspark-offer-[0-9a-f]{8}")
SLOWEST = 1_000_000  # bytes a second: of what the source sends, many hosts may get a share each
START_TIMEOUT = 10

SSHD = """\
ListenAddress {listen}
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers root
PermitRootLogin prohibit-password
ForceCommand {rsync} --server --daemon --config={folder}/rsyncd.conf .
DisableForwarding yes
PermitTTY no
PermitUserRC no
PidFile none
UsePAM yes
"""
RSYNCD = """\
uid = 0
gid = 0
use chroot = yes
read only = yes
list = no
reverse lookup = no
log file = /dev/null
"""


class Door:
    """An SSH server for one key, which can read one model, and the shared store where that has a part of it."""

    def __init__(self, module: AnsibleModule, unit: str) -> None:
        self.module, self.unit = module, unit
        self.folder = os.path.join(RUN, unit)

    def open(self, offer: export.Offer, model: str) -> dict[str, t.Any]:
        sbin = ["/usr/sbin", "/sbin"]
        tools = {
            name: self.module.get_bin_path(name, opt_dirs=sbin)
            for name in ("rsync", "sshd", "ssh-keygen", "systemd-run")
        }
        lacking = [name for name, path in tools.items() if path is None]
        if lacking:
            raise export.OfferError(f"{', '.join(lacking)}: not installed; run playbooks/prepare.yml")
        os.makedirs(RUN_SSHD, mode=0o755, exist_ok=True)
        os.makedirs(RUN, mode=0o700, exist_ok=True)
        os.mkdir(self.folder, mode=0o700)
        self.command(
            [str(tools["ssh-keygen"]), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", f"{self.folder}/host_key"]
        )
        listen, port = free_port(self.module.params["address"])
        self.write("authorized_keys", f"restrict {self.module.params['public_key'].strip()}\n")
        self.write("sshd_config", SSHD.format(listen=listen, port=port, folder=self.folder, rsync=tools["rsync"]))
        # a module's name is the first part of a blob's path: the model, and the store that repositories share
        folders = sorted({blob.path.split("/")[0] for blob in offer.blobs.values()})
        self.write(
            "rsyncd.conf", RSYNCD + "".join(f"[{name}]\npath = {os.path.join(offer.root, name)}\n" for name in folders)
        )
        self.command(
            [
                *(str(tools["systemd-run"]), "--quiet", "--collect", f"--unit={self.unit}"),
                *(f"--description=Offers {model} to another host", "--property=Type=exec"),
                f"--property=RuntimeMaxSec={600 + offer.size // SLOWEST}",
                f"--property=ExecStopPost=/bin/rm -rf {self.folder}",
                *(str(tools["sshd"]), "-D", "-f", f"{self.folder}/sshd_config"),
            ]
        )
        self.wait_for("127.0.0.1" if listen == "0.0.0.0" else listen, port)
        with open(f"{self.folder}/host_key.pub", encoding="ascii") as file:
            host_key = " ".join(file.read().split()[:2])
        return {"unit": self.unit, "port": port, "host_key": host_key}

    def close(self) -> bool:
        systemctl = self.module.get_bin_path("systemctl", required=True)
        there = os.path.isdir(self.folder)
        self.module.run_command([systemctl, "stop", self.unit])
        shutil.rmtree(self.folder, ignore_errors=True)
        return there

    def write(self, name: str, text: str) -> None:
        handle = os.open(os.path.join(self.folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)

    def command(self, argv: list[str]) -> None:
        rc, out, err = self.module.run_command(argv)
        if rc:
            said = " ".join((err or out).split()) or f"code {rc}"
            raise export.OfferError(f"{os.path.basename(argv[0])} failed: {said}")

    def wait_for(self, address: str, port: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                socket.create_connection((address, port), timeout=2).close()
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    what = (
                        f"sshd does not answer on port {port}: {error.strerror or error}; see journalctl -u {self.unit}"
                    )
                    raise export.OfferError(what) from None
            time.sleep(0.05)


def free_port(address: str | None) -> tuple[str, int]:
    """The address to listen on, all of them if that is none of this host, and a port that nobody has."""
    for wanted in (address, "0.0.0.0", "::"):
        if not wanted:
            continue
        try:
            family, kind, _protocol, _name, place = socket.getaddrinfo(wanted, 0, type=socket.SOCK_STREAM)[0]
            # /etc/hosts of Debian and Ubuntu has 127.0.1.1 for the host's own name; no other host gets there
            if is_loopback(str(place[0])) and not is_loopback(wanted):
                continue
            with socket.socket(family, kind) as listener:
                listener.bind(place)
                found = listener.getsockname()
                return str(found[0]), int(found[1])
        except OSError:
            continue
    raise export.OfferError("no TCP port can be opened")


def is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:  # a name
        return False


def offer(module: AnsibleModule) -> dict[str, t.Any]:
    asked = module.params
    path = os.path.normpath(asked["path"])
    layout.check_path(path)
    layout.check_models([asked["model"]], "model")
    wrong = download.check_revision(asked["revision"])
    if wrong:
        raise export.OfferError(wrong)
    found = export.find(path, asked["model"], asked["revision"])
    result: dict[str, t.Any] = {
        **export.describe(found),
        "identity": export.identity(path),
        "bytes": found.size,
        "verified_bytes": 0,
        **dict.fromkeys(("unit", "port", "host_key")),
    }
    if not module.check_mode:
        os.umask(hf_files.creation_mask(path))
        result["verified_bytes"] = export.verify(found, download.repository(found.root, asked["model"]))
        if asked["public_key"]:
            door = Door(module, f"dgxspark-offer-{secrets.token_hex(4)}")
            try:
                result.update(door.open(found, asked["model"]))
            except BaseException:
                door.close()
                raise
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/hf"},
            "model": {"type": "str"},
            "revision": {"type": "str", "default": "main"},
            "public_key": {"type": "str", "no_log": False},
            "address": {"type": "str"},
            "unit": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["model"]), ("state", "absent", ["unit"])],
        supports_check_mode=True,
    )
    asked = module.params
    try:
        if asked["public_key"] and not re.fullmatch(r"ssh-ed25519 [A-Za-z0-9+/=]+( [^\n]*)?\n?", asked["public_key"]):
            raise export.OfferError("public_key: is not allowed; use one line, ssh-ed25519 AAAA...")
        if asked["state"] == "present":
            module.exit_json(changed=bool(asked["public_key"]) and not module.check_mode, **offer(module))
        if not UNIT.fullmatch(asked["unit"]):
            raise export.OfferError(f"unit: {asked['unit']!r} is not allowed; use what hf_cache_export returned")
        module.exit_json(changed=not module.check_mode and Door(module, asked["unit"]).close())
    except (layout.CacheError, export.OfferError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        remedy = "run this task with become: true" if isinstance(error, PermissionError) else "look at that path"
        module.fail_json(msg=f"{error.filename or asked['path']}: {error.strerror}; {remedy}")


if __name__ == "__main__":
    main()
