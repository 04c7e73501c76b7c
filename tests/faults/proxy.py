"""A TCP proxy that can stall: a network that is cut without a reset, or slow, while both ends believe it whole."""

import asyncio
import threading
from urllib.parse import urlsplit

from connectors.local.ports import LOOPBACK, free_ports

_CHUNK = 65536


class Proxy:
    """Forwards to a port of loopback, in a thread of its own.

    Args:
        target: Port to forward to.
    """

    def __init__(self, target: int) -> None:
        (self.port,) = free_ports(1)
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._delay_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        listening = threading.Event()
        threading.Thread(target=self._run, args=(listening,), daemon=True).start()
        listening.wait(10)

    def in_place_of(self, url: str) -> str:
        """Returns an address with this proxy's port."""
        parts = urlsplit(url)
        return f"{parts.scheme}://{LOOPBACK}:{self.port}"

    def cut(self) -> None:
        """Forwards nothing any more; connections stay open, new ones are taken and get no answer."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def slow(self, delay_s: float) -> None:
        """Holds each piece back for so long."""
        self._delay_s = delay_s

    def heal(self) -> None:
        """Forwards again, also what was held back."""
        self._delay_s = 0.0
        self._loop.call_soon_threadsafe(self._open.set)

    def close(self) -> None:
        """Ends everything."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, listening: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, LOOPBACK, self.port))
        listening.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            there_reader, there_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # either side broke off, so the other is told below
        finally:
            writer.close()
