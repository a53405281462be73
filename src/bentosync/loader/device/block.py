"""A block of device memory and the tensors that lie in it."""

from __future__ import annotations

from functools import lru_cache

from bentosync.loader.device.dtypes import DTYPES, torch_shape
from bentosync.loader.device.framework import Tensor


class Block:
    """Device memory that holds tensors one after the other, 16-aligned.

    Tensors are strided views of one base tensor for each element type: a single call of torch each, where a slice, a
    change of type and a change of shape would be three. Every tensor keeps the whole block alive.

    Attributes:
        tensor: All of it (uint8).
        memory: The same bytes for readers, if the CPU can write them.
        fresh: Whether its pages have still to be made.
    """

    __slots__ = ("_bases", "fresh", "memory", "tensor")

    def __init__(self, tensor: Tensor, memory: memoryview | None = None, *, fresh: bool = False) -> None:
        self.tensor = tensor
        self.memory = memory
        self.fresh = fresh
        self._bases: dict[str, tuple[Tensor, int, int]] = {}

    def typed(self, dtype: str) -> tuple[Tensor, int, int]:
        """All of it as one tensor of type `dtype`, the storage offset of that tensor, and bytes an element."""
        return self._bases.get(dtype) or self._base(dtype)

    def _base(self, dtype: str) -> tuple[Tensor, int, int]:
        kind = DTYPES[dtype]
        typed = self.tensor[: len(self.tensor) // kind.itemsize * kind.itemsize].view(kind)
        base = self._bases[dtype] = (typed, typed.storage_offset(), kind.itemsize)
        return base


def view(block: Block, offset: int, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor of safetensors type `dtype` that lies at `offset` of `block`, a multiple of its element's size."""
    shape = torch_shape(dtype, shape)
    typed, first, element_bytes = block.typed(dtype)
    return typed.as_strided(shape, _strides(shape), first + offset // element_bytes)


@lru_cache(maxsize=4096)
def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a contiguous tensor, in elements."""
    strides, step = [], 1
    for dimension in reversed(shape):
        strides.append(step)
        step *= max(dimension, 1)
    return tuple(reversed(strides))
