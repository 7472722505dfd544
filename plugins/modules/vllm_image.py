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
options:
  home:
    description: Folder of the service on the host, which M(dgxspark.vllm.vllm_home) has created.
    type: path
    required: true
  release:
    description: Name of the release that needs the image. Its folder has to exist.
    type: str
    required: true
  image:
    description: The image, as Docker is to pull it.
    type: str
    required: true
  ask_registry:
    description: Whether to ask the registry in check mode. Another host that has the image may be asked first.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
    details:
      - An image that is not on the host is not pulled, but with O(ask_registry) its registry is asked whether it has
        the image.
  diff_mode:
    support: none
    description: There is nothing to compare.
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
stderr:
  description: What Docker said of a pull that failed.
  returned: if the pull failed
  type: str
  sample: "Error response from daemon: manifest for nvcr.io/nvidia/vllm:1 not found: manifest unknown"
"""

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

    def ask_registry(self) -> None:
        """Fails if a pull would: no image or tag, no access, no registry. Asks nothing where only the daemon can."""
        info = images.daemon(self.module.run_command, self.docker)
        registries = mapping(info.get("RegistryConfig"))
        proxies = {name: text(info.get(key)) for name, key in PROXIES.items() if text(info.get(key))}
        has_mirror = sequence(registries.get("Mirrors")) and "." not in self.name.partition("/")[0]
        if has_mirror or any("xxxxx" in proxy for proxy in proxies.values()):  # a password that Docker does not tell
            return
        # plain HTTP, which the daemon was told of, and `docker manifest` does not know
        registry = mapping(mapping(registries.get("IndexConfigs")).get(self.name.partition("/")[0]))
        insecure = ["--insecure"] if registry.get("Secure") is False else []
        command = ["timeout", "60", self.docker, "manifest", "inspect", *insecure, "--", self.name]
        rc, _out, err = self.module.run_command(command, environ_update=proxies)
        if rc:
            said = plain_lines(err).strip()
            reason = said.splitlines()[-1] if said else f"no answer of its registry in 60 s ({rc})"
            self.module.fail_json(msg=f"The image {self.name} cannot be pulled: {reason}", stderr=said)

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


def recorded_digests(home: str, ident: str | None) -> list[str]:
    """Of an image that was copied for this service or for another one: Docker may know none."""
    found = (image_digests(each).get(ident or "", []) for each in (home, *other_homes(home, services.UNITS)))
    return next(filter(None, found), [])


def record(path: str, facts: Facts, check: bool) -> bool:
    """Whether the file changes."""
    changed = read_json(path) != facts
    if changed and not check:
        write(path, json.dumps(facts, indent=4) + "\n")
    return changed


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "image": {"type": "str", "required": True},
            "ask_registry": {"type": "bool", "default": True},
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
        facts, pulled, recorded = image.look(), False, False
        if facts is None:
            pulled = True
            if module.check_mode and module.params["ask_registry"]:
                image.ask_registry()
            facts = {"id": None, "digests": []} if module.check_mode else image.pull(home)
        elif homes.is_pulling(home, image.name):  # a run was interrupted after its pull
            recorded = True
            if not module.check_mode:
                homes.end_pull(home, image.name, facts["id"])
        facts["digests"] = facts["digests"] or recorded_digests(home, facts["id"])
        changed = record(file, facts, module.check_mode) or pulled or recorded
        module.exit_json(changed=changed, pulled=pulled, **facts)
    except PermissionError as error:
        module.fail_json(msg=f"{error.filename or home}: {error.strerror}. It needs root: become: true")
    except OSError as error:
        module.fail_json(msg=f"{error.filename or home}: {error.strerror}")


if __name__ == "__main__":
    main()
