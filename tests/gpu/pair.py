#!/usr/bin/env python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a machine with two GPUs: two hosts that serve one model together, and what happens if one of them fails.

    pair.py OUT plan             starts the models of ranks.json one after the other; the first one also serves
    pair.py OUT faults [NAME...] provokes the faults at the same time, each in two hosts of its own

A name with +graphs has CUDA graphs. Arguments and environment of the ranks are those that the role renders (ranks.py).
Each rank sees one GPU. NCCL has no other way between them than the cable. Writes OUT/pair/NAME.head.log,
NAME.worker.log and NAME.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import starts
from hosts import Hosts
from plan import machine
from shapes import SHAPES
from starts import KV_SIZE, READY, Server, log

OUT = Path("out")
RANKS: dict[str, t.Any] = json.loads((Path(__file__).parent / "ranks.json").read_text())
SMALL = "qwen3-8b-fp8"  # with four of its layers: for faults the size does not matter
# Faults run at the same time, so each takes as little as it can.
LITTLE = {"--gpu-memory-utilization": "0.05", "--kv-cache-memory-bytes": str(2**30), "--max-num-seqs": "16"}
LITTLE.update({"--max-model-len": "8192", "--max-num-batched-tokens": "8192"})
SECONDS = int(os.environ.get("SECONDS_OF_A_FAULT", "400"))
WIDER = {**SHAPES[SMALL], "num_hidden_layers": 4, "hidden_size": 5120, "num_attention_heads": 40}
EAGER = "--enforce-eager"
Words = list[str]


def with_options(words: Words, values: t.Mapping[str, str]) -> Words:
    found = list(words)
    for name, value in values.items():
        if name in found:
            found[found.index(name) + 1] = value
        else:
            found += [name, value]
    return found


def shape_of(name: str) -> str:
    return name.partition("+")[0]


def has_graphs(name: str) -> bool:
    return name.endswith("+graphs")


