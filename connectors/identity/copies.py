"""What of the pipeline's streams an organisation may have in its own account, as a copy that JetStream keeps.

What the account may ask for names its organisation in the subject of the request, and the server compares the body with
that; where it is delivered names it too. So no other one's messages can come.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

API = "JS.VITALS.API"
"""How an organisation's account asks JetStream of the pipeline's, for what is exported to it."""
ROOT = "copies.v1"
"""Root of the subjects on which copies go to an organisation's account."""


@dataclass(frozen=True)
class Copy:
    """A stream of which an organisation has a copy of what is its own.

    Attributes:
        name: What people call it.
        stream: Name of the stream, in the pipeline's account and in the organisation's.
        subjects: Which of its messages are an organisation's; `{}` stands for its name.
        max_bytes: What the copy holds; 0: as much as the organisation was given, none where that is nothing.
    """

    name: str
    stream: str
    subjects: str
    max_bytes: int

    def of(self, tenant: str) -> str:
        """Subjects of an organisation's messages."""
        return self.subjects.format(tenant)


COPIES = (
    Copy("alerts", "ALERTS", "alerts.v1.{}.>", 64 << 20),
    Copy("rejected", "REJECTED", "rejected.v1.*.{}.*", 64 << 20),
    Copy("frames", "VITALS", "vp.*.{}.>", 0),
)
FIXED_BYTES = sum(copy.max_bytes for copy in COPIES)
"""What the copies hold that every organisation has."""


def exports() -> Iterator[dict[str, str]]:
    """Yields what the pipeline's account lets others ask for, and delivers."""
    for copy in COPIES:
        asked = f"$JS.API.CONSUMER.CREATE.{copy.stream}.*.{copy.of('*')}"
        yield {"name": f"copies of {copy.name}", "subject": asked, "type": "service"}
        yield {"name": f"flow of {copy.name}", "subject": f"$JS.FC.{copy.stream}.>", "type": "service"}
    yield {"name": "copied", "subject": f"{ROOT}.*.>", "type": "stream"}


def imports(tenant: str, pipeline: str) -> Iterator[dict[str, str]]:
    """Yields what an organisation's account takes of that: its own.

    Args:
        tenant: The organisation.
        pipeline: Public key of the pipeline's account.
    """

    def imported(name: str, subject: str, kind: str, **more: str) -> dict[str, str]:
        return {"name": name, "subject": subject, "account": pipeline, "type": kind, **more}

    for copy in COPIES:
        asked = f"CONSUMER.CREATE.{copy.stream}.*.{copy.of(tenant)}"
        number = count(1)
        local = ".".join(f"${next(number)}" if part == "*" else part for part in asked.split("."))
        yield imported(f"copies of {copy.name}", f"$JS.API.{asked}", "service", local_subject=f"{API}.{local}")
        yield imported(f"flow of {copy.name}", f"$JS.FC.{copy.stream}.>", "service")
    yield imported("copied", f"{ROOT}.{tenant}.>", "stream")


def reader_rights() -> list[str]:
    """Returns what a program publishes that reads copies.

    It takes from consumers that were made for it: whoever makes one says where the server delivers.
    """
    consumer = "{{tag(reader)}}"
    return [
        subject
        for copy in COPIES
        for subject in (
            f"$JS.API.CONSUMER.MSG.NEXT.{copy.stream}.{consumer}",
            f"$JS.API.CONSUMER.INFO.{copy.stream}.{consumer}",
            f"$JS.ACK.{copy.stream}.{consumer}.>",
        )
    ]
