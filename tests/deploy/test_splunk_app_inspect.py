"""Splunk's own judge finds nothing wrong with the add-on."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.splunk.generate import ADD_ON
from tests.deploy.containers import TOP
from tests.receivers.process import missing

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

INSPECT = TOP / ".tools" / "appinspect" / "bin" / "splunk-appinspect"
ARGUED: dict[str, str] = {}
"""Warnings that stay, by the name of the check, each with the reason."""


def test_appinspect_finds_nothing_in_the_add_on_and_asks_nobody(tmp_path: Path) -> None:
    if not INSPECT.exists():
        missing(f"{INSPECT} is missing: run tests/install-tools.sh")
    # In a network of its own where this user may make one: so it is known to need none.
    alone = ["unshare", "--net"] if os.geteuid() == 0 else []
    report = tmp_path / "report.json"
    words = [*alone, INSPECT, "inspect", ADD_ON, "--mode", "precert", "--output-file", report]
    done = subprocess.run(
        [*words, "--data-format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        cwd=tmp_path,
    )
    assert report.exists(), done.stdout + done.stderr
    (found,) = json.loads(report.read_text())["reports"]
    checks = [check for group in found["groups"] for check in group["checks"]]
    assert sum(check["result"] == "success" for check in checks) > 50
    harmless = ("success", "not_applicable")
    wrong = [check for check in checks if check["result"] not in harmless]
    told = [
        f"{check['result']} {check['name']}: {texts(check)}"
        for check in wrong
        if check["result"] != "warning" or check["name"] not in ARGUED
    ]
    assert not told, "\n".join(told)
    assert {check["name"] for check in wrong} == ARGUED.keys(), "ARGUED has more than there is"


def texts(check: dict[str, Any]) -> str:
    return " ".join(message["message"] for message in check["messages"])
