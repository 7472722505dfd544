#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets another host have one image of this one, for a limited time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_image_export
short_description: Makes an image of this host readable for another host
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Starts a temporary SSH server that accepts one key, and answers every request with C(docker save) of one image by
    its ID. Runs on the source of a copy; M(dgxspark.vllm.vllm_image_copy) runs on the target.
  - The server is the one of M(dgxspark.vllm.hf_cache_export), which stops it with C(state=absent). Otherwise systemd
    stops it after a time that is sufficient for the image at 10 MB/s and all O(hosts).
options:
  image:
    description: The image. It has to be on the host.
    type: str
    required: true
  public_key:
    description:
      - Public key that is accepted, as returned by M(dgxspark.vllm.hf_cache_copy_key).
      - Required, except in check mode.
    type: str
  address:
    description:
      - Address of this host to listen on, as for M(dgxspark.vllm.hf_cache_export).
      - Required, except in check mode.
    type: str
  hosts:
    description: Number of hosts that copy from this one in the same batch, and may have to wait for each other.
    type: int
    default: 1
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
    details: Describes the image, and starts no server.
  diff_mode:
    description: Shows what changes in diff mode.
    support: none
    details: Everything it creates is removed after the copy.
  idempotent:
    description: A second run changes nothing.
    support: none
    details: Each call starts another server with another key.
notes:
  - Requires root, Docker, systemd and sshd.
seealso:
  - module: dgxspark.vllm.vllm_image_copy
  - module: dgxspark.vllm.hf_cache_copy_key
  - module: dgxspark.vllm.hf_cache_export
"""

EXAMPLES = r"""
- name: Let the holder of a key copy an image
  dgxspark.vllm.vllm_image_export:
    image: nvcr.io/nvidia/vllm:25.09-py3
    public_key: "{{ key.public_key }}"
    address: 192.168.100.1
  become: true
  delegate_to: spark01
  register: exported

- name: Stop the server
  dgxspark.vllm.hf_cache_export:
    state: absent
    unit: "{{ exported.unit }}"
  become: true
  delegate_to: spark01
"""

RETURN = r"""
id:
  description: ID of the image.
  returned: success
  type: str
  sample: sha256:5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c
digests:
  description: Its digests in registries. Empty if it was built or loaded on the host.
  returned: success
  type: list
  elements: str
  sample: ["nvcr.io/nvidia/vllm@sha256:5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c"]
bytes:
  description: Its size in bytes.
  returned: success
  type: int
  sample: 19327352832
architecture:
  description: The architecture that it is for.
  returned: success
  type: str
  sample: arm64
store:
  description: Docker's image store, V(classic) or V(containerd). It decides what the ID is.
  returned: success
  type: str
  sample: classic
unit:
  description: Name of the systemd unit. V(null) in check mode.
  returned: success
  type: str
  sample: dgxspark-export-3f2a9c41
port:
  description: TCP port of the server. V(null) in check mode.
  returned: success
  type: int
  sample: 40213
host_key:
  description: Public host key of the server. V(null) in check mode.
  returned: success
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import images, ssh_server
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.spark import filesystem_space
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import text

AT_A_TIME = 2  # hosts that copy; the role sees to it


def check_space(info: t.Mapping[str, t.Any], size: int) -> None:
    """The classic store writes each `docker save` to its folder before a byte leaves the host. Raises ImageError."""
    root = text(info.get("DockerRootDir")) or "/var/lib/docker"
    free, needed = filesystem_space(root)["free_bytes"], AT_A_TIME * size
    if images.store(info) == "classic" and free < needed:
        raise images.ImageError(
            f"{root} has {free / 1e9:.1f} GB free, and docker save needs up to {needed / 1e9:.1f} GB there for a while"
        )


def export_image(module: AnsibleModule) -> dict[str, t.Any]:
    asked = module.params
    ssh_server.check_request(asked["public_key"], asked["address"], module.check_mode)
    docker = module.get_bin_path("docker")
    if docker is None:
        raise images.ImageError("Docker is not installed")
    found = images.find(module.run_command, docker, asked["image"])
    if found is None:
        raise images.ImageError(f"{asked['image']} is not there")
    if not images.ID.fullmatch(found.id):
        raise images.ImageError(f"the ID of {asked['image']} is not a hash: {found.id}")
    info = images.daemon(module.run_command, docker)
    check_space(info, found.size)
    result: dict[str, t.Any] = {
        "id": found.id,
        "digests": found.digests,
        "bytes": found.size,
        "architecture": found.architecture,
        "store": images.store(info),
        **ssh_server.NO_SERVER,
    }
    if not module.check_mode:
        server = ssh_server.TemporarySshServer(module)
        seconds = ssh_server.limit(found.size) * max(1, asked["hosts"])
        result.update(server.serve("docker", f"save {found.id}", found.id[:19], seconds, {}))
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "required": True},
            **ssh_server.OPTIONS,
            "hosts": {"type": "int", "default": 1},
        },
        supports_check_mode=True,
    )
    try:
        exported = export_image(module)
        module.exit_json(changed=not module.check_mode, **exported)
    except (images.ImageError, ssh_server.SshServerError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, ssh_server.RUN))


if __name__ == "__main__":
    main()
