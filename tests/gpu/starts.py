# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts `vllm serve` many times in little time: one process imports vLLM, each start is a fork of it.

A start of its own needs a minute for imports alone. Everything after them is as ever: the API server, its engine
process, the log. The next server is started while the last one still has the GPU, and waits (a file
lock in Worker.init_device) until that one is gone and its memory is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "fork",  # `vllm serve` would start its engine anew
    # packages that are left out of the pieces
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_USE_DEEP_GEMM": "0",
}
IMPORTED = (
    "vllm.entrypoints.cli.main",
    "vllm.entrypoints.cli.serve",
    "vllm.entrypoints.cli.benchmark.main",
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.worker.gpu_worker",
    "vllm.v1.worker.gpu_model_runner",
    "vllm.v1.worker.gpu.model_runner",
    "vllm.benchmarks.serve",
)
MODELS = Path("/tmp/models")
GPU = os.environ.get("CUDA_VISIBLE_DEVICES") or "0"  # a second GPU can serve a second run of a script
LOCK = Path(f"/tmp/gpu{GPU}.lock")
FREE = 1536  # MiB in use on a GPU that nobody uses
KV_SIZE = re.compile(r"Maximum concurrency for")
READY = re.compile(r"Application startup complete")
OVER = 20  # seconds until a killed server must be gone


