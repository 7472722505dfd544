# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a log shows by its structure alone: what was relayed, cut off, or switched on, whatever collected it."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.diagnose import diagnose
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.lines import undressed
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from ansible_collections.dgxspark.vllm.tests.unit.plugins.module_utils.test__vllm_tracebacks import (
    ENGINE,
    WRAPPER,
    cause,
    trace,
)

RELAYED = trace("KeyError: 'getpwuid(): uid not found: 1042'")


@pytest.mark.parametrize("relay", ["RuntimeError: Error raised in subprocess:", 'foo.RemoteError: \n"""'])
def test_a_traceback_in_the_text_of_an_exception_is_its_cause(relay: str) -> None:
    text = trace(relay) + RELAYED
    assert cause("".join(f"{ENGINE}{line}\n" for line in text.splitlines()) + WRAPPER)[0] == "uid_without_name"


def test_a_traceback_after_an_exception_is_none_of_it() -> None:
    first = trace("torch.OutOfMemoryError: CUDA out of memory.", ENGINE, "EngineCore failed to start.")
    assert cause(first + trace("ValueError: another one", ENGINE) + WRAPPER)[0] == "cuda_oom"


def test_what_cpp_says_at_its_end_is_an_exception() -> None:
    log = (
        "terminate called after throwing an instance of 'c10::Error'\n"
        "  what():  CUDA error: an illegal memory access was encountered\n"
        "(EngineCore pid=1) ERROR 07-23 11:20:36 [multiproc_executor.py:283] Worker proc W-0 died unexpectedly\n"
    )
    assert cause(log + WRAPPER) == ("illegal_access", "what(): CUDA error: an illegal memory access was encountered")
    assert cause(log.replace("CUDA error: an illegal memory access was encountered", "std::bad_alloc"))[0] == "host_oom"


def test_frames_whose_header_was_cut_off() -> None:
    log = trace("AssertionError: foo", ENGINE, path="/x/dist-packages/vllm/v1/spec_decode/eagle.py") + WRAPPER
    found = parse(log.split("\n", 1)[1]).cause
    assert found is not None
    assert (found.evidence, found.certain) == ("AssertionError: foo", False)
    assert "raised in vllm/v1/spec_decode/eagle.py (f)" in found.remedy


def test_what_nccl_writes_into_a_traceback_is_no_part_of_it() -> None:
    noise = "spark01:151:290 [0] NCCL INFO Channel 00/02 : 0 1\n"
    log = trace("ValueError: foo", header="EngineCore failed to start.")
    for line in log.splitlines(keepends=True)[1:]:
        assert cause(log.replace(line, line + noise, 1) + WRAPPER)[1] == "ValueError: foo"


def test_frames_of_a_signal_are_no_exception() -> None:
    dump = 'Fatal Python error: Aborted\n\nThread 0x7 (most recent call first):\n  File "/x/y.py", line 1 in w\n'
    assert parse(f"{dump}foo\n{dump}").problems == []


DUMP = (
    "{}:\n"
    '  File "/usr/lib/python3.12/threading.py", line 359 in wait\n  File "/x/vllm/y.py", line 12 in work\n\n'
    "Extension modules: numpy._core._multiarray_umath, torch._C (total: 2)\n"
)
NOISE = "spark01:151:290 [0] NCCL INFO Channel 00/02 : 0 1\n"


@pytest.mark.parametrize("noise", ["", NOISE])
@pytest.mark.parametrize(
    "head", ["Current thread 0x7f (most recent call first)", "Thread 0x7f [pt_main] (foo first)", ""]
)
@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (
            "not started: 100.0 GiB of memory are needed, 20.0 GiB are available after 9 s; most is held by x",
            "start_memory",
        ),
        (
            "/usr/bin/ld: cannot find -lcuda: No such file\nninja: build stopped: subcommand failed.",
            "linker_library",
        ),
        ("vllm serve: error: unrecognized arguments: --foo", "bad_flag"),
    ],
)
def test_what_follows_the_frames_of_a_signal_is_read(head: str, after: str, expected: str, noise: str) -> None:
    dump = DUMP.format(head).replace("  File", f"{noise}  File")
    assert cause(f"{dump}{after}\n")[0] == expected
    other = DUMP.format("Stack (most recent call first)").replace(" in ", ", in ")
    assert cause(f"{other}{after}\n")[0] == expected
    cut_off = dump.partition(":\n")[2]
    assert cause(f"{cut_off}{after}\n")[0] == expected
    assert cause(trace("ValueError: foo").replace("    g()\n", f"    g()\n{dump}"))[1] == "ValueError: foo"


