#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls the image of a vLLM service if it is not on the host, and records that it was pulled for the service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_image
short_description: Pulls the image of a vLLM service
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Pulls an image if it is not on the host. An image that is there is not pulled again.
  - Records in O(home) that it was pulled for the service, so that M(dgxspark.vllm.vllm_release) may remove it once no
    release needs it. The record begins before the pull. If the run is interrupted, the next one completes the record.
  - An image that was there before belongs to its owner, and is never recorded.
  - Writes the ID and the digests of the image to the file C(image.json) of the release.
extends_documentation_fragment:
  - dgxspark.vllm.release
options:
  image:
    description: The image, as Docker is to pull it.
    type: str
    required: true
  ask_registry:
    description: Whether to ask the registry in check mode. Another host that has the image may be asked first.
    type: bool
    default: true
  daemon_options:
    description:
      - What Docker is going to have of C(insecure-registries) and C(registry-mirrors), lists as in its C(daemon.json),
        and whether it is going to have C(proxies).
      - In check mode, a registry that is reached by one of them is not asked until Docker has it.
    type: dict
    default: {}
    suboptions:
      insecure_registries:
        description: Registries, or networks of registries, without TLS that can be verified.
        type: list
        elements: str
        default: []
      registry_mirrors:
        description: Mirrors of Docker Hub.
        type: list
        elements: str
        default: []
      proxies:
        description: Whether there are proxies.
        type: bool
        default: false
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
    details:
      - An image that is not on the host is not pulled, but with O(ask_registry) its registry is asked whether it has
        the image.
  diff_mode:
    support: full
    description: Shows whether the image is on the host, and its ID if the release had another one.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - Requires root and Docker.
seealso:
  - module: dgxspark.vllm.vllm_home
  - module: dgxspark.vllm.vllm_image_copy
  - module: dgxspark.vllm.vllm_release
"""

EXAMPLES = r"""
- name: Pull the image of a release
  dgxspark.vllm.vllm_image:
    home: /opt/vllm
    release: 0123456789ab
    image: nvcr.io/nvidia/vllm:25.09-py3
  become: true
"""

RETURN = r"""
id:
  description: ID of the image. V(null) if it is not on the host, which is possible in check mode only.
  returned: success
  type: str
  sample: sha256:5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c
digests:
  description:
    - Its digests in registries. Empty if it was built or loaded on the host.
    - Docker may not know those of an image that M(dgxspark.vllm.vllm_image_copy) has copied. Then they are those that
      the source knows.
  returned: success
  type: list
  elements: str
  sample: ["nvcr.io/nvidia/vllm@sha256:5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c"]
pulled:
  description: Whether it was pulled, or would be pulled in check mode.
  returned: success
  type: bool
  sample: true
waits:
  description:
    - Whether its registry was not asked, because Docker does not have all of O(daemon_options) yet that it needs for
      it. Only in check mode.
  returned: success
  type: bool
  sample: false
stderr:
  description: What Docker said of a pull that failed.
  returned: if the pull failed
  type: str
  sample: "Error response from daemon: manifest for nvcr.io/nvidia/vllm:1 not found: manifest unknown"
