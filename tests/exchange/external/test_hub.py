"""A model of the Hugging Face Hub as a folder, or one file of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bentosync.errors import InvalidArgument, NotFound
from bentosync.exchange import place as places
from bentosync.exchange.importing import import_model
from bentosync.settings import Settings
from bentosync.store.store import Store
from tests.servers.cloud import Cloud
from tests.servers.hub import hub
from tests.store.trees import pattern

FILES = {"config.json": b"{}", "model.safetensors": pattern(3_000_000), "onnx/model.onnx": b"x", ".gitattributes": b""}


@pytest.fixture
def server() -> Iterator[Cloud]:
    with hub() as cloud:
        cloud.files |= {f"acme/bert/{path}": data for path, data in FILES.items()}
        yield cloud


def test_a_model_of_the_hub_comes_in_under_the_name_it_is_given(
    server: Cloud, other: Store, impatient: Settings
) -> None:
    at = places.of(f"hf://acme/bert?endpoint=http://127.0.0.1:{server.port}")
    with pytest.raises(InvalidArgument, match="does not say what it is called"):
        import_model(other, at, settings=impatient)
    model = import_model(other, at, name="bert:v1", settings=impatient).model
    found = {path: Path(model.path_of(path)).read_bytes() for path in FILES}
    assert found == FILES


def test_a_model_that_the_hub_does_not_have_is_not_found(server: Cloud, other: Store, impatient: Settings) -> None:
    with pytest.raises(NotFound):
        at = places.of(f"hf://acme/nope?endpoint=http://127.0.0.1:{server.port}")
        import_model(other, at, name="x", settings=impatient)
