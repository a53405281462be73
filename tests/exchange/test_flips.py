"""An archive with a manifest and a flipped bit is refused, or the bit meant nothing: never another model."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bentosync.errors import BentoMLException, Conflict
from bentosync.exchange.exporting import export_model
from bentosync.exchange.importing import import_model
from bentosync.store.store import Store
from tests.store.trees import listing, pattern, write

FLIPS = 60
FORMATS = ["tar", "zip", "xz", "gz", "zst"]


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Memory where there is some, for the sake of many small imports."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bentosync-test-") as root:
        yield Path(root)


def archive_of(tmp_path: Path, format: str) -> tuple[Path, dict[str, bytes | None]]:
    store = Store(tmp_path / "home")
    with store.create("m:v1") as model:
        write(Path(model.path), {"w": pattern(3000), "d/x": b"x", "\u00fc": b"u", "empty": b""})
    return export_model(store, "m", str(tmp_path / "whole"), format).path, listing(Path(model.path))


@pytest.mark.parametrize("format", FORMATS)
def test_a_flipped_bit_is_refused_or_means_nothing(tmp_path: Path, format: str) -> None:
    whole, files = archive_of(tmp_path, format)
    data, dice = whole.read_bytes(), random.Random(7)
    # Half of the flips go where little else lies: into the head and the tail.
    ends = [*range(600), *range(len(data) - 600, len(data))]
    refusals = 0
    for number in range(FLIPS):
        at = dice.choice(ends) if number % 2 else dice.randrange(len(data))
        changed = bytearray(data)
        changed[at] ^= 1 << dice.randrange(8)
        (tmp_path / "flipped").write_bytes(changed)
        other = Store(tmp_path / f"other{number}")
        try:
            model = import_model(other, str(tmp_path / "flipped")).model
        except Conflict:
            raise
        except BentoMLException:
            refusals += 1
            assert other.list() == []
        else:
            assert listing(Path(model.path)) == files, at
    assert refusals > FLIPS // 3


@pytest.mark.parametrize("format", FORMATS)
def test_a_cut_archive_is_refused_wherever_it_is_cut(tmp_path: Path, format: str) -> None:
    whole, _ = archive_of(tmp_path, format)
    data = whole.read_bytes()
    other = Store(tmp_path / "other")
    for end in [*range(0, len(data), len(data) // 40), len(data) - 1]:
        (tmp_path / "cut").write_bytes(data[:end])
        with pytest.raises(BentoMLException):
            import_model(other, str(tmp_path / "cut"))
    assert other.list() == []
