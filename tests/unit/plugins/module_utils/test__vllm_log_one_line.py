# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single lines of a log: harmless ones, hints, what can be computed from one, and which error counts."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.signatures import HARMLESS
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from recorded_logs import read

# One line at least for every entry of HARMLESS, and some more.
HARMLESS_LINES = [
    "Error with model error=ErrorInfo(message='CUDA out of memory', type='BadRequestError', param=None, code=400)",
    "NVRM: Xid (PCI:000f:01:00): 31, CUDA error: an illegal memory access was encountered",
    "(EngineCore pid=7) INFO 11-23 09:33:36 [gpu_worker.py:500] Free memory on device (101.2/119.7 GiB) on startup."
    " Desired GPU memory utilization is (0.9, 107.73 GiB). Replace gpu_memory_utilization config with"
    " `--kv-cache-memory=102005473280` (95.0 GiB) to fit into requested memory.",
    "(EngineCore pid=7) INFO 11-23 09:33:36 [gpu_worker.py:500] Free memory on device (101.2/119.7 GiB) on startup."
    " Desired GPU memory utilization is (0.9, 107.73 GiB). Actual usage is 8.8 GiB for weight.",
    "WARNING: Found GPU0 NVIDIA GB10 which is of cuda capability 12.1.",
    "    Maximum cuda capability supported is 12.0.",
    "(APIServer pid=9) WARNING 11-23 09:32:52 [system_utils.py:255] Found ulimit of 20000 and failed to automatically"
    " increase. This can cause fd limit errors like `OSError: [Errno 24] Too many open files`.",
    "FutureWarning: `torch.distributed.reduce_op` is deprecated, please use `torch.distributed.ReduceOp` instead",
    "NVRM: nvCheckOkFailedNoLog: Check failed: Out of memory [NV_ERR_NO_MEMORY]",
    "'[Errno -2] Name or service not known' thrown while requesting HEAD https://hub/x/resolve/main/config.json",
    "(EngineCore pid=7) WARNING 11-23 09:33:36 [x.py:1] CUDA out of memory, trying less",
    "(APIServer pid=9) INFO 11-23 09:33:36 [logger.py:40] Received request: prompt: 'CUDA out of memory', params",
    '  File "/usr/lib/python3/dist-packages/vllm/x.py", line 3, in y\n    raise RuntimeError("Error Internal")',
    "[W1128 06:12:54.074576393 socket.cpp:207] [c10d] The hostname of the client socket cannot be retrieved. err=-3",
    "SymmMemCommunicator: symmetric memory initialization failed: out of memory. Communicator is not available.",
    "resource_tracker: There appear to be 1 leaked shared_memory objects to clean up at shutdown",
    "[AutoTuner]: Skipping tactic 3 due to failure: CUDA error: an illegal instruction was encountered",
    "UserWarning: Not enough free disk space to download the file. The expected file size is: 41.94 MB.",
]


@pytest.mark.parametrize("line", HARMLESS_LINES)
def test_harmless_line(line: str) -> None:
    state = parse(line)
    assert not state.failed
    assert state.cause is None


def test_every_harmless_entry_has_a_line() -> None:
    text = "\n".join(HARMLESS_LINES).lower()
    assert [entry.id for entry in HARMLESS if not any(literal in text for literal in entry.literals)] == []


def test_the_hub_is_asked_again_and_that_is_a_hint() -> None:
    lines = read("netdown.log").splitlines()
    last = next(number for number, line in enumerate(lines) if "[Retry 3/5]" in line)
    state = parse("\n".join(lines[: last + 1]))
    assert state.hint is not None
    assert (state.hint.signature.id, state.hint.groups) == ("hub_retry", {"number": "3", "of": "5"})
    assert (state.failed, state.cause) == (False, None)


SILENT = (
    "Error while downloading from http://hub/x/model-00002-of-00002.safetensors: timed out\n"
    "Trying to resume download...\n"
)


def test_a_hub_that_stops_sending_is_a_hint_and_then_the_cause() -> None:
    state = parse(SILENT * 3)
    assert state.hint is not None
    assert (state.hint.signature.id, state.failed, state.cause) == ("hf_silent", False, None)
    state = parse(SILENT * 5 + "TimeoutError: timed out\nRuntimeError: Engine core initialization failed.\n")
    assert state.cause is not None
    assert (state.failed, state.cause.id) == (True, "hf_silent")
    assert "model-00002-of-00002" in state.cause.evidence
    later = (
        "INFO 11-23 09:33:36 [x.py:1] Starting to load model x...\nRuntimeError: Engine core initialization failed.\n"
    )
    state = parse(SILENT + later)
    assert state.cause is not None
    assert state.cause.id == "engine_init_generic"


