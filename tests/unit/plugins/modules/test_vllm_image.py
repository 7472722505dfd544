# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vllm_image: which image is ours, also after a run that was interrupted; with a stand-in for Docker."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import home as homes
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_image, vllm_release

Result = dict[str, t.Any]
ID = "0123456789ab"
IMAGE = "registry.example/vllm:1"


class Killed(BaseException):
    pass


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.capsys = folder / "vllm", capsys
        self.images: dict[str, str] = {}
        self.refused: str | None = None
        self.killed: str | None = None  # before or after: the run ends when the image is pulled
        self.insecure = False  # plain HTTP was allowed for its registry
        self.mirrors: list[str] = []
        self.networks: list[str] = []  # of registries without TLS
        self.proxies: dict[str, str] = {}  # of the daemon
        self.asked_by: dict[str, str] | None = None  # the environment in which the registry was asked
        self.calls: list[str] = []
        homes.mark(str(self.home), "vllm")
        (self.home / "releases" / ID).mkdir(parents=True)
        monkeypatch.setattr(
            AnsibleModule, "run_command", lambda _module, words, **options: self.command(words, **options)
        )
        monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda _module, name, required=False: f"/usr/bin/{name}")

    def command(self, words: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
        name = words[-1]
        self.calls.append(" ".join(words[1:3]))
        if words[1] == "pull":
            if self.killed == "before":
                raise Killed
            if self.refused:
                return 1, "", self.refused
            self.images[name] = f"sha256:{name}"
            if self.killed == "after":
                raise Killed
        elif words[0] == "timeout":  # what is asked of Docker and of the registry in check mode
            self.calls.append(" ".join(words[3:]))
            if words[3] == "info":
                registries = {
                    "IndexConfigs": {"registry.example": {"Secure": not self.insecure}},
                    "InsecureRegistryCIDRs": self.networks,
                    "Mirrors": self.mirrors,
                }
                return 0, json.dumps({"RegistryConfig": registries, **self.proxies}), ""
            self.asked_by = environ_update
            return (1, "", self.refused) if self.refused else (0, "{}", "")
        elif words[2] == "rm":
            del self.images[name]
        elif name not in self.images:
            return 1, "", f"Error response from daemon: No such image: {name}"
        elif "len" in words[3]:
            return 0, f"{self.images[name]} 1", ""
        else:
            return 0, json.dumps({"Id": self.images[name], "RepoDigests": [f"{name}@{self.images[name]}"]}), ""
        return 0, "", ""

    def run(self, **options: t.Any) -> Result:
        with (
            patch_module_args({"home": str(self.home), "release": ID, "image": IMAGE, **options}),
            pytest.raises(SystemExit),
        ):
            vllm_image.main()
        found: Result = json.loads(self.capsys.readouterr().out)
        return found

    def interrupted(self, when: str) -> None:
        self.killed = when
        with patch_module_args({"home": str(self.home), "release": ID, "image": IMAGE}), pytest.raises(Killed):
            vllm_image.main()
        self.killed = None

    def marker(self) -> tuple[list[str], list[str]]:
        found = json.loads((self.home / ".dgxspark-vllm").read_text())
        return found["images"], found["pulling"]

    def removed_with_its_release(self) -> list[str]:
        """Images that go when another release was proven, and is the only one that is kept."""
        (self.home / "releases" / ID / "release.json").write_text(json.dumps({"image": IMAGE, "number": 1}))
        (self.home / "releases" / ID / "good").write_text("1.0 2\n")
        (self.home / "releases" / ID / "compose.yaml").touch()
        new = self.home / "releases" / ("1" * 12)
        new.mkdir()
        (new / "release.json").write_text(json.dumps({"image": "other:1", "number": 3}))
        with (
            patch_module_args({"home": str(self.home), "release": new.name, "keep": 1}),
            pytest.raises(SystemExit),
        ):
            vllm_release.main()
        found: list[str] = json.loads(self.capsys.readouterr().out)["removed_images"]
        return found


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_an_image_is_pulled_once_and_recorded(host: Host) -> None:
    would = host.run(_ansible_check_mode=True)
    assert (would["changed"], would["pulled"], would["id"], host.marker()) == (True, True, None, ([], []))
    found = host.run()
    assert (found["changed"], found["pulled"], found["id"]) == (True, True, f"sha256:{IMAGE}")
    assert found["digests"] == [f"{IMAGE}@sha256:{IMAGE}"]
    recorded = json.loads((host.home / "releases" / ID / "image.json").read_text())
    assert recorded == {key: found[key] for key in ("id", "digests")}
    assert host.marker() == ([f"sha256:{IMAGE}"], [])
    again = host.run()
    assert (again["changed"], again["pulled"], host.calls.count("pull --quiet")) == (False, False, 1)
    assert host.removed_with_its_release() == [IMAGE]
    assert host.marker() == ([], [])


@pytest.mark.parametrize(("insecure", "option"), [(False, ""), (True, "--insecure ")])
def test_check_mode_asks_the_registry(host: Host, insecure: bool, option: str) -> None:
    host.insecure = insecure
    assert host.run(_ansible_check_mode=True)["pulled"]
    assert host.calls[-1] == f"manifest inspect {option}-- {IMAGE}"
    host.refused = f"no such manifest: {IMAGE}"
    found = host.run(_ansible_check_mode=True)
    assert (found["failed"], found["msg"]) == (True, f"The image {IMAGE} cannot be pulled: {host.refused}")
    assert host.marker() == ([], [])


def test_the_registry_is_asked_through_the_proxy_of_docker(host: Host) -> None:
    host.proxies = {"HttpsProxy": "http://proxy:3128", "NoProxy": "localhost"}
    assert host.run(_ansible_check_mode=True)["pulled"]
    assert host.asked_by == {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "localhost"}


def test_who_only_docker_can_ask_is_not_asked(host: Host) -> None:
    """Docker says of a proxy with a password only that it has one."""
    host.proxies = {"HttpsProxy": "http://xxxxx:xxxxx@proxy:3128"}
    host.refused = "407"
    assert host.run(_ansible_check_mode=True)["pulled"]
    assert host.asked_by is None


@pytest.mark.parametrize(
    ("image", "options", "waits"),
    [
        (IMAGE, {"insecure_registries": ["registry.example"]}, True),
        (IMAGE, {"insecure_registries": ["other.example", "10.0.0.0/8"]}, False),
        ("10.2.3.4:5000/vllm:1", {"insecure_registries": ["10.0.0.0/8"]}, True),
        ("192.0.2.4:5000/vllm:1", {"insecure_registries": ["10.0.0.0/8"]}, False),
        ("vllm/vllm-openai:v1", {"registry_mirrors": ["https://mirror.example/"]}, True),
        (IMAGE, {"registry_mirrors": ["https://mirror.example/"]}, False),
        (IMAGE, {"proxies": True}, True),
    ],
)
def test_a_registry_that_docker_is_still_to_be_told_of_is_not_asked(
    host: Host, image: str, options: dict[str, t.Any], waits: bool
) -> None:
    host.refused = "http: server gave HTTP response to HTTPS client"
    found = host.run(_ansible_check_mode=True, image=image, daemon_options=options)
    assert (found.get("failed", False), found.get("waits")) == (not waits, True if waits else None)
    assert any("manifest" in call for call in host.calls) is not waits


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (IMAGE, {"insecure_registries": ["registry.example"]}),
        ("10.2.3.4:5000/vllm:1", {"insecure_registries": ["10.0.0.0/8"]}),
        ("vllm/vllm-openai:v1", {"registry_mirrors": ["https://mirror.example"]}),
        (IMAGE, {"proxies": True}),
    ],
)
def test_once_docker_has_its_options_nothing_waits(host: Host, image: str, options: dict[str, t.Any]) -> None:
    host.insecure, host.networks, host.mirrors = True, ["10.0.0.0/8"], ["https://mirror.example/"]
    host.proxies = {"HttpsProxy": "http://proxy:3128"}
    assert host.run(_ansible_check_mode=True, image=image, daemon_options=options)["waits"] is False