REQUEST = trace(
    "ValueError: too long", "(APIServer pid=1) ERROR 12-02 10:00:00 [serving.py:1] ", "Error in preprocessing"
)
ORDERLY = "(APIServer pid=1) INFO:     Shutting down\n(APIServer pid=1) INFO:     Application shutdown complete.\n"


def test_a_server_whose_start_was_cut_off() -> None:
    answered = '(APIServer pid=1) INFO:     192.0.2.9:5 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
    loggers = "(APIServer pid=1) INFO 12-02 10:00:00 [loggers.py:271] Engine 000: Avg prompt throughput: 0.0 tokens/s\n"
    for serves in (answered, loggers):
        assert diagnose(REQUEST + serves)["verdict"] == "ready"
    assert diagnose(REQUEST + ORDERLY, exit_code=0)["cause"]["id"] == "stopped"
    dead = trace("AttributeError: foo", ENGINE, "EngineCore encountered a fatal error.")
    died = "(APIServer pid=1) ERROR 12-02 10:00:00 [async_llm.py:1] AsyncLLM output_handler failed.\n"
    assert diagnose(REQUEST + dead + died, exit_code=0)["cause"]["id"] == "engine_dead"
    # a start that is seen is judged as one
    banner = "(APIServer pid=1) INFO 12-02 09:00:00 [x.py:1] vLLM API server version 0.24.0\n"
    assert diagnose(banner + REQUEST + ORDERLY, exit_code=1)["phase"] == "container"


INIT = "(EngineCore pid=1) INFO 12-02 09:00:00 [core.py:1] init engine (profile, create kv cache) took 9.00 s\n"
THROUGHPUT = "(APIServer pid=1) INFO 12-02 10:00:00 [loggers.py:1] Engine 000: Avg prompt throughput: 0.0 tokens/s\n"
ACCESS = '(APIServer pid=1) INFO:     192.0.2.9:5 - "GET /health HTTP/1.1" 200 OK\n'


def test_an_engine_that_dies_before_it_serves() -> None:
    dead = trace("AttributeError: foo", ENGINE, "EngineCore encountered a fatal error.")
    died = "(APIServer pid=1) ERROR 12-02 10:00:00 [async_llm.py:1] AsyncLLM output_handler failed.\n"
    found = diagnose(INIT + dead + died, exit_code=1)["cause"]
    assert (found["id"], found["evidence"]) == ("vllm_fault", "AttributeError: foo")
    assert "while it served" not in found["meaning"]
    found = diagnose(INIT + ACCESS + dead + died, exit_code=1)["cause"]
    assert (found["id"], found["evidence"]) == ("engine_dead", "AttributeError: foo")
    assert "while it served" in found["meaning"]


@pytest.mark.parametrize("serves", [THROUGHPUT, ACCESS])
def test_a_server_whose_own_log_is_off_has_survived_its_start(serves: str) -> None:
    lora = "(APIServer pid=1) ERROR 12-02 09:00:01 [serving_models.py:1] Failed to load LoRA adapter foo\n"
    survived = trace("PermissionError: [Errno 13] Permission denied: '/x'", ENGINE) + lora + INIT
    assert diagnose(survived, exit_code=1)["cause"]["id"] != "exited_after_ready"
    assert diagnose(survived + serves, exit_code=1)["cause"]["id"] == "exited_after_ready"
    assert diagnose(survived + serves)["verdict"] == "ready"


