# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at a vLLM service that runs: a frozen engine is restarted, a busy one never. Runs on the host by a timer.

Of hosts that serve one model together, each also looks at its connections to the others. One that has lost them cannot
go on: it is restarted, and meets the others again.

python3 -B /usr/local/lib/dgxspark/SERVICE watchdog SERVICE HOME [--off]

The look is the one of the module vllm_health: one generated token. It also tells guard.py that a start was answered.
"""

from __future__ import annotations

import contextlib
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.docker import parse_inspect
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.peers import (
    OPEN,
    SILENT,
    Peers,
    ends,
    missing,
    peers_of,
    reach,
    read_connections,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.services import holds
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import (
    Canary,
    dotenv_value,
    parse_metrics,
    request,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.proof import prove
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import (
    ERROR,
    NOTICE,
    Service,
    State,
    boot_of,
    read_json,
    run,
    say,
    write_json,
)

# Seconds for a token, and looks without one until the engine counts as frozen; keys of release.json.
CANARY_TIMEOUT = 30
FROZEN_AFTER = 3
# Restarts in so many seconds; after that it only says what it sees.
MOST_RESTARTS = 3
RESTARTS_WITHIN = 2 * 3600
# Looks from one report to the next.
REPORT_EVERY = 60
# A group of hosts is looked at more often. Seconds from one token to the next, as of a single host; the key
# canary_every of release.json.
CANARY_EVERY = 55
# Seconds that a worker is connected until its start counts as answered: the model is loaded after that.
LINKED_FOR = 600
# Seconds that a worker may take to connect to a head that listens. One whose head was started again before a look
# found it connected waits for ever, and so does that head.
CONNECTS_WITHIN = 300
# Seconds from the first to the last look that found the head out of reach: its own watchdog needs longer to restart it
# for want of a token; the key cut_for of release.json.
CUT_FOR = 90
# Seconds without a container until Compose counts as hung: seen to outlive what it started (docker/compose#13985).
CONTAINER_WITHIN = 120


def look(url: str, model: str, key: str | None, timeout: float) -> tuple[Canary, State | None]:
    """The canary; and, only if it gave no token, what the engine counts by now."""
    canary = prove(url, model, timeout, key)
    if canary.completion is not None:
        return canary, None
    page = parse_metrics(request(f"{url}/metrics", CANARY_TIMEOUT, key).body)  # a busy server is slow here, too
    return canary, page.values if page else None


def judge(canary: Canary, metrics: State | None, before: State | None, was_ready: bool) -> str:
    """answers, refuses (no token, but an answer), loads, works (the engine moved since the last look), or silent."""
    if canary.completion is not None:
        return "answers"
    if canary.status is not None:
        return "refuses"
    if canary.error != "timeout" and not was_ready:  # a server that loads takes no connection
        return "loads"
    if before is not None and metrics is not None and before != metrics:
        return "works"
    return "silent"


def follow(state: State, verdict: str, metrics: State | None, now: float, frozen_after: int) -> tuple[State, str]:
    """The state after this look, and what to do: nothing, restart or report. Times are seconds since the boot."""
    restarts = [when for when in state.get("restarts", []) if now - when < RESTARTS_WITHIN]
    silent = state.get("silent", 0) + 1 if verdict == "silent" else 0
    new: State = {"silent": silent, "metrics": metrics, "restarts": restarts, "boot": state.get("boot", "")}
    if silent < frozen_after:
        return new, "nothing"
    if len(restarts) < MOST_RESTARTS:
        return {**new, "silent": 0, "metrics": None, "restarts": [*restarts, now]}, "restart"
    return new, "report" if (silent - frozen_after) % REPORT_EVERY == 0 else "nothing"


def in_this_boot(state: State, boot: str) -> State:
    """Restarts before this boot count as if they were at its beginning: how long ago they were, nobody knows."""
    if state.get("boot") == boot:
        return state
    return {**state, "boot": boot, "restarts": [0.0 for _when in state.get("restarts", [])], "absent": None}


def link(service: Service, peers: Peers, container: str, now: float, boot: str) -> tuple[State, list[str]]:
    """What is known of the connections of this container, and the addresses that it was connected with and lost.

    Only who was seen with all of them can lose one: a rank that starts has yet to meet the others.
    """
    state = read_json(service.link)
    # Compose starts the same container again
    start = run("docker", "inspect", "--type", "container", "--format", "{{.State.StartedAt}}", "--", container)[1]
    if (state.get("boot"), state.get("start")) != (boot, f"{container} {start.strip()}"):
        state = {"boot": boot, "start": f"{container} {start.strip()}", "linked": False, "since": now}
    seen = read_connections()
    now_has, had = ends(peers, seen), state.get("ends") or []
    if not had and not missing(peers, seen):
        state = {**state, "linked": True, "since": now, "ends": now_has}
    # a worker that was started again may have a new one; its head cannot use it
    kept = {end[0] for end in had if end in now_has}
    lost = sorted({end[0] for end in had} - kept)
    if lost:
        state = {**state, "linked": False}
    with contextlib.suppress(OSError):
        write_json(service.link, state)
    return state, lost


def restart(service: Service, reason: str) -> None:
    say(ERROR, f"{reason}; restarting")
    # nothing of a unit that is being stopped meanwhile: a restart would cancel that
    run("systemctl", "--no-block", "try-restart", f"{service.name}.service")


def is_hung(service: Service, containers: t.Collection[str], now: float, boot: str) -> bool:
    """Whether the unit is active without a container, and has been for longer than Compose takes to start one."""
    state = in_this_boot(read_json(service.watchdog), boot)
    before, absent, hangs = state.get("absent"), None, False
    # a Docker that does not answer says nothing of containers, and an image that is not there is being pulled
    if not containers and run("docker", "image", "inspect", "--", str(service.parameters.get("image")))[0] == 0:
        start = run("systemctl", "show", "--property=InvocationID", "--value", f"{service.name}.service")[1].strip()
        since = before["since"] if before and before["start"] == start else now
        hangs = now - since >= CONTAINER_WITHIN
        absent = {"start": start, "since": since}
    if absent != before:
        with contextlib.suppress(OSError):
            write_json(service.watchdog, {**state, "absent": absent})
    return hangs


def loss(peers: Peers, state: State, lost: t.Sequence[str], answer: str, now: float, cut_for: float) -> str:
    """Why this worker cannot serve any more, by its connection and by what the head's port answers; or empty."""
    head = f"the head {peers.head}"
    if lost:
        return f"no connection to {head} any more"
    first, last = state.get("silent") or (now, now)
    if answer != SILENT and state["linked"] and last - first >= cut_for:
        # a connection that no one uses outlives the process at its other end, if no packet told of its end
        return f"{head} could not be reached for {last - first:.0f} s, and may have been restarted meanwhile"
    if answer == OPEN and not state["linked"] and now - state["since"] >= CONNECTS_WITHIN:
        return f"no connection to {head}, which listens"
    return ""


