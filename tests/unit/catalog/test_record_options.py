# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder of vLLM's options, on a small source in both of vLLM's styles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TOOL = Path(__file__).resolve().parents[3] / "tools" / "record_options.py"

CONFIG = """
class ModelConfig:
    dtype: Literal["auto", "half"] = "auto"
    enforce_eager: bool = False
    hf_token: Optional[Union[bool, str]] = None
    max_logprobs: int = 20
    runner_type: ClassVar[str] = "x"

class CacheConfig:
    prefix: SkipValidation[Optional[bool]] = None
    share: "float | None" = None

class KernelConfig:
    moe: Annotated[str | None, Field()] = None
    hf_two: bool | str | None = None
"""

ENGINE = """
class EngineArgs:
    def add_cli_args(parser):
        model_kwargs = get_kwargs(ModelConfig)
        group = parser.add_argument_group(title="ModelConfig")
        if not "x":
            group.add_argument("--model", **model_kwargs["dtype"])
        group.add_argument("--dtype", "-d", **model_kwargs["dtype"])
        group.add_argument("--enforce-eager", **model_kwargs["enforce_eager"])
        cache_kwargs = get_kwargs(CacheConfig)
        group.add_argument("--prefix", **cache_kwargs["prefix"])
        group.add_argument("--share", "--portion", dest="share", **{**cache_kwargs["share"], "default": None})
        moe_kwargs = get_kwargs(KernelConfig)["moe"]
        group.add_argument("--moe", **moe_kwargs)
        kernel_kwargs = get_kwargs(KernelConfig)
        group.add_argument("--hf-two", **kernel_kwargs["hf_two"])
        group.add_argument("--hf-token", type=str, nargs="?", const=True)
        parser.add_argument("--disable-log-stats", action="store_true")
        return parser

class AsyncEngineArgs(EngineArgs):
    def add_cli_args(parser):
        parser.add_argument("--enable-log-requests", action=argparse.BooleanOptionalAction)
        return parser
"""

FRONT_END = """
class Base:
    host: str | None = None

class FrontendArgs(Base):
    port: int = 8000
    allow_credentials: bool = False

    def add_cli_args(parser):
        for key, value in kwargs.items():
            group.add_argument(f"--{key}", **value)

def make_arg_parser(parser):
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--headless", action="store_true")
    return parser
"""

HELP = """usage: vllm serve [model_tag] [options]

   --json-arg.key1 value1
options:
  -h, --help            show this
  --headless            Run it (see --not-an-option
                        of another tool).
ModelConfig:
  --model MODEL
  --dtype {auto,half}, -d {auto,half}
  --enforce-eager, --no-enforce-eager
  --prefix, --no-prefix
  --share SHARE, --portion SHARE
  --moe MOE
  --hf-two [HF_TWO]
  --hf-token [HF_TOKEN]
  --disable-log-stats
  --enable-log-requests, --no-enable-log-requests
  --host HOST
  --port PORT
  --allow-credentials, --no-allow-credentials
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, text in (
        ("config/model.py", CONFIG),
        ("engine/arg_utils.py", ENGINE),
        ("entrypoints/openai/cli_args.py", FRONT_END),
    ):
        path = tmp_path / "vllm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_options_are_read_from_the_source(source: Path) -> None:
    done = run(str(source), "1.2.3")
    assert done.returncode == 0, done.stderr
    recorded = yaml.safe_load(done.stdout)
    assert recorded["vllm"] == "1.2.3"
    flag = {"kind": "flag", "negatable": True}
    value = {"kind": "value"}
    assert {option.pop("name"): option for option in recorded["options"]} == {
        "allow-credentials": flag,
        "disable-log-stats": {"kind": "flag"},
        "dtype": value,
        "enable-log-requests": flag,
        "enforce-eager": flag,
        "headless": {"kind": "flag"},
        "hf-token": {"kind": "value", "bare": True},
        "hf-two": {"kind": "value", "bare": True},
        "host": value,
        "model": value,
        "moe": value,
        "port": value,
        "portion": {"kind": "value", "alias_of": "share"},
        "prefix": flag,
        "share": value,
    }


def test_a_help_text_confirms_them(source: Path) -> None:
    text = source / "help.txt"
    text.write_text(HELP, encoding="utf-8")
    done = run(str(source), "1.2.3", "--verify", str(text))
    assert (done.returncode, done.stdout) == (0, "15 options, 0 differences\n")


def test_a_help_text_that_differs(source: Path) -> None:
    text = source / "help.txt"
    text.write_text(HELP.replace(", --no-prefix", "").replace("  --port PORT", "  --ports PORT"), encoding="utf-8")
    done = run(str(source), "1.2.3", "--verify", str(text))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "--port: help None, source False",
        "--ports: help False, source None",
        "--prefix: help False, source True",
        "15 options, 3 differences",
    ]


def test_what_cannot_be_followed_stops_the_recording(source: Path) -> None:
    engine = source / "vllm/engine/arg_utils.py"
    engine.write_text(ENGINE.replace('**model_kwargs["dtype"]', "**mystery"), encoding="utf-8")
    done = run(str(source), "1.2.3")
    assert done.returncode != 0
    assert done.stderr == "record_options: cannot follow **mystery of --dtype\n"
