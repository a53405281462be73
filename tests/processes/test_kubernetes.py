"""The YAML of docs/how-to/kubernetes.md, run: each container with its user, groups, mounts, environment and read-only
root, init containers first. `vllm` is a stand-in that reads every byte of what it is told to serve.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from bentosync import aio
from bentosync.cli.synthetic import write_model
from bentosync.settings import RemoteSettings, Settings
from bentosync.store.store import Store
from tests.docs.page import DOCS, blocks
from tests.processes import sandbox
from tests.processes.conftest import CREDENTIALS, MIB
from tests.processes.sandbox import Sandbox, Volume
from tests.servers.faulty.server import BUCKET, FaultyS3

DOCUMENTS = [
    document
    for block in blocks(DOCS / "how-to/kubernetes.md")
    if block.language == "yaml"
    for document in yaml.safe_load_all(block.text)
]
VLLM = """#!/bin/sh
set -e
test "$1" = serve
test -f "$2/model.yaml"
echo "serving $2, $(cat "$2"/* | wc -c) bytes, as $(id -u):$(id -g)"
"""


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [document for document in DOCUMENTS if (document["kind"], document["metadata"]["name"]) == (kind, name)]
    return found


@dataclass
class Cluster:
    """One node: its shared folder, and what a pod leaves behind for as long as it lives."""

    base: Path
    endpoint: str
    host_paths: dict[str, Path] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def pod(self, spec: Mapping[str, Any], **changes: int) -> list[subprocess.CompletedProcess[str]]:
        """Run a pod's containers one after the other; `changes` replace fields of its security context."""
        context = spec.get("securityContext", {}) | changes
        volumes = {volume["name"]: self._folder(volume, context) for volume in spec["volumes"]}
        return [
            self._box(container, context, volumes).run(*container["command"])
            for container in (*spec.get("initContainers", ()), *spec["containers"])
        ]

    def _box(self, container: Mapping[str, Any], context: Mapping[str, Any], volumes: Mapping[str, Path]) -> Sandbox:
        root = self.base / f"root-{next(self._numbers)}"
        root.mkdir()
        mounts = [
            Volume(volumes[mount["name"]], mount["mountPath"], mount.get("readOnly", False))
            for mount in container["volumeMounts"]
        ]
        environment = {entry["name"]: entry["value"] for entry in container.get("env", ())}
        for source in container.get("envFrom", ()):
            assert source == {"secretRef": {"name": "bucket"}}
            environment |= CREDENTIALS | {"AWS_ENDPOINT_URL": self.endpoint}
        return Sandbox(
            root, context["runAsUser"], context["runAsGroup"], [*mounts, Volume(self.base / "bin", "/stand-ins", True)],
            {name: value.replace("s3://models/prod", f"s3://{BUCKET}") for name, value in environment.items()},
            read_only=container["securityContext"]["readOnlyRootFilesystem"], first=True,
            groups=(context["fsGroup"],) if "fsGroup" in context else (),
        )  # fmt: skip

    def _folder(self, volume: Mapping[str, Any], context: Mapping[str, Any]) -> Path:
        """The folder behind a volume, with the owner and mode that the kubelet gives it."""
        if "hostPath" in volume:
            return self.host_paths[volume["hostPath"]["path"]]
        folder = self.base / f"{volume['name']}-{next(self._numbers)}"
        folder.mkdir()
        if "configMap" in volume:
            for name, text in named("ConfigMap", volume["configMap"]["name"])["data"].items():
                (folder / name).write_text(text.replace("s3://models/prod", f"s3://{BUCKET}"))
            return folder
        assert "emptyDir" in volume
        os.chown(folder, 0, context.get("fsGroup", 0))
        folder.chmod(0o2777)
        return folder


@pytest.fixture
def cluster(tmp_path: Path, s3: FaultyS3) -> Cluster:
    """A node with an empty shared folder; the bucket has `llama3-8b:v1`."""
    sandbox.required()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        remote = RemoteSettings(f"s3://{BUCKET}", name="r", endpoint_url=s3.url)
        settings = Settings(home=tmp_path / "publisher", remotes={"r": remote})
        with Store(settings.home).create("llama3-8b:v1") as model:
            write_model(Path(model.path), size_bytes=2 * MIB, shards=2, seed=1)
        asyncio.run(aio.push("llama3-8b:v1", settings=settings))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/vllm").write_text(VLLM)
    (tmp_path / "bin/vllm").chmod(0o755)
    shared = tmp_path / "var-lib-bentosync"
    shared.mkdir()
    os.chown(shared, 0, 4321)
    shared.chmod(0o2775)
    return Cluster(tmp_path, s3.url, {"/var/lib/bentosync": shared})


def test_an_init_container_pulls_and_the_server_reads(cluster: Cluster) -> None:
    pull, serve = cluster.pod(named("Pod", "llama")["spec"])
    assert (pull.returncode, pull.stdout) == (0, 'Successfully pulled model "llama3-8b:v1"\n'), pull.stderr
    assert serve.returncode == 0, serve.stderr
    assert re.fullmatch(r"serving /models/models/llama3-8b/v1, \d{7} bytes, as 1000660000:0\n", serve.stdout)


def test_pods_of_several_users_share_a_cache_and_fetch_once(cluster: Cluster, s3: FaultyS3) -> None:
    spec = named("Pod", "llama-shared")["spec"]
    s3.forget()
    first, served = cluster.pod(spec)
    assert first.returncode == served.returncode == 0, first.stderr + served.stderr
    fetched = s3.sent_bytes["GetObject"]
    second, served = cluster.pod(spec, runAsUser=1000770000)
    assert second.returncode == served.returncode == 0, second.stderr + served.stderr
    assert second.stdout.startswith("Up to date: llama3-8b:v1")
    assert s3.sent_bytes["GetObject"] - fetched < fetched / 10
    assert served.stdout.endswith("as 1000770000:4321\n")


def test_the_job_that_prunes_finds_the_cache_small_enough_and_what_is_too_large_goes(cluster: Cluster) -> None:
    cluster.pod(named("Pod", "llama-shared")["spec"])
    shared = cluster.host_paths["/var/lib/bentosync"]
    spec = named("CronJob", "prune-models")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (done,) = cluster.pod(spec, runAsUser=1000770000)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Freed 0 B: 0 models, 2.")
    (container,) = spec["containers"]
    command = [word.replace("200GB", "1MB").replace("2d", "0s") for word in container["command"]]
    (done,) = cluster.pod({**spec, "containers": [{**container, "command": command}]}, runAsUser=1000770000)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Freed 2.")
    assert list((shared / "models").iterdir()) == []


def test_every_container_of_the_page_is_run(cluster: Cluster) -> None:
    assert {(document["kind"], document["metadata"]["name"]) for document in DOCUMENTS} == {
        ("Pod", "llama"), ("Pod", "llama-shared"), ("ConfigMap", "bentosync"), ("CronJob", "prune-models"),
    }  # fmt: skip
