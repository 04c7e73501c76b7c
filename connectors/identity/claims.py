"""NATS identities: nkeys (Ed25519) and the JWTs they sign (version 2), as the server reads them.

Format: https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt. There is no maintained
Python library for the JWTs; the signatures are those of the package `nkeys`.
"""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import nkeys

Kind = Literal["operator", "account", "user"]
Claims = dict[str, Any]

_PREFIX: dict[Kind, int] = {
    "operator": nkeys.PREFIX_BYTE_OPERATOR,
    "account": nkeys.PREFIX_BYTE_ACCOUNT,
    "user": nkeys.PREFIX_BYTE_USER,
}
_TOKEN = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s")
_PUBLIC_BYTES = 35
"""Of a decoded public key: prefix, 32 bytes, CRC16."""


class ClaimsError(ValueError):
    """A token or key is not what it should be."""


@dataclass(frozen=True)
class Key:
    """A signing key.

    Attributes:
        seed: The secret, as nkeys write it (`SO...`, `SA...`, `SU...`); never printed.
    """

    seed: str

    def __repr__(self) -> str:
        return f"Key({self.public})"

    @classmethod
    def new(cls, kind: Kind) -> "Key":
        """Makes a key from the system's random numbers."""
        return cls(nkeys.encode_seed(secrets.token_bytes(32), _PREFIX[kind]).decode())

    @property
    def public(self) -> str:
        """The public key, which names its owner (`O...`, `A...`, `U...`)."""
        return str(nkeys.from_seed(self.seed.encode()).public_key.decode())

    def sign(self, data: bytes) -> bytes:
        """Returns the Ed25519 signature."""
        return bytes(nkeys.from_seed(self.seed.encode()).sign(data))


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


_HEADER = _b64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())


def encode(
    signer: Key, subject: str, name: str, nats: Mapping[str, Any], *, expires_s: int = 0, issued_s: int | None = None
) -> str:
    """Returns a signed token.

    Args:
        signer: Who vouches: the operator for accounts, an account's key for its users.
        subject: Public key of whom it is about.
        name: For people.
        nats: The part `nats` of the claims without its version.
        expires_s: When it ends, s since 1970; 0 for never.
        issued_s: When it was made, s since 1970; now when absent.
    """
    issued = int(time.time()) if issued_s is None else issued_s
    body: Claims = {"iat": issued, "iss": signer.public, "name": name, "sub": subject}
    body["nats"] = {**nats, "version": 2}
    if expires_s:
        body["exp"] = expires_s
    digest = hashlib.sha512(json.dumps(body, sort_keys=True).encode()).digest()[:32]
    body["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    unsigned = f"{_HEADER}.{_b64(json.dumps(body, separators=(',', ':')).encode())}"
    return f"{unsigned}.{_b64(signer.sign(unsigned.encode()))}"


def decode(token: str) -> Claims:
    """Returns the claims of a token that its issuer signed; who that is and whether it is believed is not checked.

    Raises:
        ClaimsError: It is no token, or the signature is not the issuer's.
    """
    try:
        header, body, signature = token.strip().split(".")
        claims = json.loads(_unb64(body))
        public = base64.b32decode(claims["iss"] + "=" * (-len(claims["iss"]) % 8))
        if len(public) != _PUBLIC_BYTES:
            message = "the issuer is no nkey"
            raise ClaimsError(message)
        verifier = nkeys.nacl.signing.VerifyKey(public[1:33])
        verifier.verify(f"{header}.{body}".encode(), _unb64(signature))
    except nkeys.nacl.exceptions.BadSignatureError:
        message = "the signature is not the issuer's"
        raise ClaimsError(message) from None
    except ClaimsError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        message = f"no token: {error}"
        raise ClaimsError(message) from error
    return dict(claims)


def subject_of(credentials: str) -> str:
    """Returns the public key that the text of a `.creds` file is about.

    Raises:
        ClaimsError: It is none.
    """
    found = _TOKEN.search(credentials)
    if found is None:
        message = "no NATS USER JWT"
        raise ClaimsError(message)
    return str(decode(found.group(1))["sub"])


def credentials_file(token: str, seed: str) -> str:
    """Returns the text of a `.creds` file, which every NATS client reads."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
