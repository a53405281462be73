"""One table from errors to exit statuses."""

from __future__ import annotations

import errno

import click
import pytest

from bentosync import errors
from bentosync.cli.exits import EXITS, diagnose

STATUS = {
    errors.BentoMLException: 1,
    errors.MissingExtra: 1,
    errors.LocalIOError: 1,
    errors.OutOfMemory: 1,
    errors.InvalidArgument: 2,
    errors.InvalidTag: 2,
    errors.NotFound: 3,
    errors.AuthError: 4,
    errors.NetworkError: 5,
    errors.RemoteError: 5,
    errors.Throttled: 5,
    errors.IntegrityError: 6,
    errors.UnsafeInput: 6,
    errors.Conflict: 7,
    errors.NoSpace: 8,
    errors.Busy: 9,
}


@pytest.mark.parametrize("family", STATUS, ids=lambda family: family.__name__)
def test_each_family_has_its_status_code_and_hint(family: type[errors.BentoMLException]) -> None:
    failure = diagnose(family("what happened", hint="do this"))
    assert (failure.status, failure.code, failure.message, failure.hint) == (
        STATUS[family],
        family.code,
        "what happened",
        "do this",
    )


def test_a_batch_is_10() -> None:
    assert diagnose(errors.BatchFailed("2 of 3 failed", ())).status == 10


def test_a_member_stands_before_its_family() -> None:
    families = [family for family, _ in EXITS]
    for index, family in enumerate(families):
        assert not any(issubclass(later, family) for later in families[index + 1 :])


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        (errno.ENOSPC, "NO-SPACE", 8),
        (errno.EDQUOT, "NO-SPACE", 8),
        (errno.EACCES, "LOCAL-IO", 4),
        (errno.EPERM, "LOCAL-IO", 4),
        (errno.EROFS, "LOCAL-IO", 4),
        (errno.EIO, "LOCAL-IO", 1),
        (errno.ENOENT, "LOCAL-IO", 1),
    ],
)
def test_errors_of_the_disk_have_their_family_raw_or_wrapped(number: int, code: str, status: int) -> None:
    raw = OSError(number, "refused", "/data/x")
    assert (diagnose(raw).code, diagnose(raw).status) == (code, status)
    assert "/data/x" in diagnose(raw).message
    wrapped = errors.from_os_error(raw, "pulling m:v1")
    wrapped.__cause__ = raw
    assert (diagnose(wrapped).code, diagnose(wrapped).status) == (code, status)


def test_a_group_is_its_first_error() -> None:
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [errors.NotFound("gone")]), OSError("noise")])
    assert diagnose(group).status == 3


def test_usage_points_at_the_help_of_the_command() -> None:
    context = click.Context(click.Command("pull"), info_name="bentosync pull")
    failure = diagnose(click.UsageError("no such option", ctx=context))
    assert (failure.status, failure.code, failure.hint) == (2, "USAGE", "bentosync pull --help")


def test_a_plain_value_error_is_a_message_and_a_bug_says_how_to_see_more() -> None:
    assert (diagnose(ValueError("bad label")).code, diagnose(ValueError("bad label")).status) == ("ERROR", 1)
    assert diagnose(KeyError("x")).hint == "the same command with -vv shows where"
