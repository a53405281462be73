"""No secret is ever said: canaries in the environment, in URLs and in config files, every command, succeeding or not,
with all its debug output, tracebacks and JSON; then everything that was printed, logged or written is searched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bentosync.cli.main import COMMANDS, root
from tests.processes.conftest import CREDENTIALS, KEYS
from tests.servers.faulty.actions import Answer
from tests.servers.faulty.server import BUCKET, FaultyS3

PASSWORD, SIGNATURE, PROXY, TOKEN = "canarypassword", "canarysignature", "canaryproxy", "canary-session-token"
CANARIES = (KEYS.secret_key, TOKEN, PASSWORD, SIGNATURE, PROXY)
SIGNED = re.compile(r"Signature=[0-9a-f]{16}")
ACCESS = f"s3://user:{PASSWORD}@{BUCKET}"
PRESIGNED = f"https://host.example/{BUCKET}/m?X-Amz-Credential={PASSWORD}&X-Amz-Signature={SIGNATURE}"

WORKS = (
    "list --remote", "pull m:v1", "pull m --to plain --include *.yaml", "pull m:v2 --dry-run", "list", "get m",
    "get m -o url", "get m -o tensors", "verify", "verify --repair --strong", "load m:v1 --device cpu", "push m:v1",
    "push m:v1 --dry-run", "copy prod/m:v1 mirror", "export m:v1 out.bentomodel", "cache info", "cache list",
    "cache prune --older-than 1d --dry-run", "cache pin m:v1", "gc", "gc --remote --dry-run --force", "remote list",
    "remote test prod", "remote show prod", "alias set m:v1 best", "alias list m", "pull m@best", "alias remove m best",
    "bench --help", "config list --all --show-origin", "config get default_remote", "config path", "doctor",
    "version", "completion bash", "models list", "models get m:v1", "delete -y m:v1",
    "delete -y --remote mirror m:v1", "import out.bentomodel", "demo", "--help",
)  # fmt: skip
FAILS = (
    f"pull m --remote {ACCESS}", f"pull m --remote {PRESIGNED}", f"list --remote={ACCESS}", f"pull {PRESIGNED}",
    f"push m --remote {PRESIGNED}", f"get {ACCESS}/m", f"load {PRESIGNED}", f"remote add x {ACCESS}",
    f"remote add x {PRESIGNED}", f"remote add x s3://b --endpoint-url http://user:{PASSWORD}@127.0.0.1:9",
    f"remote test {PRESIGNED}", f"config set remote.x.url {ACCESS}", f"config set default_remote {ACCESS}",
    f"copy {PRESIGNED} prod", f"copy prod/m:v1 {ACCESS}", f"import {PRESIGNED}", f"export m:v1 {ACCESS}/out.tar",
    f"delete -y {PRESIGNED}", f"verify {ACCESS}", f"gc --remote={PRESIGNED}", f"cache pin {PRESIGNED}",
    f"alias set {PRESIGNED} best", f"alias list {ACCESS}", f"bench coldstart {PRESIGNED}",
    f"models pull {PRESIGNED}", f"models push {ACCESS}", "pull nothing", "get nothing", "push nothing",
)  # fmt: skip


class Ear:
    """Everything that was said, by the command that said it."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.heard: list[tuple[str, str]] = []
        self._caplog = caplog

    def run(self, line: str) -> int:
        """Run a command line; its status."""
        self._caplog.clear()
        done = CliRunner().invoke(root, line.split())
        trace = "".join(map(str, done.exc_info or ()))
        self.heard.append((line, f"{done.stdout}\n{done.stderr}\n{self._caplog.text}\n{trace}"))
        return done.exit_code

    def secrets(self) -> list[str]:
        """Which canaries were said, and by what."""
        said = [f"{canary!r} by `{line}`: {text}" for line, text in self.heard for canary in CANARIES if canary in text]
        return said + [f"a signature by `{line}`: {text}" for line, text in self.heard if SIGNED.search(text)]


