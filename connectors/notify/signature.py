"""The signature of a webhook: HMAC-SHA256 over `<timestamp>.<body>`, as receivers check it."""

import hashlib
import hmac

VERSION = "v1"


def sign(secret: str, timestamp_s: int, body: bytes) -> str:
    """Returns the header `Vitals-Signature` of a request.

    Args:
        secret: Shared with the receiver.
        timestamp_s: Header `Vitals-Timestamp`: when the request was made, s since 1970.
        body: The request's body, byte for byte.
    """
    digest = hmac.new(secret.encode(), b"%d." % timestamp_s + body, hashlib.sha256).hexdigest()
    return f"{VERSION}={digest}"


def verify(
    secret: str, timestamp_s: int, body: bytes, signature: str, *, now_s: float, within_s: float = 300.0
) -> bool:
    """Returns whether a request is from who knows the secret, and is no old one sent again."""
    return abs(now_s - timestamp_s) <= within_s and hmac.compare_digest(sign(secret, timestamp_s, body), signature)
