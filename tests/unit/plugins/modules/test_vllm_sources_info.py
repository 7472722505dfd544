# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module, on folders as owners have them, and on those that somebody has bent."""

from __future__ import annotations

import json
import os
import shutil
import socket
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import sources
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_sources_info
from hf_trees import COMMIT, SHARDS, Repo, safetensors

Run = t.Callable[..., list[str]]
NOBODY = 65534


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(**options: t.Any) -> list[str]:
        arguments = {"home": str(tmp_path / "home"), "cache_path": str(tmp_path / "hf"), **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            vllm_sources_info.main()
        found = json.loads(capsys.readouterr().out)
        assert found.get("failed", False) is bool(found["problems"])
        assert found.get("msg", "") == "\n".join(found["problems"])
        assert found.get("changed", False) is False
        return t.cast("list[str]", found["problems"])

    return run


def model(folder: Path, **files: bytes | str | None) -> Path:
    """A whole model of two shards, but for these files; None takes one away."""
    folder.mkdir(parents=True)
    index = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}
    whole: dict[str, bytes | str | None] = {
        "config.json": "{}",
        "tokenizer.json": "{}",
        "model.safetensors.index.json": json.dumps(index),
        **{name: safetensors() for name in SHARDS},
    }
    for name, content in {**whole, **files}.items():
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_a_whole_model(run: Run, tmp_path: Path) -> None:
    folder = model(tmp_path / "mine")
    (tmp_path / "link").symlink_to("mine")
    assert run(model=str(folder)) == run(model=f"{folder}/") == []
    model(tmp_path / "hf" / "mine")  # in the model cache, which the container has anyway
    assert run(model=str(tmp_path / "hf/mine")) == []


def test_mistrals_own_form(run: Run, tmp_path: Path) -> None:
    names = dict.fromkeys(["config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS])
    own = {"params.json": "{}", "tekken.json": "{}", "consolidated.safetensors": safetensors()}
    assert run(model=str(model(tmp_path / "mine", **{**names, **own}))) == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": None}, "config.json is missing"),
        ({"config.json": "{"}, "config.json is damaged"),
        ({SHARDS[1]: None}, f"{SHARDS[1]} is missing"),
        ({SHARDS[1]: safetensors()[:-1]}, f"{SHARDS[1]} is damaged"),
        ({"tokenizer.json": None}, "the tokenizer is missing"),
        (dict.fromkeys(["model.safetensors.index.json", *SHARDS]), "the weights are missing"),
        ({"config.json": None, SHARDS[0]: b"x"}, f"config.json is missing, {SHARDS[0]} is damaged"),
    ],
)
def test_what_is_not_whole(run: Run, tmp_path: Path, files: dict[str, bytes | str | None], words: str) -> None:
    folder = model(tmp_path / "mine", **files)
    how = "copy the model there again (cp -rL takes files for links)"
    assert run(model=str(folder)) == [f"vllm_model: {folder} is not complete: {words}; {how}"]


def test_links_that_lead_out_of_the_folder(run: Run, tmp_path: Path) -> None:
    """A snapshot of a cache that is not the one of the service: the container would see links to nothing."""
    for cache in ("other", "hf"):
        repo = Repo(tmp_path / cache)
        for name in ("config.json", "tokenizer.json"):
            repo.add(name, "{}")
        repo.add("model.safetensors", safetensors())
        snapshot = repo.path / "snapshots" / COMMIT
        found = run(model=str(snapshot))
        if cache == "hf":
            assert not found
            continue
        assert "config.json is a link to what the container does not see, " in found[0]
        assert found[0].endswith(
            f"; use vllm_model: Qwen/Qwen3-8B-FP8, hf_cache_path: {tmp_path}/other and, to pin it, vllm_extra_args:"
            f" {{revision: {COMMIT}}}, or copy the model with cp -rL, which takes files for links"
        )
        # a copy with its files, as cp -rL and a client without links make it, is like any other folder
        copy = tmp_path / "copy" / snapshot.relative_to(tmp_path / "other")
        shutil.copytree(snapshot, copy)
        assert not run(model=str(copy))
        (copy / "config.json").unlink()
        assert run(model=str(copy))[0].endswith(
            "config.json is missing; copy the model there again (cp -rL takes files for links)"
        )


def test_a_pipe_in_the_folder_is_not_read(run: Run, tmp_path: Path) -> None:
    folder = model(tmp_path / "mine", **{"config.json": None})
    os.mkfifo(folder / "config.json")
    assert "config.json is missing" in run(model=str(folder))[0]


@pytest.mark.parametrize(
    ("target", "owners", "is_refused"),
    [
        ("roots", (NOBODY, 0), True),
        ("others", (NOBODY, 33), True),
        ("missing", (NOBODY, None), True),
        ("own", (NOBODY, NOBODY), False),
        ("roots", (0, 0), False),
        ("others", (0, 33), False),
    ],
)
def test_a_users_link_to_what_is_not_theirs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, owners: tuple[int, int], is_refused: bool
) -> None:
    """Root would write there, or read it for them."""
    for name in ("roots", "others", "own"):
        (tmp_path / name).mkdir()
    link = tmp_path / "user" / ".cache"
    link.parent.mkdir()
    link.symlink_to(tmp_path / target)
    monkeypatch.setattr(sources, "_owner", lambda path, follow: owners[follow] if path == str(link) else 0)
    words = f"{link}, a link of nobody, to {tmp_path}/{target}, which is not nobody's; "
    found = run(cache_path=str(link / "hf"))
    assert bool(found) is is_refused
    if is_refused:
        assert found[0].startswith(f"hf_cache_path: {link}/hf leads through {words}")
    if target != "missing":
        (line,) = run(sources=[{"source": str(link), "origin": "vllm_mounts[0]"}])  # anything below /tmp is refused
        assert line.startswith(f"vllm_mounts[0]: {link} leads through {words}") is is_refused


