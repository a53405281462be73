"""The real BentoML 1.4.39 builds, packs and serves a service whose models come through bentosync."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bentosync import models
from bentosync.errors import MissingExtra
from bentosync.store.store import Store
from tests import real_bentoml

SECONDS_MAX = 100
"""For one step of BentoML, which starts several interpreters; on a busy machine that takes a while."""

# A test may be the one that builds the Bento first.
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Machine:
    """A host with BentoML and bentosync, a home of its own, and a remote that it shares."""

    home: Path
    remote: Path

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", ""), "HOME": str(self.home), "BENTOML_HOME": str(self.home),
            "BENTOSYNC_REMOTE": self.remote.as_uri(), "BENTOML_DO_NOT_TRACK": "True",
        }  # fmt: skip

    @property
    def store(self) -> Store:
        return Store(self.home)

    def bentoml(self, *words: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [str(Path(real_bentoml.with_bentosync()).with_name("bentoml")), *words],
            cwd=cwd, env=self.environ, capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, script: str, argument: Any = None) -> Any:
        """What `script` leaves in `result`, in BentoML's environment."""
        return real_bentoml.run(script, argument, home=self.home, environ=self.environ)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    real_bentoml.with_bentosync()
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def builder(base: Path) -> Machine:
    """Two models; one of them in two versions, of which only the remote still has any."""
    import numpy
    from safetensors.numpy import save_file

    machine = Machine(base / "builder", base / "remote")
    machine.remote.mkdir()
    with machine.store.create("eager:v1") as model:
        Path(model.path_of("name.txt")).write_text("scorer")
    for version in (1, 2):
        with machine.store.create(f"lazy:v{version}") as model:
            save_file({"weight": numpy.array([10.0 * version], numpy.float32)}, model.path_of("model.safetensors"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(machine.home))
        for tag in ("eager:v1", "lazy:v1", "lazy:v2"):
            models.push(tag, remote=machine.remote.as_uri())
    machine.store.delete("lazy")
    return machine


@pytest.fixture(scope="module")
def bento(builder: Machine) -> Path:
    """`bentoml build` of the service."""
    builder.bentoml("build", cwd=Path(__file__).parent / "scorer")
    (folder,) = (path.parent for path in builder.home.glob("bentos/scorer/*/bento.yaml"))
    return folder


def test_a_build_names_both_models_and_pulls_the_one_that_was_missing(builder: Machine, bento: Path) -> None:
    document = yaml.safe_load((bento / "bento.yaml").read_text())
    (service,) = document["services"]
    assert {model["tag"] for model in service["models"]} == {"eager:v1", "lazy:v2"}
    assert {str(model.tag) for model in builder.store.list()} == {"eager:v1", "lazy:v2"}
    times = {model["tag"]: model["creation_time"] for model in service["models"]}
    assert times["lazy:v2"] == builder.store.get("lazy:v2").creation_time.isoformat()


def test_the_context_of_a_container_and_an_export_contain_the_models(builder: Machine, bento: Path) -> None:
    seen = builder.run(
        """
import os, tarfile, bentoml
from bentoml._internal.container import construct_containerfile
def files(root):
    found = (os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)
    return sorted(os.path.relpath(path, root) for path in found)
bento = bentoml.get("scorer")
with construct_containerfile(bento) as (context, dockerfile):
    result = dict(context=files(os.path.join(context, "models")))
result["folder"] = bento.export(argument, output_format="folder")
result["exported"] = files(os.path.join(argument, "models"))
""",
        str(builder.home / "exported"),
    )
    expected = [
        "eager/latest", "eager/v1/model.yaml", "eager/v1/name.txt",
        "lazy/latest", "lazy/v2/model.safetensors", "lazy/v2/model.yaml",
    ]  # fmt: skip
    assert seen["context"] == seen["exported"] == expected


def test_in_a_container_the_models_come_from_the_bento_and_no_remote_is_asked(
    builder: Machine, bento: Path, base: Path
) -> None:
    shutil.copytree(bento, base / "image")
    shutil.copytree(builder.home / "models", base / "image/models")
    container = Machine(base / "container", base / "nowhere")
    # The home of the image holds another version; what the Bento carries comes first.
    with container.store.create("lazy:v3"):
        pass
    found = container.run(
        """
from _bentoml_impl.loader import load
service = load(argument)
result = [service.inner.eager.path, service.inner.lazy.resolve().path]
""",
        str(base / "image"),
    )
    assert found == [str(base / "image/models/eager/v1"), str(base / "image/models/lazy/v2")]
    assert not (base / "image/.bentosync").exists()


def test_a_bento_on_a_fresh_host_pulls_what_it_names_and_answers_over_http(
    builder: Machine, bento: Path, base: Path
) -> None:
    fresh = Machine(base / "fresh", builder.remote)
    shutil.copytree(bento, fresh.home / "bentos/scorer" / bento.name)
    shutil.copytree(builder.home / "models/eager", fresh.home / "models/eager")
    # The code says `latest`, and here that would be something else: the Bento says v2.
    with fresh.store.create("lazy:v9"):
        pass
    with serving(fresh, "scorer:latest", base / "log") as url:
        answer = ask(f"{url}/score", {"x": 2.0})
    assert answer == {"score": 40.0, "name": "scorer", "version": "v2"}
    assert {str(model.tag) for model in fresh.store.list("lazy")} == {"lazy:v2", "lazy:v9"}
    log = (base / "log").read_text()
    assert "bentosync.BentoModel('misplaced') is called in the constructor of the service Scorer" in log
    assert re.search(r"src/service\.py:\d+: UserWarning: bentosync", log)
    assert log.count("is called in the constructor") == 1


def test_a_service_in_the_making_resolves_our_references(builder: Machine) -> None:
    found = builder.run(
        """
from _bentoml_impl.loader import load
service = load("service:Scorer", working_dir=argument)
resolved = [model.resolve() for model in service.models]
lazy = next(model for model in service.models if not hasattr(model, "path"))
schema = lazy.to_create_schema()
from bentosync import models
from bentoml._internal.configuration.containers import BentoMLContainer
BentoMLContainer.model_aliases.set({"clf": "eager:v1"})
result = dict(
    aliased=str(models.get("clf").tag), tags=sorted(str(model.tag) for model in resolved),
    again=str(models.BentoModel.from_info(lazy.to_info())), schema=[schema.version, schema.manifest.size_bytes],
    text=[str(lazy), repr(lazy)], hugging_face=models.HuggingFaceModel.__module__,
)
""",
        str(Path(__file__).parent / "scorer"),
    )
    assert found["tags"] == ["eager:v1", "lazy:v2"]
    assert (found["again"], found["aliased"]) == ("lazy:v2", "eager:v1")
    assert found["schema"] == ["v2", builder.store.get("lazy:v2").file_size]
    assert found["text"] == ["lazy:latest", "BentoModel(tag=Tag(name='lazy', version='latest'))"]
    assert found["hugging_face"].startswith("_bentoml_sdk.models")


def test_without_bentoml_a_model_is_a_class_variable_like_any_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.create("m:v1") as model:
        pass

    class Holder:
        ref = model

    assert Holder.ref is Holder().ref is model
    with pytest.raises(MissingExtra) as caught:
        model.to_info()
    assert caught.value.hint == 'pip install "bentoml>=1.4.39"'


@contextmanager
def serving(machine: Machine, bento: str, log: Path) -> Iterator[str]:
    """`bentoml serve` on a free port, ready; ended at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(real_bentoml.with_bentosync()).with_name("bentoml")), "serve", bento, "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=machine.environ, stdout=output, stderr=output, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + SECONDS_MAX
        while not is_ready(url):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGINT)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def is_ready(url: str) -> bool:
    try:
        return urllib.request.urlopen(f"{url}/readyz", timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False


def ask(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)
