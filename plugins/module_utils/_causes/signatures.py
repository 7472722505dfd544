# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a vLLM server is not healthy: the known causes, as data. Private to the collection.

SIGNATURES are recognized by a line of the log (of vLLM, of Docker, or of the unit's journal); CONDITIONS are
recognized by what was observed around it. The texts may name the groups of the pattern and the numbers which
``_vllm_log`` computes from them. Remedies speak in the variables of this collection's roles.

kind:
  fatal    the line alone ends the start: no need to wait for the process to go
  exit     explains why the process went, but the line alone may be retried or survived
  hint     explains why nothing moves; never a failure by itself
  retry    a hint while the start goes on, and why it ended if nothing more specific was said
  wrapper  says that something failed; the cause is in another line, so it counts only when nothing else was found
"""

from __future__ import annotations

from typing import NamedTuple

# The entries of the deployment guide's section on troubleshooting, as it calls them.
MEMORY = "Container Fails with Memory Errors"
FP8 = "FP8 Quantization Fails"
DOWNLOAD = "Model Download Incomplete"
CAPABILITY = '"Compute Capability 12.1" Warning'
THROUGHPUT = "Lower Than Expected Throughput"


class Signature(NamedTuple):
    id: str
    kind: str
    literals: tuple[str, ...]  # lower case; a line without any of them is not looked at further
    pattern: str  # case does not matter
    meaning: str
    remedy: str
    versions: str  # which program, and which versions of it, write the line
    known: str  # seen: by us, from the real program; source: read in its source; report: others have published it
    guide: str = ""  # entry of the guide's section on troubleshooting that this belongs to


class Condition(NamedTuple):
    id: str
    meaning: str
    remedy: str
    guide: str = ""


class Harmless(NamedTuple):
    """Lines that look like a failure and are none."""

    id: str
    literals: tuple[str, ...]  # lower case
    meaning: str
    guide: str = ""


SIGNATURES: tuple[Signature, ...] = (
    # --- Docker: the container never started -------------------------------------------------------------------
    Signature(
        "docker_no_gpu_runtime",
        "fatal",
        ("could not select device driver",),
        r"could not select device driver [\"'\\]*(?P<driver>\w*)[\"'\\]* with capabilities: \[\[gpu",
        "Docker has no GPU runtime or CDI support, so the GPU reservation cannot be met",
        "run playbooks/prepare.yml: the role container_runtime installs and registers the NVIDIA container toolkit"
        " (vllm_gpu chooses between nvidia and cdi)",
        versions="Docker",
        known="seen",
    ),
    Signature(
        "docker_no_cdi_device",
        "fatal",
        ("unresolvable cdi devices",),
        r"unresolvable CDI devices (?P<devices>\S+)",
        "Docker found no CDI description of the device {devices}",
        "run playbooks/prepare.yml, or `systemctl restart nvidia-cdi-refresh.service` on the host, or set"
        " vllm_gpu: nvidia",
        versions="Docker",
        known="report",
    ),
    Signature(
        "docker_port_in_use",
        "fatal",
        ("port is already allocated", "failed to bind host port", "bind for ", "error starting userland proxy"),
        r"port is already allocated|Bind for \S+ failed"
        r"|(?:failed to bind host port|Error starting userland proxy:) .{0,80}?address already in use",
        "the port of the host is taken, so Docker did not start the container",
        "see who holds it with `ss -ltnp`; stop that service or set another vllm_port",
        versions="Docker",
        known="seen",
    ),
    Signature(
        "docker_ulimit",
        "fatal",
        ("error setting rlimit",),
        r"error setting rlimit type (?P<type>\d+): operation not permitted",
        "this host may not grant a limit that the container asks for (rlimit type {type}; 8 is memlock, 3 is stack)",
        "lower it in vllm_ulimits, for example memlock: 8388608",
        versions="Docker",
        known="seen",
    ),
    Signature(
        "docker_image",
        "fatal",
        ("manifest unknown", "pull access denied", "no such image", "manifest for "),
        r"manifest unknown|manifest for \S+ not found|pull access denied for (?P<image>\S+?),|No such image",
        "the image is not to be had",
        "check vllm_image (and vllm_image_registry), and log in to the registry if it asks for it",
        versions="Docker",
        known="seen",
    ),
    Signature(
        "docker_command",
        "fatal",
        ("executable file not found", "exec format error"),
        r"exec: \"?(?P<command>[^\":]+)\"?: executable file not found|exec format error",
        "the image cannot run the command: it does not hold it, or it was built for another processor",
        "use an image of the matrix (vllm_image) built for arm64, with the entry point that its entry names",
        versions="Docker",
        known="seen",
    ),
    Signature(
        "docker_permission",
        "fatal",
        ("permission denied while trying to connect to the docker",),
        r"permission denied while trying to connect to the Docker",
        "this user may not talk to Docker",
        "set become: true for this task",
        versions="Docker",
        known="report",
    ),
    Signature(
        "docker_down",
        "fatal",
        ("cannot connect to the docker daemon", "is the docker daemon running"),
        r"Cannot connect to the Docker daemon|Is the docker daemon running",
        "the Docker daemon does not run",
        "start it with `systemctl start docker` and see `journalctl -u docker`; playbooks/prepare.yml sets it up",
        versions="Docker",
        known="seen",
    ),
    Signature(
        "nvidia_cli_requirement",
        "fatal",
        ("nvidia-container-cli: requirement error",),
        r"nvidia-container-cli: requirement error: unsatisfied condition: (?P<condition>cuda\s*>=\s*[\d.]+)",
        "the image needs {condition}, more than the driver of the host offers",
        "update the driver, or choose an older image (vllm_image)",
        versions="NVIDIA container toolkit",
        known="report",
    ),
    # --- the unit: its guard lets no start happen ----------------------------------------------------------------
    Signature(
        "start_memory",
        "fatal",
        ("gib of memory are needed",),
        r"not started: (?P<need>[\d.]+) GiB of memory are needed, (?P<have>[\d.]+) GiB are available"
        r" after (?P<seconds>\d+) s; most is held by (?P<holders>.{1,250})",
        "the service waits for {need} GiB of memory and has {have} GiB (most is held by {holders})",
        "stop what holds the memory, or lower vllm_gpu_memory_utilization",
        versions="the role vllm",
        known="seen",
        guide=MEMORY,
    ),
    Signature(
        "start_tries",
        "fatal",
        ("and never answered",),
        r"not started: release (?P<release>\S+) was started (?P<number>\d+) times since (?P<since>.{1,20}?)"
        r" \(.{1,40}?\) and never answered; deploy again, or run: (?P<command>.{1,200})",
        "release {release} was started {number} times since {since} and never answered, so it is not started any more",
        "look at `docker logs` for what ended the starts, mend it and deploy again; or, to start it as it is, run on"
        " the host: {command}",
        versions="the role vllm",
        known="seen",
    ),
    # --- driver and GPU ----------------------------------------------------------------------------------------
    Signature(
        "nvidia_banner_old_driver",
        "exit",
        ("compatibility mode is unavailable",),
        r"version (?P<have>[\d.]+) was detected and compatibility mode is UNAVAILABLE",
        "the driver {have} of the host is too old for this image",
        "update the driver, or choose an older image (vllm_image)",
        versions="NGC images",
        known="report",
    ),
    Signature(
        "cuda_driver_too_old",
        "fatal",
        ("nvidia driver on your system is too old", "driver version is insufficient"),
        r"The NVIDIA driver on your system is too old|CUDA driver version is insufficient for CUDA runtime",
        "the driver of the host is older than the CUDA of the image",
        "update the driver, or choose an older image (vllm_image)",
        versions="driver, CUDA, PyTorch",
        known="report",
    ),
    Signature(
        "cuda_803_804",
        "fatal",
        ("error 803", "error 804"),
        r"Error 80(?P<code>[34]): (?:system has unsupported display driver|forward compatibility was attempted)",
        "the driver's library and kernel module do not belong together, or CUDA's compatibility library is used where"
        " it may not be",
        "reboot after a driver update; keep /usr/local/cuda/compat out of LD_LIBRARY_PATH (vllm_extra_env)",
        versions="driver, CUDA, PyTorch",
        known="report",
    ),
    Signature(
        "no_gpu_visible",
        "exit",
        (
            "failed to infer device type",
            "no cuda gpus are available",
            "nvidia driver was not detected",
            "found no nvidia driver",
        ),
        r"Failed to infer device type|No CUDA GPUs are available|NVIDIA Driver was not detected"
        r"|Found no NVIDIA driver on your system",
        "the container sees no GPU",
        "check that vllm_gpu is not none and that `docker exec CONTAINER nvidia-smi` answers; playbooks/prepare.yml"
        " sets the runtime up",
        versions="vLLM 0.10.1.1, 0.32, PyTorch",
        known="seen",
    ),
    # --- network namespace and shared memory -------------------------------------------------------------------
    Signature(
        "addr_in_use",
        "fatal",
        ("[errno 98]",),
        r"\[Errno 98\] (?:error while attempting to bind on address .{0,80}: )?address already in use",
        "another process of the same network namespace holds the port",
        "see who holds it with `ss -ltnp`; stop that service or set another vllm_port",
        versions="vLLM 0.10.1.1, 0.32",
        known="seen",
    ),
    Signature(
        "shm_too_small",
        "fatal",
        ("/dev/shm", "shared memory segment"),
        r"Insufficient space in /dev/shm|No space left on device: '/dev/shm|Error while creating shared memory segment",
        "the shared memory (/dev/shm) of the container is too small",
        "keep vllm_ipc: host, and give the host's /dev/shm at least 1 GiB",
        versions="PyTorch, NCCL, Python",
        known="report",
    ),
    # --- memory ------------------------------------------------------------------------------------------------
    Signature(
        "mem_free_below_util",
        "fatal",
        ("is less than desired gpu memory utilization",),
        r"Free memory on device(?: \S+)? \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than desired"
        r" GPU memory utilization \((?P<util>[\d.]+), (?P<wanted>[\d.]+) GiB\)",
        "{free} of {total} GiB were free at the start, vllm_gpu_memory_utilization {util} asks for {wanted} GiB",
        "set vllm_gpu_memory_utilization to {suggested}: {free} of {total} GiB were free; or stop what else uses the"
        " memory, and leave vllm_drop_page_cache on: vLLM 0.10 counts the page cache as used",
        versions="vLLM 0.10.1.1, 0.32",
        known="source",
        guide=MEMORY,
    ),
    Signature(
        "mem_profiling_assert",
        "fatal",
        ("error in memory profiling",),
        r"Error in memory profiling\. Initial free memory (?P<before>[\d.]+) GiB,"
        r" current free memory (?P<after>[\d.]+) GiB",
        "memory was released by something else while vLLM measured it ({before} GiB free before, {after} GiB after)",
        "deploy again while nothing else starts or stops; leave vllm_drop_page_cache on",
        versions="vLLM 0.10.1.1, 0.32",
        known="source",
        guide=MEMORY,
    ),
    Signature(
        "kv_none",
        "fatal",
        ("no available memory for the cache blocks",),
        r"No available memory for the cache blocks",
        "the weights and the activations already fill the share of the memory, nothing is left for the KV cache",
        "raise vllm_gpu_memory_utilization if memory is free, lower max_num_batched_tokens in vllm_extra_args, or"
        " choose a smaller vllm_model",
        versions="vLLM 0.10.1.1, 0.32",
        known="source",
        guide=MEMORY,
    ),
    Signature(
        "kv_too_small",
        "fatal",
        ("to serve at least one request",),
        r"To serve at least one request with the models?(?:'s)? max seq len \((?P<length>\d+)\),"
        r" \((?P<need>[\d.]+) GiB KV cache is needed, which is larger than the available KV cache memory"
        r" \((?P<have>[\d.]+) GiB\)"
        r"(?:.{0,80}?estimated maximum model length is (?P<estimate>\d+))?",
        "one request of {length} tokens needs {need} GiB of KV cache, {have} GiB are there",
        "set vllm_max_model_len to {suggested}: {have} of {need} GiB were there; or set kv_cache_dtype: fp8 in"
        " vllm_extra_args, or raise vllm_gpu_memory_utilization",
        versions="vLLM 0.10.1.1, 0.32",
        known="seen",
        guide=MEMORY,
    ),
    Signature(
        "sampler_oom",
        "fatal",
        ("warming up sampler",),
        r"CUDA out of memory occurred when warming up sampler with (?P<requests>\d+) dummy requests",
        "the sampler's buffers for {requests} requests do not fit",
        "lower max_num_seqs in vllm_extra_args, or vllm_gpu_memory_utilization",
        versions="vLLM 0.10.1.1, 0.32",
        known="source",
        guide=MEMORY,
    ),
    Signature(
        "cuda_oom",
        "fatal",
        ("outofmemoryerror", "out of memory", "cudaerrormemoryallocation"),
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|cudaErrorMemoryAllocation",
        "the GPU ran out of memory after the check at the start",
        "lower vllm_gpu_memory_utilization (leave 10 to 15 % to the system), or max_num_batched_tokens and max_num_seqs"
        " in vllm_extra_args",
        versions="vLLM 0.10.1.1, 0.32, PyTorch",
        known="report",
        guide=MEMORY,
    ),
    # --- arguments and model -----------------------------------------------------------------------------------
    Signature(
        "batched_lt_len",
        "fatal",
        ("is smaller than max_model_len",),
        r"max_num_batched_tokens \((?P<batched>\d+)\) is smaller than max_model_len(?: \((?P<length>\d+)\))?",
        "max_num_batched_tokens {batched} is smaller than the context",
        "raise max_num_batched_tokens in vllm_extra_args, lower vllm_max_model_len, or keep chunked prefill on",
        versions="vLLM 0.10.1.1, 0.32",
        known="source",
    ),
    Signature(
        "max_len_gt_model",
        "fatal",
        ("user-specified max_model_len",),
        r"User-specified max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len"
        r" \([^=]{1,60}=(?P<limit>\d+)",
        "vllm_max_model_len {asked} is more than the {limit} tokens that the model was trained for",
        "set vllm_max_model_len to {limit} or less, or configure YaRN with hf_overrides in vllm_extra_args",
        versions="vLLM 0.10.1.1, 0.32",
        known="seen",
    ),
    Signature(
        "unknown_quant",
        "fatal",
        ("unknown quantization method",),
        r"Unknown quantization method: (?P<method>\S+?)\. Must be one of",
        "this vLLM does not know the quantization {method}",
        "correct or remove quantization in vllm_extra_args, or use a newer image (vllm_image)",
        versions="vLLM 0.10.1.1, 0.32",
        known="seen",
        guide=FP8,
    ),
    Signature(
        "quant_mismatch",
        "fatal",
        ("quantization method specified in the model config", "cannot find the config file for"),
        r"Quantization method specified in the model config \((?P<model>\S+)\) does not match"
        r"|Cannot find the config file for \w+",
        "the quantization asked for is not the one of the checkpoint",
        "remove quantization from vllm_extra_args: vLLM reads it from the checkpoint",
        versions="vLLM 0.10.1.1, 0.32",
        known="seen",
        guide=FP8,
    ),
    Signature(
        "quant_capability",
        "fatal",
        ("is not supported for the current gpu",),
        r"quantization method (?P<method>\S+) is not supported for the current GPU\."
        r" Minimum capability: (?P<capability>\d+)",
        "the GPU cannot compute the quantization {method} (it needs capability {capability})",
        "choose another checkpoint (vllm_model)",
        versions="vLLM 0.10.1.1, 0.32",
        known="source",
        guide=FP8,
    ),
    Signature(
        "trust_remote_code",
        "exit",
        ("custom code which must be executed", "requires you to execute", "trust_remote_code=true"),
        r"contains custom code which must be executed|requires you to execute the (?:configuration|model) file"
        r"|consider setting `?trust_remote_code=True",
        "the model's repository brings Python code of its own",
        "read that code, pin the revision, then set trust_remote_code: true in vllm_extra_args; Qwen3, Llama and"
        " Mistral do not need it",
        versions="vLLM 0.10.1.1, 0.32, transformers",
        known="seen",
    ),
    Signature(
        "arch_unsupported",
        "fatal",
        ("model architecture", "transformers does not recognize"),
        r"Model architectures? (?P<architecture>\[.{0,200}?\]) (?:are|is) not supported"
        r"|has model type `(?P<type>[^`]{1,80})` but Transformers does not recognize",
        "this vLLM does not know the model's architecture",
        "use a newer image (vllm_image) or another vllm_model",
        versions="vLLM 0.10.1.1, 0.32, transformers",
        known="seen",
    ),
    # --- Hugging Face ------------------------------------------------------------------------------------------
    Signature(
        "hf_gated_noauth",
        "exit",
        ("is restricted. you must have access", "is restricted. you must be authenticated"),
        r"Access to model (?P<repo>\S+) is restricted\. You must (?:have access|be authenticated)",
        "the model {repo} is gated and no valid token was sent",
        "accept the license on the model's page and set vllm_hf_token",
        versions="huggingface_hub",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_gated_denied",
        "exit",
        ("not in the authorized list", "trying to access a gated repo"),
        r"(?:Access to model (?P<repo>\S+) is restricted and )?you are not in the authorized list"
        r"|You are trying to access a gated repo",
        "the model is gated and the token's account has no access to it",
        "accept the license on the model's page with the account of vllm_hf_token, and check the token's scopes",
        versions="huggingface_hub",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_bad_token",
        "exit",
        ("invalid credentials in authorization header", "invalid username or password", "invalid user token"),
        r"Invalid credentials in Authorization header|Invalid username or password|Invalid user token",
        "the hub refuses the token (a wrong or revoked token breaks public models too)",
        "replace vllm_hf_token, or leave it empty for public models",
        versions="huggingface_hub",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_revision",
        "exit",
        ("revision not found for url", "revisionnotfounderror", "is not a valid git identifier"),
        r"Revision Not Found for url|RevisionNotFoundError|is not a valid git identifier",
        "the hub has no such revision of the model",
        "correct revision in vllm_extra_args",
        versions="huggingface_hub",
        known="seen",
    ),
    Signature(
        "hf_repo_not_found",
        "exit",
        ("repository not found for url", "is not a valid model identifier", "repositorynotfounderror"),
        r"Repository Not Found for url|is not a local folder and is not a valid model identifier"
        r"|RepositoryNotFoundError",
        "the hub has no such model, or it is private and the token may not see it",
        "correct the id of the model (vllm_model, vllm_models), or set vllm_hf_token",
        versions="huggingface_hub",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_rate_limit",
        "exit",
        ("429 client error", "429 too many requests"),
        r"429 (?:Client Error|Too Many Requests)",
        "the hub refuses more requests from this address for now",
        "set vllm_hf_token and deploy again later; files that are there are not loaded again",
        versions="huggingface_hub",
        known="report",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_offline_missing",
        "exit",
        (
            "outgoing traffic has been disabled",
            "offlinemodeisenabled",
            "offline mode is enabled",
            "incompletesnapshoterror",
        ),
        r"outgoing traffic has been disabled|OfflineModeIsEnabled|offline mode is enabled|IncompleteSnapshotError",
        "offline mode is on and the cache lacks files of the model",
        "deploy once with vllm_hf_offline: false, or fill hf_cache_path from a host that has the model; if it was"
        " downloaded, and files of another repository are missing, set vllm_download: false: vLLM fetches them then",
        versions="huggingface_hub",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_network",
        "exit",
        (
            "name or service not known",
            "temporary failure in name resolution",
            "network is unreachable",
            "max retries exceeded with url",
            ".connecterror",
            ".connecttimeout",
            "requests.exceptions.connectionerror",
            "we couldn't connect to '",
        ),
        r"Name or service not known|Temporary failure in name resolution|Network is unreachable"
        r"|Max retries exceeded with url|http(?:core|x)2?\.Connect(?:Error|Timeout)"
        r"|requests\.exceptions\.ConnectionError"
        r"|We couldn't connect to '(?P<endpoint>https?://[^']{1,200})' to load",
        "the container cannot reach the hub",
        "check name resolution, proxy and firewall of the host; vllm_hf_endpoint names a mirror; with the model in"
        " hf_cache_path set vllm_hf_offline: true",
        versions="huggingface_hub",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "disk_full",
        "fatal",
        ("[errno 28]", "no space left on device"),
        r"\[Errno 28\] No space left on device|os error 28\b",
        "the disk of the host is full",
        "free space under hf_cache_path or vllm_home; playbooks/clean_cache.yml removes dead partial downloads",
        versions="any",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "permission",
        "exit",
        ("permissionerror: [errno 13]",),
        r"PermissionError: \[Errno 13\] Permission denied: '(?P<path>[^']{1,400})'",
        "the container may not write to {path}",
        "give the folder to the user of the container (hf_cache_owner, hf_cache_group, hf_cache_mode)",
        versions="any",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "dl_consistency",
        "exit",
        ("consistency check failed",),
        r"Consistency check failed: file should be of size (?P<wanted>\d+) but has size (?P<have>\d+)",
        "a download was cut short ({have} of {wanted} bytes)",
        "run playbooks/clean_cache.yml and deploy again",
        versions="huggingface_hub",
        known="source",
        guide=DOWNLOAD,
    ),
    Signature(
        "hub_retry",
        "hint",
        ("[retry ",),
        r"Retrying in \d{1,6}(?:\.\d{1,6})?s \[Retry (?P<number>\d{1,6})/(?P<of>\d{1,6})\]",
        "the hub does not answer, the client asks again (try {number} of {of})",
        "check name resolution, proxy and firewall of the host; vllm_hf_endpoint names a mirror; with the model in"
        " hf_cache_path set vllm_hf_offline: true",
        versions="huggingface_hub",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_silent",
        "retry",
        ("error while downloading from",),
        r"Error while downloading from (?P<url>\S{1,300}): (?P<reason>.{1,120})",
        "the hub stops sending in the middle of a file ({reason})",
        "check proxy, firewall and line between the host and the hub; vllm_hf_endpoint names a mirror; what is there is"
        " not downloaded again",
        versions="huggingface_hub",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "lock_wait",
        "hint",
        ("still waiting to acquire lock on",),
        r"Still waiting to acquire lock on (?P<path>\S+)",
        "another process holds the download lock {path}",
        "see who holds it with `lslocks`; do not delete the lock file",
        versions="huggingface_hub",
        known="source",
        guide=DOWNLOAD,
    ),
    # --- files of the model ------------------------------------------------------------------------------------
    Signature(
        "weights_truncated",
        "fatal",
        ("error while deserializing header",),
        r"SafetensorError: Error while deserializing header: ?(?P<detail>incomplete metadata, file not fully covered"
        r"|header too small|header too large|invalid header\w*|MetadataIncompleteBuffer|HeaderTooSmall|HeaderTooLarge"
        r"|InvalidHeader\w*)",
        "a weight file is cut short, empty or no safetensors file ({detail})",
        "remove that file of the model from hf_cache_path (link and blob) and deploy again",
        versions="safetensors",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "weights_missing_shard",
        "fatal",
        ("referenced in index but missing",),
        r"Weight files referenced in index but missing: (?P<files>\{[^}]{1,300}\}?)",
        "weight files are missing: {files}",
        "deploy again with vllm_hf_offline: false, so that they are downloaded",
        versions="vLLM 0.32",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "weights_missing",
        "fatal",
        ("cannot find any model weights with", "were not initialized from checkpoint"),
        r"Cannot find any model weights with `(?P<model>[^`]{1,200})`"
        r"|Following weights were not initialized from checkpoint",
        "the model's folder holds no weights, or not all",
        "deploy again with vllm_hf_offline: false, so that they are downloaded",
        versions="vLLM 0.10.1.1, 0.32",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "dangling_symlink",
        "fatal",
        ("[errno 2] no such file or directory",),
        r"FileNotFoundError: \[Errno 2\] No such file or directory: '(?P<path>[^']{1,400}\.(?:safetensors|json|bin))'",
        "the model's folder names {path}, and the file behind it is gone",
        "remove that link from hf_cache_path and deploy again, so that the file is downloaded",
        versions="any",
        known="seen",
        guide=DOWNLOAD,
    ),
    Signature(
        "config_corrupt",
        "fatal",
        ("is not a valid json file",),
        r"It looks like the config file at '(?P<path>[^']{1,400})' is not a valid JSON file",
        "{path} is empty or damaged",
        "remove that file of the model from hf_cache_path (link and blob) and deploy again",
        versions="transformers",
        known="seen",
        guide=DOWNLOAD,
    ),
    # --- kernels -----------------------------------------------------------------------------------------------
    Signature(
        "ptxas_sm121",
        "exit",
        ("ptxas fatal",),
        r"ptxas fatal\s{0,4}:\s{0,4}Value '(?P<arch>sm_121a?)' is not defined for option 'gpu-name'",
        "the compiler that Triton brings in this image does not know the GB10 ({arch})",
        "set TRITON_PTXAS_PATH: /usr/local/cuda/bin/ptxas in vllm_extra_env, or use a newer image (vllm_image)",
        versions="Triton",
        known="report",
    ),
    Signature(
        "cutlass_not_compiled",
        "fatal",
        ("no compiled cutlass_scaled_mm",),
        r"No compiled cutlass_scaled_mm for (?:a compute capability less than )?CUDA device capability:"
        r" (?P<capability>\d+)",
        "this image has no FP8 kernel for the GPU (capability {capability})",
        "use an image built for the GB10 (vllm_image)",
        versions="vLLM's kernels",
        known="source",
        guide=FP8,
    ),
    Signature(
        "cutlass_internal",
        "fatal",
        ("error internal",),
        r"RuntimeError: Error Internal|cutlass(?: error:|_scaled_mm|_gemm_caller).{0,400}?Error Internal",
        "the FP8 kernel of this image was built for another Blackwell GPU and does not run on the GB10",
        "use an image built for the GB10 (vllm_image); the model is not the problem",
        versions="CUTLASS in vLLM",
        known="report",
        guide=FP8,
    ),
    Signature(
        "no_kernel_image",
        "fatal",
        ("no kernel image is available", "an illegal instruction", "unsupported toolchain"),
        r"no kernel image is available for execution on the device|CUDA error: an illegal instruction"
        r"|PTX was compiled with an unsupported toolchain",
        "this image was not built for the GPU",
        "use an image built for the GB10 with CUDA 13 (vllm_image)",
        versions="driver, CUDA, PyTorch",
        known="report",
        guide=FP8,
    ),
    Signature(
        "illegal_access",
        "fatal",
        ("an illegal memory access", "unspecified launch failure"),
        r"CUDA error: an illegal memory access was encountered|CUDA error: unspecified launch failure",
        "a GPU kernel crashed",
        "look for Xid lines in `dmesg`; try enforce_eager: true in vllm_extra_args, then a newer image or driver",
        versions="driver, CUDA, PyTorch",
        known="report",
    ),
    Signature(
        "nccl",
        "exit",
        ("nccl error", "ncclsystemerror", "ncclunhandledcudaerror"),
        r"NCCL error(?: in)?:|ncclSystemError|ncclUnhandledCudaError",
        "the GPUs cannot talk to each other (NCCL)",
        "keep vllm_ipc: host, set NCCL_DEBUG: INFO in vllm_extra_env and look at the lines before",
        versions="driver, CUDA, PyTorch",
        known="report",
    ),
    # --- start-up ----------------------------------------------------------------------------------------------
    Signature(
        "engine_ready_timeout",
        "fatal",
        ("timed out waiting for",),
        r"Timed out waiting for (?:new )?engines?(?: core processes)? to ?(?:send ?initial message|start)",
        "the engine took longer to start than vLLM waits for it",
        "let the download finish first, or raise VLLM_ENGINE_READY_TIMEOUT_S in vllm_extra_env",
        versions="vLLM 0.10.1.1, 0.32",
        known="source",
        guide=DOWNLOAD,
    ),
    Signature(
        "bad_flag",
        "fatal",
        ("error: unrecognized arguments", "error: argument ", "error: the following arguments"),
        r"\w+(?: serve)?: error: "
        r"(?P<detail>(?:unrecognized arguments|argument [^:]{1,80}|the following arguments).{0,300})",
        "this vLLM does not accept an option: {detail}",
        "correct it in vllm_extra_args or the profile; `null` drops an option of the profile",
        versions="vLLM 0.10.1.1, 0.32",
        known="seen",
    ),
    Signature(
        "config_rejected",
        "fatal",
        ("value error, ",),
        r"^\s*Value error, (?P<detail>.{1,300}?)(?: \[type=|$)",
        "vLLM refuses its options: {detail}",
        "correct vllm_extra_args, vllm_extra_env or the profile",
        versions="vLLM 0.32",
        known="seen",
    ),
    # --- wrappers: the cause is in another line ----------------------------------------------------------------
    Signature(
        "worker_killed",
        "wrapper",
        ("died unexpectedly",),
        r"(?:Worker|Engine core) proc (?P<process>\S+) died unexpectedly",
        "a process of vLLM ({process}) was killed",
        "look for `out of memory` in `dmesg`, and at `journalctl -u earlyoom`; lower vllm_gpu_memory_utilization",
        versions="vLLM 0.10.1.1, 0.32",
        known="seen",
    ),
    Signature(
        "engine_dead",
        "wrapper",
        ("enginedeaderror", "enginecore encountered", "engine core exited unexpectedly"),
        r"EngineDeadError|EngineCore encountered a(?:n issue| fatal error)|engine core exited unexpectedly",
        "the engine died after the start",
        "look at the lines before in `docker logs`, for `out of memory` in `dmesg`, and at `journalctl -u earlyoom`",
        versions="vLLM 0.10.1.1, 0.32",
        known="seen",
    ),
    Signature(
        "engine_init_generic",
        "wrapper",
        (
            "engine core initialization failed",
            "enginecore failed to start",
            "workerproc failed to start",
            "workerproc initialization failed",
        ),
        r"Engine core initialization failed|EngineCore failed to start"
        r"|WorkerProc (?:failed to start|initialization failed)",
        "the engine did not start, with an error that this collection does not know",
        "look at the lines before in `docker logs`",
        versions="vLLM 0.10.1.1, 0.32",
        known="seen",
    ),
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
        "a warning before a download; if the disk gets full in fact, an error follows",
    ),
    Harmless(
        "hub_not_yet",
        ("thrown while requesting", "retrying in ", ", retrying "),
        "the hub did not answer and is asked again; only the last refusal ends the start",
    ),
    Harmless("client_error", ("error with model error=",), "a client sent a request that the server refused"),
)

CONDITIONS: tuple[Condition, ...] = (
    Condition("docker_missing", "Docker is not installed", "run playbooks/prepare.yml"),
    Condition("docker_error", "Docker cannot say how the container is", "see `journalctl -u docker` on the host"),
    Condition("start_error", "Docker did not start the container", "see `docker inspect` and the unit's journal"),
    Condition("unit_failed", "the systemd unit could not start the container", "see `journalctl -u UNIT` on the host"),
    Condition(
        "gave_up",
        "it ended four times in half an hour, so systemd leaves it down",
        "deploy again, or run `systemctl reset-failed` and `systemctl start` of its unit",
    ),
    Condition(
        "oom_killed", "the kernel killed the container: out of memory", "lower vllm_gpu_memory_utilization", MEMORY
    ),
    Condition(
        "killed",
        "the server was killed (exit code 137): by the kernel for lack of memory, or by hand",
        "look for `out of memory` in `dmesg`, and at `journalctl -u earlyoom`; if one of them names vLLM, lower"
        " vllm_gpu_memory_utilization",
        MEMORY,
    ),
    Condition(
        "stopped",
        "the server was told to stop and did",
        "start it again with `systemctl start` of its unit, or deploy again",
    ),
    Condition(
        "exited_after_ready",
        "the server stopped by itself after it had been ready",
        "look at the end of `docker logs`; the unit starts it again a few times",
    ),
    Condition("exited", "the server stopped before it was ready", "look at the end of `docker logs`"),
    Condition(
        "unknown_exception",
        "vLLM stopped with an error that this collection does not know",
        "look at the end of `docker logs`",
    ),
    Condition("paused", "the container is paused", "continue it with `docker unpause`"),
    Condition(
        "engine_unhealthy", "/health answers with an error: the engine is dead", "deploy again, or restart the unit"
    ),
    Condition(
        "no_answer",
        "the server says it is ready and does not answer",
        "check the published address and port (vllm_publish_address, vllm_port) and the host's firewall",
    ),
    Condition(
        "key_refused",
        "the server refuses the API key",
        "deploy again, so that the server and the env file have the same vllm_api_key",
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
        "/health is fine and no token comes: the engine is frozen or overloaded",
        "restart the unit; if the load is high, raise the canary_timeout of this task",
    ),
    Condition("canary_failed", "/health is fine and a completion fails", "look at the end of `docker logs`"),
    Condition(
        "absent",
        "there is no such container",
        "deploy it with playbooks/deploy.yml, or correct vllm_container_name",
    ),
    Condition("restarting", "the server was started again while it was waited for", "look at `docker logs`"),
    Condition(
        "stuck",
        "neither the log nor the downloaded bytes moved",
        "look at `docker logs` and `docker top`; raise vllm_stall_timeout if it only needs more time",
        DOWNLOAD,
    ),
    Condition(
        "phase_timeout",
        "a phase of the start took longer than it may",
        "raise its limit in vllm_phase_timeouts, or look at `docker logs` for what takes so long",
    ),
    Condition(
        "other_release",
        "the host serves, but not the model that the inventory wants",
        "bring the wanted one into service with playbooks/deploy.yml; if it was rolled back, that run says why",
    ),
    Condition(
        "timeout",
        "the server was not ready in time",
        "raise vllm_start_timeout, or look at `docker logs` for what takes so long",
    ),
)
