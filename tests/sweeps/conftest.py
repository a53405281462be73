from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweeps.pool import Pool
from tests.sweeps.shim import compile_shim
from tests.tally import skip_or_fail


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory, where fsync costs nothing: what a kill leaves behind is the same as on a disk."""
    if not Path("/dev/shm").is_dir():
        skip_or_fail("no /dev/shm to sweep in")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bentosync-sweep-") as root:
        yield Path(root)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    library = compile_shim(tmp_path_factory.mktemp("shim"))
    if library is None:
        skip_or_fail("no C compiler for the shim of the sweeps (scripts/bootstrap installs one)")
    return library


@pytest.fixture(scope="session")
def pool(library: Path, memory: Path) -> Iterator[Pool]:
    """Workers ready to sweep."""
    pool = Pool(library, memory)
    yield pool
    pool.close()