CONFIG = "(EngineCore pid=1) INFO 12-02 09:00:00 [core.py:1] Initializing a V1 LLM engine (v0.24.0) with config: {}\n"
ARGUMENTS = "(APIServer pid=1) INFO 12-02 09:00:00 [api_utils.py:240] non-default args: {{'model': 'x', {}}}\n"


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ("speculative_config=SpeculativeConfig(method='mtp')", "drop speculative_config"),
        ("'speculative_config': {'method': 'mtp'}", "drop speculative_config"),
        ("kv_transfer_config=KVTransferConfig(kv_connector='x')", "remove kv_transfer_config"),
        ("'speculative_config': SpeculativeConfig(method='mtp')", "drop speculative_config"),
        ("'kv_transfer_config': KVTransferConfig(kv_connector='x')", "remove kv_transfer_config"),
        ("'kv_offloading_size': 32.0", "remove kv_transfer_config"),
        ("speculative_config=None, kv_transfer_config=None", ""),
        ("'kv_offloading_size': None, 'kv_transfer_config': None", ""),
    ],
)
def test_a_part_that_the_start_used_is_the_first_suspect(config: str, advice: str) -> None:
    fault = trace("AssertionError", ENGINE, "EngineCore failed to start.") + WRAPPER
    for line in (CONFIG, ARGUMENTS):
        found = parse(line.format(config) + fault).cause
        assert found is not None
        assert ("because this start used" in found.remedy) == bool(advice)
        assert found.remedy.startswith(advice or "No signature")
    known = parse(CONFIG.format(config) + fault.replace("AssertionError", "torch.OutOfMemoryError: x")).cause
    assert known is not None
    assert "this start used" not in known.remedy


@pytest.mark.parametrize("before", ["", INIT + ACCESS, "INFO:     Application startup complete.\n"])
def test_a_request_switches_no_part_on(before: str) -> None:
    quoted = (
        'INFO 12-02 10:00:00 [logger.py:1] Received request x: prompt: \'non-default args: {"kv_offloading_size": 1}'
    )
    quoted += (
        ', Initializing a V1 LLM engine (v0.24.0) with config: "speculative_config": {"method": 1}\', params: {}\n'
    )
    assert parse(before + quoted).uses == set()


def test_what_was_about_to_be_processed_tells_the_options_too() -> None:
    dumped = CONFIG.replace("INFO", "ERROR").replace("Initializing a", "Dumping input data for")
    ready = "INFO:     Application startup complete.\n"
    assert parse(ready + dumped.format("speculative_config=SpeculativeConfig(x)")).uses == {"speculative decoding"}


@pytest.mark.parametrize("serves", ["", "(APIServer pid=1) INFO:     Application startup complete.\n"])
def test_a_crash_without_a_word_suspects_the_part_that_the_start_used(serves: str) -> None:
    config = CONFIG.format("speculative_config=SpeculativeConfig(method='mtp')")
    found = diagnose(config + serves, exit_code=139)["cause"]
    assert found["id"] == "crashed"
    assert found["remedy"].startswith("drop speculative_config from vllm_extra_args first, because this start used")
    assert "because this start used" not in diagnose(CONFIG + serves, exit_code=139)["cause"]["remedy"]
    assert "because this start used" not in diagnose(config + serves, exit_code=137)["cause"]["remedy"]


def test_a_prefix_that_nobody_knows() -> None:
    log = trace("ValueError: foo", ENGINE, "EngineCore failed to start.") + WRAPPER
    for prefix in ("<14> gpu7 => ", "\t", "2026/11/28-06:12:07.5 [vllm] "):
        assert undressed("".join(f"{prefix}{line}\n" for line in log.splitlines())) == log
    some = log.replace(ENGINE, f"x {ENGINE}", 1)  # not of most lines
    assert undressed(some) == some
    assert undressed("foo bar\nfoo baz\n") == "foo bar\nfoo baz\n"


THREAD = (
    "Exception in thread Thread-1 (_report_usage_worker):\nTraceback (most recent call last):\n"
    '  File "/x/vllm/usage/usage_lib.py", line 245, in _report_usage_once\n    os.makedirs(folder)\n'
    "PermissionError: [Errno 13] Permission denied: '/.config/vllm'\n"
)


def test_what_follows_the_exception_of_a_thread_is_no_part_of_it() -> None:
    """Without a process in front of them, an exception's text and another program's lines look alike."""
    for line, expected in (
        ("vllm: error: unrecognized arguments: --foo 1", "bad_flag"),
        ("OpenBLAS blas_thread_init: pthread_create failed for thread 9 of 20: Try again", "thread_limit"),
    ):
        assert diagnose(f"{THREAD}{line}\n", exit_code=1)["cause"]["id"] == expected


@pytest.mark.parametrize("before", [THREAD, "Retrying in 8s [Retry 5/5].\n"])
def test_a_traceback_after_something_survived_is_not_survived_too(before: str) -> None:
    log = (
        'Traceback (most recent call last):\n  File "/x/vllm/__init__.py", line 3, in <module>\n    import torch\n'
        "RuntimeError: operator torchvision::nms does not exist\n"
    )
    assert diagnose(before + log, exit_code=1)["cause"]["id"] == "ops_missing"


