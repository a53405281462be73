"""`remote test` tells what will work; `show` and `use`; what a refusal, a clock or a plain http address is met with."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bentosync.settings import load
from tests.cli.conftest import Invoke, World
from tests.servers.faulty.actions import Answer, Unconditional
from tests.servers.faulty.policy import Policy
from tests.servers.faulty.server import BUCKET, FaultyS3
from tests.servers.faulty.signature import Keys
from tests.servers.identities import user
from tests.servers.s3 import S3Server

KEYS = Keys("AKIDREMOTETEST", "remote/test+secret")


@pytest.fixture
def server(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """The fault server as the remote `lab`."""
    with FaultyS3(KEYS) as running:
        adopt(S3Server(running.url, access_key=KEYS.access_key, secret_key=KEYS.secret_key), monkeypatch)
        world.configure(f'[remote.lab]\nurl = "s3://{BUCKET}/p"\nendpoint_url = "{running.url}"\n')
        yield running


def adopt(server: S3Server, patch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        patch.setenv(name, value)


def rows(text: str) -> dict[str, str]:
    """The report's lines by label; labels end where two spaces begin."""
    parts = (line.strip().partition("  ") for line in text.splitlines()[1:])
    return {label: value.strip() for label, _, value in parts}


def test_with_every_permission_everything_works_and_nothing_stays(invoke: Invoke, server: FaultyS3) -> None:
    result = invoke("remote", "test", "lab")
    assert result.exit_code == 0, result.stderr
    found = rows(result.stdout)
    assert [found[name] for name in ("pull", "list --remote", "push")] == ["will work"] * 3
    assert (found["credentials"], found["clock"], found["conditional writes"]) == (
        "env",
        "agrees with the store's",
        "yes",
    )
    assert found["write"].endswith("/s")
    assert found["read files"].endswith("/s")
    assert not server.bucket.objects
    assert not server.bucket.uploads


