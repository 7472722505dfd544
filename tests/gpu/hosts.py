# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts in one machine: names, networks and shared memory of their own, and a cable between them.

Needs root and pyroute2. The process that makes them is on the first host. To NCCL they are two machines, because their
names differ.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import typing as t

NAMES = ("spark01", "spark02")


def _own(name: str) -> None:
    os.unshare(os.CLONE_NEWNET | os.CLONE_NEWUTS | os.CLONE_NEWNS)
    socket.sethostname(name)
    # vLLM takes ranks that share this memory for processes of one host
    for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "tmpfs", "/dev/shm"]):
        subprocess.run(["mount", *words], check=True)


def _set_up(address: str, interface: str) -> None:
    from pyroute2 import IPRoute  # type: ignore[import-not-found, unused-ignore]

    with IPRoute() as ip:
        (cable,) = ip.link_lookup(ifname=interface)
        ip.addr("add", index=cable, address=address, prefixlen=24)
        for index in (*ip.link_lookup(ifname="lo"), cable):
            ip.link("set", index=index, state="up")


class Hosts:
    """This process becomes the first host; a process that only waits is the second."""

    def __init__(self, interface: str, addresses: t.Sequence[str]) -> None:
        from pyroute2 import IPRoute  # type: ignore[import-not-found, unused-ignore]

        self.interface = interface
        _own(NAMES[0])
        said, saying = os.pipe()
        heard, telling = os.pipe()
        self.second = os.fork()
        if self.second == 0:
            try:
                _own(NAMES[1])
                os.write(saying, b".")
                os.read(heard, 1)
                _set_up(addresses[1], interface)
                os.write(saying, b".")
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.read(said, 1)
        with IPRoute() as ip:
            peer = {"ifname": interface, "net_ns_pid": self.second}
            ip.link("add", ifname=interface, kind="veth", peer=peer)
        os.write(telling, b".")
        os.read(said, 1)
        _set_up(addresses[0], interface)

    def on_the_second(self) -> None:
        """Moves the process that calls it."""
        for kind, name in ((os.CLONE_NEWNET, "net"), (os.CLONE_NEWUTS, "uts"), (os.CLONE_NEWNS, "mnt")):
            with open(f"/proc/{self.second}/ns/{name}") as file:
                os.setns(file.fileno(), kind)

    def another_network(self, name: str, address: str) -> None:
        """An interface of the second host that leads nowhere. The calling process must be on it."""
        from pyroute2 import IPRoute  # type: ignore[import-not-found, unused-ignore]

        with IPRoute() as ip:
            ip.link("add", ifname=name, kind="veth", peer={"ifname": "nowhere"})
            (index,) = ip.link_lookup(ifname=name)
            ip.addr("add", index=index, address=address, prefixlen=24)
            for end in (index, *ip.link_lookup(ifname="nowhere")):
                ip.link("set", index=end, state="up")

    def pull_the_cable(self) -> None:
        from pyroute2 import IPRoute  # type: ignore[import-not-found, unused-ignore]

        with IPRoute() as ip:
            ip.link("set", index=ip.link_lookup(ifname=self.interface)[0], state="down")

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.second, signal.SIGKILL)
        os.waitpid(self.second, 0)