def processes(session: int) -> list[int]:
    """Those of a server: of its session, as those of a container are of one cgroup."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                found.append(int(folder.name))
    return found


class Pair:
    """Two hosts and the ranks on them."""

    def __init__(self, name: str, model: str) -> None:
        self.name, self.model = name, shape_of(model)
        self.left_out = EAGER if has_graphs(name) else ""
        self.hosts = Hosts(RANKS["interface"], RANKS["addresses"])
        self.begin = time.monotonic()
        self.ranks: list[Server | None] = [None, None]
        self.record: dict[str, t.Any] = {"events": []}

    def start(
        self,
        number: int,
        options: t.Mapping[str, str] | None = None,
        environment: t.Mapping[str, str] | None = None,
        model: str = "",
        prepare: t.Callable[[], None] | None = None,
        again: str = "",
    ) -> Server:
        rank = RANKS["models"][self.model][number]
        words = with_options([word for word in rank["words"] if word != self.left_out], options or {})
        if model:
            words[0] = model
        values = {**rank["environment"], "CUDA_VISIBLE_DEVICES": str(number), **(environment or {})}

        def inside() -> None:
            if number:
                self.hosts.on_the_second()
            if prepare:
                prepare()

        file = OUT / "pair" / f"{self.name}.{'worker' if number else 'head'}{again}.log"
        server = Server(file.stem, file, words, values, waits=False, inside=inside)
        self.ranks[number] = server
        self.event(f"rank {number} started")
        return server

    def both(self, head: t.Mapping[str, t.Any] | None = None, worker: t.Mapping[str, t.Any] | None = None) -> None:
        """The workers first, as the role does."""
        for number, given in ((1, worker), (0, head)):
            options = {**LITTLE, **((given or {}).get("options") or {})}
            self.start(number, **{**(given or {}), "options": options})

    @property
    def head(self) -> Server:
        assert self.ranks[0]
        return self.ranks[0]

    def seconds(self) -> float:
        return round(time.monotonic() - self.begin, 1)

    def event(self, what: str) -> None:
        self.record["events"].append([self.seconds(), what])
        log(self.name, self.seconds(), what)
        (OUT / "pair" / f"{self.name}.json").write_text(json.dumps(self.record, indent=1))

    def ready(self, seconds: float = 240) -> bool:
        state = self.head.wait(READY, seconds)
        self.event(f"head {'ready' if state == 'seen' else state}")
        return state == "seen"

    def token(self, count: int = 1, seconds: float = 8) -> tuple[int, str]:
        body = {"model": self.head.name_of_model(), "prompt": "t7 t8", "max_tokens": count, "ignore_eos": True}
        return self.head.get("/v1/completions", {**body, "temperature": 0}, seconds)

    def load(self) -> None:
        for _thread in range(4):
            threading.Thread(target=lambda: self.token(2000, 120), daemon=True).start()
        time.sleep(2)

    def signal(self, number: int, which: int) -> None:
        """As Docker does: asked to end is the first process alone, killed or frozen are all of them."""
        server = self.ranks[number]
        assert server
        for pid in [server.pid] if which == signal.SIGTERM else processes(server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, which)
        self.event(f"rank {number}: {signal.Signals(which).name}")
        if which == signal.SIGTERM:
            server.wait_for_end(10)  # then Docker ends the others
            for pid in processes(server.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def state(self, ask: bool) -> dict[str, t.Any]:
        found: dict[str, t.Any] = {}
        for name, server in zip(("head", "worker"), self.ranks, strict=True):
            if server:
                found[name] = "running" if server.running() else f"exit code {server.code}"
        if ask and self.ranks[0] and self.head.running():
            found["/health"] = self.head.get("/health", seconds=5)[0]
            found["token"] = self.token()[0]
        return found

    def watch(self, seconds: float, ask: bool = True) -> None:
        """Until both have ended. Only what changes is written down."""
        last, end = None, time.monotonic() + seconds
        while time.monotonic() < end:
            state = self.state(ask)
            if state != last:
                self.event(json.dumps(state))
            last = state
            if all(server is None or server.code is not None for server in self.ranks):
                return
            time.sleep(1)
        self.event("no longer watched")

    def end(self) -> None:
        for server in self.ranks:
            if server:
                for pid in processes(server.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                server.wait_for_end(starts.OVER)
        self.hosts.end()


# --- faults -----------------------------------------------------------------------------------------------------------
Fault = t.Callable[[Pair], None]


def _after(number: int, which: int, under_load: bool, seconds: float) -> Fault:
    def fault(pair: Pair) -> None:
        pair.both()
        if pair.ready():
            pair.event(json.dumps(pair.state(True)))
            if under_load:
                pair.load()
            pair.signal(number, which)
            pair.watch(seconds)

    return fault


def _never_together(head: t.Mapping[str, t.Any] | None = None, worker: t.Mapping[str, t.Any] | None = None) -> Fault:
    def fault(pair: Pair) -> None:
        pair.both(head, worker)
        pair.watch(SECONDS)

    return fault


def _alone(number: int) -> Fault:
    def fault(pair: Pair) -> None:
        pair.start(number, LITTLE)
        pair.watch(SECONDS, ask=False)

    return fault


def cable_pulled(pair: Pair) -> None:
    pair.both()
    if pair.ready():
        pair.load()
        pair.hosts.pull_the_cable()
        pair.event("cable pulled")
        pair.watch(SECONDS)


def worker_restarted(pair: Pair) -> None:
    """As systemd does with the unit of the worker, while the head goes on."""
    pair.both()
    if pair.ready():
        pair.signal(1, signal.SIGKILL)
        pair.ranks[1].wait_for_end(10) if pair.ranks[1] else None
        pair.start(1, LITTLE, again="-again")
        pair.watch(120, ask=False)
        pair.watch(60)


def master_port_in_use(pair: Pair) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("0.0.0.0", 29501))
        other.listen()
        _never_together()(pair)


def interface_without_a_way(pair: Pair) -> None:
    """An interface that exists, but does not lead to the other host."""
    own = {"NCCL_SOCKET_IFNAME": "enP7s7"}
    pair.both(worker={"environment": own, "prepare": lambda: pair.hosts.another_network("enP7s7", "10.9.0.2")})
    pair.watch(SECONDS)


def _environment(**values: str) -> dict[str, t.Any]:
    return {"environment": values}


def _options(**values: str) -> dict[str, t.Any]:
    return {"options": {f"--{name.replace('_', '-')}": value for name, value in values.items()}}


FAULTS: dict[str, Fault] = {
    "worker_killed": _after(1, signal.SIGKILL, False, 60),
    "worker_killed_under_load": _after(1, signal.SIGKILL, True, 60),
    "worker_stopped": _after(1, signal.SIGTERM, False, 60),
    "worker_frozen": _after(1, signal.SIGSTOP, False, SECONDS),
    "worker_frozen_under_load": _after(1, signal.SIGSTOP, True, SECONDS),
    "head_killed": _after(0, signal.SIGKILL, False, 120),
    "head_killed_under_load": _after(0, signal.SIGKILL, True, 120),
    "head_stopped": _after(0, signal.SIGTERM, False, 120),
    "head_frozen_under_load": _after(0, signal.SIGSTOP, True, SECONDS),
    "cable_pulled": cable_pulled,
    "worker_restarted": worker_restarted,
    "worker_absent": _alone(0),
    "head_absent": _alone(1),
    "master_port_wrong": _never_together(worker=_options(master_port="29599")),
    "master_port_in_use": master_port_in_use,
    "head_address_of_nobody": _never_together(worker=_options(master_addr="192.168.100.9")),
    "head_without_route": _never_together(worker=_options(master_addr="10.99.0.1")),
    "nccl_interface_missing": _never_together(worker=_environment(NCCL_SOCKET_IFNAME="enp9s0")),
    "gloo_interface_missing": _never_together(worker=_environment(GLOO_SOCKET_IFNAME="enp9s0")),
    "interface_without_a_way": interface_without_a_way,
    "host_address_wrong": _never_together(head=_environment(VLLM_HOST_IP="192.168.100.7")),
    "worker_address_wrong": _never_together(worker=_environment(VLLM_HOST_IP="192.168.100.7")),
    "max_model_len_differs": _never_together(worker=_options(max_model_len="4096")),
    "model_differs": _never_together(worker={"model": "wider"}),
    "model_missing_on_the_worker": _never_together(worker={"model": "Qwen/absent"}),
    "memory_taken_on_the_worker": _never_together(worker=_options(gpu_memory_utilization="0.999")),
}


def run_fault(name: str) -> t.NoReturn:
    """In a process of its own: it moves to another network."""
    code = 1
    try:
        pair = Pair(name, SMALL)
        try:
            FAULTS[shape_of(name)](pair)
        finally:
            pair.event("end: " + json.dumps(pair.state(False)))
            pair.end()
        code = 0
    except BaseException as error:
        log(name, "failed:", type(error).__name__, error)
    finally:
        os._exit(code)


def faults(names: list[str]) -> None:
    starts.make_model(RANKS["models"][SMALL][0]["words"][0], {**SHAPES[SMALL], "num_hidden_layers": 4})
    starts.make_model("wider", WIDER)
    running = []
    for name in names or FAULTS:
        pid = os.fork()
        if pid == 0:
            run_fault(name)
        running.append(pid)
        time.sleep(0.5)
    for pid in running:
        os.waitpid(pid, 0)


# --- memory plan ------------------------------------------------------------------------------------------------------


def serves(pair: Pair) -> None:
    if not pair.ready():
        return
    pair.event(json.dumps(pair.state(True)))
    for count in (8, 256):
        begin = time.monotonic()
        status, text = pair.token(count, 60)
        usage = json.loads(text)["usage"]["completion_tokens"] if status == 200 else text[:200]
        pair.event(f"{usage} tokens, status {status}, in {time.monotonic() - begin:.2f} s")


def start_of(name: str) -> t.NoReturn:
    """In a process of its own, as a fault."""
    pair, state = Pair(name, name), ""
    try:
        pair.start(1)
        pair.start(0)
        state = pair.head.wait(KV_SIZE, 150)
        pair.event(state)
        if pair.model == SMALL:
            serves(pair)
    finally:
        pair.end()
        os._exit(state != "seen")


def plan(names: list[str]) -> None:
    """compare.py reads what it writes, as that of plan.py."""
    record: dict[str, t.Any] = {"machine": machine(), "starts": {}}
    for name in names or list(RANKS["models"]):
        rank = RANKS["models"][shape_of(name)][0]
        starts.make_model(rank["words"][0], SHAPES[shape_of(name)])
        pid = os.fork()
        if pid == 0:
            start_of(name)
        state = "seen" if os.waitpid(pid, 0)[1] == 0 else "ended"
        args = {**rank["args"], "enforce_eager": not has_graphs(name)}
        record["starts"][name] = {"args": args, "state": state}
        (OUT / "pair" / "starts.json").write_text(json.dumps(record, indent=1))
        starts.wait_for_free()


def main(out: Path, what: str, names: list[str]) -> None:
    global OUT
    OUT = out
    (out / "pair").mkdir(parents=True, exist_ok=True)
    starts.import_vllm()
    {"plan": plan, "faults": faults}[what](names)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
