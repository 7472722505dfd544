#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes a server out of a gateway, or puts it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_server
short_description: Takes a server out of a gateway, or puts it back
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Runs on a host on which the role P(dgxspark.vllm.gateway#role) has set up HAProxy, and uses its administration
    socket. Nothing is restarted. What a reload of HAProxy would forget is also written to files that it reads.
  - A drained server gets no new requests. Those that it has go on to their end, also those that began before a reload.
  - A server that an operator has set to maintenance is left as it is.
  - Where no gateway runs, or the gateway does not know the server, nothing is done and nothing fails.
options:
  server:
    description: Name of the server, which is that of its host in the inventory.
    type: str
    required: true
  hold:
    description:
      - With O(state=drained), whether requests for which there is no other server wait until O(state=ready), as long as
        C(gateway_hold_seconds) of the role says. Otherwise they get status 503.
    type: bool
    default: false
  state:
    description:
      - V(drained) takes the server out, and waits until it has no request in progress.
      - V(ready) puts it back, and waits until its health checks pass.
    type: str
    choices: [drained, ready]
    required: true
  timeout:
    description: Longest wait in seconds. With V(0) the module does not wait. What is not reached by then is no failure.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
    details: Does not wait.
extends_documentation_fragment:
  - dgxspark.vllm.attributes.changes
notes:
  - Requires root.
seealso:
  - plugin: dgxspark.vllm.gateway
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Take the server out of the gateway, before it is restarted
  dgxspark.vllm.gateway_server:
    server: "{{ inventory_hostname }}"
    state: drained
    hold: true
  become: true
  delegate_to: gateway01
"""

RETURN = r"""
found:
  description: Whether a gateway runs here that knows the server.
  returned: always
  type: bool
  sample: true
missing:
  description: Whether a gateway runs here that does not know the server.
  returned: always
  type: bool
  sample: false
reached:
  description:
    - With O(state=drained), whether the server has no request in progress.
    - With O(state=ready), whether its health checks pass.
  returned: always
  type: bool
  sample: true
sessions:
  description: Requests of the server that are in progress.
  returned: always
  type: int
  sample: 0
alone:
  description:
    - Whether the server is up, and the gateway has no other one of its model that is. Without it requests wait, or get
      status 503.
  returned: always
  type: bool
  sample: false
held:
  description:
    - With O(hold), whether the gateway lets requests wait. It does not with C(gateway_hold_seconds=0), or if its
      configuration has no such place.
  returned: always
  type: bool
  sample: true
"""

import contextlib
import fcntl
import os
import socket
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import write
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import haproxy
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem

SOCKET = "/run/dgxspark-gateway.sock"
MASTER = "/run/haproxy-master.sock"  # as the distribution starts HAProxy; it leads to processes from before a reload
FOLDER = "/etc/haproxy/dgxspark"
PAUSE = 0.5  # seconds between two looks
WORDS = {"drained": "drain", "ready": "ready"}


def ask(command: str, path: str = "") -> str:
    """What HAProxy answers to one command. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(path or SOCKET)
        connection.sendall(f"{command}\n".encode())
        connection.shutdown(socket.SHUT_WR)  # the master waits for another command otherwise
        answer = b""
        while True:
            part = connection.recv(65536)
            if not part:
                return answer.decode(errors="replace")
            answer += part


def ask_master(command: str) -> str:
    """It does not listen for a moment while it reloads."""
    end = time.monotonic() + 5
    while True:
        try:
            return ask(command, MASTER)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def ask_old(command: str) -> list[str]:
    """What the processes from before a reload answer. Where HAProxy has no master, there are none."""
    try:
        processes = haproxy.old_workers(ask_master(haproxy.PROCESSES))
    except FileNotFoundError:
        return []
    return [ask_master(f"@!{process} {command}") for process in processes]


def look() -> list[haproxy.Server]:
    servers = haproxy.parse(ask(haproxy.STATES), ask(haproxy.STATISTICS))
    return haproxy.with_old(servers, ask_old(haproxy.REQUESTS))


def held_map() -> str:
    return f"{FOLDER}/held.map"


@contextlib.contextmanager
def kept(module: AnsibleModule) -> t.Iterator[None]:
    """Writes what is changed meanwhile for the next reload. One at a time: the files are of all servers."""
    if module.check_mode:
        yield
        return
    folder = os.open(FOLDER, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
        keep("held.map", haproxy.entries(ask(f"show map {held_map()}")))
        keep("drained.map", [f"{each.backend}/{each.name} 1" for each in look() if each.is_drained])
    finally:
        os.close(folder)


def keep(name: str, lines: t.Iterable[str]) -> None:
    path, text = f"{FOLDER}/{name}", "".join(f"{line}\n" for line in lines)
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        if file.read() == text:
            return
    write(path, text, 0o600)


def is_reached(state: str, mine: list[haproxy.Server]) -> bool:
    if state == "drained":
        return not any(server.sessions for server in mine)
    return all(server.is_up for server in mine)


def is_wrong(state: str, server: haproxy.Server) -> bool:
    """An operator's maintenance is left as it is: no requests go there, and only its operator ends it."""
    return server.is_drained if state == "ready" else not server.is_out


def tell(module: AnsibleModule, name: str, state: str) -> tuple[bool, list[haproxy.Server]]:
    """Whether a server of NAME was not in STATE, and all servers as they are then."""
    servers = look()
    wrong = [server for server in servers if server.name == name and is_wrong(state, server)]
    if not wrong or module.check_mode:
        return bool(wrong), servers
    for server in wrong:
        answer = ask(f"set server {server.backend}/{server.name} state {WORDS[state]}")
        if answer.strip():
            module.fail_json(msg=f"HAProxy refuses {state} of {name}: {answer.strip()}")
    return True, look()


def hold(backends: set[str], since: int) -> bool:
    """Whether all BACKENDS let their requests wait now."""
    refused = False
    for backend in backends:
        answer = ask(f"set map {held_map()} {backend} {since}")
        if "not found" in answer:
            answer = ask(f"add map {held_map()} {backend} {since}")
        refused = refused or bool(answer.strip())
    return bool(backends) and not refused


def release(module: AnsibleModule, name: str, backends: set[str], servers: list[haproxy.Server]) -> None:
    """Lets those go that wait for NAME. A process from before a reload looks at no server any more, so it is told."""
    for server in servers:
        if server.name == name and server.is_up and not server.is_out:
            ask_old(f"set map {held_map()} {server.backend} {name}")
    with kept(module):
        for backend in backends:
            if haproxy.ends_hold(name, backend, servers):
                ask(f"del map {held_map()} {backend}")


def run(module: AnsibleModule) -> dict[str, object]:
    name, state, timeout = (module.params[option] for option in ("server", "state", "timeout"))
    since, held = int(time.time()), False
    is_held = state == "drained" and module.params["hold"] and not module.check_mode
    try:
        backends = {server.backend for server in look() if server.name == name}
        with kept(module):
            if is_held:
                held = hold(backends, since)
            changed, servers = tell(module, name, state)
    except (FileNotFoundError, ConnectionRefusedError):
        return {
            "changed": False,
            "found": False,
            "missing": False,
            "reached": True,
            "sessions": 0,
            "alone": False,
            "held": False,
        }
    end = time.monotonic() + timeout
    mine = [server for server in servers if server.name == name]
    while not is_reached(state, mine) and time.monotonic() < end and not module.check_mode:
        time.sleep(PAUSE)
        with kept(module):  # again: a reload of HAProxy just then may have forgotten it
            if is_held:
                held = hold(backends, since)
            servers = tell(module, name, state)[1]
        mine = [server for server in servers if server.name == name]
    if state == "ready" and not module.check_mode:  # only now: what waited goes to a server that is up
        release(module, name, backends, servers)
    return {
        "changed": changed,
        "found": bool(mine),
        "missing": not mine,
        "reached": is_reached(state, mine),
        "sessions": sum(server.sessions for server in mine),
        "alone": haproxy.is_alone(name, servers),
        "held": held,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "hold": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["drained", "ready"], "required": True},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except PermissionError as error:
        module.fail_json(msg=os_problem.one_line(error, SOCKET))
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"{SOCKET}: {error}")


if __name__ == "__main__":
    main()
