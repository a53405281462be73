"""A model opened like `safetensors.safe_open`: look first, take tensors one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from bentosync.errors import InvalidArgument, NotFound
from bentosync.loader.device import Tensor
from bentosync.loader.distant import Distant
from bentosync.loader.opening import Opening
from bentosync.loader.selection import Wanted, narrow, select
from bentosync.loader.stream import TensorStream


class TensorFile:
    """All tensors of a model, by name, over every file of it. Tensors outlive it; its other methods do not.

    Use it from one thread at a time.
    """

    def __init__(self, opening: Opening | Distant) -> None:
        self._opening = opening
        asked = opening.options
        self._wanted = {want.name: want for want in select(opening.checkpoint.headers, asked.tensors, asked.plan)}
        self._closed = False

    def keys(self) -> list[str]:
        """Names, in the order of their bytes."""
        return list(self._wanted)

    def metadata(self) -> dict[str, str]:
        """What the headers carry under `__metadata__`; of two files that disagree the later one wins."""
        self._check_open()
        if isinstance(self._opening, Distant):
            return self._opening.metadata()
        return {key: value for header in self._opening.checkpoint.headers for key, value in header.metadata.items()}

    def get_tensor(self, name: str) -> Tensor:
        """The tensor, on the device.

        Raises:
            NotFound: No tensor has this name.
        """
        return self._load(self._want(name))

    def get_tensors(self) -> dict[str, Tensor]:
        """All of them, by name."""
        self._check_open()
        with TensorStream(
            self._opening, tuple(self._wanted.values()), began=time.perf_counter(), closes=False
        ) as stream:
            return dict(stream)

    def get_slice(self, name: str) -> TensorSlice:
        """A handle that reads only the rows it is indexed with."""
        return TensorSlice(self._load, self._want(name))

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        self._closed = True
        self._opening.close()

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _want(self, name: str) -> Wanted:
        self._check_open()
        want = self._wanted.get(name)
        if want is None:
            raise NotFound(f"{self._opening.label} has no tensor {name!r}")
        return want

    def _load(self, want: Wanted) -> Tensor:
        self._check_open()
        with TensorStream(self._opening, (want,), began=time.perf_counter(), closes=False) as stream:
            ((_, tensor),) = stream
        return tensor

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidArgument(f"{self._opening.label} is closed")


class TensorSlice:
    """One tensor, not yet read. Index it as you would the tensor; of dimension 0 only the rows asked for are read."""

    def __init__(self, load: Callable[[Wanted], Tensor], want: Wanted) -> None:
        self._load = load
        self._want = want

    def get_shape(self) -> list[int]:
        """Its shape in the file."""
        return list(self._want.shape)

    def get_dtype(self) -> str:
        """Its type as safetensors spells it (`BF16`)."""
        return self._want.dtype

    def __getitem__(self, index: Any) -> Tensor:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if isinstance(first, slice) and first.step in (None, 1):
            return self._load(narrow(self._want, first))[(slice(None), *rest)]
        if isinstance(first, int) and self._want.shape and -self._want.shape[0] <= first < self._want.shape[0]:
            row = first % self._want.shape[0]
            return self._load(narrow(self._want, slice(row, row + 1)))[(0, *rest)]
        return self._load(self._want)[index]
