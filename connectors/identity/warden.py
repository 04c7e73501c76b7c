"""Keeps organisations within their rate at the NATS, MQTT and WebSocket listeners: the server itself knows no rates.

All frames go into one stream, so whoever publishes faster than it stores makes everybody wait (tried: two devices that
published 20,000 small frames a second made each publish of another organisation time out). The warden asks the server
what each organisation's account has published. One that is over its rate has its heaviest devices cut off, until the
rest fits; they are let in again after `stack.flood_ban_s`, whatever else the organisation sends goes on.
"""

import asyncio
import json
import logging
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from connectors.identity.audit import AuditEvent, write_audit
from connectors.identity.authority import RESERVED
from connectors.identity.devices import authority_of
from connectors.jetstream.connection import connect, raise_if_cancelled
from dataflows.settings import Settings

logger = logging.getLogger(__name__)
_LOOK_S = 0.25
_MEASURE_S = 0.1
_ANSWER_S = 5.0
_RETRY_S = 0.5
_MOST_CONNECTIONS = 16_384

Device = tuple[str, str, str]
"""Public key of the account, patient, device."""
_TAGS = ("patient:", "device:")


@dataclass
class Bucket:
    """What an account may publish at once, as a share of it; and what it had published when it was last looked at."""

    frames: int
    octets: int
    at_s: float
    full: float = 1.0


class Warden:
    """Watches a server's accounts.

    Args:
        settings: Limits, and where the server and the keys are.
        clock: Seconds, monotonic.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._stack, self._clock = settings, settings.stack, clock
        self._buckets: dict[str, Bucket] = {}
        self._banned: dict[Device, float] = {}
        self._noting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Watches until cancelled; a connection that is lost is made anew."""
        system = authority_of(self._settings).credentials("system")
        nats = self._settings.nats.model_copy(update={"credentials": system, "user": None, "password": None})
        while True:
            try:
                client = await connect(nats, "vitals warden")
                try:
                    await self._watch(client)
                finally:
                    await client.close()
            except (OSError, NatsError, TimeoutError) as error:
                logger.warning("warden: %s", error or type(error).__name__)
            raise_if_cancelled()
            await asyncio.sleep(_RETRY_S)

    async def _watch(self, client: Client) -> None:
        async def on_connect(message: Msg) -> None:
            event = json.loads(message.data)
            device = _device(event["client"].get("acc", ""), event["client"])
            if device is not None and self._clock() < self._banned.get(device, 0.0):
                await self._cut_off(client, event["server"]["id"], event["client"]["id"])

        await client.subscribe("$SYS.ACCOUNT.*.CONNECT", cb=on_connect)
        while client.is_connected:
            raise_if_cancelled()
            for account in (await _ask(client, "$SYS.REQ.ACCOUNT.PING.STATZ", {}))["data"]["account_statz"]:
                if account.get("name") not in RESERVED and self._is_over(account["acc"], account["received"]):
                    await self._stop_flood(client, account["acc"], account["name"])
            await asyncio.sleep(_LOOK_S)

    def _is_over(self, account: str, received: dict[str, Any]) -> bool:
        """Whether an account has published more than it may; notes what it has."""
        now, frames, octets = self._clock(), received["msgs"], received["bytes"]
        bucket = self._buckets.setdefault(account, Bucket(frames, octets, now))
        share = self._share(frames - bucket.frames, octets - bucket.octets)
        filled = min(1.0, bucket.full + (now - bucket.at_s) / self._stack.tenant_burst_s)
        # Never below nothing: what was too much is paid for by being cut off, not by those who stay.
        self._buckets[account] = Bucket(frames, octets, now, max(0.0, filled - share))
        return share > filled

    def _share(self, frames: int, octets: int) -> float:
        """What was published, as a share of what may be published at once."""
        stack = self._stack
        return max(frames / stack.tenant_frames_per_s, octets / stack.tenant_bytes_per_s) / stack.tenant_burst_s

    async def _stop_flood(self, client: Client, account: str, tenant: str) -> None:
        before, began = await _connections(client, account), self._clock()
        await asyncio.sleep(_MEASURE_S)
        after, took_s = await _connections(client, account), self._clock() - began
        shares: Tally[Device] = Tally()
        for (server, cid), (device, frames, octets) in after.items():
            _, old_frames, old_octets = before.get((server, cid), (device, 0, 0))
            # A share of what fits into the time: 1 is the whole organisation's rate.
            published = self._share(frames - old_frames, octets - old_octets)
            shares[device] += published * self._stack.tenant_burst_s / took_s  # type: ignore[assignment]
        total, banned = float(shares.total()), set()
        for device, share in shares.most_common():
            if total <= 1.0:
                break
            total -= share
            banned.add(device)
            self._ban(tenant, device, share)
        for (server, cid), (device, *_) in after.items():
            if device in banned:
                await self._cut_off(client, server, cid)

    def _ban(self, tenant: str, device: Device, share: float) -> None:
        now = self._clock()
        self._banned = {one: until_s for one, until_s in self._banned.items() if until_s > now}
        self._banned[device] = now + self._stack.flood_ban_s
        _, patient, name = device
        detail = f"published {share:.1f} times the rate of its organisation: cut off for {self._stack.flood_ban_s:g} s"
        logger.warning("warden: %s/%s/%s %s", tenant, patient, name, detail)
        event = AuditEvent(
            what="refused", actor="warden", outcome="flood", tenant=tenant, patient=patient, device=name, detail=detail
        )
        task = asyncio.create_task(self._note(event))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _note(self, event: AuditEvent) -> None:
        """Writes to AUDIT; while the flood is stopped already, and never instead of it."""
        try:
            client = await connect(self._settings.nats, "vitals warden audit")
            try:
                await write_audit(client, self._settings, event)
            finally:
                await client.close()
        except (OSError, NatsError, TimeoutError) as error:
            logger.warning("warden: not in AUDIT: %s (%s)", event.detail, error or type(error).__name__)

    async def _cut_off(self, client: Client, server: str, cid: int) -> None:
        # As a request: without somebody who waits for the answer the server does nothing.
        await _ask(client, f"$SYS.REQ.SERVER.{server}.KICK", {"cid": cid})


