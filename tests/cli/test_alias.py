"""`alias`, `push --alias` and `m@alias` on the command line."""

from __future__ import annotations

import json

from tests.cli.conftest import Invoke, World


def test_an_alias_is_set_moved_followed_and_removed(world: World, invoke: Invoke) -> None:
    for tag in ("m:v1", "m:v2"):
        world.model(tag)
    done = invoke("push", "m:v1", "--alias", "prod", "--alias", "stable")
    assert (done.exit_code, done.stdout) == (0, 'Successfully pushed model "m:v1"\n')
    assert "m@prod is m:v1" in done.stderr
    invoke("push", "m:v2")
    assert invoke("alias", "set", "m:v2", "prod").stdout == "m@prod is m:v2\n"
    assert [line.split()[:2] for line in invoke("alias", "list").stdout.splitlines()] == [
        ["Alias", "Tag"], ["m@prod", "m:v2"], ["m@stable", "m:v1"],
    ]  # fmt: skip
    assert invoke("alias", "ls", "-q", "m").stdout == "m@prod\nm@stable\n"
    (named, _) = json.loads(invoke("alias", "list", "--json").stdout)
    assert (named["tag"], named["alias"], named["digest"][:3]) == ("m:v2", "prod", "b3:")
    elsewhere = ("--store", str(world.base / "other"))
    done = invoke("pull", "m@prod", *elsewhere)
    assert (done.exit_code, done.stdout) == (0, 'Successfully pulled model "m:v2"\n')
    assert invoke("models", "pull", "m@stable", *elsewhere).stdout == 'Successfully pulled model "m:v1"\n'
    assert invoke("alias", "rm", "m", "prod").stdout == "Removed m@prod\n"
    assert invoke("pull", "m@prod", *elsewhere).exit_code == 3


def test_what_an_alias_names_stays_and_bad_names_are_usage(world: World, invoke: Invoke) -> None:
    world.model("m:v1")
    invoke("push", "m:v1", "--alias", "prod")
    done = invoke("delete", "--remote", "-y", "m:v1")
    assert (done.exit_code, "bentosync alias remove m prod" in done.stderr) == (7, True)
    assert invoke("push", "m:v1", "--alias", "latest").exit_code == 2
    assert invoke("pull", "m:v1@prod").exit_code == 2
    done = invoke("get", "m@prod")
    assert (done.exit_code, "is for pull and load" in done.stderr) == (2, True)


def test_labels_choose_what_is_listed_here_and_on_a_remote(world: World, invoke: Invoke) -> None:
    with world.store.create("m:v1", labels={"stage": "prod", "team": "nlp"}):
        pass
    with world.store.create("m:v2", labels={"stage": "dev"}):
        pass
    invoke("push", "m:v1", "m:v2")
    for where in ((), ("--remote",)):
        for words, tags in (
            (("--label", "stage=prod"), "m:v1\n"),
            (("--label", "stage"), "m:v2\nm:v1\n"),
            (("--label", "stage", "--label", "team=nlp"), "m:v1\n"),
            (("--label", "stage=other"), ""),
            (("--label", "team="), ""),
        ):
            assert invoke("list", "-q", *words, *where).stdout == tags, (words, where)
