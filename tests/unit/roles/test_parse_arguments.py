# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""files/parse_arguments.py on a small package with the module names of two generations of vLLM, noisy as the real one.

tests/journeys/guide runs it in an image with a real vLLM 0.32.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "vllm" / "files" / "parse_arguments.py"
PARSER = "import argparse\nclass FlexibleArgumentParser(argparse.ArgumentParser):\n    pass\n"
PLATFORMS = "class Platform:\n    device_type = ''\ncurrent_platform = Platform()\n"
CPU = "class CpuPlatform:\n    device_type = 'cpu'\n"
SERVE = """
import sys
from vllm.platforms import current_platform
print("INFO: noise from Python")
assert current_platform.device_type, "Failed to infer device type"
assert sys.argv == ["vllm", "serve"]

class Serve:
    def subparser_init(self, subparsers):
        parser = subparsers.add_parser("serve", usage="vllm serve [model_tag] [options]")
        parser.add_argument("model_tag", nargs="?")
        parser.add_argument("--max-num-seqs", type=int)
        parser.add_argument("--reasoning-parser", default="")
        parser.add_argument("--tool-parser-plugin")
        return parser

    def validate(self, args):
        import os
        os.write(1, b"noise from C\\n")
        if args.max_num_seqs == 13:
            raise TypeError("not\\nthirteen")

def cmd_init():
    return [Serve()]
"""
CHECK = """
def validate_api_server_args(args):
    if args.reasoning_parser == "none":
        raise KeyError("invalid reasoning parser: none")
"""
GENERATIONS = {
    "0.10": {"utils/__init__.py": PARSER, "entrypoints/openai/api_server.py": CHECK},
    "0.32": {"utils/argparse_utils.py": PARSER, "entrypoints/launchers/launcher.py": CHECK},
}
LINES = {
    "a/b --max-num-seqs 8": None,
    "a/b --swap-space 4": "unrecognized arguments: --swap-space 4",
    "a/b --max-num-seqs many": "argument --max-num-seqs: invalid int value: 'many'",
    "a/b --max-num-seqs 13": "not thirteen",
    "a/b --reasoning-parser none": "invalid reasoning parser: none",
    "a/b --reasoning-parser none --tool-parser-plugin mine.py": None,
    "a/b --help": "asks for a text instead of serving",
}


@pytest.fixture(params=GENERATIONS)
def package(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    files = {"platforms/__init__.py": PLATFORMS, "platforms/cpu.py": CPU, "entrypoints/cli/serve.py": SERVE}
    for name, text in {**files, **GENERATIONS[request.param]}.items():
        path = tmp_path / "vllm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("by_file", [False, True])
def test_only_the_answers_reach_stdout(package: Path, by_file: bool) -> None:
    words = json.dumps([line.split() for line in LINES])
    (package / "lines.json").write_text(words, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, str(PROGRAM), *(["lines.json"] if by_file else [])],
        input=None if by_file else words,
        stdin=subprocess.DEVNULL if by_file else None,
        capture_output=True,
        text=True,
        cwd=package,
        env={"PYTHONPATH": str(package), "PATH": ""},
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == list(LINES.values())
    assert "noise from Python" in run.stderr
    assert "noise from C" in run.stderr


def test_without_vllm_there_is_no_answer(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(PROGRAM)],
        input="[]",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert run.returncode != 0
    assert run.stdout == ""
    assert "No module named 'vllm'" in run.stderr
