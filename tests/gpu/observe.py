#!/usr/bin/env python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the GPU machine: the benchmark role, spark_info, vllm_health and the exporter beside a real vLLM on a real driver.

    observe.py OUT [MODE]

That machine has no Docker and no systemd: `docker` is a stand-in that names the server as a container and runs
`docker exec` on the machine itself, and `vllm` is one that forks the process which has imported vLLM. Everything else
is unchanged: playbooks/benchmark.yml, the modules, nvidia-smi, vLLM and its `bench serve`. Needs ansible-core on
PYTHONPATH.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import shapes
import starts
from starts import READY, Server, log

ROOT = Path(os.environ.get("COLLECTION", str(Path(__file__).resolve().parents[2])))
COLLECTIONS = Path("/tmp/collections")
HOME, RELEASE = Path("/opt/vllm"), "0123456789ab"
STAND_INS = Path("/tmp/stand-ins")
SOCKET = "/tmp/vllm.socket"
MODEL = "Qwen/Qwen3-8B-FP8"
PORT = 8000
OPTIONS = {
    "max_model_len": 32768,
    "gpu_memory_utilization": 0.90,
    "max_num_batched_tokens": 16384,
    "max_num_seqs": 64,
    "enable_prefix_caching": True,
    "port": PORT,
}
BUSY = 48  # requests at a time that count as load

# Bytes per second that the memory gives: read alone, as a step does with its weights, and copied.
BANDWIDTH = """
import json, torch
size = 16 * 2**30
source = torch.empty(size, dtype=torch.uint8, device="cuda").random_(0, 255).view(torch.float32)
target = torch.empty_like(source)
def timed(work, moved, rounds=10):
    for _ in range(3): work()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(rounds): work()
    end.record(); torch.cuda.synchronize()
    return moved * rounds / (begin.elapsed_time(end) / 1000) / 1e9
print(json.dumps({"copy_gb_per_s": timed(lambda: target.copy_(source), 2 * size),
                  "read_gb_per_s": timed(lambda: torch.amax(source), size)}))
"""
DOCKER = """#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
labels = {"service": "vllm", "release": "%(release)s", "profile": "throughput"}
labels = {"dgxspark.vllm." + name: value for name, value in labels.items()}
container = {"Name": "/vllm", "Id": "0" * 64, "RestartCount": 0, "Image": "sha256:" + "0" * 64,
    "State": {"Status": "running", "ExitCode": 0, "StartedAt": "%(started)s", "Pid": %(pid)d},
    "Config": {"Image": "stand-in", "Labels": labels, "Entrypoint": ["vllm"], "Cmd": %(command)s},
    "HostConfig": {"PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "%(port)d"}]}}}
if words[:1] == ["ps"]:
    print("vllm" if words[-1] == "{{.Names}}" else "vllm\\tvllm\\t\\t%(release)s")
elif words[:1] == ["inspect"]:
    print(json.dumps([container]))
elif words[:2] == ["image", "inspect"]:
    print("[]")
elif words[:1] == ["exec"]:
    os.execvp(words[2], words[2:])
elif words[:1] == ["logs"]:
    print(open("%(log)s", errors="replace").read())
else:
    sys.exit("stand-in: no docker here")
"""
VLLM = """#!/usr/bin/env python3
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect("%s")
    socket.send_fds(client, [json.dumps({"argv": ["vllm", *sys.argv[1:]], "cwd": os.getcwd()}).encode()], [1, 2])
    answer = client.recv(16)
sys.exit(int(answer or b"1"))
"""


