"""Where the local NATS server listens, and whom it believes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from connectors.identity.authority import Authority
from connectors.identity.certs import DevelopmentCA, Pair
from connectors.local.ports import LOOPBACK, LOOPBACK_HOSTS
from dataflows.contracts.frames import DEFAULT_TENANT
from dataflows.settings import GatewaySettings, Settings, WebSettings

_HANDSHAKE_S = 10.0
"""For a TLS handshake; the server gives a second more to say who one is. Its own two are short when thousands come back
at once after a restart: who is cut off comes again, and the next ones wait for that."""


@dataclass(frozen=True)
class Tls:
    """Certificates of the listeners.

    Attributes:
        server: Certificate and key.
        authority: What clients' certificates are checked against.
        verify: Whether clients need one.
    """

    server: Pair
    authority: Path
    verify: bool = False

    def config(self) -> str:
        """The block `tls` of a listener."""
        lines = [
            f"cert_file: {json.dumps(str(self.server.certificate))}",
            f"key_file: {json.dumps(str(self.server.key))}",
        ]
        lines += [f"ca_file: {json.dumps(str(self.authority))}"]
        lines += [f"timeout: {_HANDSHAKE_S:g}"]
        lines += ["verify: true"] if self.verify else []
        return "tls {\n    " + "\n    ".join(lines) + "\n  }"


@dataclass(frozen=True)
class Doors:
    """The listeners.

    Attributes:
        host: Address of all of them.
        mqtt_port: Port of MQTT 3.1.1; 0: none.
        websocket_port: Port of WebSocket; 0: none.
        identities: Configuration that makes the server believe signed identities alone; empty: it believes everybody.
        tls: Certificates; without them connections are in clear.
    """

    host: str = LOOPBACK
    mqtt_port: int = 0
    websocket_port: int = 0
    identities: str = ""
    tls: Tls | None = None

    def config(self) -> str:
        """The part of nats-server's configuration."""
        parts = [self.identities]
        block = self.tls.config() if self.tls else ""
        if block:
            parts.append(f"{block}\n")
        if self.mqtt_port:
            parts.append(f"mqtt {{\n  listen: {json.dumps(f'{self.host}:{self.mqtt_port}')}\n  {block}\n}}\n")
        if self.websocket_port:
            listen = json.dumps(f"{self.host}:{self.websocket_port}")
            parts.append(f"websocket {{\n  listen: {listen}\n  {block or 'no_tls: true'}\n}}\n")
        return "".join(parts)


OPEN = Doors()


def doors_of(settings: Settings) -> Doors:
    """Returns the doors by the settings; with `stack.security` makes the keys and certificates that are missing."""
    stack = settings.stack
    if not stack.security:
        return Doors(stack.host, stack.mqtt_port, stack.websocket_port)
    authority = Authority(stack.identity_dir)
    authority.prepare()
    authority.add_tenant(DEFAULT_TENANT)
    ca = DevelopmentCA(stack.identity_dir / "tls")
    tls = Tls(ca.server(), ca.certificate, stack.client_certificates)
    if stack.client_certificates:
        ca.client("pipeline")
    identities = authority.server_config(stack.data_dir.absolute() / "nats" / "accounts")
    return Doors(stack.host, stack.mqtt_port, stack.websocket_port, identities, tls)


def with_own_certificate(settings: Settings, door: Literal["web", "gateway"]) -> Settings:
    """Returns settings in which a listener beyond loopback has the stack's own certificate, where it names none.

    So `stack.security` alone gives every listener TLS. Without it, or on another machine, the listener says what it
    needs.
    """
    listener: WebSettings | GatewaySettings = getattr(settings, door)
    ca = DevelopmentCA(settings.stack.identity_dir / "tls")
    by_proxy = isinstance(listener, WebSettings) and listener.secure_cookie
    if not settings.stack.security or listener.host in LOOPBACK_HOSTS or listener.tls_cert or by_proxy:
        return settings
    if not ca.certificate.exists():
        return settings
    pair = ca.server()
    own = listener.model_copy(update={"tls_cert": pair.certificate, "tls_key": pair.key})
    return settings.model_copy(update={door: own})
