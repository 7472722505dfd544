# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module calls and seconds of the second run of each playbook, for 1, 2, 4 and 8 hosts, as ratios of one run.

    make sandbox bench

The hosts are stand-ins: names that lead in turn to the two hosts of the sandbox, over SSH, each name with a service of
its own. The engines are stand-ins too (tests/support/standin_engine.py). Controller and hosts share this
machine, so that eight hosts take longer here than eight real ones. The playbooks run in turn, several rounds, and the
best time of each counts. Calls are exact. Seconds and the controller's CPU time are for the reader: nothing fails when
it is slow.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import yaml

from support.deployments import mark_home
from support.paths import ROOT
from support.playbook import AnsiblePlaybook
from support.sandbox import INVENTORY, NAMES, Sandbox, Ssh

PLAYBOOKS = ("site.yml", "playbooks/prepare.yml", "playbooks/deploy.yml", "playbooks/health.yml")
SIZES = (1, 2, 4, 8)
ROUNDS = 3
IMAGE = "nvcr.io/nvidia/vllm:25.09-py3"
# In the container; the role mounts the service's own cache directory there.
ENGINE = "/root/.cache/standin_engine.py"


class Cost(NamedTuple):
    calls: int
    most: int  # calls of the host that has most
    seconds: float
    cpu: float  # seconds of the controller's processors


class Bench:
    def __init__(self, folder: Path, size: int) -> None:
        self.calls = folder / "calls"
        self.names = [f"standin{number}" for number in range(1, size + 1)]
        self.inventory = folder / "hosts.yml"
        self.inventory.write_text(yaml.safe_dump({"spark": {"hosts": self._hosts(), "vars": self._variables()}}))
        self.playbook = AnsiblePlaybook(
            inventory=self.inventory,
            environment={
                "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/bench/callbacks"),
                "ANSIBLE_CALLBACKS_ENABLED": "count_calls",
                "BENCH_CALLS": str(self.calls),
            },
        )

    def _hosts(self) -> dict[str, dict[str, object]]:
        sparks = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["spark"]["hosts"]
        return {
            name: {
                "ansible_host": sparks[self.spark(name)]["ansible_host"],
                "vllm_service_name": f"vllm-{name}",
                "vllm_port": 8100 + number,
            }
            for number, name in enumerate(self.names)
        }

    def spark(self, name: str) -> str:
        """The host of the sandbox that a name leads to."""
        return NAMES[self.names.index(name) % len(NAMES)]

    def _variables(self) -> dict[str, object]:
        hosts = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["spark"]["vars"]
        group = yaml.safe_load((INVENTORY / "group_vars/spark/main.yml").read_text())
        image = {**group["vllm_images"][IMAGE], "command_prefix": ["python3", ENGINE, "serve"]}
        return {
            **hosts,
            **group,
            "ansible_ssh_private_key_file": str(Ssh.key),
            "vllm_images": {IMAGE: image},
            "vllm_gpu_memory_utilization": 0.05,  # many services share the memory of a host, and the engines need none
            "vllm_enforce_memory_plan": False,
        }

    def set_up(self, sandbox: Sandbox) -> None:
        engine = (ROOT / "tests/support/standin_engine.py").read_text()
        for name in self.names:
            mark_home(sandbox[self.spark(name)], f"vllm-{name}")
            sandbox[self.spark(name)].write(f"/opt/vllm-{name}/cache/standin_engine.py", engine)
        self.run("site.yml", len(self.names), again=False)

    def run(self, playbook: str, size: int, again: bool = True) -> Cost:
        """One run on the first SIZE hosts. A run that is not the first one changes nothing."""
        self.calls.write_text("")
        names = self.names[:size]
        start, cpu = time.perf_counter(), _cpu()
        run = self.playbook(playbook, f"--limit={','.join(names)}", timeout=3600)
        seconds, cpu = time.perf_counter() - start, _cpu() - cpu
        if run.code or (again and any(run.count(name, "changed") for name in names)):
            sys.exit(f"{run.output}\n{playbook} failed, or changed a host that was finished")
        hosts = Counter(line.split()[0] for line in self.calls.read_text().splitlines())
        return Cost(hosts.total(), max(hosts.values()), seconds, cpu)


def table(costs: dict[tuple[str, int], list[Cost]]) -> str:
    rows = [f"{'':24}{'hosts':>6}{'calls':>7}{'per host':>10}{'cpu s':>7}{'seconds':>9}{'ratio':>7}"]
    measured = {key: runs for key, runs in costs.items() if runs}
    for (playbook, size), runs in measured.items():
        first = next(runs for (other, _size), runs in measured.items() if other == playbook)
        best, one = (min(cost.seconds for cost in some) for some in (runs, first))
        calls, most, cpu = runs[-1].calls, runs[-1].most, min(cost.cpu for cost in runs)
        rows.append(f"{playbook:24}{size:6}{calls:7}{most:10}{cpu:7.1f}{best:9.1f}{best / one:7.2f}")
    return "\n".join(rows)


def _cpu() -> float:
    """Of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="how many hosts; the first is what ratios refer to"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--playbooks", nargs="+", default=PLAYBOOKS)
    parser.add_argument("--keep", action="store_true", help="leave the services on the hosts")
    options = parser.parse_args()
    if not Ssh.key.exists():
        print("playbooks: the sandbox is not up, so they are not measured; `make sandbox` starts it")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the services are removed all the same
    costs: dict[tuple[str, int], list[Cost]] = {
        (playbook, size): [] for playbook in options.playbooks for size in options.sizes
    }
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        bench = Bench(Path(folder), max(options.sizes))
        try:
            bench.set_up(sandbox)
            print(f"second runs over SSH, stand-in engines, {os.cpu_count()} cores ({platform.machine()}), {load()}")
            for _round in range(options.rounds):
                for (playbook, size), runs in costs.items():
                    runs.append(bench.run(playbook, size))
        finally:
            print(f"{table(costs)}\nbest of {options.rounds} rounds; at the end {load()}")
            if not options.keep:
                bench.playbook("playbooks/uninstall.yml", timeout=3600)


if __name__ == "__main__":
    main()
