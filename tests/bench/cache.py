# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast the model cache is looked at and verified, as ratios to what the machine can do at all.

    make bench                  4 GiB and 100,000 files: some minutes, 5 GB of disk, both in the page cache
    make bench BENCH_GIB=0.5    a quick look

Everything that is compared runs in turn, five times, and the best of each counts: what else the machine does at the
time hits all of them. Nothing here fails when it is slow; the figures are for the reader.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
CLIENT = "2.4.0"
COMMIT = "c" * 40
BLOBS = 8
BLOCK = 64 << 20

INFO = """
import json, sys, time
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_info
start = time.perf_counter()
found = hf_cache_info.read_cache(sys.argv[1], [], sys.argv[2], None)
seconds = time.perf_counter() - start
assert not found["broken"] and not found["unread"], found["broken"][:3]
assert len(found["repositories"]) == int(sys.argv[3])
assert sum(repository["files"] for repository in found["repositories"]) == int(sys.argv[4])
peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(json.dumps([seconds, int(peak)]))
"""
SCAN = """
import json, sys, time
from huggingface_hub import scan_cache_dir
start = time.perf_counter()
found = scan_cache_dir(sys.argv[1])
seconds = time.perf_counter() - start
assert not found.warnings
peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(json.dumps([seconds, int(peak)]))
"""


