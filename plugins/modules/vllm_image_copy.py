#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies the image of a vLLM service from another host, and records that it was brought here for the service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_image_copy
short_description: Copies the image of a vLLM service from another host
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Gets an image from a host on which M(dgxspark.vllm.vllm_image_export) has started a temporary SSH server. The output
    of C(docker save) there goes into C(docker load) here, without a file in between, and not through the controller.
  - The image is loaded by its ID, without a name. It gets the name only if Docker has that ID afterwards, which is a
    hash of what the image consists of. A copy that breaks off leaves no image.
  - The copy fails if nothing moves for five minutes, or if it takes longer than 10 minutes and the time that the image
    needs at 10 MB/s.
  - An image with that ID that is there already gets the name, and nothing is copied.
  - Writes the ID of the image, and the digests that the source knows, to the file C(image.json) of the release, where
    M(dgxspark.vllm.vllm_image) finds them. Docker's classic image store learns digests from a registry only.
  - An image that is named by a digest gets no name. M(dgxspark.vllm.vllm_image) pulls it afterwards, which costs the
    manifest only, because the content is there.
extends_documentation_fragment:
  - dgxspark.vllm.release
options:
  image:
    description: The image, as Docker is to know it.
    type: str
    required: true
  export:
    description: Result of M(dgxspark.vllm.vllm_image_export) on the source.
    type: dict
    required: true
  address:
    description: Address or name of the source.
    type: str
    required: true
  key_folder:
    description:
      - Folder of the key pair that M(dgxspark.vllm.hf_cache_copy_key) created. It is removed in any case.
      - Required, except in check mode.
    type: path
  digests:
    description: Digests that other hosts have for this image. If the source has other ones, its image is not copied.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
    details: Compares what the source has, and copies nothing.
  diff_mode:
    description: Shows what changes in diff mode.
    support: none
    details: There is nothing to compare.
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - Requires root, Docker and ssh.
seealso:
  - module: dgxspark.vllm.vllm_image
  - module: dgxspark.vllm.vllm_image_export
  - module: dgxspark.vllm.hf_cache_copy_key
"""

EXAMPLES = r"""
- name: Copy an image from another host
  dgxspark.vllm.vllm_image_copy:
    home: /opt/vllm
    release: 0123456789ab
    image: nvcr.io/nvidia/vllm:25.09-py3
    export: "{{ exported }}"
    address: 192.168.100.1
    key_folder: "{{ key.key_folder }}"
  become: true
"""

RETURN = r"""
bytes:
  description: Number of bytes that came from the source. V(0) if the image was there.
  returned: success
  type: int
  sample: 19327352832
seconds:
  description: Duration of the copy in seconds.
  returned: success
  type: float
  sample: 31.5
"""

import json
import os
import shlex
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import home as homes
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import NAME, write
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.copy import remove_key
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import images, piped, ssh_server
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import sequence, text, whole

STANDSTILL = 300  # the source's Docker may write the image to its own folder before the first byte


class Refused(Exception):
    """Why nothing is copied; the message is for the user."""


class Copy:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        asked = module.params
        self.home, self.name = os.path.abspath(asked["home"]), asked["image"]
        self.docker: str = module.get_bin_path("docker", required=True)
        self.told: dict[str, t.Any] = asked["export"]
        self.id = text(self.told.get("id"))
        self.digests = [one for one in sequence(self.told.get("digests")) if isinstance(one, str)]

    def find(self, name: str) -> images.Image | None:
        return images.find(self.module.run_command, self.docker, name)

    def run(self) -> dict[str, t.Any]:
        begin = time.monotonic()
        result: dict[str, t.Any] = {"changed": False, "bytes": 0, "seconds": 0.0}
        if self.find(self.name):
            return result
        self.check()
        result["changed"] = True
        if self.module.check_mode:
            return result
        homes.begin_pull(self.home, self.name)
        try:
            found = self.find(self.id)
            if found is None:
                result["bytes"] = self.stream()
                found = self.find(self.id)
                if found is None:
                    raise Refused(f"Docker has loaded something else than {self.id}")
                is_ours = True
            else:  # the rest of a copy that was interrupted, or an image that its owner has under another name
                is_ours = not found.tags and not found.digests
            self.record(is_ours)
            if "@" not in self.name:
                self.tag()
        finally:
            homes.end_pull(self.home, self.name, None)
        result["seconds"] = round(time.monotonic() - begin, 1)
        return result

    def record(self, is_ours: bool) -> None:
        """Before the image has its name: an interrupted run is not asked again whose it is."""
        facts = {"id": self.id, "digests": self.digests}
        path = os.path.join(self.home, "releases", self.module.params["release"], "image.json")
        write(path, json.dumps(facts, indent=4) + "\n")
        if is_ours and "@" not in self.name:
            homes.note_copy(self.home, self.id)

    def check(self) -> None:
        """Whether the source has what this host can have. Raises Refused."""
        if not images.ID.fullmatch(self.id):
            raise Refused("export: it names no image; use what vllm_image_export returned")
        info = images.daemon(self.module.run_command, self.docker)
        own, theirs = images.architecture(info), text(self.told.get("architecture"))
        if own and own != theirs:
            raise Refused(f"its image is for {theirs}, and this host is {own}")
        store = images.store(info)
        if store != self.told.get("store"):
            raise Refused(
                f"its Docker keeps images in the {self.told.get('store')} store, and this host's in the {store} one"
            )
        wanted = {digest.rpartition("@")[2] for digest in self.module.params["digests"]}
        has = {digest.rpartition("@")[2] for digest in self.digests}
        if wanted and has and not wanted & has:
            raise Refused(f"it has {min(has)}, and other hosts of this run have {min(wanted)}")

    def stream(self) -> int:
        asked = self.module.params
        if not asked["key_folder"]:
            raise Refused("key_folder: it is empty; use what hf_cache_copy_key returned")
        ssh = shlex.split(ssh_server.client(self.told, asked["address"], asked["key_folder"]))
        source = piped.Program("ssh to the source", [*ssh, "-T", "root@source"])
        target = piped.Program("docker load", [self.docker, "load", "--quiet"])
        return piped.copy(source, target, ssh_server.limit(whole(self.told.get("bytes")) or 0), STANDSTILL)

    def tag(self) -> None:
        rc, _out, err = self.module.run_command([self.docker, "tag", "--", self.id, self.name])
        if rc:
            raise Refused(f"docker tag ended with {rc}: {' '.join(err.split())}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "image": {"type": "str", "required": True},
            "export": {"type": "dict", "required": True},
            "address": {"type": "str", "required": True},
            "key_folder": {"type": "path", "no_log": False},
            "digests": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    home, release = os.path.abspath(module.params["home"]), module.params["release"]
    wrong = ssh_server.wrong_address(module.params["address"])
    if not NAME.fullmatch(release):
        wrong = f"release: {release!r} is not the name of a release, which has 12 digits of 0-9 and a-f"
    elif not module.check_mode and homes.owner(home) is None:
        wrong = f"home: {home} is not the folder of a service; dgxspark.vllm.vllm_home creates one"
    if wrong:
        module.fail_json(msg=wrong)
    try:
        result = Copy(module).run()
        remove_key(module.params["key_folder"])
        module.exit_json(**result)
    except (images.ImageError, piped.PipeError, Refused) as error:
        remove_key(module.params["key_folder"])
        module.fail_json(msg=str(error))
    except OSError as error:
        remove_key(module.params["key_folder"])
        module.fail_json(msg=os_problem.one_line(error, home))


if __name__ == "__main__":
    main()
