"""A certificate authority for development and tests: TLS on every listener without asking anybody.

For a real site take certificates of your own authority and name them in the settings.
"""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from connectors.identity.files import locked, read_secret, secret_folder, write_secret

_CA_DAYS, _LEAF_DAYS = 3650, 397
_RENEW = datetime.timedelta(days=30)
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM files."""

    certificate: Path
    key: Path


class DevelopmentCA:
    """An authority in a folder.

    Args:
        folder: Made with mode 0700.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def certificate(self) -> Path:
        """What clients check the server's certificate against."""
        return self.folder / "ca.pem"

    def server(self, names: Sequence[str] = LOCAL_NAMES) -> Pair:
        """Returns the server's certificate for host names and addresses.

        Made anew when it is missing, lacks a name or ends within 30 days.
        """
        pair = self._pair("server")
        if not self._holds(pair, names):
            self._issue("server", "vitals server", names, ExtendedKeyUsageOID.SERVER_AUTH)
        return pair

    def client(self, name: str) -> Pair:
        """Returns a client's certificate, made anew when it is missing or ends within 30 days."""
        pair = self._pair(f"client-{name}")
        if not self._holds(pair, ()):
            self._issue(f"client-{name}", name, (), ExtendedKeyUsageOID.CLIENT_AUTH)
        return pair

    def _pair(self, stem: str) -> Pair:
        return Pair(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")

    def _holds(self, pair: Pair, names: Sequence[str]) -> bool:
        if not (pair.certificate.exists() and pair.key.exists() and self.certificate.exists()):
            return False
        certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        if certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC) + _RENEW:
            return False
        if certificate.issuer != authority.subject:
            return False
        if not names:
            return True
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return all(_alternative(name) in list(held) for name in names)

    def _authority(self) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
        key_file = self.folder / "ca.key"
        if not (key_file.exists() and self.certificate.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vitals development CA")])
            made = _builder(name, name, key.public_key(), _CA_DAYS)
            made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            self._write(key_file, key)
            self.certificate.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        found = serialization.load_pem_private_key(read_secret(key_file).encode(), None)
        if not isinstance(found, EllipticCurvePrivateKey):
            message = f"{key_file} is no key of an elliptic curve"
            raise TypeError(message)
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()), found

    def _issue(self, stem: str, common_name: str, names: Sequence[str], usage: x509.ObjectIdentifier) -> None:
        secret_folder(self.folder)
        with locked(self.folder):
            authority, authority_key = self._authority()
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
            made = _builder(subject, authority.subject, key.public_key(), _LEAF_DAYS)
            made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            if names:
                made = made.add_extension(x509.SubjectAlternativeName(map(_alternative, names)), critical=False)
            pair = self._pair(stem)
            self._write(pair.key, key)
            signed = made.sign(authority_key, hashes.SHA256())
            pair.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _write(path: Path, key: EllipticCurvePrivateKey) -> None:
        secret_folder(path.parent)
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        write_secret(path, key.private_bytes(encoding, form, serialization.NoEncryption()).decode())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
