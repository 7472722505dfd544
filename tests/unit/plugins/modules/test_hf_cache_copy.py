# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with a program that stands in for rsync: appends what is missing, and can be cut off anywhere."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path
from types import ModuleType

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import locks
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.layout import INCOMING
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import copy as hf_copy
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import export, model_files
from ansible_collections.dgxspark.vllm.plugins.modules import (
    hf_cache_copy,
    hf_cache_copy_info,
    hf_cache_copy_key,
    hf_cache_info,
)
from hf_trees import COMMIT, SHARDS, Repo, safetensors

pytestmark = pytest.mark.usefixtures("warm_python")
MODEL = "Qwen/Qwen3-8B-FP8"

# As --append-verify: goes on at the end of what is there, and takes all of it when the beginning is another one.
RSYNC = """#!{python}
import fcntl, pathlib, sys
here, argv = pathlib.Path({folder!r}), sys.argv[1:]
source, target = argv[-2:]
if source.startswith("root@source::"):
    source = {origin!r} + "/" + source[len("root@source::"):]
content, there = pathlib.Path(source).read_bytes(), pathlib.Path(target)
have = there.read_bytes() if there.exists() else b""
if not content.startswith(have):
    have = b""
rest = content[len(have):]
with (here / "calls").open("a") as calls:
    fcntl.flock(calls, fcntl.LOCK_EX)
    number = len((here / "calls").read_text().splitlines())
    calls.write(" ".join(argv) + "\\n")
cut = (here / "cut")
if cut.exists() and int(cut.read_text()) <= number:
    there.write_bytes(have + rest[: len(rest) // 2])
    print("rsync: connection unexpectedly closed (0 bytes received so far) [receiver]", file=sys.stderr)
    sys.exit(12)
there.write_bytes(have + rest)
print(f"Literal data: {{len(rest)}} bytes\\nTotal bytes received: {{len(rest) + 100}}")
"""


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.source = Repo(folder / "disk").model()
        self.source.add("sub/merges.txt", "a b")
        self.path = folder / "hf"
        self.repo = self.path / self.source.path.name
        self.calls = folder / "calls"
        (folder / "bin").mkdir()
        rsync = folder / "bin" / "rsync"
        rsync.write_text(RSYNC.format(python=sys.executable, folder=str(folder), origin=str(folder / "disk")))
        rsync.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}/bin", prepend=":")
        monkeypatch.setattr(hf_copy, "KEYS", str(folder / "run"))
        look = locks.open_files
        monkeypatch.setattr(locks, "open_files", lambda *wanted: (look(*wanted)[0], True))

    def run(self, **options: t.Any) -> dict[str, t.Any]:
        self.calls.write_text("")
        arguments = {"model": MODEL, "path": str(self.path), "source": str(self.source.root), "keep_free": 0, **options}
        return self.call(hf_cache_copy, **{name: value for name, value in arguments.items() if value is not None})

    def info(self, **options: t.Any) -> dict[str, t.Any]:
        return self.call(hf_cache_copy_info, model=MODEL, path=str(self.path), **options)

    def key(self, **options: t.Any) -> dict[str, t.Any]:
        return self.call(hf_cache_copy_key, **options)

    def call(self, module: ModuleType, **arguments: t.Any) -> dict[str, t.Any]:
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        found: dict[str, t.Any] = json.loads(self.capsys.readouterr().out)
        return found

    def copied(self) -> list[str]:
        """Names of the blobs that rsync was asked for."""
        return [os.path.basename(call.split()[-2]) for call in self.calls.read_text().splitlines()]

    def exported(self) -> dict[str, t.Any]:
        exported = export.find(str(self.source.root), MODEL, "main")
        return {**export.describe(exported), "identity": "other", "port": 4022, "host_key": "ssh-ed25519 AAAA"}

    def assert_whole(self) -> None:
        source, here = self.source.path, self.repo
        for folder in ("blobs", "snapshots", "refs"):
            links = {p.relative_to(source): os.readlink(p) for p in (source / folder).rglob("*") if p.is_symlink()}
            assert links == {p.relative_to(here): os.readlink(p) for p in (here / folder).rglob("*") if p.is_symlink()}
            files = {p.relative_to(source): p.read_bytes() for p in (source / folder).rglob("*") if p.is_file()}
            assert files == {p.relative_to(here): p.read_bytes() for p in (here / folder).rglob("*") if p.is_file()}
        found = hf_cache_info.read_cache(str(self.path), [MODEL], "full", None)
        assert found["models"][0]["complete"] is True
        assert (found["broken"], found["partials"]) == ([], [])


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> t.Iterator[Host]:
    mask = os.umask(0o022)
    yield Host(tmp_path, monkeypatch, capsys)
    os.umask(mask)