@pytest.fixture
def around(tmp_path: Path, s3: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user whose environment is full of canaries; the remote `prod` is the bucket."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "BENTO")) or name.lower().endswith("proxy")]:
        monkeypatch.delenv(name)
    for folder in ("cwd", "config/bentosync", "cache", "user"):
        (tmp_path / folder).mkdir(parents=True)
    places = {"HOME": "user", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "BENTOML_HOME": "bentoml"}
    for name, folder in places.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "config/bentosync/config.toml").write_text(
        f'default_remote = "prod"\n[remote.prod]\nurl = "s3://{BUCKET}"\nendpoint_url = "{s3.url}"\n'
        f'[remote.mirror]\nurl = "{(tmp_path / "mirror").as_uri()}"\n'
    )
    monkeypatch.chdir(tmp_path / "cwd")
    yield tmp_path


@pytest.fixture
def ear(caplog: pytest.LogCaptureFixture) -> Ear:
    caplog.set_level("DEBUG", "bentosync")
    return Ear(caplog)


def written(around: Path) -> list[str]:
    """Files below `around` that hold a canary."""
    return [
        f"{path} holds {canary!r}"
        for path in around.rglob("*")
        if path.is_file() and path.stat().st_size < 1 << 20
        for canary in CANARIES
        if canary.encode() in path.read_bytes()
    ]


def test_the_list_of_commands_is_complete() -> None:
    assert {line.split()[0] for line in (*WORKS, *FAILS)} - {"--help"} == set(COMMANDS)


@pytest.mark.parametrize("how", ["-vv", "-vv --json", "--progress json"])
def test_commands_that_work_say_no_secret_and_write_none(around: Path, ear: Ear, how: str) -> None:
    statuses = {line: ear.run(f"{how} {line}") for line in WORKS}
    assert {line: status for line, status in statuses.items() if status} == {}, ear.heard[-1]
    assert ear.secrets() == []
    assert written(around) == []


@pytest.mark.parametrize("how", ["", "-vv", "-vv --json"])
def test_commands_that_fail_say_no_secret_and_write_none(around: Path, ear: Ear, how: str) -> None:
    statuses = {line: ear.run(f"{how} {line}") for line in FAILS}
    assert [line for line, status in statuses.items() if status == 0] == []
    assert ear.secrets() == []
    assert written(around) == []


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidToken", "AccessDenied", "InternalError"])
def test_what_a_store_repeats_of_a_request_is_not_repeated_further(
    around: Path, s3: FaultyS3, ear: Ear, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOSYNC_LOG", "debug")
    said = f"<Message>{TOKEN} {KEYS.secret_key}</Message><Token>{TOKEN}</Token>"
    s3.inject("*", Answer(500 if code == "InternalError" else 403, code, more=said), times=None)
    config = around / "config/bentosync/config.toml"
    config.write_text("[transfer]\nattempts = 2\nretry_base_seconds = 0.001\n" + config.read_text().partition("\n")[2])
    assert ear.run("-vv pull m:v1 --remote prod") in (4, 5)
    assert ear.run("-vv --json list --remote=prod") in (4, 5)
    assert ear.secrets() == []


def test_a_proxy_with_a_password_is_not_named_with_it(around: Path, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    config = around / "config/bentosync/config.toml"
    config.write_text(
        '[transfer]\nattempts = 1\n[remote.prod]\nurl = "s3://bucket"\nendpoint_url = "http://s3.example"\n'
    )
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:{PROXY}@127.0.0.1:9")
    assert ear.run("-vv pull m:v1") == 5
    assert ear.run("-vv remote test prod") == 5
    ear.run("-vv doctor")
    assert ear.secrets() == []


@pytest.mark.parametrize("text", [f"[default\naws_secret_access_key = {PASSWORD}", f"aws_secret_access_key={PASSWORD}"])
def test_a_broken_credentials_file_is_named_and_not_quoted(
    around: Path, ear: Ear, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    path = around / "credentials"
    path.write_text(text)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert ear.run("-vv pull m:v1") == 4
    assert ear.secrets() == []


def test_the_ear_hears(ear: Ear) -> None:
    ear.heard.append(("planted", f"https://h/?X-Amz-Signature={SIGNATURE}"))
    assert ear.secrets()
