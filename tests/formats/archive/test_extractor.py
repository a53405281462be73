"""The extractor writes below its folder or fails, also while somebody pulls the tree from under it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from bentosync.errors import UnsafeInput
from bentosync.formats.archive.extractor import Extractor
from tests.formats.archive.hostile import PATHS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "root"


def put(extractor: Extractor, path: str, data: bytes = b"x", executable: bool = False) -> None:
    fd = extractor.file(path, executable)
    os.write(fd, data)
    os.close(fd)


def test_files_folders_and_modes_are_made(root: Path) -> None:
    with Extractor(root, 100) as extractor:
        put(extractor, "a/b/c", b"1", executable=True)
        put(extractor, "a/d", b"2")
        put(extractor, "e", b"3")
        extractor.folder("a/b")
        extractor.folder("f/g")
        assert extractor.folders == {"a", "a/b", "f", "f/g"}
    assert (root / "a/b/c").read_bytes() == b"1"
    assert os.access(root / "a/b/c", os.X_OK)
    assert not os.access(root / "a/d", os.X_OK)
    assert (root / "f/g").is_dir()


@pytest.mark.parametrize("name", PATHS)
def test_no_path_that_is_not_portable_reaches_the_disk(root: Path, name: str) -> None:
    with Extractor(root, 100) as extractor:
        for act in (lambda path: extractor.file(path, False), extractor.folder):
            with pytest.raises(UnsafeInput):
                act(os.fsdecode(PATHS[name]))
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("target", ["../outside", "/etc", "missing", "."])
def test_links_that_are_there_already_are_not_followed(root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    with Extractor(root, 100) as extractor:
        for path in ("link", "link/evil"):
            with pytest.raises(UnsafeInput):
                extractor.file(path, False)
    assert list((root.parent / "outside").iterdir()) == []


def test_entries_are_counted_with_the_folders_between_them(root: Path) -> None:
    with Extractor(root, 5) as extractor:
        put(extractor, "a/b/c")
        put(extractor, "a/b/d")
        put(extractor, "e")
        with pytest.raises(UnsafeInput, match="more than 5"):
            put(extractor, "f")


def test_somebody_who_swaps_a_folder_for_a_link_gets_nothing_outside(root: Path) -> None:
    outside, stop = root.parent / "outside", threading.Event()

    def swap() -> None:
        while not stop.is_set():
            try:
                os.rename(root / "d", root / "gone")
                os.symlink(outside, root / "d")
                os.unlink(root / "d")
                os.rename(root / "gone", root / "d")
            except OSError:
                continue

    refused = 0
    with Extractor(root, 100_000) as extractor:
        put(extractor, "d/first")
        swapper = threading.Thread(target=swap)
        swapper.start()
        try:
            for number in range(3000):
                try:
                    put(extractor, f"d/{number}")
                    put(extractor, f"e/{number}")  # leaves d, so that the next one looks it up again
                except (UnsafeInput, OSError):
                    refused += 1
        finally:
            stop.set()
            swapper.join()
    assert list(outside.iterdir()) == []
    assert refused < 3000


def test_no_descriptor_stays_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with Extractor(root, 10_000) as extractor, pytest.raises(UnsafeInput):
            put(extractor, f"{os.urandom(4).hex()}/x/y")
            extractor.file("a/../b", False)
    assert len(os.listdir("/proc/self/fd")) == before
