"""Where a value comes from, and which one holds."""

from collections.abc import Callable
from pathlib import Path

import pytest

from forwarder.config import Config, load
from forwarder.errors import AccessError, ConfigError

FILE = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "https://bitbucket.example.com"
token = "in-the-file"

[store]
url = "sqlite:////var/lib/soteri-forwarder/forwarder.db"

[sinks.my-splunk]
type = "splunk_hec"
url = "https://splunk.example.com:8088"
token = "in-the-file"
batch.events = 10
batch.age = "2s"
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch(0o600)
        path.write_text(text)
        return path

    return written


def loaded(path: Path | None, **environ: str) -> Config:
    nowhere = Path("/nonexistent/soteri-forwarder")
    return load(path, environ, default_file=nowhere / "config.toml", default_secrets=nowhere)


def test_the_file_alone_is_enough(write: Write):
    config = loaded(write("config.toml", FILE))
    assert list(config.sources) == ["bitbucket"]
    assert config.sources["bitbucket"].url == "https://bitbucket.example.com"
    assert config.sinks["my-splunk"].batch.events == 10
    assert config.sinks["my-splunk"].batch.age == 2.0
    assert config.store.retention == 30 * 86400
    assert config.log.level == "info"


def test_a_variable_covers_one_leaf_and_leaves_its_neighbours(write: Write):
    config = loaded(write("config.toml", FILE), FORWARDER_SINKS__MY_SPLUNK__BATCH__EVENTS="20")
    assert config.sinks["my-splunk"].batch.events == 20
    assert config.sinks["my-splunk"].batch.age == 2.0


@pytest.mark.parametrize("name", ["MY_SPLUNK", "my-splunk", "My_Splunk"])
def test_a_variable_finds_the_name_in_the_file_whatever_its_case(write: Write, name: str):
    config = loaded(
        write("config.toml", FILE), **{f"FORWARDER_SINKS__{name}__TOKEN": "from-outside"}
    )
    assert list(config.sinks) == ["my-splunk"]
    assert config.sinks["my-splunk"].token.reveal() == "from-outside"


def test_variables_alone_are_enough():
    config = loaded(
        None,
        FORWARDER_SOURCES__BITBUCKET__TYPE="bitbucket_audit",
        FORWARDER_SOURCES__BITBUCKET__URL="https://bitbucket.example.com",
        FORWARDER_SOURCES__BITBUCKET__TOKEN="t",
        FORWARDER_SINKS__ARCHIVE__TYPE="file",
        FORWARDER_SINKS__ARCHIVE__PATH="/var/log/audit.jsonl",
        FORWARDER_LOG__LEVEL="debug",
    )
    assert config.sinks["archive"].path == Path("/var/log/audit.jsonl")
    assert config.log.level == "debug"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Security, Repositories", ["Security", "Repositories"]),
        ('["One, with a comma", "Two"]', ["One, with a comma", "Two"]),
        ("Soteri Security for Bitbucket", ["Soteri Security for Bitbucket"]),
        ("", []),
        ("[]", []),
    ],
)
def test_lists_are_text_between_commas_or_json(write: Write, text: str, meant: list[str]):
    config = loaded(write("config.toml", FILE), FORWARDER_SOURCES__BITBUCKET__CATEGORIES=text)
    assert list(config.sources["bitbucket"].categories) == meant


def test_numbers_and_switches_are_read_from_text(write: Write):
    config = loaded(
        write("config.toml", FILE),
        FORWARDER_SINKS__MY_SPLUNK__ACK="false",
        FORWARDER_SINKS__MY_SPLUNK__TLS__VERIFY="true",
        FORWARDER_SOURCES__BITBUCKET__PAGE_SIZE="500",
        FORWARDER_STORE__RETENTION="90d",
    )
    assert config.sinks["my-splunk"].ack is False
    assert config.sinks["my-splunk"].tls.verify is True
    assert config.sources["bitbucket"].page_size == 500
    assert config.store.retention == 90 * 86400


def test_text_that_looks_like_json_stays_text(write: Write):
    config = loaded(write("config.toml", FILE), FORWARDER_SINKS__MY_SPLUNK__INDEX="2026")
    assert config.sinks["my-splunk"].index == "2026"


def test_a_secret_comes_from_a_file_named_in_the_file(write: Write):
    token = write("token", "from-a-file\n")
    text = FILE.replace('token = "in-the-file"', f'token_file = "{token}"')
    config = loaded(write("config.toml", text))
    assert config.sinks["my-splunk"].token.reveal() == "from-a-file"


def test_a_secret_comes_from_a_file_named_in_a_variable_over_a_value(write: Write):
    token = write("token", "from-a-file\n")
    config = loaded(write("config.toml", FILE), FORWARDER_SINKS__MY_SPLUNK__TOKEN_FILE=str(token))
    assert config.sinks["my-splunk"].token.reveal() == "from-a-file"


def test_a_secret_in_a_variable_covers_a_file_named_in_the_file(write: Write):
    text = FILE.replace('token = "in-the-file"', 'token_file = "/nonexistent"')
    config = loaded(
        write("config.toml", text),
        FORWARDER_SINKS__MY_SPLUNK__TOKEN="from-outside",
        FORWARDER_SOURCES__BITBUCKET__TOKEN="from-outside",
    )
    assert config.sinks["my-splunk"].token.reveal() == "from-outside"


