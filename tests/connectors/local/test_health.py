"""The health listener beside probers that behave badly."""

import socket
import struct
import threading

import httpx
import pytest

from connectors.local.health import Answer, Health, HealthServer


class Large(Health):
    """Answers with more than a socket holds, so that hanging up is noticed while writing."""

    def __init__(self) -> None:
        pass

    def answer(self, path: str) -> Answer:
        if path == "/fails":
            raise KeyError(path)
        return 200, "text/plain", b"x" * 20_000_000


@pytest.fixture
def server():
    server = HealthServer(Large(), "127.0.0.1", 0)
    yield server
    server.close()


def answered():
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(10)


def test_a_prober_that_hangs_up_leaves_no_traceback(server, capfd):
    with socket.create_connection(("127.0.0.1", server.port)) as prober:
        prober.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        prober.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert prober.recv(100)
    answered()
    assert httpx.get(f"http://127.0.0.1:{server.port}/metrics", timeout=60).status_code == 200
    assert capfd.readouterr().err == ""


def test_a_fault_of_our_own_is_written_down(server, capfd):
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{server.port}/fails", timeout=60)
    answered()
    assert "KeyError" in capfd.readouterr().err
