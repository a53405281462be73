from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from bentosync.errors import Conflict, IntegrityError
from bentosync.formats.digester import FileDigester
from bentosync.manifest import build
from bentosync.manifest.values import BLOCK_BYTES, LEAF_BYTES, FileEntry, Manifest
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, TransferSettings
from bentosync.store.partial import Partial
from bentosync.transfer.download import Tally, Target, download
from tests.blocks import content

MODEL_YAML = b"name: m\nversion: v1\n"
SIZES = {"a.bin": 19 * BLOCK_BYTES + 12_345, "sub/b.bin": LEAF_BYTES, "c.bin": 70_000}


class Scene:
    """A folder with objects, the manifest that describes them, and a partial that wants them."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "remote"
        self.bytes = {path: content(number, size) for number, (path, size) in enumerate(SIZES.items())}
        for path, data in self.bytes.items():
            self.object(path).parent.mkdir(parents=True, exist_ok=True)
            self.object(path).write_bytes(data)
        self.manifest = self._describe({**self.bytes, "model.yaml": MODEL_YAML})
        self.partial_root = tmp_path / "partial"
        self.tally = Tally(lambda entry, count: None)

    def _describe(self, files: dict[str, bytes]) -> Manifest:
        entries = []
        for path, data in files.items():
            digester = FileDigester(path, len(data), False)
            digester.update(data)
            entries.append(digester.finish())
        return build.compose(
            name="m", version="v1", created="2026-11-22T10:00:00+00:00", module="", labels={},
            files=entries, directories=["empty"], read=lambda path: files[path],
        )  # fmt: skip

    def object(self, path: str) -> Path:
        return self.root / "files" / path

    def pull(self, *, strong: bool = False, tally: Tally | None = None, jobs: int = 4) -> Path:
        self.tally = tally or Tally(lambda entry, count: None)

        async def main() -> Path:
            remote = open_remote(RemoteSettings(url=self.root.as_uri()), TransferSettings(retry_base_seconds=0.001))
            partial = Partial(self.partial_root, self.manifest)
            try:
                partial.prepare(b"document", strong=strong)
                await download(
                    remote, [Target(f"files/{file.entry.path}", file) for file in partial.files],
                    jobs=jobs, memory_bytes=1 << 27, range_bytes=1 << 25, strong=strong, tally=self.tally,
                )  # fmt: skip
                return partial.finish()
            finally:
                partial.close()
                await remote.aclose()

        return asyncio.run(main())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


def assert_whole(tree: Path, scene: Scene) -> None:
    assert {p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()} == {*SIZES, "model.yaml"}
    for path, data in scene.bytes.items():
        assert (tree / path).read_bytes() == data
    assert (tree / "model.yaml").read_bytes() == MODEL_YAML
    assert (tree / "empty").is_dir()


@pytest.mark.parametrize("strong", [False, True])
def test_every_byte_arrives_once_and_where_it_belongs(scene: Scene, strong: bool) -> None:
    assert_whole(scene.pull(strong=strong), scene)
    assert scene.tally.received == sum(SIZES.values())
    assert scene.tally.dropped == 0


@pytest.mark.parametrize("strong", [False, True])
def test_a_second_download_into_the_same_partial_moves_nothing(scene: Scene, strong: bool) -> None:
    scene.pull(strong=strong)
    assert_whole(scene.pull(strong=strong), scene)
    assert scene.tally.received == 0


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 5, 13])
def test_an_interrupted_download_goes_on_from_its_proven_blocks(scene: Scene, after: int) -> None:
    count = 0

    def stop(entry: FileEntry, size: int) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise Stop

    with pytest.raises(Stop):
        scene.pull(tally=Tally(stop))
    kept = scene.tally.received - scene.tally.dropped
    assert_whole(scene.pull(), scene)
    assert scene.tally.received <= sum(SIZES.values()) - min(kept, after * BLOCK_BYTES) + BLOCK_BYTES


def test_a_flipped_byte_in_the_partial_costs_one_block(scene: Scene) -> None:
    tree = scene.pull()
    flip(tree / "a.bin", 3 * BLOCK_BYTES + 17)
    assert_whole(scene.pull(), scene)
    assert scene.tally.received == BLOCK_BYTES


def test_a_flipped_byte_in_the_partial_costs_one_leaf_when_leaves_are_proven(scene: Scene) -> None:
    tree = scene.pull(strong=True)
    flip(tree / "a.bin", LEAF_BYTES + 5)
    assert_whole(scene.pull(strong=True), scene)
    assert scene.tally.received == LEAF_BYTES


def test_a_lost_bitmap_costs_the_bytes_but_never_truth(scene: Scene) -> None:
    scene.pull()
    (scene.partial_root / "bitmap").write_bytes(b"\xff" * 3)
    assert_whole(scene.pull(), scene)
    assert scene.tally.received == sum(SIZES.values())


def test_a_bitmap_that_claims_everything_over_holes_is_not_believed(scene: Scene) -> None:
    (scene.pull() / "a.bin").write_bytes(b"\x01" * SIZES["a.bin"])
    assert_whole(scene.pull(), scene)
    assert scene.tally.received == SIZES["a.bin"]


def test_a_longer_leftover_is_cut_to_size(scene: Scene) -> None:
    tree = scene.pull()
    with (tree / "c.bin").open("ab") as file:
        file.write(b"junk")
    assert_whole(scene.pull(), scene)


@pytest.mark.parametrize("strong", [False, True])
def test_a_flipped_byte_in_the_object_is_named_and_never_written(scene: Scene, strong: bool) -> None:
    flip(scene.object("a.bin"), 2 * BLOCK_BYTES + 1)
    with pytest.raises(IntegrityError, match=r"a\.bin: bytes \d+\.\.\d+ arrived"):
        scene.pull(strong=strong)
    written = (scene.partial_root / "tree" / "a.bin").read_bytes()
    block = slice(2 * BLOCK_BYTES, 3 * BLOCK_BYTES)
    assert written[block] != scene.object("a.bin").read_bytes()[block]


def test_a_missing_object_is_named(scene: Scene) -> None:
    scene.object("sub/b.bin").unlink()
    with pytest.raises(IntegrityError, match=r"sub/b\.bin is missing on the remote"):
        scene.pull()


@pytest.mark.parametrize("change", [-1, +1])
def test_an_object_of_another_size_is_named(scene: Scene, change: int) -> None:
    path = scene.object("c.bin")
    os.truncate(path, SIZES["c.bin"] + change)
    if change > 0:
        scene.pull()  # longer by accident: the ranges that were asked for are still right
    else:
        with pytest.raises(IntegrityError, match=r"c\.bin.* 69999 bytes"):
            scene.pull()


def test_an_object_swapped_between_two_ranges_is_a_conflict(scene: Scene) -> None:
    data = scene.bytes["a.bin"]

    def swap(entry: FileEntry, count: int) -> None:
        if entry.path == "a.bin":
            replacement = scene.object("a.bin").with_suffix(".new")
            replacement.write_bytes(data)
            replacement.replace(scene.object("a.bin"))

    with pytest.raises(Conflict, match=r"a\.bin"):
        scene.pull(tally=Tally(swap), jobs=1)