@pytest.mark.parametrize(
    ("target", "owners", "is_refused"),
    [
        ("/data/cache", {}, False),
        ("/data/cache", {"/data/cache/hf": NOBODY}, False),
        ("/data/cache", {"/data/cache/hf": None}, False),  # to be made
        ("/data/cache", {"/data/cache/hf": 33}, True),
        ("/home/other", {"/home/other": 33}, True),
        ("/home/other/cache", {"/home/other": 33}, True),  # what root has made for somebody else
        ("/etc", {}, True),
        ("/root/cache", {}, True),
        ("/var/lib/private", {}, True),
        ("/opt/nvidia", {}, True),
    ],
)
def test_a_users_link_to_a_folder_of_roots(
    monkeypatch: pytest.MonkeyPatch, target: str, owners: dict[str, int | None], is_refused: bool
) -> None:
    """On another disk, where the user may make none; not what a variable could not name."""
    link = "/home/nobody/.cache"
    chain = ["/", "/home", "/home/nobody", link, target, f"{target}/hf"]
    found: dict[str, int | None] = {target: 0, f"{target}/hf": 0, **owners}
    monkeypatch.setattr(sources.os.path, "islink", lambda path: path == link)
    monkeypatch.setattr(sources.os.path, "realpath", lambda path: str(path).replace(link, target))
    monkeypatch.setattr(sources, "visited", lambda path: chain if path.startswith(link) else parents(path))
    monkeypatch.setattr(
        sources,
        "_owner",
        lambda path, follow: NOBODY if path == link and not follow else found.get(path.replace(link, target), 0),
    )
    assert (sources.foreign_link(f"{link}/hf") is not None) is is_refused


def parents(path: str) -> list[str]:
    return [*(str(folder) for folder in reversed(Path(path).parents)), path]


def test_what_the_paths_lead_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For the guard of the starts."""
    (tmp_path / "data").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "hf").symlink_to("disk")
    options = {
        "home": str(tmp_path / "home"),
        "cache_path": str(tmp_path / "hf"),
        "model": str(model(tmp_path / "mine")),
        "sources": [{"source": str(tmp_path / "data"), "origin": "vllm_mounts[0]"}],
    }
    with patch_module_args(options), pytest.raises(SystemExit):
        vllm_sources_info.main()
    assert json.loads(capsys.readouterr().out)["real_paths"] == {
        str(tmp_path / "hf"): str(tmp_path / "disk"),
        str(tmp_path / "mine"): str(tmp_path / "mine"),
        str(tmp_path / "data"): str(tmp_path / "data"),
    }


def test_no_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "to-system").symlink_to("/etc")
    (tmp_path / "to-cache").symlink_to("hf/mine")
    model(tmp_path / "hf" / "mine")
    for name, words in (
        ("nothing", "does not exist on this host; copy the model there, or correct the path"),
        ("file", "is no folder; name the folder that holds config.json, weights and tokenizer"),
        ("to-system", "leads to /etc, which is a folder of the system; use one of its own such as /srv/data"),
        ("to-cache", f"leads into the model cache; write {tmp_path}/hf/mine"),
    ):
        assert run(model=f"{tmp_path}/{name}") == [f"vllm_model: {tmp_path}/{name} {words}"]


def mount(path: Path | str, number: int = 0, read_only: bool = True) -> dict[str, t.Any]:
    return {"source": str(path), "target": "/x", "read_only": read_only, "origin": f"vllm_mounts[{number}]"}


def test_files_and_folders_are_fine(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "file").touch()
    assert run(sources=[mount(tmp_path / "data", 0, False), mount(tmp_path / "file", 1)]) == []


def test_what_is_not_mounted(run: Run, tmp_path: Path) -> None:
    for folder in ("home/releases", "hf", "docker/volumes", "other/releases", "data/sub"):
        (tmp_path / folder).mkdir(parents=True)
    marker = {"service": "vllm-b", "made": ["releases"], "images": []}
    (tmp_path / "other" / ".dgxspark-vllm").write_text(json.dumps(marker))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "mine.sock"))
    listener.close()
    (tmp_path / "to-root").symlink_to("/root")
    (tmp_path / "to-home").symlink_to("home")
    cases = {
        "nothing": "does not exist on this host; create it there, or correct the path",
        "mine.sock": "is a socket, a device or a pipe; only files and folders are mounted",
        "to-root": "leads to /root, which is a folder of the system; use one of its own such as /srv/data",
        "to-home": f"and vllm_home ({tmp_path}/home) lie in one another; use another folder",
        "hf": f"and hf_cache_path ({tmp_path}/hf) lie in one another; use another folder",
        "docker/volumes": f"and Docker's folder ({tmp_path}/docker) lie in one another; use another folder",
        "other/releases": f"lies in {tmp_path}/other, the folder of the service vllm-b, which holds secrets; use"
        " another folder",
    }
    sources = [mount(tmp_path / name, number) for number, name in enumerate(cases)]
    assert run(sources=sources, docker_root=str(tmp_path / "docker")) == [
        f"vllm_mounts[{number}]: {tmp_path}/{name} {words}" for number, (name, words) in enumerate(cases.items())
    ]


def test_a_source_in_what_the_container_may_write(run: Run, tmp_path: Path) -> None:
    """It could lead that folder anywhere, and Docker would follow as root."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    written = mount(tmp_path / "data", 0, False)
    assert any(
        "lies in the source of vllm_mounts[0]" in line
        for line in run(sources=[written, mount(tmp_path / "data/sub", 1)])
    )
    assert run(sources=[mount(tmp_path / "data"), mount(tmp_path / "data/sub", 1)]) == []
