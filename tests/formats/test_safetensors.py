"""safetensors headers: what we accept, the reference library accepts and understands alike; the rest is refused."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from bentosync.errors import UnsafeInput
from bentosync.formats.safetensors import (
    DTYPE_BITS,
    HEADER_BYTES_MAX,
    Header,
    TensorSpec,
    header_bytes,
    parse_header,
    parse_index,
    read_header,
)
from tests.formats.headers import file_of, tensor, valid

ONE = tensor("U8", [1], 0, 1)
ENTRY = b'{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'


def same_as_the_reference(data: bytes) -> Header:
    """Parse, and hold the result against the reference library's."""
    header = parse_header(data, len(data))
    reference = dict(safetensors.deserialize(data))
    assert reference.keys() == {spec.name for spec in header.tensors}
    for spec in header.tensors:
        seen = reference[spec.name]
        assert (seen["dtype"], tuple(seen["shape"])) == (spec.dtype, spec.shape)
        assert seen["data"] == data[header.data_offset + spec.begin : header.data_offset + spec.end]
    return header


def test_a_header_is_read_as_what_it_says() -> None:
    data = valid()
    header = same_as_the_reference(data)
    assert header == Header(
        data_offset=len(data) - 4096,
        tensors=(
            TensorSpec("a.first", "U8", (4,), 0, 4),
            TensorSpec("m.middle", "BF16", (2, 10), 4, 44),
            TensorSpec("z.last", "F32", (1013,), 44, 4096),
            TensorSpec("e.empty", "I64", (5, 0), 4096, 4096),
        ),
        metadata={"format": "pt", "Ünïcode": "\n"},
    )


def test_the_reference_writer_is_understood(tmp_path: Path) -> None:
    arrays = {
        f"layer.{number}": np.arange(number * 7).astype(dtype).reshape(7, number)
        for number, dtype in enumerate(["u1", "i1", "<i2", "<u2", "<f2", "<f4", "<f8", "<i8", "<u8", "?"], 1)
    }
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata={"format": "np"})
    header = read_header(path)
    assert header == same_as_the_reference(path.read_bytes())
    assert header.metadata == {"format": "np"}
    assert {spec.name: spec.shape for spec in header.tensors} == {name: a.shape for name, a in arrays.items()}


@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_every_dtype_is_as_long_as_the_reference_says(dtype: str) -> None:
    for elements in (0, 4, 8, 24):
        size = elements * DTYPE_BITS[dtype] // 8
        same_as_the_reference(file_of({"a": tensor(dtype, [elements], 0, size)}, b"x" * size))


ACCEPTED = {
    "no tensors": file_of({}),
    "no tensors, padded": file_of(b"{}      "),
    "no tensors, but metadata": file_of({"__metadata__": {"a": "b"}}),
    "empty metadata": file_of({"__metadata__": {}}),
    "metadata last": file_of({"a": ONE, "__metadata__": {"": ""}}, b"x"),
    "a scalar": file_of({"a": tensor("F32", [], 0, 4)}, b"1234"),
    "a rank of 64": file_of({"a": tensor("U8", [1] * 64, 0, 1)}, b"x"),
    "a name of 4096 bytes": file_of({"n" * 4096: ONE}, b"x"),
    "a name with escapes": file_of(b'{"a\\u00e9\\/\\"\\\\":' + ENTRY + b"}", b"x"),
    "a surrogate pair": file_of(b'{"\\ud83d\\ude00":' + ENTRY + b"}", b"x"),
    "white space everywhere": file_of(
        b'{ "a"\t:\r\n{ "dtype" : "U8" ,\n"shape" : [ 1 , 1 ] , "data_offsets" : [ 0 , 1 ] } ,'
        b'"__metadata__" : { "k" : "v" } }  ', b"x"),
    "members in another order": file_of(b'{"a":{"data_offsets":[0,1],"dtype":"U8","shape":[1]}}', b"x"),
    "two empty tensors at one place": file_of(
        {"b": tensor("U8", [0], 1, 1), "a": tensor("F4", [0, 3], 1, 1), "c": ONE}, b"x"),
    "an empty tensor between two": file_of(
        {"a": ONE, "b": tensor("I32", [0], 1, 1), "c": tensor("U8", [1], 1, 2)}, b"xy"),
    "a misaligned tensor": file_of({"a": ONE, "b": tensor("F64", [1], 1, 9)}, b"123456789"),
    "a header of odd length": file_of(b'{"a":' + ENTRY + b"} ", b"x"),
    "a large dimension beside a zero": file_of({"a": tensor("U8", [0, 2**40], 0, 0)}),
}  # fmt: skip


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_is_legal_is_accepted_and_understood_alike(data: bytes) -> None:
    same_as_the_reference(data)


