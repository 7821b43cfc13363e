"""A private certificate authority and what it signs, as files a server can read."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Tls:
    """The files one side of a TLS connection needs."""

    ca: Path
    cert: Path
    key: Path


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder: Path, name: str = "relay tests") -> None:
        self.folder = folder
        self._authority = trustme.CA(organization_name=name)
        self.ca = folder / f"{name.replace(' ', '-')}-ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(self, *identities: str, common_name: str | None = None) -> Tls:
        """A certificate for those host names or addresses; a client's user is its `common_name`."""
        leaf = self._authority.issue_cert(*identities, common_name=common_name)
        stem = self.folder / (common_name or identities[0]).replace("*", "star")
        cert, key = stem.with_suffix(".cert.pem"), stem.with_suffix(".key.pem")
        cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return Tls(ca=self.ca, cert=cert, key=key)
