"""Labels and metadata: which Python values a model.yaml can hold, by BentoML's rules.

Metadata may come straight from a training script, so arrays and scalars of numpy and the common types of pandas are
turned into plain Python. Neither library is imported for that: a value of theirs can only exist once they are.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from types import ModuleType
from typing import Any

from bentosync.errors import InvalidModel

_PLAIN = (str, bytes, bool, int, float, complex, datetime, date, time, timedelta)
_logger = logging.getLogger("bentosync")


def normalized_labels(labels: Any) -> dict[str, str]:
    """Labels with every value as a string; other types are converted with a warning.

    Raises:
        InvalidModel: Not a dict, or a key is not a string.
    """
    if not isinstance(labels, Mapping):
        raise InvalidModel("labels must be a dict!")
    if not all(isinstance(key, str) for key in labels):
        raise InvalidModel("label keys must be strings")
    if not all(isinstance(value, str) for value in labels.values()):
        _logger.warning("'labels' should be a dict[str, str]. Converting all values to string.")
    return {key: str(value) for key, value in labels.items()}


def normalized_metadata(metadata: Any) -> dict[Any, Any]:
    """Metadata as plain Python, copied; the caller's object is left as it is.

    Raises:
        InvalidModel: A key or an entry has a type that BentoML does not take.
    """
    if not isinstance(metadata, dict):
        raise InvalidModel("metadata must be a dict!")
    for key in metadata:
        if not isinstance(key, str | int | float):
            raise InvalidModel("metadata keys must be strings")
    return {key: _entry(value) for key, value in metadata.items()}


def _entry(value: Any) -> Any:
    if isinstance(value, dict):
        return normalized_metadata(value)
    if isinstance(value, list):
        return [_entry(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_entry(item) for item in value)
    for name, convert in (("numpy", _from_numpy), ("pandas", _from_pandas)):
        module = sys.modules.get(name)
        if module is not None:
            converted = convert(module, value)
            if converted is not value:
                return _entry(converted)
    _refuse_scipy(value)
    if isinstance(value, _PLAIN):
        return value
    raise InvalidModel(
        f"metadata entries must be basic python types like 'str', 'int', or 'complex', got '{type(value).__name__}'"
    )


def _from_numpy(numpy: ModuleType, value: Any) -> Any:
    if isinstance(value, numpy.ndarray):
        return value.tolist()
    if isinstance(value, numpy.generic):
        plain = value.item()
        # A longdouble's item is a longdouble again: Python has no such float.
        return value if isinstance(plain, numpy.generic) else plain
    return value


def _from_pandas(pandas: ModuleType, value: Any) -> Any:
    if isinstance(value, pandas.Series):
        return {value.name: value.to_dict()}
    if isinstance(value, pandas.api.extensions.ExtensionArray):
        return value.to_numpy().tolist()
    if isinstance(value, pandas.DataFrame):
        return value.to_dict()
    if isinstance(value, pandas.Timestamp):
        return value.to_pydatetime()
    if isinstance(value, pandas.Timedelta):
        return value.to_pytimedelta()
    if isinstance(value, pandas.Period):
        return value.to_timestamp().to_pydatetime()
    if isinstance(value, pandas.Interval):
        return (value.left, value.right)
    return value


def _refuse_scipy(value: Any) -> None:
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and isinstance(value, sparse.spmatrix):
        raise InvalidModel(
            "SciPy sparse matrices are currently not supported as metadata items; consider using a dictionary instead"
        )
