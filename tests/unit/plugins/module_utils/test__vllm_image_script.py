# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in an image, on small packages with the module names of three generations of vLLM, noisy as the real one.

The journey `default` runs it in an image with a real vLLM 0.32.
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import image_probe

ARGPARSE = "import argparse\nclass FlexibleArgumentParser(argparse.ArgumentParser):\n    pass\n"
PLATFORMS = "class Platform:\n    device_type = ''\ncurrent_platform = Platform()\n"
SERVE = """
import argparse, os, sys
from vllm.platforms import current_platform
assert current_platform.device_type, "Failed to infer device type"
assert sys.argv == ["vllm", "serve"]
print("INFO: noise from Python")
os.write(1, b"noise from C\\n")

class Serve:
    def subparser_init(self, subparsers):
        parser = subparsers.add_parser("serve")
        parser.add_argument("model_tag", nargs="?")
        parser.add_argument("--port", type=int)
        parser.add_argument("--nnodes", "-n", type=int)
        parser.add_argument("--headless", action="store_true")
        parser.add_argument("--served-model-name", nargs="+")
        parser.add_argument("--compilation-config", "-O", nargs="?")
        parser.add_argument("--enable-prefix-caching", action=argparse.BooleanOptionalAction)
        return parser

def cmd_init():
    return [Serve()]
"""
EAGER = "class {}Manager:\n    {} = {{'b': 1, 'a': 2}}\n"
LAZY = EAGER + "    lazy_parsers = {{'c': 3}}\n"
TOOLS, REASONING = ("ToolParser", "tool_parsers"), ("ReasoningParser", "reasoning_parsers")
COMMON = {
    "vllm/__init__.py": "__version__ = '0.10.1.1+381074ae.nv25.09'\n",
    "vllm/platforms/__init__.py": PLATFORMS,
    "vllm/platforms/cpu.py": "class CpuPlatform:\n    device_type = 'cpu'\n",
    "vllm/entrypoints/cli/serve.py": SERVE,
    "vllm/plugins.py": "def load_general_plugins():\n    raise RuntimeError('no GPU')\n",
    "vllm/model_executor/models/registry.py": (
        "class ModelRegistry:\n    @staticmethod\n"
        "    def get_supported_archs():\n        return {'B': 1, 'A': 2}.keys()\n"
    ),
    "torch/__init__.py": "from torch import version\n__version__ = '2.8.0'\n",
    "torch/version.py": "cuda = '13.0'\n",
    "torch/cuda/nccl.py": "def version():\n    return (2, 27, 7)\n",
    "transformers.py": "class LlamaForCausalLM: pass\nclass BertModel: pass\nclass Trainer: pass\n",
    "ray-2.49.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: ray\nVersion: 2.49.0\n",
}
GENERATIONS: dict[str, dict[str, str]] = {
    "0.10": {
        "vllm/utils/__init__.py": ARGPARSE,
        "vllm/entrypoints/openai/tool_parsers/__init__.py": EAGER.format(*TOOLS),
        "vllm/reasoning/__init__.py": EAGER.format(*REASONING),
    },
    "0.11.1": {
        "vllm/utils/argparse_utils.py": ARGPARSE,
        "vllm/entrypoints/openai/tool_parsers/__init__.py": LAZY.format(*TOOLS),
        "vllm/reasoning/__init__.py": LAZY.format(*REASONING),
    },
    "0.13": {
        "vllm/utils/argparse_utils.py": ARGPARSE,
        "vllm/tool_parsers/__init__.py": LAZY.format(*TOOLS),
        "vllm/reasoning/__init__.py": LAZY.format(*REASONING),
    },
}
Asked = tuple[dict[str, t.Any], str]


def ask(folder: Path, files: t.Mapping[str, str]) -> Asked:
    """The answer as the module reads it, and what was logged."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-S", "-"],
        input=image_probe.script(),
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answer = image_probe.read_answer(run.stdout)
    assert answer is not None, run.stdout
    return answer, run.stderr


@pytest.mark.parametrize("generation", GENERATIONS)
def test_three_generations(tmp_path: Path, generation: str) -> None:
    answer, logged = ask(tmp_path, {**COMMON, **GENERATIONS[generation]})
    parsers = ["a", "b"] if generation == "0.10" else ["a", "b", "c"]
    assert answer == {
        "vllm": "0.10.1.1+381074ae.nv25.09",
        "torch": "2.8.0",
        "cuda": "13.0",
        "nccl": "2.27.7",
        "ray": "2.49.0",
        "architectures": ["A", "B"],
        "transformers_architectures": ["BertModel", "LlamaForCausalLM"],
        "options": [
            {"name": "compilation-config", "kind": "value", "bare": True},
            {"name": "enable-prefix-caching", "kind": "flag", "negatable": True},
            {"name": "headless", "kind": "flag"},
            {"name": "nnodes", "kind": "value"},
            {"name": "port", "kind": "value"},
            {"name": "served-model-name", "kind": "value"},
        ],
        "multi_node": True,
        "tool_parsers": parsers,
        "reasoning_parsers": parsers,
        "errors": {},
    }
    assert "noise from Python" in logged
    assert "noise from C" in logged


def test_what_fails_costs_one_field(tmp_path: Path) -> None:
    broken = {
        "torch/cuda/nccl.py": "raise RuntimeError('no\\nlibrary')\n",
        "vllm/reasoning/__init__.py": "import sys\nsys.exit(3)\n",
        "torch/version.py": "cuda = '13.0'\n",
    }
    answer, _logged = ask(tmp_path, {**COMMON, **GENERATIONS["0.13"], **broken})
    assert (answer["nccl"], answer["reasoning_parsers"]) == (None, None)
    assert answer["errors"] == {"nccl": "RuntimeError: no library", "reasoning_parsers": "SystemExit: 3"}
    assert (answer["vllm"], answer["architectures"]) == ("0.10.1.1+381074ae.nv25.09", ["A", "B"])


def test_an_image_without_vllm(tmp_path: Path) -> None:
    answer, _logged = ask(tmp_path, {})
    assert [name for name in (*image_probe.VERSIONS, *image_probe.NAMES, "options") if answer[name]] == []
    assert set(answer["errors"]) == {*image_probe.VERSIONS, *image_probe.NAMES, "options"} - {"ray"}
    assert "No module named 'vllm'" in json.dumps(answer["errors"])
