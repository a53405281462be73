from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

import bentosync
from bentosync.errors import InvalidArgument
from bentosync.loader.options import Options

PUBLIC = [bentosync.load_to_device, bentosync.iter_tensors, bentosync.open_tensors, bentosync.aio.load_to_device]


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: f"{function.__module__}.{function.__name__}")
def test_every_public_function_takes_every_option_with_the_same_default(function: Callable[..., Any]) -> None:
    ref, *rest = inspect.signature(function).parameters.values()
    assert ref.name == "ref"
    expected = {name: parameter.default for name, parameter in inspect.signature(Options).parameters.items()}
    if function is bentosync.open_tensors:
        expected["device"] = "cpu"
    assert {parameter.name: parameter.default for parameter in rest} == expected
    assert [parameter.name for parameter in rest if parameter.kind is not parameter.KEYWORD_ONLY] == ["device"]


def test_a_type_may_be_given_by_name() -> None:
    assert Options(dtype="bfloat16").dtype == Options(dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("wrong", [{"verify": "yes"}, {"staging": "never"}, {"dtype": "int8"}, {"dtype": "no such"}])
def test_what_is_no_choice_is_refused_by_name(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        Options(**wrong)  # type: ignore[arg-type]
