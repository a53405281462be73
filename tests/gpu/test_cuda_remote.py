"""Streaming from a remote to a real CUDA device, and the store filled beside it. One command: `pytest tests/gpu`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bentosync
from bentosync.cli.synthetic import write_model
from bentosync.loader.load import load_to_device

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NO CUDA DEVICE: tests/gpu did not run")


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A folder with `m:v1` on it: 1 GiB, more than the ring holds, in three shards; and the publisher's home."""
    root = tmp_path_factory.mktemp("far")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(root / "publisher"))
        with bentosync.models.create("m:v1") as model:
            write_model(Path(model.path), size_bytes=1 << 30, shards=3)
        bentosync.push("m:v1", remote=(root / "remote").as_uri())
    return (root / "remote").as_uri(), root / "publisher"


@pytest.mark.parametrize("cache", ["none", "tee"])
def test_every_streamed_tensor_arrives_bit_exact(
    remote: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    url, publisher = remote
    monkeypatch.setenv("BENTOML_HOME", str(publisher))
    reference = load_to_device("m:v1", "cpu")
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    loaded = load_to_device("m:v1", "cuda", strict=True, remote=url, cache=cache)
    assert loaded.keys() == reference.keys()
    assert all(tensor.is_cuda and tensor.cpu().equal(reference[name]) for name, tensor in loaded.items())
    report = loaded.report
    assert (report.path, report.device.partition(":")[0]) == ("network", "cuda")
    assert report.pinned_bytes <= 512 << 20
    assert report.cache is not None
    assert report.cache.wait(120) == {"none": "none", "tee": "published"}[cache]
