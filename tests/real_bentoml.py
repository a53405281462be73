"""The real BentoML 1.4.39, run in its own environment: the oracle of the differential tests.

A script is Python source that may use `argument` (the JSON value given to `run`) and ends by assigning `result`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tally import skip_or_fail

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
    return skip_or_fail("BentoML is not here: run scripts/install-bentoml, or set BENTOSYNC_TEST_BENTOML_PYTHON")


def with_bentosync() -> str:
    """The same interpreter, if bentosync is installed there too, which scripts/install-bentoml does."""
    interpreter = python()
    done = subprocess.run([interpreter, "-c", "import bentosync, torch"], capture_output=True, text=True, check=False)
    if done.returncode:
        skip_or_fail(f"{interpreter} lacks bentosync or torch; scripts/install-bentoml installs them")
    return interpreter


def run(
    script: str, argument: Any = None, *, home: Path | None = None, environ: Mapping[str, str] | None = None
) -> Any:
    """What `script` leaves in `result`; `environ` in the place of an environment made for `home`."""
    environment = environ or {
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