def test_a_frame_may_lack_its_source() -> None:
    log = (
        'Traceback (most recent call last):\n  File "/x/triton/compiler/compiler.py", line 3, in _init_handles\n'
        "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 150000, Hardware limit: 101376"
    )
    assert diagnose(log, exit_code=1)["cause"]["id"] == "triton_resources"


@pytest.mark.parametrize(
    ("second", "told"),
    [("RuntimeError: the worker could not be set up", "TypeError"), ("ValueError: Invalid foo backend", "ValueError")],
)
def test_a_general_exception_hides_what_it_was_raised_in_place_of(second: str, told: str) -> None:
    kernel = '  File "/x/dist-packages/flashinfer/gemm.py", line 3, in f\n    g()\n'
    log = (
        f"Traceback (most recent call last):\n{kernel}TypeError: foo got 3 of 4\n\nDuring handling of the above"
        ' exception, another exception occurred:\n\nTraceback (most recent call last):\n  File "/x/vllm/v1/worker/'
        f'worker_base.py", line 3, in f\n    raise x\n{second}\n'
    )
    assert diagnose(log, exit_code=1)["cause"]["evidence"].startswith(told)


def test_a_process_whose_parent_is_gone_explains_nothing() -> None:
    log = (
        'Traceback (most recent call last):\n  File "/usr/lib/python3.12/multiprocessing/synchronize.py", line 115, in'
        " __setstate__\n    self._semlock = _multiprocessing.SemLock._rebuild(*state)\n"
        "FileNotFoundError: [Errno 2] No such file or directory\n"
    )
    assert diagnose(log, exit_code=1)["cause"]["id"] == "parent_gone"
    first = trace("TypeError: foo")
    for both in (f"{log}\n{first}", f"{first}\n{log}"):
        assert diagnose(both, exit_code=1)["cause"]["evidence"] == "TypeError: foo"


def test_a_part_that_the_text_names_is_switched_off_first() -> None:
    log = (
        'Traceback (most recent call last):\n  File "/x/vllm/v1/core/sched/scheduler.py", line 3, in f\n    g()\n'
        "AssertionError: External KV connector is not verified yet\n"
    )
    remedy = diagnose(log, exit_code=1)["cause"]["remedy"]
    assert remedy.startswith("remove kv_transfer_config and kv_offloading_size from vllm_extra_args first, because the")


def test_an_error_that_was_gone_around_is_no_cause() -> None:
    """It says so itself, in the same line."""
    line = "(EngineCore pid=12) ERROR 01-28 06:36:45 [deep_gemm.py:77] DeepGEMM is not available, falling back to it\n"
    failed = ENGINE + "EngineCore failed to start.\n" + trace("TypeError: foo", ENGINE) + WRAPPER
    assert diagnose(line + failed)["cause"]["evidence"] == "TypeError: foo"
    assert diagnose(line, exit_code=1)["cause"]["id"] == "exited"


@pytest.mark.parametrize("worker", [ENGINE.replace("EngineCore", "Worker_TP0"), ""])
def test_what_a_worker_died_of_counts_more_than_what_was_logged_before(worker: str) -> None:
    """On several hosts the log of a head has only the quote."""
    before = trace("PermissionError: [Errno 13] Permission denied: '/x'", ENGINE.replace("pid=12", "pid=13"))
    quote = (
        "RuntimeError: Worker failed with error 'CUDA out of memory. Tried to allocate 2 GiB', please check the stack"
    )
    log = before + (
        trace("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", worker) if worker else ""
    )
    log += ENGINE + "EngineCore failed to start.\n" + trace(f"{quote} trace above for the root cause", ENGINE) + WRAPPER
    cause = diagnose(log)["cause"]
    assert (cause["id"], cause["evidence"].startswith("torch")) == ("cuda_oom", bool(worker))


@pytest.mark.parametrize(("code", "expected"), [("-9", "engine_killed"), ("-11", "engine_crashed")])
def test_what_cleans_up_after_the_end_of_the_engine_is_no_cause(code: str, expected: str) -> None:
    end = WRAPPER.strip().removeprefix("(APIServer pid=1) ") + f" Failed core proc(s): {{'EngineCore': {code}}}"
    during = "\nDuring handling of the above exception, another exception occurred:\n\n"
    log = trace(end) + during + trace("AttributeError: 'NoneType' object has no attribute 'shutdown'")
    assert diagnose(log, exit_code=1)["cause"]["id"] == expected


