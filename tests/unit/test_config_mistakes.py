"""Every mistake in the user's own words, with the remedy, all of them at once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from forwarder.config import Config, load
from forwarder.errors import ConfigError

GOOD = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "https://bitbucket.example.com"
token = "swordfish"

[sinks.splunk]
type = "splunk_hec"
url = "https://splunk.example.com:8088"
token = "swordfish"

[sinks.archive]
type = "file"
path = "/var/log/soteri-forwarder/audit.jsonl"
"""

Mistakes = Callable[..., list[str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.touch(0o600)
    return path


def loaded(path: Path | None, **environ: str) -> Config:
    nowhere = Path("/nonexistent/soteri-forwarder")
    return load(path, environ, default_file=nowhere / "config.toml", default_secrets=nowhere)


@pytest.fixture
def mistakes(file: Path) -> Mistakes:
    """Problems with `text`, without the file's folder in front."""

    def found(text: str, **environ: str) -> list[str]:
        file.write_text(text)
        with pytest.raises(ConfigError) as raised:
            loaded(file, **environ)
        assert "swordfish" not in str(raised.value)
        return [line.replace(f"{file.parent}/", "") for line in raised.value.problems]

    return found


def with_line(table: str, line: str) -> str:
    return GOOD.replace(f"[{table}]\n", f"[{table}]\n{line}\n")


def without(table: str, key: str) -> str:
    before, after = GOOD.split(f"[{table}]\n")
    lines = after.splitlines()
    lines.remove(next(line for line in lines if line.startswith(f"{key} =")))
    return f"{before}[{table}]\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("table", "line", "told"),
    [
        (
            "sources.bitbucket",
            "pagesize = 100",
            'config.toml: sources.bitbucket.pagesize: unknown key; did you mean "page_size"?',
        ),
        (
            "sinks.splunk",
            "batch.size = 5",
            "config.toml: sinks.splunk.batch.size: unknown key; known are age, bytes, events",
        ),
        (
            "sinks.splunk",
            'tokenfile = "/run/token"',
            'config.toml: sinks.splunk.tokenfile: unknown key; did you mean "token_file"?',
        ),
        (
            "sinks.splunk",
            "batch.events = 0",
            "config.toml: sinks.splunk.batch.events: must be greater than or equal to 1",
        ),
        (
            "sinks.splunk",
            'ack_timeout = "20m"',
            (
                'config.toml: sinks.splunk.ack_timeout: is longer than "10m": what stands still for'
                " 15m counts as stuck"
            ),
        ),
        (
            "sinks.splunk",
            'batch.events = "many"',
            "config.toml: sinks.splunk.batch.events: must be a whole number",
        ),
        ("sinks.splunk", 'ack = "perhaps"', "config.toml: sinks.splunk.ack: must be true or false"),
        ("sinks.splunk", "batch = 5", "config.toml: sinks.splunk.batch: must be a table"),
        ("sinks.splunk", "index = 5", "config.toml: sinks.splunk.index: must be text in quotes"),
        (
            "sinks.splunk",
            'compression = "gzp"',
            'config.toml: sinks.splunk.compression: must be "gzip" or "none"; did you mean "gzip"?',
        ),
        (
            "sinks.archive",
            'format = "jsn"',
            'config.toml: sinks.archive.format: unknown format; did you mean "json"?',
        ),
        (
            "sources.bitbucket",
            'overlap = "5"',
            (
                'config.toml: sources.bitbucket.overlap: "5" is not a duration: write a number and '
                'a unit, such as "30s", "5m", "24h", "7d"'
            ),
        ),
        (
            "sources.bitbucket",
            "overlap = 5",
            (
                'config.toml: sources.bitbucket.overlap: "5" is not a duration: write a number and '
                'a unit, such as "30s", "5m", "24h", "7d"'
            ),
        ),
        (
            "sinks.splunk",
            'batch.bytes = "1 Mb"',
            (
                'config.toml: sinks.splunk.batch.bytes: "1 Mb" is not a size: write a number and a '
                'unit, such as "900KiB", "100MiB", "1GiB"'
            ),
        ),
        (
            "sources.bitbucket",
            'categories = "Security"',
            'config.toml: sources.bitbucket.categories: must be a list, such as ["one", "two"]',
        ),
        (
            "sources.bitbucket",
            "categories = [1]",
            "config.toml: sources.bitbucket.categories.0: must be text in quotes",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_remedy(
    mistakes: Mistakes, table: str, line: str, told: str
):
    assert mistakes(with_line(table, line)) == [told]


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        (
            "FORWARDER_SINKS__SPLUNK__TOKN",
            "unknown variable; did you mean FORWARDER_SINKS__SPLUNK__TOKEN?",
        ),
        (
            "FORWARDER_SINKS__SPLUNK__BATHC__EVENTS",
            "unknown variable; did you mean FORWARDER_SINKS__SPLUNK__BATCH__EVENTS?",
        ),
        (
            "FORWARDER_SINKS__SPLUNK__BATCH_EVENTS",
            "unknown variable; did you mean FORWARDER_SINKS__SPLUNK__BATCH__EVENTS?",
        ),
        (
            "FORWARDER_SINKS__SPLUNK_TOKEN",
            "unknown variable; did you mean FORWARDER_SINKS__SPLUNK__TOKEN?",
        ),
        (
            "FORWARDER_SINK__SPLUNK__TOKEN",
            "unknown variable; did you mean FORWARDER_SINKS__SPLUNK__TOKEN?",
        ),
        (
            "FORWARDER_SINKS__SPLUNK__BATCH__SIZE",
            "unknown variable; known here are age, bytes, events",
        ),
        ("FORWARDER_LOGS__LEVEL", "unknown variable; did you mean FORWARDER_LOG__LEVEL?"),
        ("FORWARDER_LOG_LEVEL", "unknown variable; did you mean FORWARDER_LOG__LEVEL?"),
        ("FORWARDER_CONFG", "unknown variable; did you mean FORWARDER_CONFIG?"),
        ("FORWARDER_ZZZ", "unknown variable; no value has such a name: unset it"),
        ("FORWARDER_SERVER_LISTEN", "unknown variable; did you mean FORWARDER_SERVER__LISTEN?"),
        (
            "FORWARDER_SINKS__SPLUNG__TOKEN",
            (
                'there is no sink "splung"; did you mean FORWARDER_SINKS__SPLUNK__TOKEN? (a new '
                "one needs FORWARDER_SINKS__SPLUNG__TYPE: splunk_hec, cloudwatch_logs, syslog, "
                "file)"
            ),
        ),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_right_one(
    mistakes: Mistakes, variable: str, told: str
):
    assert mistakes(GOOD, **{variable: "swordfish"}) == [f"{variable}: {told}"]


def test_a_variable_that_hides_others_is_told(mistakes: Mistakes):
    told = mistakes(GOOD, FORWARDER_LOG="swordfish", FORWARDER_LOG__LEVEL="info")
    assert told == [
        "FORWARDER_LOG: must be a table: [log]",
        "FORWARDER_LOG__LEVEL: a variable with a shorter name hides it: unset that one",
    ]


def test_a_wrong_value_in_a_variable_is_told_by_the_variables_name(mistakes: Mistakes):
    assert mistakes(
        GOOD, FORWARDER_STORE__RETENTION="30", FORWARDER_SINKS__SPLUNK__BATCH__EVENTS="swordfish"
    ) == [
        "FORWARDER_SINKS__SPLUNK__BATCH__EVENTS: must be a whole number",
        (
            'FORWARDER_STORE__RETENTION: "30" is not a duration: write a number and a unit, '
            'such as "30s", "5m", "24h", "7d"'
        ),
    ]


def test_a_missing_key_is_named_with_its_variable(mistakes: Mistakes):
    assert mistakes(without("sinks.archive", "path")) == [
        (
            "config.toml: sinks.archive.path: is missing: write it, or set "
            "FORWARDER_SINKS__ARCHIVE__PATH"
        )
    ]


def test_a_missing_secret_is_named_with_every_way_to_give_it(mistakes: Mistakes):
    assert mistakes(without("sinks.splunk", "token")) == [
        (
            "config.toml: sinks.splunk.token: is missing: write token or token_file, or set "
            "FORWARDER_SINKS__SPLUNK__TOKEN or FORWARDER_SINKS__SPLUNK__TOKEN_FILE"
        )
    ]


def test_a_missing_type_is_told_with_the_types_that_there_are(mistakes: Mistakes):
    assert mistakes(without("sinks.splunk", "type")) == [
        (
            "config.toml: sinks.splunk.type: is missing: one of splunk_hec, cloudwatch_logs, "
            "syslog, file"
        )
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("splunk", 'unknown type; did you mean "splunk_hec"?'),
        ("kafka", "unknown type; known are splunk_hec, cloudwatch_logs, syslog, file"),
    ],
)
def test_an_unknown_type_is_told_with_those_that_there_are(
    mistakes: Mistakes, wrong: str, told: str
):
    assert mistakes(GOOD.replace("splunk_hec", wrong)) == [
        f"config.toml: sinks.splunk.type: {told}"
    ]


def test_a_misspelt_table_is_told_with_the_right_one(mistakes: Mistakes):
    assert mistakes(GOOD + '[stoer]\nurl = "x"\n') == [
        "config.toml: stoer: unknown table; did you mean store?"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sinks = 5\n", "config.toml: sinks: must be a table: [sinks.NAME]"),
        ("[[sinks]]\n", "config.toml: sinks: must be a table: [sinks.NAME]"),
        ("[sinks]\nx = 5\n", "config.toml: sinks.x: must be a table: [sinks.x]"),
        ("log = 5\n", "config.toml: log: must be a table: [log]"),
    ],
)
def test_what_should_be_a_table_is_told(mistakes: Mistakes, text: str, told: str):
    assert told in mistakes(text)


def test_without_sources_and_sinks_both_are_told(mistakes: Mistakes):
    assert mistakes("[log]\n") == [
        'config.toml: there is no source: add a table [sources.NAME] with type = "bitbucket_audit"',
        'config.toml: there is no sink: add a table [sinks.NAME] with type = "file"',
    ]


def test_every_mistake_is_told_at_once(mistakes: Mistakes):
    told = mistakes(
        """
        [sources.bitbucket]
        type = "bitbucket_audit"
        url = "bitbucket.example.com"
        pagesize = 10
        [sinks.Splunk]
        type = "splunk_hek"
        [sinks.one]
        type = "file"
        path = "/var/log/audit.jsonl"
        format = "jsn"
        batch.events = "many"
        [sinks.two]
        type = "file"
        path = "/var/log/../log/audit.jsonl"
        [log]
        level = "loud"
        """,
        FORWARDER_LOG__FROMAT="json",
        FORWARDER_SINCS__ONE__PATH="/x",
    )
    places = sorted(line.removeprefix("config.toml: ").split(":")[0] for line in told)
    assert places == [
        "FORWARDER_LOG__FROMAT",
        "FORWARDER_SINCS__ONE__PATH",
        "log.level",
        "sinks.Splunk",
        "sinks.Splunk.type",
        "sinks.one.batch.events",
        "sinks.one.format",
        "sinks.two.path",
        "sources.bitbucket.pagesize",
        "sources.bitbucket.url",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[sinks.x]\ntype = \n", "config.toml:2:8: not TOML: Invalid value"),
        ("[sinks.x\n", "config.toml:1:9: not TOML: "),
        ('[log]\nlevel = "info"\nlevel = "debug"\n', "config.toml:3:16: not TOML: "),
        ('x = "', "config.toml: not TOML: "),
    ],
)
def test_a_slip_in_the_toml_is_told_with_line_and_column(mistakes: Mistakes, text: str, told: str):
    (line,) = mistakes(text)
    assert line.startswith(told)


def test_a_file_that_is_no_text_is_told(file: Path):
    file.write_bytes(b'[log]\nlevel = "\xff"\n')
    with pytest.raises(ConfigError, match=r"config\.toml: is not UTF-8 text \(at byte 15\)"):
        loaded(file)


def test_a_file_that_is_not_there_is_told_with_the_search_order(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"does not exist \(looked for: --config, then FORWARD"):
        loaded(tmp_path / "none.toml")


def test_a_pipe_in_place_of_the_file_is_told():
    with pytest.raises(ConfigError, match="is not a file that can be read twice"):
        loaded(Path("/dev/null"))


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    "name", ["Splunk", "sp.lunk", "sp lunk", "sp__lunk", "splunk_", "_splunk", "spłunk"]
)
def test_a_name_that_cannot_be_a_variable_is_refused(mistakes: Mistakes, name: str):
    (line,) = mistakes(GOOD.replace("[sinks.splunk]", f'[sinks."{name}"]'))
    assert line == (
        f"config.toml: sinks.{name}: a name is lower-case letters, digits and -, and "
        "single _ between them"
    )


