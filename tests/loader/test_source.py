from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from bentosync.errors import IntegrityError, NotFound, UnsafeInput
from bentosync.loader import residency, source
from bentosync.loader.filesystem import filesystem_magic, is_network
from bentosync.loader.source import SECTOR_BYTES, WeightFile
from tests.loader.weights import payload

COLD_BYTES = (64 << 20) + 12345


def evict(path: Path) -> None:
    """Drop the file's pages, as a reboot would."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "large.bin"
    path.write_bytes(payload("large", COLD_BYTES))
    return path


def test_reads_fill_memory_from_any_offset(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(payload("w", 10_000))
    with WeightFile(path) as file:
        memory = bytearray(4000)
        file.read_into(memoryview(memory), 123, 4000)
        assert memory == payload("w", 10_000)[123:4123]
        assert file.choose_route() == "page-cache"


def test_a_read_is_scattered_over_memories_in_order(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(payload("w", 10_000))
    memories = [memoryview(bytearray(size)) for size in (1, 4096, 3, 2000)]
    with WeightFile(path) as file:
        file.scatter_into(memories, 123)
    assert b"".join(memories) == payload("w", 10_000)[123 : 123 + 6100]


def test_a_scattered_read_of_a_file_that_became_shorter_names_the_byte_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(payload("w", 10_000))
    with WeightFile(path) as file:
        os.truncate(path, 5000)
        with pytest.raises(IntegrityError, match=r"w\.safetensors was truncated .* offset 5000"):
            file.scatter_into([memoryview(bytearray(4000)), memoryview(bytearray(4000))], 100)


def test_a_cold_large_file_is_read_past_the_page_cache_to_its_odd_end(large: Path) -> None:
    evict(large)
    with WeightFile(large) as file:
        if file.choose_route() != "direct":
            pytest.skip(f"no direct reads on this file system ({filesystem_magic(file.fileno()):#x})")
        slot = mmap.mmap(-1, 1 << 20)
        begin = COLD_BYTES // SECTOR_BYTES * SECTOR_BYTES - 8 * SECTOR_BYTES
        file.read_into(memoryview(slot), begin, COLD_BYTES - begin)
        assert slot[: COLD_BYTES - begin] == payload("large", COLD_BYTES)[begin:]
        assert residency.resident_fraction(file.fileno(), COLD_BYTES) < 0.5  # type: ignore[operator]


def test_a_warm_large_file_is_read_through_the_page_cache(large: Path) -> None:
    large.read_bytes()
    with WeightFile(large) as file:
        assert residency.resident_fraction(file.fileno(), COLD_BYTES) == 1.0
        assert file.choose_route() == "page-cache"


def test_residency_counts_pages(large: Path) -> None:
    evict(large)
    with large.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(file.fileno(), 16 << 20, 0)
        fraction = residency.resident_fraction(file.fileno(), COLD_BYTES)
        assert fraction is not None
        assert 0.2 < fraction < 0.4
        assert not residency.is_resident(file.fileno(), COLD_BYTES)


def test_an_empty_file_is_resident(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"")
    with (tmp_path / "e").open("rb") as file:
        assert residency.is_resident(file.fileno(), 0)


def test_truncation_under_a_reader_is_an_integrity_error_naming_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(payload("w", 10_000))
    with WeightFile(path) as file:
        os.truncate(path, 5000)
        with pytest.raises(IntegrityError, match=r"w\.safetensors was truncated .* offset 5000"):
            file.read_into(memoryview(bytearray(10_000)), 0, 10_000)
        with pytest.raises(IntegrityError, match="10000 bytes before, 5000 now"):
            file.check_unchanged()


def test_a_write_in_place_is_noticed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(payload("w", 10_000))
    os.utime(path, ns=(0, 0))
    with WeightFile(path) as file:
        with path.open("r+b") as writer:
            writer.write(b"x")
        with pytest.raises(IntegrityError, match="changed while it was read"):
            file.check_unchanged()


@pytest.mark.parametrize("leave", ["unlink", "replace"])
def test_a_file_that_is_unlinked_or_replaced_still_gives_the_bytes_it_had(tmp_path: Path, leave: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(payload("w", 10_000))
    with WeightFile(path) as file:
        if leave == "unlink":
            path.unlink()
        else:
            (tmp_path / "new").write_bytes(b"other")
            (tmp_path / "new").replace(path)
        memory = bytearray(10_000)
        file.read_into(memoryview(memory), 0, 10_000)
        file.check_unchanged()
    assert memory == payload("w", 10_000)


def test_what_is_not_there_or_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="gone"):
        WeightFile(tmp_path / "gone")
    with pytest.raises(UnsafeInput, match="not a regular file"):
        WeightFile(tmp_path)


def test_closing_twice_closes_once(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"x")
    before = os.listdir("/proc/self/fd")
    file = WeightFile(tmp_path / "w")
    file.close()
    file.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_local_file_system_is_not_called_a_network(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"x")
    with (tmp_path / "w").open("rb") as file:
        assert filesystem_magic(file.fileno()) not in (None, 0)
        assert not is_network(file.fileno())


def test_proc_has_the_magic_the_kernel_documents() -> None:
    with Path("/proc/self/status").open("rb") as file:
        assert filesystem_magic(file.fileno()) == 0x9FA0


def test_direct_reads_are_not_offered_where_the_file_system_refuses(tmp_path: Path) -> None:
    with Path("/proc/self/status").open("rb") as file:
        assert source._reopen_direct(file.fileno()) is None
