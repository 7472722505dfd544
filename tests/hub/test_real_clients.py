# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Caches that real clients made, and left half done: the dead goes, the live stays, the model is whole again."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import clean as hf_clean
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_clean, hf_cache_info
from conftest import MODEL, SHARD_BYTES, SHARDS, Client

from support.hub import HubServer
from support.waiting import wait_until

KILLS = 10
ROUNDS = 200
REPO = "models--org--model"


def clean(cache: Path, *classes: str) -> dict[str, Any]:
    asked = {"path": str(cache), "models": [], "classes": classes, "keep_models": None, "assume_idle": False}
    return hf_cache_clean.clean(asked, check_mode=False)


def look(cache: Path, verify: str = "full") -> dict[str, Any]:
    return hf_cache_info.read_cache(str(cache), [MODEL], verify, None)


def partials(cache: Path) -> list[Path]:
    """Also while a client works there: a folder that goes meanwhile is none."""
    return [
        Path(where, name) for where, _folders, names in os.walk(cache) for name in names if name.endswith(".incomplete")
    ]


def assert_whole(cache: Path, client: Client) -> None:
    found = look(cache)
    assert (found["broken"], found["partials"], found["unread"]) == ([], [], [])
    assert found["models"][0]["complete"] is True, found["models"]
    assert found["verified"]["bytes"] == found["bytes"] > 3 * SHARD_BYTES
    assert client.warnings(cache) == []