def test_two_names_that_are_one_variable_are_refused(mistakes: Mistakes):
    twin = GOOD.split("[sinks.archive]")[1].replace("audit.jsonl", "other.jsonl")
    assert mistakes(
        f"{GOOD}\n[sinks.a-b]{twin}\n[sinks.a_b]{twin.replace('other', 'another')}"
    ) == ["config.toml: sinks.a_b: cannot be told from sinks.a-b in the environment: rename one"]


def test_two_sinks_cannot_write_one_file(mistakes: Mistakes, tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    text = GOOD.replace("/var/log/soteri-forwarder", f"{tmp_path}/real")
    twin = f'[sinks.copy]\ntype = "file"\npath = "{tmp_path}/link/audit.jsonl"\n'
    assert mistakes(text + twin) == [
        (
            "config.toml: sinks.copy.path: sinks.archive writes this file too: give each sink a "
            "path of its own"
        )
    ]


def test_retention_must_cover_what_is_read_again(mistakes: Mistakes):
    text = with_line("sources.bitbucket", 'rescan_window = "48h"')
    assert mistakes(text, FORWARDER_STORE__RETENTION="47h") == [
        (
            "FORWARDER_STORE__RETENTION: is shorter than sources.bitbucket's rescan_window and "
            "overlap together (48.08h): events that are read again would be delivered again"
        )
    ]


def test_a_credential_in_a_url_is_refused_and_not_repeated(mistakes: Mistakes):
    (line,) = mistakes(GOOD.replace("https://splunk", "https://me:swordfish@splunk"))
    assert line.startswith("config.toml: sinks.splunk.url: ")
    assert "me:" not in line


def test_a_url_without_a_scheme_is_refused(mistakes: Mistakes):
    (line,) = mistakes(GOOD.replace("https://bitbucket", "bitbucket"))
    assert line.startswith("config.toml: sources.bitbucket.url: ")
    assert "https://" in line


def test_a_secret_given_twice_is_refused(mistakes: Mistakes):
    assert mistakes(with_line("sinks.splunk", 'token_file = "/run/token"')) == [
        "config.toml: sinks.splunk.token: given by value and by file: keep one"
    ]


def test_an_empty_secret_is_refused(mistakes: Mistakes):
    assert mistakes(GOOD, FORWARDER_SINKS__SPLUNK__TOKEN="") == [
        "FORWARDER_SINKS__SPLUNK__TOKEN: is empty"
    ]


def test_a_secret_that_is_no_text_is_refused(mistakes: Mistakes):
    text = without("sinks.splunk", "token").replace("splunk_hec", 'splunk_hec"\ntoken = 5\n#"')
    assert mistakes(text) == ["config.toml: sinks.splunk.token: must be text in quotes"]


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o606, 0o601])
def test_a_secret_file_that_everybody_can_read_is_refused(
    mistakes: Mistakes, tmp_path: Path, mode: int
):
    token = tmp_path / "token"
    token.write_text("swordfish")
    token.chmod(mode)
    (line,) = mistakes(GOOD, FORWARDER_SINKS__SPLUNK__TOKEN_FILE=str(token))
    assert line == (
        "FORWARDER_SINKS__SPLUNK__TOKEN_FILE: everybody on this machine can read or change token "
        f'(mode {mode:04o}): run "chmod o= token" (Kubernetes: defaultMode 0440)'
    )


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o660])
def test_a_secret_file_for_its_owner_and_group_is_accepted(file: Path, tmp_path: Path, mode: int):
    token = tmp_path / "token"
    token.write_text("swordfish")
    token.chmod(mode)
    file.write_text(GOOD)
    config = loaded(file, FORWARDER_SINKS__SPLUNK__TOKEN_FILE=str(token))
    assert config.sinks["splunk"].token.reveal() == "swordfish"


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "cannot be read: No such file"), (b"\n", "is empty"), (b"\xff", "is not UTF-8 text")],
)
def test_a_secret_file_that_holds_no_secret_is_told(
    mistakes: Mistakes, tmp_path: Path, content: bytes | None, told: str
):
    token = tmp_path / "token"
    if content is not None:
        token.touch(0o600)
        token.write_bytes(content)
    text = without("sinks.splunk", "token").replace(
        "[sinks.splunk]", f'[sinks.splunk]\ntoken_file = "{token}"'
    )
    (line,) = mistakes(text)
    assert line.startswith("config.toml: sinks.splunk.token_file: the secret file token ")
    assert told in line


