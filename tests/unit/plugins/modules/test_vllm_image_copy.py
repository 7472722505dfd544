# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vllm_image_copy and vllm_image_export with stand-ins for Docker and ssh: all of an image, or nothing of it."""

from __future__ import annotations

import json
import shutil
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import home as homes
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import copy as hf_copy
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import ssh_server
from ansible_collections.dgxspark.vllm.plugins.modules import (
    vllm_image,
    vllm_image_copy,
    vllm_image_export,
    vllm_release,
)

Result = dict[str, t.Any]
pytestmark = pytest.mark.usefixtures("warm_python")
RELEASE, NEXT = "0123456789ab", "ab0123456789"
IMAGE = "registry.example/vllm:1"
ID, OTHER = (f"sha256:{digit * 64}" for digit in "12")
DIGESTS = ["registry.example/vllm@sha256:" + "d" * 64]
PINNED = f"{IMAGE}@{DIGESTS[0].partition('@')[2]}"
CONTENT = b"x" * 3_000_000 + b"END"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0khmf063EQoewGW1c68NyWmWXAWOTU9ovtDYXjZ"

# The classic image store: a name of an image is one that was given to it, and a digest comes with a pull alone.
DOCKER = """#!{python}
import json, pathlib, sys
here, words = pathlib.Path({folder!r}), sys.argv[1:]
state = json.loads((here / "docker.json").read_text())
with (here / "calls").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
if words[0] == "info":
    print(json.dumps(state["info"]))
elif words[:2] == ["image", "inspect"]:
    ident = state["names"].get(words[-1], words[-1])
    if ident not in state["images"]:
        sys.exit("Error response from daemon: No such image: " + words[-1])
    facts = {{"Id": ident, "Size": 3_000_003, "Architecture": "arm64"}}
    facts["RepoTags"] = [name for name, named in state["names"].items() if named == ident and "@" not in name]
    facts["RepoDigests"] = state["images"][ident]
    print(f"{{ident}} {{len(state['images'][ident])}}" if "len" in words[2] else json.dumps(facts))
elif words[:2] == ["image", "ls"]:
    for ident, digests in state["images"].items():
        name = [*(name for name, named in state["names"].items() if named == ident), *digests, "<none>"][0]
        print(ident, name.split("@")[0])
elif words[0] == "load":
    if not sys.stdin.buffer.read().endswith(b"END"):
        sys.exit("unexpected EOF")
    state["images"][state["loads"]] = []
elif words[0] == "tag":
    state["names"][words[-1]] = words[-2]
elif words[0] == "pull":
    state["names"][words[-1]], state["images"][{ident!r}] = {ident!r}, {digests!r}
elif words[:2] == ["image", "rm"]:
    del state["images"][state["names"].pop(words[-1])]
(here / "docker.json").write_text(json.dumps(state))
"""
SSH = """#!{python}
import pathlib, sys, time
here = pathlib.Path({folder!r})
(here / "ssh").write_text(" ".join(sys.argv[1:]))
content, how = (here / "content").read_bytes(), (here / "how").read_text()
sys.stdout.buffer.write(content[: len(content) // 2])
sys.stdout.flush()
if how == "stands still":
    time.sleep(60)
if how == "breaks off":
    sys.exit("client_loop: send disconnect: Broken pipe")
sys.stdout.buffer.write(content[len(content) // 2 :])
if how == "fails at its end":
    sys.exit("Error response from daemon: no space left on device")
"""


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.home, self.capsys = folder, folder / "vllm", capsys
        (folder / "bin").mkdir()
        for name, text in (("docker", DOCKER), ("ssh", SSH)):
            program = folder / "bin" / name
            program.write_text(text.format(python=sys.executable, folder=str(folder), ident=ID, digests=DIGESTS))
            program.chmod(0o755)
        (folder / "content").write_bytes(CONTENT)
        (folder / "how").write_text("comes through")
        monkeypatch.setenv("PATH", f"{folder}/bin", prepend=":")
        monkeypatch.setattr(hf_copy, "KEYS", str(folder / "keys"))
        homes.mark(str(self.home), "vllm")
        for release in (RELEASE, NEXT):
            (self.home / "releases" / release).mkdir(parents=True)
        self.change(images={}, names={}, loads=ID, info={"Architecture": "aarch64", "DriverStatus": []})

    def docker(self) -> Result:
        path = self.folder / "docker.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def change(self, **state: t.Any) -> None:
        (self.folder / "docker.json").write_text(json.dumps({**self.docker(), **state}))

    def call(self, module: t.Any, **options: t.Any) -> Result:
        with patch_module_args(options), pytest.raises(SystemExit):
            module.main()
        output = self.capsys.readouterr().out
        assert "Traceback" not in output
        return dict(json.loads(output))

    def key(self) -> Path:
        folder = self.folder / "keys" / "k"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def copy(self, told: Result | None = None, **options: t.Any) -> Result:
        exported = {"id": ID, "digests": DIGESTS, "bytes": len(CONTENT), "architecture": "arm64", "store": "classic"}
        exported |= {"port": 4022, "host_key": "ssh-ed25519 AAAA", **(told or {})}
        wanted = {"home": str(self.home), "release": RELEASE, "image": IMAGE, "address": "192.0.2.1"}
        key = self.key()
        found = self.call(vllm_image_copy, **{**wanted, "export": exported, "key_folder": str(key), **options})
        assert not key.exists()
        return found

    def pull(self, **options: t.Any) -> Result:
        return self.call(vllm_image, **{"home": str(self.home), "release": RELEASE, "image": IMAGE, **options})

    def calls(self, verb: str) -> int:
        path = self.folder / "calls"
        return sum(line.startswith(verb) for line in path.read_text().splitlines()) if path.exists() else 0

    def marker(self) -> tuple[list[str], list[str]]:
        found = json.loads((self.home / ".dgxspark-vllm").read_text())
        return found["images"], found["pulling"]

    def recorded(self, release: str = RELEASE) -> Result:
        return dict(json.loads((self.home / "releases" / release / "image.json").read_text()))


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_an_image_is_copied_verified_and_named(host: Host) -> None:
    would = host.copy(_ansible_check_mode=True)
    assert (would["changed"], would["bytes"], host.docker()["images"], host.marker()) == (True, 0, {}, ([], []))
    found = host.copy()
    assert (found.get("msg"), found.get("changed"), found.get("bytes")) == (None, True, len(CONTENT))
    assert host.docker()["names"] == {IMAGE: ID}
    assert host.marker() == ([ID], [])
    called = (host.folder / "ssh").read_text()
    assert called.endswith(" -T root@source")
    assert "-o StrictHostKeyChecking=yes" in called
    again = host.copy()
    assert (again["changed"], host.calls("load")) == (False, 1)


