#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: spark_info
short_description: Read the state of a DGX Spark in one call
version_added: "0.1.0"
description:
  - Reads the operating system, GPU, firmware, memory, Docker, NVIDIA container toolkit, packages and network ports, and
    determines whether the GPU is throttled and whether memory is low.
  - Values of a tool that is missing, broken or hung are V(null), with the reason where there is a field for it. The
    module does not fail, so it can be used on a host where nothing is installed yet.
  - Root is not required. Without it the process that listens on O(port) is unknown, and Docker may deny access.
author:
  - The dgxspark.vllm authors (@dgxspark)
extends_documentation_fragment:
  - dgxspark.vllm.attributes
options:
  paths:
    description: Paths whose file systems are measured. If a path does not exist, its nearest existing parent is used.
    type: list
    elements: path
    default: []
  port:
    description: TCP port, from 1 to 65535, whose listener is reported. See RV(spark.listener).
    type: int
  address:
    description:
      - Address on which O(port) is needed. A listener on another address of the host is not reported. V(0.0.0.0) means
        any address.
    type: str
    default: 0.0.0.0
  files:
    description: Absolute paths of files and directories. See RV(spark.files).
    type: list
    elements: path
    default: []
  sysctl:
    description: Names of kernel parameters. See RV(spark.sysctl).
    type: list
    elements: str
    default: []
  units:
    description: Names of systemd units, with their suffix. See RV(spark.units).
    type: list
    elements: str
    default: []
  commands:
    description: Names of commands. See RV(spark.commands).
    type: list
    elements: str
    default: []
  cache:
    description: Path of a Hugging Face cache. See RV(spark.cache).
    type: path
  cache_model:
    description: Id of the model on the hub that is needed from O(cache). It decides if both folders hold models.
    type: str
