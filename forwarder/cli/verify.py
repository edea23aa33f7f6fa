"""`verify`: is what the file sink has written whole and unchanged?"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from forwarder.cli.terminal import INCOMPLETE, OK, err, out, say_json, shown
from forwarder.span import many

if TYPE_CHECKING:
    from forwarder.chain import Check
    from forwarder.model import Link
    from forwarder.sinks.file.reading import Part

_SHOWN_EACH: Final = 5000  # lines, between two looks of the progress bar


def verify(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="As the file sink's `path`.")
    ],
    *,
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            metavar="SOURCE=SEQUENCE:DIGEST",
            help="A link that must be there, as `status --json` said it under `chain`.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Check a file sink's output from end to end: order, gaps, changed and doubled lines.

    Rotated parts of each FILE come first by themselves, compressed or not. Several FILEs are read
    as one, in the order given. Only the format `json` carries the chain that is checked. Lines cut
    off at the end show with --head alone. Exits 1 where anything is wrong.

    Examples:

      soteri-forwarder verify /var/log/soteri-forwarder/audit.jsonl

      soteri-forwarder verify audit.jsonl --head bitbucket=1234:5f0c…
    """
    from forwarder.chain import Check
    from forwarder.formats.json import VERSION

    check = Check(versions={VERSION}, heads=dict(map(_head, head or ())))
    paths = list(_present(files))
    problems: list[str] = []
    with _progress() as bar:
        size = sum(path.stat().st_size for path in _all(paths))
        task = bar.add_task("checking", total=size, lines=0)
        for problem in chain(_problems(check, paths, bar, task), check.end()):
            problems.append(problem)
            if not json:
                out.print(shown(problem))
    if json:
        sources = {
            name: {"lines": x.lines, "first": x.first, "last": x.last, "unlinked": x.unlinked}
            for name, x in check.sources.items()
        }
        told = {
            "whole": not problems,
            "problems": problems,
            "sources": sources,
            "tests": check.tests,
        }
        say_json(told)
    else:
        _summarize(check, len(problems))
    sys.exit(INCOMPLETE if problems else OK)


def _head(written: str) -> tuple[str, Link]:
    from forwarder.model import Link

    source, _, link = written.partition("=")
    sequence, _, digest = link.partition(":")
    if not source or not sequence.isdecimal() or len(digest) != 64:
        raise typer.BadParameter(
            f'"{written}" is no head: write SOURCE=SEQUENCE:DIGEST, the digest with 64 digits',
            param_hint="--head",
        )
    return source, Link(sequence=int(sequence), digest=digest.lower())


def _present(files: Iterable[Path]) -> Iterator[Path]:
    from forwarder.sinks.file.rotation import parts

    for path in files:
        try:
            found = path.is_file() or parts(path)
        except OSError as error:
            raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="FILE") from error
        if not found:
            raise typer.BadParameter(f"{path}: no such file", param_hint="FILE")
        yield path


def _all(paths: Iterable[Path]) -> Iterator[Path]:
    from forwarder.sinks.file.rotation import parts

    for path in paths:
        yield from (part for _, part in parts(path))
        if path.exists():
            yield path


def _problems(check: Check, paths: Iterable[Path], bar: Progress, task: TaskID) -> Iterator[str]:
    """Yield what is wrong, each with its file and line."""
    from forwarder.sinks.file.reading import opened

    read: set[tuple[int, int]] = set()
    done = total = 0
    for path in paths:
        try:
            for part in opened(path):
                status = part.path.stat()
                if (status.st_dev, status.st_ino) in read:  # given, and found as a part too
                    continue
                read.add((status.st_dev, status.st_ino))
                for number, problem in _lines(check, part):
                    if problem:
                        yield f"{part.path}:{number}: {problem}"
                    if (total := total + 1) % _SHOWN_EACH == 0:
                        bar.update(task, completed=done + part.raw.tell(), lines=total)
                done += part.raw.tell()
        except OSError as error:
            yield f"{error.filename or path}: cannot be read: {error.strerror or error}"


def _lines(check: Check, part: Part) -> Iterator[tuple[int, str]]:
    """Yield the number of each line, and what is wrong with it or nothing."""
    from forwarder.sinks.file.reading import LONGEST

    number = 0
    try:
        while line := part.lines.readline(LONGEST):
            number += 1
            if not line.endswith(b"\n"):
                if not part.is_current:
                    yield number, f"is cut off after {len(line):,} bytes"
                else:  # under way, or cut like any number of lines before it: see --head
                    err.print(f"{shown(str(part.path))}:{number}: has no end yet, not checked")
                continue
            yield number, check.add(line[:-1], f"{part.path.name}:{number}")
    except (EOFError, zlib.error, OSError) as error:
        yield number + 1, f"cannot be unpacked: {error}"


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[lines]:,} lines"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def _summarize(check: Check, problems: int) -> None:
    for source, found in check.sources.items():
        said = f"{shown(source)}: {many(found.lines, 'line')}"
        if found.first and found.last:
            said += f", sequence {found.first.sequence} to {found.last.sequence}"
            said += f", head {found.last.sequence}:{found.last.digest}"
            if found.first.sequence > 1:
                said += "; what came before the first is not here, so that one is taken as it is"
        if found.unlinked:
            said += f"; {found.unlinked:,} without a chain cannot be checked"
        err.print(said)
    if check.tests:
        err.print(f"{many(check.tests, 'test event')} (test-alert) in no chain")
    err.print(
        f"[red]{many(problems, 'problem')}[/]" if problems else "[green]whole and unchanged[/]"
    )
