"""The log and the streams of outputs: set-up, source and sink."""

from connectors.jetstream.connection import native_options
from connectors.jetstream.sink import JetStreamSink, OutMessage
from connectors.jetstream.source import JetStreamSource
from connectors.jetstream.streams import StreamReport, ensure_streams

__all__ = ["JetStreamSink", "JetStreamSource", "OutMessage", "StreamReport", "ensure_streams", "native_options"]
