"""May this local tree take the place of a version that a remote holds? Asked before a forced push replaces anything.

Of two versions that differ, one may be the damaged one, and `--force` is typed by people who expect it to be the other.
So every byte of the local tree is read (a flipped bit changes no time stamp) and must be what was recorded when the
version was made, pulled or pushed.
"""

from __future__ import annotations

from bentosync.errors import IntegrityError
from bentosync.store.store import Store
from bentosync.tag import Tag


def require_undamaged(store: Store, tag: Tag, *, there: str) -> None:
    """Do nothing if the local version is what its record says, or nothing is recorded about it.

    Args:
        store: The local store.
        tag: The version.
        there: What is about to be replaced, in words.

    Raises:
        IntegrityError: It differs from its record.
    """
    if store.record(tag) is None:
        return
    damages = store.check(tag, strength="strong")
    if damages:
        raise IntegrityError(
            f"{tag} in {store.home} is not what it was when it was recorded ({damages[0].path} differs), "
            f"so it does not replace {there}",
            hint=f"if it is damaged: bentosync verify --repair {tag}\n"
            f"if the changes are meant: bentosync push --force --as-is {tag}",
        )
