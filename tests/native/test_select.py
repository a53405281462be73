from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from bentosync.native import select, twin

COMPILED = find_spec("bentosync.native._core") is not None


def test_off_is_the_twin() -> None:
    assert select.core("off") is twin
    assert not select.compiled("off")


@pytest.mark.skipif(not COMPILED, reason="no compiled core")
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_compiled_core_is_taken(mode: select.NativeMode) -> None:
    assert select.core(mode) is not twin
    assert select.compiled(mode)


def test_without_a_compiled_core_auto_is_the_twin_and_require_says_how_to_get_it() -> None:
    script = """
import sys
sys.modules["bentosync.native._core"] = None  # what an import of a module that is not there does
from bentosync.errors import MissingExtra
from bentosync.native import select, twin
assert select.core("auto") is twin
try:
    select.core("on")
except MissingExtra as error:
    print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install" in done.stdout
