# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard lets only the hosts of a group reach the ports of Ray and of vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import refusal
from ansible_collections.dgxspark.vllm.roles.vllm.files import guard
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import Service
from guarded import NATIVE, program, release, write_link

from support.trees import deep_tree

GROUP = {**NATIVE, "closed_ports": [29501, 29600]}
JUMP = "INPUT -p tcp -m multiport --dports 29501:29600,10001 -j DGXSPARK-29501"


@pytest.fixture
def firewall(programs: Path, proc: Path) -> Path:
    """Only what looks for the jump fails: it is not there."""
    (proc / "net").mkdir()
    (proc / "net" / "if_inet6").touch()
    for name in ("iptables", "ip6tables"):
        program(programs, name, '[ "$2" != -C ]')
    return programs


def rules(calls: Path) -> list[str]:
    return [line for line in calls.read_text().splitlines() if "tables" in line]


def test_only_the_group_reaches_the_ports_of_ray(service: Service, proc: Path, firewall: Path) -> None:
    release(service, "one", **GROUP)
    left = service.home / "cache" / "ray" / "session_1"
    left.mkdir(parents=True)
    assert guard.prepare(service, proc) == 0
    assert not left.exists()
    assert rules(firewall) == [
        "iptables -w -N DGXSPARK-29501",
        f"iptables -w -C {JUMP}",
        "iptables -w -F DGXSPARK-29501",
        "iptables -w -A DGXSPARK-29501 -i lo -j RETURN",
        "iptables -w -A DGXSPARK-29501 -s 127.0.0.1 -j RETURN",
        "iptables -w -A DGXSPARK-29501 -s 127.0.0.2 -j RETURN",
        "iptables -w -A DGXSPARK-29501 -j DROP",
        f"iptables -w -I {JUMP}",
        "ip6tables -w -N DGXSPARK-29501",
        f"ip6tables -w -C {JUMP}",
        "ip6tables -w -F DGXSPARK-29501",
        "ip6tables -w -A DGXSPARK-29501 -i lo -j RETURN",
        "ip6tables -w -A DGXSPARK-29501 -j DROP",
        f"ip6tables -w -I {JUMP}",
    ]


VLLM = {**GROUP, "closed_ports": [29501, 29501]}


def test_only_the_group_reaches_the_port_of_vllm_on_its_head(service: Service, proc: Path, firewall: Path) -> None:
    (proc / "net" / "if_inet6").unlink()
    release(service, "one", **VLLM)
    assert guard.prepare(service, proc) == 0
    jump = "INPUT -p tcp -m multiport --dports 29501 -j DGXSPARK-29501"
    assert rules(firewall) == [
        "iptables -w -N DGXSPARK-29501",
        f"iptables -w -C {jump}",
        "iptables -w -F DGXSPARK-29501",
        "iptables -w -A DGXSPARK-29501 -i lo -j RETURN",
        "iptables -w -A DGXSPARK-29501 -s 127.0.0.1 -j RETURN",
        "iptables -w -A DGXSPARK-29501 -s 127.0.0.2 -j RETURN",
        "iptables -w -A DGXSPARK-29501 -j DROP",
        f"iptables -w -I {jump}",
    ]
    firewall.write_text("")
    assert guard.stop(service, proc) == 0
    assert f"iptables -w -D {jump}" in rules(firewall)


def test_on_a_worker_vllm_has_no_port_to_close(service: Service, proc: Path, firewall: Path) -> None:
    write_link(service, linked=False)
    release(service, "one", **{**VLLM, "rank": 1})
    assert guard.prepare(service, proc) == 0
    assert rules(firewall) == []


@pytest.mark.parametrize(
    ("group", "rank", "refused"), [(VLLM, 0, False), (VLLM, 1, True), (GROUP, 0, True), (NATIVE, 1, False)]
)
def test_who_comes_from_another_address_is_not_started(
    service: Service,
    proc: Path,
    firewall: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    group: dict[str, Any],
    rank: int,
    refused: bool,
) -> None:
    """Two interfaces in one subnet: the kernel takes the first one. The other host lets in what it knows."""
    monkeypatch.setattr(guard, "source", lambda _address, _port: "192.168.100.12")
    write_link(service, linked=False)
    release(service, "one", **{**group, "rank": rank})
    assert guard.prepare(service, proc) == refused
    if refused:
        cause = refusal(capsys.readouterr().out.removeprefix("<3>"))
        assert cause is not None
        assert cause.id == "peer_source"
        assert "192.168.100.12" in cause.remedy


