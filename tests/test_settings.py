"""Settings: precedence, origins, types, and errors that name the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import fields

from bentosync.errors import InvalidArgument, NotFound
from bentosync.settings import RemoteSettings, Settings, choose_remote, load, parse_url, resolve, terminal
from bentosync.settings.keys import KEYS, REMOTE_KEYS, Place, size
from bentosync.settings.load import parse_for_file


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "config").mkdir()
    return tmp_path


def read(here: Path, **environ: str) -> Settings:
    return load(environ={"HOME": "/home/ann", **environ}, cwd=here / "cwd", config_dir=here / "config")


def write(here: Path, file: str, text: str) -> None:
    (here / file).write_text(text)


def test_without_anything_every_setting_has_its_default(here: Path) -> None:
    assert read(here) == Settings(home=Path("/home/ann/bentoml"), cache_dir=Path("/home/ann/.cache/bentosync"))


def test_environment_beats_project_beats_pyproject_beats_user_file(here: Path) -> None:
    write(here, "config/config.toml", "[transfer]\njobs = 1\nattempts = 1\nrange_bytes = 1\nmemory_bytes = 1\n")
    write(here, "cwd/pyproject.toml", "[tool.bentosync.transfer]\njobs = 2\nattempts = 2\nrange_bytes = 2\n")
    write(here, "cwd/bentosync.toml", "[transfer]\njobs = 3\nattempts = 3\n")
    transfer = read(here, BENTOSYNC_JOBS="4").transfer
    assert (transfer.jobs, transfer.attempts, transfer.range_bytes, transfer.memory_bytes) == (4, 3, 2, 1)


def test_each_value_keeps_its_origin(here: Path) -> None:
    write(here, "cwd/bentosync.toml", "offline = true\n")
    found = resolve(environ={"HOME": "/h", "BENTOSYNC_JOBS": "4"}, cwd=here / "cwd", config_dir=here / "config").found
    assert found["offline"].origin == str(here / "cwd/bentosync.toml")
    assert found["transfer.jobs"].origin == "env BENTOSYNC_JOBS"
    assert "log" not in found


@pytest.mark.parametrize("key", [key for key in KEYS if key.env], ids=lambda key: key.env)
def test_every_documented_variable_reaches_its_setting(key, here: Path) -> None:
    sample = {
        "text": "x",
        "true or false": "1",
        "count": "7",
        "seconds": "7",
        "size": "7k",
        "rate": "7k/s",
        "path": "/x",
    }
    value = sample.get(key.kind) or key.kind.split(", ")[-1]
    settings = read(here, **{key.env: value})
    section, _, field = key.name.rpartition(".")
    actual = getattr(settings.transfer if section == "transfer" else settings, field)
    assert (
        actual
        == key.parse(value, Place("", Path(), {}, textual=True))
        != getattr(Settings(home=Path("/")), field, None)
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("transfer.jobs = 0", "transfer.jobs: expected a whole number of at least 1, got 0"),
        ("transfer.jobs = true", "transfer.jobs: expected a whole number of at least 1, got True"),
        ('transfer.jobs = "8"', "transfer.jobs: expected a whole number of at least 1, got '8'"),
        ("transfer.stall_seconds = -1", "transfer.stall_seconds: expected a positive number of seconds, got -1"),
        ("transfer.stall_seconds = nan", "transfer.stall_seconds: expected a positive number of seconds, got nan"),
        ('transfer.memory_bytes = "12 parsec"', "transfer.memory_bytes: expected bytes"),
        ('offline = "yes"', "offline: expected true or false, got 'yes'"),
        ('progress = "loud"', "progress: expected one of auto, bar, plain, json, none, got 'loud'"),
        ("default_remote = 3", "default_remote: expected a non-empty string, got 3"),
        ('remote.nas = "file:///x"', 'unknown setting "remote.nas"'),
        ('remote.nas.region = "x"', "remote.nas: has no url"),
        ('remote.nas.url = "gs://x"', "remote.nas.url: "),
        ("[[transfer]]\njobs = 1", 'unknown setting "transfer"'),
        ("= 3", "not valid TOML"),
    ],
)
def test_a_wrong_value_names_file_and_key(here: Path, text: str, complaint: str) -> None:
    write(here, "cwd/bentosync.toml", text + "\n")
    with pytest.raises(InvalidArgument) as caught:
        read(here)
    assert str(caught.value).startswith(f"{here / 'cwd/bentosync.toml'}: ")
    assert complaint in str(caught.value)


def test_an_unknown_key_gets_a_suggestion(here: Path) -> None:
    write(here, "config/config.toml", "[transfer]\njbos = 3\n")
    with pytest.raises(InvalidArgument, match=r'config\.toml: unknown setting "transfer\.jbos"') as caught:
        read(here)
    assert caught.value.hint == "did you mean transfer.jobs?"


def test_a_wrong_variable_names_itself(here: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"environment variable BENTOSYNC_JOBS: transfer\.jobs: expected"):
        read(here, BENTOSYNC_JOBS="many")


def test_an_empty_variable_counts_as_unset(here: Path) -> None:
    assert read(here, BENTOSYNC_JOBS="").transfer.jobs == 64


def test_a_file_that_is_no_text_or_too_long_is_refused(here: Path) -> None:
    (here / "cwd/bentosync.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidArgument, match="not valid TOML"):
        read(here)
    (here / "cwd/bentosync.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(InvalidArgument, match="longer than 1048576 bytes"):
        read(here)


def test_a_pyproject_of_others_is_none_of_our_business(here: Path) -> None:
    write(here, "cwd/pyproject.toml", "[tool.ruff]\nline-length = 3\n")
    assert read(here).transfer.jobs == 64
    write(here, "cwd/pyproject.toml", "[tool]\nbentosync = 3\n")
    with pytest.raises(InvalidArgument, match="bentosync: expected a table"):
        read(here)


def test_bentoml_home_expands_home_and_variables(here: Path) -> None:
    assert read(here, BENTOML_HOME="~/b").home == Path("/home/ann/b")
    assert read(here, BENTOML_HOME="$DISK/b", DISK="/disk").home == Path("/disk/b")
    assert read(here, BENTOML_HOME="b").home == here / "cwd/b"


def test_a_relative_path_in_a_file_starts_at_that_file(here: Path) -> None:
    write(here, "config/config.toml", '[store]\nstate_dir = "state"\n')
    assert read(here).state_dir == here / "config/state"


def test_home_may_be_unset_when_bentoml_home_is_set(here: Path) -> None:
    settings = load(environ={"BENTOML_HOME": "/data"}, cwd=here / "cwd")
    assert (settings.home, settings.cache_dir) == (Path("/data"), None)


def test_a_tilde_without_home_is_refused(here: Path) -> None:
    with pytest.raises(InvalidArgument, match="HOME is not set"):
        load(environ={"BENTOML_HOME": "~/x"}, cwd=here / "cwd")


def test_xdg_decides_where_the_user_file_is(here: Path) -> None:
    (here / "xdg/bentosync").mkdir(parents=True)
    write(here, "xdg/bentosync/config.toml", "offline = true\n")
    assert load(environ={"HOME": "/h", "XDG_CONFIG_HOME": str(here / "xdg")}, cwd=here / "cwd").offline


def test_a_remote_named_again_replaces_the_lower_one_whole(here: Path) -> None:
    write(
        here,
        "config/config.toml",
        '[remote.r]\nurl = "s3://bkt/p"\nprofile = "ml"\n[remote.other]\nurl = "file:///o"\n',
    )
    write(here, "cwd/bentosync.toml", '[remote.r]\nurl = "s3://other"\n')
    remotes = read(here).remotes
    assert remotes["r"] == RemoteSettings(url="s3://other", name="r")
    assert remotes["other"].url == "file:///o"


def test_all_fields_of_a_remote_can_be_configured(here: Path) -> None:
    write(
        here,
        "cwd/bentosync.toml",
        '[remote.r]\nurl = "s3://bkt/p"\nendpoint_url = "http://e"\nregion = "eu"\nprofile = "ml"\n'
        'addressing = "path"\nanonymous = true\nsingle_writer = true\nca_bundle = "/ca.pem"\nallow_http = true\n'
        'sse = "AWS:KMS"\nsse_kms_key_id = "alias/m"\nacl = "private"\nstorage_class = "STANDARD_IA"\n'
        'request_payer = "requester"\nexpected_bucket_owner = "012345678901"\n',
    )
    assert read(here).remotes["r"] == RemoteSettings(
        "s3://bkt/p", "r", "http://e", "eu", "ml", "path", anonymous=True, single_writer=True, ca_bundle="/ca.pem",
        allow_http=True, sse="aws:kms", sse_kms_key_id="alias/m", acl="private", storage_class="STANDARD_IA",
        request_payer="requester", expected_bucket_owner="012345678901",
    )  # fmt: skip
    given = {field.name for field in fields(RemoteSettings)} - {"name"}
    assert given == {key.name for key in REMOTE_KEYS}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('sse = "SSE-C"', "SSE-C"),
        ('sse_customer_key = "c2VjcmV0"', "SSE-C"),
        ('sse_c_key = "c2VjcmV0"', "SSE-C"),
        ('sse_kms_key_id = "k"', "names a key that would not be used"),
        ('sse = "AES256"\nsse_kms_key_id = "k"', "names a key that would not be used"),
        ('sse = "aws:kms"\nsse_kms_key_id = "a b"', "without spaces"),
        ('storage_class = "GLACIER"', "GLACIER_IR"),
        ('storage_class = "deep_archive"', "GLACIER_IR"),
        ('storage_class = "EXPRESS_ONEZONE"', "S3 Express"),
        ('storage_class = "a b"', "STANDARD_IA"),
        ("expected_bucket_owner = 12345678901", "12 digits"),
        ('expected_bucket_owner = "me"', "12 digits"),
        ('request_payer = "me"', "requester"),
        ('endpoint_url = "store:9000"', "https://host"),
        ('endpoint_url = "https://ann:secret@store"', "no credentials"),
        ('region = "EU West"', "eu-central-1"),
    ],
)
def test_what_a_remote_cannot_be_set_to_is_refused_with_its_reason(here: Path, line: str, complaint: str) -> None:
    write(here, "cwd/bentosync.toml", f'[remote.r]\nurl = "s3://bkt/p"\n{line}\n')
    with pytest.raises(InvalidArgument) as caught:
        read(here)
    said = f"{caught.value} {caught.value.hint}"
    assert complaint in said
    assert "c2VjcmV0" not in said
    assert ":secret@" not in said


@pytest.mark.parametrize(
    ("name", "meant"),
    [("remote.r.regoin", "remote.r.region"), ("jobs", "transfer.jobs"), ("transfer.job", "transfer.jobs"),
     ("store.jobs", "transfer.jobs"), ("remote.r.storageclass", "remote.r.storage_class")],
)  # fmt: skip
def test_the_setting_that_was_meant_is_suggested(here: Path, name: str, meant: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_for_file(name, "x", here / "config.toml")
    assert caught.value.hint == f"did you mean {meant}?"


@pytest.mark.parametrize(
    ("text", "value"),
    [("512MiB", 512 << 20), ("512M", 512 << 20), ("1.5 GB", 1_500_000_000), ("64k", 65536), (7, 7), ("1TiB", 1 << 40)],
)
def test_sizes_are_read_as_people_write_them(text: object, value: int) -> None:
    assert size(text, Place("", Path(), {})) == value


@pytest.mark.parametrize("text", ["", "-1", "0", "1e9", "GiB", "1 2", "1XB", 0, -3, True, 1.5, None, "9" * 16])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected bytes"):
        size(text, Place("", Path(), {}))


def test_config_set_values_are_read_by_their_type() -> None:
    path = Path("/c/config.toml")
    assert parse_for_file("transfer.jobs", "32", path) == 32
    assert parse_for_file("offline", "on", path) is True
    assert parse_for_file("remote.x.anonymous", "true", path) is True
    with pytest.raises(InvalidArgument, match=r"/c/config\.toml: offline: expected true or false"):
        parse_for_file("offline", "maybe", path)


NAS = RemoteSettings("file:///nas", "nas")
LAB = RemoteSettings("s3://lab", "lab")


def configured(default: str | None = None, *remotes: RemoteSettings) -> Settings:
    return Settings(home=Path("/"), default_remote=default, remotes={str(each.name): each for each in remotes})


def test_a_name_chooses_its_remote_and_none_the_default() -> None:
    settings = configured("lab", NAS, LAB)
    assert choose_remote(settings, "nas") is NAS
    assert choose_remote(settings) is LAB


def test_the_only_remote_is_the_default() -> None:
    assert choose_remote(configured(None, NAS)) is NAS


def test_several_remotes_without_a_default_are_a_question() -> None:
    with pytest.raises(InvalidArgument, match=r"several remotes are configured \(lab, nas\)"):
        choose_remote(configured(None, NAS, LAB))


def test_no_remote_at_all_shows_three_ways_to_get_one() -> None:
    with pytest.raises(NotFound, match="no remote is configured") as caught:
        choose_remote(configured())
    assert [line.split()[:3] for line in str(caught.value.hint).splitlines()] == [["bentosync", "remote", "add"]] * 3


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(NotFound, match='no remote "nsa"') as caught:
        choose_remote(configured(None, NAS), "nsa")
    assert caught.value.hint == "did you mean nas?"


@pytest.mark.parametrize(
    ("ref", "url"),
    [
        ("s3://bkt/p/", "s3://bkt/p"),
        ("file:///mnt/m/", "file:///mnt/m"),
        ("file://localhost/m", "file:///m"),
        ("/mnt/a b%", "file:///mnt/a%20b%25"),
        ("/", "file:///"),
    ],
)
def test_urls_and_absolute_paths_are_remotes_without_a_name(ref: str, url: str) -> None:
    assert choose_remote(configured("lab", LAB), ref) == RemoteSettings(url)


def test_the_url_of_a_configured_remote_means_that_remote() -> None:
    assert choose_remote(configured("nas", NAS, LAB), LAB.url) is LAB
    assert choose_remote(configured("nas", NAS, LAB), f"{LAB.url}/") is LAB


@pytest.mark.parametrize(
    "url", ["gs://b", "s3://", "file://host/x", "file:x", "http://h/x", "./x", "s3://b?x=1", "x:y"]
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument):
        choose_remote(configured("lab", LAB), url)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_url("s3://AKIA:hunter2@bucket/p")
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"


def test_the_terminal_follows_the_common_variables() -> None:
    assert terminal({}) == terminal({"NO_COLOR": "", "CI": "false", "TERM": "xterm"})
    assert terminal({"NO_COLOR": "1"}).no_color
    assert terminal({"FORCE_COLOR": "1"}).force_color
    assert terminal({"TERM": "dumb"}).dumb
    assert terminal({"CI": "true"}).ci
