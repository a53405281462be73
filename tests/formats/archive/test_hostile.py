"""Nothing hostile gets in: every archive of the corpus is refused, and leaves nothing anywhere."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bentosync.errors import BentoMLException, InvalidArgument, UnsafeInput
from bentosync.exchange.importing import import_model
from bentosync.store.store import Store
from tests.formats.archive import hostile
from tests.store.trees import listing

CORPUS = hostile.corpus()
SECONDS_MAX = 10.0


def traces(base: Path, archive: Path) -> dict[str, bytes | None]:
    """What an import left behind, besides the store's own empty folders."""
    found = {path: data for path, data in listing(base).items() if data is not None}
    found.pop(archive.name, None)
    return {path: data for path, data in found.items() if not path.startswith("home/.bentosync/locks/")}


def refused(base: Path, data: bytes) -> BentoMLException:
    archive = base / "archive"
    archive.write_bytes(data)
    began = time.monotonic()
    with pytest.raises(BentoMLException) as caught:
        import_model(Store(base / "home"), str(archive))
    assert time.monotonic() - began < SECONDS_MAX
    assert traces(base, archive) == {}
    return caught.value


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 80


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_archive_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    data, word = CORPUS[name]
    error = refused(tmp_path, data)
    assert isinstance(error, UnsafeInput) or (isinstance(error, InvalidArgument) and word in ("format", "empty"))
    assert word in error.message, error.message


def test_an_archive_cut_at_any_block_is_refused(tmp_path: Path) -> None:
    for data in hostile.truncations():
        refused(tmp_path, data)
