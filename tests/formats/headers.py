"""safetensors files written by hand, true or not."""

from __future__ import annotations

import json
from typing import Any

from tests.blocks import content


def file_of(header: bytes | dict[str, Any], data: bytes = b"", *, length: int | None = None) -> bytes:
    """Length, header, data. `length` is what the file says of its header, if that is a lie."""
    spelled = header if isinstance(header, bytes) else json.dumps(header, ensure_ascii=False).encode()
    return (len(spelled) if length is None else length).to_bytes(8, "little") + spelled + data


def tensor(dtype: Any, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def valid(data_bytes: int = 4096) -> bytes:
    """Four tensors, one empty, one misaligned, in the file's own order of names, padded with spaces."""
    header = {
        "__metadata__": {"format": "pt", "Ünïcode": "\n"},
        "z.last": tensor("F32", [(data_bytes - 3) // 4 - 10], 3 + (data_bytes - 3) % 4 + 40, data_bytes),
        "a.first": tensor("U8", [3 + (data_bytes - 3) % 4], 0, 3 + (data_bytes - 3) % 4),
        "m.middle": tensor("BF16", [2, 10], 3 + (data_bytes - 3) % 4, 3 + (data_bytes - 3) % 4 + 40),
        "e.empty": tensor("I64", [5, 0], data_bytes, data_bytes),
    }
    spelled = json.dumps(header).encode()
    return file_of(spelled + b" " * (-len(spelled) % 8), content(1, data_bytes))
