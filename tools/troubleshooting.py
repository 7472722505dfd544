# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/troubleshooting.md from the tables of causes and notes, so that page and programs cannot disagree.

troubleshooting.py [--check]     --check changes nothing and fails if the page is not up to date
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.dgxspark.vllm.plugins.module_utils._causes import signatures
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import notes

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"

HEAD = """\
# Troubleshooting

<!-- Written by tools/troubleshooting.py (`make docs`) from plugins/module_utils/_causes/signatures and
     plugins/plugin_utils/_report/notes.py: change it there. -->

A log that you have is diagnosed on any machine with this collection, however vLLM was started:

```sh
ansible localhost -m dgxspark.vllm.vllm_log_info -a path=start.log
```

`playbooks/health.yml` and every deployment that fails do the same for a host: they name a cause by one of the words
below, say what it means with the numbers of your host, and what to do. Words in capitals stand for those numbers.
"""

# What an operator sees first, where to look, and the causes that it may have, the most frequent first.
SYMPTOMS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "The container does not start; `docker ps` shows nothing",
        "`docker inspect`, `journalctl -u vllm`",
        (
            "docker_no_gpu_runtime",
            "docker_unknown_runtime",
            "docker_no_cdi_device",
            "nvml_mismatch",
            "gpu_mount",
            "docker_port_in_use",
            "docker_image",
            "docker_disk_full",
            "docker_transient",
        ),
    ),
    (
        "The service waits, or is not started any more",
        "`playbooks/health.yml`",
        ("start_memory", "start_memory_never", "start_tries", "gave_up"),
    ),
    (
        "vLLM ends within seconds, before it loads the model",
        "last exception of the log",
        (
            "bad_flag",
            "option_range",
            "config_rejected",
            "max_len_gt_model",
            "arch_unsupported",
            "python_module",
            "undefined_symbol",
            "parser_unknown",
        ),
    ),
    (
        "It ends for lack of memory",
        "`memory`, `GiB` in the log",
        ("mem_free_below_util", "kv_too_small", "kv_none", "cuda_oom", "memory_taken", "engine_killed", "oom_killed"),
    ),
    (
        "It ends with the name of a kernel: CUTLASS, FlashInfer, DeepGEMM, Triton, `sm_121`",
        "last exception of the log",
        (
            "cutlass_internal",
            "cutlass_fp4",
            "flashinfer_no_arch",
            "illegal_instruction",
            "no_kernel_image",
            "deep_gemm",
            "backend_unfit",
            "ptxas_sm121",
            "nvcc_missing",
        ),
    ),
    (
        "The download does not start, stops, or a file is missing",
        "`huggingface`, `hub`, `xet` in the log",
        (
            "hf_network",
            "hf_gated_noauth",
            "hf_bad_token",
            "hf_offline_missing",
            "xet",
            "vocab_file",
            "disk_full",
            "weights_truncated",
            "dangling_symlink",
        ),
    ),
    (
        "The model loads, and fails on its weights, tokenizer or configuration",
        "last exception of the log",
        (
            "weights_key",
            "weights_unmatched",
            "tokenizer_class",
            "tokenizer_attribute",
            "draft_unsupported",
            "lora_rank",
            "chat_template",
        ),
    ),
    (
        "Nothing moves",
        "the log is silent",
        ("stuck", "lock_wait", "hub_retry", "ray_placement", "collective_wait", "shm_broadcast"),
    ),
    (
        "A pair of hosts does not come up, or stops",
        "`NCCL`, `Ray`, `TCPStore` in the log of both",
        ("head_unreachable", "nccl_unreachable", "nccl_peer_lost", "nccl_timeout", "ray_placement_failed"),
    ),
    (
        "It served, and the engine died",
        "`EngineDeadError`, exit code 0",
        ("engine_dead", "rpc_timeout", "grammar", "illegal_access", "killed", "machine_oom"),
    ),
    (
        "It runs, and does not answer as it should",
        "`playbooks/health.yml`",
        ("no_answer", "canary_timeout", "tool_parser", "reasoning_parser", "key_refused", "wrong_model"),
    ),
    (
        "The whole host freezes or turns off",
        "`journalctl -k -b -1`",
        ("machine_memory", "machine_hot", "machine_xid"),
    ),
    (
        "An exception that this page does not have",
        "its class and path",
        ("kernel_failed", "image_broken", "vllm_fault", "unknown_exception"),
    ),
)

HOW = """\
How a cause is found: exceptions are read as such, with the process that raised them, their chain, and where they were
raised. What a process logged and survived, what belongs to one request, and what only reports the end of another
process ([wrappers](#what-vllm-only-wraps)) is no cause. What remains is matched with the signatures below; an exception
that none of them knows is placed in a [family](#families), and its remedy says that it is a likelihood.

"Known" tells how sure a wording is: **seen** in our own runs, read in the **source** of the program, or published by
others as a **report**. What the causes look like when they are met is in [faults.md](reference/faults.md).
"""

