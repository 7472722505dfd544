# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release as a folder that Docker Compose starts without this collection. Pure.

Nothing in it carries the mark of the collection: it would take such a container for its own. No secret is in it.
"""

from __future__ import annotations

import json
import re
import typing as t

import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import mapping, sequence, text

from . import release_changes

Facts = dict[str, t.Any]

_LABEL = "dgxspark.vllm."
_REVISION = "--revision"
# systemd limits the starts of a release. An endless loop of starts leaks GPU memory.
_RESTART = "on-failure:3"


class ExportError(Exception):
    """Why a release cannot be exported, in one line."""


class Export(t.NamedTuple):
    texts: dict[str, str]  # by name in the folder
    files: list[str]  # of the release, by their names in its folder: they come along as they are
    secrets: list[str]  # variables that .env has to have


def files_of(compose: str, folder: str) -> list[str]:
    """Files in the release's own FOLDER that its container mounts."""
    found = (text(mapping(volume).get("source")) for volume in sequence(_service(compose)[1].get("volumes")))
    names = [source.removeprefix(f"{folder}/") for source in found if source.startswith(f"{folder}/")]
    for name in names:
        if not re.fullmatch(r"(files/)?[A-Za-z0-9_][A-Za-z0-9._-]*", name):
            raise ExportError(f"compose.yaml mounts {name!r}, which is no file of a release")
    return sorted(set(names))


def export(compose: str, facts: Facts, image: Facts, home: str, commits: Facts) -> Export:
    """FACTS and IMAGE are its release.json and image.json, HOME is the folder of the service.

    COMMITS are what the cache of the host has, by model and branch.
    """
    name, service = _service(compose)
    folder = f"{home}/releases/{facts.get('release')}"
    files = files_of(compose, folder)
    options = _options(compose)
    environment, secrets = _environment(mapping(service.get("environment")))
    reference, digest = _reference(text(service.get("image")), image)
    model, revision = options.get("model", ""), options.get(_REVISION) or "main"
    argv = [_plain(word) for word in sequence(service.get("command"))]
    labels = {key: value for key, value in mapping(service.get("labels")).items() if not key.startswith(_LABEL)}
    made = {
        **service,
        "image": reference,
        "restart": _RESTART,
        "environment": environment,
        "volumes": [_volume(volume, home, folder) for volume in sequence(service.get("volumes"))],
        "labels": labels,
    }
    # Compose chooses a name: the stopped container of the service keeps its own
    made.pop("container_name", None)
    if not labels:
        del made["labels"]
    record = {
        "release": facts.get("release"),
        "model": model,
        "revision": mapping(commits.get(model)).get(revision, options.get(_REVISION)),
        "profile": facts.get("profile"),
        "image": text(service.get("image")),
        "digest": digest,
        "argv": argv,
        "environment": sorted(environment),
        "secrets": secrets,
    }
    head = "# Exported by dgxspark.vllm. It runs without Ansible: see README.md.\n"
    texts = {
        "compose.yaml": head + _yaml({"name": name, "services": {name: made}}),
        "env.example": "".join(f"{secret}=\n" for secret in secrets),
        "release.json": json.dumps(record, indent=2) + "\n",
        "README.md": _readme(name, record, made, facts),
    }
    if not secrets:
        del texts["env.example"]
    return Export(texts, files, secrets)


def _service(compose: str) -> tuple[str, Facts]:
    try:
        services = mapping(mapping(yaml.safe_load(compose)).get("services"))
    except (yaml.YAMLError, ValueError):
        services = {}
    if len(services) > 1:
        raise ExportError("it serves a model on several hosts by Ray, which one folder cannot")
    if not services:
        raise ExportError("its compose.yaml is not that of a release")
    ((name, service),) = services.items()
    return str(name), mapping(service)


def _options(compose: str) -> t.Mapping[str, str]:
    """Those of its command line, and the model."""
    parsed = release_changes.parse(compose, "")
    named = release_changes.secret_options(parsed) if parsed else []
    if named:
        raise ExportError(f"{', '.join(named)} on its command line may be a secret; use an environment variable for it")
    return parsed.kinds[release_changes.COMMAND] if parsed else {}


def _environment(environment: Facts) -> tuple[Facts, list[str]]:
    """With references in the place of secrets, and the names of these."""
    found: Facts = {}
    secrets = []
    for name, value in environment.items():
        if release_changes.is_secret(str(name), _plain(value)) or str(value).startswith("${"):
            variable = str(value)[2:-1] if str(value).startswith("${") else str(name)
            # a server that should ask for a key must not start without one
            found[name] = f"${{{variable}:?write it to .env}}" if name == release_changes.KEY else f"${{{variable}:-}}"
            secrets.append(variable)
        else:
            found[name] = value
    return found, sorted(set(secrets))


def _reference(name: str, image: Facts) -> tuple[str, str | None]:
    """The image by its digest, if a registry has given it one, and that digest."""
    repository = re.sub(r"(@sha256:[0-9a-f]+|:[^:/]+)$", "", name)
    for found in map(text, sequence(image.get("digests"))):
        if found.startswith(f"{repository}@sha256:"):
            return found, found.rpartition("@")[2]
    return name, None


def _volume(volume: t.Any, home: str, folder: str) -> t.Any:
    """Compile caches beside the file, and the files of the release in the folder; the model where it is."""
    if isinstance(volume, str):
        beside = volume.startswith((f"{home}/cache:", f"{home}/caches/"))
        return f"./{volume.removeprefix(f'{home}/')}" if beside else volume
    source = text(mapping(volume).get("source"))
    return {**volume, "source": f"./{source.removeprefix(f'{folder}/')}"} if source.startswith(f"{folder}/") else volume


def _plain(value: t.Any) -> str:
    """As the container gets it: Compose reads $$ as a dollar sign."""
    return str(value).replace("$$", "$")


def _yaml(value: Facts) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def _readme(name: str, record: Facts, service: Facts, facts: Facts) -> str:
    sources = [text(volume) or text(mapping(volume).get("source")) for volume in sequence(service.get("volumes"))]
    mounts = [source.partition(":")[0] for source in sources if not source.startswith("./")]
    needs = ["Docker Engine with Docker Compose 2", f"the image `{service['image']}`, which `docker compose pull` gets"]
    if service.get("deploy"):
        needs.append("the NVIDIA Container Toolkit, as on the host where it was exported")
    needs += [f"`{mount}`, as on the host where it was exported" for mount in mounts]
    at = f", revision `{record['revision']}`" if record["revision"] else ""
    lines = [f"# {record['model']}: release {record['release']}", ""]
    lines += [
        f"The model `{record['model']}`{at}, profile `{record['profile']}`. `release.json` says what was exported."
    ]
    if facts.get("nodes"):
        lines += ["", "It is one of several hosts that serve the model together: start the others first, then rank 0."]
    lines += ["", "Needed:", "", *(f"- {need}" for need in needs), "", "```sh"]
    if record["secrets"]:
        lines += [
            "install -m 600 env.example .env   # then write the values into it, in single quotes",
            "sudo docker compose config --quiet",
        ]
    lines += [
        "sudo docker compose up -d",
        "sudo docker compose logs -f",
        "sudo docker compose down",
        "```",
        "",
        "Only Docker supervises it, and starts it again three times if it ends with an error. After a reboot, start it",
        "yourself.",
    ]
    return "\n".join([*lines, ""])
