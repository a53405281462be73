"""What honest tools write is read, and our writers and their readers agree with everybody else's."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.errors import UnsafeInput
from bentosync.formats.archive import compressing, decompressing, kinds, tar_header, zip_records, zstd
from bentosync.formats.archive.member import Limits, Member
from bentosync.formats.archive.opening import open_reader, open_writer
from bentosync.formats.archive.tar_header import Header
from bentosync.formats.archive.zip_records import Ending, Entry
from tests.formats.archive import forging
from tests.store.trees import pattern

FILES = {
    "a": b"1",
    "deep/er/x.bin": pattern(1_300_000, 1),
    "empty": b"",
    "run.sh": b"#!",
    "z" * 120 + "/" + "y" * 200: b"long",
    "\u00fcml\u00e4ut/\u65e5\u672c": b"wide",
    "exact": pattern(1024, 2),
}
FOLDERS = ["hollow/inner", "\u00fcml\u00e4ut/none"]

Found = list[tuple[Member, bytes]]


class Memory:
    """An output in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def position(self) -> int:
        return len(self.data)

    def write(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        for part in parts:
            self.data += part

    def patch(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data


def written(container: kinds.Container, *, compress: bool, body: bytes | None = None, patching: bool = True) -> bytes:
    output = Memory()
    with open_writer(output, container, compress=compress, patching=patching) as writer:
        if body is not None:
            writer.manifest(body)
        for path in sorted(FILES):
            data = FILES[path]
            pieces = (data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20))
            writer.file(Member(path, len(data), executable=path == "run.sh"), pieces)
        for path in FOLDERS:
            writer.directory(path)
        writer.finish()
    return bytes(output.data)


def read(data: bytes, limits: Limits | None = None) -> tuple[Found, bytes | None]:
    container = kinds.sniffed(data[: kinds.HEAD_BYTES])
    assert container is not None
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        reader = open_reader(file.fileno(), container, limits or Limits(), lambda count: None)
        found = [(member, b"".join(pieces)) for member, pieces in reader.members()]
        return found, reader.manifest


EXPECTED = [(Member(path, len(FILES[path]), executable=path == "run.sh"), FILES[path]) for path in sorted(FILES)] + [
    (Member(path, directory=True), b"") for path in FOLDERS
]
CASES = [
    ("tar", False),
    ("xz", False),
    ("xz", True),
    ("gz", False),
    ("gz", True),
    ("bz2", True),
    ("zst", False),
    ("zst", True),
    ("zip", False),
    ("zip", True),
]


@pytest.mark.parametrize(("container", "compress"), CASES)
@pytest.mark.parametrize("body", [None, b"{}\n", "\u00fc".encode() * 300_000])
def test_what_is_written_is_read(container: kinds.Container, compress: bool, body: bytes | None) -> None:
    assert read(written(container, compress=compress, body=body)) == (EXPECTED, body)


@pytest.mark.parametrize(("container", "compress"), CASES)
def test_python_reads_what_is_written_and_sees_no_manifest(container: kinds.Container, compress: bool) -> None:
    packed = written(container, compress=compress, body=b'{"a":1}\n' * 100_000)
    # Python's tarfile knows zst from 3.14 on.
    data = io.BytesIO(zstd.library().decompress(packed) if container == "zst" else packed)
    if container == "zip":
        with zipfile.ZipFile(data) as archive:
            assert archive.testzip() is None
            found = {name: archive.read(name) for name in archive.namelist()}
            assert archive.getinfo("run.sh").external_attr >> 16 == 0o100755
    else:
        with tarfile.open(fileobj=data) as archive:
            found = {member.name + "/" * member.isdir(): archive.extractfile(member).read() if member.isfile() else b""
                     for member in archive}  # fmt: skip
            assert {(member.mtime, member.uid, member.gid, member.uname) for member in archive} == {(0, 0, 0, "")}
            assert archive.getmember("run.sh").mode == 0o755
    assert found == FILES | {f"{path}/": b"" for path in FOLDERS}


@pytest.mark.parametrize("tool", ["tar", "unzip"])
def test_everyday_tools_read_what_is_written_without_a_word(tool: str, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here")
    path = tmp_path / "x"
    path.write_bytes(written("zip" if tool == "unzip" else "tar", compress=False, body=b"{}\n" * 400_000))
    command = ["unzip", "-tqq", path] if tool == "unzip" else ["tar", "tf", path]
    done = subprocess.run(
        command, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    )
    assert done.stderr == b""


def honest_tar(format: int, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format) as archive:  # type: ignore[call-overload]
        for path in sorted(FILES):
            info = tarfile.TarInfo(f"./{path}")
            info.size, info.mtime, info.mode = len(FILES[path]), 1.5, 0o755 if path == "run.sh" else 0o600
            archive.addfile(info, io.BytesIO(FILES[path]))
        for path in FOLDERS:
            info = tarfile.TarInfo(f"./{path}")
            info.type, info.mode = tarfile.DIRTYPE, 0o2755
            archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_what_pythons_tarfile_writes_is_read(format: int, mode: str) -> None:
    assert read(honest_tar(format, mode)) == (EXPECTED, None)


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar here")
@pytest.mark.parametrize("format", ["gnu", "pax", "ustar", "v7"])
def test_what_gnu_tar_writes_is_read(format: str, tmp_path: Path) -> None:
    (tmp_path / "t/sub").mkdir(parents=True)
    (tmp_path / "t/sub/x").write_bytes(b"x")
    (tmp_path / "t/y").write_bytes(pattern(3000))
    data = subprocess.run(
        ["tar", "-C", tmp_path / "t", f"--format={format}", "-cf", "-", "."], capture_output=True, check=True
    )
    found = {member.path: content for member, content in read(data.stdout)[0]}
    assert found == {".": b"", "sub": b"", "sub/x": b"x", "y": pattern(3000)}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("streamed", [False, True])
def test_what_pythons_zipfile_writes_is_read(method: int, streamed: bool) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return not streamed

        def tell(self) -> int:
            if streamed:
                raise OSError
            return super().tell()

    buffer = Pipe()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for path in sorted(FILES):
            archive.writestr(path, FILES[path])
        archive.writestr("hollow/", b"")
    found = {member.path: content for member, content in read(buffer.getvalue())[0]}
    assert found == FILES | {"hollow": b""}


@pytest.mark.parametrize("container", ["tar", "zip"])
def test_members_that_nobody_takes_are_skipped(container: kinds.Container) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(written(container, compress=False))
        file.flush()
        reader = open_reader(file.fileno(), container, Limits(), lambda count: None)
        assert [member.path for member, _ in reader.members()] == [member.path for member, _ in EXPECTED]


@pytest.mark.parametrize("container", ["tar", "zip"])
@pytest.mark.parametrize(
    "limits", [Limits(entries_max=5), Limits(bytes_max=1_300_000), Limits(ratio_max=0, ratio_floor_bytes=1000)]
)
def test_limits_are_kept(container: kinds.Container, limits: Limits) -> None:
    if container == "tar" and limits.ratio_max == 0:
        data = written("gz", compress=False)
    else:
        data = written(container, compress=False)
    with pytest.raises(UnsafeInput):
        read(data, limits)


@given(st.binary(max_size=2000), st.sampled_from(["xz", "gz", "bz2", "zst"]), st.integers(1, 700))
def test_streams_in_a_row_are_one(data: bytes, compression: decompressing.Compression, piece: int) -> None:
    pack: Callable[[bytes, bool], bytes] = {
        "xz": compressing.xz, "gz": compressing.gzip, "bz2": compressing.bzip2, "zst": zstd.compressor(3)
    }[compression]  # fmt: skip
    packed = b"".join(pack(data[at : at + piece], True) for at in range(0, max(1, len(data)), piece))
    source: Iterator[bytes] = iter([packed[at : at + 100] for at in range(0, len(packed), 100)])
    assert b"".join(decompressing.pieces(lambda count: next(source, b""), compression, Limits())) == data


@given(st.binary(min_size=512, max_size=512))
def test_noise_is_no_header(block: bytes) -> None:
    assert not tar_header.is_header(block)


@given(
    path=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=300),
    size=st.sampled_from([0, 1, 8**11 - 1, 8**11, 1 << 50]),
)
def test_headers_say_what_they_were_given(path: str, size: int) -> None:
    blocks = tar_header.member_blocks(path, tar_header.FILE, size, 0o644)
    assert len(blocks) % 512 == 0
    last = tar_header.parse(blocks[-512:])
    extended = {}
    if len(blocks) > 512:
        first = tar_header.parse(blocks[:512])
        assert first.kind == tar_header.PAX
        extended = tar_header.records(blocks[512 : 512 + first.size])
    assert extended.get("path", last.name.decode()) == path
    assert tar_header.agreed_size(last, extended.get("size")) == size
    assert Header(last.name, last.kind, 0o644, last.size) == last


@pytest.mark.parametrize("size", [0, 0xFEFFFFFF, 0xFF000000, 0xFFFFFFFF, 1 << 40])
@pytest.mark.parametrize("offset", [0, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 40])
def test_zip_headers_say_what_they_were_given_whatever_its_size(size: int, offset: int) -> None:
    entry = Entry(b"a", 0, 0, 7, size, size, offset, 0o100644)
    head = zip_records.local_header(entry)
    rest = head[zip_records.LOCAL_BYTES :]
    assert zip_records.check_local(head[: zip_records.LOCAL_BYTES], entry) == len(rest)
    zip_records.check_local_rest(head[: zip_records.LOCAL_BYTES], rest, entry)
    directory = zip_records.central_header(entry)
    assert list(zip_records.central_entries(directory, Ending(0, len(directory), 1))) == [entry]


@pytest.mark.parametrize(
    "end", [Ending(5, 60, 1), Ending(5, 60, 0xFFFF), Ending(1 << 33, 60, 1), Ending(7, 60, 70_000)]
)
def test_the_end_of_a_zip_is_found_again(end: Ending) -> None:
    tail = bytes(60) + zip_records.ending(end)
    assert zip_records.find_ending(tail, end.offset + len(tail)) == end


@pytest.mark.parametrize("size", [0, 0xFEFFFFFF, 0xFF000000, 0xFFFFFFFF, 1 << 40])
def test_a_streamed_zip_header_fits_its_entry_and_so_does_its_descriptor(size: int) -> None:
    entry = Entry(b"a", zip_records.STREAMED, 0, 7, size, size, 5, 0o100644)
    head = zip_records.local_header(entry)
    rest = head[zip_records.LOCAL_BYTES :]
    assert zip_records.check_local(head[: zip_records.LOCAL_BYTES], entry) == len(rest)
    zip_records.check_local_rest(head[: zip_records.LOCAL_BYTES], rest, entry)
    assert zip_records.descriptor(entry) in zip_records.descriptors(entry)


@pytest.mark.parametrize("compress", [False, True])
def test_a_zip_that_cannot_be_patched_says_the_same_to_everybody(compress: bool, tmp_path: Path) -> None:
    data = written("zip", compress=compress, body=b"{}\n", patching=False)
    assert read(data) == (EXPECTED, b"{}\n")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found == FILES | {f"{path}/": b"" for path in FOLDERS}
    if shutil.which("unzip") is not None:
        (tmp_path / "x").write_bytes(data)
        environment = {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
        subprocess.run(["unzip", "-tqq", tmp_path / "x"], check=True, env=environment)


def test_a_zst_with_a_frame_to_be_skipped_is_a_zst() -> None:
    skipped = b"\x51\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"what"
    data = skipped + written("zst", compress=False)
    assert kinds.sniffed(data[: kinds.HEAD_BYTES]) == "zst"
    assert read(data)[0] == EXPECTED


@pytest.mark.parametrize("name", [b"BZh9", b"PK\x03\x04", b"\x1f\x8b"])
def test_a_tar_is_a_tar_whatever_its_first_name_looks_like(name: bytes) -> None:
    assert kinds.sniffed(forging.header(name)) == "tar"


def test_formats_are_named_by_the_last_extension() -> None:
    names = {
        "a.bentomodel": "bentomodel",
        "a.tar.gz": "gz",
        "a.tgz": "gz",
        "a.txz": "xz",
        "a.tar": "tar",
        "a.zip": "zip",
        "a": None,
        "a.foo": None,
        "a.folder": None,
        "tar": None,
        "a.b.bz2": "bz2",
        "a.tar.zst": "zst",
        "a.tzst": "zst",
    }
    assert {name: kinds.named(name) for name in names} == names
