"""Where credentials were looked for in vain: botocore's own list of places, in words that can be acted on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bentosync.errors import AuthError

if TYPE_CHECKING:
    from botocore.session import Session

HINT = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket: bentosync remote add "
    "--anonymous"
)

_WORDS = {
    "env": "AWS_ACCESS_KEY_ID in the environment",
    "assume-role": "a role of the profile",
    "assume-role-with-web-identity": "a web identity (Kubernetes)",
    "sso": "SSO",
    "login": "a login of the AWS command line",
    "custom-process": "a credential process",
    "container-role": "the container's role",
    "iam-role": "the instance's role",
}
_OF_FORMER_TIMES = {"ec2-credentials-file", "boto-config"}


def nothing_found(session: Session) -> AuthError:
    """The error after every place was asked."""
    places = [place for provider in session.get_component("credential_provider").providers
              if (place := _place(session, str(provider.METHOD)))]  # fmt: skip
    profile = session.profile or "default"
    return AuthError(f"no AWS credentials were found, profile {profile}; looked at: {', '.join(places)}", hint=HINT)


def _place(session: Session, method: str) -> str | None:
    match method:
        case "shared-credentials-file":
            return _file(session.get_config_variable("credentials_file"))
        case "config-file":
            return _file(session.get_config_variable("config_file"))
        case _ if method in _OF_FORMER_TIMES:
            return None
        case _:
            return _WORDS.get(method, method)


def _file(name: str) -> str:
    path = Path(os.path.expandvars(name)).expanduser()
    return f"{path}" if path.is_file() else f"{path} (no such file)"
