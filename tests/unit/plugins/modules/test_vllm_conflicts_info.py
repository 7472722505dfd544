# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with stand-ins for Docker and systemd (docker_host.py), and for the kernel's list of sockets."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import spark
from docker_host import GUIDE, NAME, RELEASE, Host, service_labels

OURS = "127.0.0.1:8000->8000/tcp"
PLAIN: dict[str, t.Any] = {"image": "nginx:1", "program": "nginx"}


@pytest.fixture(name="sockets")
def _sockets(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Texts of files in /proc; a process that listens is 812."""
    files: dict[str, str] = {}
    monkeypatch.setattr(spark, "read_text", files.get)
    monkeypatch.setattr(spark, "socket_owner", lambda _inodes: 812)
    return files


@pytest.fixture(name="host")
def _host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sockets: dict[str, str]
) -> Host:
    assert sockets == {}
    return Host(tmp_path, monkeypatch, capsys)


def listen(sockets: dict[str, str], process: str, port: int = 8000) -> None:
    sockets["/proc/net/tcp"] = f"0: 0100007F:{port:04X} 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0\n"
    sockets["/proc/812/comm"] = f"{process}\n"


def test_a_free_host_has_no_conflict(host: Host, sockets: dict[str, str]) -> None:
    listen(sockets, "nginx", 8001)
    host.container("other", ports="0.0.0.0:8001->80/tcp", **PLAIN)
    found = host.conflicts()
    assert (found["changed"], found["conflicts"], found["holders"], host.calls) == (False, [], [], [])


@pytest.mark.parametrize("program", ["nginx", ""])
def test_a_port_that_a_program_holds(host: Host, sockets: dict[str, str], program: str) -> None:
    listen(sockets, program)
    found = host.conflicts()
    assert found["holders"] == []
    assert found["conflicts"] == [
        {
            "id": "port_in_use",
            "text": f"Port 8000 is held by {program or 'an unknown process'} (pid 812), which is not a vLLM server in a"
            " container. Stop it, or set vllm_port to a free port",
        }
    ]


def test_a_port_that_a_container_without_vllm_holds(host: Host, sockets: dict[str, str]) -> None:
    listen(sockets, "docker-proxy")
    host.container("web", ports=OURS, **PLAIN)
    found = host.conflicts()
    assert [conflict["id"] for conflict in found["conflicts"]] == ["port_in_use"]
    assert found["conflicts"][0]["text"].startswith("Port 8000 is held by web (pid 812), which is not a vLLM server")
    assert [holder["is_vllm"] for holder in found["holders"]] == [False]


@pytest.mark.parametrize("running", [True, False])
def test_a_name_that_a_container_without_vllm_has(host: Host, running: bool) -> None:
    host.container(NAME, running, **PLAIN)
    found = host.conflicts()
    assert found["conflicts"] == [
        {
            "id": "name_in_use",
            "text": f"A container named {NAME} exists, and it does not run vLLM (nginx:1). Remove it (docker rm -f"
            f" {NAME}), or set vllm_container_name to another name",
        }
    ]


def test_other_servers_can_be_taken_over(host: Host, sockets: dict[str, str]) -> None:
    listen(sockets, "docker-proxy")
    host.service("vllm-b", "vllm-b-x")
    host.containers[host.find("vllm-b-x") or ""]["ports"] = OURS
    host.container(NAME, labels=GUIDE)
    found = host.conflicts()
    assert found["conflicts"] == []
    assert [(holder["name"], holder["description"], holder["enabled"]) for holder in found["holders"]] == [
        ("vllm-b-x", "the service vllm-b (container vllm-b-x)", True),
        (NAME, f"the container {NAME} of the Compose project llm", False),
    ]
    (refused,) = host.conflicts(take_over=False)["conflicts"]
    assert refused["id"] == "take_over_disabled"
    assert refused["text"] == (
        f"The service vllm-b (container vllm-b-x) and the container {NAME} of the Compose project llm are in the way,"
        " and vllm_take_over is false. Stop them, set vllm_port and vllm_container_name to other values, or set"
        " vllm_take_over: true"
    )


def test_what_docker_would_remove_cannot_be_taken_over(host: Host) -> None:
    host.container("trial", auto_remove=True, ports=OURS)
    (refused,) = host.conflicts()["conflicts"]
    assert refused["id"] == "auto_removed"
    assert refused["text"].startswith("The container trial (started by hand) is in the way, and Docker removes it")
    assert "Stop it (docker stop trial)" in refused["text"]
    # A take-over would be refused too.
    assert host.conflicts(take_over=False)["conflicts"] == [refused]
    host.container(NAME, labels=GUIDE)
    both = host.conflicts(take_over=False)["conflicts"]
    assert [each["id"] for each in both] == ["auto_removed", "take_over_disabled"]
    assert both[1]["text"].startswith(f"The container {NAME} of the Compose project llm is in the way, and vllm_take")


@pytest.mark.parametrize("container", [NAME, "vllm-other-model"])
def test_what_is_ours_is_no_conflict(host: Host, sockets: dict[str, str], container: str) -> None:
    """Under the wanted name, or that of another model."""
    listen(sockets, "docker-proxy")
    host.service("vllm", container)
    host.containers[host.find(container) or ""]["ports"] = OURS
    found = host.conflicts(take_over=False)
    assert (found["conflicts"], found["holders"]) == ([], [])


@pytest.mark.parametrize("label", ["ssh", "vllm"])
def test_a_label_makes_no_vllm_server(host: Host, sockets: dict[str, str], label: str) -> None:
    listen(sockets, "docker-proxy")
    host.container("chat-ui", ports=OURS, labels=service_labels(label), **PLAIN)
    found = host.conflicts()
    assert [conflict["id"] for conflict in found["conflicts"]] == ["port_in_use"]
    assert [(holder["is_vllm"], holder["service"]) for holder in found["holders"]] == [(False, None)]


@pytest.mark.parametrize("release", [None, "", "..", "abc", "ba9876543210", RELEASE])
def test_a_label_of_a_release_that_is_not_there_makes_no_service(host: Host, release: str | None) -> None:
    host.service("vllm", "mine")
    labels = {**service_labels("vllm"), "dgxspark.vllm.release": release}
    host.container(NAME, labels={name: value for name, value in labels.items() if value is not None}, **PLAIN)
    found = [conflict["id"] for conflict in host.conflicts()["conflicts"]]
    assert found == ([] if release == RELEASE else ["name_in_use"])


@pytest.mark.parametrize(
    ("ports", "listening", "address", "ids"),
    [
        ("0.0.0.0:8000->514/udp", None, "127.0.0.1", []),
        ("0.0.0.0:8000->514/udp, 192.168.1.9:8000->80/tcp", None, "127.0.0.1", []),
        ("192.168.1.9:8000->80/tcp", "0901A8C0", "127.0.0.1", []),
        ("192.168.1.9:8000->80/tcp", "0901A8C0", "192.168.1.9", ["port_in_use"]),
        ("192.168.1.9:8000->80/tcp", "0901A8C0", "0.0.0.0", ["port_in_use"]),
        ("[::]:7999-8001->7999-8001/tcp", "00000000", "127.0.0.1", ["port_in_use"]),
        (":::8000->80/tcp", "00000000", "127.0.0.1", ["port_in_use"]),
    ],
)
def test_only_the_same_port_at_the_same_address_is_taken(
    host: Host, sockets: dict[str, str], ports: str, listening: str | None, address: str, ids: list[str]
) -> None:
    if listening:
        sockets["/proc/net/tcp"] = f"0: {listening}:1F40 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0\n"
    host.container("syslog", ports=ports, **PLAIN)
    assert [conflict["id"] for conflict in host.conflicts(address=address)["conflicts"]] == ids


def test_docker_that_does_not_answer(host: Host, sockets: dict[str, str]) -> None:
    host.container(NAME, **PLAIN)
    host.daemon = False
    assert host.conflicts()["msg"].startswith("docker ps ended with 1: Cannot connect")
    listen(sockets, "nginx")  # a host that is not prepared yet, in check mode
    found = host.conflicts(_ansible_check_mode=True)
    assert [conflict["id"] for conflict in found["conflicts"]] == ["port_in_use"]
    host.programs.clear()
    assert [conflict["id"] for conflict in host.conflicts()["conflicts"]] == ["port_in_use"]


@pytest.mark.parametrize("port", [0, 65536])
def test_a_bad_port(host: Host, port: int) -> None:
    assert host.conflicts(port=port)["msg"] == f"port: {port} is not allowed; use a TCP port from 1 to 65535"
