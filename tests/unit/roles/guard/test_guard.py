# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often the guard lets a service start, what it clears away before, and what a stop stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import root_only
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import refusal
from ansible_collections.dgxspark.vllm.roles.vllm.files import guard
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import Service
from guarded import NATIVE, program, release, write_link

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