# What became of the guide's own advice, by its entry's name in entries.py.
ADVICE = {
    "MEMORY": "The cause names the value to set. `docker system prune` frees disk, not memory.",
    "FP8": "The guide recommends the opposite of what helps: its own model is quantized in blocks, and that is what"
    " uses the"
    " CUTLASS kernel in question. A switch for another kernel, or the image, decides; not the model.",
    "DOWNLOAD": "The guide's `rm` matches nothing, because partial files lie in `blobs/`. playbooks/clean_cache.yml"
    " removes"
    " what is dead and keeps what is still written.",
    "CAPABILITY": "The guide is right: it can be ignored.",
    "THROUGHPUT": "The metric is `vllm:num_requests_running`; the guide's name never existed. A KV cache that is 80 to"
    " 95 % full is not a goal: near 100 % requests are preempted.",
}


def words(text: str) -> str:
    """A text whose placeholders are words in capitals: `{have}` becomes HAVE."""
    text = re.sub(r"\{(\w+)[^}]*\}", lambda found: found[1].upper(), text)
    return text.replace("<", "\\<")


def sentence(text: str) -> str:
    text = words(text)
    return (text if text.startswith("vllm") else text[:1].upper() + text[1:]) + "."


def entry(found: Any) -> list[str]:
    lines = [f"### {found.id}", "", sentence(found.meaning), "", f"**What to do:** {words(found.remedy)}.", ""]
    if hasattr(found, "pattern"):
        lines += [
            f"Family: {found.family}. Written by: {found.versions}. Known: {found.known} ({words(found.source)})."
        ]
        lines += ["Recognized by:", "", "```text", found.pattern, "```", ""]
        if found.frames:
            lines += ["Raised below:", "", "```text", found.frames, "```", ""]
    return lines


def symptoms() -> list[str]:
    """What is seen first, and the causes that it may have."""
    lines = ["## By symptom", "", "| what you see | where | causes |", "| --- | --- | --- |"]
    for seen, where, causes in SYMPTOMS:
        lines.append(f"| {seen} | {where} | {', '.join(f'[{cause}](#{cause})' for cause in causes)} |")
    return [*lines, ""]


def section(title: str, text: str, entries: Iterable[Any]) -> list[str]:
    lines = [f"## {title}", "", text, ""]
    for found in entries:
        lines += entry(found)
    return lines


def guide(entries: list[Any]) -> list[str]:
    """The deployment guide's own entries, and what became of each."""
    lines = ["## The guide's entries", ""]
    lines += ["What the deployment guide lists under troubleshooting, and the causes that each of them may have:", ""]
    lines += ["| the guide | here | |", "| --- | --- | --- |"]
    for name, advice in ADVICE.items():
        title = getattr(signatures, name)
        ids = [f"[{found.id}](#{found.id})" for found in entries if getattr(found, "guide", "") == title]
        lines.append(f"| {title} | {', '.join(ids)} | {advice} |")
    return [*lines, ""]


def harmless(entries: Iterable[Any]) -> list[str]:
    lines = ["## Lines that mean nothing", "", "They look like a failure, and are never taken for one.", ""]
    for found in entries:
        quoted = ", ".join(f"`{literal.strip()}`" for literal in found.literals)
        lines += [f"### {found.id}", "", f"{quoted}: {words(found.meaning)}.", ""]
    return lines


def parts() -> list[str]:
    """What the remedy begins with where an exception points to a part of vLLM that can be switched off."""
    lines = ["## What can be switched off", ""]
    text = "The remedy of an exception that was raised in one of these, or names it, begins with the switch: it keeps"
    lines += [f"{text} image and model.", "", "| part | what to do |", "| --- | --- |"]
    lines += [f"| {part.name} | {part.advice.rstrip(',')} |" for part in (*signatures.FEATURES, *signatures.BACKENDS)]
    return [*lines, ""]


def page() -> str:
    every = [*signatures.SIGNATURES, *signatures.CONDITIONS, *signatures.HARMLESS, *notes.NOTES]

    def of_kind(entries: Iterable[Any], *kinds: str) -> list[Any]:
        return [found for found in entries if found.kind in kinds]

    lines = [HEAD, *symptoms(), HOW, *guide(every)]
    for title, entries in signatures.SECTIONS:
        known = of_kind(entries, "fatal", "exit")
        if known:
            lines += section(title, "Why a start fails, or a server ends.", known)
    lines += [
        *section(
            "What a start waits for",
            "Shown while it waits; the cause if nothing moves any more, or it ends for no other reason.",
            of_kind(signatures.SIGNATURES, "hint", "retry", "wait"),
        ),
        *section(
            "What vLLM only wraps",
            "The cause is in another line. If there is none, a process was killed or crashed.",
            of_kind(signatures.SIGNATURES, "wrapper"),
        ),
        *section(
            "Families",
            "An exception that no signature knows is placed by its class, its text and where it was raised.",
            signatures.FAMILIES,
        ),
        *parts(),
        *section(
            "What the host shows", "Recognized by what is around the server, not by its log.", signatures.CONDITIONS
        ),
        *section("Hosts that could not be judged", "Only in playbooks/health.yml.", notes.UNSEEN),
        *section(
            "Notes", "Notes below the table of playbooks/health.yml; they do not affect the verdict.", notes.NOTES
        ),
        *section("Findings of the report", "Only on the page of playbooks/report.yml.", notes.STORED),
        *harmless(signatures.HARMLESS),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/troubleshooting.md.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the page is not up to date")
    arguments = parser.parse_args()
    content = page()
    if PAGE.exists() and PAGE.read_text() == content:
        return 0
    if arguments.check:
        print(f"{PAGE.relative_to(ROOT)}: not up to date, run `make docs`", file=sys.stderr)
        return 1
    PAGE.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