def one(name: str = "a", **members: Any) -> bytes:
    """A file of one tensor of one byte, with some members replaced."""
    return file_of({name: {**ONE, **members}}, b"x")


HOSTILE: dict[str, tuple[bytes, str]] = {
    # length
    "an empty file": (b"", "has 0 bytes"),
    **{f"a file of {size} bytes": (b"\x10" + b"\0" * (size - 1), f"has {size} bytes") for size in (1, 4, 7)},
    "a header of 0 bytes": (file_of(b"", length=0), "length of 0"),
    "a header of 1 byte": (file_of(b"{", length=1), "length of 1"),
    "a header longer than the file": (file_of(b"{}", length=3), "do not fit"),
    "a header of 2^63 bytes": (file_of(b"{}", length=1 << 63), "not within"),
    "a header of 2^64-1 bytes": (file_of(b"{}", length=(1 << 64) - 1), "not within"),
    "a header over 100 MB": (file_of(b"{}", length=HEADER_BYTES_MAX + 1), "not within"),
    "a header of 100 MB in a small file": (file_of(b"{}", length=HEADER_BYTES_MAX), "do not fit"),
    "a header cut by one byte": (file_of(b'{"a":' + ENTRY + b"}", length=52), "malformed"),
    "a length in the other byte order": ((2).to_bytes(8, "big") + b"{}", "not within"),
    # not this format
    "a pickle": (b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00}\x94.", "not within"),
    "a zip": (b"PK\x03\x04" + b"\0" * 40, "not within|do not fit"),
    "a GGUF": (b"GGUF\x03\0\0\0" + b"\0" * 40, "not within"),
    "a git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "not within"),
    "an HTML page": (b"<!doctype html><html>", "not within"),
    "UTF-16": (file_of('{"a":1}'.encode("utf-16")), "malformed"),
    # JSON
    "a leading space": (file_of(b" {}"), "malformed"),
    "a byte order mark": (file_of(b"\xef\xbb\xbf{}"), "malformed"),
    "a trailing line feed": (file_of(b"{}\n"), "more than spaces"),
    "a trailing tab": (file_of(b"{}\t"), "more than spaces"),
    "a trailing NUL": (file_of(b"{}\0"), "more than spaces"),
    "a second object behind": (file_of(b"{}{}"), "more than spaces"),
    "an array": (file_of(b"[]"), "malformed"),
    "a string": (file_of(b'"a"'), "malformed"),
    "null": (file_of(b"null"), "malformed"),
    "no end": (file_of(b'{"a":' + ENTRY, b"x"), "malformed"),
    "a trailing comma": (file_of(b'{"a":' + ENTRY + b",}", b"x"), "malformed"),
    "a leading comma": (file_of(b'{,"a":' + ENTRY + b"}", b"x"), "malformed"),
    "a trailing comma in a tensor": (file_of(b'{"a":' + ENTRY[:-1] + b",}}", b"x"), "malformed"),
    "a trailing comma in a shape": (file_of(b'{"a":' + ENTRY.replace(b"[1]", b"[1,]") + b"}", b"x"), "malformed"),
    "a comment": (file_of(b'{"a"/**/:' + ENTRY + b"}", b"x"), "malformed"),
    "single quotes": (file_of(b"{'a':" + ENTRY + b"}", b"x"), "malformed"),
    "deep nesting": (file_of(b'{"a":' * 5000), "malformed"),
    "deep nesting of lists": (file_of(b'{"a":' + b"[" * 100_000), "malformed"),
    # names
    "a name twice": (file_of(b'{"a":' + ENTRY + b',"a":' + ENTRY + b"}", b"x"), "twice|begins"),
    "an empty tensor twice": (
        file_of(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],'
                b'"data_offsets":[0,0]}}'), "appears twice"),
    "a name twice, once escaped": (
        file_of(b'{"a":' + ENTRY + b',"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"xy"), "twice"),
    "an empty name": (one(""), "no name"),
    "a name with NUL": (one("a\0b"), "control"),
    "a name with an escaped NUL": (file_of(b'{"a\\u0000":' + ENTRY + b"}", b"x"), "control"),
    "a name that paints the terminal": (file_of(b'{"\\u001b[2J":' + ENTRY + b"}", b"x"), "control"),
    "a name with DEL": (one("a\x7f"), "control"),
    "a name with a raw line feed": (file_of(b'{"a\n":' + ENTRY + b"}", b"x"), "malformed"),
    "a name of 4097 bytes": (one("n" * 4097), "over 4096"),
    "a name of 1 MB": (one("n" * 1_000_000), "over 4096"),
    "half a surrogate pair": (file_of(b'{"\\ud800":' + ENTRY + b"}", b"x"), "not a valid string"),
    "a bad escape": (file_of(b'{"\\x61":' + ENTRY + b"}", b"x"), "not a valid string"),
    "a cut escape": (file_of(b'{"\\u00":' + ENTRY + b"}", b"x"), "not a valid string"),
    "invalid UTF-8": (file_of(b'{"\xc3\x28":' + ENTRY + b"}", b"x"), "not a valid string"),
    "overlong UTF-8": (file_of(b'{"\xc0\xaf":' + ENTRY + b"}", b"x"), "not a valid string"),
    "a surrogate in UTF-8": (file_of(b'{"\xed\xa0\x80":' + ENTRY + b"}", b"x"), "not a valid string"),
    # metadata
    "metadata null": (file_of({"__metadata__": None}), "malformed"),
    "metadata with a number": (file_of({"__metadata__": {"a": 1}}), "malformed"),
    "metadata that is nested": (file_of({"__metadata__": {"a": {"b": "c"}}}), "malformed"),
    "metadata that is a list": (file_of({"__metadata__": []}), "malformed"),
    "metadata twice": (file_of(b'{"__metadata__":{},"__metadata__":{}}'), "metadata appears twice"),
    "a metadata key twice": (file_of(b'{"__metadata__":{"a":"1","a":"2"}}'), "'a' appears twice"),
    "metadata that is a tensor": (file_of({"__metadata__": ONE}, b"x"), "malformed"),
    "metadata with half a surrogate pair": (file_of(b'{"__metadata__":{"a":"\\ud800"}}'), "not a valid string"),
    # members
    "a tensor that is null": (file_of({"a": None}), "malformed"),
    "a tensor that is a list": (file_of({"a": ["U8", [1], [0, 1]]}, b"x"), "malformed"),
    "a tensor without dtype": (file_of({"a": {"shape": [1], "data_offsets": [0, 1]}}, b"x"), "malformed"),
    "a tensor without shape": (file_of({"a": {"dtype": "U8", "data_offsets": [0, 1]}}, b"x"), "malformed"),
    "a tensor without offsets": (file_of({"a": {"dtype": "U8", "shape": [1]}}, b"x"), "malformed"),
    "a tensor of nothing": (file_of({"a": {}}), "malformed"),
    "an extra member": (one(extra=1), "malformed"),
    "a nested extra member": (one(extra={"a": [1]}), "malformed"),
    "a member twice": (file_of(b'{"a":{"dtype":"U8","dtype":"U8","shape":[1]}}', b"x"), "lacks a member"),
    "a fourth member that is a repeat": (
        file_of(b'{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"), "malformed"),
    "a member of another case": (file_of(b'{"a":' + ENTRY.replace(b"dtype", b"DType") + b"}", b"x"), "malformed"),
    "an escaped member": (file_of(b'{"a":' + ENTRY.replace(b"dtype", b"\\u0064type") + b"}", b"x"), "malformed"),
    # dtypes
    "an unknown dtype": (one(dtype="F7"), "unknown dtype"),
    "a lower-case dtype": (one(dtype="u8"), "malformed"),
    "an empty dtype": (one(dtype=""), "malformed"),
    "a dtype null": (one(dtype=None), "malformed"),
    "a dtype of numpy": (one(dtype="|u1"), "malformed"),
    "a dtype of 1 MB": (one(dtype="U" * 1_000_000), "malformed"),
    "half bytes": (file_of({"a": tensor("F4", [3], 0, 2)}, b"xy"), "within a byte"),
    "quarter bytes": (file_of({"a": tensor("F6_E2M3", [2], 0, 2)}, b"xy"), "within a byte"),
    "half bytes, rounded down": (file_of({"a": tensor("F4", [1], 0, 0)}), "within a byte"),
    # shapes
    "a shape null": (one(shape=None), "malformed"),
    "a shape that is a number": (one(shape=1), "malformed"),
    "a shape with a float": (one(shape=[1.0]), "malformed"),
    "a shape with an exponent": (file_of(b'{"a":' + ENTRY.replace(b"[1]", b"[1e0]") + b"}", b"x"), "malformed"),
    "a shape with a string": (one(shape=["1"]), "malformed"),
    "a shape with true": (one(shape=[True]), "malformed"),
    "a shape with a leading zero": (file_of(b'{"a":' + ENTRY.replace(b"[1]", b"[01]") + b"}", b"x"), "malformed"),
    "a negative dimension": (one(shape=[-1]), "malformed"),
    "a dimension of minus zero": (file_of(b'{"a":' + ENTRY.replace(b"[1]", b"[-0]") + b"}", b"x"), "malformed"),
    "a dimension of 2^64": (one(shape=[1 << 64]), "malformed"),
    "a dimension of 5000 digits": (file_of(b'{"a":' + ENTRY.replace(b"[1]", b"[" + b"9" * 5000 + b"]") + b"}", b"x"),
                                   "malformed"),
    "a rank of 65": (one(shape=[1] * 65), "rank 65"),
    "a rank of 100,000": (one(shape=[1] * 100_000), "rank 100000"),
    "a shape that overflows": (one(shape=[1 << 40, 1 << 40]), "overflows"),
    "a shape that overflows to 1": (one(shape=[(1 << 40) + 1, 1 << 40]), "overflows"),
    "an empty shape that overflows": (file_of({"a": tensor("U8", [0, 1 << 50, 1 << 50], 0, 0)}), "overflows"),
    "an empty shape that overflows first": (file_of({"a": tensor("U8", [1 << 50, 1 << 50, 0], 0, 0)}), "overflows"),
    "a shape too large": (one(shape=[2]), "need 2"),
    "a shape too small": (one(shape=[0]), "need 0"),
    # offsets
    "offsets reversed": (file_of({"a": tensor("U8", [1], 1, 0)}, b"x"), "begins at byte 1|spans"),
    "a negative offset": (file_of({"a": tensor("U8", [1], -1, 0)}, b"x"), "malformed"),
    "an offset of a float": (file_of({"a": tensor("U8", [1], 0.0, 1)}, b"x"), "malformed"),
    "an offset of 2^64": (file_of({"a": tensor("U8", [1], 0, 1 << 64)}, b"x"), "malformed"),
    "one offset": (one(data_offsets=[1]), "malformed"),
    "three offsets": (one(data_offsets=[0, 1, 2]), "malformed"),
    "no offsets": (one(data_offsets=[]), "malformed"),
    "offsets null": (one(data_offsets=None), "malformed"),
    "a tensor beyond the end": (file_of({"a": tensor("U8", [2], 0, 2)}, b"x"), "ends at byte 2"),
    "a hole at the start": (file_of({"a": tensor("U8", [1], 1, 2)}, b"xy"), "begins at byte 1"),
    "a hole inside": (file_of({"a": ONE, "b": tensor("U8", [1], 2, 3)}, b"xyz"), "begins at byte 2"),
    "trailing data": (file_of({"a": ONE}, b"xy"), "tensors end at byte 1"),
    "data and no tensors": (file_of({}, b"x"), "tensors end at byte 0"),
    "an appended zip": (file_of({"a": ONE}, b"xPK\x03\x04"), "tensors end at byte 1"),
    "a missing byte": (file_of({"a": tensor("U8", [4], 0, 4)}, b"xyz"), "ends at byte 4"),
    "an overlap": (file_of({"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)}, b"xyz"), "begins at byte 1"),
    "the same bytes twice": (file_of({"a": ONE, "b": ONE}, b"x"), "begins at byte 0"),
    "a tensor inside another": (
        file_of({"a": tensor("U8", [3], 0, 3), "b": tensor("U8", [1], 1, 2)}, b"xyz"), "begins at byte 1"),
    "an empty tensor inside another": (
        file_of({"a": tensor("U8", [3], 0, 3), "b": tensor("U8", [0], 1, 1)}, b"xyz"), "begins at byte 1"),
    "an empty tensor behind the end": (file_of({"a": ONE, "b": tensor("U8", [0], 2, 2)}, b"x"), "begins at byte 2"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_header_is_refused_for_its_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeInput, match=reason):
        parse_header(data, len(data))
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(UnsafeInput, match=reason):
        read_header(path)


def test_entries_of_usual_form_and_others_mix_in_any_order() -> None:
    forms = [
        '"t{n}":{{"dtype":"U8","shape":[1],"data_offsets":[{n},{m}]}}',
        '"t{n}" : {{ "dtype" : "U8" , "shape" : [ 1 , 1 ] , "data_offsets" : [ {n} , {m} ] }}',
        '"\\u0074{n}":{{"dtype":"U8","shape":[1],"data_offsets":[{n},{m}]}}',
        '"t\u00e9{n}":{{"data_offsets":[{n},{m}],"shape":[],"dtype":"U8"}}',
    ]
    # Two runs longer than one match takes, and every form beside every other.
    order = [0] * 10_002 + [1] * 10_002 + [i for pair in range(16) for i in divmod(pair, 4)]
    entries = ",".join(forms[form].format(n=n, m=n + 1) for n, form in enumerate(order))
    data = file_of(f'{{{entries},"__metadata__":{{"k":"v"}}}}'.encode(), bytes(range(256)) * 100)
    header_end = data.index(bytes(range(256)))
    header = same_as_the_reference(data[: header_end + len(order)])
    assert len(header.tensors) == len(order)
    assert header.metadata == {"k": "v"}


@pytest.mark.parametrize("place", [0, 1, 9_999, 10_000, 10_001, 15_000])
def test_one_bad_entry_among_many_usual_ones_is_refused(place: int) -> None:
    good = '"t{n}":{{"dtype":"U8","shape":[1],"data_offsets":[{n},{m}]}}'
    bad = '"t{n}":{{"dtype":"U8","shape":[01],"data_offsets":[{n},{m}]}}'
    entries = ",".join((bad if n == place else good).format(n=n, m=n + 1) for n in range(15_001))
    data = file_of(f"{{{entries}}}".encode(), b"x" * 15_001)
    with pytest.raises(UnsafeInput, match=f"malformed.*t{place}|malformed.*shape"):
        parse_header(data, len(data))


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(HOSTILE) >= 100


def test_the_data_behind_the_header_need_not_be_there() -> None:
    data = valid()
    header = parse_header(data, len(data))
    assert parse_header(memoryview(data)[: header.data_offset], len(data)) == header
    with pytest.raises(UnsafeInput, match=f"{header.data_offset} bytes needed, {header.data_offset - 1} given"):
        parse_header(data[: header.data_offset - 1], len(data))


def test_the_length_is_bounded_by_the_file_only_if_its_size_is_known() -> None:
    assert header_bytes((1000).to_bytes(8, "little")) == 1000
    assert header_bytes((1000).to_bytes(8, "little"), 1008) == 1000
    with pytest.raises(UnsafeInput, match="do not fit a file of 1007"):
        header_bytes((1000).to_bytes(8, "little"), 1007)


@pytest.mark.parametrize("nest", [b"[", b"[],", b'{"a":', b"{},", b'"",', b'"a":"b",'])
def test_a_hostile_header_costs_no_more_memory_than_an_honest_one(nest: bytes) -> None:
    data = file_of(b'{"a":' + nest * (2_000_000 // len(nest)))
    tracemalloc.start()
    with pytest.raises(UnsafeInput):
        parse_header(data, len(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(data)


def test_metadata_without_end_is_refused() -> None:
    header = {"__metadata__": {str(number): "" for number in range(100_001)}}
    with pytest.raises(UnsafeInput, match="more than 100000 entries of metadata"):
        parse_header(data := file_of(header), len(data))


VALID = valid(64)


@settings(deadline=None, max_examples=600)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.sampled_from("sid"), st.integers(0, 255)), max_size=3))
def test_an_edited_file_that_we_accept_the_reference_accepts_alike(changes: list[tuple[int, str, int]]) -> None:
    data = bytearray(VALID)
    for place, how, value in changes:
        at = place % len(data)
        if how == "s":
            data[at] = value
        elif how == "i":
            data.insert(at, value)
        else:
            del data[at]
    check_against_the_reference(bytes(data))


numbers = st.integers(-1, 9) | st.sampled_from([2**31, 2**53, 2**63, 2**64, 1.0, True, "1", None])
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*sorted(DTYPE_BITS), "X", None]),
        "shape": st.lists(numbers, max_size=3),
        "data_offsets": st.lists(numbers, min_size=1, max_size=3),
    }
)


@settings(deadline=None, max_examples=400)
@given(st.dictionaries(st.text(max_size=3), entries, max_size=2), st.binary(max_size=9))
def test_a_random_header_that_we_accept_the_reference_accepts_alike(header: dict[str, Any], data: bytes) -> None:
    try:
        check_against_the_reference(file_of(header, data))
    except UnicodeEncodeError:
        assert any("\ud800" <= character <= "\udfff" for name in header for character in name)


dense = st.lists(st.tuples(st.sampled_from(sorted(DTYPE_BITS)), st.lists(st.integers(0, 4), max_size=3)), max_size=5)


@settings(deadline=None, max_examples=300)
@given(dense, st.randoms(use_true_random=False))
def test_a_dense_header_is_accepted_in_any_order(tensors: list[tuple[str, list[int]]], order: Any) -> None:
    entries, position = [], 0
    for number, (dtype, shape) in enumerate(tensors):
        dimensions = [*shape, 4]
        size = int(np.prod(dimensions)) * DTYPE_BITS[dtype] // 8
        entries.append((f"{number}", tensor(dtype, dimensions, position, position + size)))
        position += size
    order.shuffle(entries)
    header = same_as_the_reference(file_of(dict(entries), (bytes(range(251)) * (position // 251 + 1))[:position]))
    assert {spec.name for spec in header.tensors} == {name for name, _ in entries}


def check_against_the_reference(data: bytes) -> None:
    try:
        parse_header(data, len(data))
    except UnsafeInput:
        return
    same_as_the_reference(data)


# --- the index of shards ---------------------------------------------------------------------------------------------


def index(weight_map: Any, **more: Any) -> bytes:
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map, **more}).encode()


def test_an_index_says_which_shard_holds_which_tensor() -> None:
    shards = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
    assert parse_index(index(shards)) == shards
    assert parse_index(memoryview(index(shards, more=[1.5, None]))) == shards


def test_an_index_of_real_libraries_may_hold_floats() -> None:
    data = b'{"metadata":{"total_size":9.1e9},"weight_map":{"a":"b.safetensors"}}'
    assert parse_index(data) == {"a": "b.safetensors"}


BAD_SHARDS = [
    "../model.safetensors", "/model.safetensors", "a/model.safetensors", "..", "", "model.bin", ".safetensors/..",
    "C:model.safetensors", "a\\b.safetensors", "..%2fa.safetensors", "a\n.safetensors", "http://x/a.safetensors",
    "con.safetensors", 1, None, ["a.safetensors"], {"file": "a.safetensors"},
]  # fmt: skip


@pytest.mark.parametrize("shard", BAD_SHARDS, ids=ascii)
def test_a_shard_that_is_not_a_plain_file_is_refused(shard: Any) -> None:
    with pytest.raises(UnsafeInput):
        parse_index(index({"ok": "ok.safetensors", "a": shard}))


BAD_INDICES = {
    "nothing": b"",
    "not JSON": b"weight_map: {}",
    "not an object": b"[]",
    "no weight_map": b'{"metadata":{}}',
    "an empty weight_map": index({}),
    "a weight_map that is a list": index(["a.safetensors"]),
    "a tensor twice": b'{"weight_map":{"a":"b.safetensors","a":"c.safetensors"}}',
    "weight_map twice": b'{"weight_map":{"a":"b.safetensors"},"weight_map":{"a":"c.safetensors"}}',
    "NaN": b'{"metadata":{"total_size":NaN},"weight_map":{"a":"b.safetensors"}}',
    "a byte order mark": b"\xef\xbb\xbf" + index({"a": "b.safetensors"}),
    "UTF-16": index({"a": "b.safetensors"}).decode().encode("utf-16"),
    "invalid UTF-8": b'{"weight_map":{"\xff":"b.safetensors"}}',
    "half a surrogate pair": b'{"weight_map":{"\\ud800":"b.safetensors"}}',
    "trailing junk": index({"a": "b.safetensors"}) + b"}",
    "deep nesting": b'{"metadata":' + b"[" * 100_000,
    "an integer of 5000 digits": b'{"metadata":' + b"9" * 5000 + b',"weight_map":{"a":"b.safetensors"}}',
    "over 32 MiB": b" " * ((32 << 20) + 1),
}


@pytest.mark.parametrize("data", BAD_INDICES.values(), ids=BAD_INDICES.keys())
def test_what_is_not_an_index_is_refused(data: bytes) -> None:
    with pytest.raises(UnsafeInput, match="safetensors index"):
        parse_index(data)
