"""Which small files lie in which pack follows from paths and sizes alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bentosync.manifest.rules import inlined
from bentosync.transfer.packs import FILE_BYTES_MAX, FILES_MIN, PACK_BYTES_MAX, packs

SIZES = st.lists(st.sampled_from([0, 1, 4096, 50_000, FILE_BYTES_MAX, FILE_BYTES_MAX + 1]), max_size=300)


@given(SIZES)
def test_every_small_file_that_is_not_inline_is_in_one_pack_and_packs_have_no_holes(sizes: list[int]) -> None:
    files = sorted([("model.yaml", 500), *((f"f{number:04d}", size) for number, size in enumerate(sizes))])
    inline = inlined(files)
    expected = [(path, size) for path, size in files if path not in inline and 0 < size <= FILE_BYTES_MAX]
    found = packs(files)
    members = [(member.path, member.size) for pack in found for member in pack.members]
    assert members == (expected if len(expected) >= FILES_MIN else [])
    for number, pack in enumerate(found):
        assert pack.number == number
        assert 0 < pack.size <= PACK_BYTES_MAX
        ends = [member.offset + member.size for member in pack.members]
        assert [member.offset for member in pack.members] == [0, *ends[:-1]]
        assert ends[-1] == pack.size
