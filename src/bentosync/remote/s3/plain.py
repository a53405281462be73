"""Credentials that are written down: in the environment, or in AWS's shared files. Found without botocore.

botocore takes a quarter of a second to import, which is more than the rest of many a pull; and most credentials are
three strings in three variables or two lines in a file. This module answers for those and for nothing else: as soon as
the configuration mentions anything that botocore would act on (a role, SSO, a process, a token file, expiring keys), or
is not quite regular (half a key, a file that does not parse, a profile that is not there), the answer is None, and
botocore is asked. So where it answers, it says what botocore says, which `tests/remote/s3/test_plain.py` holds it to,
and the errors are botocore's own.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from bentosync.remote.s3.signing import Credentials

Section: TypeAlias = Mapping[str, str]
Sections: TypeAlias = Mapping[str, Section]

FILE_BYTES_MAX = 1 << 20

_PROFILE_VARIABLES = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")
_TOKEN_VARIABLES = ("AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
# In botocore's order: what comes before the credentials file, and what comes between it and the config file.
_BEFORE_CREDENTIALS_FILE = ("role_arn", "web_identity_token_file", "sso_role_name", "sso_account_id")
_BEFORE_CONFIG_FILE = ("login_session", "credential_process")


class Surroundings(Struct, frozen=True):
    """What the user's AWS configuration says besides credentials; None where it is silent."""

    region: str | None = None
    endpoint_url: str | None = None


class _Profile(Struct, frozen=True):
    """A profile: its section of the credentials file, that of the config file, and what botocore makes of both."""

    name: str
    in_credentials: Section
    in_config: Section

    @property
    def merged(self) -> Section:
        return {**self.in_config, **self.in_credentials}


def credentials(variables: Mapping[str, str], profile: str | None) -> Credentials | None:
    """Who signs, where that is written down; None: ask botocore.

    Args:
        variables: The environment's variables that begin with `AWS_`.
        profile: The profile that was asked for by name, which outranks the environment; None: whatever AWS's own
            variables say.
    """
    found = _profile(variables, profile)
    if found is None:
        return None
    if profile is None and variables.get("AWS_ACCESS_KEY_ID"):
        return _of_environment(variables)
    if variables.get("AWS_WEB_IDENTITY_TOKEN_FILE") or any(name in found.merged for name in _BEFORE_CREDENTIALS_FILE):
        return None
    if "aws_access_key_id" in found.in_credentials:
        return _of_section(found.in_credentials, "shared-credentials-file")
    if any(name in found.merged for name in _BEFORE_CONFIG_FILE):
        return None
    return _of_section(found.in_config, "config-file")


def surroundings(variables: Mapping[str, str], profile: str | None) -> Surroundings | None:
    """Region and endpoint, where they are written down; None: ask botocore."""
    found = _profile(variables, profile)
    if found is None or "services" in found.merged:
        return None
    merged = found.merged
    region = variables.get("AWS_DEFAULT_REGION", merged.get("region"))
    ignored = variables.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", merged.get("ignore_configured_endpoint_urls", ""))
    if ignored.lower() == "true":
        return Surroundings(region)
    endpoints = (variables.get("AWS_ENDPOINT_URL_S3"), variables.get("AWS_ENDPOINT_URL"), merged.get("endpoint_url"))
    return Surroundings(region, next(filter(None, endpoints), None))


def _of_environment(variables: Mapping[str, str]) -> Credentials | None:
    access_key, secret_key = variables["AWS_ACCESS_KEY_ID"], variables.get("AWS_SECRET_ACCESS_KEY")
    if not secret_key or variables.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    token = next(filter(None, map(variables.get, _TOKEN_VARIABLES)), None)
    return Credentials(access_key, secret_key, token, source="env")


def _of_section(section: Section, source: str) -> Credentials | None:
    access_key, secret_key = section.get("aws_access_key_id"), section.get("aws_secret_access_key")
    if not access_key or not secret_key:
        return None
    token = section.get("aws_security_token", section.get("aws_session_token"))
    return Credentials(access_key, secret_key, token, source=source)


def _profile(variables: Mapping[str, str], asked_for: str | None) -> _Profile | None:
    """The profile that counts, from both files; None if something about it needs botocore."""
    config = _sections(variables.get("AWS_CONFIG_FILE", "~/.aws/config"))
    stored = _sections(variables.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
    if config is None or stored is None:
        return None
    chosen = next((name for name in (asked_for, *map(variables.get, _PROFILE_VARIABLES)) if name is not None), None)
    name = "default" if chosen is None else chosen
    profiles = _profiles(config)
    if profiles is None or (chosen is not None and chosen not in profiles and chosen not in stored):
        return None
    found = _Profile(name, stored.get(name, {}), profiles.get(name, {}))
    # A value that begins on the next line holds settings of its own.
    return None if any(value.startswith("\n") for value in found.merged.values()) else found


def _profiles(config: Sections) -> Sections | None:
    """The profiles of a config file: `[default]` and `[profile NAME]`; None where botocore might read it otherwise."""
    profiles: dict[str, Section] = {}
    for title, section in config.items():
        if title == "default":
            profiles["default"] = section
        elif title.startswith("profile"):
            try:
                words = shlex.split(title)
            except ValueError:
                return None
            if len(words) != 2 or words[1] in profiles:
                return None
            profiles[words[1]] = section
    return profiles


def _sections(text: str) -> Sections | None:
    """The sections of an INI file, as botocore reads them; empty if there is no such file, None if it is irregular."""
    try:
        path = Path(os.path.expandvars(text)).expanduser()
        if not path.is_file():
            return {}
        lines = path.read_text().split("\n") if path.stat().st_size <= FILE_BYTES_MAX else None
    except (OSError, ValueError, RuntimeError):
        return None
    return None if lines is None else _parsed(lines)


def _parsed(lines: list[str]) -> Sections | None:
    import configparser  # wanted only where a file exists

    parser = configparser.RawConfigParser()
    try:
        parser.read_file(lines)
    except configparser.Error:
        return None
    return {title: dict(parser.items(title)) for title in parser.sections()}