def test_who_is_not_let_in_is_told_so_and_not_that_the_other_is_silent(
    service: Service, proc: Path, firewall: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "source", lambda _address, _port: "192.168.100.12")
    monkeypatch.setattr(guard, "wait_for_peers", lambda *_asked: "127.0.0.1 did not answer for 600 s")
    write_link(service, linked=False)
    release(service, "one", **{**VLLM, "rank": 1})
    assert guard.prepare(service, proc) == 1
    assert "did not answer" not in capsys.readouterr().out


def test_a_note_that_cannot_be_written_keeps_no_port_open(service: Service, proc: Path, firewall: Path) -> None:
    (service.home / "state").write_text("no folder")
    release(service, "one", **VLLM)
    assert guard.prepare(service, proc) == 0
    assert any(" -I INPUT" in rule for rule in rules(firewall))


def test_no_tree_that_a_container_left_keeps_ray_from_starting(service: Service, proc: Path, firewall: Path) -> None:
    release(service, "one", **GROUP)
    left, compiled = service.home / "cache" / "ray", service.home / "cache" / "vllm"
    with deep_tree(left):
        compiled.mkdir()
        assert guard.prepare(service, proc) == 0
        assert not left.exists()
        assert compiled.exists()


def test_a_tree_that_cannot_be_removed_is_no_reason_not_to_serve(
    service: Service, proc: Path, firewall: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release(service, "one", **GROUP)
    program(firewall, "rm", "echo 'rm: \033[2Jno' >&2; exit 1")
    assert guard.prepare(service, proc) == 0
    assert "; going on" in capsys.readouterr().out


def test_without_ipv6_there_is_nothing_to_close_of_it(service: Service, proc: Path, firewall: Path) -> None:
    (proc / "net" / "if_inet6").unlink()
    release(service, "one", **GROUP)
    assert guard.prepare(service, proc) == 0
    assert {rule.split()[0] for rule in rules(firewall)} == {"iptables"}


def test_a_stop_takes_the_rules_and_the_container_of_ray_along(service: Service, proc: Path, firewall: Path) -> None:
    release(service, "one", **GROUP)
    guard.prepare(service, proc)
    release(service, "two")  # what was closed counts, not what is current by now
    ours = f"one {service.home}/cache"
    program(
        firewall,
        "docker",
        f'case "$*" in *label=dgxspark.vllm.ray=*) echo cc {ours};; *filter*) echo aa {ours};; esac',
    )
    firewall.write_text("")
    assert guard.stop(service, proc) == 0
    assert "docker stop -t 15 aa cc" in firewall.read_text()
    assert rules(firewall) == [
        f"{name} -w {rule}"
        for name in ("iptables", "ip6tables")
        for rule in (f"-D {JUMP}", "-F DGXSPARK-29501", "-X DGXSPARK-29501")
    ]
    firewall.write_text("")
    assert guard.stop(service, proc) == 0
    assert rules(firewall) == []


def test_ray_is_not_started_with_open_ports(
    service: Service, proc: Path, firewall: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(firewall, "ip6tables", "echo 'no such table' >&2; exit 3")
    release(service, "one", **GROUP)
    assert guard.prepare(service, proc) == 1
    said = capsys.readouterr().out
    assert said == (
        "<3>not started: the ports of the group could not be closed to other hosts: ip6tables -w -F DGXSPARK-29501:"
        " no such table\n"
    )


@pytest.mark.parametrize("ports", [None, [], [29501], [2, 1], ["x", "y"], [0, 5], [29501, 70000], {"a": 1}])
def test_other_services_close_nothing(service: Service, proc: Path, firewall: Path, ports: Any) -> None:
    release(service, "one", **{**GROUP, "closed_ports": ports})
    assert guard.prepare(service, proc) == 0
    assert rules(firewall) == []
