"""Credentials and the like by botocore's chain: environment, profile, SSO, process, web identity, container, instance.

What is simply written down in the environment or in a file is read without botocore (`plain`), in the same order and
with the same result. botocore takes a quarter of a second to import and may ask the network, so whatever happens here
happens in a worker thread: once at the first request, and again when temporary credentials near their end or the store
says they have expired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from bentosync import settings
from bentosync.errors import AuthError
from bentosync.remote.s3 import plain, searched
from bentosync.remote.s3.plain import Surroundings
from bentosync.remote.s3.signing import Credentials

if TYPE_CHECKING:
    from botocore.session import Session

T = TypeVar("T")


class Chain:
    """The chain for one profile (None: the default one). Safe for concurrent callers in one event loop."""

    def __init__(self, profile: str | None) -> None:
        self._profile = profile
        self._session: Session | None = None
        self._found: Any = None  # `Credentials`, or botocore's object, which knows when it must be refreshed
        self._around: Surroundings | None = None
        self._lock = asyncio.Lock()

    async def surroundings(self) -> Surroundings:
        """Region and endpoint of the profile. Raises `AuthError` if the profile does not exist."""
        async with self._lock:
            if self._around is None:
                self._around = await asyncio.to_thread(self._look_around)
            return self._around

    async def credentials(self) -> Credentials:
        """Valid credentials, refreshed first if they are about to expire. Raises `AuthError` if there are none."""
        found = self._found
        if found is None or _ages(found):
            async with self._lock:
                found = self._found
                if found is None or _ages(found):
                    found = await asyncio.to_thread(self._load)
        return found if isinstance(found, Credentials) else _frozen(found)

    def forget(self, refused: Credentials) -> None:
        """The store refused these as expired: run the whole chain again at the next call, unless others have by now."""
        found = self._found
        if found is not None and refused == (found if isinstance(found, Credentials) else _frozen(found)):
            self._found = self._session = None

    def _load(self) -> Any:
        if self._found is None and (written := plain.credentials(settings.aws(), self._profile)):
            self._found = _checked(written)
        else:
            self._found = _guarded(self._ask_botocore)
        return self._found

    def _look_around(self) -> Surroundings:
        return plain.surroundings(settings.aws(), self._profile) or _guarded(self._ask_botocore_around)

    def _opened(self) -> Session:
        if self._session is None:
            import botocore.session  # a quarter of a second

            self._session = botocore.session.Session(profile=self._profile)
        return self._session

    def _ask_botocore(self) -> Any:
        found = self._found or self._opened().get_credentials()
        if found is None:
            raise searched.nothing_found(self._opened())
        found.get_frozen_credentials()  # refreshes, if it must
        return found

    def _ask_botocore_around(self) -> Surroundings:
        from botocore.configprovider import ConfiguredEndpointProvider

        session = self._opened()
        provider = ConfiguredEndpointProvider(
            full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="s3"
        )
        ignored = session.get_config_variable("ignore_configured_endpoint_urls")
        return Surroundings(session.get_config_variable("region"), None if ignored else provider.provide())


class Given(Chain):
    """Credentials that the caller has in hand; region and endpoint still come from the user's AWS configuration."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        super().__init__(None)
        self._given = _checked(Credentials(access_key, secret_key, None, source="the arguments"))

    async def credentials(self) -> Credentials:
        """Those."""
        return self._given

    def forget(self, refused: Credentials) -> None:
        """There are no others."""


def _ages(found: Any) -> bool:
    """Whether botocore would refresh now; credentials that cannot be refreshed never age."""
    needed = getattr(found, "refresh_needed", None)
    return needed is not None and bool(needed())


def _frozen(found: Any) -> Credentials:
    frozen = found.get_frozen_credentials()
    return _checked(Credentials(frozen.access_key, frozen.secret_key, frozen.token, source=str(found.method)))


def _checked(found: Credentials) -> Credentials:
    """The same, if a header can carry it."""
    for what, text in (("access key", found.access_key), ("secret key", found.secret_key), ("token", found.token)):
        if not (text or "").isascii() or not (text or "").isprintable():
            raise AuthError(
                f"The {what} (from {found.source}) holds a line break or another character that no key has",
                hint="a file or secret it was read from often ends in a line break: take that away",
            )
    return found


def _guarded(call: Callable[[], T]) -> T:
    """Run a step of botocore; its errors are about configuration and credentials."""
    from botocore.exceptions import BotoCoreError, ProfileNotFound

    try:
        return call()
    except ProfileNotFound as error:
        raise AuthError(f"{error}", hint="those there are: aws configure list-profiles") from error
    except BotoCoreError as error:
        raise AuthError(f"AWS credentials cannot be loaded: {error}", hint=searched.HINT) from error
