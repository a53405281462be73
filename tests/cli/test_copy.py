"""`copy` on the command line."""

from __future__ import annotations

import json
import re

from tests.cli.conftest import Invoke, World


def test_copy_names_the_pin_and_a_second_one_says_up_to_date(world: World, invoke: Invoke) -> None:
    world.model()
    invoke("push", "m")
    mirror = f"file://{world.base}/mirror"
    result = invoke("copy", "nas/m", mirror)
    assert re.fullmatch(rf"Copied m:v1 to {mirror} \(b3:[0-9a-f]{{64}}\)\n", result.stdout), result.stderr
    assert invoke("copy", "nas/m:v1", str(world.base / "mirror")).stdout.startswith("Up to date: m:v1")
    assert json.loads(invoke("copy", f"{mirror}/m", "nas", "--json").stdout)["outcome"] == "up-to-date"
    assert invoke("pull", "m", "--remote", mirror).exit_code == 0


def test_a_source_without_a_model_is_usage(world: World, invoke: Invoke) -> None:
    for source in ("m", "nas/", "/m"):
        assert invoke("copy", source, "nas").exit_code == 2
