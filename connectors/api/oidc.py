"""Bearer tokens of an OpenID Connect issuer: who asks, of which organisation, with which role.

The issuer's keys are fetched and kept here; a request never waits for the issuer, except one whose key is not known
yet, and those are rare whatever is sent. While the issuer is away its last keys are good for `oidc.stale_s`; without
any, nobody is let in. Which signature a key may make is decided by the key: what a token says of itself chooses among
these.
"""

import asyncio
import http.client
import json
import logging
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from prometheus_client import Counter

from connectors.api.access import Identity, Role
from connectors.api.problems import ProblemError
from connectors.local.ports import LOOPBACK_HOSTS
from dataflows.contracts.frames import is_token
from dataflows.settings import OidcSettings

logger = logging.getLogger(__name__)
FETCHES = Counter("vitals_api_oidc_fetches", "Times that the issuer was asked for its keys", ["outcome"])

Keys = dict[tuple[str, str], Any]
"""Public keys by (key id, signature)."""

_MAX_TOKEN_BYTES = 8 << 10
_MAX_ANSWER_BYTES = 1 << 20
_LEAST_RSA_BITS = 2048
_RETRY_S = 5.0
"""Pause after a failure, and between fetches for keys that are not known."""
_FAMILIES = {"RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "Ed25519": ("EdDSA",)}
_FAMILIES |= {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
_NAME = re.compile(r"[\x21-\x7e]{1,100}")
_WRONG: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for somebody else (aud)",
    jwt.InvalidIssuerError: "it is from somebody else (iss)",
    jwt.InvalidSignatureError: "its signature is not the issuer's",
}


class IssuerError(Exception):
    """The issuer does not answer, or not as an issuer does; says how."""


class Issuer:
    """Believes the tokens of one issuer.

    Args:
        settings: Which, and what its tokens must say.
        clock: Seconds, monotonic.
    """

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._keys: Keys = {}
        self._fetched_s = self._tried_s = float("-inf")
        self._fetching = asyncio.Lock()

    async def run(self) -> None:
        """Keeps the keys current until cancelled."""
        while True:
            fetched = await self._fetch()
            await asyncio.sleep(self._settings.refresh_s if fetched else min(_RETRY_S, self._settings.refresh_s))

    async def ready_for(self, token: str) -> None:
        """Fetches the keys if they lack this token's: the issuer has made a new one."""
        header = _header(token)
        if header is None or not self._lacks(header):
            return
        async with self._fetching:  # those that came meanwhile find what the first one fetched
            if self._lacks(header) and self._clock() - self._tried_s >= _RETRY_S:
                await self._fetch_now()

    def identify(self, token: str) -> Identity:
        """Returns whose token it is.

        Raises:
            ProblemError: It is not good here (401), or gives no role or organisation (403), or the issuer's keys are
                not known now (503).
        """
        if self._clock() - self._fetched_s > self._settings.stale_s:
            raise ProblemError(503, "the keys of the identity provider are not known now: try again later")
        return self._identity(self._claims(token))

    def _claims(self, token: str) -> dict[str, Any]:
        header = _header(token)
        if header is None or "crit" in header:
            raise ProblemError(401, "this token is none that is understood here")
        kid, algorithm = header.get("kid"), header.get("alg")
        key = self._keys.get((kid, algorithm)) if isinstance(kid, str) and isinstance(algorithm, str) else None
        if key is None:
            raise ProblemError(401, "this token is not good here: its key or its kind of signature is not the issuer's")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[str(algorithm)],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=self._settings.leeway_s,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.MissingRequiredClaimError as error:
            raise ProblemError(401, f"this token is not good here: {error.claim} is missing") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            why = next((text for kind, text in _WRONG.items() if isinstance(error, kind)), "it cannot be read")
            raise ProblemError(401, f"this token is not good here: {why}") from None
        return claims

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        settings = self._settings
        name, tenant = _claim(claims, settings.name_claim), _claim(claims, settings.tenant_claim)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ProblemError(403, f"this token does not say who it is ({settings.name_claim})")
        if isinstance(tenant, list) and len(tenant) == 1:
            (tenant,) = tenant
        if not isinstance(tenant, str) or not is_token(tenant):
            raise ProblemError(403, f"this token names no organisation ({settings.tenant_claim})")
        given = _claim(claims, settings.role_claim)
        listed = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
        names = [one for one in listed if isinstance(one, str)]
        known = {settings.viewer: Role.VIEWER, settings.clinician: Role.CLINICIAN, settings.admin: Role.ADMIN}
        roles = [role for called, role in known.items() if called in names]
        if not roles:
            raise ProblemError(403, f"this token gives no role here ({settings.role_claim})")
        # Marked, so that nobody who chooses his name at the issuer passes for the owner of a key.
        return Identity(f"oidc:{name}", max(roles), tenant, float(claims["exp"]) + settings.leeway_s)

    def _lacks(self, header: Mapping[str, Any]) -> bool:
        return not any(kid == header.get("kid") for kid, _ in self._keys)

    async def _fetch(self) -> bool:
        async with self._fetching:
            return await self._fetch_now()

    async def _fetch_now(self) -> bool:
        self._tried_s = self._clock()
        try:
            self._keys = await asyncio.to_thread(fetch_keys, self._settings)
        except IssuerError as error:
            FETCHES.labels("failed").inc()
            logger.warning("no keys from %s: %s", self._settings.issuer, error)
            return False
        self._fetched_s = self._clock()
        FETCHES.labels("done").inc()
        return True


def fetch_keys(settings: OidcSettings) -> Keys:
    """Returns the keys that the issuer publishes now.

    Raises:
        IssuerError: It does not answer, or has none that can be used.
    """
    about = _get(settings, settings.issuer.rstrip("/") + "/.well-known/openid-configuration")
    if about.get("issuer") != settings.issuer:
        message = f"it calls itself {str(about.get('issuer'))[:100]!r}"
        raise IssuerError(message)
    listed = _get(settings, str(about.get("jwks_uri"))).get("keys")
    found: Keys = {}
    for jwk in listed if isinstance(listed, list) else []:
        if isinstance(jwk, dict):
            found |= _usable(jwk, settings.algorithms)
    if not found:
        message = f"it publishes no key for {', '.join(settings.algorithms)}"
        raise IssuerError(message)
    return found


def _usable(jwk: Mapping[str, Any], believed: list[Any]) -> Keys:
    """What a published key may sign; nothing when it is no public key for signatures."""
    kid, kind = jwk.get("kid"), jwk.get("kty")
    family = _FAMILIES.get(str(kind if kind == "RSA" else jwk.get("crv")), ())
    names = [name for name in family if name in believed and jwk.get("alg", name) == name]
    if not isinstance(kid, str) or kind not in {"RSA", "EC", "OKP"} or jwk.get("use", "sig") != "sig" or "d" in jwk:
        return {}
    try:
        made = {(kid, name): jwt.get_algorithm_by_name(name).from_jwk(dict(jwk)) for name in names}
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        logger.warning("key %.40s of the issuer cannot be used: %s", kid, error)
        return {}
    return {
        name: key for name, key in made.items() if not isinstance(key, RSAPublicKey) or key.key_size >= _LEAST_RSA_BITS
    }


def _header(token: str) -> dict[str, Any] | None:
    """The header of a token, unchecked; None where there is none."""
    if len(token) > _MAX_TOKEN_BYTES:
        return None
    try:
        return jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name; where there is none, `a.b` is `b` inside of `a`."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys come from the address that the issuer names, and from nowhere else."""

    def redirect_request(self, *_: object) -> None:
        return


def _get(settings: OidcSettings, url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        message = f"{url[:100]!r} is not https"
        raise IssuerError(message)
    tls = ssl.create_default_context(cafile=settings.ca)
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=tls))
    try:
        with opener.open(url, timeout=settings.timeout_s) as answer:
            body = answer.read(_MAX_ANSWER_BYTES + 1)
        found = json.loads(body) if len(body) <= _MAX_ANSWER_BYTES else None
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        message = f"{url}: {error or type(error).__name__}"
        raise IssuerError(message) from error
    if not isinstance(found, dict):
        message = f"{url} does not answer with a JSON object of at most {_MAX_ANSWER_BYTES} bytes"
        raise IssuerError(message)
    return found
