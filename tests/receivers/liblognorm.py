"""liblognorm, by which rsyslog reads CEF: a parser that others wrote."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.receivers.cef import Cef
from tests.receivers.process import required


def parse(lines: Sequence[bytes], folder: Path) -> list[Cef]:
    """Return what it reads in each line; one that it cannot read raises KeyError."""
    rules = folder / "rules"
    rules.write_text("version=2\nrule=:%cef:cef%\n")
    program = required("lognormalizer", package="liblognorm-utils")
    done = subprocess.run(
        [program, "-r", rules, "-e", "json"],
        input=b"".join(line + b"\n" for line in lines),
        capture_output=True,
        check=True,
    )
    # It writes control characters as they are.
    found = [json.loads(line, strict=False)["cef"] for line in done.stdout.split(b"\n") if line]
    return [_cef(one) for one in found]


def _cef(one: dict) -> Cef:
    # It takes the first letter after the header for a blank, whatever it is.
    extension = {"rt" if key == "t" else key: value for key, value in one["Extensions"].items()}
    return Cef(
        one["DeviceVendor"],
        one["DeviceProduct"],
        one["DeviceVersion"],
        one["SignatureID"],
        one["Name"],
        severity=int(one["Severity"]),
        extension=extension,
    )
