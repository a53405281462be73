"""A store with two models, and a place to take them to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bentosync.settings import Settings, TransferSettings
from bentosync.store.store import Store
from tests.exchange.external.places import Place, place
from tests.store.trees import pattern, write

BIG_BYTES = (18 << 20) + 5


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """`m:v1`, small, with everything that a model may have; `big:v1`, over one upload chunk of every storage."""
    store = Store(tmp_path_factory.mktemp("outgoing"))
    with store.create("m:v1", labels={"a": "b"}) as model:
        write(Path(model.path), {"weights.bin": pattern(300_000), "d/e/x y": b"x", "empty": b"", "\u00fc": b"wide"})
        write(Path(model.path), {"run.sh": b"#!"})
        os.chmod(model.path_of("run.sh"), 0o755)
        Path(model.path_of("hollow/inner")).mkdir(parents=True)
    with store.create("big:v1") as model:
        write(Path(model.path), {"weights.bin": pattern(BIG_BYTES)})
    with store.create("plain:v1") as model:
        write(Path(model.path), {"weights.bin": pattern(100_000), "d/e/x y": b"x", "\u00fc": b"wide"})
    return store


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


@pytest.fixture
def impatient(tmp_path: Path) -> Settings:
    """Settings for tests in which a server dies: two tries, short waits."""
    transfer = TransferSettings(attempts=2, retry_base_seconds=0.01, stall_seconds=5, connect_seconds=2)
    return Settings(home=tmp_path, transfer=transfer)


@pytest.fixture
def there(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The storage of the kind that the test is parametrized with."""
    with place(request.param, tmp_path, monkeypatch, request) as found:
        yield found


@pytest.fixture
def quick_gcsfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """gcsfs tries six times and waits for half a minute in between; here it does not wait."""
    import gcsfs.retry

    async def at_once(seconds: float) -> None:
        del seconds

    monkeypatch.setattr(gcsfs.retry, "asyncio", SimpleNamespace(sleep=at_once))
