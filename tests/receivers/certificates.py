"""A CA of the test's own, with a server's and a client's certificate, as PEM files."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the PEM files are. The server's certificate is for 127.0.0.1 and localhost."""

    ca_file: Path
    server_cert_file: Path
    server_key_file: Path
    client_cert_file: Path
    client_key_file: Path


def make_certificates(folder: Path) -> Certificates:
    """Make a new CA and both certificates in `folder`, which is made too."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, issued in (
        ("server", authority.issue_cert("127.0.0.1", "localhost", common_name="localhost")),
        ("client", authority.issue_cert("forwarder.example.com", common_name="forwarder")),
    ):
        for part in issued.cert_chain_pems:
            part.write_to_path(folder / f"{name}.pem", append=True)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    return Certificates(
        ca_file=folder / "ca.pem",
        server_cert_file=folder / "server.pem",
        server_key_file=folder / "server.key",
        client_cert_file=folder / "client.pem",
        client_key_file=folder / "client.key",
    )
