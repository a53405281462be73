from __future__ import annotations

import pytest

from bentosync.errors import InvalidArgument, NotFound
from bentosync.formats.safetensors import Header, TensorSpec
from bentosync.loader.selection import narrow, select

HEADERS = (
    Header(
        100,
        (
            TensorSpec("layer.0.weight", "F32", (4, 2), 0, 32),
            TensorSpec("layer.0.bias", "F32", (2,), 32, 40),
            TensorSpec("scale", "F32", (), 40, 44),
        ),
        {},
    ),
    Header(80, (TensorSpec("layer.1.weight", "BF16", (4, 2), 0, 16), TensorSpec("q", "F4", (2, 1), 16, 17)), {}),
)


def names(**kwargs: object) -> list[str]:
    return [want.name for want in select(HEADERS, **kwargs)]  # type: ignore[arg-type]


def test_everything_is_wanted_by_default_in_the_order_of_files_and_bytes() -> None:
    wanted = select(HEADERS)
    assert [(w.name, w.file, w.begin, w.end) for w in wanted] == [
        ("layer.0.weight", 0, 100, 132),
        ("layer.0.bias", 0, 132, 140),
        ("scale", 0, 140, 144),
        ("layer.1.weight", 1, 80, 96),
        ("q", 1, 96, 97),
    ]


def test_names_globs_and_predicates_narrow_and_keep_file_order() -> None:
    assert names(tensors="scale") == ["scale"]
    assert names(tensors=["layer.1.*", "scale"]) == ["scale", "layer.1.weight"]
    assert names(tensors="*.weight") == ["layer.0.weight", "layer.1.weight"]
    assert names(tensors=lambda name: name.endswith("bias")) == ["layer.0.bias"]
    assert names(tensors=[]) == []


def test_a_name_that_spells_a_glob_means_itself() -> None:
    header = Header(8, (TensorSpec("a[0]", "U8", (1,), 0, 1), TensorSpec("a0", "U8", (1,), 1, 2)), {})
    assert [want.name for want in select((header,), "a[0]")] == ["a[0]"]


@pytest.mark.parametrize("missing", ["layer.0.wieght", "layer.2.*", ["scale", "nope"]])
def test_a_name_or_glob_nothing_answers_to_is_an_error(missing: object) -> None:
    with pytest.raises(NotFound):
        names(tensors=missing)


def test_the_hint_names_close_tensors() -> None:
    with pytest.raises(NotFound) as caught:
        names(tensors="layer.0.wieght")
    assert "layer.0.weight" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("rows", "shape", "begin", "end"),
    [
        (slice(1, 3), (2, 2), 108, 124),
        (slice(None), (4, 2), 100, 132),
        (slice(-1, None), (1, 2), 124, 132),
        (slice(2, 100), (2, 2), 116, 132),
        (slice(3, 1), (0, 2), 124, 124),
        (None, (4, 2), 100, 132),
    ],
)
def test_rows_are_one_range_of_bytes(rows: slice | None, shape: tuple[int, ...], begin: int, end: int) -> None:
    want = select(HEADERS, plan={"layer.0.weight": rows})[0]
    assert (want.shape, want.begin, want.end) == (shape, begin, end)


def test_a_plan_leaves_other_tensors_whole() -> None:
    wanted = select(HEADERS, plan={"layer.0.weight": slice(0, 1)})
    assert [want.shape for want in wanted[1:]] == [(2,), (), (4, 2), (2, 1)]


@pytest.mark.parametrize(
    ("plan", "tensors", "error"),
    [
        ({"layer.0.weight": slice(0, 4, 2)}, None, InvalidArgument),
        ({"layer.0.weight": slice(None, None, -1)}, None, InvalidArgument),
        ({"scale": slice(0, 1)}, None, InvalidArgument),
        ({"q": slice(0, 1)}, None, InvalidArgument),  # half a byte
        ({"scale": None}, "layer.*", InvalidArgument),
        ({"nope": None}, None, NotFound),
    ],
)
def test_what_is_not_a_range_of_wanted_rows_is_refused(plan: object, tensors: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        names(plan=plan, tensors=tensors)


def test_selecting_by_something_that_is_no_name_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        names(tensors=[1])


def test_narrowing_twice_counts_rows_of_what_is_left() -> None:
    whole = select(HEADERS)[0]
    assert narrow(narrow(whole, slice(1, 4)), slice(1, 2)) == narrow(whole, slice(2, 3))
