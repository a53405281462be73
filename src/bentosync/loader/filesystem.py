"""Does a file live on a network file system?

There a mapping is the wrong door: every page fault is a round trip, and a server that goes away is SIGBUS instead of
an error. FUSE counts as network: what people mount that way are buckets. Unknown types count as local.
"""

from __future__ import annotations

import ctypes
import sys

_NETWORK = frozenset(
    {
        0x6969,  # NFS
        0x517B,  # SMB
        0xFF534D42,  # CIFS
        0xFE534D42,  # SMB2
        0x01021997,  # 9P
        0x5346414F,  # AFS
        0x00C36400,  # Ceph
        0x0BD00BD0,  # Lustre
        0x47504653,  # GPFS
        0x19830326,  # BeeGFS
        0x65735546,  # FUSE, virtiofs
    }
)

_LIBC = ctypes.CDLL(None)

_STATFS_BYTES = 512
"""More than any Linux `struct statfs`; only its first word is read."""


def is_network(fd: int) -> bool:
    """Whether the file behind `fd` is read over a network."""
    return filesystem_magic(fd) in _NETWORK


def filesystem_magic(fd: int) -> int | None:
    """`f_type` of fstatfs(2); None where the platform has another layout."""
    if sys.platform != "linux":
        return None
    answer = (ctypes.c_long * (_STATFS_BYTES // ctypes.sizeof(ctypes.c_long)))()
    if _LIBC.fstatfs(fd, ctypes.byref(answer)):
        return None
    return answer[0] & 0xFFFFFFFF
