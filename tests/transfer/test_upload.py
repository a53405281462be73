from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from bentosync.errors import IntegrityError
from bentosync.formats.digester import FileDigester
from bentosync.manifest.values import BLOCK_BYTES, FileEntry
from bentosync.remote.contract import Part, Remote, Upload
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, TransferSettings
from bentosync.store.record import Stamp
from bentosync.store.tree import scan
from bentosync.transfer.parts import PART_BYTES_MIN
from bentosync.transfer.reading import Known, Source
from bentosync.transfer.tally import Tally
from bentosync.transfer.upload import Uploader
from tests.blocks import content

BIG = 2 * PART_BYTES_MIN + 3 * BLOCK_BYTES + 77
SIZES = {"big.bin": BIG, "sub/small.bin": 70_000, "empty.txt": 0, "exact.bin": PART_BYTES_MIN}


def entry_of(path: str, data: bytes) -> FileEntry:
    digester = FileDigester(path, len(data), False)
    digester.update(data)
    return digester.finish()


@dataclass
class Scene:
    """A tree on disk and a folder to push it to."""

    tree: Path
    remote_root: Path
    bytes: dict[str, bytes]
    sent: list[tuple[str, int]] = field(default_factory=list)

    def push(
        self,
        *,
        resumed: bool = False,
        on_sent: Callable[[str, int], None] | None = None,
        known: dict[str, Known] | None = None,
    ) -> Tally:
        tally = Tally(on_sent or (lambda path, count: self.sent.append((path, count))))

        async def main() -> None:
            remote = open_remote(RemoteSettings(url=self.remote_root.as_uri()), TransferSettings())
            try:
                uploads = {u.key: u async for u in remote.list_uploads("files/")} if resumed else {}
                uploader = Uploader(
                    remote, jobs=4, memory_bytes=3 * PART_BYTES_MIN, uploads=uploads, resumed=resumed, exclusive=True,
                    tally=tally,
                )  # fmt: skip
                await uploader.send_all(
                    [Source(self.tree, f, f"files/{f.path}", (known or {}).get(f.path)) for f in scan(self.tree).files]
                )
            finally:
                await remote.aclose()

        asyncio.run(main())
        return tally

    def stored(self, path: str) -> bytes:
        return (self.remote_root / "files" / path).read_bytes()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path / "tree", tmp_path / "remote", {p: content(n, s) for n, (p, s) in enumerate(SIZES.items())})
    for path, data in scene.bytes.items():
        (scene.tree / path).parent.mkdir(parents=True, exist_ok=True)
        (scene.tree / path).write_bytes(data)
    return scene


def entries(tally: Tally) -> dict[str, FileEntry]:
    return {path: entry for path, (entry, _) in tally.digested.items()}


def assert_stored(scene: Scene) -> None:
    for path, data in scene.bytes.items():
        assert scene.stored(path) == data


class Stop(Exception):
    pass