def test_the_diff_has_what_an_owner_can_use(host: Host) -> None:
    """A pull, and another image under the same name; not what the release records of it."""
    file = host.home / "releases" / ID / "image.json"
    pulled = host.run(_ansible_diff=True)["diff"]
    assert (pulled["before"], pulled["after"]) == ({"is on the host": False}, {"is on the host": True})
    assert "diff" not in host.run(_ansible_diff=True)
    file.unlink()
    recorded = host.run(_ansible_diff=True)
    assert (recorded["changed"], recorded["pulled"], "diff" in recorded) == (True, False, False)
    file.write_text(file.read_text().replace(f"sha256:{IMAGE}", "sha256:old"))
    other = host.run(_ansible_diff=True)["diff"]
    assert other["before"] == {"is on the host": True, "id": "sha256:old"}
    assert other["after"] == {"is on the host": True, "id": f"sha256:{IMAGE}"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_pull_is_ours_afterwards(host: Host, when: str) -> None:
    host.interrupted(when)
    assert host.marker() == ([], [IMAGE])
    assert host.run(_ansible_check_mode=True)["changed"]
    assert host.marker() == ([], [IMAGE])
    assert host.run()["changed"]
    assert host.marker() == ([f"sha256:{IMAGE}"], [])
    assert host.run()["changed"] is False


def test_an_interrupted_pull_is_ours_if_the_next_run_wants_another_image(host: Host) -> None:
    host.interrupted("after")
    host.images["other:1"] = "sha256:other"
    assert host.removed_with_its_release() == [IMAGE]
    assert host.marker() == ([], [])


def test_an_image_that_was_there_is_its_owners(host: Host) -> None:
    host.images[IMAGE] = "sha256:mine"
    found = host.run()
    assert (found["changed"], found["pulled"], host.marker()) == (True, False, ([], []))
    assert host.run()["changed"] is False
    assert host.removed_with_its_release() == []


def test_an_image_that_could_not_be_pulled_is_its_owners_once_it_is_there(host: Host) -> None:
    host.refused = "Pulling\nError response from daemon: manifest unknown\x1b]0;owned\x07"
    found = host.run()
    assert found["msg"] == f"The image {IMAGE} cannot be pulled: Error response from daemon: manifest unknown"
    assert host.marker() == ([], [])
    host.images[IMAGE] = "sha256:mine"
    host.run()
    assert host.marker() == ([], [])


def test_without_a_folder_of_a_service_nothing_is_pulled(host: Host) -> None:
    (host.home / ".dgxspark-vllm").unlink()
    assert "is not the folder of a service" in host.run()["msg"]
    assert "is not the name of a release" in host.run(release="../x")["msg"]
    assert host.calls == []


def test_other_answers_of_docker_are_one_line(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, said in (
        ((1, "", "Cannot connect to the Docker daemon"), "ended with 1: Cannot connect to the Docker daemon"),
        ((0, "nothing", ""), "gave no ID: nothing"),
    ):
        monkeypatch.setattr(AnsibleModule, "run_command", lambda _module, _words, answer=answer: answer)
        assert said in host.run()["msg"]
