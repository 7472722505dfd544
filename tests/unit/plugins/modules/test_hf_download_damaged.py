# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""hf_download where something damaged, edited, shared or foreign is in the way of the download."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import layout
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import download_repair
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.set_aside import SET_ASIDE
from ansible_collections.dgxspark.vllm.plugins.modules import hf_download
from download_host import COMMIT, MODEL, Host
from hf_trees import safetensors

pytestmark = pytest.mark.usefixtures("warm_python")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_a_damaged_file_goes_with_its_link(host: Host) -> None:
    host.download()
    blob = host.repo / "blobs" / host.etags["model.safetensors"]
    blob.write_bytes(b"x" * 4999)
    look = host.run(_ansible_check_mode=True)
    assert (look["missing"], look["removed"]) == (["model.safetensors"], [str(blob)])
    assert blob.exists()
    first = host.run()
    assert [file["name"] for file in first["files"]] == ["model.safetensors"]
    assert first["removed"] == [str(blob)]
    assert host.run(follow=first["container"])["status"] == "complete"
    assert blob.stat().st_size == 5000


@pytest.mark.parametrize(
    ("name", "content", "plain", "kept"),
    [
        ("tokenizer.json", b'{"my own work": 1}', False, True),  # another size, through the link
        ("tokenizer.json", b'{"my own work": 1}', True, True),  # a file in the place of the link
        ("tokenizer.json", b"not even JSON", True, True),
        ("tokenizer.json", b"longer than it was", False, True),
        ("tokenizer.json", b"{", False, False),
        ("tokenizer.json", b"", True, False),
        ("model.safetensors", safetensors(6000), False, True),  # other weights, whole
        ("model.safetensors", b"x" * 4999, True, False),
        ("model.safetensors", b"x" * 5001, False, False),
    ],
)
def test_what_somebody_has_edited_is_kept(host: Host, name: str, content: bytes, plain: bool, kept: bool) -> None:
    host.download()
    file = host.repo / "snapshots" / COMMIT / name
    if plain:
        file.unlink()
    file.write_bytes(content)
    look = host.run(_ansible_check_mode=True)
    assert ([own["name"] for own in look["set_aside"]], file.read_bytes()) == ([name] if kept else [], content)
    first = host.run()
    assert [own["name"] for own in first["set_aside"]] == ([name] if kept else [])
    assert host.run(follow=first["container"])["status"] == "complete"
    assert [path.read_bytes() for path in (host.repo / SET_ASIDE).glob("*")] == ([content] if kept else [])
    assert [own["path"] for own in first["set_aside"]] == [str(path) for path in (host.repo / SET_ASIDE).glob("*")]
    assert file.is_symlink()
    assert host.run()["status"] == "complete"


def test_a_folder_for_edits_that_leads_out_of_the_cache_is_refused(host: Host) -> None:
    host.download()
    (host.repo / "snapshots" / COMMIT / "tokenizer.json").write_bytes(b'{"my own work": 1}')
    (host.repo / ".dgxspark" / "set-aside").symlink_to(host.folder / "bin")
    assert "leads out of" in host.run()["msg"]
    assert [path.name for path in (host.folder / "bin").iterdir()] == ["docker"]


def test_a_damaged_file_stays_when_there_is_no_room_for_another(host: Host) -> None:
    host.download()
    blob, link = host.repo / "blobs" / host.etags["model.safetensors"], host.repo / "snapshots" / COMMIT
    blob.write_bytes(b"x" * 4999)
    for check_mode in (True, False):
        found = host.run(keep_free=10**18, _ansible_check_mode=check_mode)
        assert (found["status"], found["cause"]["id"], found["removed"]) == ("failed", "no_space", [])
    assert blob.exists() and (link / "model.safetensors").is_symlink()


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_damaged_file_makes_room_for_its_successor(
    host: Host, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    host.download()
    blob = host.repo / "blobs" / host.etags["model.safetensors"]
    blob.write_bytes(b"x" * 4096)
    free = 5000 - blob.stat().st_blocks * 512
    monkeypatch.setattr(download_repair, "filesystem_space", lambda _path: {"free_bytes": free})
    assert host.run(_ansible_check_mode=check_mode)["status"] == ("missing" if check_mode else "running")
    blob.write_bytes(b"x" * 4096)
    (host.folder / "container.json").unlink(missing_ok=True)
    monkeypatch.setattr(download_repair, "filesystem_space", lambda _path: {"free_bytes": free - 1})
    assert host.run(_ansible_check_mode=check_mode)["cause"]["id"] == "no_space"


@pytest.mark.parametrize("place", [".locks/models--org--name/ETAG.lock", "VLLM"])
def test_a_damaged_file_that_somebody_is_about_to_replace_stays(
    host: Host, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(hf_download.AnsibleModule, "warn", lambda _module, line: said.append(line))
    host.download()
    blob = host.repo / "blobs" / host.etags["model.safetensors"]
    blob.write_bytes(b"x" * 4999)
    vllm = Path(layout.vllm_lock(str(host.path), MODEL)).name
    lock = host.path / place.replace("ETAG", blob.name).replace("VLLM", vllm)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = host.run()
    link = host.repo / "snapshots" / COMMIT / "model.safetensors"
    assert found["removed"] == []
    assert said == [f"{link} is damaged and stays: a download holds {lock}"]
    assert link.is_symlink()


def test_a_damaged_file_in_a_store_that_is_shared(host: Host) -> None:
    host.download()
    blob, store = host.repo / "blobs" / host.etags["model.safetensors"], host.path / "blobs" / "ab"
    store.mkdir(parents=True)
    (store / "shared").write_bytes(b"x" * 4999)
    blob.unlink()
    blob.symlink_to(store / "shared")
    assert host.download()["status"] == "complete"
    assert not (store / "shared").exists()


def test_nothing_outside_of_the_cache_is_removed(host: Host) -> None:
    host.download()
    link = host.repo / "snapshots" / COMMIT / "model.safetensors"
    (host.folder / "precious").write_bytes(b"x" * 5000)
    link.unlink()
    link.symlink_to(host.folder / "precious")
    assert host.download()["status"] == "complete"
    assert (host.folder / "precious").exists()
    assert host.repo in link.resolve().parents


@pytest.mark.parametrize(("version", "kept"), [("0.34.4", True), ("2.4.0", False)])
def test_dead_partials(host: Host, version: str, kept: bool) -> None:
    host.fake["version"] = version
    (host.repo / "blobs").mkdir(parents=True)
    resumable = host.repo / "blobs" / f"{host.etags['model.safetensors']}.incomplete"
    garbage = host.repo / "blobs" / f"{host.etags['model.safetensors']}.12345678.incomplete"
    for file in (resumable, garbage):
        file.write_bytes(b"x" * 4096)
    found = host.run()
    assert set(found["removed"]) == ({str(garbage)} if kept else {str(garbage), str(resumable)})
    assert resumable.exists() is kept
    assert not garbage.exists()
