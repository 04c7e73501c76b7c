"""The stream REJECTED for people: what is in it, one message in detail, and driving messages again after a fix."""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from connectors.jetstream.history import bounds, messages, stored
from connectors.jetstream.streams import is_fence
from connectors.questdb.reject import REASON
from dataflows._native import Messages, Validator
from dataflows.contracts.frames import BRIDGE_REJECTS, FLOW_REJECTS, LOG_TIME_HEADER
from dataflows.settings import Settings

_TOKENS = 6
"""Of a frame's subject."""
_DIGITS = 20
"""So many has no sequence number and no time."""


@dataclass(frozen=True)
class Rejected:
    """A message in REJECTED.

    Attributes:
        seq: Its sequence there.
        reason: Why it was refused, a name of the closed list.
        detail: The same in words.
        subject: Where it was published: of the log, or the table of a row that the database refused.
        log_seq: Its sequence in the log; 0 for rows.
        log_ns: Log time of the refusal; 0 for rows.
        payload: Its bytes as they came.
    """

    seq: int
    reason: str
    detail: str
    subject: str
    log_seq: int
    log_ns: int
    payload: bytes

    @property
    def is_row(self) -> bool:
        """Whether it is a row that the database refused; a bridge may call its messages what it likes."""
        return self.reason == REASON and "." not in self.subject

    @property
    def whose(self) -> tuple[str | None, str]:
        """Organisation and patient of the subject; None and "" where it is no frame's."""
        tokens = self.subject.split(".")
        return (tokens[2], tokens[3]) if len(tokens) == _TOKENS else (None, "")

    @property
    def again(self) -> str:
        """Subject on which it is driven again."""
        if self.is_row:
            return f"spill.v1.{self.subject}"
        # As it is stored, vp.<n>.<tenant>..., or as it was published.
        tokens = self.subject.split(".")
        return ".".join(["vitals", "v1", *tokens[2:]])


def from_message(message: Msg, seq: int) -> Rejected:
    """Returns a message of REJECTED with what its headers say."""
    headers = message.headers or {}
    _, _, reason, *of = message.subject.split(".")
    # The client gives no text where a header is not ASCII.
    subject = str(headers.get("Vitals-Subject", headers.get("Vitals-Table", "")))
    return Rejected(
        seq,
        reason,
        str(headers.get("Vitals-Detail", "")),
        _within(of[0], subject) if _by_bridge(message.subject) else subject,
        _number(headers.get("Vitals-Log-Seq")),
        _number(headers.get("Vitals-Log-Time")),
        message.data,
    )


def _number(value: object) -> int:
    """A header of the flow as a number; 0 where it is none, which a bridge can write."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0


def _by_bridge(subject: str) -> bool:
    """Whether a bridge wrote a message of REJECTED, whose headers say what they like."""
    # Bridges of before wrote rejected.v1.<reason>.<tenant>.
    root, _, _, *of = subject.split(".")
    return root == "rejected" and bool(of) and of[1:] != ["flow"]


def _within(tenant: str, subject: str) -> str:
    """The subject of a bridge's reject, which is a frame's of its own organisation whatever its headers say."""
    tokens = subject.split(".")
    own = len(tokens) == _TOKENS and tokens[:3] == ["vitals", "v1", tenant] and tokens[4] != "control"
    return subject if own else f"vitals.v1.{tenant}.unknown.bridge.unknown"


async def rejected(client: Client, settings: Settings, reason: str = "*") -> AsyncIterator[Rejected]:
    """Yields what REJECTED holds, of one reason or of all, in its order."""
    async for found in _everything(client, settings.streams.rejected):
        if reason in {"*", found.reason}:
            yield found


async def _everything(client: Client, stream: str) -> AsyncIterator[Rejected]:
    # A stolen identity of a bridge can write headers that a client breaks off at.
    bridges = [
        _from_stored(client, message) for subject in BRIDGE_REJECTS async for message in stored(client, stream, subject)
    ]
    waiting = deque(sorted(bridges, key=lambda found: found.seq))
    async for message in messages(client, stream, *await bounds(client, stream), *FLOW_REJECTS):
        found = from_message(message, message.metadata.sequence.stream)
        while waiting and waiting[0].seq < found.seq:
            yield waiting.popleft()
        yield found
    for found in waiting:
        yield found


async def one(client: Client, settings: Settings, seq: int) -> Rejected | None:
    """Returns one message of REJECTED by its sequence there; None when there is none."""
    try:
        found = await client.jetstream().get_msg(settings.streams.rejected, seq)
    except NotFoundError:
        return None
    if is_fence(found.subject or ""):
        return None
    return _from_stored(client, found)


def _from_stored(client: Client, found: RawStreamMsg) -> Rejected:
    headers = dict((found.headers or {}).items())
    return from_message(Msg(client, found.subject or "", "", found.data or b"", headers), found.seq or 0)


def still_refused(found: Rejected, rules: Validator, now_ns: int) -> str:
    """Returns why the validator would refuse it now; "" when it would pass."""
    if found.is_row:
        return ""
    tokens = found.subject.split(".")
    key = f"{tokens[2]}/{tokens[3]}" if len(tokens) == _TOKENS else "main/unknown"
    log_ns = max(found.log_ns, now_ns)
    _, refused = rules.check(key, Messages.build([(found.subject.encode(), found.log_seq, log_ns, found.payload)]))
    return "; ".join(f"{reject.reason}: {reject.detail}" for reject in refused)


async def redrive(client: Client, settings: Settings, found: Rejected) -> int:
    """Publishes the original bytes again where they came from; returns the sequence that they have there.

    Identity is in the bytes, so a frame that was taken meanwhile is a duplicate and a row that is there is replaced by
    itself. The message id names the rejected message: the device's own id may still lie in the server's dedupe window.
    """
    headers = {"Nats-Msg-Id": f"redrive.{settings.streams.rejected}.{found.seq}"}
    if settings.streams.log_time == "header" and found.log_ns:
        headers[LOG_TIME_HEADER] = str(found.log_ns)
    jetstream = client.jetstream(timeout=settings.nats.ack_timeout_s)
    return (await jetstream.publish(found.again, found.payload, headers=headers)).seq
