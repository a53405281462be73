from __future__ import annotations

import random
import shutil
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentosync.native import checksum, select, twin

CHECK_MESSAGE = b"123456789"
CHECK_VALUES = {"crc64nvme": 0xAE8B14860A799888, "crc32": 0xCBF43926}
MESSAGE = random.Random(64).randbytes(5000)

Crc = Callable[..., int]


def ways() -> dict[str, Crc]:
    """Every way to compute CRC-64/NVME on this machine, by name."""
    found: dict[str, Crc] = {"twin": twin.crc64nvme}
    awscrt = pytest.importorskip("awscrt.checksums")
    found["awscrt"] = awscrt.crc64nvme
    core = select.core()
    if core is not twin:
        from bentosync.native import _core

        found["core"] = _core.crc64nvme
        for way in _core.crc64nvme_ways():
            found[way] = lambda data, initial=0, way=way: _core.crc64nvme_by(way, data, initial)
    return found


WAYS = ways()


@pytest.fixture(params=sorted(WAYS))
def crc(request: pytest.FixtureRequest) -> Crc:
    return WAYS[request.param]


def test_a_machine_with_a_compiler_has_the_compiled_core() -> None:
    if shutil.which("c++") is None:
        pytest.skip("no compiler here: pure Python is what was promised")
    assert {"core", "tables"} <= WAYS.keys()


def test_every_way_gives_the_check_value(crc: Crc) -> None:
    assert crc(CHECK_MESSAGE) == CHECK_VALUES["crc64nvme"]


def test_every_way_gives_zero_for_no_bytes(crc: Crc) -> None:
    assert crc(b"") == 0


def test_every_way_agrees_with_the_twin_at_every_length_around_its_strides(crc: Crc) -> None:
    for size in (1, 7, 8, 9, 127, 128, 129, 255, 256, 257, 511, 512, 1023, 1024, 1025, 2048, 4095, 5000):
        assert crc(MESSAGE[:size]) == twin.crc64nvme(MESSAGE[:size]), size


@settings(deadline=None)
@given(data=st.binary(max_size=3000), offset=st.integers(0, 65), initial=st.integers(0, 2**64 - 1))
def test_all_ways_agree_on_any_bytes_at_any_alignment(data: bytes, offset: int, initial: int) -> None:
    view = memoryview(bytes(offset) + data)[offset:]
    assert {way(view, initial) for way in WAYS.values()} == {twin.crc64nvme(data, initial)}


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data)).cast("I")])
def test_every_way_takes_any_contiguous_buffer(crc: Crc, make: Callable[[bytes], memoryview]) -> None:
    assert crc(make(MESSAGE)) == twin.crc64nvme(MESSAGE)


def test_a_buffer_with_gaps_is_refused(crc: Crc) -> None:
    with pytest.raises((BufferError, TypeError, ValueError)):
        crc(memoryview(MESSAGE)[::2])


def test_a_way_that_this_machine_lacks_is_an_error() -> None:
    core = pytest.importorskip("bentosync.native._core")
    with pytest.raises(ValueError, match="abacus"):
        core.crc64nvme_by("abacus", b"")


@pytest.mark.parametrize("name", ["crc64nvme", "crc32"])
class TestChecksum:
    def test_has_the_published_check_value(self, name: checksum.ChecksumName) -> None:
        assert checksum.named(name).update(CHECK_MESSAGE) == CHECK_VALUES[name]

    def test_values_fit_their_size(self, name: checksum.ChecksumName) -> None:
        kind = checksum.named(name)
        assert kind.name == name
        assert kind.update(MESSAGE) < 1 << (8 * kind.size_bytes)

    @given(first=st.binary(max_size=300), second=st.binary(max_size=300))
    def test_update_twice_is_update_with_both(self, name: checksum.ChecksumName, first: bytes, second: bytes) -> None:
        kind = checksum.named(name)
        assert kind.update(second, kind.update(first)) == kind.update(first + second)

    @settings(deadline=None)
    @given(pieces=st.lists(st.binary(max_size=200), max_size=8))
    def test_combine_over_pieces_is_update_over_all(self, name: checksum.ChecksumName, pieces: list[bytes]) -> None:
        kind = checksum.named(name)
        joined = 0
        for piece in pieces:
            joined = kind.combine(joined, kind.update(piece), len(piece))
        assert joined == kind.update(b"".join(pieces))

    def test_combine_is_associative_over_lengths_no_memory_holds(self, name: checksum.ChecksumName) -> None:
        kind = checksum.named(name)
        a, b, c = (kind.update(bytes([letter])) for letter in b"abc")
        long, longer = 5 << 40, (7 << 40) + 13
        left = kind.combine(kind.combine(a, b, long), c, longer)
        right = kind.combine(a, kind.combine(b, c, longer), long + longer)
        assert left == right


def test_crc32_is_zlibs() -> None:
    assert checksum.named("crc32").update(MESSAGE) == zlib.crc32(MESSAGE)


def test_crc64nvme_is_not_fast_when_native_code_is_off() -> None:
    assert not checksum.fast_crc64nvme(native="off")
    assert checksum.named("crc64nvme", native="off").update(CHECK_MESSAGE) == CHECK_VALUES["crc64nvme"]


def test_crc64nvme_is_fast_with_the_core_or_awscrt() -> None:
    assert checksum.fast_crc64nvme()