"""

import ipaddress
import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import home as homes
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import (
    NAME,
    image_digests,
    other_homes,
    read_json,
    write,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import images, services
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain_lines
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import mapping, sequence, text

Facts = dict[str, t.Any]

# The daemon's proxies, which its client does not use by itself.
PROXIES = {"HTTP_PROXY": "HttpProxy", "HTTPS_PROXY": "HttpsProxy", "NO_PROXY": "NoProxy"}


class Image:
    def __init__(self, module: AnsibleModule, name: str) -> None:
        self.module = module
        self.docker: str = module.get_bin_path("docker", required=True)
        self.name = name

    def look(self) -> Facts | None:
        """ID and digests; None if it is not on the host."""
        try:
            found = images.find(self.module.run_command, self.docker, self.name)
        except images.ImageError as error:
            self.module.fail_json(msg=str(error))
        return {"id": found.id, "digests": found.digests} if found else None

    def ask_registry(self, expected: Facts) -> bool:
        """Fails if a pull would: no image or tag, no access, no registry. Asks nothing where only the daemon can.

        Nor where the daemon cannot yet, which is going to have what is EXPECTED: then it returns True.
        """
        info = images.daemon(self.module.run_command, self.docker)
        if is_pending(self.name, expected, info):
            return True
        registries = mapping(info.get("RegistryConfig"))
        proxies = {name: text(info.get(key)) for name, key in PROXIES.items() if text(info.get(key))}
        has_mirror = sequence(registries.get("Mirrors")) and "." not in self.name.partition("/")[0]
        if has_mirror or any("xxxxx" in proxy for proxy in proxies.values()):  # a password that Docker does not tell
            return False
        # plain HTTP, which the daemon was told of, and `docker manifest` does not know
        registry = mapping(mapping(registries.get("IndexConfigs")).get(self.name.partition("/")[0]))
        insecure = ["--insecure"] if registry.get("Secure") is False else []
        command = ["timeout", "60", self.docker, "manifest", "inspect", *insecure, "--", self.name]
        rc, _out, err = self.module.run_command(command, environ_update=proxies)
        if rc:
            said = plain_lines(err).strip()
            reason = said.splitlines()[-1] if said else f"no answer of its registry in 60 s ({rc})"
            self.module.fail_json(msg=f"The image {self.name} cannot be pulled: {reason}", stderr=said)
        return False

    def pull(self, home: str) -> Facts:
        there = images.named(self.module.run_command, self.docker)  # an owner has it under another name
        homes.begin_pull(home, self.name)
        rc, _out, err = self.module.run_command([self.docker, "pull", "--quiet", "--", self.name])
        facts = self.look()
        homes.end_pull(home, self.name, facts["id"] if facts and facts["id"] not in there else None)
        if facts is None:
            said = plain_lines(err).strip()
            reason = said.splitlines()[-1] if said else f"docker pull ended with {rc}"
            self.module.fail_json(msg=f"The image {self.name} cannot be pulled: {reason}", stderr=said)
        return t.cast(Facts, facts)


def is_pending(image: str, expected: Facts, info: Facts) -> bool:
    """Whether the daemon, by what it says of itself, does not have all yet that it needs for the registry of IMAGE."""
    registries, host = mapping(info.get("RegistryConfig")), image.partition("/")[0]
    if expected["proxies"] and not any(text(info.get(key)) for key in PROXIES.values()):
        return True
    if "." not in host and ":" not in host and host != "localhost":
        mirrors = {text(mirror).rstrip("/") for mirror in sequence(registries.get("Mirrors"))}
        return any(mirror.rstrip("/") not in mirrors for mirror in expected["registry_mirrors"])
    known = {
        *(name for name, its in mapping(registries.get("IndexConfigs")).items() if mapping(its).get("Secure") is False),
        *(text(network) for network in sequence(registries.get("InsecureRegistryCIDRs"))),
    }
    return is_among(host, expected["insecure_registries"]) and not is_among(host, known)


def is_among(host: str, registries: t.Iterable[str]) -> bool:
    """Whether a registry is one of these, or in one of their networks."""
    for each in registries:
        try:
            if ipaddress.ip_address(host.partition(":")[0]) in ipaddress.ip_network(each, strict=False):
                return True
        except ValueError:
            if host == each:
                return True
    return False


def recorded_digests(home: str, ident: str | None) -> list[str]:
    """Of an image that was copied for this service or for another one: Docker may know none."""
    found = (image_digests(each).get(ident or "", []) for each in (home, *other_homes(home, services.UNITS)))
    return next(filter(None, found), [])


def record(path: str, facts: Facts, check: bool) -> Facts | None:
    """What the file holds before, if it changes."""
    before = read_json(path)
    if before == facts:
        return None
    if not check:
        write(path, json.dumps(facts, indent=4) + "\n")
    return before


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "image": {"type": "str", "required": True},
            "ask_registry": {"type": "bool", "default": True},
            "daemon_options": {
                "type": "dict",
                "default": {},
                "apply_defaults": True,
                "options": {
                    "insecure_registries": {"type": "list", "elements": "str", "default": []},
                    "registry_mirrors": {"type": "list", "elements": "str", "default": []},
                    "proxies": {"type": "bool", "default": False},
                },
            },
        },
        supports_check_mode=True,
    )
    home, release = os.path.abspath(module.params["home"]), module.params["release"]
    if not NAME.fullmatch(release):
        module.fail_json(msg=f"release: {release!r} is not the name of a release, which has 12 digits of 0-9 and a-f")
    if not module.check_mode and homes.owner(home) is None:
        module.fail_json(msg=f"home: {home} is not the folder of a service; dgxspark.vllm.vllm_home creates one")
    image = Image(module, module.params["image"])
    file = os.path.join(home, "releases", release, "image.json")
    try:
        facts, pulled, recorded, waits = image.look(), False, False, False
        if facts is None:
            pulled = True
            if module.check_mode and module.params["ask_registry"]:
                waits = image.ask_registry(module.params["daemon_options"])
            facts = {"id": None, "digests": []} if module.check_mode else image.pull(home)
        elif homes.is_pulling(home, image.name):  # a run was interrupted after its pull
            recorded = True
            if not module.check_mode:
                homes.end_pull(home, image.name, facts["id"])
        facts["digests"] = facts["digests"] or recorded_digests(home, facts["id"])
        before = record(file, facts, module.check_mode)
        result: Facts = {"changed": before is not None or pulled or recorded, "pulled": pulled, "waits": waits, **facts}
        shown = [
            {"is on the host": on_host, **({"id": its.get("id")} if before else {})}
            for on_host, its in ((not pulled, before or facts), (True, facts))
        ]
        if shown[0] != shown[1] and module._diff:  # the first record of a release is no news
            result["diff"] = {"before_header": image.name, "before": shown[0], "after": shown[1]}
        module.exit_json(**result)
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, home))


if __name__ == "__main__":
    main()
