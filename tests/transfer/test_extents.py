"""Parts that the kernel sends out of the file: what the store then proves, and what is remembered to save reading."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import awscrt.checksums
import pytest

from bentosync.errors import IntegrityError
from bentosync.formats.digester import FileDigester
from bentosync.manifest.values import BLOCK_BYTES, FileEntry
from bentosync.native.checksum import named
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, TransferSettings
from bentosync.store.record import PartChecksums, Stamp
from bentosync.store.tree import TreeFile, scan
from bentosync.transfer.parts import PART_BYTES_MIN
from bentosync.transfer.reading import Known, Reading, Source
from bentosync.transfer.tally import Tally
from bentosync.transfer.upload import Uploader
from tests.blocks import content
from tests.servers.faulty.actions import FlipRequest, Headers
from tests.servers.faulty.server import BUCKET, FaultyS3
from tests.servers.faulty.signature import Keys

KEYS = Keys("AKIDEXTENTS", "extents/secret")
SIZE = 2 * PART_BYTES_MIN + 3 * BLOCK_BYTES + 77
PARTS = 3
DATA = content(5, SIZE)


def entry_of(data: bytes) -> FileEntry:
    digester = FileDigester("big.bin", len(data), False)
    digester.update(data)
    return digester.finish()


def checksums_of(data: bytes) -> PartChecksums:
    cuts = [data[begin : begin + PART_BYTES_MIN] for begin in range(0, len(data), PART_BYTES_MIN)]
    values = b"".join(awscrt.checksums.crc64nvme(cut).to_bytes(8, "big") for cut in cuts)
    return PartChecksums("crc64nvme", PART_BYTES_MIN, values)


@dataclass
class Scene:
    """A file of three parts, and a bucket on a strict server that speaks plain http."""

    tree: Path
    server: FaultyS3
    limit: int | None = None
    sent: list[int] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.tree / "big.bin"

    def known(self, data: bytes, parts: PartChecksums | None) -> Known:
        """As if `data` with these checksums had been remembered for what lies there now."""
        return Known(entry_of(data), Stamp.of(self.path.stat()), parts)

    def push(self, known: Known | None = None, on_sent: Callable[[], None] = lambda: None) -> Tally:
        def sent(path: str, count: int) -> None:
            self.sent.append(count)
            on_sent()

        tally = Tally(sent)
        transfer = TransferSettings(retry_base_seconds=0.001, limit_bytes_per_second=self.limit)

        async def main() -> None:
            settings = RemoteSettings(f"s3://{BUCKET}/p", endpoint_url=self.server.url, region=KEYS.region)
            remote = open_remote(settings, transfer)
            try:
                uploader = Uploader(
                    remote, jobs=4, memory_bytes=3 * PART_BYTES_MIN, uploads={}, resumed=False, exclusive=True,
                    tally=tally,
                )  # fmt: skip
                await uploader.send_all([Source(self.tree, f, f.path, known) for f in scan(self.tree).files])
            finally:
                await remote.aclose()

        asyncio.run(main())
        return tally

    def assert_stored(self, data: bytes) -> None:
        assert self.server.bucket.objects["p/big.bin"].data == data
        assert not self.server.bucket.uploads

    def assert_nothing_left(self) -> None:
        assert "p/big.bin" not in self.server.bucket.objects
        assert not self.server.bucket.uploads


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "big.bin").write_bytes(DATA)
    with FaultyS3(KEYS) as server:
        yield Scene(tree, server)


def test_a_first_push_finds_out_digests_and_the_checksum_of_every_part(scene: Scene) -> None:
    tally = scene.push()
    scene.assert_stored(DATA)
    assert tally.digested["big.bin"][0] == entry_of(DATA)
    assert tally.parts == {"big.bin": checksums_of(DATA)}


def test_a_repeated_push_takes_the_checksums_that_are_remembered(scene: Scene) -> None:
    tally = scene.push(scene.known(DATA, checksums_of(DATA)))
    scene.assert_stored(DATA)
    assert scene.server.requests["UploadPart"] == PARTS
    assert tally.parts == {"big.bin": checksums_of(DATA)}


def test_bytes_that_are_not_in_memory_are_read_before_the_kernel_sends_them(scene: Scene) -> None:
    with scene.path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    scene.push(scene.known(DATA, checksums_of(DATA)))
    scene.assert_stored(DATA)


def test_a_file_that_is_not_what_is_remembered_although_its_stamp_holds_is_refused_and_not_published(
    scene: Scene,
) -> None:
    """One bit of it changed: with the old digests it would be a model whose every pull fails."""
    earlier = bytearray(DATA)
    earlier[PART_BYTES_MIN + 5] ^= 1
    with pytest.raises(IntegrityError, match="is not what it was when it was recorded"):
        scene.push(scene.known(bytes(earlier), checksums_of(bytes(earlier))))
    assert scene.server.requests["UploadPart"] > PARTS, "the store refused a part, so the file was read"
    scene.assert_nothing_left()


@pytest.mark.parametrize("wrong", range(PARTS))
def test_checksums_that_were_remembered_wrongly_cost_a_second_look_at_the_file_and_nothing_else(
    scene: Scene, wrong: int
) -> None:
    values = bytearray(checksums_of(DATA).values)
    values[8 * wrong] ^= 1
    tally = scene.push(scene.known(DATA, PartChecksums("crc64nvme", PART_BYTES_MIN, bytes(values))))
    scene.assert_stored(DATA)
    assert tally.parts == {"big.bin": checksums_of(DATA)}
    assert tally.digested["big.bin"][0] == entry_of(DATA)


def test_a_part_that_was_damaged_on_its_way_is_sent_again(scene: Scene) -> None:
    scene.server.inject("UploadPart", FlipRequest(1000), part=2)
    scene.push(scene.known(DATA, checksums_of(DATA)))
    scene.assert_stored(DATA)
    assert scene.server.requests["UploadPart"] == PARTS + 1


@pytest.mark.parametrize(
    "parts",
    [
        PartChecksums("crc32", PART_BYTES_MIN, bytes(4 * PARTS)),
        PartChecksums("crc64nvme", 2 * PART_BYTES_MIN, bytes(8 * PARTS)),
        PartChecksums("crc64nvme", PART_BYTES_MIN, bytes(8 * PARTS - 1)),
        PartChecksums("crc64nvme", PART_BYTES_MIN, bytes(8 * PARTS + 8)),
        PartChecksums("crc64nvme", PART_BYTES_MIN, b""),
        None,
    ],
)
def test_checksums_of_another_kind_cut_or_count_are_not_used(tmp_path: Path, parts: PartChecksums | None) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(DATA)
    known = Known(entry_of(DATA), Stamp.of(path.stat()), parts)
    with Reading(Source(tmp_path, TreeFile("big.bin", SIZE, False), "k", known)) as reading:
        assert reading.known_parts(PART_BYTES_MIN, named("crc64nvme")) == []


def test_checksums_of_a_file_whose_stamp_changed_are_not_used(scene: Scene) -> None:
    known = scene.known(DATA, checksums_of(DATA))
    other = content(6, SIZE)
    scene.path.write_bytes(other)
    tally = scene.push(known)
    scene.assert_stored(other)
    assert tally.digested["big.bin"][0] == entry_of(other)
    assert tally.parts == {"big.bin": checksums_of(other)}


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"other")


def shrink(path: Path) -> None:
    os.truncate(path, 5)


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("change", [grow, overwrite, shrink])
def test_a_file_that_changes_while_the_kernel_sends_it_is_not_published(
    scene: Scene, change: Callable[[Path], None], remembered: bool
) -> None:
    known = scene.known(DATA, checksums_of(DATA)) if remembered else None
    with pytest.raises(IntegrityError, match=r"big\.bin changed while it was read"):
        scene.push(known, on_sent=lambda: change(scene.path) if len(scene.sent) == 1 else None)
    scene.assert_nothing_left()


def test_a_store_that_does_not_say_that_it_checks_is_sent_what_was_read(scene: Scene) -> None:
    """Nobody would notice that the checksums remembered here belong to other bytes: so they are not used."""
    scene.server.inject("CreateMultipartUpload", Headers({"x-amz-checksum-algorithm": None}))
    tally = scene.push(scene.known(DATA, PartChecksums("crc64nvme", PART_BYTES_MIN, bytes(8 * PARTS))))
    scene.assert_stored(DATA)
    assert scene.server.requests["UploadPart"] == PARTS
    assert tally.parts == {"big.bin": checksums_of(DATA)}


def test_a_limit_of_the_rate_holds_because_its_wire_sends_no_files(scene: Scene) -> None:
    scene.limit = 1 << 30
    scene.push(scene.known(DATA, PartChecksums("crc64nvme", PART_BYTES_MIN, bytes(8 * PARTS))))
    scene.assert_stored(DATA)
    assert scene.server.requests["UploadPart"] == PARTS


def test_what_the_store_was_told_of_a_part_is_what_is_remembered(scene: Scene) -> None:
    told: dict[str, str] = {}

    def listen(call: object) -> bool:
        told[call.query["partNumber"]] = call.headers["x-amz-checksum-crc64nvme"]  # type: ignore[attr-defined]
        return False

    scene.server.inject("UploadPart", Headers({}), where=listen)
    values = scene.push().parts["big.bin"].values
    assert [base64.b64decode(told[str(number + 1)]) for number in range(PARTS)] == [
        values[8 * number : 8 * number + 8] for number in range(PARTS)
    ]
