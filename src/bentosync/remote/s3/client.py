"""Signed requests to one bucket, and the four refusals that are cured on the spot.

A refusal that says how to do better is followed once a call and kind: another region, a skewed clock, expired
credentials. Everything else becomes an error (`faults`); trying again is for the decorator above.

The address and the credentials come from botocore's chain in a worker thread at the first request.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec import Struct, field

from bentosync.errors import AuthError, UnknownHost
from bentosync.events import Observer, ignore
from bentosync.remote.contract import Access
from bentosync.remote.s3 import address, faults
from bentosync.remote.s3.address import Address, Query
from bentosync.remote.s3.api import Api
from bentosync.remote.s3.credentials import Chain
from bentosync.remote.s3.plain import Surroundings
from bentosync.remote.s3.signing import EMPTY_SHA256, UNSIGNED_PAYLOAD, Credentials, Signer
from bentosync.settings import RemoteSettings
from bentosync.wire.exchange import Body, Pattern, Reply, Request, Shot, Wire

# Over plain http the payload hash is the body's only protection. Above this the hash costs more than the transfer,
# and the checksum header is signed with the rest.
_HASHED_BYTES_MAX = 1 << 20

_NOT_AMAZON = (
    "check region and network; a bucket of another store needs its endpoint: "
    "bentosync remote add NAME s3://bucket/prefix --endpoint-url URL"
)

Send = Callable[[Request], Awaitable[Reply]]


class Operation(Struct, frozen=True):
    """One S3 request before it is addressed and signed. `what` names its object in messages.

    `check` sees a reply of success; if it raises, the connection is closed: its replies may be those of other requests.
    """

    api: Api
    key: str
    what: str
    query: Query = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    reply_seconds: float | None = None
    check: Callable[[Reply], None] | None = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.api.method


class Member(Struct, frozen=True):
    """One of many operations that are alike: what it has of its own."""

    key: str
    value: str
    body: memoryview


class Client:
    """Addresses, signs, sends, and judges replies by status."""

    def __init__(
        self,
        settings: RemoteSettings,
        wire: Wire,
        *,
        bucket: str,
        observer: Observer = ignore,
        now: Callable[[], float] = time.time,
        chain: Chain | None = None,
    ) -> None:
        self._settings = settings
        self._wire = wire
        self._bucket = bucket
        self._observer = observer
        self._now = now
        self._last: tuple[str, datetime] | None = None  # what the store's clock said, and when by ours
        self._skew = timedelta()
        self._signer = Signer()
        self._chain = None if settings.anonymous else chain or Chain(settings.profile)
        self._address: Address | None = None

    async def call(self, operation: Operation, *, body_bytes_max: int = 1 << 20) -> Reply:
        """The reply to `operation`, if its status is 2xx.

        Raises:
            BentoMLException: The store refused; of the family that fits.
        """
        return await self.send(operation, lambda request: self._wire.exchange(request, body_bytes_max=body_bytes_max))

    async def send(self, operation: Operation, send: Send) -> Reply:
        """As `call`, with `send` to do the exchange."""
        cured: set[str] = set()
        while True:
            request, credentials = await self._signed(operation)
            try:
                reply = await send(request)
            except UnknownHost as error:
                if self._address is not None and self._address.amazon:
                    error.hint = _NOT_AMAZON
                raise
            self._last = (reply.headers.get("date", ""), self._time())
            if 200 <= reply.status < 300:
                return reply
            fault = faults.without_secrets(faults.fault(reply, now=self._time()), credentials)
            cure = self._cure(fault, credentials, cured)
            if cure is None:
                raise faults.error(fault, self._scene(operation, credentials))
            cured.add(cure)

    async def call_all(
        self, pattern: Operation, varying: str, members: Sequence[Member], *, connections: int
    ) -> Sequence[bool]:
        """Send many small requests without a query; which of them were answered with success.

        What is wrong with another one `call` will say, and cure. `pattern` holds what they share; `varying` names the
        header, in lower case, of which each member has a value of its own, and which a reply repeats if it has it.
        """
        if not members:
            return []
        at = await self._addressed()
        credentials = await self._identity()
        targets = at.targets(member.key for member in members)
        if credentials is None:
            shared = Pattern(pattern.method, at.endpoint, pattern.headers, [varying])
            shots = [
                Shot(target, (member.value,), member.body) for target, member in zip(targets, members, strict=True)
            ]
        else:
            alike = self._signer.alike(
                credentials,
                method=pattern.method,
                url=f"{at.endpoint}{targets[0]}",
                headers=pattern.headers,
                varying=varying,
                payload=UNSIGNED_PAYLOAD,
                region=at.region,
                now=self._time() + self._skew,
            )
            shared = Pattern(pattern.method, at.endpoint, alike.sent, [varying, "Authorization"])
            shots = [
                Shot(target, (member.value, alike.authorize(target, member.value)), member.body)
                for target, member in zip(targets, members, strict=True)
            ]
        return await self._wire.exchange_all(shared, shots, connections=connections)

    def refused(self, operation: Operation, reply: Reply) -> Exception:
        """The error for a reply that carries an <Error> document under a status of success."""
        return faults.error(faults.fault(reply, now=self._time()), self._scene(operation, None))

    async def host(self) -> str:
        """Host and port of the endpoint."""
        return (await self._addressed()).host

    async def store(self) -> str:
        """The same text for two buckets that one request can name: one endpoint, or Amazon's, whatever the region."""
        at = await self._addressed()
        return "amazon" if at.amazon else at.endpoint

    async def sends_files(self) -> bool:
        """Whether a body may be an extent of a file."""
        return self._wire.sends_files(f"{(await self._addressed()).base}/")

    async def access(self) -> Access:
        """How the store is reached, and how its clock stood at the last reply."""
        from bentosync.wire.proxies import proxy_for  # whose imports nobody else needs so early

        at = await self._addressed()
        credentials = await self._identity()
        proxy = proxy_for(at.base)
        return Access(
            endpoint=at.endpoint,
            region=at.region,
            addressing="virtual" if at.virtual else "path",
            proxy=proxy.url if proxy else None,
            credentials=credentials.source if credentials else "none (anonymous)",
            clock_ahead_seconds=faults.clock_ahead_seconds(*self._last) if self._last else None,
        )

    async def aclose(self) -> None:
        """Close the wire."""
        await self._wire.aclose()

    async def _signed(self, operation: Operation) -> tuple[Request, Credentials | None]:
        at = await self._addressed()
        credentials = await self._identity()
        return self._request(operation, at, credentials, self._time() + self._skew), credentials

    def _request(self, operation: Operation, at: Address, credentials: Credentials | None, now: datetime) -> Request:
        url = at.url(operation.key, operation.query)
        headers = dict(operation.headers)
        if credentials is not None:
            headers = self._signer.sign(
                credentials,
                method=operation.method,
                url=url,
                headers=headers,
                payload=_payload(operation.body, secure=at.secure),
                region=at.region,
                now=now,
            )
        check = operation.check and partial(_check_success, operation.check)
        return Request(operation.method, url, headers, operation.body, operation.reply_seconds, check)

    async def _addressed(self) -> Address:
        if self._address is None:
            settings = self._settings
            with self._about():
                around = Surroundings() if self._chain is None else await self._chain.surroundings()
            found = address.address(
                self._bucket,
                endpoint_url=settings.endpoint_url or around.endpoint_url,
                region=settings.region or around.region,
                addressing=settings.addressing,
            )
            if found.exposed and not settings.allow_http:
                self._observer(address.warning(found, settings.name))
            self._address = found
        return self._address

    async def _identity(self) -> Credentials | None:
        """Who signs; None where nobody does."""
        with self._about():
            return None if self._chain is None else await self._chain.credentials()

    @contextlib.contextmanager
    def _about(self) -> Iterator[None]:
        """Say for which remote there are no credentials."""
        try:
            yield
        except AuthError as error:
            name = f'remote "{self._settings.name}"' if self._settings.name else self._settings.url
            raise AuthError(f"{name}: {error.message}", hint=error.hint) from error

    def _cure(self, fault: faults.Fault, credentials: Credentials | None, cured: set[str]) -> str | None:
        """Change what the refusal asks for; return the kind of cure, None if there is none (any more)."""
        region = faults.other_region(fault)
        if region and self._address and "region" not in cured and (moved := address.moved(self._address, region)):
            self._address = moved
            return "region"
        skew = faults.clock_skew_seconds(fault, self._time())
        if skew is not None and "skew" not in cured:
            self._skew = timedelta(seconds=skew)
            return "skew"
        if self._chain and credentials and faults.is_expired(fault) and "expired" not in cured:
            self._chain.forget(credentials)
            return "expired"
        return None

    def _scene(self, operation: Operation, credentials: Credentials | None) -> faults.Scene:
        source = (
            "none, anonymous" if self._chain is None else f"from {credentials.source if credentials else 'the chain'}"
        )
        host = self._address.host if self._address else ""
        return faults.Scene(
            operation.what, self._bucket, host, source,
            api=operation.api, key=operation.key, owner=self._settings.expected_bucket_owner,
        )  # fmt: skip

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def _check_success(check: Callable[[Reply], None], reply: Reply) -> None:
    if 200 <= reply.status < 300:
        check(reply)


def _payload(body: Body, *, secure: bool) -> str:
    """What the signature says about the body."""
    if not body:
        return EMPTY_SHA256
    if secure or not isinstance(body, bytes) or len(body) > _HASHED_BYTES_MAX:
        return UNSIGNED_PAYLOAD
    return hashlib.sha256(body).hexdigest()
