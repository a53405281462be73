"""The operations of S3 that we call, under S3's own names: what is sent, and which permission each one needs.

Messages about a refusal name the operation and its permission, as the person who writes the policy knows them
(docs/how-to/permissions.md).
"""

from __future__ import annotations

from msgspec import Struct


class Api(Struct, frozen=True):
    """One operation. `permission` is the IAM action that allows it; `makes` says that it begins a new object."""

    name: str
    method: str
    permission: str
    makes: bool = False

    @property
    def reads(self) -> bool:
        """Whether an object that is not there looks refused to who may not list the bucket."""
        return self.permission == "s3:GetObject"


GET_OBJECT = Api("GetObject", "GET", "s3:GetObject")
HEAD_OBJECT = Api("HeadObject", "HEAD", "s3:GetObject")
PUT_OBJECT = Api("PutObject", "PUT", "s3:PutObject", makes=True)
COPY_OBJECT = Api("CopyObject", "PUT", "s3:PutObject", makes=True)
DELETE_OBJECT = Api("DeleteObject", "DELETE", "s3:DeleteObject")
CREATE_UPLOAD = Api("CreateMultipartUpload", "POST", "s3:PutObject", makes=True)
UPLOAD_PART = Api("UploadPart", "PUT", "s3:PutObject")
LIST_PARTS = Api("ListParts", "GET", "s3:ListMultipartUploadParts")
COMPLETE_UPLOAD = Api("CompleteMultipartUpload", "POST", "s3:PutObject")
ABORT_UPLOAD = Api("AbortMultipartUpload", "DELETE", "s3:AbortMultipartUpload")
LIST_OBJECTS = Api("ListObjectsV2", "GET", "s3:ListBucket")
LIST_UPLOADS = Api("ListMultipartUploads", "GET", "s3:ListBucketMultipartUploads")
