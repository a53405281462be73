"""`bentosync.testing` as its users have it: a project of their own, and pytest in another process."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from importlib.metadata import distribution
from pathlib import Path

from tests import real_bentoml
from tests.tally import skip_or_fail

CONFTEST = 'pytest_plugins = ["bentosync.testing"]\n'

ISOLATION = """
import os
from pathlib import Path

import bentosync
import numpy as np
import pytest
from bentosync.testing import tiny_tensors
from safetensors.numpy import load_file

TESTS = range(2)


@pytest.mark.parametrize("time", TESTS)
def test_a_store_is_empty_and_the_one_that_everything_uses(bentosync_store, tmp_path, time):
    assert bentosync.models.list() == []
    with bentosync.models.create("m:v1") as model:
        Path(model.path_of("weights")).write_bytes(b"w")
    assert [str(found.tag) for found in bentosync_store.list()] == ["m:v1"]
    assert Path(bentosync.models.get("m").path).is_relative_to(tmp_path)


@pytest.mark.parametrize("time", TESTS)
def test_the_default_remote_is_an_empty_folder_of_the_test(bentosync_store, tiny_model, tmp_path, time):
    assert bentosync.push("tiny").outcome == "done"
    bentosync.models.delete("tiny")
    assert bentosync.pull("tiny:v1").path == tiny_model.path
    assert list(tmp_path.rglob("v1.jsonl"))


def test_nothing_of_the_user_is_seen(bentosync_store):
    assert "AWS_PROFILE" not in os.environ
    with pytest.raises(bentosync.BentoMLException, match='no remote "production"'):
        bentosync.pull("tiny:v1", remote="production")


def test_the_tiny_model_holds_the_tensors_it_is_said_to(tiny_model):
    assert str(tiny_model.tag) == "tiny:v1"
    saved = load_file(tiny_model.path_of("model.safetensors"))
    assert {name: (array.dtype, array.shape) for name, array in saved.items()} == {
        "embedding.weight": ("float32", (32, 16)),
        "linear.weight": ("float16", (16, 16)),
        "linear.bias": ("float16", (16,)),
    }
    assert all(np.array_equal(saved[name], array) for name, array in tiny_tensors().items())


@pytest.mark.parametrize("time", TESTS)
def test_a_bucket_is_empty_and_the_default_remote(s3_server, tiny_model, time):
    with pytest.raises(bentosync.BentoMLException, match="not found|no such|not on"):
        bentosync.pull("tiny:v2")
    assert bentosync.push(tiny_model.tag).moved_bytes > 0
    bentosync.models.delete(tiny_model.tag)
    assert bentosync.pull("tiny", remote=s3_server.url).tag == tiny_model.tag
    assert s3_server.secret_key not in repr(s3_server)


def test_the_environment_is_given_back():
    assert os.environ["BENTOML_HOME"] == os.environ["EXPECTED_HOME"]
    assert os.environ["AWS_PROFILE"] == "production"
    assert not Path(os.environ["BENTOML_HOME"]).exists()
"""

DIES = """
import os, signal
from pathlib import Path

def test_dies(s3_server):
    folder = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    server = Path(f"/proc/{folder[0]}/cwd").readlink()
    Path("told").write_text(f"{s3_server.endpoint_url}\\n{server}")
    os.kill(os.getpid(), signal.SIGKILL)
"""

MISSING = """
import os, sys

def test_needs_a_server(s3_server): ...

sys.executable = "/nowhere/python"
os.environ["PATH"] = "/nowhere"
"""


def suite(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a project of these modules, by a user with a configuration and credentials of their own."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "config/bentosync").mkdir(parents=True)
    (folder / "config/bentosync/config.toml").write_text('[remote.production]\nurl = "s3://production/models"\n')
    environment = os.environ | {
        "BENTOML_HOME": str(folder / "home"), "EXPECTED_HOME": str(folder / "home"), "AWS_PROFILE": "production",
        "BENTOSYNC_REMOTE": "production", "XDG_CONFIG_HOME": str(folder / "config"),
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_every_test_of_a_user_has_a_store_a_remote_and_a_bucket_of_its_own(tmp_path: Path) -> None:
    done = suite(tmp_path, conftest=CONFTEST, test_isolation=ISOLATION)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout


def test_a_server_and_its_files_are_gone_after_the_session_was_killed(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        skip_or_fail("finds the server in /proc")
    done = suite(tmp_path, conftest=CONFTEST, test_dies=DIES)
    assert done.returncode == -9, done.stdout + done.stderr
    url, folder = (tmp_path / "told").read_text().split("\n")
    deadline = time.monotonic() + 20
    while (Path(folder).exists() or answers(url)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert Path(folder).name.startswith("bentosync-s3-")
    assert not Path(folder).exists()
    assert not answers(url)


def answers(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=1)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def test_without_the_server_the_error_is_the_command_that_installs_it(tmp_path: Path) -> None:
    done = suite(tmp_path, conftest=CONFTEST, test_missing=MISSING)
    assert done.returncode == 1
    assert 'not installed: pip install "bentosync[testing]"' in done.stdout
    assert "Traceback" not in done.stdout


def test_a_suite_that_does_not_ask_gets_no_fixture(tmp_path: Path) -> None:
    assert not [point for point in distribution("bentosync").entry_points if point.group.startswith("pytest")]
    done = suite(tmp_path, test_none="def test_none(bentosync_store): ...\n")
    assert "fixture 'bentosync_store' not found" in done.stdout


def test_bentoml_reads_its_home_again(tmp_path: Path) -> None:
    real_bentoml.with_bentosync()
    found = real_bentoml.run(
        """
import os, bentoml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentosync import service
result = []
for name in ("one", "two"):
    os.environ["BENTOML_HOME"] = f"{argument}/{name}"
    service.forget_home()
    with bentoml.models.create(f"{name}:v1"):
        pass
    result.append([str(model.tag) for model in bentoml.models.list()] + [str(BentoMLContainer.bento_store.get()._path)])
""",
        str(tmp_path),
        home=tmp_path / "zero",
    )
    assert found == [[f"{name}:v1", f"{tmp_path}/{name}/bentos"] for name in ("one", "two")]
