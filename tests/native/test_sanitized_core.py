"""The C++ core alone, under AddressSanitizer and UndefinedBehaviorSanitizer (native/tests/self_test.cpp)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("c++")), reason="needs cmake and a C++ compiler")
def test_every_way_is_right_and_reads_only_its_bytes(tmp_path: Path) -> None:
    options = ["-DBENTOSYNC_MODULE=OFF", "-DBENTOSYNC_SELF_TEST=ON", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"]
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(tmp_path), *options],
        ["cmake", "--build", str(tmp_path)],
        [str(tmp_path / "self_test")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "tables ok" in done.stdout
