# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NVIDIA container toolkit, which gives a container the GPU."""

from __future__ import annotations

from ..entries import Signature

NVIDIA_TOOLKIT: tuple[Signature, ...] = (
    Signature(
        "nvidia_no_runc",
        "fatal",
        "docker",
        ("no runtime binary found",),
        r"no runtime binary found from candidate list: \[(?P<list>[\w ./-]{1,80})\]",
        "the NVIDIA runtime finds none of the programs that start a container ({list})",
        "see that `runc` is on the host: it comes with the package containerd.io, or with runc of the distribution (a"
        " Docker from snap hides its own); then run `systemctl restart docker` and deploy again. vllm_gpu: cdi does"
        " without the NVIDIA runtime",
        versions="NVIDIA container toolkit 1.13 to 1.19",
        known="report",
        source="domesticatedviking/TextyMcSpeechy#47",
    ),
    Signature(
        "nvidia_cli_requirement",
        "fatal",
        "driver",
        ("nvidia-container-cli: requirement error",),
        r"nvidia-container-cli: requirement error: unsatisfied condition: (?P<condition>cuda\s*>=\s*[\d.]+)",
        "the image needs {condition}, more than the driver of the host offers",
        "update the driver, or select an older image (vllm_image)",
        versions="NVIDIA container toolkit",
        known="report",
        source="NVIDIA container toolkit documentation",
    ),
    Signature(
        "nvidia_cli",
        "fatal",
        "driver",
        ("nvidia-container-", "nvidia-cdi-hook: "),
        r"nvidia-(?:container-cli|container-runtime|container-runtime-hook|cdi-hook): (?P<what>[^\n]{1,160}?)"
        r"(?:: unknown)?$",
        "the NVIDIA container toolkit could not prepare the container: {what}",
        "run `nvidia-smi` on the host: if that fails, reboot; else run playbooks/prepare.yml, which installs the"
        " toolkit, or set vllm_gpu: cdi, which does without this program",
        versions="NVIDIA container toolkit 1.13 to 1.19",
        known="report",
        source="NVIDIA/nvidia-container-toolkit#131, #230",
        generic=True,
    ),
    Signature(
        "nvidia_hook_mode",
        "fatal",
        "docker",
        ("invoking the nvidia container runtime hook directly",),
        r"invoking the NVIDIA Container Runtime Hook directly",
        "the NVIDIA container toolkit of this host runs in CDI mode, and refuses the way in which the container asks"
        " for the GPU",
        'set vllm_gpu: cdi; or put mode = "auto" back with `nvidia-ctk config --in-place --set'
        " nvidia-container-runtime.mode=auto`, restart Docker, and deploy again",
        versions="NVIDIA container toolkit 1.16 to 1.19",
        known="report",
        source="eugr/spark-vllm-docker#129",
    ),
    Signature(
        "nvml_mismatch",
        "fatal",
        "driver",
        ("driver/library version mismatch",),
        r"(?:nvml error: |NVML: )?driver/library version mismatch",
        "the NVIDIA driver was updated and the old kernel module is still loaded",
        "reboot the host (`systemctl reboot`), then deploy again",
        versions="NVIDIA container toolkit, nvidia-smi, every driver",
        known="report",
        source="NVIDIA/nvidia-container-toolkit, NVML error 18",
    ),
    Signature(
        "gpu_not_there",
        "fatal",
        "driver",
        ("device error: ",),
        r"nvidia-container-cli: device error: (?:unknown device: )?(?P<device>[^\s:]{1,80})",
        "the container asks for a GPU that the host does not have: {device}",
        "remove NVIDIA_VISIBLE_DEVICES and CUDA_VISIBLE_DEVICES from vllm_extra_env; if they are not there, check that"
        " `nvidia-smi -L` on the host lists the GPU and `dmesg` has no Xid 79, and reboot",
        versions="NVIDIA container toolkit, legacy mode",
        known="source",
        source="libnvidia-container, src/cli/common.c",
    ),
    Signature(
        "driver_library_missing",
        "fatal",
        "driver",
        (
            "load library failed",
            "nvidia-container-cli",
            "driver not loaded",
            "no nvidia device",
            "failed to initialize nvml",
        ),
        r"nvidia-container-cli: .{0,120}?(?:load library failed: (?P<library>\S+?):|driver not loaded|driver rpc error"
        r"|nvml error: (?!driver/library)[^\n]{1,80}|detection error|cuda error: [^\n]{1,80})"
        r"|Failed to initialize NVML: (?!Driver/library)[^\n]{1,80}",
        "the NVIDIA driver of the host is not installed, not loaded, or does not answer",
        "check `nvidia-smi` on the host; reboot after a driver update; reinstall the driver with DGX OS's packages,"
        " then"
        " run playbooks/prepare.yml",
        versions="NVIDIA container toolkit",
        known="report",
        source="NVIDIA/nvidia-container-toolkit#230",
    ),
    Signature(
        "gpu_mount",
        "fatal",
        "driver",
        ("nvidia-container-cli: mount error",),
        r"nvidia-container-cli: mount error: (?P<detail>.{1,300}?)(?:: unknown|$)",
        "the driver's files could not be mounted into the container: {detail}",
        "reboot the host after a driver update; set vllm_gpu: cdi, which mounts them another way; if a file of the"
        " driver exists in the image already (file exists), use another vllm_image",
        versions="NVIDIA container toolkit, legacy mode",
        known="report",
        source="NVIDIA/nvidia-docker#1068, #825; NVIDIA/nvidia-container-toolkit#678",
    ),
    Signature(
        "persistenced_socket",
        "fatal",
        "driver",
        ("nvidia-persistenced/socket",),
        r"(?:error mounting|failed to fulfil mount request: open) \"?/(?:var/)?run/nvidia-persistenced/socket",
        "the container gets the socket of nvidia-persistenced, which does not run on the host",
        "run `systemctl restart nvidia-persistenced` on the host, then `systemctl restart nvidia-cdi-refresh.service`,"
        " and deploy again; reboot the host after a driver update",
        versions="NVIDIA container toolkit 1.13 to 1.19",
        known="report",
        source="NVIDIA/nvidia-container-toolkit#679",
    ),
)
