"""What a remote's settings add to each request: headers, on exactly the operations that S3 documents them for. Pure.

Who pays and who must own the bucket is said with every request. How an object is encrypted, who may read it and in
which storage class it lies is decided when it begins: by PutObject, or by CreateMultipartUpload for all its parts.

The storage class is for the model's files only. Manifests, pointers and push records are small, read by every pull and
replaced often; the cheaper classes bill each of them as 128 KiB for at least 30 days, and each reading of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bentosync.remote.keys import FILES
from bentosync.remote.s3.api import Api
from bentosync.settings import RemoteSettings


class Terms:
    """The headers of one remote. `more` go with whatever makes an object, besides what the settings say."""

    def __init__(self, settings: RemoteSettings, more: Mapping[str, str] = MappingProxyType({})) -> None:
        self.owner = settings.expected_bucket_owner
        self._always = _given(
            {
                "x-amz-request-payer": settings.request_payer,
                "x-amz-expected-bucket-owner": settings.expected_bucket_owner,
            }
        )
        self._made = self._always | _given(
            {
                "x-amz-server-side-encryption": settings.sse,
                "x-amz-server-side-encryption-aws-kms-key-id": settings.sse_kms_key_id,
                "x-amz-acl": settings.acl,
                **more,
            }
        )
        self._file = self._made | _given({"x-amz-storage-class": settings.storage_class})

    def headers(self, api: Api, key: str) -> Mapping[str, str]:
        """What goes with `api` on `key`, which is relative to the remote's prefix."""
        if not api.makes:
            return self._always
        return self._file if key.startswith(FILES) else self._made


def _given(headers: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if value is not None}