@pytest.mark.parametrize("variable", ["FORWARDER_SECRETS_DIR", "CREDENTIALS_DIRECTORY"])
def test_a_secrets_directory_covers_the_file_and_a_variable_covers_both(
    write: Write, variable: str
):
    directory = write("secrets/sinks__my-splunk__token", "from-the-directory\n").parent
    write("secrets/sources__bitbucket__token", "from-the-directory")
    config = loaded(
        write("config.toml", FILE),
        **{variable: str(directory)},
        FORWARDER_SOURCES__BITBUCKET__TOKEN="from-a-variable",
    )
    assert config.sinks["my-splunk"].token.reveal() == "from-the-directory"
    assert config.sources["bitbucket"].token.reveal() == "from-a-variable"


def test_systemds_credentials_cover_the_secrets_directory(write: Write):
    ours = write("secrets/sinks__my_splunk__token", "from-the-directory").parent
    systemds = write("credentials/sinks__my_splunk__token", "from-systemd").parent
    config = loaded(
        write("config.toml", FILE),
        FORWARDER_SECRETS_DIR=str(ours),
        CREDENTIALS_DIRECTORY=str(systemds),
    )
    assert config.sinks["my-splunk"].token.reveal() == "from-systemd"


def test_the_default_secrets_directory_is_read_where_it_exists(write: Write, tmp_path: Path):
    directory = write("secrets/SINKS__MY_SPLUNK__TOKEN", "from-the-directory").parent
    config = load(write("config.toml", FILE), {}, default_secrets=directory)
    assert config.sinks["my-splunk"].token.reveal() == "from-the-directory"


def test_a_secrets_directory_may_hold_what_is_no_secret(write: Write):
    directory = write("secrets/sinks__my_splunk__index", "audit\n").parent
    write("secrets/somebody-elses.pem", "not ours")
    config = loaded(write("config.toml", FILE), FORWARDER_SECRETS_DIR=str(directory))
    assert config.sinks["my-splunk"].index == "audit"


def test_secrets_as_kubernetes_mounts_them_are_found_and_change_with_the_mount(
    write: Write, tmp_path: Path
):
    write("secrets/..first/sinks__my-splunk__token".replace("..first/", ""), "unused").unlink()
    mount = tmp_path / "secrets"
    for version, token in (("..1", "first"), ("..2", "second")):
        (mount / version).mkdir()
        (mount / version / "sinks__my-splunk__token").touch(0o440)
        (mount / version / "sinks__my-splunk__token").write_text(token)
    (mount / "..data").symlink_to("..1")
    (mount / "sinks__my-splunk__token").symlink_to("..data/sinks__my-splunk__token")
    token = (
        loaded(write("config.toml", FILE), FORWARDER_SECRETS_DIR=str(mount))
        .sinks["my-splunk"]
        .token
    )
    assert token.reveal() == "first"
    (mount / "..next").symlink_to("..2")
    (mount / "..next").rename(mount / "..data")
    assert token.reveal() == "second"


def test_a_secret_file_is_read_again_when_it_has_changed(write: Write):
    path = write("token", "first\n")
    text = FILE.replace('token = "in-the-file"', f'token_file = "{path}"')
    token = loaded(write("config.toml", text)).sinks["my-splunk"].token
    assert token.reveal() == "first"
    path.write_text("the second\n")
    assert token.reveal() == "the second"
    path.unlink()
    with pytest.raises(AccessError, match="cannot be read"):
        token.reveal()


def test_the_file_is_found_by_option_then_variable_then_default(write: Write):
    def named(name: str) -> Path:
        return write(f"{name}.toml", FILE.replace("my-splunk", name))

    environ = {"FORWARDER_CONFIG": str(named("variable"))}
    assert list(load(named("option"), environ, default_file=named("default")).sinks) == ["option"]
    assert list(load(None, environ, default_file=named("default")).sinks) == ["variable"]
    assert list(load(None, {}, default_file=named("default")).sinks) == ["default"]


def test_without_file_and_variables_the_search_is_told():
    with pytest.raises(ConfigError) as raised:
        loaded(None, PATH="/bin")
    (line,) = raised.value.problems
    assert "--config" in line
    assert "FORWARDER_CONFIG" in line
    assert "/nonexistent/soteri-forwarder/config.toml" in line


def test_variables_that_kubernetes_sets_for_a_service_named_forwarder_are_left_alone(write: Write):
    config = loaded(
        write("config.toml", FILE),
        FORWARDER_SERVICE_HOST="10.0.0.1",
        FORWARDER_SERVICE_PORT="9187",
        FORWARDER_SERVICE_PORT_METRICS="9187",
        FORWARDER_PORT="tcp://10.0.0.1:9187",
        FORWARDER_PORT_9187_TCP="tcp://10.0.0.1:9187",
        FORWARDER_PORT_9187_TCP_ADDR="10.0.0.1",
        FORWARDER_METRICS_SERVICE_HOST="10.0.0.1",
    )
    assert config.warnings == ()
