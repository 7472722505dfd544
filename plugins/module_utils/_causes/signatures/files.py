# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk, limits of the operating system, and the files of a model."""

from __future__ import annotations

from ..entries import DOWNLOAD, Signature

FILES: tuple[Signature, ...] = (
    Signature(
        "disk_full",
        "fatal",
        "files",
        ("[errno 28]", "os error 28", "no space left on device", "enospc", "disk quota exceeded"),
        r"\[Errno 28\] No space left on device|os error 28\b|No space left on device|ENOSPC|Disk quota exceeded",
        "the disk of the host is full, or a quota is used up",
        "free space under hf_cache_path or vllm_home; playbooks/clean_cache.yml removes dead partial downloads",
        versions="any",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
        unless=r"/dev/shm|to file </torch_"
        r"|register layer|extract layer|Error processing tar|/var/lib/(?:docker|containerd)",
    ),
    Signature(
        "read_only",
        "exit",
        "files",
        ("[errno 30]", "read-only file system", "os error 30"),
        r"\[Errno 30\] Read-only file system(?:: '(?P<path>[^']{1,400})')?|\(os error 30\)"
        r"|cannot (?:create|touch|remove|open|make) [^\n]{1,300}: Read-only file system"
        r"|open (?P<path_2>/[^\n:]{1,300}): read-only file system",
        "the server writes where its file system is read-only: {path}",
        "set vllm_read_only_root: false if it is on and that is a folder of the image; a mount needs read_only: false"
        " in vllm_mounts; below hf_cache_path the host's own disk is mounted read-only: look at `dmesg`, and deploy"
        " again",
        versions="any",
        known="source",
        source="errno 30",
    ),
    Signature(
        "permission",
        "exit",
        "files",
        ("[errno 13]", "os error 13"),
        r"(?:PermissionError: )?\[Errno 13\] Permission denied: '(?P<path>[^']{1,400})'"
        r"|Permission denied \(os error 13\)",
        "the container may not write to a file or folder: {path}",
        "give the folder to the user of the container: hf_cache_owner, hf_cache_group and hf_cache_mode set it for"
        " hf_cache_path; everything else is in the cache folder of vllm_home",
        versions="any",
        known="seen",
        source="sandbox",
        guide=DOWNLOAD,
    ),
    Signature(
        "open_files",
        "fatal",
        "files",
        ("[errno 24]",),
        r"\[Errno 24\]",
        "the container may open no more files and connections",
        "set nofile: 65536 in vllm_ulimits, and deploy again",
        versions="any",
        known="report",
        source="errno 24",
    ),
    Signature(
        "disk_error",
        "exit",
        "files",
        ("[errno 5]", "(os error 5)"),
        r"\[Errno 5\] Input/output error(?:: '(?P<path>[^']{1,400})')?|Input/output error \(os error 5\)",
        "a file could not be read or written: the disk, or the network that it is on, reported an error ({path})",
        "check `dmesg` on the host (nvme, EXT4-fs, nfs) and the disk with `smartctl -a`; a file of the model that is"
        " damaged is found by playbooks/stage.yml; set hf_cache_path to a folder on a sound disk",
        versions="any",
        known="source",
        source="errno 5",
    ),
    Signature(
        "file_locks",
        "exit",
        "files",
        ("[errno 37]",),
        r"\[Errno 37\] No locks available(?:: '(?P<path>[^']{1,400})')?",
        "the file system of the cache cannot lock its files: it is one of a network ({path})",
        "set hf_cache_path (and vllm_home) to a folder on a disk of the host itself; vllm_mounts can add a model that"
        " lies on a network, read-only",
        versions="huggingface_hub, filelock",
        known="source",
        source="errno 37",
    ),
    Signature(
        "file_stale",
        "exit",
        "files",
        ("[errno 116]", "stale file handle", "[errno 107]", "transport endpoint is not connected"),
        r"\[Errno 116\](?: Stale file handle)?(?:: '(?P<path>[^']{1,400})')?|Stale file handle"
        # a connection that is gone has no path
        r"|\[Errno 107\] Transport endpoint is not connected: '(?P<path_2>[^']{1,400})'"
        r"|Transport endpoint is not connected \(os error 107\)",
        "a file that the server reads is gone from under it: it lies on a network, whose server has replaced or lost it"
        " ({path})",
        "look on the host whether that file system is mounted and has the file, mount it again, and deploy again: the"
        " container keeps the old mount. A model in hf_cache_path, on a disk of the host itself, does not depend on a"
        " network",
        versions="any",
        known="source",
        source="errno 107 and 116",
    ),
    Signature(
        "thread_limit",
        "fatal",
        "files",
        ("can't start new thread", "pthread_create", "[errno 11] resource temporarily", "libgomp: thread creation"),
        r"can't start new thread|pthread_create(?:\(\))? failed|libgomp: Thread creation failed"
        r"|\[Errno 11\] Resource temporarily unavailable",
        "the container may start no more threads: a limit of processes is reached",
        "check `systemctl show -p TasksMax docker` and default-ulimits of /etc/docker/daemon.json, raise nproc in"
        " vllm_ulimits, or set OMP_NUM_THREADS: 1 and a smaller api_server_count; then deploy again",
        versions="any",
        known="report",
        source="errno 11, Docker's documentation of limits",
    ),
    Signature(
        "weights_truncated",
        "fatal",
        "files",
        ("error while deserializing header", "pytorchstreamreader failed", "invalid header"),
        r"Error while deserializing header: ?(?P<detail>incomplete metadata, file not fully covered"
        r"|header too small|header too large|invalid header\w*|MetadataIncompleteBuffer|HeaderTooSmall|HeaderTooLarge"
        r"|InvalidHeader\w*)|PytorchStreamReader failed[^\n]{0,80}",
        "a weight file is cut short, empty or not a safetensors file ({detail})",
        "remove that file of the model from hf_cache_path (link and blob) and deploy again",
        versions="safetensors 0.4 to 0.6",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
    ),
    Signature(
        "weights_pickle",
        "exit",
        "weights",
        ("weights only load failed",),
        r"Weights only load failed",
        "a weight file of PyTorch's old format (.bin, .pt) holds more than weights, or is damaged",
        "use a checkpoint with safetensors (vllm_model): such a file may run code when it is loaded; if the line"
        " says operand 118, the file is only git-lfs' pointer to the real one: remove it from hf_cache_path and"
        " deploy again",
        versions="PyTorch 2.6 to 2.11",
        known="source",
        source="torch/serialization.py",
        guide=DOWNLOAD,
        unless=r"vllm/lora/",
    ),
    Signature(
        "weights_missing_shard",
        "fatal",
        "files",
        ("referenced in index but missing",),
        r"Weight files referenced in index but missing: (?P<files>\{[^}]{1,300}\}?)",
        "weight files are missing: {files}",
        "deploy again with vllm_hf_offline: false, so that they are downloaded",
        versions="vLLM 0.32",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
    ),
    Signature(
        "weights_missing",
        "fatal",
        "files",
        ("cannot find any model weights with", "no file named ", "no safetensors weights found"),
        r"Cannot find any model weights with `(?P<model>[^`]{1,200})`|No safetensors weights found"
        r"|Error no file named (?P<file>model\.safetensors|pytorch_model\.bin)",
        "the model's folder holds no weights that vLLM can load",
        "deploy again with vllm_hf_offline: false, so that they are downloaded; if the repository has them only as GGUF"
        " or in another format, select another vllm_model",
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="sandbox",
        guide=DOWNLOAD,
    ),
    Signature(
        "dangling_symlink",
        "fatal",
        "files",
        ("[errno 2] no such file or directory",),
        r"FileNotFoundError: \[Errno 2\] No such file or directory: '(?P<path>(?![^']*(?:(?:dist|site)-packages"
        r"|adapter_config|adapter_model|/usr/|/tmp/|compile_cache|\.cache/vllm|\.triton))[^']{1,400}\.(?:safetensors"
        r"|json|bin))'",
        "the model's folder names {path}, and the file behind it is gone",
        "remove that link from hf_cache_path and deploy again, so that the file is downloaded",
        versions="any",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
    ),
    Signature(
        "config_corrupt",
        "fatal",
        "files",
        ("is not a valid json file", " (char "),
        r"It looks like the config file at '(?P<path>[^']{1,400})' is not a valid JSON file"
        r"|^\s*Value error, [^\n]{3,80}: line \d+ column \d+ \(char \d+\)",
        "a JSON file of the model ({path}) is empty, damaged, or only a pointer to the real one",
        "run playbooks/stage.yml, which compares the files with the hub; remove the damaged one (config.json first) of"
        " the model from hf_cache_path (link and blob) and deploy again; or select another vllm_model",
        versions="transformers 4 and 5; vLLM 0.10",
        known="seen",
        source="sandbox; vllm-project/vllm#26161",
        guide=DOWNLOAD,
    ),
    Signature(
        "fastsafetensors",
        "fatal",
        "files",
        ("fastsafetensors", "cufile", "data_offsets"),
        r"fastsafetensors[^\n]{0,200}?(?:[Ee]rror|failed|not)|cuFile\w*[^\n]{0,80}?(?:[Ee]rror|failed)"
        r"|KeyError: 'data_offsets'",
        "the fast loader of the weights failed",
        "set load_format: auto in vllm_extra_args: the default loader reads every checkpoint",
        versions="fastsafetensors 0.1, vLLM 0.10 to 0.32",
        known="report",
        source="foundation-model-stack/fastsafetensors#88",
    ),
    Signature(
        "ascii_locale",
        "exit",
        "image",
        ("'ascii' codec can't",),
        r"'ascii' codec can't (?:de|en)code",
        "the image runs Python with an ASCII locale: a file or a name with other characters cannot be read",
        "set PYTHONUTF8: 1 in vllm_extra_env (or LANG: C.UTF-8), or use another vllm_image",
        versions="Python 3.10 to 3.12",
        known="source",
        source="Python, UTF-8 mode",
        sets=(("vllm_extra_env", "PYTHONUTF8", "1"),),
    ),
)
