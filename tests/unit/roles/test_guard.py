# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of a service's starts, on files in a folder and with programs that stand in for Docker and systemd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import root_only
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import refusal
from ansible_collections.dgxspark.vllm.roles.vllm.files import guard
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import Memory, Service

from support.trees import deep_tree

GIB = 1024**3


@pytest.fixture
def service(tmp_path: Path) -> Service:
    service = Service(tmp_path / "vllm", "vllm")
    release(service, "one")
    return service


def release(service: Service, name: str, **parameters: Any) -> None:
    parameters = {"url": "http://127.0.0.1:8000", **parameters}
    folder = service.home / "releases" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "release.json").write_text(json.dumps(parameters))
    service.current.unlink(missing_ok=True)
    service.current.symlink_to(f"releases/{name}")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    proc = tmp_path / "proc"
    (proc / "sys" / "vm").mkdir(parents=True)
    (proc / "sys" / "kernel" / "random").mkdir(parents=True)
    (proc / "sys" / "kernel" / "random" / "boot_id").write_text("first-boot\n")
    meminfo(proc, free=100, available=110)
    for pid, name, mib in ((7, "small", 10), (812, "VLLM::EngineCor", 4096), (9, "middle", 2048), (10, "tiny", 1)):
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "comm").write_text(f"{name}\n")
        (proc / str(pid) / "status").write_text(f"Name:\t{name}\nVmRSS:\t{mib * 1024} kB\n")
    return proc


