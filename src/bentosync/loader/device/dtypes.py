"""The element types of safetensors as types of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from bentosync.errors import InvalidArgument
from bentosync.loader.device.framework import Tensor, torch

DType: TypeAlias = torch.dtype

_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F4": "float4_e2m1fn_x2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}

DTYPES: Mapping[str, DType] = MappingProxyType(
    {name: getattr(torch, attribute) for name, attribute in _NAMES.items() if hasattr(torch, attribute)}
)
"""What this torch has."""

_PACKED = {"F4": 2}
"""Elements per torch element: torch has no 4-bit tensors, only bytes that hold two, along the last dimension."""


def torch_shape(dtype: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape a tensor of `dtype` and `shape` has in torch.

    Raises:
        InvalidArgument: Its last dimension cannot be packed.
    """
    packed = _PACKED.get(dtype)
    if packed is None:
        return shape
    if not shape or shape[-1] % packed:
        raise InvalidArgument(f"{dtype} tensor of shape {shape}: torch packs {packed} elements of the last dimension")
    return (*shape[:-1], shape[-1] // packed)


def check_dtypes(dtypes: Iterable[str]) -> None:
    """Raise InvalidArgument if this torch has no type for one of the safetensors `dtypes`."""
    missing = sorted(set(dtypes) - DTYPES.keys())
    if missing:
        raise InvalidArgument(
            f"torch {torch.__version__} has no type for {', '.join(missing)}",
            hint="leave those tensors out with tensors=, or install a newer torch",
        )


def parse_dtype(dtype: Any) -> DType | None:
    """A torch.dtype, its name (`bfloat16`, `torch.bfloat16`), or None.

    Raises:
        InvalidArgument: Not a floating-point type; a cast is for floating-point tensors only.
    """
    found = getattr(torch, dtype.removeprefix("torch."), dtype) if isinstance(dtype, str) else dtype
    if found is None:
        return None
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InvalidArgument(f"dtype={dtype!r} is not a floating-point type of torch")
    return found


def cast(tensor: Tensor, dtype: DType | None) -> Tensor:
    """`tensor` as `dtype` if it is a floating-point tensor of another type, else itself."""
    return tensor if dtype is None or not tensor.is_floating_point() or tensor.dtype == dtype else tensor.to(dtype)
