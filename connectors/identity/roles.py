"""What each role may do, as the server enforces it, and how tenants' accounts are joined to the pipeline's.

The streams live in one account, the pipeline's. A tenant is an account of its own that imports exactly its own
`vitals.v1.<tenant>.*.*.*`: whatever else its users publish never leaves it. The import is a service, so
JetStream's acknowledgement finds its way back to the device. Roles of a tenant are scoped signing keys: the server
takes rights from the account's template, never from the user's token, so a stolen device key makes devices of
that tenant and nothing more. `{{tag(...)}}` are the tags of the user's token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.identity.copies import FIXED_BYTES, exports, imports, reader_rights

Template = Mapping[str, Any]
Claims = dict[str, Any]

PIPELINE = "VITALS"
"""Account of the streams, the flow and the gateways."""
SYSTEM = "SYS"
"""Account of the server's own messages."""
MAX_PAYLOAD = 72 << 10
"""What a device may send in one message, headers included; the validator's own limit is 64 KiB of frame."""
SESSIONS_BYTES = 64 << 20
"""Disk for the sessions of an organisation's MQTT devices, which the server keeps in streams of their account."""

_OPEN = {"subs": -1, "data": -1, "payload": -1}
_ACCOUNT = {**_OPEN, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": 0}
_OWN = "{{tag(patient)}}.{{tag(device)}}"
_ANSWERS = "_INBOX.{{subject()}}.>"
"""Where a program hears answers: never `_INBOX.>`, where the flow hears the whole log."""


@dataclass(frozen=True)
class Grant:
    """What an organisation was given (`vitals tenants limit`); its account's token is the record.

    Attributes:
        connections: Connections of its devices at once.
        frames_bytes: What the copy of its frames may hold in its own account; 0: it has none.
    """

    connections: int = 10_000
    frames_bytes: int = 0

    @classmethod
    def of(cls, claims: Claims) -> "Grant":
        """Returns what the claims of an account give."""
        tags = dict(tag.partition(":")[::2] for tag in claims.get("tags", []))
        return cls(int(claims["limits"]["conn"]), int(tags.get(_FRAMES, 0)))

    @property
    def disk_bytes(self) -> int:
        """What its account may hold on disk."""
        return SESSIONS_BYTES + FIXED_BYTES + self.frames_bytes


_FRAMES = "frames_bytes"


def device_template(tenant: str, connections: Sequence[str], *, bearer: bool) -> Template:
    """Returns the rights of a device: publish its own frames, hear its own acknowledgements and configuration.

    Args:
        tenant: Its organisation.
        connections: `STANDARD`, `WEBSOCKET`, `MQTT` or `MQTT_WS`.
        bearer: Whether the token alone lets it in (MQTT 3.1.1 cannot sign the server's challenge).
    """
    rights = {
        "pub": {"allow": [f"vitals.v1.{tenant}.{_OWN}.*"]},
        "sub": {"allow": [f"_INBOX.{_OWN}.>", f"config.v1.{tenant}.{_OWN}"]},
        "subs": 10,
        "data": -1,
        "payload": MAX_PAYLOAD,
        "allowed_connection_types": list(connections),
    }
    return {**rights, "bearer_token": True} if bearer else rights


def tenant_roles(tenant: str) -> dict[str, Template]:
    """Returns the roles of a tenant's account: its devices, and programs that read what is its own."""
    reader = {
        "pub": {"allow": reader_rights()},
        "sub": {"allow": [_ANSWERS]},
        **_OPEN,
        "allowed_connection_types": ["STANDARD", "WEBSOCKET"],
    }
    return {
        "device": device_template(tenant, ["STANDARD", "WEBSOCKET"], bearer=False),
        "device-mqtt": device_template(tenant, ["MQTT", "MQTT_WS"], bearer=True),
        "reader": reader,
    }


def pipeline_roles() -> dict[str, Template]:
    """Returns the limited roles of the pipeline's account; the flow and the tools have its full rights."""
    registry = "KV_IDENTITY"
    gateway = {
        "pub": {
            "allow": [
                "vitals.v1.*.*.*.*",
                "audit.v1.>",
                "spill.v1.audit",
                "$JS.API.INFO",
                f"$JS.API.STREAM.INFO.{registry}",
                f"$JS.API.CONSUMER.CREATE.{registry}",
                f"$JS.API.CONSUMER.CREATE.{registry}.>",
                f"$JS.API.CONSUMER.INFO.{registry}.>",
                f"$JS.API.CONSUMER.DELETE.{registry}.>",
                f"$JS.API.DIRECT.GET.{registry}.>",
                f"$JS.FC.{registry}.>",
            ],
            "deny": ["vitals.v1.*.*.control.*"],
        },
        "sub": {"allow": [_ANSWERS]},
        **_OPEN,
    }
    log = "VITALS"
    model = {
        "pub": {
            "allow": [
                "vitals.v1.*.*.{{tag(device)}}.numeric",
                f"fence.{log}.{{{{tag(device)}}}}.*",
                f"$JS.API.STREAM.MSG.GET.{log}",
                "$JS.API.INFO",
                f"$JS.API.STREAM.INFO.{log}",
                f"$JS.API.CONSUMER.CREATE.{log}",
                f"$JS.API.CONSUMER.CREATE.{log}.>",
                f"$JS.API.CONSUMER.INFO.{log}.>",
                f"$JS.API.CONSUMER.MSG.NEXT.{log}.>",
                f"$JS.API.CONSUMER.DELETE.{log}.>",
            ]
        },
        "sub": {"allow": [_ANSWERS]},
        **_OPEN,
    }
    return {"gateway": gateway, "model": model, "bridge": _bridge()}


def _bridge() -> Template:
    """Rights of the bridge of one organisation: its frames and rejects in, its alerts and how far they are out.

    It cannot ask for a stream's state, which lists subjects of every organisation. Its consumers have names that no
    other program's can have, or it could take what those are sent.
    """
    tenant = "{{tag(tenant)}}"
    consumers = [f"bridge-{queue}-{{{{subject()}}}}" for queue in ("kafka", "amqp")]
    alerts = "$JS.API.CONSUMER.{}.ALERTS.{}"
    return {
        "pub": {
            "allow": [
                f"vitals.v1.{tenant}.*.*.*",
                f"rejected.v1.*.{tenant}.bridge",
                f"bridges.v1.{tenant}.*",
                f"$JS.API.DIRECT.GET.BRIDGES.bridges.v1.{tenant}.*",
                "$JS.API.DIRECT.GET.BRIDGES.bridges.origin.alerts",
                *(alerts.format("CREATE", f"{name}.alerts.v1.{tenant}.>") for name in consumers),
                *(alerts.format(act, name) for act in ("MSG.NEXT", "DELETE") for name in consumers),
            ],
            "deny": ["vitals.v1.*.*.control.*"],
        },
        "sub": {"allow": [_ANSWERS]},
        **_OPEN,
        "payload": 2 * MAX_PAYLOAD,
    }


def system_account() -> Claims:
    """Returns the claims of the system account."""
    return {"type": "account", "limits": _ACCOUNT}


def pipeline_account(signing: Mapping[str, str], revoked: Mapping[str, int]) -> Claims:
    """Returns the claims of the pipeline's account; arguments as of `tenant_account`."""
    return {
        "type": "account",
        "limits": {**_ACCOUNT, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1},
        "exports": [
            {"name": "frames", "subject": "vitals.v1.*.*.*.*", "type": "service"},
            {"name": "alerts", "subject": "alerts.v1.>", "type": "stream"},
            {"name": "configuration", "subject": "config.v1.*.*.*", "type": "stream"},
            *exports(),
        ],
        "signing_keys": _scoped(signing, pipeline_roles()),
        "revocations": dict(revoked),
    }


def tenant_account(
    tenant: str, pipeline: str, signing: Mapping[str, str], revoked: Mapping[str, int], grant: Grant
) -> Claims:
    """Returns the claims of a tenant's account.

    Args:
        tenant: Name of the organisation.
        pipeline: Public key of the pipeline's account.
        signing: Public keys of the roles.
        revoked: Public keys of users whose tokens made until then (s since 1970) are void.
        grant: What it was given.
    """

    def imported(name: str, subject: str, kind: str) -> dict[str, str]:
        return {"name": name, "subject": subject, "account": pipeline, "type": kind}

    return {
        "type": "account",
        "limits": {
            **_ACCOUNT,
            "conn": grant.connections,
            "payload": MAX_PAYLOAD,
            "mem_storage": 16 << 20,
            "disk_storage": grant.disk_bytes,
            "streams": 9,
            "consumer": 20_000,
        },
        "imports": [
            imported("frames", f"vitals.v1.{tenant}.*.*.*", "service"),
            imported("alerts", f"alerts.v1.{tenant}.>", "stream"),
            imported("configuration", f"config.v1.{tenant}.*.*", "stream"),
            *imports(tenant, pipeline),
        ],
        "tags": [f"{_FRAMES}:{grant.frames_bytes}"],
        "signing_keys": _scoped(signing, tenant_roles(tenant)),
        "revocations": dict(revoked),
    }


def _scoped(signing: Mapping[str, str], roles: Mapping[str, Template]) -> list[dict[str, Any]]:
    return [
        {"kind": "user_scope", "key": signing[role], "role": role, "template": template}
        for role, template in roles.items()
    ]