def meminfo(proc: Path, free: int, available: int) -> None:
    text = f"MemTotal: {120 << 20} kB\nMemFree: {free << 20} kB\nMemAvailable: {available << 20} kB\n"
    (proc / "meminfo").write_text(text)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that only say that they were called; the file with what they said."""
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.delenv("MAINPID", raising=False)
    cache = tmp_path / "vllm" / "cache"
    program(calls, "docker", f'if [ "$1" = ps ]; then echo aa one /opt/hf,{cache}; echo bb one {cache}; fi')
    program(calls, "systemctl", "")
    program(calls, "nvidia-smi", 'echo "812, 66560"')
    return calls


def program(calls: Path, name: str, script: str) -> None:
    path = calls.parent / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{calls}"\n{script}\n')
    path.chmod(0o755)


def write_link(service: Service, linked: bool) -> None:
    guard.write_json(service.link, {"boot": "first-boot", "linked": linked})


# --- the limit of tries -----------------------------------------------------------------------------------------


def test_a_release_that_never_answers_is_started_four_times(
    service: Service, proc: Path, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for boot in ("a", "a", "b", "c"):
        (proc / "sys" / "kernel" / "random" / "boot_id").write_text(boot)
        assert guard.allow(service) == 0
        assert guard.prepare(service, proc) == 0
    assert guard.allow(service) == 1
    said = capsys.readouterr().out
    assert said.startswith("<3>not started: release one was started 4 times since ")
    assert "(3 boots of the host) and never answered" in said
    cause = refusal(said.removeprefix("<3>"))
    assert cause is not None
    assert cause.id == "start_tries"
    assert f"sudo python3 -B /usr/local/lib/dgxspark/vllm guard forget vllm {service.home}" in cause.remedy


def test_an_answer_and_a_deployment_begin_anew(service: Service, proc: Path, programs: Path) -> None:
    for end in (service.answered, lambda: guard.forget(service)):
        for _try in range(4):
            guard.prepare(service, proc)
        assert guard.allow(service) == 1
        end()
        assert guard.allow(service) == 0
    assert "systemctl reset-failed vllm.service" in programs.read_text()


def test_forget_says_when_systemd_refuses(service: Service, programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(programs, "systemctl", "echo 'Unit vllm.service not loaded.' >&2; exit 1")
    assert guard.forget(service) == 0
    program(programs, "systemctl", "echo 'Access denied' >&2; exit 1")
    assert guard.forget(service) == 1
    assert "Access denied" in capsys.readouterr().out


def test_another_release_has_its_own_tries(service: Service, proc: Path, programs: Path) -> None:
    for _try in range(4):
        guard.prepare(service, proc)
    release(service, "two")
    assert guard.allow(service) == 0
    guard.prepare(service, proc)
    assert len(service.starts()) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"release": "one", "starts": 3}'])
def test_a_damaged_file_is_no_reason_to_stay_down(service: Service, proc: Path, programs: Path, text: str) -> None:
    service.tries.parent.mkdir()
    service.tries.write_text(text)
    assert guard.allow(service) == 0
    assert guard.prepare(service, proc) == 0
    assert len(service.starts()) == 1


def test_a_release_of_an_earlier_version_of_the_role_is_not_counted(
    service: Service, proc: Path, programs: Path
) -> None:
    """Nobody could tell that it answered."""
    (service.current / "release.json").unlink()
    assert guard.prepare(service, proc) == 0
    assert not service.is_unanswered()


def test_a_disk_that_takes_nothing_is_no_reason_to_stay_down(
    service: Service, proc: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service.tries.parent.write_text("no folder")
    assert guard.prepare(service, proc) == 0
    monkeypatch.setenv("MAINPID", "4711")
    assert guard.stop(service, proc) == 0
    assert capsys.readouterr().out.count("; going on") == 2


# --- memory -----------------------------------------------------------------------------------------------------


def test_a_start_without_a_need_waits_for_nothing(service: Service, proc: Path, programs: Path) -> None:
    meminfo(proc, free=0, available=0)
    assert guard.prepare(service, proc) == 0
    assert len(service.starts()) == 1


def test_too_little_memory_is_said_with_who_holds_it_and_is_no_try(
    service: Service, proc: Path, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release(service, "one", needed_bytes=112 * GIB, wait_seconds=0)
    assert guard.prepare(service, proc) == 1
    assert not service.is_unanswered()
    said = capsys.readouterr().out
    assert said == (
        "<3>not started: 112.0 GiB of memory are needed, 110.0 GiB are available after 0 s; most is held by"
        " VLLM::EngineCor (pid 812) 69.0 GiB, middle (pid 9) 2.0 GiB\n"
    )
    cause = refusal(said.removeprefix("<3>"))
    assert cause is not None
    assert cause.id == "start_memory"


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("- --gpu-memory-utilization\n- '0.9'\n", "vllm_gpu_memory_utilization"),
        ("- --kv-cache-memory-bytes\n- '4294967296000'\n", "kv_cache_memory_bytes in vllm_extra_args"),
    ],
)
def test_memory_that_the_host_does_not_have_is_not_waited_for(
    service: Service, proc: Path, programs: Path, capsys: pytest.CaptureFixture[str], command: str, what: str
) -> None:
    release(service, "one", needed_bytes=4002 * GIB)  # it would wait for two minutes
    (service.current / "compose.yaml").write_text(command)
    assert guard.prepare(service, proc) == 1
    said = capsys.readouterr().out
    assert said == (
        f"<3>not started: 4002.0 GiB of memory are needed, more than the 120.0 GiB of the host; {what} asks for it\n"
    )
    cause = refusal(said.removeprefix("<3>"))
    assert cause is not None
    assert cause.id == "start_memory_never"
    assert cause.remedy.startswith(f"lower {what} and deploy")


def test_who_holds_little_is_not_named(proc: Path) -> None:
    for pid in (9, 812):
        (proc / str(pid) / "status").write_text("VmRSS:\t100 kB\n")
    assert guard.holders(proc, "") == "no one that can be seen with 1 GiB or more"


def test_it_waits_until_the_memory_is_back(capsys: pytest.CaptureFixture[str]) -> None:
    looks = iter([Memory(1, 10), Memory(1, 40), Memory(1, 100)])
    assert guard.wait_for_memory(90, 60, lambda: next(looks)).available == 100
    assert capsys.readouterr().out.count("waiting") == 1


@pytest.mark.parametrize(
    ("free", "available", "needed", "drops"),
    [
        (60, 110, 100, True),  # enough, but in the page cache
        (105, 110, 100, False),  # enough is free
        (99, 99.5, 100, False),  # nothing to be had from the page cache
        (60, 110, 0, True),  # nobody knows how much is enough
    ],
)
def test_the_page_cache_is_dropped_when_it_helps(free: float, available: float, needed: int, drops: bool) -> None:
    assert guard.should_drop(Memory(int(free * GIB), int(available * GIB)), needed * GIB) is drops


def test_the_page_cache_is_dropped_only_on_request(service: Service, proc: Path, programs: Path) -> None:
    drop = proc / "sys" / "vm" / "drop_caches"
    release(service, "one", needed_bytes=105 * GIB)
    assert guard.prepare(service, proc) == 0
    assert not drop.exists()
    release(service, "one", needed_bytes=105 * GIB, drop_page_cache=True)
    assert guard.prepare(service, proc) == 0
    assert drop.read_text() == "3"


# --- the ports of a group -----------------------------------------------------------------------------------------

NATIVE = {"nodes": ["127.0.0.1", "127.0.0.2"], "rank": 0, "master_port": 29501}
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


# --- what FlashInfer has tuned ----------------------------------------------------------------------------------


@pytest.fixture
def caches(service: Service) -> dict[str, Path]:
    """What a start of vLLM 0.32 leaves."""
    vllm = service.home / "cache" / "vllm"
    files = {
        "tuned": vllm / "flashinfer_autotune_cache" / "0.6.18" / "121a" / "5e1f" / "autotune_configs_dp0_rank0.json",
        "compiled": vllm / "torch_compile_cache" / "1" / "inductor.py",
        "kernels": service.home / "cache" / "triton" / "x.cubin",
    }
    for path in files.values():
        path.parent.mkdir(parents=True)
        path.touch()
    return files


def test_no_start_of_a_group_finds_what_another_one_has_tuned(
    service: Service, proc: Path, programs: Path, caches: dict[str, Path]
) -> None:
    for rank in (0, 1):
        caches["tuned"].parent.mkdir(parents=True, exist_ok=True)
        release(service, "one", **{**NATIVE, "rank": rank})
        write_link(service, linked=False)
        assert guard.prepare(service, proc) == 0
        assert not (service.home / guard.TUNED).exists()
    assert caches["compiled"].exists()
    assert caches["kernels"].exists()


def test_a_host_alone_keeps_it(service: Service, proc: Path, programs: Path, caches: dict[str, Path]) -> None:
    assert guard.prepare(service, proc) == 0
    assert caches["tuned"].exists()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_link_of_the_container_is_followed(
    service: Service,
    proc: Path,
    programs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    depth: int,
) -> None:
    theirs = tmp_path / "theirs"
    kept = theirs.joinpath(*guard.TUNED.parts[depth:]) / "kept"
    kept.parent.mkdir(parents=True)
    kept.touch()
    link = service.home.joinpath(*guard.TUNED.parts[:depth])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(theirs)
    release(service, "one", **NATIVE)
    assert guard.prepare(service, proc) == 0
    assert kept.exists()
    assert f"({link} is a link)" in capsys.readouterr().out


def test_what_cannot_be_removed_is_said(
    service: Service, proc: Path, programs: Path, caches: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    program(programs, "rm", "echo 'rm: Read-only file system' >&2; exit 1")
    release(service, "one", **NATIVE)
    assert guard.prepare(service, proc) == 0
    assert len(service.starts()) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"<3>{service.home / guard.TUNED} could not be removed (rm: Read-only file system); with it")
    assert said.endswith("; going on\n")


# --- what Docker mounts -------------------------------------------------------------------------------------------


def test_a_path_that_leads_elsewhere_than_when_it_was_staged_is_not_mounted(
    service: Service, proc: Path, programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The owner of a folder above a cache makes a link of it between two starts."""
    cache = tmp_path / "home" / ".cache" / "huggingface"
    cache.mkdir(parents=True)
    release(service, "one", real_paths={str(cache): str(cache), "/": "/"})
    assert guard.prepare(service, proc) == 0
    (tmp_path / "other" / "huggingface").mkdir(parents=True)
    cache.parent.rename(tmp_path / "home" / "before")
    cache.parent.symlink_to(tmp_path / "other")
    assert guard.prepare(service, proc) == 1
    said = capsys.readouterr().out
    assert said == (
        f"<3>not started: {cache} leads to {tmp_path}/other/huggingface and no longer to {cache}; move it back, or"
        " deploy again\n"
    )
    cause = refusal(said.removeprefix("<3>"))
    assert cause is not None
    assert cause.id == "start_path"


