"""README, docs, map: each link leads somewhere, each command and path that is named is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from click import Command

import forwarder
from forwarder.cli import app

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", TOP / "CHANGELOG.md", *sorted(TOP.glob("docs/*.md"))]
PAGES += sorted(TOP.glob("deploy/**/*.md"))
FOLDERS = "config|deploy|docs|forwarder|tests"
page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))


def bare(text: str) -> str:
    """Return prose without code, where no link is one."""
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return what can follow ``#``, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


@page
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", bare(page.read_text()))
    for target, _, anchor in (each.partition("#") for each in links if "://" not in each):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


@page
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]+[\w/])", page.read_text())
    assert [each for each in named if not (TOP / each).exists() and "NAME" not in each] == []


def verbs(command: Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """Yield each verb with its options."""
    for name, verb in getattr(command, "commands", {}).items():
        yield from verbs(verb, (*path, name))
    options = {each for given in command.params for each in (*given.opts, *given.secondary_opts)}
    yield " ".join(path), options | {"--help", "--version", "-h"}


KNOWN = dict(verbs(typer.main.get_command(app)))


@page
def test_every_verb_and_option_that_is_shown_exists(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    begun = r"(?:^|`|[$;|] |sudo |exec \S+ |-- )soteri-forwarder "
    shown = re.findall(begun + r"((?:[a-z][a-z-]* ?){1,2})([^\n`|]*)", text, re.MULTILINE)
    for words, rest in shown:
        verb = next((each for each in (words.strip(), words.split()[0]) if each in KNOWN), None)
        assert verb is not None, words
        strange = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest.split("#")[0])) - KNOWN[verb]
        assert not strange, f"{verb} has no {strange}"


def test_every_target_that_is_shown_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    shown = {
        each for page in PAGES for each in re.findall(r"`?\bmake ([a-z-]+)`", page.read_text())
    }
    assert shown <= targets


def test_the_map_of_the_tree_names_every_module_and_no_other() -> None:
    drawn = set(re.findall(r" ([a-z_]+(?:\.py|/))[: ]", forwarder.__doc__ or ""))
    folder = Path(forwarder.__file__).parent
    there = {f"{each.parent.name}/" for each in folder.glob("*/__init__.py")}
    there |= {each.name for each in folder.glob("[!_]*.py")}
    assert drawn == there
