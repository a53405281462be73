"""Refusals that say what they are about: rules know what is wrong, their callers know with which document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bentosync.errors import UnsafeInput


@contextmanager
def about(what: str) -> Iterator[None]:
    """Put `what` in front of the message of any `UnsafeInput` that the block raises."""
    try:
        yield
    except UnsafeInput as error:
        raise UnsafeInput(f"{what}: {error.message}", hint=error.hint) from None
