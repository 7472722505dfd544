# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.peers import (
    CLOSED,
    OPEN,
    Connection,
    Peers,
    connections,
    is_listening,
    missing,
    peers_of,
    reach,
    read_connections,
)

HEAD, WORKER, OTHER, PORT = "10.0.0.1", "10.0.0.2", "10.0.0.3", 29501
# Of a head: it listens for both kinds of addresses, and one worker is connected, as IPv4 in IPv6.
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:733D 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4712
   1: 0000000000000000FFFF00000100000A:733D 0000000000000000FFFF00000200000A:D431 01 0:0 00:0 0 0 0 4713
"""


def linked(address: str, port: int, peer: str, peer_port: int, state: str = "01") -> Connection:
    return Connection(address, port, peer, peer_port, state, "1")


def test_a_connection_in_either_table() -> None:
    assert [*connections(TCP)] == [Connection("127.0.0.1", 8000, "0.0.0.0", 0, "0A", "4711")]
    assert Connection(HEAD, PORT, WORKER, 54321, "01", "4713") in connections(TCP6)
    assert [*connections("\n0: x y\n" + "a " * 12)] == []


def test_who_serves_together() -> None:
    facts = {"nodes": [HEAD, WORKER], "rank": 1, "master_port": PORT}
    assert peers_of(facts) == Peers((HEAD, WORKER), 1, PORT)
    assert Peers((HEAD, WORKER), 1, PORT).others == (HEAD,)
    for alone in ({}, {**facts, "rank": 2}, {**facts, "nodes": [HEAD]}, {**facts, "master_port": "x"}, {"nodes": 7}):
        assert peers_of(alone) is None


@pytest.mark.parametrize(
    ("seen", "absent"),
    [
        ([], [WORKER, OTHER]),
        ([linked(HEAD, PORT, WORKER, 40000)], [OTHER]),
        ([linked(HEAD, PORT, WORKER, 40000, "08")], [WORKER, OTHER]),  # the worker is gone
        ([linked(HEAD, PORT, WORKER, 40000), linked(HEAD, PORT, OTHER, 40000)], []),
        # its own connection to itself is none, and one from another address of a worker's is one
        ([linked(HEAD, PORT, HEAD, 40000), linked(HEAD, PORT, WORKER, 40000)], [OTHER]),
        ([linked(HEAD, PORT, "10.0.1.3", 40000), linked(HEAD, PORT, WORKER, 40000)], []),
    ],
)
def test_whose_connection_the_head_lacks(seen: list[Connection], absent: list[str]) -> None:
    assert missing(Peers((HEAD, WORKER, OTHER), 0, PORT), seen) == absent


def test_whether_a_worker_lacks_the_head() -> None:
    peers = Peers((HEAD, WORKER), 1, PORT)
    assert missing(peers, [linked(WORKER, 40000, HEAD, PORT)]) == []
    for other in (
        linked(WORKER, 40000, HEAD, PORT, "08"),
        linked(WORKER, 40000, HEAD, 22),
        linked(WORKER, 1, OTHER, PORT),
    ):
        assert missing(peers, [other]) == [HEAD]


def test_whether_a_host_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reach("127.0.0.1", port) == OPEN
        with socket.create_connection(("127.0.0.1", port)) as client:
            ends = (*client.getsockname(), *client.getpeername())
            assert ends in [one[:4] for one in read_connections() if one.state == "01"]
    assert reach("127.0.0.1", port) == CLOSED


def test_only_a_process_of_the_container_listens_for_it(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TCP)
    for pid, cgroup in (("7", "/docker/other"), ("8", "/system.slice/docker-0123456789abcdef.scope")):
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "cgroup").write_text(f"0::{cgroup}\n")
    os.symlink("socket:[4711]", tmp_path / "7" / "fd" / "3")
    asked = ("0123456789ab", "127.0.0.1:8000", str(tmp_path))
    assert not is_listening(*asked)
    os.symlink("socket:[4711]", tmp_path / "8" / "fd" / "3")
    assert is_listening(*asked)
    assert not is_listening("0123456789ab", "127.0.0.1:8001", str(tmp_path))
    assert not is_listening("", "127.0.0.1:8000", str(tmp_path))
