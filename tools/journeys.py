#!/usr/bin/env python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs journeys (tests/journeys/NAME) on a new sandbox, and removes it at the end; caches and images stay.

    journeys.py [--keep] [--core | --all] [--list] [NAME ...]

A journey that needs one host runs beside one on the other host. One that fails does not stop the others: at the end
stands what failed, with the path of its log. --keep uses the sandbox that is up and leaves it up.
Without NAME and --all, a part is done with each commit: journeys that say TURN with every fourth one, and of the tests
that do one thing at many places (marked in_turn) some. Four commits in a row have every journey. --core leaves out the
journeys with a TURN, as `make test` does.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
JOURNEYS = ROOT / "tests" / "journeys"
LOGS = ROOT / ".cache" / "journeys"
HOSTS = ("spark01", "spark02")
TURNS = 4
LONGEST = 3600  # seconds of a journey; one that hangs must not hold up the others for ever
SHOWN = 60  # lines of the log of a journey that failed


@dataclass(frozen=True)
class Journey:
    """What the __init__.py of a journey's folder says of it."""

    name: str
    proves: str
    hosts: tuple[str, ...]  # empty: any one
    seconds: int  # about, on two cores: the long ones begin first
    turn: int | None  # 0 to TURNS - 1: with every commit whose number leaves this remainder; None: with each

    @classmethod
    def read(cls, folder: Path) -> Journey:
        module = ast.parse((folder / "__init__.py").read_text())
        said = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in module.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        text = " ".join((ast.get_docstring(module) or "").split())
        return cls(folder.name, text, tuple(said.get("HOSTS", ())), said.get("SECONDS", 60), said.get("TURN"))

    @property
    def is_scenario(self) -> bool:
        """Molecule runs the playbook under test first, and then the tests."""
        return (ROOT / "molecule" / self.name / "molecule.yml").exists()

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    def command(self, host: str, commit: int | None) -> list[str]:
        """With the number of a COMMIT, of the tests in turn a part: the next one each time that the journey runs."""
        if self.is_scenario:
            return ["molecule", "test", "--destroy=never", "--no-command-borders", "--scenario-name", self.name]
        part = [] if commit is None else [f"--turn={commit if self.turn is None else commit // TURNS}"]
        return [sys.executable, "-m", "pytest", "--durations=5", f"--spark={host}", *part, str(JOURNEYS / self.name)]


@dataclass(frozen=True)
class Result:
    journey: Journey
    code: int
    seconds: float

    @property
    def line(self) -> str:
        """What happened, for example `rollback: passed on 9 tests in 140 s`."""
        tests = re.findall(r"(\d+ (?:passed|failed|errors?|skipped)[^\n]*?) in [\d.]+s", self.journey.log.read_text())
        told = f" ({tests[-1]})" if tests else ""
        return f"{self.journey.name}: {'FAILED' if self.code else 'passed'} in {self.seconds:.0f} s{told}"