def watch_worker(
    service: Service, peers: Peers, containers: t.Mapping[str, str], now: float, boot: str, is_on: bool
) -> None:
    """It has no API: what counts is its connection to the head, whose own watchdog asks for tokens."""
    state, lost = link(service, peers, min(containers), now, boot)
    answer = reach(peers.head, peers.port)
    reason = loss(peers, state, lost, answer, now, float(service.parameters.get("cut_for", CUT_FOR)))
    first = (state.get("silent") or [now])[0]
    silent = [first, now] if answer == SILENT else None  # the first and the last look of a row
    verdict = "silent" if reason else "answers" if state["linked"] else "loads"
    with contextlib.suppress(OSError):
        if silent != state.get("silent"):  # link() has written the rest
            write_json(service.link, {**state, "silent": silent})
        running = sorted(set(containers.values()))
        write_json(service.look, {"verdict": verdict, "time": now, "boot": boot, "running": running})
    if state["linked"] and now - state["since"] >= LINKED_FOR:
        service.answered()
    if reason and is_on:
        restart(service, f"peer lost: {reason}")


def watch(service: Service, now: float, boot: str = "", is_on: bool = True) -> None:
    """NOW is in seconds since BOOT: no clock that is set meanwhile makes it forget a restart, or keep one."""
    parameters = service.parameters
    was_ready = not service.is_unanswered()
    peers = peers_of(parameters)
    is_worker = peers is not None and peers.rank > 0
    if "url" not in parameters or (was_ready and not is_on and not is_worker) or not is_active(service):
        return
    containers = service.containers()
    # that of Ray runs before the one with the API, until all hosts have joined
    any_container = containers or (service.containers("ray") if parameters.get("closed_ports") else {})
    if is_hung(service, any_container, now, boot) and is_on:
        restart(service, f"no container for {CONTAINER_WITHIN} s, though the unit is active: Compose hangs")
    if not containers:
        return
    if peers and is_worker:
        watch_worker(service, peers, containers, now, boot, is_on)
        return
    lost = link(service, peers, min(containers), now, boot)[1] if peers else []
    if not holds_port(containers, parameters["url"]):
        return  # it loads, or is between two starts; and who else listens there is not asked, and gets no key
    state = in_this_boot(read_json(service.watchdog), boot)
    every = float(parameters.get("canary_every", CANARY_EVERY))
    if peers and not lost and 0 <= now - state.get("looked", now - every) < every:
        return
    env_file = service.current / str(parameters.get("api_key_file", ".env"))
    key = dotenv_value(env_file.read_text(encoding="utf-8"), "VLLM_API_KEY") if env_file.is_file() else None
    timeout = float(parameters.get("canary_timeout", CANARY_TIMEOUT))
    canary, metrics = look(parameters["url"], parameters["model"], key, timeout)
    running = sorted(set(containers.values()))
    # A deployment was broken off before it started what `current` names: a restart would, and nobody proves it.
    is_another = canary.completion is None and bool(running) and service.release not in running
    verdict = "other" if is_another else judge(canary, metrics, state.get("metrics"), was_ready)
    with contextlib.suppress(OSError):  # for the exporter of the role monitoring
        write_json(service.look, {"verdict": verdict, "time": now, "boot": boot, "running": running})
    if is_another:
        return
    if verdict not in ("loads", "silent"):
        service.answered()
    if not is_on:
        return
    if lost and canary.completion is None:  # a token would prove that nothing is lost
        restart(service, f"peer lost: no connection from {', '.join(lost)} any more, and no token")
        return
    frozen_after = int(parameters.get("frozen_after", FROZEN_AFTER))
    new, action = follow(state, verdict, metrics, now, frozen_after)
    if peers:
        new = {**new, "looked": now}
    if new != state:
        with contextlib.suppress(OSError):  # a full disk is no reason to let it hang
            write_json(service.watchdog, new)
    if verdict in ("silent", "refuses"):
        say(NOTICE, f"no token: {canary.error}")
    if action == "restart":
        restart(service, f"frozen: {frozen_after} looks without a token or any other move of the engine")
    elif action == "report":
        say(
            ERROR,
            f"frozen, and not restarted: {MOST_RESTARTS} restarts within {RESTARTS_WITHIN // 3600} hours did not help;"
            f" look at docker logs, then: sudo systemctl restart {service.name}",
        )


def holds_port(containers: t.Iterable[str], url: str) -> bool:
    address = url.partition("://")[2]
    shown = (run("docker", "inspect", "--type", "container", "--", name)[1] for name in containers)
    return any(holds(parse_inspect(one), address) for one in shown)


def is_active(service: Service) -> bool:
    return run("systemctl", "is-active", "--quiet", f"{service.name}.service")[0] == 0


def main(argv: t.Sequence[str]) -> int:
    if len(argv) < 3 or argv[3:] not in ([], ["--off"]):
        print("usage: watchdog SERVICE HOME [--off]", file=sys.stderr)
        return 2
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    watch(Service(Path(argv[2]), argv[1]), now, boot_of(), is_on=len(argv) == 3)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
