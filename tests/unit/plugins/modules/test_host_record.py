# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on a folder, with stand-ins for systemd, dpkg, apt and Docker."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import host_state
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import (
    configuration,
    daemon_json,
    docker_daemon,
    services,
)
from ansible_collections.dgxspark.vllm.plugins.modules import host_record

Result = dict[str, t.Any]
SECRET = "S3cretPassw0rd"
OWNERS = f'{{"proxies": {{"http-proxy": "http://corp:{SECRET}@proxy"}}}}\n'
MERGED = OWNERS.replace('{"proxies"', '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}, "proxies"')


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.folder = folder
        self.record, self.open = folder / "var/lib/host.json", folder / "var/lib/host.open.json"
        self.limits, self.daemon, self.source = folder / "limits.conf", folder / "daemon.json", folder / "apt/x.sources"
        self.swappiness = folder / "vm.swappiness"
        self.swappiness.write_text("60\n")
        self.source.parent.mkdir()
        (folder / "units").mkdir()
        self.unit = {"ActiveState": "inactive", "UnitFileState": "disabled"}
        self.installed: set[str] = set()
        self.needed_by: list[str] = []
        self.gateway = "inactive"
        self.containers, self.rejected, self.is_docker_silent = "", "", False
        self.calls: list[str] = []
        monkeypatch.setattr(host_record, "RECORD", str(self.record))
        monkeypatch.setattr(host_record, "OPEN", str(self.open))
        monkeypatch.setattr(host_record, "APT", str(folder / "apt"))
        monkeypatch.setattr(services, "UNITS", str(folder / "units"))
        monkeypatch.setattr(daemon_json, "PATH", str(self.daemon))
        monkeypatch.setattr(daemon_json, "NOTE", str(folder / "note.json"))
        monkeypatch.setattr(configuration, "sysctl_path", lambda name, root="": str(folder / name))
        monkeypatch.setattr(AnsibleModule, "run_command", lambda _module, words, **_more: self.command(words))
        monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda _module, name, *_more: f"/usr/bin/{name}")

    def command(self, words: list[str]) -> tuple[int, str, str]:
        call = " ".join([os.path.basename(words[0]), *words[1:]])
        program, verb = call.split()[:2]
        if program == "systemctl" and verb == "show":
            if "docker.service" in call:
                return 0, "ActiveState=active\nInvocationID=1\n", ""
            if "haproxy.service" in call:
                return 0, f"Id=haproxy.service\nActiveState={self.gateway}\nUnitFileState=disabled\n", ""
            return 0, "Id=earlyoom.service\n" + "".join(f"{key}={value}\n" for key, value in self.unit.items()), ""
        if program == "dpkg-query":
            return 1, "".join(f"{name} installed\n" for name in self.installed), "no packages found matching other"
        if program == "dockerd":
            return (1, "", self.rejected) if self.rejected else (0, "", "")
        if program == "docker" and self.is_docker_silent:
            return 1, "", "Cannot connect to the Docker daemon"
        if program == "docker":
            return 0, self.containers if verb == "ps" else '{"runc": {}, "nvidia": {}}', ""
        if call.startswith("apt-get --simulate"):
            gone = [*words[words.index("--") + 1 :], *self.needed_by]
            return 0, "".join(f"Purg {name} [1.7]\n" for name in gone), ""
        self.calls.append(call)
        if program == "systemctl":
            states = {"enable": "enabled", "disable": "disabled", "start": "active", "stop": "inactive"}
            if verb in states:
                self.unit["UnitFileState" if "able" in verb else "ActiveState"] = states[verb]
        if program == "apt-get":
            self.installed -= set(words)
        return 0, "", ""

    def run(self, state: str, check: bool = False, **options: t.Any) -> Result:
        arguments = {"state": state, **options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            host_record.main()
        out = self.capsys.readouterr().out
        assert SECRET not in out
        return json.loads(out)

    def prepare(self, swappiness: str = "10", limits: str = "ours\n", merged: str = MERGED) -> None:
        self.run(
            "opened",
            files=[str(self.limits), str(self.daemon), str(self.source)],
            sysctl=["vm.swappiness"],
            units=["earlyoom.service"],
            packages=["earlyoom", "docker.io"],
        )
        self.limits.write_text(limits)
        self.daemon.write_text(merged)
        self.source.write_text("Types: deb\n")
        self.swappiness.write_text(f"{swappiness}\n")
        self.unit = {"ActiveState": "active", "UnitFileState": "enabled"}
        self.installed |= {"earlyoom", "docker.io"}
        self.run("closed")

    def bytes(self) -> dict[str, tuple[bytes, int]]:
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        found = {str(path.relative_to(self.folder)): (path.read_bytes(), path.stat().st_mode) for path in paths}
        return {name: value for name, value in found.items() if not name.startswith("note.json")}


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    host = Host(tmp_path, monkeypatch, capsys)
    host.daemon.write_text(OWNERS)
    host.daemon.chmod(0o600)
    return host


def test_all_comes_back_to_the_byte(host: Host) -> None:
    before = host.bytes()
    host.prepare()
    assert host.record.stat().st_mode & 0o777 == 0o600 and not host.open.exists()
    look = host.run("restored", check=True, remove_packages=True)
    assert host.limits.read_text() == "ours\n" and not host.calls
    result = host.run("restored", remove_packages=True)
    assert host.bytes() == before
    assert result["restored"] == look["restored"] and result["left"] == []
    assert f"{host.limits} (removed)" in result["restored"] and "vm.swappiness = 60" in result["restored"]
    assert host.unit == {"ActiveState": "inactive", "UnitFileState": "disabled"} and not host.installed
    assert not host.record.parent.exists()
    assert host.run("restored")["changed"] is False


def test_several_runs_lead_back_to_the_first(host: Host) -> None:
    before = host.bytes()
    host.prepare()
    host.prepare(swappiness="1", limits="other\n")
    host.run("restored", remove_packages=True)
    assert host.bytes() == before


def test_packages_stay_unless_asked_and_keep_their_source(host: Host) -> None:
    host.prepare()
    result = host.run("restored")
    assert host.installed == {"earlyoom", "docker.io"} and host.source.exists()
    assert len(result["left"]) == 2 and "apt updates docker.io, earlyoom with it" in result["left"][1]
    again = host.run("restored")
    assert again["changed"] is False and again["left"] == result["left"]


@pytest.mark.parametrize(
    ("containers", "needed_by", "words"),
    [("a1\nb2\n", [], "Docker has 2 containers"), ("", ["nvidia-x"], "nvidia-x would be removed with it")],
)
def test_packages_that_others_need_stay(host: Host, containers: str, needed_by: list[str], words: str) -> None:
    host.prepare()
    host.containers, host.needed_by = containers, needed_by
    result = host.run("restored", remove_packages=True)
    assert words in result["left"][0] and host.installed == {"earlyoom", "docker.io"}


def test_the_package_of_a_gateway_that_serves_stays(host: Host) -> None:
    """Another role has recorded it. When the gateway is removed, its service is stopped."""
    host.run("opened", packages=["haproxy", "rsync"])
    host.installed, host.gateway = {"haproxy", "rsync"}, "active"
    host.run("closed")
    left = host.run("restored", remove_packages=True)["left"]
    assert left == ["haproxy: it still runs; remove gateway or monitoring first (docs/guides/uninstall.md)"]
    assert host.installed == {"haproxy"}
    host.gateway = "inactive"
    assert host.run("restored", remove_packages=True)["restored"] == ["haproxy (removed)"]
    assert host.installed == set()


def test_figures_that_prometheus_has_recorded_keep_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = host.folder / "prometheus"
    (figures / "metrics2").mkdir(parents=True)
    monkeypatch.setattr(host_state, "_FIGURES", str(figures))
    host.run("opened", packages=["prometheus"])
    host.installed = {"prometheus"}
    host.run("closed")
    left = host.run("restored", remove_packages=True)["left"]
    assert left == [f"prometheus: the figures that it has recorded are in {figures}; remove them first"]
    (figures / "metrics2").rmdir()
    assert host.run("restored", remove_packages=True)["restored"] == ["prometheus (removed)"]


def test_what_others_changed_since_is_left(host: Host) -> None:
    host.prepare()
    theirs = MERGED.replace("proxy", "proxy2")
    host.daemon.write_text(theirs)
    host.limits.chmod(0o600)
    host.swappiness.write_text("30\n")
    host.unit["ActiveState"] = "inactive"
    result = host.run("restored", remove_packages=True)
    assert [line.partition(": ")[2] for line in result["left"]] == ["it was changed by others since"] * 4
    assert host.daemon.read_text() == theirs and host.swappiness.read_text() == "30\n"
    assert host.unit["UnitFileState"] == "enabled"


def test_a_change_of_others_between_two_of_ours_is_not_lost(host: Host) -> None:
    host.prepare()
    host.daemon.write_text(MERGED.replace("proxy", "proxy2"))
    host.prepare(merged=MERGED.replace("proxy", "proxy3"))
    result = host.run("restored", remove_packages=True)
    assert result["left"] == [f"{host.daemon}: it was changed by others since"]


@pytest.mark.parametrize("is_continued", [True, False])
def test_what_an_interrupted_run_has_changed_is_put_back(is_continued: bool, host: Host) -> None:
    before = host.bytes()
    host.run("opened", files=[str(host.limits)])
    host.limits.write_text("half\n")  # and the run is killed
    assert host.run("restored", check=True)["restored"]
    assert host.limits.read_text() == "half\n" and host.open.exists()
    if is_continued:
        host.prepare()
    host.run("restored", remove_packages=True)
    assert host.bytes() == before
    assert not host.open.parent.exists()


def test_a_file_that_docker_rejects_is_left(host: Host) -> None:
    """It would not start with it, and the file that is there is the one that it runs with."""
    host.prepare()
    host.rejected = "invalid key: graph"
    result = host.run("restored")
    assert any(line.startswith(f"{host.daemon}: Docker rejects the new") for line in result["left"])
    assert host.daemon.read_text() == MERGED
    assert docker_daemon.Note.read() is None
    host.rejected = ""
    host.run("restored")
    assert host.daemon.read_text() == OWNERS


def test_docker_that_does_not_answer_keeps_its_packages(host: Host) -> None:
    host.prepare()
    host.is_docker_silent = True
    result = host.run("restored", remove_packages=True)
    assert "docker.io" in host.installed
    assert any("Docker does not say which containers it has" in line for line in result["left"])


def test_earlyoom_reads_its_file_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_state, "_READ_BY", {str(host.limits): "earlyoom.service"})
    host.prepare()
    host.run("restored")
    assert "systemctl try-restart -- earlyoom.service" in host.calls