def test_a_strange_file_in_a_secrets_directory_is_told(mistakes: Mistakes, tmp_path: Path):
    (tmp_path / "sinks__splunk__tokn").touch(0o600)
    (line,) = mistakes(GOOD, FORWARDER_SECRETS_DIR=str(tmp_path))
    assert line == 'sinks__splunk__tokn: unknown key; did you mean "token"?'


def test_a_file_that_is_no_text_in_a_secrets_directory_is_told(mistakes: Mistakes, tmp_path: Path):
    for name in ("sinks__splunk__index", "sinks__splunk__type", "sinks__archive__path"):
        (tmp_path / name).write_bytes(b"\xff")
    told = mistakes(GOOD, FORWARDER_SECRETS_DIR=str(tmp_path))
    assert "sinks__splunk__type: must be text in quotes" in told


def test_a_secrets_directory_that_is_a_file_is_told(mistakes: Mistakes, tmp_path: Path):
    (tmp_path / "file").touch()
    (line,) = mistakes(GOOD, FORWARDER_SECRETS_DIR=str(tmp_path / "file"))
    assert line.startswith("FORWARDER_SECRETS_DIR: ")


def test_a_secrets_directory_that_is_not_there_is_told(mistakes: Mistakes):
    (line,) = mistakes(GOOD, FORWARDER_SECRETS_DIR="/nonexistent")
    assert line == 'FORWARDER_SECRETS_DIR: directory "/nonexistent" does not exist'


