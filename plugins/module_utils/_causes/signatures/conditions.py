# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes that show around the server, and lines that mean nothing."""

from __future__ import annotations

from ..entries import CAPABILITY, DOWNLOAD, MEMORY, Condition, Harmless

CHECK_KERNEL = (
    "check `dmesg` for `out of memory` and `journalctl -u earlyoom`; if one of them names vLLM, lower"
    " vllm_gpu_memory_utilization"
)

HARMLESS: tuple[Harmless, ...] = (
    Harmless(
        "capability_121",
        ("of cuda capability 12.1", "maximum cuda capability supported"),
        "PyTorch lists the GB10 (12.1) as newer than what it was built for (12.0); code for 12.0 runs on it",
        CAPABILITY,
    ),
    Harmless(
        "free_memory_info",
        ("replace gpu_memory_utilization config with",),
        "an INFO line of a healthy start: it says how much memory was free, and begins like the error",
    ),
    Harmless(
        "nvrm",
        ("nvrm:",),
        "the kernel's driver reports allocations that it retried; seen on healthy starts",
    ),
    Harmless("deprecation", ("futurewarning", "deprecationwarning"), "a library announces a change of its own"),
    Harmless("ulimit", ("found ulimit of",), "vLLM would like more open files than the host grants"),
    Harmless(
        "disk_warning",
        ("not enough free disk space to download the file",),
        "a warning before a download; if the disk does fill up, an error follows",
    ),
    Harmless(
        "hub_not_yet",
        ("thrown while requesting", "retrying in ", ", retrying "),
        "the hub did not answer and is asked again; only the last refusal ends the start",
    ),
    Harmless("client_error", ("error with model error=",), "a client sent a request that the server refused"),
    Harmless(
        "socket_name",
        ("the hostname of the client socket cannot be retrieved", "[c10d] the ipv6 network addresses of"),
        "PyTorch could not look up a name that it only logs",
    ),
    Harmless(
        "symm_mem",
        ("symmetric memory initialization failed", "communicator is not available", "custom allreduce is disabled"),
        "a faster way to exchange data is not available on this hardware; vLLM uses another one",
    ),
    Harmless(
        "leaked",
        ("leaked shared_memory objects", "leaked semaphore objects", "destroy_process_group() was not called"),
        "Python cleans up after a process that ended",
    ),
    Harmless(
        "autotune",
        ("skipping tactic", "[autotuner]"),
        "FlashInfer tried a kernel that does not fit, and takes another one",
    ),
)