def test_a_read_only_identity_of_seaweedfs_is_told_what_works_and_which_permission_lacks(
    invoke: Invoke, world: World, seaweed: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"ro-{secrets.token_hex(4)}"
    world.configure(f'[remote.lab]\nurl = "s3://{BUCKET}/{prefix}"\nendpoint_url = "{seaweed.endpoint_url}"\n')
    adopt(seaweed, monkeypatch)
    world.model("m:v1", size_bytes=2 << 20)
    assert invoke("push", "m:v1").exit_code == 0
    everything = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{BUCKET}/*"]}
    listing = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{BUCKET}"]}
    with user(seaweed, {"Version": "2012-10-17", "Statement": [everything, listing]}) as reader:
        adopt(reader, monkeypatch)
        result = invoke("remote", "test", "lab")
        only = invoke("remote", "test", "lab", "--read-only")
        pulled = invoke("pull", "m:v1", "--force")
    found = rows(result.stdout)
    assert result.exit_code == 4
    assert (found["pull"], found["list --remote"]) == ("will work", "will work")
    assert found["push"] == "no: lacks s3:PutObject"
    assert found["read files"].endswith("/s")
    assert "PutObject" in result.stderr
    assert f"arn:aws:s3:::{BUCKET}/{prefix}/" in result.stderr
    assert (only.exit_code, only.stderr, pulled.exit_code) == (0, "", 0)
    for output in (result.stdout, result.stderr):
        assert reader.secret_key not in output


@pytest.mark.parametrize(
    ("policy", "works", "status"),
    [("pull", set(), 4), ("list", {"list --remote"}, 4), ("push", {"pull", "list --remote", "push"}, 0)],
)
def test_what_a_policy_is_for_will_work_and_nothing_is_promised_besides(
    invoke: Invoke, server: FaultyS3, world: World, policy: str, works: set[str], status: int
) -> None:
    world.model("m:v1")
    assert invoke("push", "m:v1").exit_code == 0
    before = server.bucket.snapshot()
    server.policy = Policy.load(policy, bucket=BUCKET, prefix="p")
    result = invoke("remote", "test", "lab")
    assert result.exit_code == status
    found = rows(result.stdout)
    assert {name for name in ("pull", "list --remote", "push") if found[name] == "will work"} == works
    if policy == "pull":  # S3 says the same about what is not there and what must not be read
        assert found["pull"] == "cannot be told"
    assert server.bucket.objects == before.objects


def test_a_doctor_does_not_call_an_identity_ill_that_may_only_pull(invoke: Invoke, server: FaultyS3) -> None:
    server.policy = Policy.load("pull", bucket=BUCKET, prefix="p")
    line = next(line for line in invoke("doctor").stdout.splitlines() if "lab:" in line)
    assert line.startswith("ok")
    assert "bentosync remote test lab" in line


def test_a_probe_that_cannot_be_deleted_is_named(invoke: Invoke, server: FaultyS3) -> None:
    server.inject("DeleteObject", Answer(403, "AccessDenied"), times=None)
    result = invoke("remote", "test", "lab")
    assert result.exit_code == 4
    (left,) = server.bucket.objects
    assert left.removeprefix("p/") in rows(result.stdout)["delete"]


def test_refusals_of_unknown_credentials_end_the_test_as_they_would_a_pull(
    invoke: Invoke, server: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDNOBODY")
    result = invoke("remote", "test", "lab")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "InvalidAccessKeyId" in result.stderr


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "agrees"), (45, "agrees"), (300, "5m00s ahead"), (-300, "5m00s behind"), (3600, "BAD"), (-3600, "BAD")],
)
def test_the_clocks_are_compared(invoke: Invoke, server: FaultyS3, seconds: int, words: str) -> None:
    server.skew = timedelta(seconds=seconds)
    result = invoke("remote", "test", "lab")
    assert result.exit_code == 0, result.stderr
    clock = rows(result.stdout)["clock"]
    assert words in clock or words.replace("5m00s", "4m59s") in clock
    assert ("15 minutes" in clock) == (abs(seconds) > 60)
    document = json.loads(invoke("remote", "test", "lab", "--json").stdout)
    assert abs(document["clock_ahead_seconds"] - seconds) < 5


def test_the_region_shown_is_the_one_that_the_bucket_is_in(invoke: Invoke, server: FaultyS3) -> None:
    server.keys = replace(KEYS, region="eu-west-3")
    assert rows(invoke("remote", "test", "lab").stdout)["region"] == "eu-west-3"


def test_a_store_that_ignores_conditions_is_named_with_the_way_out(invoke: Invoke, server: FaultyS3) -> None:
    assert rows(invoke("remote", "test", "lab").stdout)["conditional writes"] == "yes"
    server.inject("PutObject", Unconditional(), times=None)
    result = invoke("remote", "test", "lab")  # asked again, not remembered
    assert result.exit_code == 0
    assert "--single-writer" in rows(result.stdout)["conditional writes"]


def test_a_folder_that_takes_no_files_is_told_as_such(invoke: Invoke, world: World) -> None:
    """Nobody makes files below /sys/kernel, root included."""
    world.configure('[remote.sys]\nurl = "file:///sys/kernel"\n')
    result = invoke("remote", "test", "sys")
    assert result.exit_code == 4
    found = rows(result.stdout)
    assert (found["write"], found["pull"], found["push"]) == ("refused", "will work", "no: lacks write")


def test_a_folder_that_is_not_there_yet_is_remarked_on(invoke: Invoke, world: World) -> None:
    assert "mount it first" in invoke("remote", "add", "far", str(world.base / "mnt/models")).stderr
    assert "mount it first" not in invoke("remote", "add", "near", str(world.base)).stderr


def test_plain_http_to_another_machine_is_said_once_and_can_be_meant(
    invoke: Invoke, server: FaultyS3, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is the proxy for a host that does not exist."""
    monkeypatch.setenv("http_proxy", server.url)
    text = f'[remote.far]\nurl = "s3://{BUCKET}/p"\nendpoint_url = "http://models.example"\n'
    world.configure(text)
    result = invoke("remote", "test", "far")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("plain http") == 1
    assert "remote.far.allow_http true" in result.stderr
    assert rows(result.stdout)["proxy"] == server.url
    assert invoke("config", "set", "remote.far.allow_http", "true").exit_code == 0
    assert "plain http" not in invoke("remote", "test", "far").stderr


def test_what_is_true_of_a_remote_is_said_once_for_many_models(
    invoke: Invoke, server: FaultyS3, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    world.configure(f'[remote.far]\nurl = "s3://{BUCKET}/p"\nendpoint_url = "http://models.example"\n')
    result = invoke("push", world.model("a:v1"), world.model("b:v1"))
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("plain http") == 1


def test_a_remote_is_shown_with_the_places_of_its_settings(invoke: Invoke, world: World) -> None:
    invoke("remote", "add", "prod", "s3://bucket/prefix", "--sse", "aws:kms", "--sse-kms-key-id", "alias/m",
           "--acl", "bucket-owner-full-control", "--storage-class", "STANDARD_IA", "--request-payer", "requester",
           "--expected-bucket-owner", "111122223333", "--allow-http")  # fmt: skip
    shown = rows(f"\n{invoke('remote', 'show', 'prod').stdout}")
    assert shown["sse_kms_key_id"].startswith("alias/m   (")
    assert shown["expected_bucket_owner"].startswith("111122223333")
    document = json.loads(invoke("remote", "show", "prod", "--json").stdout)
    assert (document["request_payer"], document["allow_http"], document["default"]) == ("requester", True, False)


def test_the_default_remote_is_chosen_and_dropped(invoke: Invoke, world: World) -> None:
    assert invoke("remote", "use", "nas").exit_code == 0
    assert load().default_remote == "nas"
    wrong = invoke("remote", "use", "nsa")
    assert wrong.exit_code == 3
    assert "did you mean nas?" in wrong.stderr
    assert invoke("remote", "use", "--none").exit_code == 0
    assert load().default_remote is None
    assert invoke("remote", "use").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--sse-kms-key-id", "k"), 'sse = "aws:kms"'),
        (("--sse", "SSE-C"), "SSE-C"),
        (("--sse", "rot13"), "expected one of"),
        (("--storage-class", "DEEP_ARCHIVE"), "GLACIER_IR"),
        (("--expected-bucket-owner", "me"), "12 digits"),
        (("--request-payer", "you"), "requester"),
        (("--acl", "everybody"), "bucket-owner-full-control"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_they_are_written(
    invoke: Invoke, world: World, arguments: tuple[str, ...], word: str
) -> None:
    before = Path(world.base / "config/bentosync/config.toml").read_bytes()
    result = invoke("remote", "add", "lab", "s3://bucket/p", *arguments)
    assert result.exit_code == 2
    assert word in result.stderr
    assert Path(world.base / "config/bentosync/config.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("url", "word"),
    [("s3://a", "cannot be the name"), ("s3://my..bucket", "cannot be the name"), ("s3://10.0.0.5/x", "cannot be"),
     ("s3://models--use1-az4--x-s3/p", "S3 Express"), ("s3://arn:aws:s3:eu:1:accesspoint/x", "ARN")],
)  # fmt: skip
def test_a_bucket_that_cannot_be_used_is_refused_without_a_socket(invoke: Invoke, url: str, word: str) -> None:
    for command in (("remote", "add", "lab", url), ("pull", "m", "--remote", url), ("remote", "test", url)):
        result = invoke(*command)
        assert (result.exit_code, word in result.stderr) == (2, True), result.stderr


def test_the_names_of_other_remotes_and_settings_are_suggested(invoke: Invoke, world: World) -> None:
    world.configure('[remote.team]\nurl = "file:///x"\n')
    for command in (("pull", "m", "--remote", "taem"), ("remote", "test", "taem"), ("remote", "rm", "taem"),
                    ("remote", "show", "taem"), ("config", "set", "remote.taem.region", "eu")):  # fmt: skip
        result = invoke(*command)
        assert result.exit_code == 3, command
        assert "did you mean team?" in result.stderr
    assert "--remote team" in invoke("list", "--remote", "taem").stderr
    assert "did you mean remote.team.region?" in invoke("config", "set", "remote.team.regoin", "eu").stderr
    assert "did you mean transfer.jobs?" in invoke("config", "set", "jobs", "3").stderr
