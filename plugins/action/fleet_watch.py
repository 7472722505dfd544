# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the table of the fleet again and again. The documentation stands in plugins/modules/fleet_watch.py.

Each host has a process of its own, which asks it and writes the answer into a folder of this run; the process of the
first host also draws. So a host that hangs delays no other one, and its row says for how long it has.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
import typing as t

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import terminal
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.screen import is_wanted_on_screen
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet import build
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet_table import WIDTH
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.live import ASKED, Line, frame

State = dict[str, t.Any]

FINISH = 2.0  # seconds
# A host is late if its answer took so many intervals.
LATE = 3
COLORS = {"ready": None, "waiting": None, ASKED: None, "loading": C.COLOR_CHANGED}

display = Display()


class ActionModule(ActionBase):
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: State | None = None) -> State:
        result: State = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _validation, args = self.validate_argument_spec(
            {
                "hosts": {"type": "list", "elements": "str", "required": True},
                "check": {"type": "dict", "default": {}},
                "problem": {"type": "str", "default": ""},
                "wanted": {"type": "dict", "default": {}},
                "interval": {"type": "float", "default": 5.0},
                "count": {"type": "int", "default": 0},
            }
        )
        args = plain(args)
        check_settings(args["interval"], args["count"], len(task_vars["ansible_play_hosts_all"]))
        result.update(changed=False)
        if not args["hosts"]:
            return result
        board = Board(os.path.join(C.DEFAULT_LOCAL_TMP, "fleet_watch"), args["hosts"])
        mine, first = task_vars["inventory_hostname"], task_vars["ansible_play_hosts"][0]
        painter = Painter(board, args["interval"]) if mine == first else None
        if painter:
            painter.start()
            finish_the_picture_first(painter)
        rounds = 0
        while not args["count"] or rounds < args["count"]:
            begin = time.monotonic()
            answer = {"health": {"msg": args["problem"]}} if args["problem"] else self._look(args["check"], task_vars)
            rounds += 1
            is_last = rounds == args["count"]
            board.write(mine, {**answer, "wanted": args["wanted"], "is_last": is_last})
            if not is_last:
                time.sleep(max(0.0, begin + args["interval"] - time.monotonic()))
        if painter:
            painter.end()
        result["rounds"] = rounds
        return result

    def _look(self, check: State, task_vars: State) -> State:
        try:
            health = self._module("vllm_health", check, task_vars)
            spark = self._module("spark_info", {}, task_vars)
        except AnsibleConnectionFailure as error:
            self._reset_connection()
            return {"health": {"unreachable": True, "msg": str(error)}}
        return {"health": health, "spark": spark.get("spark")}

    def _module(self, name: str, options: State, task_vars: State) -> State:
        found: State = self._execute_module(
            module_name=f"dgxspark.vllm.{name}", module_args=options, task_vars=task_vars
        )
        return found

    def _reset_connection(self) -> None:
        try:
            self._connection.reset()
        except Exception as error:  # not every connection can be reset, and a dead one may refuse
            display.vvv(f"fleet_watch: cannot reset the connection: {error}")


def check_settings(interval: float, count: int, hosts: int) -> None:
    """Refuses what could not be drawn, before a host is asked."""
    if interval < 1:
        raise AnsibleActionFail(f"interval: {interval} is not allowed; use at least 1 second")
    if count < 0:
        raise AnsibleActionFail(f"count: {count} is not allowed; use 0 for no end, or a number of rounds")
    forks = context.CLIARGS.get("forks") or C.DEFAULT_FORKS
    if forks < hosts:
        raise AnsibleActionFail(
            f"forks: {forks} is less than the {hosts} hosts that are watched, and each needs one; use --forks {hosts},"
            " or set forks in ansible.cfg"
        )
    if not is_wanted_on_screen():
        raise AnsibleActionFail(
            "the live view needs a terminal; for programs use playbooks/health.yml with vllm_health_file, and else a"
            " callback that shows text, with display_ok_hosts"
        )


class Board:
    """The last answer of each host, in files of a folder that only this user can read, and that ends with the run."""

    def __init__(self, folder: str, hosts: t.Sequence[str]) -> None:
        self.folder = folder
        self.hosts = hosts
        self.begin = time.monotonic()
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def write(self, host: str, state: State) -> None:
        path = self._path(host)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump({**state, "at": time.monotonic()}, file, default=str)
        os.replace(f"{path}.new", path)

    def read(self, host: str) -> State:
        try:
            with open(self._path(host), encoding="utf-8") as file:
                found: State = json.load(file)
                return found
        except FileNotFoundError:  # not yet
            return {}

    def report(self) -> State:
        states = {host: self.read(host) for host in self.hosts}
        parts = ("health", "spark", "wanted")
        health, spark, wanted = ({host: state.get(part) for host, state in states.items()} for part in parts)
        asked = {"verdict": ASKED}
        return build(self.hosts, {host: health[host] or asked for host in self.hosts}, spark, wanted, time.time())

    def waited(self, longest: float) -> dict[str, float]:
        """Seconds since the last answer of hosts that have not answered for longer than that, and should have."""
        now = time.monotonic()
        states = {host: self.read(host) for host in self.hosts}
        since = {host: now - state.get("at", self.begin) for host, state in states.items() if not state.get("is_last")}
        return {host: seconds for host, seconds in since.items() if seconds > longest}

    def _path(self, host: str) -> str:
        return os.path.join(self.folder, hashlib.sha256(host.encode("utf-8", "surrogatepass")).hexdigest())


class Painter(threading.Thread):
    """Draws until it is ended: on a terminal every second in the same place, else one table for each interval."""

    def __init__(self, board: Board, interval: float) -> None:
        super().__init__(daemon=True)
        self._board, self._interval = board, interval
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(1.0 if terminal.size() else self._interval):
            self.draw()

    def end(self) -> None:
        self.stop()
        self.draw()

    def stop(self, timeout: float | None = None) -> None:
        self._ended.set()
        self.join(timeout)

    def draw(self) -> None:
        size = terminal.size()
        width, height = (size.columns - 1, size.lines - 1) if size else (WIDTH, None)
        title = f"{time.strftime('%H:%M:%S')}, every {self._interval:g} s; Ctrl-C ends it"
        waited = self._board.waited(LATE * self._interval)
        lines = [colored(line) for line in frame(self._board.report(), waited, title, width, height)]
        text = terminal.redrawn(lines) if size else "\n".join([*lines, ""])
        display.display(text, screen_only=True, newline=not size)


def finish_the_picture_first(painter: Painter) -> None:
    """Whoever ends in the midst of a picture takes the lock of Ansible's queue with it, and Ctrl-C ends nothing."""
    before: dict[int, t.Any] = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}

    def obey(signum: int, _frame: t.Any) -> None:
        for each in before:  # Ansible sends more than one
            signal.signal(each, signal.SIG_IGN)
        painter.stop(timeout=FINISH)
        signal.signal(signum, before[signum])
        os.kill(os.getpid(), signum)

    for signum in before:
        signal.signal(signum, obey)


def colored(line: Line) -> str:
    color = COLORS.get(line.verdict, C.COLOR_ERROR) if line.verdict else None
    return stringc(line.text, color) if color else line.text
