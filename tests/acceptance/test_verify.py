"""`verify`, as an auditor uses it, on what the installed command has written."""

import gzip
import json
from pathlib import Path

import pytest

from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import Forwarder, parts

pytestmark = pytest.mark.real

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
categories = []
page_size = 50
[sources.again]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
page_size = 20
[store]
url = "sqlite:///{folder}/forwarder.db"
redact = {{ credentials = false }}
[server]
listen = ""
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
rotate = {{ size = "100KiB" }}
redact = {{ credentials = false }}
batch = {{ events = 20 }}
"""


async def test_a_rotated_and_compressed_archive_is_whole_and_every_tampering_shows(
    tmp_path: Path,
) -> None:
    simulator = Simulator(SimulatorOptions(history=600))
    async with serve(simulator) as bitbucket:
        token = simulator.options.token
        forwarder = Forwarder(
            tmp_path, CONFIG.format(bitbucket=bitbucket, token=token, folder=tmp_path)
        )
        assert (await forwarder.run("run", "--once")).returncode == 0
        for _ in range(3):  # more than one run, so that the chain goes on over restarts
            simulator.emit_any(60)
            assert (await forwarder.run("run", "--once")).returncode == 0
    status = json.loads((await forwarder.run("status", "--json")).stdout)
    heads = {each["name"]: each["chain"] for each in status["sources"]}
    given = [
        word
        for name, chain in heads.items()
        for word in ("--head", f"{name}={chain['sequence']}:{chain['digest']}")
    ]
    archive = str(tmp_path / "audit.jsonl")

    async def verify(*words: str) -> tuple[int, str]:
        done = await forwarder.run_bare("verify", archive, *words)
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout.decode()

    compressed = parts(tmp_path, "audit-*.jsonl.gz")
    assert len(compressed) > 2, "the file never rotated"
    assert await verify(*given) == (0, "")

    part = compressed[1]
    held = gzip.decompress(part.read_bytes()).splitlines(keepends=True)

    def rewrite(lines: list[bytes]) -> None:
        part.write_bytes(gzip.compress(b"".join(lines)))

    rewrite([held[0], held[1].replace(b'"severity":"', b'"severity":"\xc2\xad'), *held[2:]])
    code, said = await verify()
    assert code == 1
    assert said.startswith(f"{part}:2: is not what its digest says")
    assert said.count("\n") == 1

    rewrite([held[0], *held[2:]])
    code, said = await verify()
    assert code == 1
    assert said.startswith(f"{part}:")
    assert "1 event (" in said

    rewrite([held[0], *held])
    code, said = await verify()
    assert code == 1
    assert said.startswith(f"{part}:2: is there twice")

    part.write_bytes(gzip.compress(b"".join(held))[:-30])
    code, said = await verify()
    assert code == 1
    assert "cannot be unpacked" in said

    rewrite(held)
    last = tmp_path / "audit.jsonl"
    lines = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(b"".join(lines[:-1]))
    assert await verify() == (0, "")
    code, said = await verify(*given)
    assert code == 1
    assert "with the digest given is not there" in said