@pytest.fixture
def start(client: Client) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started = []

    def start(cache: Path, **options: Any) -> subprocess.Popen[bytes]:
        started.append(client.start(cache, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def test_the_layout_is_known(client: Client, cache: Path) -> None:
    client.download(cache)
    assert_whole(cache, client)
    (repository,) = look(cache)["repositories"]
    files = sum(1 for path in (cache / REPO / "snapshots").rglob("*") if not path.is_dir())
    assert (repository["repo_id"], repository["files"], list(repository["refs"])) == (MODEL, files, ["main"])
    everything = sorted(cache.rglob("*"))
    assert clean(cache, *hf_clean.CLASSES)["removed"] == []
    assert sorted(cache.rglob("*")) == everything


def test_a_download_that_is_killed(client: Client, hub: HubServer, tmp_path: Path, start: Any) -> None:
    """At random moments of the transfer, which takes 1.2 s at this rate."""
    chance = random.Random(client.version)
    found = 0
    for kill in range(KILLS):
        cache = tmp_path / f"cache-{kill}"
        cache.mkdir()
        hub.control(rate_bytes_per_second=30_000_000, reset=True)
        process = start(cache)
        wait_until(lambda process=process: process.poll() is not None or hub.bytes, "the first bytes", pause=0.01)
        # Not a wait for a condition: the moment of the kill is what is drawn.
        time.sleep(chance.uniform(0, 1.2))
        process.kill()
        process.wait()

        left = {str(path) for path in partials(cache)}
        cleaned = clean(cache, *(("partials", "probes") if kill % 2 else hf_clean.CLASSES))
        assert {file["path"] for file in cleaned["removed"] if file["class"] == "partials"} == left
        assert cleaned["kept"] == []
        assert partials(cache) == []
        found += bool(left)

        hub.set_rate(0)
        client.download(cache)
        assert_whole(cache, client)
    print(f"{client.version}: {found} of {KILLS} kills left a partial")
    assert found > KILLS // 2


def test_cleaning_never_hurts_a_running_download(client: Client, hub: HubServer, cache: Path, start: Any) -> None:
    """200 times everything that can be removed or more, beside live partials of one download after the other."""
    hub.set_rate(25_000_000)
    dead = cache / REPO / "blobs" / f"{'0' * 64}.0123abcd.incomplete"
    rounds = downloads = live = busy = 0
    while rounds < ROUNDS or downloads < 3:
        process = start(cache)
        wait_until(lambda process=process: process.poll() is not None or partials(cache), "a partial", pause=0.01)
        while process.poll() is None:
            dead.write_bytes(b"x" * 4096)
            # A slow machine spends much of its time where there is none: while a client starts and ends.
            rounds += partials(cache) != [dead]
            cleaned = clean(cache, *hf_clean.CLASSES)
            assert [file["path"] for file in cleaned["removed"]] == [str(dead)], (rounds, cleaned)
            live += sum(file["class"] == "partials" for file in cleaned["kept"])
            busy += bool(cleaned["kept"])
        assert process.returncode == 0, process.stderr.read().decode()
        assert_whole(cache, client)
        downloads += 1
        for path in sorted((cache / REPO).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    print(f"{client.version}: {rounds} rounds, {downloads} downloads, {live} live partials seen in {busy} rounds")
    assert busy > rounds // 2


def test_a_killed_download_into_a_plain_folder(client: Client, hub: HubServer, cache: Path, start: Any) -> None:
    hub.set_rate(5_000_000)
    folder = cache / "plain"
    process = start(cache, local_dir=str(folder))
    # Of a weight file: it takes seconds. The others are done at once.
    large = re.compile(r".+\.[0-9a-f]{64}(\.[0-9a-f]{8})?\.incomplete")
    (live, *_more) = wait_until(
        lambda: [path for path in partials(folder) if large.fullmatch(path.name)], "a partial", pause=0.01
    )
    cleaned = clean(cache, *hf_clean.CLASSES)
    assert cleaned["removed"] == []
    assert process.pid in {file["holder_pid"] for file in cleaned["kept"]}
    assert live.exists()
    process.kill()
    process.wait()
    left = {str(path) for path in partials(folder)}
    assert {file["path"] for file in clean(cache, "partials")["removed"]} == left != set()
    hub.set_rate(0)
    client.download(cache, local_dir=str(folder))
    found = hf_cache_info.read_cache(str(cache), [], "full", None)
    assert [(local["complete"], local["broken"]) for local in found["local_folders"]] == [(True, [])]


# --- every broken state: made, found, cleaned, downloaded again -------------------------------------------------------


def blob(cache: Path, name: str) -> Path:
    return next((cache / REPO / "snapshots").glob(f"*/{name}")).resolve()


def orphan(cache: Path) -> None:
    (cache / REPO / "blobs" / f"{'1' * 64}.incomplete").write_bytes(b"x")


def dangle(cache: Path) -> None:
    blob(cache, SHARDS[0]).unlink()


def truncate(cache: Path) -> None:
    os.truncate(blob(cache, SHARDS[1]), SHARD_BYTES // 2)


def empty(cache: Path) -> None:
    os.truncate(blob(cache, SHARDS[2]), 0)


def pointer(cache: Path) -> None:
    blob(cache, SHARDS[0]).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'1' * 64}\nsize 99\n")


def spoil(cache: Path) -> None:
    """The right size, other bytes: what a resumed download with holes leaves."""
    path = blob(cache, SHARDS[0])
    with path.open("r+b") as file:
        file.seek(SHARD_BYTES // 2)
        file.write(bytes(4096))


def hole(cache: Path) -> None:
    path = blob(cache, SHARDS[0])
    with path.open("r+b") as file:
        begin = file.read(1 << 20)
    os.truncate(path, 0)
    with path.open("r+b") as file:
        file.write(begin)
    os.truncate(path, path.stat().st_size + SHARD_BYTES - (1 << 20) + blob_header(begin))


def blob_header(begin: bytes) -> int:
    return 8 + int.from_bytes(begin[:8], "little")


def empty_config(cache: Path) -> None:
    os.truncate(blob(cache, "config.json"), 0)


def bad_config(cache: Path) -> None:
    blob(cache, "config.json").write_text('{"model_type": ')


def empty_ref(cache: Path) -> None:
    ref = cache / REPO / "refs" / "main"
    os.truncate(ref, 0)
    os.utime(ref, (1_700_000_000, 1_700_000_000))


def stale_ref(cache: Path) -> None:
    ref = cache / REPO / "refs" / "gone"
    ref.write_text("1" * 40)
    os.utime(ref, (1_700_000_000, 1_700_000_000))


def missing_shard(cache: Path) -> None:
    next((cache / REPO / "snapshots").glob(f"*/{SHARDS[1]}")).unlink()


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        (orphan, None),
        (dangle, "dangling_links"),
        (truncate, "truncated"),
        (empty, "empty"),
        (pointer, "lfs_pointers"),
        (spoil, "corrupt"),
        (hole, "corrupt"),
        (empty_config, "empty"),
        (bad_config, ("truncated", "invalid_json")),
        (empty_ref, "refs"),
        (stale_ref, "refs"),
        (missing_shard, "unreferenced"),
    ],
)
def test_a_broken_cache_is_made_whole(
    client: Client, cache: Path, damage: Callable[[Path], None], state: str | tuple[str, ...] | None
) -> None:
    client.download(cache)
    damage(cache)
    found = look(cache)
    states = [broken["state"] for broken in found["broken"]]
    if state is None:
        assert (states, len(found["partials"])) == ([], 1)
    else:
        assert len(states) == 1 and states[0] in ((state,) if isinstance(state, str) else state), states
        assert (found["models"][0]["complete"] is True) == (damage is stale_ref)
    assert clean(cache, *hf_clean.CLASSES)["removed"] != []
    client.download(cache)
    assert_whole(cache, client)


def test_an_offline_client_needs_no_access_for_writing(cache: Path, client: Client) -> None:
    """The server gets a complete cache read-only."""
    client.download(cache)
    read_only = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && ! touch "$0/x" 2>/dev/null && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", read_only, str(cache)]
    if os.geteuid():
        prefix[1:1] = ["--user", "--map-root-user"]
    script = (
        "import os, sys; from huggingface_hub import hf_hub_download, snapshot_download; where = sys.argv[1];"
        f"print(len(os.listdir(snapshot_download({MODEL!r}, cache_dir=where))),"
        f" os.path.basename(hf_hub_download({MODEL!r}, 'config.json', cache_dir=where)))"
    )
    argv = [*prefix, str(client.python), "-c", script, str(cache)]
    environment = {**client.environment, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7 config.json\n", "")