def run(name: str, words: list[str], out: Path, seconds: float = 60) -> str:
    """A command, with its output in a file."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
        said = done.stdout + (f"\n[exit code {done.returncode}]\n{done.stderr}" if done.returncode else "")
    except (OSError, subprocess.TimeoutExpired) as error:
        said = f"{type(error).__name__}: {error}"
    (out / name).write_text(said)
    return said


def ansible(*words: str) -> list[str]:
    return [sys.executable, "-m", "ansible", *words]


def snapshot(out: Path, name: str) -> None:
    """What driver, modules, exporter and server say at one moment."""
    from ansible_collections.dgxspark.vllm.plugins.module_utils._host.spark import GPU_FIELDS

    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    query = ["nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader,nounits"]
    run("nvidia-smi.csv", query, folder)
    run("nvidia-smi.txt", ["nvidia-smi"], folder)
    run("nvidia-smi-q.txt", ["nvidia-smi", "-q"], folder)
    run("metrics.txt", ["curl", "-s", f"http://127.0.0.1:{PORT}/metrics"], folder)
    module = ("adhoc", "localhost", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", "-m")
    run("spark_info.txt", ansible(*module, "dgxspark.vllm.spark_info"), folder)
    wanted = f"container=vllm url=http://127.0.0.1:{PORT} model={MODEL}"
    run("vllm_health.txt", ansible(*module, "dgxspark.vllm.vllm_health", "-a", wanted), folder)
    settings, state = folder / "settings", folder / "exporter"
    settings.mkdir(exist_ok=True)
    state.mkdir(exist_ok=True)
    (settings / "vllm.json").write_text(json.dumps({"service": "vllm", "home": str(HOME), "hf_cache": "/tmp"}))
    exporter = "ansible_collections.dgxspark.vllm.roles.monitoring.files.exporter"
    run("exporter.txt", [sys.executable, "-B", "-m", exporter, str(settings), str(state)], folder)
    # no deeper folders come back
    for path in state.iterdir():
        path.rename(folder / path.name)
    log("seen:", name)


def requests_running() -> float:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as answer:
            page = answer.read().decode()
    except OSError:
        return 0
    found = re.search(r"^vllm:num_requests_running\{[^}]*\} (\S+)", page, re.MULTILINE)
    return float(found[1]) if found else 0


def watch(out: Path) -> None:
    """A snapshot as soon as the server is busy."""
    while requests_running() < BUSY:
        time.sleep(0.2)
    snapshot(out, "load")


def stand_ins(server: Server, words: list[str]) -> None:
    STAND_INS.mkdir(exist_ok=True)
    values = {
        "release": RELEASE,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S.0Z", time.gmtime()),
        "pid": server.pid,
        "command": json.dumps(["serve", *words]),
        "port": PORT,
        "log": server.log_file,
    }
    (STAND_INS / "docker").write_text(DOCKER % values)
    (STAND_INS / "vllm").write_text(VLLM % SOCKET)
    for path in STAND_INS.iterdir():
        path.chmod(0o755)
    (HOME / "releases" / RELEASE).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (HOME / "current").symlink_to(HOME / "releases" / RELEASE)
    unit = Path("/etc/systemd/system/vllm.service")
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(f"# Written by dgxspark.vllm.\n[Service]\nWorkingDirectory={HOME}/current\n")


def environment() -> None:
    """For all that is started from here on."""
    (COLLECTIONS / "ansible_collections" / "dgxspark").mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (COLLECTIONS / "ansible_collections" / "dgxspark" / "vllm").symlink_to(ROOT)
    os.environ.update(
        PATH=f"{STAND_INS}:{os.environ['PATH']}",
        PYTHONPATH=f"{COLLECTIONS}:{os.environ.get('PYTHONPATH', '')}",
        ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS),
        ANSIBLE_HOME="/tmp/ansible",
        LC_ALL="C.UTF-8",
    )
    sys.path.insert(0, str(COLLECTIONS))


def serve_forks(listener: socket.socket, until: subprocess.Popen[bytes], seconds: float) -> None:
    """Answers the stand-in `vllm`, until a process has ended."""
    listener.settimeout(0.5)
    waiting: dict[int, socket.socket] = {}
    end = time.monotonic() + seconds
    while until.poll() is None and time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            client = listener.accept()[0]
            body, descriptors, _flags, _address = socket.recv_fds(client, 65536, 2)
            waiting[_fork(json.loads(body), descriptors)] = client
            for descriptor in descriptors:
                os.close(descriptor)
        for pid in list(waiting):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                client = waiting.pop(pid)
                with contextlib.suppress(OSError):
                    client.sendall(str(max(0, os.waitstatus_to_exitcode(status)) & 255).encode())
                client.close()


def _fork(asked: dict[str, t.Any], descriptors: list[int]) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        starts.become_vllm(asked["argv"], *descriptors)
    return pid


def main(out: Path, mode: str) -> None:
    folder = out / "observe"
    folder.mkdir(parents=True, exist_ok=True)
    environment()
    log("bandwidth:", run("bandwidth.json", [sys.executable, "-c", BANDWIDTH], folder).strip())
    starts.import_vllm()
    starts.make_model(MODEL, shapes.SHAPES["qwen3-8b-fp8"])
    words = [MODEL, *starts.as_words(OPTIONS)]
    server = Server("qwen3-8b-fp8_graphs_ready", folder / "server.log", words)
    log("server:", server.wait(READY, 130), round(time.monotonic() - server.begin), "s")
    stand_ins(server, words)
    listener = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)
    listener.bind(SOCKET)
    listener.listen()
    me = [sys.executable, __file__]
    for name in ("idle",):
        subprocess.run([*me, "--snapshot", str(folder), name], check=False)
    watcher = subprocess.Popen([*me, "--watch", str(folder)])
    variables = {
        "ansible_become": False,
        "ansible_python_interpreter": sys.executable,
        "benchmark_mode": mode,
        "benchmark_repetitions": 1,
        "benchmark_settle_seconds": 3,
        "benchmark_folder": str(folder / "benchmarks"),
        "vllm_model": MODEL,
        **({"benchmark_cells": json.loads(os.environ["CELLS"])} if os.environ.get("CELLS") else {}),
    }
    inventory = folder / "hosts.yml"
    inventory.write_text("spark: {hosts: {gpu01: {ansible_connection: local}}}\n")
    play = ansible("playbook", "-i", str(inventory), str(ROOT / "playbooks" / "benchmark.yml"))
    with open(folder / "benchmark.txt", "wb") as file:
        playing = subprocess.Popen([*play, "-e", json.dumps(variables)], stdout=file, stderr=file, cwd=ROOT)
        serve_forks(listener, playing, 300)
    log("benchmark:", playing.poll())
    if playing.poll() is None:
        playing.send_signal(signal.SIGTERM)
    subprocess.run([*me, "--snapshot", str(folder), "after"], check=False)
    watcher.kill()
    server.end()


if __name__ == "__main__":
    if sys.argv[1] in ("--snapshot", "--watch"):
        environment()
        if sys.argv[1] == "--watch":
            watch(Path(sys.argv[2]))
        else:
            snapshot(Path(sys.argv[2]), sys.argv[3])
    else:
        main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "guide")
