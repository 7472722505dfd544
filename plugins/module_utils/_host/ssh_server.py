# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A temporary SSH server that answers one key with one command, and how another host of the fleet calls it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import secrets
import shutil
import socket
import time
import typing as t

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

RUN = "/run/dgxspark-export"  # in memory
RUN_SSHD = "/run/sshd"  # sshd insists on it; where systemd starts it on demand, it may not be there yet
UNIT = re.compile(r"dgxspark-export-[0-9a-f]{8}")
# Bytes a second: many hosts may share what the source sends. Of a copy that is cut off, a model goes on from there with
# the next run, and an image is pulled instead.
SLOWEST = 10_000_000
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
ForceCommand {command}
DisableForwarding yes
PermitTTY no
PermitUserRC no
PidFile none
UsePAM yes
"""

_PUBLIC_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]+( [^\n]*)?\n?")
_ADDRESS = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]*")
_CLIENT = (
    "ssh -F /dev/null -p {port} -o HostName={address} -o HostKeyAlias=source -o IdentityFile={folder}/key"
    " -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known_hosts -o GlobalKnownHostsFile=/dev/null"
    " -o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15"
    " -o ForwardAgent=no -o ClearAllForwardings=yes -o LogLevel=ERROR"
)


# Options of the modules that start one, and what they return where none was started.
OPTIONS: dict[str, dict[str, t.Any]] = {"public_key": {"type": "str", "no_log": False}, "address": {"type": "str"}}
NO_SERVER = dict.fromkeys(("unit", "port", "host_key"))


class SshServerError(Exception):
    """Why there is no server; the message is for the user."""


def check_request(public_key: str | None, address: str | None, is_check: bool) -> None:
    """Refuses what must not become a line of a file of the server's. Raises SshServerError."""
    if public_key and not _PUBLIC_KEY.fullmatch(public_key):
        raise SshServerError("public_key: is not allowed; use one line, ssh-ed25519 AAAA...")
    if not public_key and not is_check:
        raise SshServerError("public_key: it is empty; use what hf_cache_copy_key returned")
    if not address and not is_check:
        raise SshServerError("address: it is empty; use the address at which the other host reaches this one")


def wrong_address(address: str | None) -> str | None:
    """Why a client may not be told ADDRESS; None if it may."""
    if address and not _ADDRESS.fullmatch(address):
        return f"address: {address!r} is not allowed; use an address or a name of the source"
    return None


def limit(size: int) -> int:
    """Seconds in which SIZE bytes have to be copied."""
    return 600 + size // SLOWEST


def client(told: t.Mapping[str, t.Any], address: str, key_folder: str) -> str:
    """The command that reaches the server, whose result is TOLD, and no other one; without the user."""
    with open(f"{key_folder}/known_hosts", "w", encoding="ascii") as file:
        file.write(f"source {told['host_key']}\n")
    escaped = address.replace("%", "%%")  # of fe80::1%eth0: ssh expands it in HostName
    return _CLIENT.format(port=int(told["port"]), address=escaped, folder=key_folder)


class TemporarySshServer:
    """An SSH server for one key, in a unit of systemd's that ends by itself."""

    def __init__(self, module: AnsibleModule, unit: str | None = None) -> None:
        self.module, self.unit = module, unit or f"dgxspark-export-{secrets.token_hex(4)}"
        self.folder = os.path.join(RUN, self.unit)

    def start(
        self, program: str, arguments: str, content: str, seconds: int, files: t.Mapping[str, str]
    ) -> dict[str, t.Any]:
        """ARGUMENTS may name the folder of FILES as {folder}. CONTENT: what it is that the other host gets."""
        sbin = ["/usr/sbin", "/sbin"]
        tools = {
            name: self.module.get_bin_path(name, opt_dirs=sbin)
            for name in (program, "sshd", "ssh-keygen", "systemd-run")
        }
        lacking = [name for name, path in tools.items() if path is None]
        if lacking:
            raise SshServerError(f"{', '.join(lacking)}: not installed; run playbooks/prepare.yml")
        os.makedirs(RUN_SSHD, mode=0o755, exist_ok=True)
        os.makedirs(RUN, mode=0o700, exist_ok=True)
        os.mkdir(self.folder, mode=0o700)
        self.command(
            [str(tools["ssh-keygen"]), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", f"{self.folder}/host_key"]
        )
        listen, port = free_port(self.module.params["address"])
        self.write("authorized_keys", f"restrict {self.module.params['public_key'].strip()}\n")
        command = f"{tools[program]} {arguments.format(folder=self.folder)}"
        self.write("sshd_config", SSHD.format(listen=listen, port=port, folder=self.folder, command=command))
        for name, text in files.items():
            self.write(name, text)
        self.command(
            [
                *(str(tools["systemd-run"]), "--quiet", "--collect", f"--unit={self.unit}"),
                *(f"--description=Exports {content} to another host", "--property=Type=exec"),
                f"--property=RuntimeMaxSec={seconds}",
                f"--property=ExecStopPost=/bin/rm -rf {self.folder}",
                *(str(tools["sshd"]), "-D", "-f", f"{self.folder}/sshd_config"),
            ]
        )
        self.wait_for(listen, port)
        with open(f"{self.folder}/host_key.pub", encoding="ascii") as file:
            host_key = " ".join(file.read().split()[:2])
        return {"unit": self.unit, "port": port, "host_key": host_key}

    def serve(self, *what: t.Any) -> dict[str, t.Any]:
        """start(), which leaves nothing behind if it fails."""
        try:
            return self.start(*what)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> bool:
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
            raise SshServerError(f"{os.path.basename(argv[0])} failed: {said}")

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
                    raise SshServerError(what) from None
            time.sleep(0.05)


def free_port(address: str) -> tuple[str, int]:
    """The address of this host to listen on, and a port that no one has. Raises SshServerError if it is another's."""
    try:
        places: list[t.Any] = [found[4] for found in socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)]
    except (OSError, ValueError) as error:  # ValueError: a name that no DNS can have
        raise SshServerError(f"address: {address} cannot be resolved: {error}") from None
    # /etc/hosts of Debian and Ubuntu has 127.0.1.1 for the host's own name; no other host gets there
    if not is_loopback(address):
        places = [place for place in places if not is_loopback(str(place[0]))] or default_address()
    for place in places:
        family = socket.AF_INET6 if ":" in str(place[0]) else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family) as listener:
            listener.bind(place)
            found = listener.getsockname()
            return str(found[0]), int(found[1])
    raise SshServerError(
        f"address: {address} is not an address of this host; set hf_cache_source_address to the one at which other"
        " hosts reach it"
    )


def default_address() -> list[tuple[str, int]]:
    """The host's own address on the way to other networks. Nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # of a network that is reserved for documentation
        return [(str(probe.getsockname()[0]), 0)]
    return []


def is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:  # a name
        return False