# What sees in shapes.py, all of one family: its words by token, and what makes patches of pictures
PICTURES = {11: "<|image_pad|>", 12: "<|video_pad|>", 13: "<|vision_start|>", 14: "<|vision_end|>"}
_PATCHES = {
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
PROCESSORS: dict[str, dict[str, t.Any]] = {
    "preprocessor_config.json": {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    },
    "video_preprocessor_config.json": {
        "video_processor_type": "Qwen3VLVideoProcessor",
        "size": {"longest_edge": 25165824, "shortest_edge": 4096},
    },
}


def log(*words: object) -> None:
    print(f"[{time.strftime('%H:%M:%S')}]", *words, flush=True)


def used_mib() -> int:
    """Memory in use on the GPU."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", GPU]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return int(found) if found.isdigit() else 0


def wait_for_free(seconds: float = OVER) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if used_mib() < FREE:
            return True
        time.sleep(0.2)
    return False


def make_model(name: str, config: dict[str, t.Any]) -> Path:
    """A folder with a shape, no weights, and a tokenizer with one word for each token."""
    from tokenizers import Tokenizer, models, pre_tokenizers  # type: ignore[import-not-found]
    from transformers import PreTrainedTokenizerFast  # type: ignore[import-not-found]

    folder = MODELS / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    words = int((config.get("text_config") or config)["vocab_size"])
    shared = MODELS / f"words-{words}"
    if not shared.exists():
        inner = Tokenizer(models.WordLevel({PICTURES.get(n, f"t{n}"): n for n in range(words)}, unk_token="t0"))
        inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        fast = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="t0", bos_token="t1", eos_token="t2")
        fast.add_special_tokens({"additional_special_tokens": list(PICTURES.values())})
        fast.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
        fast.save_pretrained(str(shared))
    if "vision_config" in config:
        for file, values in PROCESSORS.items():
            (folder / file).write_text(json.dumps({"processor_class": "Qwen3VLProcessor", **_PATCHES, **values}))
    for path in shared.iterdir():
        with contextlib.suppress(FileExistsError):
            os.link(path, folder / path.name)
    return folder


def _after_the_last_one(inner: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    @functools.wraps(inner)
    def init_device(self: t.Any) -> t.Any:
        if os.environ.get("WAIT_FOR_GPU"):
            lock = os.open(LOCK, os.O_RDWR | os.O_CREAT)
            fcntl.flock(lock, fcntl.LOCK_EX)  # until this process ends
            wait_for_free()
        return inner(self)

    return init_device


def _in_a_fork(answer: t.Callable[[], t.Any]) -> t.Any:
    """vLLM looks at a model's class in a process of its own, which would import everything again."""
    import cloudpickle  # type: ignore[import-not-found]

    end, start = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(end)
            with os.fdopen(start, "wb") as file:
                file.write(cloudpickle.dumps(answer()))
            code = 0
        finally:
            os._exit(code)
    os.close(start)
    with os.fdopen(end, "rb") as file:
        found = file.read()
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("Error raised in subprocess")
    return cloudpickle.loads(found)


def _import_of_linear_attention() -> None:
    """Its module asks the GPU when it is imported, and vLLM spawns an engine of a process that has touched the GPU."""
    import torch  # type: ignore[import-not-found, unused-ignore]
    import triton  # type: ignore[import-not-found, unused-ignore]

    class Hopper:
        utils: t.Any = None

        def get_current_target(self) -> t.Any:
            return types.SimpleNamespace(backend="cuda", arch=90, warp_size=32)

        def get_device_properties(self, _number: int) -> dict[str, int]:
            return {"max_shared_mem": 232448}

    hopper = Hopper()
    hopper.utils = hopper
    kept = torch.cuda.get_device_name
    try:
        triton.runtime.driver.set_active(hopper)
        torch.cuda.get_device_name = lambda *_words: "NVIDIA H200"
        importlib.import_module("vllm.third_party.flash_linear_attention.ops")
    except Exception as error:
        log("linear attention:", type(error).__name__, error)
    finally:
        torch.cuda.get_device_name = kept
        triton.runtime.driver._active = None  # which one there is, each process asks itself
    log("CUDA is initialized:", torch.cuda.is_initialized())


def import_vllm() -> None:
    os.environ.update(ENVIRONMENT)
    begin = time.monotonic()
    for name in IMPORTED:
        try:
            importlib.import_module(name)
        except Exception as error:
            log("not imported:", name, type(error).__name__, error)
    _import_of_linear_attention()
    from vllm.model_executor.models import registry  # type: ignore[import-not-found, unused-ignore]
    from vllm.v1.worker.gpu_worker import Worker  # type: ignore[import-not-found, unused-ignore]

    registry._run_in_subprocess = _in_a_fork
    Worker.init_device = _after_the_last_one(Worker.init_device)
    log(f"vLLM imported in {time.monotonic() - begin:.0f} s")


def become_vllm(argv: list[str], output: int, errors: int, inside: t.Callable[[], None] | None = None) -> t.NoReturn:
    """What a fork does from here on: the command `vllm`, with its exit code, and nothing of the parent's end."""
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(errors, 2)
        if inside:
            inside()
        os.chdir(MODELS)
        sys.argv = argv
        from vllm.entrypoints.cli.main import main  # type: ignore[import-not-found, unused-ignore]

        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Server:
    """One `vllm serve`: a process group of its own and a log."""

    port = 8100 + 100 * int(GPU)

    def __init__(
        self,
        name: str,
        log_file: Path,
        words: t.Sequence[str],
        environment: t.Mapping[str, str] | None = None,
        waits: bool = True,
        command: str = "serve",
        inside: t.Callable[[], None] | None = None,
    ) -> None:
        """INSIDE is called in the new process, before vLLM. WORDS that name the format of the weights are complete."""
        Server.port += 1
        self.name, self.log_file, self.port = name, log_file, Server.port
        if "--port" in words:
            self.port = int(words[list(words).index("--port") + 1])
        self.words, self.begin = list(words), time.monotonic()
        self.code: int | None = None
        argv = ["vllm", command, *words]
        if command == "serve" and "--load-format" not in words:
            argv += ["--load-format", "dummy", *([] if "--port" in words else ["--port", str(self.port)])]
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(argv, {**(environment or {}), **({"WAIT_FOR_GPU": "1"} if waits else {})}, inside)

    def _child(self, argv: list[str], environment: dict[str, str], inside: t.Callable[[], None] | None) -> t.NoReturn:
        os.setsid()
        file = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.environ.update(environment)
        become_vllm(argv, file, file, inside)

    def text(self) -> str:
        try:
            return self.log_file.read_text(errors="replace")
        except OSError:
            return ""

    def running(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None

    def wait(self, mark: re.Pattern[str], seconds: float, pause: float = 0.1) -> str:
        """ "seen", "ended" or "late"."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if mark.search(self.text()):
                return "seen"
            if not self.running():
                return "seen" if mark.search(self.text()) else "ended"
            time.sleep(pause)
        return "late"

    def wait_for_end(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self.running() and time.monotonic() < end:
            time.sleep(0.1)
        return not self.running()

    def name_of_model(self) -> str:
        return self.words[0]

    def engine(self) -> int:
        """The engine's process, as the log names it."""
        found = re.search(r"\(EngineCore pid=(\d+)\)", self.text())
        return int(found[1]) if found else 0

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        engine = self.engine()
        if engine:
            with contextlib.suppress(ProcessLookupError):
                os.kill(engine, signal.SIGKILL)
        self.wait_for_end(OVER)

    def get(self, path: str, body: dict[str, t.Any] | None = None, seconds: float = 10) -> tuple[int, str]:
        """Status and text; 0 if there is no answer."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (OSError, ValueError) as error:
            return 0, f"{type(error).__name__}: {error}"


class Hog:
    """Another process with memory of the GPU. It takes what it is told to, with plain allocations."""

    SCRIPT = """
import sys, torch
held = []
torch.zeros(1, device="cuda"); print("up", flush=True)
for line in sys.stdin:
    mib = int(line)
    if mib == 0:
        held.clear(); torch.cuda.empty_cache(); print("gave", flush=True); continue
    if mib < 0:  # all but so much
        mib = torch.cuda.mem_get_info()[0] // 2**20 + mib
    try:
        held.append(torch.empty(mib * 2**20, dtype=torch.uint8, device="cuda")); print("took", mib, flush=True)
    except Exception as error:
        print("failed", error, flush=True)
"""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", self.SCRIPT], stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def take(self, mib: int) -> str:
        """MIB; with a negative number all but so much; with 0 it gives back what it has."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{mib}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def as_words(args: t.Mapping[str, t.Any]) -> list[str]:
    """Options of `vllm serve` by name, as its command line has them."""
    words = []
    for name, value in args.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is False:
            words.append(f"--no-{option[2:]}")
        elif value is not None:
            words += [option, json.dumps(value) if isinstance(value, (dict, list)) else str(value)]
    return words
