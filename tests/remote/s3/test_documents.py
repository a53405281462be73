from __future__ import annotations

import pytest

from bentosync.errors import RemoteError
from bentosync.remote.contract import Part, Upload
from bentosync.remote.s3 import documents

HOSTILE = [
    b"",
    b"not xml",
    b"\xff\xfe<\x00",
    b"<ListBucketResult>",
    b"<html><body>sign in</body></html>",
    b"<Error><Code>InternalError</Code></Error>",
    b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;</ListBucketResult>',
    b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><ListBucketResult/>',
    b"<ListBucketResult>&undefined;</ListBucketResult>",
    '<?xml version="1.0" encoding="utf-16"?><ListBucketResult/>'.encode("utf-16"),
    b"<a>" * 10_000,
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_not_the_expected_document_is_a_remote_error(data: bytes) -> None:
    for parse in (documents.objects, documents.uploads, documents.upload_id, documents.completed):
        with pytest.raises(RemoteError):
            parse(data)
    with pytest.raises(RemoteError):
        documents.parts(data, "crc32")


@pytest.mark.parametrize("size", ["", "-1", "1e9", "0x10", "1_000", "٣", "99999999999999999"])
def test_a_size_that_is_no_plain_number_is_a_remote_error(size: str) -> None:
    text = f"<ListBucketResult><Contents><Key>k</Key><Size>{size}</Size></Contents></ListBucketResult>"
    with pytest.raises(RemoteError):
        documents.objects(text.encode())


def test_a_listing_is_read_with_or_without_namespace_and_key_encoding() -> None:
    item = (
        "<Contents><Key>a%2Bb+c</Key><Size>3</Size><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>"
    )
    encoded = documents.objects(
        f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>'
        f"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>{item}</ListBucketResult>".encode()
    )
    plain = documents.objects(f"<ListBucketResult>{item}</ListBucketResult>".encode())
    assert (encoded.objects[0].key, encoded.next) == ("a+b c", "t")
    assert (plain.objects[0].key, plain.next) == ("a%2Bb+c", None)
    assert (plain.objects[0].size, plain.objects[0].etag, plain.objects[0].modified_at) == (3, '"e"', 1767323045.0)


def test_parts_carry_their_checksum_and_what_may_be_their_md5() -> None:
    text = """<ListPartsResult><IsTruncated>false</IsTruncated>
        <Part><PartNumber>1</PartNumber><Size>5</Size><ETag>"00112233445566778899aabbccddeeff"</ETag>
              <ChecksumCRC32>AAAAAQ==</ChecksumCRC32></Part>
        <Part><PartNumber>2</PartNumber><Size>6</Size><ETag>opaque</ETag><ChecksumCRC32>???</ChecksumCRC32></Part>
    </ListPartsResult>"""
    page = documents.parts(text.encode(), "crc32")
    md5 = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert page.parts == (
        Part(1, 5, '"00112233445566778899aabbccddeeff"', b"\0\0\0\1", md5),
        Part(2, 6, "opaque"),
    )
    assert page.next is None


def test_uploads_come_with_the_markers_of_the_next_page() -> None:
    text = """<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>
        <NextUploadIdMarker>u</NextUploadIdMarker><Upload><Key>k</Key><UploadId>u</UploadId></Upload>
    </ListMultipartUploadsResult>"""
    page = documents.uploads(text.encode())
    assert (page.uploads, page.next) == ((Upload("k", "u"),), ("k", "u"))


def test_an_etag_cannot_break_out_of_the_complete_request() -> None:
    body = documents.complete_request([Part(1, 1, '</ETag><x>"&', b"\0\0\0\1")], "crc32")
    assert b'<ETag>&lt;/ETag&gt;&lt;x&gt;"&amp;</ETag><ChecksumCRC32>AAAAAQ==</ChecksumCRC32>' in body


@pytest.mark.parametrize(
    ("text", "value"), [("AAAAAQ==", b"\0\0\0\1"), ("AAAAAQ==-3", None), ("", None), ("AAA=", None)]
)
def test_only_a_checksum_of_the_whole_object_counts(text: str, value: bytes | None) -> None:
    assert documents.checksum_value(text, "crc32") == value
