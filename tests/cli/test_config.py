"""`config` and `remote`: origins are shown, comments survive, nothing wrong is ever written."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bentosync.settings import load
from tests.cli.conftest import Invoke, World
from tests.servers.s3 import S3Server


def config_file(world: World) -> Path:
    return world.base / "config/bentosync/config.toml"


def test_list_shows_what_is_set_and_where(invoke: Invoke, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOSYNC_JOBS", "4")
    lines = [line.split() for line in invoke("config", "list", "--show-origin").stdout.splitlines()]
    assert lines[0] == ["Setting", "Value", "Origin"]
    assert ["transfer.jobs", "4", "env", "BENTOSYNC_JOBS"] in lines
    assert ["remote.nas.url", f"file://{world.remote}", str(config_file(world))] in lines
    assert "transfer.attempts" not in invoke("config", "list").stdout
    everything = json.loads(invoke("config", "list", "--all", "--json").stdout)
    assert everything["transfer.attempts"] == {"value": 8, "origin": "default"}


def test_flags_count_as_settings(invoke: Invoke) -> None:
    assert invoke("config", "get", "offline", "--offline").stdout == "true\n"
    assert invoke("config", "get", "default_remote").stdout == "\n"
    assert invoke("config", "get", "transfer.jbs").exit_code == 3


def test_set_keeps_comments_and_order_and_is_read_back(invoke: Invoke, world: World) -> None:
    world.configure("# mine\n[transfer]\nattempts = 3  # enough\n")
    for name, value in (("transfer.jobs", "32"), ("transfer.memory_bytes", "64MiB"), ("offline", "yes"),
                        ("store.state_dir", "~/state"), ("default_remote", "nas")):  # fmt: skip
        assert invoke("config", "set", name, value).exit_code == 0
    text = config_file(world).read_text()
    assert "# mine\n" in text
    assert "attempts = 3  # enough\n" in text
    settings = load()
    assert (settings.transfer.jobs, settings.transfer.attempts, settings.transfer.memory_bytes) == (32, 3, 64 << 20)
    assert (settings.offline, settings.default_remote) == (True, "nas")
    assert settings.state_dir == world.base / "user/state"


def test_a_new_config_file_is_private(invoke: Invoke, world: World) -> None:
    config_file(world).unlink()
    config_file(world).parent.rmdir()
    assert invoke("remote", "add", "nas", "/mnt/models").exit_code == 0
    assert stat.S_IMODE(config_file(world).stat().st_mode) == 0o600
    assert stat.S_IMODE(config_file(world).parent.stat().st_mode) == 0o700
    assert [path.name for path in config_file(world).parent.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("transfer.jobs", "0"), ("transfer.jbs", "3"), ("remote.x.url.y", "z"), ("offline", "maybe"), ("", "x")],
)
def test_a_wrong_value_changes_nothing(invoke: Invoke, world: World, name: str, value: str) -> None:
    before = config_file(world).read_bytes()
    result = invoke("config", "set", name, value)
    assert result.exit_code == 2
    assert config_file(world).read_bytes() == before


def test_a_wrong_value_in_the_file_can_be_set_right(invoke: Invoke, world: World) -> None:
    world.configure('[transfer]\njobs = 0\nattempts = 0\n[remote.nas]\nurl = "file:///x"\n')
    assert invoke("list").exit_code == 2
    assert invoke("config", "set", "transfer.attempts", "3").exit_code == 0
    assert invoke("config", "set", "transfer.jobs", "2").exit_code == 0
    assert invoke("list").exit_code == 0


def test_path_is_printed_whether_it_exists_or_not(invoke: Invoke, world: World) -> None:
    assert invoke("config", "path").stdout == f"{config_file(world)}\n"
    config_file(world).unlink()
    assert json.loads(invoke("config", "path", "--json").stdout)["exists"] is False


def test_a_remote_is_added_listed_used_and_removed(invoke: Invoke, world: World) -> None:
    result = invoke("remote", "add", "lab", "s3://bucket/prefix/", "--endpoint-url", "http://e:9", "--profile", "ml",
                    "--addressing", "path", "--single-writer", "--default")  # fmt: skip
    assert (result.exit_code, result.stdout) == (0, "")
    lab = load().remotes["lab"]
    assert (lab.url, lab.endpoint_url, lab.profile, lab.single_writer) == (
        "s3://bucket/prefix",
        "http://e:9",
        "ml",
        True,
    )
    rows = [line.split() for line in invoke("remote", "list").stdout.splitlines()]
    assert rows == [
        ["Name", "URL", "Endpoint"],
        ["lab", "s3://bucket/prefix", "http://e:9", "default"],
        ["nas", f"file://{world.remote}"],
    ]
    assert invoke("remote", "list", "-q").stdout == "lab\nnas\n"
    assert invoke("remote", "remove", "lab").exit_code == 0
    assert set(load().remotes) == {"nas"}
    assert load().default_remote is None
    assert invoke("remote", "rm", "lab").exit_code == 3


def test_a_taken_name_a_bad_name_and_a_bad_url_are_refused(invoke: Invoke, world: World) -> None:
    before = config_file(world).read_bytes()
    assert invoke("remote", "add", "nas", "/x").exit_code == 7
    assert invoke("remote", "add", "a/b", "/x").exit_code == 2
    assert invoke("remote", "add", "a.b", "/x").exit_code == 2
    assert invoke("remote", "add", "gcs", "gs://x").exit_code == 2
    assert config_file(world).read_bytes() == before
    assert invoke("remote", "add", "nas", "/x", "--force").exit_code == 0
    assert load().remotes["nas"].url == "file:///x"


def test_test_probes_a_folder_and_leaves_nothing(invoke: Invoke, world: World) -> None:
    result = invoke("remote", "test", "nas")
    assert result.exit_code == 0
    assert result.stdout.startswith("nas: ok\n")
    assert "conditional writes  yes\n" in result.stdout
    assert not list(world.remote.rglob("probes/*"))
    document = json.loads(invoke("remote", "test", str(world.remote), "--json").stdout)
    assert (document["ok"], document["conditional"], document["name"]) == (True, True, "nas")


def test_test_names_the_source_of_the_credentials_and_never_the_secret(
    invoke: Invoke, world: World, seaweed_credentials: S3Server
) -> None:
    server = seaweed_credentials
    invoke("remote", "add", "lab", "s3://bench/probe", "--endpoint-url", server.endpoint_url, "--region", "us-east-1")
    result = invoke("remote", "test", "lab")
    assert result.exit_code == 0
    rows = dict(line.strip().split(maxsplit=1) for line in result.stdout.splitlines()[1:])
    assert (rows["endpoint"], rows["region"], rows["credentials"]) == (server.endpoint_url, "us-east-1", "env")
    doctor = invoke("-vv", "doctor")
    for output in (result.stdout, result.stderr, doctor.stdout, doctor.stderr):
        assert server.secret_key not in output
    assert "lab: s3://bench/probe, endpoint" in doctor.stdout


def test_test_of_a_remote_that_is_not_there_fails_as_a_pull_would(invoke: Invoke, world: World) -> None:
    assert invoke("remote", "test", "nowhere").exit_code == 3
