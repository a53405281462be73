"""Framing, without sockets: whatever the pieces a reply arrives in, the same bytes come out or the same error."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.errors import NetworkError, RemoteError
from bentosync.wire import head
from bentosync.wire.exchange import Reply
from bentosync.wire.reader import ReplyReader
from tests.wire.test_wire import Collector, pattern

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(
    data: bytes,
    *,
    cuts: list[int] = [],  # noqa: B006
    wanted: int | None = None,
    collect_max: int = 1 << 20,
    bodyless: bool = False,
    sink: Collector | None = None,
) -> tuple[ReplyReader, bytes]:
    """A reader that was given `data`, cut where `cuts` say, and then the end."""
    sink = sink or Collector()
    scratch = bytearray(head.HEAD_BYTES_MAX)
    reader = ReplyReader("host", scratch, lambda reply: wanted, sink, collect_max=collect_max, bodyless=bodyless)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        piece = data[begin:end]
        while piece and reader.reply is None:
            memory = reader.buffer()
            count = min(len(memory), len(piece))
            memory[:count] = piece[:count]
            piece = piece[count:]
            reader.filled(count)
    if reader.reply is None:
        reader.end()
    return reader, bytes(sink.data)


def chunks(body: bytes, sizes: list[int]) -> bytes:
    """`body` in chunks of these sizes, the last of them as long as it has to be."""
    coded = b""
    for size in sizes:
        piece, body = body[:size], body[size:]
        if piece:
            coded += b"%x;ext=1\r\n%b\r\n" % (len(piece), piece)
    if body:
        coded += b"%X\r\n%b\r\n" % (len(body), body)
    return coded + b"0\r\nTrailer: x\r\n\r\n"


FRAMINGS = ("length", "chunked", "close")


@given(
    framing=st.sampled_from(FRAMINGS),
    size=st.integers(0, 3000),
    sizes=st.lists(st.integers(1, 900), max_size=6),
    cuts=st.lists(st.integers(0, 4000), max_size=8),
    interim=st.integers(0, 2),
)
def test_every_framing_gives_the_body_in_whatever_pieces_it_comes(
    framing: str, size: int, sizes: list[int], cuts: list[int], interim: int
) -> None:
    body = pattern(size)
    framed = {
        "length": OK + b"Content-Length: %d\r\n\r\n%b" % (size, body),
        "chunked": CHUNKED + chunks(body, sizes),
        "close": OK + b"\r\n" + body,
    }[framing]
    data = b"HTTP/1.1 103 Early Hints\r\n\r\n" * interim + framed
    collected, nothing = read(data, cuts=cuts)
    assert collected.reply is not None
    assert (collected.reply.body, nothing) == (body, b"")
    assert collected.reusable == (framing != "close")
    poured, landed = read(data, cuts=cuts, wanted=size)
    assert (poured.reply, landed) == (Reply(200, collected.reply.headers), body)


@given(framing=st.sampled_from(FRAMINGS), size=st.integers(1, 2000), cuts=st.lists(st.integers(0, 3000), max_size=6))
def test_a_body_that_is_longer_than_wanted_never_overruns_the_sink(framing: str, size: int, cuts: list[int]) -> None:
    data = {
        "length": OK + b"Content-Length: %d\r\n\r\n" % (size + 1),
        "chunked": CHUNKED + b"%x\r\n" % (size + 1),
        "close": OK + b"\r\n",
    }[framing] + pattern(size + 1)
    sink = Collector()
    with pytest.raises(RemoteError, match="goes on"):
        read(data, cuts=cuts, wanted=size, sink=sink)
    assert bytes(sink.data) == pattern(size)


@given(framing=st.sampled_from(FRAMINGS), size=st.integers(0, 2000), cuts=st.lists(st.integers(0, 3000), max_size=6))
def test_a_body_that_is_shorter_than_wanted_is_an_error_after_all_of_it_was_given(
    framing: str, size: int, cuts: list[int]
) -> None:
    data = {
        "length": OK + b"Content-Length: %d\r\n\r\n%b" % (size, pattern(size)),
        "chunked": CHUNKED + chunks(pattern(size), [7]),
        "close": OK + b"\r\n" + pattern(size),
    }[framing]
    sink = Collector()
    with pytest.raises(NetworkError, match="early"):
        read(data, cuts=cuts, wanted=size + 1, sink=sink)
    assert bytes(sink.data) == pattern(size)


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_chunked_reply_that_is_cut_is_never_taken_for_a_whole_one(cut: int) -> None:
    data = CHUNKED + b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
    with pytest.raises(NetworkError):
        read(data[:-cut])


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"-1\r\n",
        b"\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"1" * 16 + b"\r\n",
        b"3 bytes\r\nabc\r\n",
        b"1" * 70_000,
    ],
)
def test_a_chunk_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteError):
        read(CHUNKED + body)


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 2000\r\n\r\n",
        CHUNKED + b"7d0\r\n",
        CHUNKED + b"5dc\r\n" + bytes(1500) + b"\r\n1f4\r\n",
        OK + b"\r\n" + bytes(2000),
    ],
)
def test_what_is_collected_is_bounded_before_it_is_kept(data: bytes) -> None:
    with pytest.raises(RemoteError, match="longer than 1999 bytes"):
        read(data, collect_max=1999)


def test_an_announced_terabyte_takes_no_memory() -> None:
    with pytest.raises(RemoteError, match="longer than"):
        read(CHUNKED + b"ffffffffffff\r\n")


@pytest.mark.parametrize("fields", [b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n", b""])
@pytest.mark.parametrize(("status", "bodyless"), [(200, True), (204, False), (304, False)])
def test_some_replies_have_no_body_whatever_they_announce(fields: bytes, status: int, bodyless: bool) -> None:
    reader, _ = read(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, fields), bodyless=bodyless)
    assert reader.reply is not None
    assert (reader.reply.status, reader.reply.body, reader.reusable) == (status, b"", True)


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (OK + b"Content-Length: 1\r\n\r\nx", True),
        (OK + b"Content-Length: 1\r\n\r\nxy", False),
        (OK + b"Content-Length: 1\r\nConnection: close\r\n\r\nx", False),
        (OK + b"Content-Length: 1\r\nConnection: x, Close\r\n\r\nx", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", False),
        (OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", False),
    ],
)
def test_a_connection_is_used_again_only_where_both_sides_agree_on_where_the_reply_ends(
    data: bytes, reusable: bool
) -> None:
    reader, _ = read(data)
    assert reader.reply is not None
    assert (reader.reply.body, reader.reusable) == (b"x", reusable)


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"identity", b"chunked, chunked"])
def test_a_coding_that_nobody_asked_for_is_refused(coding: bytes) -> None:
    with pytest.raises(RemoteError, match="coded"):
        read(OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n1\r\nx\r\n0\r\n\r\n")


def test_a_length_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(RemoteError, match="Content-Length"):
        read(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx")
