"""Where `plain` answers, it says what botocore says; where botocore would do more than read, it does not answer."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import BotoCoreError

from bentosync import settings
from bentosync.remote.s3 import plain

KEYS = "aws_access_key_id = {0}\naws_secret_access_key = {0}-secret\n"
TOKEN = "aws_session_token = {0}-token\n"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "env-secret"}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    return tmp_path


def by_botocore(profile: str | None) -> tuple[object, ...] | None:
    """Keys and where they are from; None if there are none, or something is wrong."""
    try:
        found = botocore.session.Session(profile=profile).get_credentials()
    except (BotoCoreError, ValueError):
        return None
    if found is None or not hasattr(found, "access_key") or found.method not in ("env", *PLAIN_FILES):
        return None
    return found.access_key, found.secret_key, found.token, found.method


PLAIN_FILES = ("shared-credentials-file", "config-file")


def around_by_botocore(profile: str | None) -> tuple[object, ...] | None:
    session = botocore.session.Session(profile=profile)
    try:
        provider = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), "s3")
        endpoint = provider.provide()
        ignored = session.get_config_variable("ignore_configured_endpoint_urls")
        return session.get_config_variable("region"), None if ignored else endpoint
    except BotoCoreError:
        return None


def written(home: Path, credentials: str | None = None, config: str | None = None) -> None:
    for name, text in (("credentials", credentials), ("config", config)):
        if text is not None:
            (home / ".aws" / name).write_text(text)


def sections(title: str, who: str) -> Iterator[str | None]:
    """What a profile's section may hold."""
    yield None
    yield f"[{title}]\n" + KEYS.format(who)
    yield f"[{title}]\n" + KEYS.format(who) + TOKEN.format(who)
    yield f"[{title}]\n" + KEYS.format(who) + "aws_security_token = old\n" + TOKEN.format(who)
    yield f"[{title}]\nAWS_Access_Key_ID : {who}\naws_secret_access_key=spaced # out ; of\n"
    yield f"[{title}]\naws_access_key_id = {who}\n"
    yield f"[{title}]\naws_access_key_id =\naws_secret_access_key = s\n"
    yield f"[{title}]\nregion = eu-north-1\n"
    yield "[DEFAULT]\naws_access_key_id = all\naws_secret_access_key = s\n" + f"[{title}]\n"


ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {},
    ENVIRONMENT,
    ENVIRONMENT | {"AWS_SESSION_TOKEN": "t"},
    ENVIRONMENT | {"AWS_SESSION_TOKEN": "t", "AWS_SECURITY_TOKEN": "older"},
    ENVIRONMENT | {"AWS_SESSION_TOKEN": ""},
    ENVIRONMENT | {"AWS_PROFILE": "p"},
    ENVIRONMENT | {"AWS_PROFILE": "missing"},
    {"AWS_ACCESS_KEY_ID": "env"},
    {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "s"},
    {"AWS_PROFILE": "p"},
    {"AWS_DEFAULT_PROFILE": "p"},
    {"AWS_DEFAULT_PROFILE": "p", "AWS_PROFILE": "missing"},
    {"AWS_PROFILE": ""},
)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_answer_about_keys_is_the_one_of_botocore(
    environment: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    answered = 0
    contents = itertools.product(sections("p", "file"), sections("profile p", "config"))
    # Every third pair, with one of the three profiles in turn: botocore takes its time.
    for number, (stored, configured) in enumerate(
        itertools.islice(contents, ENVIRONMENTS.index(environment) % 3, None, 3)
    ):
        written(home, stored or "", configured or "")
        profile = (None, "p", "default")[number % 3]
        found = plain.credentials(settings.aws(), profile)
        if found is not None:
            answered += 1
            assert (found.access_key, found.secret_key, found.token, found.source) == by_botocore(profile)
    assert answered > 2


@pytest.mark.parametrize(
    ("environment", "credentials", "config", "profile", "source"),
    [
        (ENVIRONMENT, None, None, None, "env"),
        ({}, "[default]\n" + KEYS.format("a"), None, None, "shared-credentials-file"),
        ({}, None, "[default]\n" + KEYS.format("a"), None, "config-file"),
        ({}, None, '[profile "with space"]\n' + KEYS.format("a"), "with space", "config-file"),
        (ENVIRONMENT, "[p]\n" + KEYS.format("a"), None, "p", "shared-credentials-file"),
        ({"AWS_PROFILE": "p"}, "[p]\n" + KEYS.format("a"), "[profile p]\nregion = x\n", None, PLAIN_FILES[0]),
    ],
)
def test_what_is_simply_written_down_is_answered(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    credentials: str | None,
    config: str | None,
    profile: str | None,
    source: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    written(home, credentials, config)
    found = plain.credentials(settings.aws(), profile)
    assert found is not None
    assert (found.access_key, found.secret_key, found.token, found.source) == by_botocore(profile)
    assert found.source == source


@pytest.mark.parametrize(
    ("environment", "credentials", "config"),
    [
        ({}, None, None),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_ARN": "a"}, "[default]\n" + KEYS.format("a"), None),
        ({}, "[default]\n" + KEYS.format("a"), "[default]\nrole_arn = a\nsource_profile = b\n"),
        ({}, "[default]\n" + KEYS.format("a") + "role_arn = a\n", None),
        ({}, "[default]\n" + KEYS.format("a"), "[default]\nsso_role_name = a\n"),
        ({}, "[default]\n" + KEYS.format("a"), "[default]\nweb_identity_token_file = a\n"),
        ({}, None, "[default]\ncredential_process = true\n" + KEYS.format("a")),
        ({}, None, "[default]\nlogin_session = true\n" + KEYS.format("a")),
        ({}, "[default]\nhalf\n", None),
        ({}, "[default]\na = 1\na = 2\n" + KEYS.format("a"), None),
        ({}, "[default]\n" + KEYS.format("a"), "[profile 'open]\n"),
        ({}, "[default]\n" + KEYS.format("a"), "[default]\nregion = a\n[profile default]\nrole_arn = a\n"),
        ({}, "[default]\n" + KEYS.format("a") + "aws_session_token =\n  a = b\n", None),
        ({}, "[default]\n" + KEYS.format("a") + "\udcff\n", None),
        (ENVIRONMENT | {"AWS_CREDENTIAL_EXPIRATION": "2030-01-01T00:00:00Z"}, None, None),
        (ENVIRONMENT | {"AWS_PROFILE": "missing"}, None, None),
        ({"AWS_ACCESS_KEY_ID": "env"}, "[default]\n" + KEYS.format("a"), None),
        ({"AWS_CREDENTIAL_FILE": "/keys"}, None, None),
    ],
)
def test_whatever_needs_more_than_reading_is_left_to_botocore(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    credentials: str | None,
    config: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name, text in (("credentials", credentials), ("config", config)):
        if text is not None:
            (home / ".aws" / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert plain.credentials(settings.aws(), None) is None


def test_the_files_are_looked_for_where_the_variables_say(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "elsewhere").write_text("[default]\n" + KEYS.format("moved"))
    for path in ("~/elsewhere", "$HOME/elsewhere", str(home / "elsewhere")):
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", path)
        found = plain.credentials(settings.aws(), None)
        assert found is not None
        assert (found.access_key, found.source) == ("moved", "shared-credentials-file")
        assert by_botocore(None) == ("moved", "moved-secret", None, "shared-credentials-file")


AROUND: tuple[dict[str, str], ...] = (
    {},
    {"AWS_DEFAULT_REGION": "us-west-2"},
    {"AWS_REGION": "us-west-1"},
    {"AWS_DEFAULT_REGION": ""},
    {"AWS_ENDPOINT_URL": "http://all"},
    {"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "http://s3"},
    {"AWS_ENDPOINT_URL_S3": "", "AWS_ENDPOINT_URL": "http://all"},
    {"AWS_ENDPOINT_URL": "http://all", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "TRUE"},
    {"AWS_ENDPOINT_URL": "http://all", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"},
    {"AWS_PROFILE": "p"},
)
CONFIGS = (
    "",
    "[default]\nregion = eu-north-1\nendpoint_url = http://default\n[profile p]\nregion = eu-south-1\n",
    "[profile p]\nendpoint_url = http://p\nignore_configured_endpoint_urls = true\n",
    "[profile p]\nendpoint_url = http://p\nignore_configured_endpoint_urls = no\n",
    "[profile p]\nservices = local\n[services local]\ns3 =\n  endpoint_url = http://services\n",
)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_answer_about_region_and_endpoint_is_the_one_of_botocore(
    config: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = 0
    for environment in AROUND:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            for credentials, profile in itertools.product(("", "[p]\nregion = stored\n"), (None, "p")):
                written(home, credentials, config)
                found = plain.surroundings(settings.aws(), profile)
                if found is not None:
                    answered += 1
                    assert (found.region, found.endpoint_url) == around_by_botocore(profile)
    assert answered >= 9
