"""Tensors of one load, one after the other: the iterator that every public function is made of."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from types import TracebackType

from bentosync.events import Started
from bentosync.loader.arriving import arriving_tensors
from bentosync.loader.device import Tensor, check_dtypes
from bentosync.loader.distant import Distant
from bentosync.loader.failure import let_go
from bentosync.loader.mapped import mapped_tensors
from bentosync.loader.opening import Opening
from bentosync.loader.report import Report
from bentosync.loader.selection import Wanted
from bentosync.loader.staged import staged_tensors
from bentosync.loader.streamed import streamed_tensors


class TensorStream(Iterator[tuple[str, Tensor]]):
    """`(name, tensor)` in the order in which tensors become ready, which is file order.

    Exhausting or closing the stream frees all it held but the tensors it gave; so does any exception out of it. Use
    it from one thread, and as a context manager if it may be abandoned half-way. On a staged load a tensor is whole
    and, where there is something to prove it with, proven when it is given; that no file changed in place meanwhile
    is known when the stream ends.

    Attributes:
        report: What the load did; None until the stream is exhausted.
    """

    def __init__(self, opening: Opening | Distant, wanted: tuple[Wanted, ...], *, began: float, closes: bool) -> None:
        self.report: Report | None = None
        self._opening = opening
        self._closes = closes
        check_dtypes({want.dtype for want in wanted})
        self._steps = _steps(opening, wanted, began)
        if closes and opening.options.on_event is not None:
            files, total = len({want.file for want in wanted}), sum(want.size for want in wanted)
            opening.options.on_event(Started("load", opening.label, "", files, total, 0))

    def __next__(self) -> tuple[str, Tensor]:
        try:
            return next(self._steps)
        except StopIteration as end:
            if end.value is not None:
                self.report = replace(end.value, cache=self._opening.cache)
            self.close()
            raise StopIteration from None
        except BaseException as error:
            self.close()
            let_go(error)
            raise

    def close(self) -> None:
        """Stop and free everything but the tensors already given. A second call does nothing."""
        self._steps.close()
        if self._closes:
            self._opening.close()

    def __enter__(self) -> TensorStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _steps(
    opening: Opening | Distant, wanted: tuple[Wanted, ...], began: float
) -> Generator[tuple[str, Tensor], None, Report]:
    if isinstance(opening, Distant):
        source = opening.arrival or opening.companion
        if source is not None:
            return arriving_tensors(opening, source, wanted, began)
        return streamed_tensors(opening, wanted, began)
    return (mapped_tensors if opening.mapped else staged_tensors)(opening, wanted, began)


class LoadedTensors(dict[str, Tensor]):
    """Tensors by name, in file order, and the `report` of how they got here."""

    report: Report

    @classmethod
    def of(cls, stream: TensorStream) -> LoadedTensors:
        """All that is left in `stream`; on any exception every tensor is freed before it is raised."""
        loaded = cls()
        try:
            with stream:
                loaded.update(stream)
        except BaseException:
            loaded.clear()  # the frame of this call lives as long as the exception is being handled
            raise
        assert stream.report is not None
        loaded.report = stream.report
        return loaded