def test_a_hint_is_over_when_the_start_goes_on() -> None:
    waits = "Retrying in 8s [Retry 4/5].\n"
    assert parse(waits).hint is not None
    assert parse(waits + "INFO 11-23 09:33:36 [x.py:1] Starting to load model x...").hint is None


CHANGES = [
    (
        "ValueError: Free memory on device (98.7/119.7 GiB) on startup is less than desired GPU memory utilization"
        " (0.9, 107.73 GiB).",
        {"vllm_gpu_memory_utilization": 0.81},
        "set vllm_gpu_memory_utilization to 0.81: 98.7 of 119.7 GiB were free",
    ),
    (
        "ValueError: Free memory on device (0.9/119.7 GiB) on startup is less than desired GPU memory utilization"
        " (0.9, 107.73 GiB).",
        {},
        "what fits after stopping what uses the memory",
    ),
    (
        "ValueError: To serve at least one request with the models's max seq len (32768), (4.50 GiB KV cache is needed,"
        " which is larger than the available KV cache memory (1.20 GiB). Based on the available memory, the estimated"
        " maximum model length is 8736.",
        {"vllm_max_model_len": 8464},
        "set vllm_max_model_len to 8464: 1.20 of 4.50 GiB were there",
    ),
    (
        "ValueError: To serve at least one request with the models's max seq len (32768), (4.50 GiB KV cache is needed,"
        " which is larger than the available KV cache memory (0.00 GiB). Based on the available memory, the estimated"
        " maximum model length is 0.",
        {},
        "set vllm_max_model_len to less than 32768",
    ),
    (
        "ValueError: To serve at least one request with the models's max seq len (32768), (4.50 GiB KV cache is needed,"
        " which is larger than the available KV cache memory (0.01 GiB). Based on the available memory, the estimated"
        " maximum model length is 16.",
        {},
        "set vllm_max_model_len to less than 32768",
    ),
    ("torch.OutOfMemoryError: CUDA out of memory.", {}, "lower vllm_gpu_memory_utilization"),
]


@pytest.mark.parametrize(("line", "change", "words"), CHANGES)
def test_what_can_be_computed_is_a_change(line: str, change: dict[str, float], words: str) -> None:
    cause = parse(line).cause
    assert cause is not None
    assert cause.change == change
    assert words in cause.remedy
    assert cause.link == f"docs/troubleshooting.md#{cause.id}"


def test_long_evidence_says_that_it_was_cut() -> None:
    cause = parse("RuntimeError: CUDA out of memory " + "x" * 999).cause
    assert cause is not None
    assert len(cause.evidence) == 300
    assert cause.evidence.endswith("x…")


def test_lock_is_a_hint_and_no_cause() -> None:
    state = parse("WARNING 11-23 09:33:36 [x.py:1] Still waiting to acquire lock on /opt/hf/.locks/a.lock")
    assert state.hint is not None
    assert state.hint.groups == {"path": "/opt/hf/.locks/a.lock"}
    assert (state.failed, state.cause) == (False, None)


def test_first_specific_line_wins_over_later_ones_and_wrappers() -> None:
    cause = parse("EngineCore failed to start.\nRuntimeError: Error Internal\ntorch.OutOfMemoryError: x").cause
    assert cause is not None
    assert cause.id == "cutlass_internal"


def test_unknown_error_is_shown_as_it_is() -> None:
    state = parse("WorkerProc failed to start.\nTraceback (most recent call last):\nFooError: bar is 3\n")
    assert state.failed
    assert state.cause is not None
    assert (state.cause.id, state.cause.evidence) == ("engine_init_generic", "FooError: bar is 3")
    cause = parse("Traceback (most recent call last):\nFooError: bar is 3\n").cause
    assert cause is not None
    assert (cause.id, cause.evidence, cause.certain) == ("unknown_exception", "FooError: bar is 3", False)


def test_unknown_error_whose_text_begins_in_the_next_line() -> None:
    cause = parse("RuntimeError: \n        An attempt has been made.\n        More.\n").cause
    assert cause is not None
    assert cause.evidence == "RuntimeError: An attempt has been made."