def test_plain_http_with_a_token_is_a_warning(file: Path):
    file.write_text(GOOD.replace("https://splunk", "http://splunk"))
    assert loaded(file).warnings == (
        (
            f"{file}: sinks.splunk.url: is plain http: whoever is in between can read the "
            "credential; use https"
        ),
    )


@pytest.mark.parametrize("host", ["localhost:8088", "127.0.0.1:8088", "[::1]:8088"])
def test_plain_http_on_this_machine_is_none(file: Path, host: str):
    file.write_text(GOOD.replace("https://splunk.example.com:8088", f"http://{host}"))
    assert loaded(file).warnings == ()


FILES = """
[sources.files]
type = "bitbucket_audit_log"
paths = ["/var/audit"]
"""
SECOND = """
[sources.second]
type = "bitbucket_audit"
url = "https://bitbucket.example.com/"
token = "swordfish"
categories = []
"""
OLD = """
[sources.old]
type = "bitbucket_repository_audit"
url = "https://bitbucket.example.com"
token = "swordfish"
projects = ["SEC"]
"""


@pytest.mark.parametrize(
    ("more", "place"),
    [(FILES, "sources.files.identity"), (SECOND, "sources.second.identity")],
)
def test_two_ways_to_one_bitbucket_without_one_identity_are_a_warning(
    file: Path, more: str, place: str
):
    file.write_text(GOOD + more)
    (line,) = loaded(file).warnings
    assert line.startswith(f"{file}: {place}: ")
    assert "comes twice" in line
    assert line.endswith('set identity = "bitbucket"')
    file.write_text(GOOD + more + 'identity = "bitbucket"\n')
    assert loaded(file).warnings == ()


