# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for the hub: a fault of one client is no fault of another."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hub import HubServer
from support.models import make

MODEL = "owner/name"
PATH = f"/{MODEL}/resolve/main/config.json"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    make(tmp_path / MODEL, shards=1, vocabulary=640, hidden=64, heads=4, head_dim=32)
    hub = HubServer(tmp_path)
    hub.start()
    yield hub
    hub.stop()


def status(hub: HubServer, client: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10, source_address=(client, 0))
    try:
        connection.request("GET", PATH)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_fault_may_be_of_one_client(hub: HubServer) -> None:
    hub.set_faults([{"match": "config.json", "status": 503, "client": "127.0.0.2"}])
    assert [status(hub, client) for client in ("127.0.0.1", "127.0.0.2", "127.0.0.3")] == [200, 503, 200]


def test_a_fault_without_a_client_is_of_all(hub: HubServer) -> None:
    hub.set_faults([{"match": "config.json", "status": 503}])
    assert [status(hub, client) for client in ("127.0.0.1", "127.0.0.2")] == [503, 503]


def test_a_word_that_is_none_is_refused(hub: HubServer) -> None:
    with pytest.raises(OSError, match="400"):
        hub.set_faults([{"match": "config.json", "clients": "127.0.0.2"}])
