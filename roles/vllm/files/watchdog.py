# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at a vLLM service that runs: a frozen engine is restarted, a busy one never. Runs on the host by a timer.

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
    return {**state, "boot": boot, "restarts": [0.0 for _when in state.get("restarts", [])]}


def watch(service: Service, now: float, boot: str = "", is_on: bool = True) -> None:
    """NOW is in seconds since BOOT: no clock that is set meanwhile makes it forget a restart, or keep one."""
    parameters = service.parameters
    was_ready = not service.is_unanswered()
    if "url" not in parameters or (was_ready and not is_on) or not is_active(service):
        return
    if not holds_port(service, parameters["url"]):
        return  # it loads, or is between two starts; and who else listens there is not asked, and gets no key
    state = in_this_boot(read_json(service.watchdog), boot)
    env_file = service.current / str(parameters.get("api_key_file", ".env"))
    key = dotenv_value(env_file.read_text(encoding="utf-8"), "VLLM_API_KEY") if env_file.is_file() else None
    timeout = float(parameters.get("canary_timeout", CANARY_TIMEOUT))
    canary, metrics = look(parameters["url"], parameters["model"], key, timeout)
    running = sorted(set(service.containers().values()))
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
    frozen_after = int(parameters.get("frozen_after", FROZEN_AFTER))
    new, action = follow(state, verdict, metrics, now, frozen_after)
    if new != state:
        with contextlib.suppress(OSError):  # a full disk is no reason to let it hang
            write_json(service.watchdog, new)
    if verdict in ("silent", "refuses"):
        say(NOTICE, f"no token: {canary.error}")
    if action == "restart":
        say(ERROR, f"frozen: {frozen_after} looks without a token or any other move of the engine; restarting")
        run("systemctl", "--no-block", "restart", f"{service.name}.service")
    elif action == "report":
        say(
            ERROR,
            f"frozen, and not restarted: {MOST_RESTARTS} restarts within {RESTARTS_WITHIN // 3600} hours did not help;"
            f" look at docker logs, then: sudo systemctl restart {service.name}",
        )


def holds_port(service: Service, url: str) -> bool:
    address = url.partition("://")[2]
    shown = (run("docker", "inspect", "--type", "container", "--", name)[1] for name in service.containers())
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
