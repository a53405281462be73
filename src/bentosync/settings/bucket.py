"""What a bucket may be called. A name that no store can have is refused here, before anybody looks it up."""

from __future__ import annotations

import ipaddress
import re

from bentosync.errors import InvalidArgument, Unsupported

# Amazon's rules since 2018 without its ban of capitals and underscores, which older buckets and other stores have.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", re.ASCII)
_EXPRESS = ("--x-s3", "--xa-s3")
_RULES = "3 to 63 letters, digits, dots and hyphens, a letter or digit at both ends"


def check_bucket(name: str) -> None:
    """Refuse a name that cannot be that of a bucket we can use.

    Raises:
        InvalidArgument: No bucket can be called so.
        Unsupported: It is a directory bucket (S3 Express), or an ARN.
    """
    if name.startswith("arn:"):
        raise Unsupported(
            f'"{name}" is an ARN, and a remote is named by its bucket',
            hint="write s3://bucket/prefix; for an access point use its alias, which ends in -s3alias",
        )
    if name.endswith(_EXPRESS):
        raise Unsupported(
            f'"{name}" is a directory bucket (S3 Express One Zone), which is not supported: it signs by sessions and '
            "keeps no checksum of whole objects",
            hint="use a general purpose bucket in the same region",
        )
    if not _NAME.fullmatch(name) or any(pair in name for pair in ("..", ".-", "-.")) or _is_address(name):
        raise InvalidArgument(f'"{name}" cannot be the name of a bucket', hint=f"names have {_RULES}")


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
