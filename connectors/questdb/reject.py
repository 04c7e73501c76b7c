"""Dead letters of storage: rows that QuestDB can never take, on their way to the stream REJECTED."""

from connectors.questdb.ilp import TableRow
from connectors.questdb.spill import Message, message_id, spill_messages
from dataflows.contracts.frames import header_text

REASON = "storage_rejected"
SUBJECT = f"rejected.v1.{REASON}"
_DETAIL_CHARS = 500


def rejected_row(table_row: TableRow, why: str) -> Message:
    """Returns the dead letter of a row: the row as SPILL encodes it, so that it can be driven again after a fix."""
    return _letter(next(spill_messages([table_row]))[2], why, {"Vitals-Table": table_row[0]})


def rejected_payload(payload: bytes, why: str) -> Message:
    """Returns the dead letter of a SPILL message that cannot be read: its bytes as they are."""
    return _letter(payload, why, {})


def _letter(payload: bytes, why: str, headers: dict[str, str]) -> Message:
    detail = header_text(why, _DETAIL_CHARS)
    return (
        SUBJECT,
        {"Nats-Msg-Id": message_id(payload), "Vitals-Reason": REASON, "Vitals-Detail": detail} | headers,
        payload,
    )
