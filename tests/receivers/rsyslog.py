"""A real rsyslogd with a configuration of its own: UDP, TCP, TLS (both drivers), RELP."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psutil

from tests.receivers.certificates import Certificates
from tests.receivers.process import Daemon, free_port, required

PACKAGES = "rsyslog rsyslog-gnutls rsyslog-openssl rsyslog-relp"

Via = Literal["udp", "tcp", "tls", "relp", "relp+tls"]
Driver = Literal["gtls", "ossl"]

PROPERTIES = (
    "pri", "protocol-version", "timestamp", "hostname", "app-name", "procid", "msgid",
    "structured-data", "msg", "rawmsg",
)  # fmt: skip
_DATE = ' dateFormat="rfc3339" date.inUTC="on"'


class Rsyslog(Daemon):
    """Every queue of it is Direct, so what it took is written."""

    def __init__(
        self,
        folder: Path,
        *,
        via: Via = "tcp",
        driver: Driver = "ossl",
        certificates: Certificates | None = None,
        properties: Sequence[str] = PROPERTIES,
    ) -> None:
        kind: Literal["udp", "tcp"] = "udp" if via == "udp" else "tcp"
        super().__init__(folder, port=free_port(kind), kind=kind)
        self._via = via
        self._driver = driver
        self.certificates = certificates
        self._properties = properties

    @property
    def address(self) -> str:
        """What a user would type for it."""
        return f"{self._via}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it on its port; return when it listens."""
        self.starts += 1
        config = self.folder / "rsyslog.conf"
        config.write_text(self._config(self.output))
        program = required("rsyslogd", package=PACKAGES)
        pid_file = self.folder / f"rsyslogd-{self.starts}.pid"
        self.launch([program, "-n", "-f", str(config), "-i", str(pid_file)])

    def connections(self) -> int:
        """Return how many connections it holds open."""
        assert self._process is not None
        held = psutil.Process(self._process.pid).net_connections("tcp")
        return sum(one.status == psutil.CONN_ESTABLISHED for one in held)

    def log(self) -> str:
        """Return what it has said, over all its starts."""
        return (self.folder / "receiver.log").read_text("utf-8", "replace")

    def _config(self, output: Path) -> str:
        written = "\n".join(
            f'  property(outname="{name}" name="{name}" format="jsonf"'
            f"{_DATE if name == 'timestamp' else ''})"
            for name in self._properties
        )
        return f"""
global(workDirectory="{self.folder}" net.enableDNS="off"{self._global_tls()})
{self._input()}
main_queue(queue.type="Direct")
template(name="lines" type="list" option.jsonf="on") {{
{written}
}}
action(type="omfile" file="{output}" template="lines" asyncWriting="off" flushOnTXEnd="on")
"""

    def _global_tls(self) -> str:
        if self._via != "tls":
            return ""
        pems = self._pems()
        return (
            f' defaultNetstreamDriverCAFile="{pems.ca_file}"'
            f' defaultNetstreamDriverCertFile="{pems.server_cert_file}"'
            f' defaultNetstreamDriverKeyFile="{pems.server_key_file}"'
        )

    def _pems(self) -> Certificates:
        assert self.certificates is not None, "TLS needs certificates"
        return self.certificates

    def _input(self) -> str:
        where = f'port="{self.port}" address="127.0.0.1"'
        if self._via == "udp":
            return f'module(load="imudp")\ninput(type="imudp" {where} )'
        if self._via == "tcp":
            return f'module(load="imtcp")\ninput(type="imtcp" {where})'
        if self._via == "tls":
            return (
                f'module(load="imtcp" streamDriver.name="{self._driver}" streamDriver.mode="1"'
                f' streamDriver.authMode="x509/certvalid")\ninput(type="imtcp" {where})'
            )
        secured = ""
        if self._via == "relp+tls":
            pems = self._pems()
            secured = (
                f' tls="on" tls.caCert="{pems.ca_file}" tls.myCert="{pems.server_cert_file}"'
                f' tls.myPrivKey="{pems.server_key_file}" tls.authMode="certvalid"'
            )
        return f'module(load="imrelp")\ninput(type="imrelp" {where}{secured})'


@contextmanager
def rsyslogd(
    folder: Path,
    *,
    via: Via = "tcp",
    driver: Driver = "ossl",
    certificates: Certificates | None = None,
    properties: Sequence[str] = PROPERTIES,
) -> Iterator[Rsyslog]:
    """Run one until the block ends; `folder` has to exist, `properties` are what it writes."""
    receiver = Rsyslog(
        folder, via=via, driver=driver, certificates=certificates, properties=properties
    )
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
