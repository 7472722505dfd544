# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins that run in a fork do what they do as programs: each case is run both ways."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.warm_python import Popen

SHOW = "import os, sys; print(sys.argv[1:], os.getcwd(), dict(os.environ).get('SHOWN'), sys.stdin.read())"
NESTED = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, sys.argv[1]]).returncode + 1)"


@pytest.mark.parametrize("limit", [[], ["timeout", "30"]])
@pytest.mark.parametrize(
    "text",
    [
        SHOW,
        "import sys; sys.exit('a reason')",
        "import sys; sys.exit(7)",
        "import sys; print('seen'); sys.exit()",
        "import sys; sys.stdout.buffer.write(bytes(200_000)); sys.stdout.flush(); sys.stderr.write('more')",
        "import os; os._exit(9)",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import beside; print(beside.VALUE)",
        NESTED,
    ],
)
def test_both_ways_are_one(tmp_path: Path, text: str, limit: list[str]) -> None:
    (tmp_path / "imported").mkdir()
    (tmp_path / "imported" / "beside.py").write_text("VALUE = 5\n")
    (tmp_path / "inner.py").write_text("import sys; print('inner', flush=True); sys.exit(2)\n")
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\n{text}\n")
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SHOWN": "x", "PYTHONPATH": f"{tmp_path}/imported"}

    def run(kind: type[subprocess.Popen[bytes]]) -> tuple[int, bytes, bytes]:
        command = [*limit, "program", f"{tmp_path}/inner.py"]
        process = kind(
            command,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, errors = process.communicate(b"input")
        return process.returncode, out, errors

    assert run(Popen) == run(subprocess.Popen)


def test_what_takes_longer_ends(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    program.chmod(0o755)
    assert Popen(["timeout", "1", str(program)]).wait() == 124