def test_what_comes_later_takes_it_for_the_image_of_the_source(host: Host) -> None:
    """Docker knows no digest of it: the release has those of the source, and the next release too."""
    host.copy()
    for release, changes in ((RELEASE, False), (NEXT, True), (NEXT, False)):
        found = host.pull(release=release)
        assert (found["changed"], found["pulled"], found["digests"]) == (changes, False, DIGESTS)
        assert host.recorded(release) == {"id": ID, "digests": DIGESTS}
    assert host.calls("pull") == 0


@pytest.mark.parametrize("digests", [DIGESTS, []])
@pytest.mark.parametrize("how", ["alone", "killed", "second service"])
def test_it_goes_with_its_last_release(
    host: Host, monkeypatch: pytest.MonkeyPatch, digests: list[str], how: str
) -> None:
    """Also one that the source has loaded from a file, which has no digest anywhere."""
    monkeypatch.setattr(vllm_release, "UNITS", str(host.folder / "units"))
    if how == "killed":  # once it has its name
        tag = vllm_image_copy.Copy.tag
        with monkeypatch.context() as patch:
            patch.setattr(vllm_image_copy.Copy, "tag", lambda copy: (tag(copy), killed()))
            patch.setattr(homes, "end_pull", lambda *_: None)
            with pytest.raises(Killed):
                host.copy({"digests": digests})
    assert host.copy({"digests": digests}).get("msg") is None
    if how == "second service":  # the first one is gone from it, and its own releases with it
        second = host.folder / "second"
        homes.mark(str(second), "vllm-b")
        for release in (RELEASE, NEXT):
            (second / "releases" / release).mkdir(parents=True)
        assert host.pull(home=str(second))["digests"] == digests
        shutil.rmtree(host.home / "releases")
        host.home = second
    assert host.pull()["digests"] == digests
    for name, facts in ((RELEASE, {"image": IMAGE, "number": 1}), (NEXT, {"image": "other:1", "number": 2})):
        (host.home / "releases" / name / "release.json").write_text(json.dumps(facts))
    (host.home / "releases" / RELEASE / "good").write_text("1.0 2\n")
    (host.home / "releases" / RELEASE / "compose.yaml").touch()
    assert host.call(vllm_release, home=str(host.home), release=NEXT, keep=1)["removed_images"] == [IMAGE]
    assert host.docker()["images"] == {}


