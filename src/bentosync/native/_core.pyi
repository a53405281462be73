from collections.abc import Sequence

from bentosync.native.twin import Bytes

def crc64nvme(data: Bytes, initial: int = 0) -> int: ...
def crc64nvme_by(way: str, data: Bytes, initial: int = 0) -> int: ...
def crc64nvme_ways() -> list[str]: ...
def xxh3_64_by(way: str, data: Bytes, /) -> int:
    """Of 241 bytes at least; 0 for fewer."""

def xxh3_ways() -> list[str]: ...

# --- the receive path: Linux only ------------------------------------------------------------------------------------

def openssl_version() -> str | None:
    """The OpenSSL 3 found at run time, if any."""

class Refused(Exception):
    """TLS cannot be set up like that, or the receiver was stopped; nothing was sent."""

class Trust:
    """What an `ssl.SSLContext` decides, as OpenSSL wants it. Raises `Refused` if it is not, or OpenSSL is missing."""

    def __init__(
        self, *, file: str, folder: str, ciphers: str, suites: str = "", verify_flags: int, version_min: int
    ) -> None: ...

class Connection:
    """One connection; one operation at a time. With TLS, a handshake is under way from the start.

    `ask`, `next_head`, `fill`, `land` and `converse` begin an operation, and return True if it has ended already. If
    not, `id` comes out of `Receiver.ended` when it has. Then `settle` tells how it went.
    """

    @property
    def id(self) -> int: ...
    def ask(self, request: bytes) -> bool:
        """Send a request and wait for the head of a reply."""

    def next_head(self) -> bool:
        """Wait for another head, behind the one that was taken."""

    def fill(self, destination: memoryview) -> bool:
        """Wait until body bytes fill `destination`, which stays exported until `settle` or `abort`."""

    def land(self, unit: memoryview, *, fd: int, offset: int, bytes: int, digests: Bytes) -> bool:
        """Wait until as many body bytes went through `unit` into a file, each unit with the XXH3-64 it should have.

        Ends early, without a fault, with a unit that cannot be proven or written; that is then in `unit`.
        """

    def landed(self) -> int:
        """How many bytes were proven and written since `land`."""

    def arrived(self) -> int:
        """Those, and how many have come of the unit after them."""

    def settle(self) -> tuple[int, int, int, str]:
        """A `receiving.Fault`, how many bytes came nevertheless, errno, and OpenSSL's reason."""

    def spent(self) -> tuple[float, float, float]:
        """Seconds of the last `land` that went into digests, into writing, and of the latter not into waiting."""

    def take_head(self) -> bytes:
        """The head that has come, without the empty line that ends it."""

    def surplus(self) -> int:
        """How many bytes that came behind the head nobody has taken."""

    def give(self, head: bytes, body: Sequence[memoryview]) -> bool:
        """Take a request that `converse` is to send; the body stays exported until `park` or `abort`.

        False: the connection is closed, or something has come that nobody had asked for.
        """

    def converse(self, reply: memoryview) -> bool:
        """Send on, until anything of a reply is in `reply`, which stays exported until `settle` or `abort`."""

    def undelivered(self) -> int:
        """How many bytes of the request the other side has not acknowledged."""

    def park(self) -> bool:
        """Rest until the next request. False: it is closed, or bytes are left that nobody asked for, or was sent."""

    def is_parked(self) -> bool:
        """Whether it rests, and the other side has neither closed it nor said a word."""

    def silent_seconds(self) -> float:
        """How long ago the last byte moved, or the operation began."""

    def nudge(self) -> None:
        """Take in what has come of a body. Without it the thread waits until there is enough to be worth it."""

    def abort(self) -> None:
        """Close the socket. When this returns nothing touches a lent buffer any more; it waits for a step at most."""

class Receiver:
    """The threads that drive connections, without the GIL. In a forked child the copy is inert."""

    def __init__(self, threads: int) -> None: ...
    def fileno(self) -> int:
        """Readable while `ended` has something to tell."""

    def ended(self) -> list[int]:
        """The connections whose operations have ended since the last call."""

    def adopt(self, fd: int, trust: Trust | None, host: str, host_is_address: bool) -> Connection:
        """Take over a connected socket, also on failure. Raises `Refused` if TLS cannot be set up for `host`."""

    def halt(self) -> None:
        """End the threads and nothing else: for the end of the process. Idempotent."""

    def stop(self) -> None:
        """Close all connections, end the threads. Idempotent."""

# --- volleys: Linux only ---------------------------------------------------------------------------------------------

def volley(
    sockets: Sequence[int],
    shots: Sequence[tuple[Bytes, Bytes, Bytes]],
    echo_name: str,
    silence_seconds: float,
    stop_fd: int,
    /,
) -> tuple[bytes, bytes]:
    """Send every shot (head, body, echo) over one of the sockets, which are connected, plain and rest.

    Returns `bentosync.wire.volley.Result` of each shot, and 1 for each socket that rests again. A reply that has the
    header `echo_name` (in lower case) with another value than its shot's echo is no reply to it. Connections that are
    silent for so long are given up, and all of them once `stop_fd` is readable.
    """
