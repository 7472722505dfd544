# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs inside of an image: its own vLLM says what it can. Needs no GPU, no network and no model.

The container gets the text of this file on stdin (image_probe.py), so it stands on its own: the standard library, and
vLLM 0.10 or newer on the image's own Python. One field that cannot be had is null, and does not cost the others.

stdout: one JSON mapping, nothing else. "errors" has the line of the exception for each field that is null for one.
    {"vllm": "0.32.0", "torch": "2.13.0", "cuda": "13.0", "nccl": "2.29.7", "ray": null, "architectures": [...],
     "transformers_architectures": [...], "options": [{"name": "max-model-len", "kind": "value"}, ...],
     "tool_parsers": [...], "reasoning_parsers": [...], "errors": {"nccl": "RuntimeError: ..."}}
An option is described as in the folder catalog/vllm_options of the collection.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import re
import sys
import typing as t

# Names of model classes, of all that transformers exports.
_MODEL_CLASS = re.compile(r"[A-Z]\w*(For[A-Z]\w*|LMHeadModel|Model)")
# Where the parsers of tool calls are, the newest place first; 0.10 to 0.12 have the second.
_TOOL_PARSERS = ("vllm.tool_parsers", "vllm.entrypoints.openai.tool_parsers")


def vllm_version() -> str:
    return str(importlib.import_module("vllm").__version__)


def torch_version() -> str:
    return str(importlib.import_module("torch").__version__)


def cuda_version() -> str | None:
    """None: torch was built without CUDA."""
    return t.cast("str | None", importlib.import_module("torch").version.cuda)


def nccl_version() -> str | None:
    """Of the library that torch loads. None: torch was built without CUDA."""
    if cuda_version() is None:
        return None
    found = importlib.import_module("torch.cuda.nccl").version()
    return ".".join(str(number) for number in found) if isinstance(found, tuple) else str(found)


def ray_version() -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("ray")
    return None


def choose_platform() -> None:
    """Where vLLM finds no GPU, that of the CPU: old versions would refuse to make a parser."""
    platforms: t.Any = importlib.import_module("vllm.platforms")
    if not platforms.current_platform.device_type:
        platforms.current_platform = importlib.import_module("vllm.platforms.cpu").CpuPlatform()


def architectures() -> list[str]:
    """Those of vLLM, and of the plugins in the image."""
    choose_platform()
    with contextlib.suppress(Exception):  # a plugin that cannot be loaded here, such as one that asks for a GPU
        importlib.import_module("vllm.plugins").load_general_plugins()
    registry = importlib.import_module("vllm.model_executor.models.registry").ModelRegistry
    return sorted(registry.get_supported_archs())


def transformers_architectures() -> list[str]:
    """Of a model that vLLM does not name, transformers may have the code."""
    return sorted(name for name in dir(importlib.import_module("transformers")) if _MODEL_CLASS.fullmatch(name))


def options() -> list[dict[str, t.Any]]:
    """What `vllm serve` takes, by its own parser."""
    choose_platform()
    (command,) = importlib.import_module("vllm.entrypoints.cli.serve").cmd_init()
    try:
        parsers = importlib.import_module("vllm.utils.argparse_utils")
    except ImportError:  # 0.10
        parsers = importlib.import_module("vllm.utils")
    parser = parsers.FlexibleArgumentParser(prog="vllm")
    subparser = command.subparser_init(parser.add_subparsers(dest="subparser"))
    found: dict[str, dict[str, t.Any]] = {}
    for action in subparser._actions:
        names = [name[2:] for name in action.option_strings if name.startswith("--")]
        positive = [name for name in names if f"no-{name}" in names] or names
        for name in positive:
            entry: dict[str, t.Any] = {"name": name, "kind": "flag" if action.nargs == 0 else "value"}
            if f"no-{name}" in names:
                entry.update(kind="flag", negatable=True)
            elif action.nargs in ("?", "*"):
                entry["bare"] = True
            found[name] = entry
    found.pop("help", None)
    return [found[name] for name in sorted(found)]


def tool_parsers() -> list[str]:
    for place in _TOOL_PARSERS:
        with contextlib.suppress(ModuleNotFoundError):
            return names_of(importlib.import_module(place).ToolParserManager, "tool_parsers")
    raise ImportError(f"no {' or '.join(_TOOL_PARSERS)}")


def reasoning_parsers() -> list[str]:
    return names_of(importlib.import_module("vllm.reasoning").ReasoningParserManager, "reasoning_parsers")


def names_of(manager: t.Any, loaded: str) -> list[str]:
    """Parsers that are loaded, and from 0.11.1 on those that are loaded when somebody asks for them."""
    return sorted({*getattr(manager, loaded), *getattr(manager, "lazy_parsers", {})})


FIELDS: dict[str, t.Callable[[], t.Any]] = {
    "vllm": vllm_version,
    "torch": torch_version,
    "cuda": cuda_version,
    "nccl": nccl_version,
    "ray": ray_version,
    "architectures": architectures,
    "transformers_architectures": transformers_architectures,
    "options": options,
    "tool_parsers": tool_parsers,
    "reasoning_parsers": reasoning_parsers,
}


def ask(fields: t.Mapping[str, t.Callable[[], t.Any]]) -> dict[str, t.Any]:
    answer: dict[str, t.Any] = {}
    errors: dict[str, str] = {}
    for name, read in fields.items():
        try:
            answer[name] = read()
        except (Exception, SystemExit) as error:  # whatever somebody else's code raises while it is imported
            answer[name] = None
            errors[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return {**answer, "errors": errors}


def main() -> int:
    # vLLM logs to stdout, also from C: what it writes goes to stderr
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.argv = ["vllm", "serve"]  # vLLM looks at it while it makes the parser
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    json.dump(ask(FIELDS), stream)
    stream.write("\n")
    stream.close()
    sys.stdout.flush()
    os._exit(0)  # threads of an engine's libraries may not end


if __name__ == "__main__":
    main()
