"""The real BentoML 1.4.39, run in its own environment: the oracle of the differential tests.

A script is Python source that may use `argument` (the JSON value given to `run`) and ends by assigning `result`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

_REPOSITORY = Path(__file__).parents[1]
_SECONDS_MAX = 90

_FRAME = """
import json, sys
argument = json.load(sys.stdin)
{script}
sys.stdout.write(json.dumps(result))
"""


def python() -> str:
    """The interpreter of BentoML's environment; skips loudly without one, fails under CI=true."""
    given = os.environ.get("BENTOSYNC_TEST_BENTOML_PYTHON")
    for candidate in (given, str(_REPOSITORY / ".venv-bentoml/bin/python")):
        if candidate and Path(candidate).is_file():
            return candidate
    message = (
        "BentoML is not here: python -m venv .venv-bentoml && .venv-bentoml/bin/pip install bentoml==1.4.39, "
        "or set BENTOSYNC_TEST_BENTOML_PYTHON"
    )
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def run(script: str, argument: Any = None, *, home: Path | None = None) -> Any:
    """What `script` leaves in `result`."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(home or "/nonexistent"),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(home or "/tmp"),
    }
    done = subprocess.run(
        [python(), "-c", _FRAME.format(script=script)],
        input=json.dumps(argument), capture_output=True, text=True, timeout=_SECONDS_MAX, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
