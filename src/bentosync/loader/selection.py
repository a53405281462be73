"""Which tensors a caller wants, and which rows of them. Pure: names in, byte ranges out.

`tensors=` narrows (names, globs, or a predicate over names); `plan=` asks for rows `[start, stop)` of dimension 0 of
the tensors it names and leaves the others whole. A name or a glob that matches nothing is an error: a typo must not
load less than was asked for.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from bentosync.errors import InvalidArgument, NotFound
from bentosync.formats.safetensors import Header

Selector: TypeAlias = str | Iterable[str] | Callable[[str], bool] | None
RowPlan: TypeAlias = Mapping[str, slice | None] | None

_GLOB = frozenset("*?[")


class Wanted(NamedTuple):
    """One tensor, or some of its rows: bytes [begin, end) of file number `file`, counted from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: int
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Payload in bytes."""
        return self.end - self.begin


def select(headers: Sequence[Header], tensors: Selector = None, plan: RowPlan = None) -> tuple[Wanted, ...]:
    """The wanted byte ranges, in file order and then in offset order.

    Args:
        headers: One per file; names are unique over all of them.
        tensors: A name or glob, several of them, a predicate over names, or None for all.
        plan: Rows of dimension 0 per tensor name; steps other than 1 cannot be read as one range.

    Raises:
        NotFound: A name or glob that no tensor answers to.
        InvalidArgument: Rows of a scalar, a step other than 1, or rows for a tensor that `tensors` leaves out.
    """
    everything = [
        Wanted(name, dtype, shape, index, header.data_offset + begin, header.data_offset + end)
        for index, header in enumerate(headers)
        for name, dtype, shape, begin, end in (row[:5] for row in header.tensors)
    ]
    if tensors is None and not plan:
        return tuple(everything)
    names = [want.name for want in everything]
    chosen = _choose(names, tensors)
    rows = dict(plan or {})
    for name in rows:
        if name not in chosen:
            if name not in set(names):
                raise _unknown(name, names)
            raise InvalidArgument(f"plan asks for rows of {name!r}, which tensors= leaves out")
    return tuple(narrow(want, rows.get(want.name)) for want in everything if want.name in chosen)


def narrow(want: Wanted, rows: slice | None) -> Wanted:
    """Only `rows` of it, a slice of dimension 0 with step 1; None: all of them."""
    if rows is None:
        return want
    if not want.shape:
        raise InvalidArgument(f"tensor {want.name!r} is a scalar: it has no rows")
    start, stop, step = rows.indices(want.shape[0])
    if step != 1:
        raise InvalidArgument(f"rows of {want.name!r}: step {step}, but only step 1 is one range of bytes")
    count = max(0, stop - start)
    row_bytes, rest = divmod(want.size, want.shape[0]) if want.shape[0] else (0, 0)
    if rest:
        raise InvalidArgument(f"rows of {want.name!r} ({want.dtype}) do not end on whole bytes")
    begin = want.begin + start * row_bytes
    return want._replace(shape=(count, *want.shape[1:]), begin=begin, end=begin + count * row_bytes)


def _choose(names: Sequence[str], tensors: Selector) -> frozenset[str]:
    everything = frozenset(names)
    if tensors is None:
        return everything
    if callable(tensors):
        return frozenset(name for name in names if tensors(name))
    chosen: set[str] = set()
    for pattern in (tensors,) if isinstance(tensors, str) else tensors:
        if not isinstance(pattern, str):
            raise InvalidArgument(f"tensors= takes names, globs or a predicate, not {type(pattern).__name__}")
        if pattern in everything:  # an exact name wins over a glob that happens to spell it
            chosen.add(pattern)
            continue
        found = fnmatch.filter(names, pattern) if _GLOB & set(pattern) else []
        if not found:
            raise _unknown(pattern, names)
        chosen.update(found)
    return frozenset(chosen)


def _unknown(name: str, names: Sequence[str]) -> NotFound:
    near = difflib.get_close_matches(name, names[:10_000], n=3)
    hint = (
        f"close names: {', '.join(near)}" if near else f"the model has {len(names)} tensors; open_tensors(...).keys()"
    )
    return NotFound(f"no tensor matches {name!r}", hint=hint)
