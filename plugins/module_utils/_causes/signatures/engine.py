# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM itself: faults while it serves, limits of its start, and the lines that only wrap another cause."""

from __future__ import annotations

from ..entries import DOWNLOAD, MEMORY, Signature

# After the place in its code, xgrammar writes the level of a line that ends nothing.
_HEALTHY = r"(?!\S{0,120}: ?(?i:debug|info|warn(?:ing)?):)"

ENGINE: tuple[Signature, ...] = (
    Signature(
        "rpc_timeout",
        "fatal",
        "engine",
        ("rpc call to", "execute_model timed out", "sample_tokens timed out"),
        r"RPC call to (?P<call>\w+) timed out|(?P<call_2>execute_model|sample_tokens) timed out",
        "a worker did not answer {call} within VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS (300 s by default): a"
        " kernel or"
        " an operation between hosts hangs, or the memory is under pressure",
        "with vllm_nodes, look at the other host first: it is frozen, or the connection to it is down. Check `dmesg`"
        " (NVRM, Xid) and `journalctl -u earlyoom`, and deploy again; raise"
        " VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS in vllm_extra_env only if requests are that slow; if it happens again, use"
        " another vllm_image",
        versions="vLLM 0.20 to 0.28 on the GB10",
        known="report",
        source="eugr/spark-vllm-docker#321; public log",
    ),
    Signature(
        "ray_step_timeout",
        "fatal",
        "engine",
        ("raychanneltimeouterror", "ray_cgraph_get_timeout"),
        r"RayChannelTimeoutError|increase RAY_CGRAPH_get_timeout",
        "a worker did not finish a step in time: a kernel or an operation between hosts hangs",
        "look at the other host first: it hangs, or the connection to it is down (`dmesg` there). Set"
        " compilation_config: {{cudagraph_mode: PIECEWISE}} in vllm_extra_args, which helped on the GB10; raise"
        " RAY_CGRAPH_get_timeout in vllm_extra_env only if steps are that slow; if it happens again, use"
        " another vllm_image",
        versions="vLLM 0.15 with Ray on two GB10",
        known="report",
        source="eugr/spark-vllm-docker#35",
    ),
    Signature(
        "grammar",
        "fatal",
        "engine",
        ("grammar", "ebnf", "json_schema_converter", "llguidance", "outlines", "fsm", "/cpp/"),
        rf"(?:grammar_(?:parser|compiler|matcher|functor)|ebnf_\w+|json_schema_converter){_HEALTHY}"
        r"\S*: ?(?P<detail>[^\n]{1,200})"
        r"|EBNF (?:parser|lexer) error[^\n]{0,160}"
        rf"|(?:xgrammar|llguidance|outlines){_HEALTHY}[^\n]{{0,200}}?(?:[Ee]rror|[Ff]ailed)"
        r"|Failed to advance FSM[^\n]{0,120}"
        # xgrammar names the file of its own code that refuses
        rf"|/(?:project|xgrammar)/cpp/{_HEALTHY}[\w/.-]{{1,80}}:\d+: ?(?P<detail_2>[^\n]{{1,200}})",
        "a request with a grammar or schema that vLLM cannot compile ended the engine: a fault of this vLLM",
        "use a newer vllm_image, in which such a request fails alone; until then keep the schema out of requests, or"
        " set"
        " another backend in structured_outputs_config (vllm_extra_args). Memory is not the cause",
        versions="vLLM 0.18 to 0.24, xgrammar 0.1 to 0.2; NGC 26.07",
        known="report",
        source="public log; vllm-project/vllm, structured output",
        unless=r"No module named|cannot import name",
    ),
    Signature(
        "engine_ready_timeout",
        "fatal",
        "engine",
        ("timed out waiting for", "did not respond", "did not start", "failed to start in", "failed to start within"),
        r"Timed out waiting for (?:new )?engines?(?: core processes)? to ?(?:send ?initial message|start)"
        r"|[Ee]ngine(?: core)?[^\n]{0,60}?(?:did not (?:start|respond)|failed to start) (?:in time|within)[^\n]{0,60}",
        "the engine took longer to start than vLLM waits for it",
        "let the download finish first (playbooks/stage.yml), or raise VLLM_ENGINE_READY_TIMEOUT_S in vllm_extra_env",
        versions="vLLM 0.10.1.1 to 0.32",
        known="source",
        source="vllm/v1/engine/utils.py, vllm/v1/engine/core_client.py",
        guide=DOWNLOAD,
    ),
    Signature(
        "frontend_silent",
        "fatal",
        "network",
        ("did not receive response from front-end",),
        r"Did not receive response from front-end process(?:es)? within (?P<minutes>\d+) minutes",
        "the API server, which may run on another host, did not answer this engine for {minutes} minutes",
        "check that the first host of vllm_nodes runs and logs no error of its own; then vllm_node_address and the"
        " firewall; on one host, remove data_parallel_size from vllm_extra_args",
        versions="vLLM 0.9 to 0.32",
        known="source",
        source="vllm/v1/engine/core.py",
    ),
    Signature(
        "dp_coordinator",
        "fatal",
        "engine",
        ("dp coordinator process",),
        r"DP Coordinator process failed to report ZMQ addresses(?:[^\n]{0,40}?within (?P<seconds>\d+) ?s)?",
        "the process that coordinates data_parallel_size did not start in time ({seconds} s): the host was"
        " busy, mostly with"
        " reading the model or the image",
        "deploy again, which reads from the page cache; remove data_parallel_size from vllm_extra_args: a Spark"
        " has one GPU;"
        " or use a newer vllm_image, which waits longer",
        versions="vLLM 0.19 to 0.22",
        known="report",
        source="vllm-project/vllm#42343, #43611",
    ),
    # --- wrappers: the cause is in another line; the most telling first ------------------------------------------
    Signature(
        "parent_gone",
        "fatal",
        "engine",
        ("no such file or directory",),
        r"FileNotFoundError: \[Errno 2\] No such file or directory",
        "a process of vLLM ended while another one that it had started was still starting; this exception only follows"
        " from that",
        "look in the log of the service, and of the other hosts, for what ended first; hosts serve together as"
        " vllm_nodes: without that, vLLM's processes are of one host",
        versions="Python 3.12, vLLM 0.20 on two hosts",
        known="report",
        source="spark-arena/recipe-registry#13",
        frames=r"multiprocessing/synchronize\.py:__setstate__",
    ),
    Signature(
        "engine_killed",
        "wrapper",
        "memory",
        ("failed core proc", "code: -9", "code -9", "sigkill", "signal 9"),
        r"Failed core proc\(s\): \{[^}\n]*: ?-9\b|(?:died|exited|terminated|killed)[^\n]{0,80}?(?:exit ?code:? -9\b"
        r"|SIGKILL|signal"
        r" 9\b)|SIGKILL[^\n]{0,80}?(?:EngineCore|Worker|VLLM)",
        "the engine was killed while it started (-9 is SIGKILL): by the kernel for lack of memory, by earlyoom, or"
        " by hand",
        "check `dmesg` for `out of memory` and `journalctl -u earlyoom`; if one of them names vLLM, lower"
        " vllm_gpu_memory_utilization or stop what else uses the memory",
        versions="vLLM 0.10 to 0.32",
        known="report",
        source="public log",
        guide=MEMORY,
    ),
    Signature(
        "engine_terminated",
        "wrapper",
        "service",
        ("failed core proc", "code: -15", "code -15", "code: -2", "code -2", "signal 15"),
        r"Failed core proc\(s\): \{[^}\n]*: ?-(?:15|2)\b|(?:died|exited"
        r"|terminated)[^\n]{0,80}?(?:exit ?code:? -(?:15|2)\b|signal 15)",
        "the server was told to stop while it started",
        "start it again with playbooks/restart.yml (on the host: `systemctl enable --now UNIT`)",
        versions="vLLM 0.10 to 0.32",
        known="source",
        source="vllm/v1/engine/utils.py",
    ),
    Signature(
        "engine_crashed",
        "wrapper",
        "kernel",
        ("failed core proc", "code: -", "code -", "segmentation fault", "segfault", "sigsegv", "sigabrt"),
        r"Failed core proc\(s\): \{[^}\n]*: ?-(?P<signal>4|6|7|8|11)\b|!+ ?(?:Segfault|Segmentation fault)[^\n]{0,60}"
        r"|Segmentation fault|(?:died|exited)[^\n]{0,80}?(?:exit ?code:? -(?P<signal_2>4|6|7|8|11)\b|SIGSEGV|SIGABRT)",
        "a process of the engine crashed (signal {signal}; 11 is a bad memory access, 6 an abort, 4 an illegal"
        " instruction)",
        "check `dmesg` for Xid lines; try enforce_eager: true, then linear_backend: marlin and moe_backend: marlin in"
        " vllm_extra_args; then another vllm_image",
        versions="vLLM 0.10 to 0.32",
        known="source",
        source="vllm/v1/engine/utils.py",
    ),
    Signature(
        "worker_killed",
        "wrapper",
        "memory",
        ("died unexpectedly", "engine process (pid"),
        r"(?:Worker|Engine core) proc (?P<process>\S+) died unexpectedly"
        r"|Engine process \((?P<process_2>pid \d+)\) died",
        "a process of vLLM ({process}) was killed or crashed",
        "check `dmesg` for `out of memory` and Xid lines, and `journalctl -u earlyoom`; if one of them names vLLM,"
        " lower"
        " vllm_gpu_memory_utilization",
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="sandbox",
    ),
    Signature(
        "engine_dead",
        "wrapper",
        "engine",
        ("enginedeaderror", "enginecore encountered", "engine core exited unexpectedly", "engine loop has died"),
        r"EngineDeadError|EngineCore encountered a(?:n issue| fatal error)|engine core exited unexpectedly"
        r"|engine loop has died",
        "the engine died after the start, and logged no exception: it was killed or crashed",
        "check `dmesg` for `out of memory` and Xid lines, and `journalctl -u earlyoom`; if one of them names vLLM,"
        " lower"
        " vllm_gpu_memory_utilization; the unit starts the server again",
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="sandbox, journey faults; H200 run of vLLM 0.24",
    ),
    Signature(
        "inspect_failed",
        "wrapper",
        "model",
        ("failed to be inspected",),
        r"Model architectures? (?P<architecture>\[.{0,200}?\]) failed to be inspected",
        "vLLM could not import its code for the architecture {architecture}, and the log has no exception that tells"
        " why",
        "set VLLM_LOGGING_LEVEL: DEBUG in vllm_extra_env and deploy again, which shows that exception; then another"
        " vllm_image: a package or compiler that this code needs is missing in this one",
        versions="vLLM 0.8 to 0.33",
        known="report",
        source="vllm/model_executor/models/registry.py",
    ),
    Signature(
        "engine_init_generic",
        "wrapper",
        "unknown",
        (
            "engine core initialization failed",
            "enginecore failed to start",
            "enginecore hit an exception",
            "workerproc failed to start",
            "workerproc initialization failed",
            "engine process failed to start",
        ),
        r"Engine core initialization failed|EngineCore failed to start|EngineCore hit an exception"
        r"|WorkerProc (?:failed to start|initialization failed)|Engine process failed to start",
        "the engine did not start, and the log has no exception that tells why",
        "check the log from its beginning (`docker logs`), `dmesg` and `journalctl -u earlyoom`: a process that is"
        " killed"
        " logs nothing; then try the options of vllm_extra_args and vllm_extra_env one by one, and another vllm_image",
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="sandbox",
    ),
)