def test_a_model_is_copied_once(host: Host) -> None:
    first = host.run(_ansible_diff=True)
    assert (first["changed"], first["complete"], first["commit"]) == (True, True, COMMIT), first
    size = sum(path.stat().st_size for path in (host.source.path / "blobs").iterdir())
    assert (first["blobs"], first["bytes"], first["expected_bytes"]) == (6, size, size)
    assert len(host.copied()) == 6
    assert first["diff"]["before"] == ""
    assert len(first["diff"]["after"].splitlines()) == 6
    host.assert_whole()
    assert [path.name for path in host.repo.rglob("tmp*")] == []
    again = host.run()
    assert (again["changed"], again["complete"], again["blobs"], host.copied()) == (False, True, 0, [])


def test_it_can_be_served_offline_and_says_what_is_missing(host: Host) -> None:
    """A copy of a model that an old client downloaded has the list that this client did not keep."""
    host.run()
    (host.repo / "snapshots" / COMMIT / "tokenizer.json").unlink()
    assert model_files.look_up(str(host.path), MODEL, "main").missing == ["tokenizer.json"]


def test_the_manifest_of_the_client_comes_along(host: Host) -> None:
    host.source.manifest(config__json=2)
    host.run()
    name = f"trees/{COMMIT}.json"
    assert (host.repo / name).read_bytes() == (host.source.path / name).read_bytes()


@pytest.mark.parametrize("right", [True, False])
def test_a_copy_that_broke_off_before_the_last_name_comes_over_once(host: Host, right: bool) -> None:
    blob = host.source.blob(SHARDS[0])
    content = blob.read_bytes() if right else bytes(blob.stat().st_size)
    (host.repo / "blobs").mkdir(parents=True)
    (host.repo / "blobs" / f"{blob.name}.incomplete").write_bytes(content)
    found = host.run()
    assert (found["complete"], len(host.copied())) == (True, 5 if right else 6), found
    host.assert_whole()


def test_a_partial_that_is_a_link_is_none(host: Host) -> None:
    blob = host.source.blob(SHARDS[0])
    (host.repo / "blobs").mkdir(parents=True)
    (host.path / "elsewhere").write_bytes(blob.read_bytes())
    (host.repo / "blobs" / f"{blob.name}.incomplete").symlink_to("../../elsewhere")
    assert host.run()["complete"] is True
    assert len(host.copied()) == 6


@pytest.mark.parametrize("calls", range(6))
def test_a_copy_that_breaks_off_is_not_complete_and_goes_on(host: Host, calls: int) -> None:
    (host.folder / "cut").write_text(str(calls))
    broken = host.run()
    assert broken["msg"].startswith("the address of the source broke off"), broken
    assert model_files.look_up(str(host.path), MODEL, "main").complete is False
    assert not (host.repo / "snapshots").exists()
    assert not (host.repo / "refs").exists()
    left = {path.name: path.stat().st_size for name in ("blobs", INCOMING) for path in (host.repo / name).iterdir()}
    (host.folder / "cut").unlink()
    again = host.run()
    assert again["bytes"] == again["expected_bytes"] - sum(left.values())
    host.assert_whole()


def test_a_source_that_is_corrupt_is_not_copied(host: Host) -> None:
    blob = host.source.blob(SHARDS[1])
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    failed = host.run()
    assert (
        failed["msg"]
        == f"{SHARDS[1]} did not arrive as it should be: the source has another content than its name says"
    )
    assert not (host.repo / "blobs" / blob.name).exists()
    assert not (host.repo / "snapshots").exists()


def test_what_is_there_and_right_is_not_copied_and_what_is_corrupt_is(host: Host) -> None:
    host.run()
    bad = host.repo / "blobs" / host.source.blob(SHARDS[0]).name
    bad.write_bytes(bad.read_bytes()[:-1] + b"?")
    (host.repo / "snapshots" / COMMIT / "config.json").unlink()
    again = host.run()
    assert (host.copied(), again["missing"], again["blobs"]) == ([bad.name], ["config.json"], 1)
    host.assert_whole()