def stop_after(count: int) -> Callable[[str, int], None]:
    left = count

    def on_sent(path: str, size: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stop

    return on_sent


def test_files_arrive_whole_and_are_digested_on_the_way(scene: Scene) -> None:
    tally = scene.push()
    assert_stored(scene)
    assert entries(tally) == {path: entry_of(path, data) for path, data in scene.bytes.items()}
    assert (tally.sent, tally.reused) == (sum(SIZES.values()), 0)


def known_entries(scene: Scene) -> dict[str, Known]:
    """As if the store remembered every file, with one more block digest than it would find: to tell them apart."""
    stamps = {path: Stamp.of((scene.tree / path).stat()) for path in scene.bytes}
    entries = {path: entry_of(path, data) for path, data in scene.bytes.items()}
    return {
        path: Known(replace(entries[path], blocks=entries[path].blocks + b"remember"), stamps[path]) for path in stamps
    }


def test_known_digests_are_taken_over(scene: Scene) -> None:
    known = known_entries(scene)
    assert entries(scene.push(known=known)) == {path: file.entry for path, file in known.items()}
    assert_stored(scene)


def test_digests_of_a_file_that_changed_since_are_not_believed(scene: Scene) -> None:
    """It was written to, its size unchanged, between the look at what is known and its turn to be sent."""
    known = known_entries(scene)
    scene.bytes["sub/small.bin"] = content(7, SIZES["sub/small.bin"])
    (scene.tree / "sub/small.bin").write_bytes(scene.bytes["sub/small.bin"])
    sent = entries(scene.push(known=known))
    assert sent["sub/small.bin"] == entry_of("sub/small.bin", scene.bytes["sub/small.bin"])
    assert sent["exact.bin"] == known["exact.bin"].entry
    assert_stored(scene)


def test_a_finished_push_sends_nothing_again(scene: Scene) -> None:
    scene.push()
    tally = scene.push(resumed=True)
    assert (tally.sent, tally.reused) == (0, sum(SIZES.values()))
    assert entries(tally) == {path: entry_of(path, data) for path, data in scene.bytes.items()}


@pytest.mark.parametrize("after", range(6))
def test_an_interrupted_push_goes_on_from_its_stored_parts(scene: Scene, after: int) -> None:
    with pytest.raises(Stop):
        scene.push(on_sent=stop_after(after))
    tally = scene.push(resumed=True)
    assert_stored(scene)
    assert tally.sent + tally.reused == sum(SIZES.values())
    assert tally.sent < sum(SIZES.values()) or after == 0


def test_a_stored_part_with_other_bytes_is_sent_again(scene: Scene) -> None:
    with pytest.raises(Stop):
        scene.push(on_sent=stop_after(3))
    changed = bytearray(scene.bytes["big.bin"])
    changed[5] ^= 1
    scene.bytes["big.bin"] = bytes(changed)
    (scene.tree / "big.bin").write_bytes(changed)
    scene.push(resumed=True)
    assert_stored(scene)


def test_a_stored_file_with_other_bytes_is_sent_again(scene: Scene) -> None:
    scene.push()
    stored = bytearray(scene.stored("exact.bin"))
    stored[100] ^= 1
    (scene.remote_root / "files/exact.bin").write_bytes(stored)
    tally = scene.push(resumed=True)
    assert tally.sent == SIZES["exact.bin"]
    assert_stored(scene)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")


def shrink(path: Path) -> None:
    os.truncate(path, 5)


@pytest.mark.parametrize("change", [grow, overwrite, shrink, Path.unlink])
def test_a_source_that_changes_while_it_is_read_aborts_and_completes_nothing(
    scene: Scene, change: Callable[[Path], None]
) -> None:
    def on_sent(path: str, count: int) -> None:
        if path == "big.bin" and (scene.tree / path).exists():
            change(scene.tree / path)

    with pytest.raises(IntegrityError, match=r"big\.bin changed while it was read"):
        scene.push(on_sent=on_sent)
    assert not (scene.remote_root / "files/big.bin").exists()


def test_a_vanished_upload_is_begun_again(scene: Scene) -> None:
    """A lifecycle rule aborts the multipart upload between two parts."""
    aborted: list[Upload] = []

    class Vanishing:
        def __init__(self, inner: Remote) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        async def send_part(
            self, upload: Upload, number: int, data: Sequence[memoryview], *, checksum: bytes | None
        ) -> Part:
            if number == 2 and not aborted:
                aborted.append(upload)
                await self._inner.abort_upload(upload)
            return await self._inner.send_part(upload, number, data, checksum=checksum)

    async def main() -> None:
        inner = open_remote(RemoteSettings(url=scene.remote_root.as_uri()), TransferSettings())
        tally = Tally(lambda path, count: None)
        uploader = Uploader(
            Vanishing(inner),  # type: ignore[arg-type]
            jobs=4, memory_bytes=3 * PART_BYTES_MIN, uploads={}, resumed=False, exclusive=True, tally=tally,
        )  # fmt: skip
        await uploader.send_all([Source(scene.tree, f, f"files/{f.path}") for f in scan(scene.tree).files])

    asyncio.run(main())
    assert len(aborted) == 1
    assert_stored(scene)
