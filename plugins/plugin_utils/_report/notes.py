# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/health.yml says of hosts and fleets beside the verdicts, as data.

NOTES are worth a word and make no host unhealthy. UNSEEN are the causes for hosts that could not be judged. STORED are
the findings in the model cache and the releases, which only playbooks/report.yml reads. The texts may name numbers,
which ``fleet`` fills in. Remedies speak in the variables of this collection's roles.
"""

from __future__ import annotations

from typing import NamedTuple

# The deployment guide's own entry, whose advice some of the notes take up.
THROUGHPUT = "Lower Than Expected Throughput"


class Note(NamedTuple):
    id: str
    meaning: str
    remedy: str
    guide: str = ""  # title of that entry


NOTES: tuple[Note, ...] = (
    # --- the machine -------------------------------------------------------------------------------------------
    Note(
        "gpu_throttled",
        "the GPU is throttled: its SM clock is {clock} MHz at {load} % load, at least {expected} MHz are expected",
        "shut the host down, unplug its power supply for 60 s, and look again under load; if it stays like that, power"
        " supply or machine are broken",
        THROUGHPUT,
    ),
    Note(
        "low_memory",
        "only {available:.1f} GiB of memory are available; earlyoom, as the role spark_host sets it up, ends vLLM below"
        " 2 GiB (spark_host_earlyoom_args)",
        "end what else runs on the host, or give vLLM less: lower vllm_gpu_memory_utilization or raise"
        " vllm_memory_reserve_gib, and deploy",
    ),
    Note(
        "host_fault",
        "{what}",
        "upgrade DGX OS on the host, or install the kernel or driver that catalog/hosts.yml names",
    ),
    # --- the fleet: {differs} says who has what, and what the majority has if there is one ---------------------
    Note(
        "driver_drift",
        "the version of the GPU driver {differs}",
        "bring the hosts to the same release of DGX OS: with DGX Dashboard, or `sudo apt update && sudo apt"
        " dist-upgrade` and a restart, one host at a time",
    ),
    Note(
        "dgx_os_drift",
        "the release of DGX OS {differs}",
        "bring the hosts to the same release: with DGX Dashboard, or `sudo apt update && sudo apt dist-upgrade` and a"
        " restart, one host at a time",
    ),
    Note(
        "firmware_drift",
        "the firmware {part} {differs}",
        "bring the hosts to the same firmware: with DGX Dashboard, or `sudo fwupdmgr refresh && sudo fwupdmgr upgrade`"
        " and a restart, one host at a time",
    ),
    # --- the service -------------------------------------------------------------------------------------------
    Note(
        "other_image",
        "{running} runs, and the inventory wants {wanted}",
        "run playbooks/deploy.yml, or set vllm_image to what runs",
    ),
    Note(
        "release_drift",
        "release {running} runs, and the inventory wants {wanted}, with another model, profile, option, environment,"
        " address or key",
        "`playbooks/deploy.yml --check --diff` shows what would change; deploy, or set the variables to what runs",
    ),
    Note(
        "wanted_failed",
        "release {running} runs, and the inventory wants {wanted}, which was started on {time} and never proven",
        "the deployment that started it was broken off, or failed and said why: unless that cause is gone, change it"
        " before you deploy again. `playbooks/deploy.yml --check --diff` shows how it differs from what runs;"
        " playbooks/releases.yml lists it",
    ),
    Note(
        "share_capped",
        "of the memory the release that the inventory wants would get {share}",
        "nothing, if that is meant; otherwise lower vllm_gpu_memory_utilization of the other service and deploy that"
        " one first",
    ),
    Note(
        "others_container",
        "the container {container}, which is being started, was not deployed by this collection",
        "change it in its own environment or options, where it was started: no variable of this collection reaches it;"
        " or take it over with playbooks/deploy.yml",
    ),
    Note(
        "services_beside",
        "{services} of this collection {runs} here, too, and no host of this inventory has that name and this address",
        "`playbooks/health.yml -l HOST -e vllm_service_name=NAME -e vllm_port=PORT` judges such a service; list all"
        " services of a host in vllm_services to have them in one table and one memory budget",
    ),
    Note(
        "port_held",
        "port {port} is held by {who}, so the service cannot start there",
        "stop that, give the service another vllm_port, or, if it is a vLLM server in a container, run"
        " playbooks/deploy.yml, which takes over from it (vllm_take_over)",
    ),
    Note(
        "kv_below_plan",
        "the KV cache holds {real:,} tokens, and {planned:,} were planned: something else took memory at the start",
        "end what else runs on the host, or deploy with a lower max_num_batched_tokens in vllm_extra_args; an image up"
        " to 26.01 also counts the page cache that reading the weights leaves (restart it once the model was read)",
    ),
    Note(
        "nccl_sockets",
        "NCCL connects the hosts that serve together over sockets, not by RDMA, which is slower",
        "check on each of them that /dev/infiniband has devices (kernel modules mlx5_ib and ib_uverbs) and that"
        " vllm_node_address belongs to the ConnectX-7, and deploy again",
        THROUGHPUT,
    ),
    Note(
        "preemptions",
        "the KV cache ran full and requests had to give theirs up: {count} preemptions since the server started",
        "let vLLM take fewer requests at once (max_num_seqs in vllm_extra_args), lower vllm_max_model_len, or enlarge"
        " the KV cache: raise vllm_gpu_memory_utilization if the host has memory left, or set kv_cache_dtype: fp8 in"
        " vllm_extra_args",
        THROUGHPUT,
    ),
    Note(
        "kv_nearly_full",
        "{usage:.0f} % of the KV cache are in use while requests wait ({waiting})",
        "enlarge the KV cache: raise vllm_gpu_memory_utilization if the host has memory left, or set kv_cache_dtype:"
        " fp8 in vllm_extra_args; or send some of the requests to another host",
        THROUGHPUT,
    ),
    # --- why throughput may be lower than expected ---------------------------------------------------------------
    Note(
        "single_requests",
        "{rate:.1f} tokens/s, and at the moment of the look nothing to batch: {running} running, none waiting",
        "if that is usual, send requests concurrently: one alone is bound by the bandwidth of the memory, and a batch"
        " of up to max_num_seqs (see vllm_profile) shares it; for a single user vllm_profile: latency is meant",
        THROUGHPUT,
    ),
    Note(
        "no_prefix_hits",
        "the prefix cache was asked for {queries:,} tokens and had none of them",
        "put what requests have in common (system prompt, documents) at the very beginning of the prompt, the same to"
        " the letter; if they have nothing in common, this is as it must be",
        THROUGHPUT,
    ),
    Note(
        "drafts_rejected",
        "the model accepted {share:.0f} % of {drafted:,} drafted tokens, so drafting costs about as much as it saves",
        "use a draft model that was made for this model, lower num_speculative_tokens of speculative_config in"
        " vllm_extra_args, or drop it (speculative_config: null)",
        THROUGHPUT,
    ),
)

UNSEEN: tuple[Note, ...] = (
    Note(
        "unreachable",
        "the host could not be reached",
        "see whether it is switched on and answers to `ssh`; a host that ran out of memory answers to ping alone and"
        " has to be switched off and on",
    ),
    Note(
        "login_refused",
        "the host answers, and refuses the login",
        "set ansible_user to the user whom you log in as with `ssh`; give the host your key with `ssh-copy-id"
        " USER@HOST`, or name the key in ansible_ssh_private_key_file; for a login with a password add -k",
    ),
    Note(
        "host_key_refused",
        "the SSH key of the host is not the one in known_hosts, or is not known there",
        "if the host is new or was reinstalled, compare its fingerprint (on the host: `ssh-keygen -lf"
        " /etc/ssh/ssh_host_ed25519_key.pub`), drop an old key with `ssh-keygen -R ADDRESS`, and log in once with"
        " `ssh`; if not, another machine answers at this address",
    ),
    Note(
        "name_not_resolved",
        "the name of the host does not resolve to an address",
        "correct ansible_host in the inventory, or set it to the IP address; a name of your network may need its VPN or"
        " DNS server",
    ),
    Note(
        "sudo_refused",
        "the login works, and sudo refuses its password or has none",
        "run with -K and type the password of ansible_user on the host, or let that user run sudo without one",
    ),
    Note(
        "sudo_silent",
        "the host took the connection, and nothing came back from sudo: it hangs, or sudo waits for something",
        "try `ssh HOST sudo -n true`: if that hangs, the host may have run out of memory, and has to be switched off"
        " and on; if it wants a password, run with -K",
    ),
    Note(
        "check_failed",
        "the check itself failed, so nothing is known of the service",
        "correct the variable or the host that the message names, and look again; a host on which the check only times"
        " out may have to be switched off and on",
    ),
    Note(
        "not_managed",
        "the server was not deployed by this collection, which does not watch it; it has no release to compare",
        "take it over with playbooks/deploy.yml, or take the host out of the group spark",
    ),
)

STORED: tuple[Note, ...] = (
    Note(
        "disk_nearly_full",
        "the file system of the model cache has {free} free of {total}",
        "remove dead partial downloads with playbooks/clean_cache.yml, models and images that are not used any more",
    ),
    Note(
        "dead_partials",
        "{count} dead partial downloads take {size}",
        "run playbooks/clean_cache.yml, or download the model again, which resumes them",
    ),
    Note(
        "model_damaged",
        "{model} is incomplete or damaged in the model cache: {problems}",
        "run playbooks/stage.yml if the host serves that model: it downloads what is missing; the module"
        " hf_cache_clean removes damaged files by class",
    ),
    Note(
        "report_incomplete",
        "releases and model cache could not be read",
        "correct what the message names, and run playbooks/report.yml again",
    ),
)