def test_what_somebody_has_edited_is_kept(host: Host) -> None:
    host.run()
    snapshot = host.repo / "snapshots" / COMMIT
    (snapshot / "config.json").write_text('{"edited": "through the link"}')
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").write_text("edited")
    again = host.run()
    assert again["complete"] is True, again
    kept = {own["name"]: Path(own["path"]).read_text() for own in again["set_aside"]}
    assert kept == {"config.json": '{"edited": "through the link"}', "tokenizer.json": "edited"}
    host.assert_whole()


def test_folders_that_are_swapped_while_it_copies_lead_nowhere_else(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody with access to the cache puts links to another folder in the place of those that are written to."""
    elsewhere = host.folder / "elsewhere"
    elsewhere.mkdir()
    run = hf_cache_copy.Task.run

    def swap(task: hf_cache_copy.Task, argv: list[str], folder: str) -> tuple[int, str, str]:
        for name in ("blobs", ".dgxspark"):
            if not (host.repo / name).is_symlink():
                (host.repo / name).rename(host.repo / f"{name}.was")
                (host.repo / name).symlink_to(elsewhere)
        return run(task, argv, folder)

    monkeypatch.setattr(hf_copy, "STREAMS", 1)
    monkeypatch.setattr(hf_cache_copy.Task, "run", swap)
    found = host.run()
    assert found["failed"] is True
    assert list(elsewhere.iterdir()) == []


def test_another_name_of_a_partial_is_not_written_to(host: Host) -> None:
    blob = host.source.blob(SHARDS[0])
    (host.repo / "blobs").mkdir(parents=True)
    victim = host.folder / "victim"
    victim.write_bytes(blob.read_bytes()[:20])
    os.link(victim, host.repo / "blobs" / f"{blob.name}.incomplete")
    assert host.run()["complete"] is True
    assert len(victim.read_bytes()) == 20


def test_what_is_copied_is_closed_to_others_meanwhile(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.path.mkdir()
    host.path.chmod(0o2775)
    run, modes = hf_cache_copy.Task.run, set()

    def look(task: hf_cache_copy.Task, argv: list[str], folder: str) -> tuple[int, str, str]:
        modes.add(os.stat(folder).st_mode & 0o7777)
        return run(task, argv, folder)

    monkeypatch.setattr(hf_cache_copy.Task, "run", look)
    assert host.run()["complete"] is True
    assert modes == {0o2700}  # and its files get the group of the cache
    assert not (host.repo / INCOMING).exists()


@pytest.mark.parametrize("content", [b"something else", b"?" * 100_000, b""])
def test_a_partial_that_is_no_beginning_does_no_harm(host: Host, content: bytes) -> None:
    blob = host.source.blob(SHARDS[0]).name
    (host.repo / "blobs").mkdir(parents=True)
    (host.repo / "blobs" / f"{blob}.incomplete").write_bytes(content)
    (host.repo / "blobs" / f"{blob}.0123abcd.incomplete").write_bytes(b"x")
    run = host.run()
    assert run["changed"] is True
    assert f"{host.repo}/blobs/{blob}.0123abcd.incomplete" in run["removed"]
    host.assert_whole()


def test_a_link_in_the_place_of_a_partial_is_not_followed(host: Host) -> None:
    victim = host.folder / "victim"
    victim.write_text("x")
    blob = host.source.blob(SHARDS[0]).name
    (host.repo / "blobs").mkdir(parents=True)
    (host.repo / "blobs" / f"{blob}.incomplete").symlink_to(victim)
    host.run()
    assert victim.read_text() == "x"
    host.assert_whole()


@pytest.mark.parametrize(
    "name", ["blobs", "refs", "trees", ".dgxspark", "snapshots", f"snapshots/{COMMIT}", "../.locks", "."]
)
def test_a_folder_that_leads_out_of_the_cache_is_refused(host: Host, name: str) -> None:
    elsewhere = host.folder / "elsewhere"
    elsewhere.mkdir()
    link = Path(os.path.normpath(host.repo / name))
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    assert f"leads out of {host.path}" in host.run()["msg"]
    assert list(elsewhere.iterdir()) == []
    assert host.copied() == []


def test_a_folder_of_the_snapshot_that_leads_out_of_the_cache_is_refused(host: Host) -> None:
    elsewhere = host.folder / "elsewhere"
    elsewhere.mkdir()
    snapshot = host.repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "sub").symlink_to(elsewhere)
    assert f"{snapshot}/sub: it, or a folder on the way" in host.run()["msg"]
    assert list(elsewhere.iterdir()) == []


def test_it_waits_for_who_downloads_the_same_blob(host: Host) -> None:
    blob = host.source.blob(SHARDS[0])
    lock = host.path / ".locks" / host.repo.name / f"{blob.name}.lock"
    lock.parent.mkdir(parents=True)
    (host.repo / "blobs").mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        def finish() -> None:
            deadline = time.monotonic() + 120
            while len(host.copied()) < 5 and time.monotonic() < deadline:
                time.sleep(0.05)
            shutil.copy(blob, host.repo / "blobs" / blob.name)
            fcntl.flock(held, fcntl.LOCK_UN)

        host.calls.write_text("")
        client = threading.Thread(target=finish)
        client.start()
        run = host.run()
        client.join()
    assert (run["complete"], run["blobs"]) == (True, 5)
    assert blob.name not in host.copied()
    host.assert_whole()


def test_it_does_not_wait_for_ever(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_copy, "PATIENCE", 0.2)
    lock = host.path / ".locks" / host.repo.name / f"{host.source.blob('config.json').name}.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert host.run()["msg"].startswith(f"somebody holds {lock}")


def test_a_group_can_share_what_is_copied(host: Host) -> None:
    host.path.mkdir()
    host.path.chmod(0o2770)
    host.run()
    modes = {path.relative_to(host.repo): path.lstat().st_mode & 0o777 for path in host.repo.rglob("*")}
    assert {mode for path, mode in modes.items() if (host.repo / path).is_dir()} == {0o770}
    assert {
        m for path, m in modes.items() if not (host.repo / path).is_dir() and not (host.repo / path).is_symlink()
    } == {0o660}


def test_check_mode_says_what_would_come_and_writes_nothing(host: Host) -> None:
    found = host.run(_ansible_check_mode=True)
    assert (found["changed"], found["complete"], found["blobs"]) == (True, False, 6)
    assert found["bytes"] == found["expected_bytes"] > 0
    assert not host.path.exists()
    assert host.copied() == []


def test_no_space_is_said_before_the_first_byte(host: Host) -> None:
    found = host.run(keep_free=1 << 60)
    assert found["cause"]["id"] == "no_space"
    assert found["msg"].startswith("the model does not fit on the disk: 0.0 GB are needed in")
    assert host.copied() == []
    assert not host.path.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "mnt"}, "source: .*mnt is not absolute|source: .*/mnt is not a folder"),
        ({"source": "/mnt/nothing-is-mounted-here"}, "is its disk mounted"),
        ({"source": "{path}"}, "use a folder outside of it"),
        ({"source": "{folder}/bin"}, "is not there in"),
        ({"model": "../x"}, "^model: "),
        ({"revision": "../x"}, "^revision: "),
        ({"path": "/"}, "^path: / is not allowed"),
        ({"source": None}, "one of the following|any of the following"),
    ],
)
def test_bad_input_is_one_line(host: Host, options: dict[str, t.Any], said: str) -> None:
    host.path.mkdir()
    filled = {
        name: value.format(path=host.path, folder=host.folder) if isinstance(value, str) else value
        for name, value in options.items()
    }
    found = host.run(**filled)
    assert found["failed"] is True
    assert re.search(said, found["msg"]), found["msg"]
    if options != {"source": None}:  # Ansible itself refuses it
        asked = {"source"} & options.keys()
        assert found["cause"] == {"id": "source_unusable" if asked else "bad_option", "meaning": found["msg"]}
    assert "\n" not in found["msg"]
    assert list(host.path.iterdir()) == []


# --- from another host -----------------------------------------------------------------------------------------------


def test_whether_a_copy_is_needed(host: Host) -> None:
    before = host.info(_ansible_check_mode=True)
    assert before == {
        **before,
        "changed": False,
        "complete": False,
        "commit": None,
        "snapshot": None,
        "missing": ["the snapshot"],
    }
    assert not host.path.exists()
    host.run()
    after = host.info()
    assert (after["complete"], after["commit"], after["missing"]) == (True, COMMIT, [])
    (Path(after["snapshot"]) / "config.json").unlink()
    assert (host.info()["complete"], host.info()["missing"]) == (False, ["config.json"])
    assert host.info(revision="../x")["msg"].startswith("revision: ")


def test_a_key_is_made_and_removed(host: Host) -> None:
    assert host.key(_ansible_check_mode=True)["changed"] is True
    assert not (host.folder / "run").exists()
    found = host.key()
    assert found["public_key"].startswith("ssh-ed25519 ")
    folder = Path(found["key_folder"])
    assert {path.stat().st_mode & 0o077 for path in (folder, folder / "key", folder.parent)} == {0}
    away = {"state": "absent", "key_folder": str(folder)}
    assert host.key(**away, _ansible_check_mode=True)["changed"] is True
    assert folder.exists()
    assert host.key(**away)["changed"] is True
    assert host.key(**away)["changed"] is False
    assert list((host.folder / "run").iterdir()) == []


@pytest.mark.parametrize("folder", ["/etc", "{run}", "{run}/../x", "{run}/a/b"])
def test_nothing_but_a_key_is_removed(host: Host, folder: str) -> None:
    (host.folder / "run" / "a" / "b").mkdir(parents=True)
    found = host.key(state="absent", key_folder=folder.format(run=host.folder / "run"))
    assert "is not allowed; use what hf_cache_copy_key returned" in found["msg"]
    assert (host.folder / "run" / "a" / "b").exists()


def test_a_copy_from_a_host_uses_its_key_and_removes_it(host: Host) -> None:
    key = host.key()["key_folder"]
    found = host.run(source=None, export=host.exported(), address="192.168.100.1", key_folder=key)
    assert found["complete"] is True, found
    assert found["received_bytes"] == found["bytes"] + 600
    call = host.calls.read_text().splitlines()[0]
    for part in (
        "-p 4022",
        "HostName=192.168.100.1",
        f"IdentityFile={key}/key",
        f"UserKnownHostsFile={key}/known_hosts",
        "StrictHostKeyChecking=yes",
        "ForwardAgent=no",
        f"root@source::{host.repo.name}/blobs/",
    ):
        assert part in call
    assert not Path(key).exists()
    host.assert_whole()


def test_an_address_with_a_zone_reaches_ssh_whole(host: Host) -> None:
    key = host.key()["key_folder"]
    host.run(source=None, export=host.exported(), address="fe80::1%eth0", key_folder=key)
    (option,) = re.findall(r"HostName=\S+", host.calls.read_text().splitlines()[0])
    shown = subprocess.run(["ssh", "-G", "-F", "/dev/null", "-o", option, "source"], capture_output=True, check=True)
    assert b"\nhostname fe80::1%eth0\n" in b"\n" + shown.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"export": {"commit": "x"}}, "export: is not what hf_cache_export returns"),
        ({"export": None, "address": "-oProxyCommand=x"}, "address: "),
    ],
)
def test_the_key_is_removed_whatever_happens(host: Host, change: dict[str, t.Any], said: str) -> None:
    key = host.key()["key_folder"]
    options = {"source": None, "export": host.exported(), "address": "spark01", "key_folder": key}
    found = host.run(**{**options, **{name: value or options[name] for name, value in change.items()}})
    assert said in found["msg"]
    assert not Path(key).exists()
    assert host.copied() == []


def test_a_folder_is_not_copied_onto_itself(host: Host) -> None:
    host.path.mkdir()
    exported = {**host.exported(), "identity": export.identity(str(host.path))}
    assert "this very folder" in host.run(source=None, export=exported, address="x", key_folder="/nothing")["msg"]


def test_a_key_folder_of_somebody_else_is_left_alone(host: Host) -> None:
    other = host.folder / "other"
    other.mkdir()
    host.run(source=None, export={}, address="x", key_folder=str(other))
    assert other.exists()


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (
            "ssh: connect to host 10.0.0.9 port 4022: Connection refused\nrsync error: x",
            "cannot be reached: ssh: connect",
        ),
        ("ssh: Could not resolve hostname spark9: Name or service not known", "a name that this host cannot resolve"),
        ("Host key verification failed.", "answered by another machine"),
        ("root@source: Permission denied (publickey).", "did not let this host in"),
        ("rsync: [receiver] write failed: No space left on device (28)", "the disk is full"),
        ("@ERROR: Unknown module 'x'\nrsync error: error starting", "rsync failed with code 5: @ERROR: Unknown module"),
        ("", "rsync failed with code 5: code 5"),
    ],
)
def test_why_rsync_failed_is_one_line(errors: str, said: str) -> None:
    cause, message = hf_copy.explain(5, errors)
    assert said in message
    told = {"the disk": "no_space", "rsync failed": "rsync_failed"}
    assert cause == next((name for start, name in told.items() if message.startswith(start)), "source_address")


def test_a_blob_of_the_store_comes_as_a_file(host: Host) -> None:
    blob = host.source.share("extra.safetensors", safetensors(64))
    host.run()
    assert (host.repo / "blobs" / blob.name).read_bytes() == safetensors(64)
    assert not (host.repo / "blobs" / blob.name).is_symlink()