class Runner:
    """Two lanes, one for each host; a journey that needs both hosts has both lanes."""

    def __init__(self, journeys: list[Journey], commit: int | None) -> None:
        self.commit = commit
        self.waiting = sorted(journeys, key=lambda journey: (not journey.is_scenario, -journey.seconds))
        self.free = set(HOSTS)
        self.changed = threading.Condition()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.results: list[Result] = []
        self.stopped = False

    def run(self) -> None:
        """Start what can be started until everything has ended."""
        threads = []
        with self.changed:
            while (self.waiting or len(self.free) < len(HOSTS)) and not self.stopped:
                found = self._next()
                if not found:
                    self.changed.wait()
                    continue
                journey, hosts = found
                self.waiting.remove(journey)
                self.free -= set(hosts)
                threads.append(threading.Thread(target=self._travel, args=(journey, hosts)))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def _next(self) -> tuple[Journey, tuple[str, ...]] | None:
        """Those that need both hosts come last: they wait for both lanes."""
        one = [journey for journey in self.waiting if len(journey.hosts) < 2]
        for journey in one or self.waiting:
            hosts = journey.hosts or tuple(sorted(self.free))[:1]
            if hosts and set(hosts) <= self.free:
                return journey, hosts
        return None

    def _travel(self, journey: Journey, hosts: tuple[str, ...]) -> None:
        say(f"{journey.name} begins on {' and '.join(hosts)}")
        begin = time.monotonic()
        environment = {
            **os.environ,
            "MOLECULE_GLOB": "molecule/*/molecule.yml",
            "MOLECULE_EPHEMERAL_DIRECTORY": str(LOGS / journey.name),
        }
        with journey.log.open("wb") as log:
            process = subprocess.Popen(
                journey.command(hosts[0], self.commit),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.processes[journey.name] = process
            try:
                code = process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                end(process)
                code = process.wait()
        result = Result(journey, code, time.monotonic() - begin)
        with self.changed:
            del self.processes[journey.name]
            self.results.append(result)
            self.free |= set(hosts)
            self.changed.notify()
        say(result.line, show=journey.log if code else None)

    def stop(self) -> None:
        self.stopped = True
        for process in list(self.processes.values()):
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


_saying = threading.Lock()


def say(line: str, show: Path | None = None) -> None:
    with _saying:
        print(f"----- {time.strftime('%H:%M:%S')}  {line}", flush=True)
        if show:
            lines = show.read_text(errors="replace").splitlines()
            print(*lines[-SHOWN:], f"----- all of it: {show.relative_to(ROOT)}", sep="\n", flush=True)


def playbook(name: str) -> None:
    """One of those that make and remove the sandbox; its output only if it fails."""
    log = LOGS / f"{name}.log"
    begin = time.monotonic()
    with log.open("wb") as file:
        command = ["ansible-playbook", "-i", "localhost,", f"molecule/default/{name}.yml"]
        code = subprocess.call(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    say(f"sandbox, {name}: {'FAILED' if code else 'done'} in {time.monotonic() - begin:.0f} s", log if code else None)
    if code:
        raise SystemExit(1)


@contextmanager
def sandbox(keep: bool) -> Iterator[None]:
    """A new one, so that every run starts from the same state, and none afterwards, whatever happens."""
    if not keep:
        playbook("destroy")
    playbook("create")
    try:
        yield
    finally:
        if not keep:
            playbook("destroy")


def commits() -> int:
    """How many there are: with each of them another part of what is done in turn is due."""
    count = subprocess.run(
        ["git", "rev-list", "--count", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return int(count.stdout or 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="use the sandbox that is up, and leave it up")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--core", action="store_true", help="only the journeys that go with every commit")
    some.add_argument("--all", action="store_true", help="every journey, and every case of the tests done in turn")
    parser.add_argument("--list", action="store_true", help="say what each journey proves, and end")
    parser.add_argument("names", nargs="*", metavar="NAME", help="journeys; without a name: all")
    options = parser.parse_args()
    known = {file.parent.name: Journey.read(file.parent) for file in sorted(JOURNEYS.glob("*/__init__.py"))}
    if options.list:
        for journey in known.values():
            print(f"{journey.name:<13} {journey.proves}")
        return 0
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no such journey: {', '.join(unknown)}; there are {', '.join(known)}")

    LOGS.mkdir(parents=True, exist_ok=True)
    commit = commits()
    wanted = [known[name] for name in options.names] or [
        journey
        for journey in known.values()
        if options.all or journey.turn is None or (journey.turn == commit % TURNS and not options.core)
    ]
    runner = Runner(wanted, None if options.all else commit)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with sandbox(options.keep):
        try:
            runner.run()
        finally:
            runner.stop()
    print("\n===== journeys")
    for result in sorted(runner.results, key=lambda result: result.code != 0):
        print(f"{result.line}{f'; log: {result.journey.log.relative_to(ROOT)}' if result.code else ''}")
    if left := [name for name, journey in known.items() if not options.names and journey not in wanted]:
        print(f"left to the next commits: {', '.join(left)}")
    return int(any(result.code for result in runner.results))


if __name__ == "__main__":
    sys.exit(main())
