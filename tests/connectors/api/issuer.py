"""An OpenID Connect issuer: a real server with real keys, which tests rotate, break and stop."""

import base64
import hashlib
import hmac
import json
import threading
import time

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from connectors.local.ports import free_ports
from tests.waiting import until

AUDIENCE = "vitals-api"
_MAKE = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "weak": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505  (that it is refused is tested)
}


class Key:
    """A signing key of the issuer."""

    def __init__(self, kid, kind="RS256"):
        self.kid, self.kind, self.private = kid, kind, _MAKE[kind]()

    @property
    def jwk(self):
        algorithm = jwt.get_algorithm_by_name("ES256" if self.kind == "ES256" else "RS256")
        return {**algorithm.to_jwk(self.private.public_key(), as_dict=True), "kid": self.kid, "use": "sig"}

    @property
    def pem(self):
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Issuer:
    """Serves its keys; `asked` counts how often."""

    def __init__(self):
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/realms/hospital"
        self.keys = [Key("first"), Key("curve", "ES256")]
        self.asked, self.redirect, self.called = 0, "", self.url

    def start(self):
        prefix = "/realms/hospital"
        app = Starlette(
            routes=[
                Route(f"{prefix}/.well-known/openid-configuration", self._about),
                Route(f"{prefix}/keys", self._keys),
                Route("/elsewhere", self._keys),
            ]
        )
        self._server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=self.port, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started)
        return self

    def stop(self):
        self._server.should_exit = True
        self._thread.join(10)

    async def _about(self, _):
        return JSONResponse({"issuer": self.called, "jwks_uri": f"{self.url}/keys"})

    async def _keys(self, request):
        self.asked += 1
        if self.redirect and request.url.path != "/elsewhere":
            return RedirectResponse(self.redirect)
        return JSONResponse({"keys": [key.jwk for key in self.keys]})

    def claims(self, **changed):
        """What a clinician's token says; None leaves a claim out."""
        now = int(time.time())
        made = {"iss": self.url, "aud": AUDIENCE, "sub": "dr-strange", "iat": now, "exp": now + 300}
        made |= {"tenant": "ward", "roles": ["vitals-clinician", "other"]}
        return {name: value for name, value in (made | changed).items() if value is not None}

    def token(self, key=None, header=None, **changed):
        key = key or self.keys[0]
        algorithm = "ES256" if key.kind == "ES256" else "RS256"
        return jwt.encode(self.claims(**changed), key.private, algorithm, headers={"kid": key.kid, **(header or {})})


def by_hand(header, claims, secret=None):
    """A token that no library would make: any header, no signature or an HMAC with any bytes."""

    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    unsigned = part(json.dumps(header).encode()) + b"." + part(json.dumps(claims).encode())
    signature = b"" if secret is None else part(hmac.digest(secret, unsigned, hashlib.sha256))
    return (unsigned + b"." + signature).decode()
