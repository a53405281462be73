"""Google Cloud Storage's JSON API, as much as exports and imports need: resumable uploads, ranges, listings, tokens.

https://cloud.google.com/storage/docs/json_api and …/performing-resumable-uploads. The emulator on PyPI knows no
cancelled uploads and no refused tokens.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.cloud import Cloud, Handler, serving

_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/(.+)")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class _Google(Handler):
    def do_GET(self) -> None:  # noqa: N802
        query = self._begin()
        if query is None:
            return
        path = urlsplit(self.path).path
        found = _OBJECT.fullmatch(path)
        if found is None:
            self._list(unquote(path.split("/")[4]), query)
            return
        name = f"{unquote(found[1])}/{unquote(found[2])}"
        if name not in self.cloud.files:
            self._refuse(404, f"No such object: {name}")
        elif query.get("alt") == "media" or path.startswith("/download"):
            self.reply_range(self.cloud.files[name], Content_Type="application/octet-stream")
        else:
            self.reply_json(self._resource(name))

    def do_POST(self) -> None:  # noqa: N802
        query = self._begin()
        if query is None:
            return
        found = _UPLOAD.fullmatch(urlsplit(self.path).path)
        assert found is not None, self.path
        bucket = unquote(found[1])
        if "upload_id" in query:
            self._continue(query["upload_id"])
        elif query["uploadType"] == "resumable":
            name = json.loads(self.body())["name"]
            identity = f"{bucket}/{name}".encode().hex() + f"-{secrets.token_hex(8)}"
            self.cloud.sessions[identity] = bytearray()
            base = f"http://127.0.0.1:{self.cloud.port}{urlsplit(self.path).path}"
            self.reply_json({}, Location=f"{base}?uploadType=resumable&upload_id={identity}")
        else:
            head, _, rest = self.body().partition(b"\n--==0==\n")
            name = json.loads(head.partition(b"\n\n")[2])["name"]
            self.cloud.files[f"{bucket}/{name}"] = rest.partition(b"\n\n")[2].removesuffix(b"\n--==0==--")
            self.reply_json(self._resource(f"{bucket}/{name}"))

    def do_DELETE(self) -> None:  # noqa: N802
        query = self._begin()
        if query is None:
            return
        if "upload_id" in query:
            self.cloud.sessions.pop(query["upload_id"], None)
            self.reply(499)
            return
        found = _OBJECT.fullmatch(urlsplit(self.path).path)
        assert found is not None, self.path
        gone = self.cloud.files.pop(f"{unquote(found[1])}/{unquote(found[2])}", None)
        self.reply(404 if gone is None else 204)

    def _begin(self) -> dict[str, str] | None:
        self.enter()
        if self.headers.get("Authorization") != f"Bearer {self.cloud.token}":
            self.body()
            self._refuse(401, "Anonymous caller does not have storage.objects access to the bucket.")
            return None
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def _continue(self, identity: str) -> None:
        session = self.cloud.sessions.get(identity)
        if session is None:
            self._refuse(404, "No such upload")
            return
        described = _RANGE.fullmatch(self.headers["Content-Range"])
        assert described is not None
        data = self.body()
        if described[1] is not None:
            assert int(described[1]) == len(session), "chunks follow each other"
            assert int(described[2]) + 1 - int(described[1]) == len(data)
            session += data
        if described[3] == "*":
            assert len(data) % (256 << 10) == 0, "all chunks but the last are multiples of 256 KiB"
            self.reply(308, Range=f"bytes=0-{len(session) - 1}")
            return
        assert int(described[3]) == len(session)
        name = bytes.fromhex(identity.partition("-")[0]).decode()
        self.cloud.files[name] = bytes(self.cloud.sessions.pop(identity))
        self.reply_json(self._resource(name))

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = f"{bucket}/{query.get('prefix', '')}", query.get("delimiter", "")
        items, prefixes = [], set()
        for name in sorted(self.cloud.files):
            if name.startswith(prefix):
                inner, slash, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
                if slash:
                    prefixes.add(f"{prefix}{inner}/"[len(bucket) + 1 :])
                else:
                    items.append(self._resource(name))
        self.reply_json({"items": items, "prefixes": sorted(prefixes)})

    def _resource(self, path: str) -> dict[str, Any]:
        bucket, _, name = path.partition("/")
        return {"kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(self.cloud.files[path]))}

    def _refuse(self, status: int, message: str) -> None:
        self.reply_json({"error": {"code": status, "message": message}}, status)


def gcs() -> AbstractContextManager[Cloud]:
    """A running server; every bucket exists."""
    return serving(_Google)