notes:
  - The thresholds for throttling are based on measurements published by owners of the machine. Under load the SM clock
    of a healthy GB10 is 2400 MHz or more, and 500 to 850 MHz in the degraded power state.
  - Memory is low below 3 GiB. With 90 % of the memory for vLLM, 4 GiB were measured to remain available, and earlyoom,
    as configured by the role P(dgxspark.vllm.spark_host#role), kills vLLM below 2 GiB.
  - Each command has a timeout of 5 seconds.
seealso:
  - plugin: dgxspark.vllm.host_differences
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the host
  dgxspark.vllm.spark_info:
    paths: [/opt/hf, /var/lib/docker]
    port: 8000
  register: host

- name: Fail unless the host is a DGX Spark
  ansible.builtin.assert:
    that: host.spark.is_spark
    fail_msg: "{{ host.spark.reasons | join('; ') }}"

- name: Also read the configuration
  dgxspark.vllm.spark_info:
    files: [/etc/security/limits.d/dgxspark.conf]
    sysctl: [vm.swappiness]
    units: [earlyoom.service]
  register: host
"""

RETURN = r"""
clock:
  description:
    - Seconds that the clock of the host is ahead of the controller's, at C(least) and at C(most). Negative if it is
      behind. How long the call took is the difference.
  returned: success
  type: dict
  sample: {least: -1.4, most: 0.9}
spark:
  description: The host.
  returned: always
  type: dict
  contains:
    architecture: {description: Machine architecture., type: str, returned: always, sample: aarch64}
    hostname: {description: Name of the host., type: str, returned: always, sample: spark01}
    python: {description: Version of the Python that ran the module., type: str, returned: always, sample: 3.12.3}
    os:
      description:
        - C(id), C(version_id), C(codename) and C(pretty_name) are read from C(/etc/os-release).
        - C(dgx_release) is the content of C(/etc/dgx-release) with short lowercase names and without the serial number,
          or V(null).
      type: dict
      returned: always
      sample:
        id: ubuntu
        version_id: "24.04"
        codename: noble
        pretty_name: Ubuntu 24.04.3 LTS
        kernel: 6.11.0-1016-nvidia
        dgx_release: {name: DGX Spark, pretty_name: NVIDIA DGX Spark, swbuild_version: 7.2.3, ota_version: 7.3.1}
    is_spark:
      description: Whether the GPU is a GB10, or C(/etc/dgx-release) names a DGX Spark.
      type: bool
      returned: always
      sample: true
    reasons:
      description: Reasons for RV(spark.is_spark).
      type: list
      elements: str
      returned: always
      sample: [the GPU is NVIDIA GB10, /etc/dgx-release names a DGX Spark]
    gpu:
      description:
        - The first GPU that C(nvidia-smi) lists. V(null) if there is none, or no answer.
        - C(memory) is always V(null), because a GB10 shares the memory of the host, so its driver reports none.
      type: dict
      returned: always
      sample:
        {name: NVIDIA GB10, driver: 580.95.05, cuda: "13.0", utilization_percent: 0, temperature_c: 32, power_w: 4.23,
         sm_clock_mhz: 208, memory: null}
    gpu_error: {description: First line of the error of C(nvidia-smi)., type: str, returned: always, sample: null}
    memory:
      description: Memory from C(/proc/meminfo). Dropping the page cache frees at most C(page_cache_bytes).
      type: dict
      returned: always
      sample:
        {total_bytes: 130663886848, free_bytes: 115964116992, available_bytes: 124555051008,
         page_cache_bytes: 8805023744, swap_total_bytes: 17179865088, swap_free_bytes: 17179865088}
    time: {description: Seconds since 1970 by the host's clock., type: int, returned: always, sample: 1795446245}
    low_memory:
      description: Whether less than 3 GiB of memory are available. V(null) if unknown.
      type: dict
      returned: always
      sample: {low: false, reason: "116.0 GiB available, at least 3 GiB expected"}
    firmware:
      description:
        - Versions that should be the same on every host of a fleet. Unknown versions are omitted.
        - C(dgx_os) is the release after the last over-the-air update, C(bios) the UEFI, C(vbios) the firmware of the
          GPU, C(connectx7) the firmware of the network adapter. Other adapters are listed by their type.
      type: dict
      returned: always
      sample: {dgx_os: 7.3.1, bios: 5.36_0ACUM018, vbios: 9A.0B.2D.00.00, connectx7: 28.45.4028}
    docker:
      description:
        - Docker. V(null) if the C(docker) command is not installed.
        - C(running) is whether the daemon answered, and C(error) the reason if not.
        - C(compose) is the version of the Compose plugin.
        - Values of the daemon are V(null) or empty if it is not running.
      type: dict
      returned: always
      sample:
        {client: 28.3.3, server: 28.3.3, running: true, error: null, compose: 2.39.1, default_runtime: runc,
         runtimes: [io.containerd.runc.v2, nvidia, runc], cdi_spec_dirs: [/etc/cdi, /var/run/cdi],
         cgroup_driver: systemd, root_dir: /var/lib/docker}
    services:
      description:
        - Services of this collection that have a container, running or not. A container that only has the labels of
          one, without its unit and its release, is left out.
        - C(container) is the name of the container, and C(release) its release.
        - C(planned_bytes) is the memory of its plan. V(null) if it was deployed without a plan.
        - C(running) is whether the container runs, so that it has this memory now.
      type: list
      elements: dict
      returned: always
      sample:
        - {service: vllm, container: vllm-x, planned_bytes: 117606941982, release: 0123456789ab, running: true}
    toolkit:
      description:
        - NVIDIA container toolkit. V(null) if C(nvidia-ctk) is not installed.
        - C(cdi_devices) is V(null) after a timeout.
      type: dict
      returned: always
      sample: {version: 1.19.0, ctk_path: /usr/bin/nvidia-ctk, cdi_devices: [nvidia.com/gpu=0, nvidia.com/gpu=all]}
    daemon_json:
      description:
        - Content of C(/etc/docker/daemon.json). V(null) if it does not exist or is invalid.
        - Passwords in addresses, and values of keys that name a token, a secret or a password, are C(********).
      type: dict
      returned: always
      sample: {runtimes: {nvidia: {args: [], path: nvidia-container-runtime}}}
    daemon_json_error: {description: Error in that file with its line., type: str, returned: always, sample: null}
    daemon_json_pending:
      description:
        - Whether a run that was interrupted has left a change of C(/etc/docker/daemon.json) that Docker may not have
          read. M(dgxspark.vllm.daemon_json) completes it.
      type: bool
      returned: always
      sample: false
    packages:
      description: Installed versions of the relevant Debian packages. V(null) if not installed.
      type: dict
      returned: always
      sample: {docker.io: null, docker-ce: "5:28.3.3-1~ubuntu.24.04~noble", earlyoom: null}
    listener:
      description:
        - Process that listens on O(port) at O(address). V(null) if there is none, or O(port) is not set.
        - C(container) is the name of the container that publishes the port or runs the process.
        - C(pid) and C(process) are V(null) without root, and if Docker forwards the port without a process.
      type: dict
      returned: always
      sample: {port: 8000, pid: 4242, process: docker-proxy, container: vllm-qwen3-8b-fp8}
    nics:
      description:
        - Physical network ports. The driver of the ConnectX-7 is C(mlx5_core). C(speed_mbps) is V(null) without a link.
      type: list
      elements: dict
      returned: always
      sample: [{name: enp1s0f0np0, driver: mlx5_core, state: up, speed_mbps: 200000, mtu: 9000}]
    connectx7:
      description:
        - The interfaces of the ConnectX-7 of a Spark. Each port has two, which are its halves; C(rail) numbers them.
        - C(device) is the device for RDMA. C(speed_mbps) is V(null) without a link.
      type: list
      elements: dict
      returned: always
      sample:
        - {name: enp1s0f0np0, pci: "0000:01:00.0", port: 0, rail: 0, device: rocep1s0f0, mac: "4c:bb:47:00:00:01",
           is_up: true, carrier: true, speed_mbps: 200000, mtu: 9000}
    interfaces:
      {description: Network interfaces with their IPv4 addresses. Empty without C(ip)., type: list, elements: dict,
       returned: always, sample: [{name: enp1s0f0np0, addresses: [192.168.100.1]}]}
    infiniband:
      {description: Names of the devices for RDMA in C(/dev/infiniband)., type: list, elements: str, returned: always,
       sample: [rdma_cm, uverbs0]}
    throttle:
      description:
        - C(throttled) is V(true) if the utilization of the GPU is above 80 % and its SM clock below 1500 MHz, V(false)
          if the clock is 1500 MHz or more, and V(null) at a lower utilization, which allows no verdict.
      type: dict
      returned: always
      sample: {throttled: null, reason: "cannot be judged: the GPU is 0 % busy, more than 80 % is needed"}
    filesystems:
      description: Size and free space of the file system of each of O(paths). Free space is that of ordinary users.
      type: dict
      returned: always
      sample: {/opt/hf: {total_bytes: 3936818806784, free_bytes: 3519069872128}}
    files:
      description:
        - Each of O(files), by its path. Links are not followed.
        - C(type) is V(file), V(directory), V(link), V(other), V(absent), or V(unknown) if access is denied.
        - C(sha256) is the hash of a regular file. C(content) is its text if it is world-readable and at most 64 KiB.
        - Fields that do not apply are V(null).
      type: dict
      returned: always
      sample:
        /etc/sysctl.d/90-dgxspark.conf:
          {type: file, owner: root, group: root, uid: 0, gid: 0, mode: "0644", content: "vm.swappiness=10\n",
           sha256: 3bb06b9ff9a2bd2dd7a2aab4dc3f3a2bd6f5ff0e2de7f0ea12f2fd9ccb5a4b3f}
    sysctl:
      {description: Current value of each of O(sysctl). V(null) if it does not exist., type: dict, returned: always,
       sample: {vm.swappiness: "10"}}
    units:
      description:
        - State of each of O(units), from C(systemctl show). The C(load_state) of a unit that does not exist is
          C(not-found).
        - C(conflicted_by) has the services of this collection whose units, as systemd has read them, conflict with it.
      type: dict
      returned: always
      sample:
        earlyoom.service:
          {load_state: loaded, active_state: active, unit_file_state: enabled, needs_reload: false, conflicted_by: []}
    commands:
      {description: Path of each of O(commands). V(null) if not installed., type: dict, returned: always,
       sample: {rsync: /usr/bin/rsync}}
    cache:
      description: O(cache) as C(path), and C(folder), which holds its models, C(path) or C(hub) below it. Else V(null).
      type: dict
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.reading import read_host


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "default": []},
            "port": {"type": "int"},
            "address": {"type": "str", "default": "0.0.0.0"},
            "files": {"type": "list", "elements": "path", "default": []},
            **{name: {"type": "list", "elements": "str", "default": []} for name in ("sysctl", "units", "commands")},
            "cache": {"type": "path"},
            "cache_model": {"type": "str"},
        },
        supports_check_mode=True,
    )
    port = module.params["port"]
    if port is not None and not 1 <= port <= 65535:
        module.fail_json(msg=f"port: {port} is not allowed; use a TCP port from 1 to 65535")
    module.exit_json(changed=False, spark=read_host(module, module.params))


if __name__ == "__main__":
    main()