def test_a_folder_in_the_place_of_a_file_is_left(host: Host) -> None:
    host.prepare()
    host.daemon.unlink()
    host.daemon.mkdir()
    assert f"{host.daemon}: it was changed by others since" in host.run("restored")["left"]


def test_a_service_goes_first(host: Host) -> None:
    host.prepare()
    (host.folder / "units/vllm.service").write_text("# Written by dgxspark.vllm\nWorkingDirectory=/opt/vllm/current\n")
    result = host.run("restored")
    assert result["failed"] and "vllm is installed" in result["msg"]
    assert host.limits.exists()


def test_docker_is_told_of_its_file(host: Host) -> None:
    host.prepare()
    assert f"{host.daemon} (Docker reloads it)" in host.run("restored", check=True)["restored"]
    assert docker_daemon.Note.read() is None
    host.run("restored")
    note = docker_daemon.Note.read()
    assert note and note.written and not note.restart
    assert note.backup and Path(note.backup).read_text() == MERGED
    assert os.stat(note.backup).st_mode & 0o777 == 0o600
    note.remove()
    assert not Path(note.backup).exists()


def test_a_restart_of_docker_names_what_it_interrupts(host: Host) -> None:
    host.prepare(merged=MERGED.replace('{"runtimes"', '{"data-root": "/data", "runtimes"'))
    host.containers = "a1\tchat\t\nb2\tvllm-x\tvllm\n"
    wanted = f"{host.daemon} (Docker is restarted, which interrupts chat)"
    assert wanted in host.run("restored")["restored"]
    note = docker_daemon.Note.read()
    assert note and note.restart and [one["name"] for one in note.containers] == ["chat"]


def test_check_mode_notes_nothing(host: Host) -> None:
    host.run("opened", check=True, files=[str(host.limits)])
    assert not host.open.exists()