ANSWER = '(APIServer pid=1) INFO:     192.0.2.7:51002 - "POST /v1/completions HTTP/1.1" 200 OK\n'
STARTED = "(APIServer pid=1) INFO:     Application startup complete.\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("RPC call to sample_tokens timed out.", "rpc_timeout"),  # no engine survives that
        ("Failed to advance FSM for request chatcmpl-1 for tokens 198.", "engine_dead"),
    ],
)
def test_another_stream_is_answered_while_the_engine_dies(said: str, expected: str) -> None:
    dead = "(APIServer pid=1) ERROR 03-14 09:21:07 [async_llm.py:701] vllm.v1.engine.exceptions.EngineDeadError: foo\n"
    log = f"{STARTED}{ENGINE}{said}\n{ANSWER}{dead}"
    assert diagnose(log, exit_code=0)["cause"]["id"] == expected


def test_a_head_whose_worker_lost_the_group_is_failed() -> None:
    """Its API runs on. A fault of what one request asked for is none of the group."""
    worker = ENGINE.replace("EngineCore", "Worker_TP0")
    head = f"{STARTED}{worker}WorkerProc hit an exception.\n"
    lost = head + trace("RuntimeError: NCCL error: remote process exited or there was a network error", worker)
    assert diagnose(lost)["cause"]["id"] == "nccl_peer_lost"
    request = head + trace("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", worker)
    logged = STARTED + trace("RuntimeError: NCCL error: remote process exited", worker)
    for served in (request, logged):
        assert diagnose(served)["verdict"] == "ready"


@pytest.mark.parametrize(
    ("end", "answered", "expected"),
    [
        ("Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.", True, "worker_killed"),
        ("vllm.v1.engine.exceptions.EngineDeadError: foo", True, "engine_dead"),
        ("vllm.v1.engine.exceptions.EngineDeadError: foo", False, "lora_rank"),  # nothing shows that it was survived
    ],
)
def test_what_the_engine_got_over_is_not_what_it_died_of(end: str, answered: bool, expected: str) -> None:
    refused = trace("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", ENGINE)
    log = f"{STARTED}{ENGINE}Invocation of add_lora method failed\n{refused}{ANSWER * answered}"
    dead = f"(APIServer pid=1) ERROR 03-14 09:21:07 [core_client.py:700] {end}\n"
    assert diagnose(log + dead, exit_code=0)["cause"]["id"] == expected
    fatal = trace(
        "IndexError: list index", ENGINE.replace("core.py:", "core.py:1"), "EngineCore encountered a fatal error."
    )
    assert diagnose(log + fatal + ANSWER + dead, exit_code=0)["cause"]["evidence"] == "IndexError: list index"


def test_a_short_quote_is_of_no_other_exception() -> None:
    before = trace("ValueError: layer 10 is odd", ENGINE)
    quote = "RuntimeError: Worker failed with error '1', please check the stack trace above for the root cause"
    log = before + ENGINE + "EngineCore failed to start.\n" + trace(quote, ENGINE) + WRAPPER
    assert "layer 10" not in diagnose(log)["cause"]["evidence"]


LORA = "LoRA rank 64 is greater than max_lora_rank 16."


@pytest.mark.parametrize(("died", "serves"), [("failed to start.", ""), ("encountered a fatal error.", STARTED)])
@pytest.mark.parametrize(("quoted", "certain"), [("1", False), ("", False), (LORA, True)])
def test_what_was_logged_before_a_quote_of_something_else_is_no_fact(
    quoted: str, certain: bool, died: str, serves: str
) -> None:
    quote = f"RuntimeError: Worker failed with error '{quoted}', please check the stack trace above for the root cause"
    engine = ENGINE.replace("core.py:", "core.py:1")
    log = serves + trace(f"ValueError: {LORA}", ENGINE) + trace(quote, engine, f"EngineCore {died}")
    found = diagnose(log, exit_code=1)["cause"]
    assert (found["id"], found["certain"]) == ("lora_rank", certain)
    assert ("may be its reason" in found["meaning"]) is not certain
    assert certain or not (found["change"] or found["sets"])