def test_the_older_road_beside_the_newer_to_one_bitbucket_is_a_warning(file: Path):
    file.write_text(GOOD + OLD)
    (line,) = loaded(file).warnings
    assert line.startswith(f"{file}: sources.old.type: asks the same Bitbucket as sources.bitbuck")


def test_two_bitbuckets_need_no_common_identity(file: Path):
    file.write_text(GOOD + SECOND.replace("bitbucket.example", "git.example"))
    assert loaded(file).warnings == ()


def test_a_certificate_that_is_not_verified_is_a_warning(file: Path):
    file.write_text(with_line("sinks.splunk", "tls.verify = false"))
    (line,) = loaded(file).warnings
    assert line.startswith(f"{file}: sinks.splunk.tls.verify: is false")


def test_a_secret_in_a_file_that_everybody_can_read_is_a_warning(file: Path):
    file.write_text(GOOD)
    file.chmod(0o644)
    assert [line.split(": ")[1] for line in loaded(file).warnings] == [
        "sources.bitbucket.token",
        "sinks.splunk.token",
    ]


def test_no_secret_is_in_any_shown_form(file: Path, tmp_path: Path):
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("swordfish")
    file.write_text(GOOD)
    config = loaded(file, FORWARDER_SOURCES__BITBUCKET__TOKEN_FILE=str(token))
    assert config.sources["bitbucket"].token.reveal() == "swordfish"
    assert config.sinks["splunk"].token.reveal() == "swordfish"
    shown = [repr(config), str(config), TypeAdapter(Config).dump_json(config).decode()]
    for part in (*config.sources.values(), *config.sinks.values()):
        shown += [repr(part), part.model_dump_json(), repr(part.model_dump())]
        shown += [json.dumps(part.model_dump(mode="json"))]
    assert not [form for form in shown if "swordfish" in form]


def test_a_file_without_a_mistake_raises_nothing(file: Path):
    file.write_text(GOOD)
    assert list(loaded(file).sinks) == ["splunk", "archive"]