def _device(account: str, client: dict[str, Any]) -> Device | None:
    """Who a client is by the tags of its token; None for who has none."""
    tags = client.get("tags") or []
    found = [next((tag.removeprefix(kind) for tag in tags if tag.startswith(kind)), "") for kind in _TAGS]
    return (account, found[0], found[1]) if all(found) else None


async def _connections(client: Client, account: str) -> dict[tuple[str, int], tuple[Device, int, int]]:
    """The connections of an account's devices: who it is, what they have published."""
    answer = await _ask(client, f"$SYS.REQ.ACCOUNT.{account}.CONNZ", {"auth": True, "limit": _MOST_CONNECTIONS})
    found = {}
    for one in answer["data"].get("connections") or []:
        if (device := _device(account, one)) is not None:
            found[answer["server"]["id"], one["cid"]] = (device, one["in_msgs"], one["in_bytes"])
    return found


async def _ask(client: Client, subject: str, wanted: dict[str, Any]) -> dict[str, Any]:
    answer = await client.request(subject, json.dumps(wanted).encode(), timeout=_ANSWER_S)
    found: dict[str, Any] = json.loads(answer.data)
    return found


class WardenThread(threading.Thread):
    """A warden in a thread of its own, for the local stack."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="warden", daemon=True)
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Watches until `stop`."""
        self._task = self._loop.create_task(Warden(self._settings).run())
        try:
            self._loop.run_until_complete(asyncio.gather(self._task, return_exceptions=True))
        finally:
            self._loop.close()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Tells it to end and waits."""
        if self._task is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(timeout_s)
