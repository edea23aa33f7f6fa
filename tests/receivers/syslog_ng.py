"""A real syslog-ng with a configuration of its own: UDP, TCP, TLS; `make` unpacks it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.receivers.certificates import Certificates
from tests.receivers.process import Daemon, free_port, missing

PROGRAM = Path(__file__).parents[2] / ".tools" / "syslog-ng" / "run"


class SyslogNg(Daemon):
    """Holds messages in memory before it writes them: a stop writes them, a kill does not."""

    def __init__(
        self,
        folder: Path,
        *,
        via: Literal["udp", "tcp", "tls"] = "tcp",
        framing: Literal["octet-counting", "lf"] = "octet-counting",
        certificates: Certificates | None = None,
    ) -> None:
        kind: Literal["udp", "tcp"] = "udp" if via == "udp" else "tcp"
        super().__init__(folder, port=free_port(kind), kind=kind)
        self._via = via
        self._framing = framing
        self._certificates = certificates

    @property
    def address(self) -> str:
        """What a user would type for it."""
        return f"{self._via}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it on its port; return when it listens."""
        if not PROGRAM.exists():
            missing("syslog-ng is missing: tests/install-syslog-ng.sh .tools/syslog-ng")
        self.starts += 1
        config = self.folder / "syslog-ng.conf"
        config.write_text(self._config(self.output))
        places = {"-f": "conf", "-p": "pid", "-R": "persist", "-c": "ctl"}
        options = [part for flag, end in places.items() for part in (flag, self._place(end))]
        self.launch([str(PROGRAM), "-F", "-e", "--no-caps", *options])

    def _place(self, end: str) -> str:
        return str(self.folder / f"syslog-ng.{end}")

    def _config(self, output: Path) -> str:
        secured = ""
        if self._via == "tls":
            pems = self._certificates
            assert pems is not None, "TLS needs certificates"
            secured = (
                f' tls(key-file("{pems.server_key_file}") cert-file("{pems.server_cert_file}")'
                f' ca-file("{pems.ca_file}") peer-verify(required-trusted))'
            )
        # syslog() reads octet counting, network() lines (and datagrams).
        driver, flags = "syslog", ""
        if self._via == "udp" or self._framing == "lf":
            driver, flags = "network", " flags(syslog-protocol)"
        return f"""@version: current
options {{ keep-hostname(yes); use-dns(no); stats-freq(0); create-dirs(no); }};
source from_net {{
  {driver}(transport("{self._via}") ip("127.0.0.1") port({self.port}) log-msg-size(65536)
    max-connections(100){flags}{secured});
}};
destination to_file {{
  file("{output}" template("$(format-json --scope rfc5424 --scope sdata)\\n"));
}};
log {{ source(from_net); destination(to_file); flags(flow-control); }};
"""


@contextmanager
def syslog_ng(
    folder: Path,
    *,
    via: Literal["udp", "tcp", "tls"] = "tcp",
    framing: Literal["octet-counting", "lf"] = "octet-counting",
    certificates: Certificates | None = None,
) -> Iterator[SyslogNg]:
    """Run one until the block ends; `folder` has to exist."""
    receiver = SyslogNg(folder, via=via, framing=framing, certificates=certificates)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