def in_process(python: str | Path, script: str, *words: object) -> tuple[float, int]:
    """Seconds of the call, and the peak of the process in KiB."""
    argv = [str(python), "-c", script, *map(str, words)]
    seconds, peak = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    return seconds, peak


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best(**contestants: Callable[[], float]) -> dict[str, float]:
    """The best of each, all of them once per round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _round in range(ROUNDS):
        for name, run in contestants.items():
            times[name].append(run())
    return {name: min(found) for name, found in times.items()}


def say(what: str, seconds: float | None = None, ratio: str = "", wanted: str = "") -> None:
    print(f"  {what:<58} {'' if seconds is None else f'{seconds:8.3f} s':>10}  {ratio:<14} {wanted}", flush=True)


# --- every byte ------------------------------------------------------------------------------------------------------


def make_blobs(cache: Path, total: int) -> list[Path]:
    blobs = cache / "models--org--large" / "blobs"
    snapshot = cache / "models--org--large" / "snapshots" / COMMIT
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    block = os.urandom(min(BLOCK, total // BLOBS))
    made = []
    for number in range(BLOBS):
        path, state, size = blobs / "new", hashlib.sha256(), total // BLOBS
        with path.open("wb") as file:
            for piece in (struct.pack("<Q", number), *[block] * (size // len(block))):
                file.write(piece)
                state.update(piece)
        made.append(path.rename(blobs / state.hexdigest()))
        (snapshot / f"{number}.dat").symlink_to(f"../../blobs/{made[-1].name}")
    return made


def hash_in_memory(total: int) -> None:
    """The same number of bytes, on all cores, from memory that no cache of the processor holds."""
    cores = len(os.sched_getaffinity(0))
    block = bytes(os.urandom(1 << 20)) * (min(BLOCK, total // BLOBS) >> 20)

    def work(count: int) -> None:
        state = hashlib.sha256()
        for _time in range(count):
            state.update(block)

    count = total // len(block)
    shares = [count // cores + (number < count % cores) for number in range(cores)]
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def bench_verify(cache: Path, total: int) -> None:
    print(f"verify: full, {total / 2**30:g} GiB in {BLOBS} blobs, in the page cache")
    files = make_blobs(cache, total)
    found = best(
        ours=lambda: in_process(sys.executable, INFO, cache, "full", 1, BLOBS)[0],
        memory=lambda: timed(lambda: hash_in_memory(total)),
        sha256sum=lambda: timed(lambda: subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)),
    )
    rate = total / 2**30 / found["ours"]
    say("hf_cache_info, verify: full", found["ours"], f"{rate:.2f} GiB/s")
    say("hashing in memory on all cores", found["memory"], f"{found['memory'] / found['ours']:.2f}", "0.85 or more")
    say("sha256sum of the same files", found["sha256sum"], f"{found['sha256sum'] / found['ours']:.1f}", "6 or more")


# --- many files ------------------------------------------------------------------------------------------------------


def make_repositories(cache: Path, repositories: int, files: int) -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + b"12345678"
    for number in range(repositories):
        top = cache / f"models--org--model-{number:03}"
        blobs, snapshot = top / "blobs", top / "snapshots" / COMMIT
        for folder in (top / "refs", blobs, snapshot):
            folder.mkdir(parents=True)
        (top / "refs" / "main").write_text(COMMIT)
        for nth in range(files):
            name, content = f"file-{nth:05}.txt", b"text"
            if nth == 0:
                name, content = "config.json", b"{}"
            elif nth < 5:
                name, content = f"model-{nth:05}-of-00004.safetensors", weights
            etag = f"{number:08x}{nth:032x}" if nth >= 5 or nth == 0 else f"{number:032x}{nth:032x}"
            (blobs / etag).write_bytes(content)
            (snapshot / name).symlink_to(f"../../blobs/{etag}")


def walk(folder: str, with_stat: bool) -> int:
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                count += walk(entry.path, with_stat)
            else:
                count += 1
                if with_stat:
                    entry.stat(follow_symlinks=False)
    return count


def client_python() -> Path | None:
    sys.path.insert(0, str(ROOT / "tests" / "hub"))
    try:
        import conftest

        return conftest.python_of(CLIENT)
    except (ImportError, OSError, subprocess.CalledProcessError) as problem:
        print(f"  no huggingface_hub {CLIENT} to compare with: {problem}")
        return None


def bench_info(cache: Path, repositories: int, files: int) -> None:
    print(f"hf_cache_info, {repositories} repositories with {repositories * files} files")
    make_repositories(cache, repositories, files)
    python = client_python()
    runs = {
        "ours": lambda: in_process(sys.executable, INFO, cache, "headers", repositories, repositories * files)[0],
        "names": lambda: timed(lambda: walk(str(cache), with_stat=False)),
        "stat": lambda: timed(lambda: walk(str(cache), with_stat=True)),
    }
    if python:
        runs["client"] = lambda: in_process(python, SCAN, cache)[0]
    found = best(**runs)
    ours = found["ours"]
    say("hf_cache_info, verify: headers", ours)
    if python:
        say(
            f"scan_cache_dir of huggingface_hub {CLIENT}",
            found["client"],
            f"{ours / found['client']:.2f}",
            "0.3 or less",
        )
    say("os.scandir walk with the size of each file", found["stat"], f"{ours / found['stat']:.2f}", "3 or less")
    say("os.scandir walk, names alone", found["names"], f"{ours / found['names']:.2f}")


def bench_memory(folder: Path) -> None:
    print("peak memory of the process that runs hf_cache_info")
    for repositories, files in ((200, 50), (200, 500), (1, 50_000), (1, 100_000)):
        cache = folder / f"{repositories}-{files}"
        if not cache.exists():
            make_repositories(cache, repositories, files)
        _seconds, peak = in_process(sys.executable, INFO, cache, "headers", repositories, repositories * files)
        say(f"{repositories} repositories, {repositories * files} files", None, f"{peak / 1024:.1f} MiB")


def main() -> None:
    gib = float(os.environ.get("BENCH_GIB", "4"))
    total = max(BLOBS << 20, int(gib * 2**30) // (BLOBS * BLOCK) * BLOBS * BLOCK or BLOBS << 20)
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, best of {ROUNDS}")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("BENCH_DIR")) as folder:
        bench_verify(Path(folder, "verify"), total)
        bench_info(Path(folder, "200-500"), 200, 500)
        bench_memory(Path(folder))


if __name__ == "__main__":
    main()
