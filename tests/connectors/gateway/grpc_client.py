"""A device's gRPC client: keeps what was not answered, and sends it again when a call breaks."""

import threading
from collections import deque

import grpc

from dataflows.contracts import ingest_pb2

METHOD = "/vitals.v1.Ingest/Upload"


def upload(channel, key, payloads, timeout=600):
    """The answers to the frames of one call."""
    call = channel.stream_stream(METHOD, response_deserializer=ingest_pb2.Ack.FromString)
    metadata = [("authorization", f"Bearer {key}")] if key else []
    return call(iter(payloads), metadata=metadata, timeout=timeout)


class Uploader:
    """Sends frames until each was answered, whatever happens to the gateway."""

    def __init__(self, address, key, payloads):
        self.address, self.key = address, key
        self.unanswered = deque(payloads)
        self.answers = []
        self.broken = 0
        self.given_up = threading.Event()

    def run(self):
        while self.unanswered and not self.given_up.is_set():
            with grpc.insecure_channel(self.address) as channel:
                try:
                    for ack in upload(channel, self.key, list(self.unanswered)):
                        self.unanswered.popleft()
                        self.answers.append(ack)
                except grpc.RpcError as error:
                    if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
                        raise
                    self.broken += 1
                    self.given_up.wait(0.1)
