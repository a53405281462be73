"""IAM policies as Amazon evaluates them, as far as ours go: allow-lists of actions and resources, one condition.

    server.policy = Policy.load("pull", bucket=BUCKET, prefix="p")
    ...
    assert server.policy.used == set(server.policy.grants)           # nothing in it was superfluous

What no statement allows is refused. A missing object is "not found" only for who may list the bucket; for all others
it is refused, as Amazon does and SeaweedFS does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.servers.faulty.call import Call
from tests.servers.faulty.objects import Bucket

FOLDER = Path(__file__).parents[3] / "docs/how-to/policies"

ACTIONS = {
    "GetObject": "s3:GetObject", "HeadObject": "s3:GetObject", "PutObject": "s3:PutObject",
    "CopyObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject", "UploadPart": "s3:PutObject", "CompleteMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject", "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListParts": "s3:ListMultipartUploadParts", "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
}  # fmt: skip
"""By operation, from Amazon's service authorization reference, not from our own table."""


class Grant(NamedTuple):
    """One action on one resource pattern, as one statement allows it."""

    statement: str
    action: str
    resource: str


@dataclass
class Policy:
    """A policy document. `used` are the grants that allowed something."""

    document: Mapping[str, Any]
    used: set[Grant] = field(default_factory=set)

    @classmethod
    def load(cls, name: str, *, bucket: str, prefix: str) -> Policy:
        """The policy that docs/how-to/permissions.md gives for one command, for one bucket and prefix."""
        return cls(
            json.loads((FOLDER / f"{name}.json").read_text().replace("BUCKET", bucket).replace("PREFIX", prefix))
        )

    @property
    def grants(self) -> list[Grant]:
        """Everything it allows, one action and resource at a time."""
        return [
            Grant(statement["Sid"], action, resource)
            for statement in self.document["Statement"]
            for action in statement["Action"]
            for resource in statement["Resource"]
        ]

    def without(self, gone: Grant) -> Policy:
        """The same without one grant: its statement is split so that all its other grants stay."""
        return Policy({**self.document, "Statement": list(self._split(gone))})

    def _split(self, gone: Grant) -> Iterator[Mapping[str, Any]]:
        for statement in self.document["Statement"]:
            if statement["Sid"] != gone.statement:
                yield statement
                continue
            for number, action in enumerate(statement["Action"]):
                left = [one for one in statement["Resource"] if (action, one) != gone[1:]]
                if left:
                    yield {**statement, "Sid": f"{statement['Sid']}{number}", "Action": [action], "Resource": left}

    def refuses(self, call: Call, bucket: Bucket) -> bool:
        """Whether Amazon would answer AccessDenied."""
        action = ACTIONS[call.operation]
        at = f"arn:aws:s3:::{call.bucket}"
        if not self._allows(action, f"{at}/{call.key}" if call.key else at, call.query.get("prefix")):
            return True
        if call.operation == "CopyObject" and not self._allows(
            "s3:GetObject", "arn:aws:s3:::" + "/".join(call.source), None
        ):
            return True
        hidden = action == "s3:GetObject" and call.key not in bucket.objects
        return hidden and not self._allows("s3:ListBucket", at, None)

    def _allows(self, action: str, resource: str, prefix: str | None) -> bool:
        matching = [
            Grant(statement["Sid"], action, pattern)
            for statement in self.document["Statement"]
            if action in statement["Action"] and _holds(statement.get("Condition", {}), prefix)
            for pattern in statement["Resource"]
            if _like(pattern, resource)
        ]
        self.used.update(matching)
        return bool(matching)


def _holds(condition: Mapping[str, Any], prefix: str | None) -> bool:
    """Whether a condition on s3:prefix holds; one on a key that the request does not have never does."""
    assert not condition or list(condition) == ["StringLike"], "a condition this server does not know"
    patterns = condition.get("StringLike", {"s3:prefix": None})["s3:prefix"]
    return patterns is None or (prefix is not None and any(_like(pattern, prefix) for pattern in patterns))


def _like(pattern: str, text: str) -> bool:
    """IAM's wildcards: `*` is anything, slashes too, and `?` one character."""
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None
