# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd asks before it starts a vLLM service, and how it stops one. Runs on the host.

python3 -B /usr/local/lib/dgxspark/SERVICE guard VERB SERVICE HOME

allow    ExecCondition: not if the same release was started too often without an answer
prepare  ExecStartPre: not if a path leads elsewhere than when the release was staged; waits for the hosts that serve
         the model together with this one, and for the memory that the release needs, removes what no start of a group
         may find, then counts the start
stop     ExecStop, and ExecStopPost of a group: stops the containers of the service, whatever `current` points to by now
forget   by hand and by a deployment: the starts so far do not count any more

HOME is the folder of the service (vllm_home). HOME/current/release.json holds what the release needs, HOME/state/ what
happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.root_only import led_by_others
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import closed_ports
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.memory_holders import gib, holders
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.peers import (
    OPEN,
    SILENT,
    Peers,
    peers_of,
    reach,
    source,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.services import has_cache_of
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import mapping, parse_json

# Where the module host_code puts this file, and what it imports.
CODE = "/usr/local/lib/dgxspark"
# Starts of one release that never gave an answer, until it is not started any more.
MOST_TRIES = 4
# Seconds that memory of a stopped server may take to come back; the key wait_seconds of release.json.
MEMORY_WAIT = 120
# Seconds that the other hosts of a group may take to answer, after a power cut of all; the key peer_seconds.
PEER_WAIT = 600
# Seconds that a head which has lost this rank may take to end: its watchdog looks four times a minute.
STALE_HEAD_WAIT = 60
# Seconds that a server may take to end by itself; it needs few, and one that loads does not listen.
STOP_TIMEOUT = 15
# Seconds that Compose may take to end after its container.
COMPOSE_TIMEOUT = 5
# Less page cache is not worth a drop.
LEAST_CACHE = 1024**3
# Below the folder of the service: where vLLM keeps what FlashInfer has tuned.
TUNED = Path("cache/vllm/flashinfer_autotune_cache")

ERROR, NOTICE = 3, 5  # as syslog counts; the journal keeps errors apart, so a busy log cannot crowd them out

State = dict[str, t.Any]


def say(priority: int, text: str) -> None:
    print(f"<{priority}>{text}", flush=True)


def read_json(path: Path) -> State:
    """A file of ours; empty if it is not there, or no file of ours any more."""
    try:
        return mapping(parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def write_json(path: Path, state: State) -> None:
    """The file survives a power cut: it is the old one or the new one, never half of it."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def boot_of(proc: Path = Path("/proc")) -> str:
    """Names the boot of the host: a time since the boot counts only within it."""
    return (proc / "sys" / "kernel" / "random" / "boot_id").read_text().strip()


def remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def remove_tree(folder: Path) -> None:
    """A container writes there: shutil.rmtree() ends at a depth that `rm` does not know."""
    rc, _out, error = run("rm", "-rf", "--", str(folder))
    if rc:
        say(ERROR, f"{plain(error.strip())}; going on")


class Service:
    """The files of one service on this host."""

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name = home, name
        self.current = home / "current"
        self.tries = home / "state" / "tries.json"
        self.watchdog = home / "state" / "watchdog.json"
        self.look = home / "state" / "look.json"  # the last one of the watchdog: verdict, time since the boot, releases
        self.closed = home / "state" / "closed.json"  # the ports that were closed to other hosts
        self.link = home / "state" / "link.json"  # whether the container was seen with a connection to its peers

    @property
    def parameters(self) -> State:
        return read_json(self.current / "release.json")

    @property
    def release(self) -> str:
        return self.current.resolve().name

    def containers(self, what: str = "service") -> dict[str, str]:
        """Those that run, with the release of each. An image may bring our labels along, but no folder of ours.

        WHAT is ray for the one of Ray beside that of the API.
        """
        label = f"label=dgxspark.vllm.{what}={self.name}"
        form = '{{.ID}} {{.Label "dgxspark.vllm.release"}} {{.Mounts}}'
        lines = run("docker", "ps", "--no-trunc", "--filter", label, "--format", form)[1].splitlines()
        found = (line.split(" ") for line in lines if line.count(" ") == 2)
        return {
            container: release
            for container, release, mounts in found
            if self.has(release) and has_cache_of(str(self.home), mounts.split(","))
        }

    def has(self, release: str) -> bool:
        return "/" not in release and (self.home / "releases" / release / "release.json").is_file()

    # --- the starts that gave no answer yet -----------------------------------------------------------------------

    def starts(self) -> list[State]:
        """Those of the release that is to be started; another one's do not count."""
        state = read_json(self.tries)
        starts = state.get("starts")
        return starts if state.get("release") == self.release and isinstance(starts, list) else []

    def count(self, start: State) -> None:
        write_json(self.tries, {"release": self.release, "starts": [*self.starts(), start]})

    def uncount(self) -> None:
        """A start that was ended on request is none that failed."""
        starts = self.starts()[:-1]
        if starts:
            write_json(self.tries, {"release": self.release, "starts": starts})
        else:
            self.answered()

    def answered(self) -> None:
        remove(self.tries)

    def is_unanswered(self) -> bool:
        return self.tries.exists()

    def forget(self) -> None:
        """What counts against a limit; not the connections, which are those of a container that may run."""
        self.answered()
        remove(self.watchdog)


def refusal(service: Service, starts: t.Sequence[State]) -> str:
    """Why it is not started again, in one line."""
    boots = len({start.get("boot") for start in starts})
    first = time.strftime("%Y-%m-%d %H:%M", time.localtime(starts[0].get("time", 0)))
    return (
        f"not started: release {service.release} was started {len(starts)} times since {first}"
        f" ({boots} {'boot' if boots == 1 else 'boots'} of the host) and never answered; deploy again, or run:"
        f" sudo python3 -B {CODE}/{service.name} guard forget {service.name} {service.home}"
        f" && sudo systemctl start {service.name}"
    )


# --- memory -----------------------------------------------------------------------------------------------------


class Memory(t.NamedTuple):
    free: int
    available: int
    total: int = 0


def memory(meminfo: str) -> Memory:
    """/proc/meminfo, in bytes."""
    found = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", meminfo, re.MULTILINE)}
    return Memory(found["MemFree"], found["MemAvailable"], found.get("MemTotal", 0))


def should_drop(now: Memory, needed: int) -> bool:
    """vLLM before 0.17 takes the page cache of unified memory for used, and asks for free memory."""
    return now.available - now.free >= LEAST_CACHE and (not needed or now.free < needed)


def gpu_processes() -> str:
    return run("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")[1]


def asks_for_memory(service: Service) -> str:
    """The variable: a size of the KV cache, which takes the place of the share of the memory, or that share."""
    with contextlib.suppress(OSError):
        if "--kv-cache-memory-bytes" in (service.current / "compose.yaml").read_text(errors="replace"):
            return "kv_cache_memory_bytes in vllm_extra_args"
    return "vllm_gpu_memory_utilization"


def wait_for_memory(needed: int, longest: float, look: t.Callable[[], Memory]) -> Memory:
    """The first look that is good enough, or the last one. What the host does not have is not waited for."""
    begin = time.monotonic()
    told = False
    while (now := look()).available < needed <= (now.total or needed) and time.monotonic() - begin < longest:
        if not told:
            say(NOTICE, f"{gib(needed)} GiB of memory wanted, {gib(now.available)} GiB available: waiting")
            told = True
        time.sleep(0.5)
    return now


# --- the other hosts of a group ------------------------------------------------------------------------------------


def wait_for_peers(
    peers: Peers, longest: float, is_stale: bool, look: t.Callable[[str, int], str] = reach, pause: float = 1.0
) -> str:
    """Why this rank is not started yet; empty if every other host answers.

    A worker that ended while its head lives on finds a head that waits for nobody any more. IS_STALE says that it may
    be so: then that head has some time to end.
    """
    begin = time.monotonic()
    told = False
    while silent := [address for address in peers.others if look(address, peers.port) == SILENT]:
        if time.monotonic() - begin >= longest:
            return (
                f"{', '.join(silent)} did not answer for {longest:.0f} s, and serves the model together with this host"
            )
        if not told:
            say(NOTICE, f"waiting for {', '.join(silent)}, which does not answer")
            told = True
        time.sleep(pause)
    begin = time.monotonic()
    while is_stale and look(peers.head, peers.port) == OPEN and time.monotonic() - begin < STALE_HEAD_WAIT:
        time.sleep(pause)
    return ""


def wrong_source(peers: Peers, ports: closed_ports.Ports) -> str:
    """Why the others would not let this host in: their rules name vllm_node_address."""
    own = peers.addresses[peers.rank]
    asked = peers.others if ports.are_rays else (peers.head,) if peers.rank else ()
    for address in asked:
        used = source(address, ports.first)
        if used and used != own and not used.startswith("127."):
            return (
                f"a connection to {address} comes from {used} and not from {own}, its vllm_node_address, and only that"
                " is let in"
            )
    return ""


def had_link(service: Service, boot: str) -> bool:
    """Whether this rank ended with its connection to the head: as far as anybody knows, the head still lives then."""
    state = read_json(service.link)
    return state.get("boot") != boot or state.get("linked") is True


def forget_tuned(service: Service) -> None:
    """Removes what FlashInfer has tuned: a start of the group tunes on all its hosts, or on none.

    S: vLLM issue 57423. One that finds the results of an earlier start skips the steps in which the others wait for it,
    and none of them ever answers. What vLLM has compiled stays. The container can write there: no link is followed, and
    the time is limited.
    """
    folder = service.home / TUNED
    if not os.path.lexists(folder):
        return
    links = [service.home.joinpath(*TUNED.parts[:depth]) for depth in (1, 2, 3)]
    problem = next((f"{path} is a link" for path in links if path.is_symlink()), "")
    if not problem:
        code, _out, problem = run("rm", "-rf", "--one-file-system", "--", str(folder))
        problem = problem.strip() if code else ""
    if problem:
        say(
            ERROR,
            f"{folder} could not be removed ({plain(problem)}); with it the hosts that serve together may hang at the"
            " start: remove it on each of them; going on",
        )


def moved_path(parameters: State) -> str:
    """Why the container would get another folder than the deployment has looked at; empty if it gets the same.

    Whoever owns a folder on the way can make it a link at any time, and Docker follows it as root. Root may move it.
    """
    for path, real in mapping(parameters.get("real_paths")).items():
        now = os.path.realpath(path)
        if now != real and led_by_others(path):
            return f"{plain(path)} leads to {plain(now)} and no longer to {plain(str(real))}"
    return ""


# --- the verbs --------------------------------------------------------------------------------------------------


def allow(service: Service) -> int:
    starts = service.starts()
    if len(starts) < MOST_TRIES:
        return 0
    say(ERROR, refusal(service, starts))
    return 1


def prepare(service: Service, proc: Path = Path("/proc")) -> int:
    parameters = service.parameters
    problem = moved_path(parameters)
    if problem:
        say(ERROR, f"not started: {problem}; move it back, or deploy again")
        return 1
    peers, ports = peers_of(parameters), closed_ports.ports_of(parameters)
    if peers:
        is_stale = peers.rank > 0 and had_link(service, boot_of(proc))
        problem = wait_for_peers(peers, float(parameters.get("peer_seconds", PEER_WAIT)), is_stale)
        # who is not let in finds the others silent
        problem = (wrong_source(peers, ports) if ports else "") or problem
        if problem:
            say(ERROR, f"not started: {problem}")
            return 1
        forget_tuned(service)
    needed = int(parameters.get("needed_bytes") or 0)
    longest = float(parameters.get("wait_seconds", MEMORY_WAIT))
    now = wait_for_memory(needed, longest, lambda: memory((proc / "meminfo").read_text()))
    if now.available < needed:
        why = (
            f"more than the {gib(now.total)} GiB of the host; {asks_for_memory(service)} asks for it"
            if 0 < now.total < needed
            else f"{gib(now.available)} GiB are available after {longest:.0f} s; most is held by"
            f" {holders(proc, gpu_processes())}"
        )
        say(ERROR, f"not started: {gib(needed)} GiB of memory are needed, {why}")
        return 1
    if peers and ports and (ports.are_rays or not peers.rank):
        # what Ray left there is of no use to another start
        remove_tree(service.home / "cache" / "ray")
        try:
            write_json(service.closed, {"closed_ports": list(ports)})
        except OSError as error:  # a stop leaves the rules then, and the next start finds them
            say(ERROR, f"{error}; going on")
        problem = closed_ports.close(ports, peers.addresses, run, (proc / "net" / "if_inet6").exists())
        if problem:
            say(ERROR, f"not started: the ports of the group could not be closed to other hosts: {problem}")
            return 1
    try:
        if parameters.get("drop_page_cache") and should_drop(now, needed):
            os.sync()
            (proc / "sys" / "vm" / "drop_caches").write_text("3")
            say(NOTICE, f"dropped {gib(now.available - now.free)} GiB of page cache")
        if parameters:  # without them the watchdog cannot tell that it answered
            service.count({"time": int(time.time()), "boot": boot_of(proc)})  # the time is for people
    except OSError as error:  # such as a full disk: no reason not to serve
        say(ERROR, f"{error}; going on")
    return 0


def stop(service: Service, proc: Path = Path("/proc")) -> int:
    main = os.environ.get("MAINPID")  # systemd names it while it lives: it did not end by itself
    if main:
        try:
            service.uncount()
        except OSError as error:
            say(ERROR, f"{error}; going on")
    ports = closed_ports.ports_of(read_json(service.closed))
    containers = {**service.containers(), **(service.containers("ray") if ports else {})}
    if containers:
        run("docker", "stop", "-t", str(STOP_TIMEOUT), *containers)
        # Compose ends with its container. Told to end at that very moment, it crashes (seen with 2.26).
        begin = time.monotonic()
        while main and (proc / main).exists() and time.monotonic() - begin < COMPOSE_TIMEOUT:
            time.sleep(0.1)
    if ports:
        closed_ports.reopen(ports, run)
        remove(service.closed)
    return 0


def forget(service: Service) -> int:
    service.forget()
    rc, _out, error = run("systemctl", "reset-failed", f"{service.name}.service")
    if rc and "not loaded" not in error:
        say(ERROR, error.strip())
        return rc
    return 0


def run(*command: str) -> tuple[int, str, str]:
    """A program that may be missing, and may not hang."""
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, text=True, errors="replace", timeout=STOP_TIMEOUT + 30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, "", str(error)
    return done.returncode, done.stdout, done.stderr


VERBS: dict[str, t.Callable[[Service], int]] = {"allow": allow, "prepare": prepare, "stop": stop, "forget": forget}


def main(argv: t.Sequence[str]) -> int:
    if len(argv) != 4 or argv[1] not in VERBS:
        print(f"usage: guard {'|'.join(VERBS)} SERVICE HOME", file=sys.stderr)
        return 2
    return VERBS[argv[1]](Service(Path(argv[3]), argv[2]))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
