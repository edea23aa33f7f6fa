"""Sources, sinks and formats of other packages, installed as pip installs them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MODULE = '''
"""A package that knows nothing of the forwarder's inside."""
from typing import Literal

from forwarder.options import SinkOptions, SourceOptions
from forwarder.secret import Secret


class PigeonConfig(SinkOptions):
    """A sink."""

    type: Literal["pigeon"]
    loft: str
    token: Secret
    grains: tuple[int, ...] = ()


class OwlConfig(SourceOptions):
    """A source."""

    type: Literal["owl"]
    tree: str


class Coo:
    """A format."""

    media_type = "text/plain"

    def encode(self, event):
        """Return it."""
        return b"coo"


COO = Coo()
'''
ENTRY_POINTS = """
[forwarder.sinks]
pigeon = pigeons:PigeonConfig
broken = pigeons.missing:Config

[forwarder.sources]
owl = pigeons:OwlConfig

[forwarder.formats]
coo = pigeons:COO
"""
LOAD = """
import json, sys
from pathlib import Path
from forwarder.config import format_named, load
from forwarder.errors import ConfigError
loaded_at_first = "pigeons" in sys.modules
try:
    config = load(Path(sys.argv[1]))
except ConfigError as error:
    print(json.dumps({"problems": error.problems}))
else:
    sink = next(iter(config.sinks.values()))
    print(json.dumps({
        "early": loaded_at_first,
        "late": "pigeons" in sys.modules,
        "sink": sink.model_dump(mode="json"),
        "source": next(iter(config.sources.values())).type,
        "encoded": format_named(sink.format).encode(None).decode() if sink.format == "coo" else "",
    }))
"""
FILE = """
[sources.wood]
type = "owl"
tree = "oak"
[sinks.post]
type = "pigeon"
loft = "north"
token = "swordfish"
grains = [1, 2]
format = "coo"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages: a module, and the dist-info that names its entry points."""
    site = tmp_path / "site"
    about = site / "pigeons-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "pigeons.py").write_text(MODULE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    return site


def loaded(site: Path, text: str, **environ: str) -> dict[str, Any]:
    path = site.parent / "config.toml"
    path.touch(0o600)
    path.write_text(text)
    here = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", LOAD, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{here}:{site}", **environ},
    )
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def test_another_packages_source_sink_and_format_are_found_by_their_names(site: Path):
    answer = loaded(site, FILE, FORWARDER_SINKS__POST__GRAINS="3,4")
    assert answer["source"] == "owl"
    assert answer["sink"]["loft"] == "north"
    assert answer["sink"]["grains"] == [3, 4]
    assert answer["sink"]["token"] == "*" * 10
    assert answer["encoded"] == "coo"


def test_another_package_is_imported_only_when_it_is_configured(site: Path):
    answer = loaded(site, FILE)
    assert (answer["early"], answer["late"]) == (False, True)
    ours = """
    [sources.bitbucket]
    type = "bitbucket_audit"
    url = "https://bitbucket.example.com"
    token = "t"
    [sinks.archive]
    type = "file"
    path = "/var/log/audit.jsonl"
    """
    assert loaded(site, ours)["late"] is False


def test_mistakes_in_another_packages_table_are_told_like_ours(site: Path):
    text = FILE.replace("loft", "lotf").replace('"coo"', '"cooo"')
    told = [line.split(": ", 1)[1] for line in loaded(site, text)["problems"]]
    assert told == [
        "sinks.post.loft: is missing: write it, or set FORWARDER_SINKS__POST__LOFT",
        'sinks.post.lotf: unknown key; did you mean "loft"?',
        'sinks.post.format: unknown format; did you mean "coo"?',
    ]


def test_a_misspelt_type_is_told_with_another_packages_types_too(site: Path):
    (told,) = loaded(site, FILE.replace('"pigeon"', '"pigoen"'))["problems"]
    assert told.endswith('sinks.post.type: unknown type; did you mean "pigeon"?')


def test_another_package_that_cannot_be_imported_is_told(site: Path):
    (told,) = loaded(site, FILE.replace('"pigeon"', '"broken"'))["problems"]
    assert "broken of pigeons.missing:Config cannot be imported" in told