CONDITIONS: tuple[Condition, ...] = (
    Condition("docker_missing", "Docker is not installed", "run playbooks/prepare.yml", family="docker"),
    Condition(
        "docker_error",
        "Docker cannot tell the state of the container",
        "check `journalctl -u docker` on the host, then `systemctl restart docker`",
        family="docker",
    ),
    Condition(
        "start_error",
        "Docker did not start the container, for a reason that this collection does not know",
        "fix what Docker says (below), check `journalctl -u docker` on the host, and deploy again;"
        " playbooks/prepare.yml"
        " sets Docker and the GPU runtime up",
        family="docker",
    ),
    Condition(
        "unit_failed",
        "the systemd unit could not start the container",
        "check `journalctl -u UNIT` on the host, and deploy again",
    ),
    Condition(
        "gave_up",
        "systemd stopped restarting it after four failures in 30 minutes",
        "deploy again, or run `systemctl reset-failed` and `systemctl start UNIT`",
    ),
    Condition(
        "oom_killed",
        "the kernel killed the container: out of memory",
        "raise vllm_container_memory_gib if it is set, else lower vllm_gpu_memory_utilization, or stop what else uses"
        " the memory",
        MEMORY,
        family="memory",
    ),
    Condition(
        "killed",
        "the server was killed (exit code 137): by the kernel for lack of memory, by earlyoom, or by hand",
        CHECK_KERNEL,
        MEMORY,
        family="memory",
    ),
    Condition(
        "crashed",
        "the server crashed: a signal ended it",
        "check `dmesg` for Xid lines; try enforce_eager: true, then linear_backend: marlin and moe_backend: marlin in"
        " vllm_extra_args; then another vllm_image",
        family="kernel",
    ),
    Condition(
        "stopped",
        "the server was stopped by order, as playbooks/stop.yml, `systemctl stop` and `docker stop` give it",
        "start it again with playbooks/restart.yml (on the host: `systemctl enable --now UNIT`)",
    ),
    Condition(
        "exited_after_ready",
        "the server stopped by itself after it had been ready, and logged no cause",
        "the unit starts it again a few times; check `dmesg` and `journalctl -u earlyoom` for a process that was"
        " killed",
    ),
    Condition(
        "exited",
        "the server stopped before it was ready, and logged no cause",
        "check `dmesg` and `journalctl -u earlyoom` for a process that was killed, and the end of `docker logs`; set"
        " VLLM_LOGGING_LEVEL: DEBUG in vllm_extra_env and deploy again",
    ),
    Condition(
        "peer_lost",
        "another host of vllm_nodes ended, hangs, or cannot be reached: none of them can serve without it",
        "diagnose the other hosts first: run playbooks/health.yml for all of them. The watchdogs restart the unit; to"
        " do so at once, run playbooks/restart.yml for all of them. If none of them ended, check vllm_node_address,"
        " cable and link between them",
        family="network",
    ),
    Condition("paused", "the container is paused", "continue it with `docker unpause`"),
    Condition(
        "engine_unhealthy",
        "/health answers with an error: the engine is dead",
        "deploy again, or restart the unit",
        family="engine",
    ),
    Condition(
        "no_answer",
        "the server logged that it is ready, and does not answer",
        "check the published address and port (vllm_publish_address, vllm_port) and the host's firewall",
    ),
    Condition(
        "key_refused",
        "the server rejects the API key",
        "deploy again, so that the server and the env file have the same vllm_api_key",
    ),
    Condition(
        "key_not_asked",
        "the server answers requests without the API key",
        "deploy again; if that does not help, the vllm_image or an option in vllm_extra_args or vllm_extra_env bypasses"
        " --middleware: use another one",
    ),
    Condition(
        "wrong_model",
        "another model or another service answers on this port",
        "stop the other service, or deploy again",
    ),
    Condition(
        "wrong_max_model_len",
        "the server runs with another context length than asked for",
        "deploy again; a running server does not change its context",
    ),
    Condition(
        "canary_timeout",
        "/health answers, but no token comes: the engine is frozen or overloaded",
        "restart the unit; if the load is high, raise the canary_timeout of this task",
        family="engine",
    ),
    Condition(
        "canary_failed",
        "/health answers, but a completion fails",
        "the answer (below) names the reason; deploy again after fixing it, or restart the unit",
        family="engine",
    ),
    Condition(
        "chat_failed",
        "the server generates text, and refuses a chat request",
        "the answer (below) names the reason; tool calls need enable_auto_tool_choice and tool_call_parser in"
        " vllm_extra_args and a chat template that knows tools (chat_template, with the file in vllm_files)",
        family="option",
    ),
    Condition(
        "tool_parser",
        "the model called a tool, and the server did not recognize it: clients get text in the place of the call",
        "set tool_call_parser in vllm_extra_args to the parser of this model's format; playbooks/probe_image.yml lists"
        " those of the image, and the page of the model on the hub names one",
        family="option",
    ),
    Condition(
        "reasoning_parser",
        "the model's reasoning is left in the text of the answer",
        "set reasoning_parser in vllm_extra_args to the parser of this model's format; playbooks/probe_image.yml lists"
        " those of the image, and the page of the model on the hub names one",
        family="option",
    ),
    Condition(
        "absent",
        "there is no such container",
        "deploy it with playbooks/deploy.yml, or correct vllm_container_name",
    ),
    Condition(
        "waiting",
        "another service of its swap group has its turn on this host",
        "bring this one into service with playbooks/swap.yml, if it is wanted now",
    ),
    Condition(
        "restarting",
        "the server was restarted while it was waited for",
        "check `docker logs` and `journalctl -u UNIT` for who restarted it, and deploy again",
    ),
    Condition(
        "stuck",
        "neither the log nor the downloaded bytes moved",
        "check `docker logs` and `docker top`; raise vllm_stall_timeout if it only needs more time",
        DOWNLOAD,
    ),
    Condition(
        "phase_timeout",
        "a phase of the start took longer than allowed",
        "raise its limit in vllm_phase_timeouts, or check `docker logs` for what takes so long",
    ),
    Condition(
        "other_release",
        "the host serves, but not the model that the inventory wants",
        "bring the wanted one into service with playbooks/deploy.yml; if it was rolled back, that run names the cause",
    ),
    Condition(
        "timeout",
        "the server was not ready in time",
        "raise vllm_start_timeout, or check `docker logs` for what takes so long",
    ),
    # --- the machine: kernel log and sensors ---------------------------------------------------------------------
    Condition(
        "machine_memory",
        "the GPU driver fails to get memory at a high rate (NV_ERR_NO_MEMORY): the host freezes soon",
        "stop what uses the memory now, lower vllm_gpu_memory_utilization and deploy; the rate was seen 43 minutes"
        " before"
        " a freeze",
        MEMORY,
        family="machine",
    ),
    Condition(
        "machine_xid",
        "the GPU driver reported an error of the GPU (Xid)",
        "deploy again; if it happens again, power off the host and start it again, then try another driver or"
        " vllm_image. Xid 13, 31 and 43 come from a faulty kernel (moe_backend: marlin and linear_backend: marlin in"
        " vllm_extra_args), 48, 63, 79, 94 and 95 from the hardware",
        family="machine",
    ),
    Condition(
        "machine_oom",
        "the kernel's OOM killer ended a process",
        "lower vllm_gpu_memory_utilization, or stop what else uses the memory",
        MEMORY,
        family="machine",
    ),
    Condition(
        "machine_earlyoom",
        "earlyoom ended a process because the memory was nearly full",
        "lower vllm_gpu_memory_utilization, or stop what else uses the memory; spark_host_earlyoom_args sets the limit",
        MEMORY,
        family="machine",
    ),
    Condition(
        "machine_hot",
        "the machine is too hot: a thermal zone is at or above 88 °C, and a Spark cuts its power after minutes of that",
        "lower the load, give the machine air and clean its intake; max_num_seqs in vllm_extra_args limits the load",
        family="machine",
    ),
    Condition(
        "machine_nvml",
        "the NVIDIA driver was updated and the old kernel module is still loaded",
        "reboot the host, then deploy again",
        family="machine",
    ),
)