def test_what_root_has_moved_itself_is_mounted(
    service: Service, proc: Path, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache went to another disk since the release was staged: a rollback to it may not end in an outage."""
    monkeypatch.setattr(root_only, "writable_by", lambda _status: None)
    cache = tmp_path / "opt" / "hf"
    cache.mkdir(parents=True)
    release(service, "one", real_paths={str(cache): str(cache)})
    (tmp_path / "data").mkdir()
    cache.rename(tmp_path / "data" / "hf")
    cache.symlink_to(tmp_path / "data" / "hf")
    assert guard.prepare(service, proc) == 0


@pytest.mark.parametrize("paths", [None, [], {}, "/srv"])
def test_a_release_that_names_no_paths_is_started(service: Service, proc: Path, programs: Path, paths: Any) -> None:
    """One that an earlier version has staged."""
    release(service, "one", real_paths=paths)
    assert guard.prepare(service, proc) == 0


# --- the stop ---------------------------------------------------------------------------------------------------


def test_stop_asks_for_the_label_and_not_for_the_release(service: Service, proc: Path, programs: Path) -> None:
    service.current.unlink()
    assert guard.stop(service, proc) == 0
    assert programs.read_text().splitlines() == [
        "docker ps --no-trunc --filter label=dgxspark.vllm.service=vllm"
        ' --format {{.ID}} {{.Label "dgxspark.vllm.release"}} {{.Mounts}}',
        "docker stop -t 15 aa bb",
    ]


@pytest.mark.parametrize("label", ["", " ", " two", " ../releases/one", " ..", " one two"])
def test_a_container_that_only_has_the_label_is_not_stopped(
    service: Service, proc: Path, programs: Path, label: str
) -> None:
    """An image may bring it along; a release of ours it cannot name."""
    cache = service.home / "cache"
    program(programs, "docker", f'if [ "$1" = ps ]; then echo "cc{label} {cache}"; echo "aa one {cache}"; fi')
    assert guard.stop(service, proc) == 0
    assert programs.read_text().splitlines()[1:] == ["docker stop -t 15 aa"]


def test_a_stop_on_request_takes_its_try_back(
    service: Service, proc: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard.prepare(service, proc)
    guard.prepare(service, proc)
    guard.stop(service, proc)  # it ended by itself
    assert len(service.starts()) == 2
    monkeypatch.setenv("MAINPID", "4711")
    guard.stop(service, proc)
    assert len(service.starts()) == 1
    guard.stop(service, proc)
    assert not service.is_unanswered()


def test_stop_ends_after_compose(service: Service, proc: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd would tell it to end as soon as this is over."""
    compose = proc / "4711"
    compose.mkdir()
    monkeypatch.setenv("MAINPID", "4711")
    ours = f"echo aa one {service.home}/cache"
    program(
        programs,
        "docker",
        f'case $1 in ps) {ours};; stop) (sleep 0.3; rmdir "{compose}") >/dev/null 2>&1 & ;; esac',
    )
    guard.stop(service, proc)
    assert not compose.exists()


def test_what_only_has_the_labels_is_not_stopped(service: Service, proc: Path, programs: Path) -> None:
    """An image brings labels along, also with a release that is there; no folder of ours."""
    cache = service.home / "cache"
    lines = ("aa one", "bb one ", "cc one /srv/data", f"dd one {cache}x", f"ee two {cache}", f"ff one /x,{cache}s/1000")
    script = "; ".join(f"echo '{line}'" for line in lines)
    program(programs, "docker", f'if [ "$1" = ps ]; then {script}; fi')
    guard.stop(service, proc)
    assert [line for line in programs.read_text().splitlines() if "stop" in line] == ["docker stop -t 15 ff"]


def test_the_command_line(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard.main(["guard", "allow", "vllm", str(service.home)]) == 0
    for wrong in (["dance", "vllm", str(service.home)], ["allow", "vllm"]):
        assert guard.main(["guard", *wrong]) == 2
        assert "usage: guard allow|prepare|stop|forget SERVICE HOME" in capsys.readouterr().err