class Killed(BaseException):
    pass


def killed() -> None:
    raise Killed


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("breaks off", "ssh to the source ended with 1: client_loop: send disconnect: Broken pipe"),
        ("fails at its end", "ssh to the source ended with 1: Error response from daemon: no space left on device"),
        ("stands still", "nothing moved for 1 s, after 0.0 GB"),
    ],
)
def test_a_copy_that_breaks_off_leaves_nothing_and_the_registry_is_next(
    host: Host, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    if how == "stands still":
        monkeypatch.setattr(vllm_image_copy, "STANDSTILL", 1)
    (host.folder / "how").write_text(how)
    begin = time.monotonic()
    failed = host.copy()
    assert (failed["failed"], failed["msg"]) == (True, said)
    assert time.monotonic() - begin < 30
    assert (host.docker()["images"], host.docker()["names"], host.marker()) == ({}, {}, ([], []))
    pulled = host.pull()
    assert (pulled["pulled"], pulled["digests"], host.marker()) == (True, DIGESTS, ([ID], []))


def test_half_an_image_is_refused_by_docker(host: Host) -> None:
    (host.folder / "content").write_bytes(CONTENT[:-1])
    assert host.copy()["msg"] == "docker load ended with 1: unexpected EOF"
    assert host.docker()["images"] == {}


def test_another_image_than_the_promised_one_gets_no_name(host: Host) -> None:
    host.change(loads=OTHER)
    assert host.copy()["msg"] == f"Docker has loaded something else than {ID}"
    assert (host.docker()["names"], host.marker()) == ({}, ([], []))


@pytest.mark.parametrize(
    ("told", "options", "said"),
    [
        ({"architecture": "amd64"}, {}, "its image is for amd64, and this host is arm64"),
        (
            {"store": "containerd"},
            {},
            "its Docker keeps images in the containerd store, and this host's in the classic one",
        ),
        (
            {},
            {"digests": [f"mirror.example/vllm@{OTHER}"]},
            f"it has {DIGESTS[0].partition('@')[2]}, and other hosts of this run have {OTHER}",
        ),
        ({"id": "--help"}, {}, "export: it names no image; use what vllm_image_export returned"),
        ({}, {"address": "-oProxyCommand=x"}, "address: '-oProxyCommand=x' is not allowed"),
        ({}, {"key_folder": None}, "key_folder: it is empty; use what hf_cache_copy_key returned"),
    ],
)
def test_refusals_are_one_line_and_load_nothing(host: Host, told: Result, options: Result, said: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if "address" in options or "key_folder" in options:  # whoever fails before it has the key leaves it to the role
            patch.setattr(Path, "exists", lambda _path: False)
        wanted = {"home": str(host.home), "release": RELEASE, "image": IMAGE, "address": "192.0.2.1"}
        exported = {"id": ID, "digests": DIGESTS, "bytes": 1, "architecture": "arm64", "store": "classic", **told}
        exported |= {"port": 4022, "host_key": "ssh-ed25519 AAAA"}
        key = {"key_folder": str(host.key())}
        found = host.call(vllm_image_copy, **{**wanted, **key, "export": exported, **options})
    assert found["failed"]
    assert found["msg"].startswith(said)
    assert host.calls("load") == 0
    assert host.docker()["names"] == {}


def test_a_mirror_of_the_same_digest_is_the_same_image(host: Host) -> None:
    assert host.copy(digests=[f"mirror.example/vllm@{DIGESTS[0].partition('@')[2]}"])["changed"]


def test_a_digest_in_the_name_is_learned_from_the_registry(host: Host) -> None:
    """The content is there by then: Docker asks for the manifest alone."""
    assert host.copy(image=PINNED)["bytes"] == len(CONTENT)
    assert (host.docker()["names"], host.marker()) == ({}, ([], []))
    assert host.pull(image=PINNED)["pulled"]
    assert host.marker() == ([ID], [])
    assert host.copy(image=PINNED)["changed"] is False


@pytest.mark.parametrize(("names", "digests", "ours"), [({"mine:1": ID}, [], []), ({}, DIGESTS, []), ({}, [], [ID])])
def test_an_image_that_is_there_is_not_copied_again(
    host: Host, names: dict[str, str], digests: list[str], ours: list[str]
) -> None:
    """The owner may have it under another name, or by its digest alone; any other one is the rest of a copy."""
    host.change(images={ID: digests}, names=names)
    found = host.copy()
    assert (found["changed"], found["bytes"], host.calls("load")) == (True, 0, 0)
    assert host.docker()["names"] == {**names, IMAGE: ID}
    assert host.marker() == (ours, [])


@pytest.mark.parametrize(("names", "digests"), [({"mine:1": ID}, []), ({}, DIGESTS)])
def test_an_image_that_its_owner_has_by_another_name_is_not_ours_once_it_is_pulled(
    host: Host, names: dict[str, str], digests: list[str]
) -> None:
    host.change(images={ID: digests}, names=names)
    assert host.pull()["pulled"]
    assert host.marker() == ([], [])


def test_check_mode_leaves_the_registry_alone_if_a_host_may_have_it(host: Host) -> None:
    assert host.pull(ask_registry=False, _ansible_check_mode=True)["pulled"]
    assert host.calls("manifest") == 0


class Server:
    """Instead of a server: what it would serve."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.serves: list[t.Any] = []

        def serve(_server: t.Any, *what: t.Any) -> Result:
            self.serves.append(what)
            return {"unit": "dgxspark-export-01234567", "port": 4022, "host_key": "ssh-ed25519 AAAA"}

        monkeypatch.setattr(ssh_server.TemporarySshServer, "serve", serve)


def test_the_source_serves_one_image_by_its_id(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    host.change(images={ID: DIGESTS}, names={IMAGE: ID})
    look = host.call(vllm_image_export, image=IMAGE, _ansible_check_mode=True)
    assert (look["changed"], look["id"], look["port"], server.serves) == (False, ID, None, [])
    found = host.call(vllm_image_export, image=IMAGE, public_key=PUBLIC_KEY, address="127.0.0.1", hosts=3)
    assert (found["id"], found["digests"], found["bytes"]) == (ID, DIGESTS, 3_000_003)
    assert (found["architecture"], found["store"], found["port"]) == ("arm64", "classic", 4022)
    assert server.serves == [("docker", f"save {ID}", ID[:19], 1800, {})]


@pytest.mark.parametrize(
    ("state", "options", "said"),
    [
        ({"names": {}}, {}, f"{IMAGE} is not there"),
        ({}, {"public_key": "ssh-rsa AAAA"}, "public_key: is not allowed; use one line, ssh-ed25519 AAAA..."),
        ({}, {"address": ""}, "address: it is empty; use the address at which the other host reaches this one"),
    ],
)
def test_a_source_says_why_not(
    host: Host, monkeypatch: pytest.MonkeyPatch, state: Result, options: Result, said: str
) -> None:
    server = Server(monkeypatch)
    host.change(images={ID: DIGESTS}, names={IMAGE: ID})
    host.change(**state)
    asked = {"image": IMAGE, "public_key": PUBLIC_KEY, "address": "127.0.0.1", **options}
    assert (host.call(vllm_image_export, **asked)["msg"], server.serves) == (said, [])


def test_a_source_without_space_for_docker_save_says_so(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    monkeypatch.setattr(vllm_image_export, "filesystem_space", lambda _path: {"free_bytes": 5_000_000})
    host.change(images={ID: DIGESTS}, names={IMAGE: ID})
    asked = {"image": IMAGE, "public_key": PUBLIC_KEY, "address": "127.0.0.1"}
    assert (
        "/var/lib/docker has 0.0 GB free, and docker save needs up to" in host.call(vllm_image_export, **asked)["msg"]
    )
    store = [["driver-type", "io.containerd.snapshotter.v1"]]
    host.change(info={"Architecture": "aarch64", "DriverStatus": store})  # it streams
    assert host.call(vllm_image_export, **asked)["store"] == "containerd"
    assert len(server.serves) == 1
