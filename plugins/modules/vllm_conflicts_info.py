#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds out what holds the port or the container name of a vLLM service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_conflicts_info
short_description: Finds out what holds the port or the container name of a vLLM service
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Looks for another program that listens on the port of a service, and for another container with the name of its
    container.
  - Distinguishes what M(dgxspark.vllm.vllm_takeover) can stop and start again from what prevents a deployment. The
    former are containers that run vLLM, whether they belong to another service of this collection, to a Compose project
    or were started with C(docker run).
  - The containers of the service itself are never a conflict.
options:
  service:
    description: Name of the service, as C(vllm_service_name) of the role P(dgxspark.vllm.vllm#role).
    type: str
    required: true
  port:
    description: TCP port that the service needs.
    type: int
    required: true
  address:
    description: Address on which it needs O(port). V(0.0.0.0) means any address.
    type: str
    default: 0.0.0.0
  container:
    description: Name that the container of the service needs.
    type: str
    required: true
  api_key:
    description: API key of the service. It is only compared, see RV(holders).
    type: str
  take_over:
    description: Whether other vLLM servers may be stopped. If not, each of them is a conflict.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
    details: If Docker does not answer, the task fails. In check mode the host is treated as one without containers.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference to show.
  idempotent:
    support: full
    description: Reads only.
notes:
  - Requires root. Otherwise the process that listens on the port cannot be identified.
seealso:
  - module: dgxspark.vllm.vllm_takeover
"""

EXAMPLES = r"""
- name: Find out what holds the port
  dgxspark.vllm.vllm_conflicts_info:
    service: vllm
    port: 8000
    container: vllm-qwen3-8b-fp8
  become: true
  register: found

- name: Fail if the service cannot be deployed
  ansible.builtin.fail:
    msg: "{{ found.conflicts | map(attribute='text') | join('. ') }}"
  when: found.conflicts | length > 0
"""

RETURN = r"""
conflicts:
  description: What prevents a deployment. Empty if nothing does.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description:
        - V(port_in_use) if a program that is not a vLLM server in a container listens on the port.
        - V(name_in_use) if a container that does not run vLLM has the name.
        - V(auto_removed) if a vLLM server was started with C(--rm), so that it could not be started again.
        - V(take_over_disabled) if a vLLM server has the port or the name, and O(take_over=false).
      type: str
      returned: always
      sample: port_in_use
    text:
      description: What it is and what to do about it, in one line.
      type: str
      returned: always
      sample: >-
        Port 8000 is held by nginx (pid 812), which is not a vLLM server in a container. Stop it, or set vllm_port to a
        free port
  sample: []
holders:
  description: Containers that have the port or the name. Those of the service itself are left out.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Identifier of the container.
      type: str
      returned: always
      sample: 0123456789ab0123456789ab0123456789ab0123456789ab0123456789ab0123
    kind:
      description: V(service) of this collection, V(compose) or V(container).
      type: str
      returned: always
      sample: compose
    name:
      description: Name of the container.
      type: str
      returned: always
      sample: vllm-qwen3-8b-fp8
    renamed:
      description: Name that M(dgxspark.vllm.vllm_takeover) gave it to make its own available.
      type: str
      returned: always
      sample: null
    running:
      description: Whether it runs.
      type: bool
      returned: always
      sample: true
    service:
      description: Name of the service. V(null) if it does not belong to one of this collection.
      type: str
      returned: always
      sample: null
    enabled:
      description: Whether systemd starts that service at boot.
      type: bool
      returned: always
      sample: false
    project:
      description: Name of the Compose project. V(null) if it does not belong to one.
      type: str
      returned: always
      sample: llm
    image:
      description: Image of the container.
      type: str
      returned: always
      sample: nvcr.io/nvidia/vllm:25.09-py3
    restart:
      description: Restart policy of the container.
      type: str
      returned: always
      sample: unless-stopped
    published:
      description: Address and port at which the host reaches the server. V(null) if no port is published.
      type: str
      returned: always
      sample: 127.0.0.1:8000
    listens:
      description: Address and port on which Docker listens for clients. V(null) if no port is published.
      type: str
      returned: always
      sample: 0.0.0.0:8000
    served_names:
      description: Names by which clients ask for the model. Empty if its command does not tell them.
      type: list
      elements: str
      returned: always
      sample: [my-model]
    asks_key:
      description: Whether the server asks for an API key, whose value is never returned. V(null) if that is not known.
      type: bool
      returned: always
      sample: true
    same_key:
      description: Whether O(api_key) is the one API key that the server asks for.
      type: bool
      returned: with O(api_key)
      sample: false
    auto_remove:
      description: Whether Docker removes the container when it stops (C(--rm)).
      type: bool
      returned: always
      sample: false
    is_vllm:
      description: Whether it serves vLLM, by its command, or because it belongs to a service of this collection.
      type: bool
      returned: always
      sample: true
    description:
      description: A phrase that identifies the container to an operator.
      type: str
      returned: always
      sample: the container vllm-qwen3-8b-fp8 of the Compose project llm
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.conflicts import conflicts
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import containers, spark
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.port_holder import description


def look(module: AnsibleModule) -> dict[str, t.Any]:
    asked = module.params
    docker = module.get_bin_path("docker")
    listing = ""
    if docker:
        rc, listing, err = module.run_command([docker, "ps", *spark.LIST_CONTAINERS])
        if rc and not module.check_mode:
            raise containers.Failed(f"docker ps ended with {rc}: {err.strip()}")
        docker = None if rc else docker  # a host that is not prepared yet
    listener = spark.find_listener(asked["port"], listing, asked["address"])
    names = dict.fromkeys(filter(None, ((listener or {}).get("container"), asked["container"]))) if docker else {}
    found = [holder for holder in (containers.find(module, name, asked["api_key"]) for name in names) if holder]
    ours = [holder["name"] for holder in found if holder["service"] == asked["service"]]
    if listener and listener["container"] in ours:
        listener = None
    holders = [holder for holder in found if holder["name"] not in ours]
    return {
        "conflicts": conflicts(listener, holders, asked["port"], asked["container"], asked["take_over"]),
        "holders": [{**holder, "description": description(holder)} for holder in holders],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "address": {"type": "str", "default": "0.0.0.0"},
            "container": {"type": "str", "required": True},
            "api_key": {"type": "str", "no_log": True},
            "take_over": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    port = module.params["port"]
    if not 1 <= port <= 65535:
        module.fail_json(msg=f"port: {port} is not allowed; use a TCP port from 1 to 65535")
    try:
        module.exit_json(changed=False, **look(module))
    except containers.Failed as failed:
        module.fail_json(msg=str(failed))


if __name__ == "__main__":
    main()
