# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/watch.yml in a terminal: one table that is redrawn in its place, until its count or Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from support.paths import BIN, ROOT
from support.playbook import THIS_MACHINE, UNREACHABLE

COLUMNS, ROWS = 100, 24
HOSTS: dict[str, dict[str, t.Any]] = {
    "dead": UNREACHABLE,
    "empty": {"vllm_container_name": "no-such-container-anywhere"},
    "mistyped": {"vllm_model": "qwen3-9b"},
}


@pytest.fixture(name="inventory")
def _inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.yml"
    common = {**THIS_MACHINE, "ansible_become": False, "vllm_watch_interval": 1}
    path.write_text(yaml.safe_dump({"spark": {"hosts": HOSTS, "vars": common}}), encoding="utf-8")
    return path


def in_a_terminal(
    inventory: Path, home: Path, *arguments: str, stop: str = "", timeout: float = 300
) -> tuple[int, str]:
    """Exit code and output of a run whose terminal has COLUMNS and ROWS; Ctrl-C once the output holds STOP."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    process = subprocess.Popen(
        [BIN / "ansible-playbook", "-i", inventory, "playbooks/watch.yml", *arguments],
        cwd=ROOT,
        env={**inherited, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(home), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
    )
    os.close(theirs)
    end, output = time.monotonic() + timeout, b""
    try:
        while time.monotonic() < end:
            if not select.select([mine], [], [], 1)[0]:
                continue
            try:
                output += os.read(mine, 65536)
            except OSError:  # the other side is closed: the run is over
                break
            if stop and re.search(stop, output.decode(errors="replace"), re.DOTALL):
                os.write(mine, b"\x03")
                stop, end = "", time.monotonic() + 20
        if process.poll() is None and time.monotonic() >= end:
            process.kill()
        return process.wait(), output.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(mine)


def frames(output: str) -> list[list[str]]:
    """The lines of each picture."""
    pictures = [part.partition("\x1b[J")[0] for part in output.split("\x1b[H")[1:]]
    return [[re.sub(r"\x1b\[[0-9;]*[mK]", "", line).rstrip("\r") for line in part.split("\n")] for part in pictures]


def verdicts(picture: list[str]) -> dict[str, str]:
    (begin,) = (number for number, line in enumerate(picture) if line.split()[:2] == ["host", "verdict"])
    return dict(line.split()[:2] for line in picture[begin + 1 : picture.index("", begin)])


def test_the_table_is_redrawn_in_its_place(inventory: Path, tmp_path: Path) -> None:
    code, output = in_a_terminal(inventory, tmp_path, "-e", "vllm_watch_count=2")
    assert code == 0, output
    pictures = frames(output)
    assert len(pictures) > 1, output
    for picture in pictures:
        assert len(picture) <= ROWS
        assert max(map(len, picture)) < COLUMNS
        assert list(verdicts(picture)) == list(HOSTS)
    last = verdicts(pictures[-1])
    assert (last["dead"], last["mistyped"]) == ("unreachable", "unknown")
    text = "\n".join(pictures[-1])
    assert "dead | unreachable: the host could not be reached\n    remedy: " in text


def test_ctrl_c_ends_it(inventory: Path, tmp_path: Path) -> None:
    """No more pictures, the terminal as it was, and nobody left who asks."""
    # during a picture as well as between two
    code, output = in_a_terminal(inventory, tmp_path, "-l", "dead", stop="\x1b\\[H.*unreachable")
    assert code == 99, output
    after = output.rpartition("^C")[2]
    assert "User interrupted execution" in after
    assert "\x1b[?" not in output  # neither another screen nor a hidden cursor that would have to come back
