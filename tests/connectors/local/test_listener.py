"""The HTTP listeners against those who do not ask: silent, dripping, or holding every connection there may be."""

import asyncio
import contextlib
import socket
import threading
import time

import httpx
import pytest
import uvicorn
import websockets.sync.client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from connectors.api.server import WEBSOCKETS
from connectors.local.listener import PromptHttp, serving
from connectors.local.ports import free_ports
from dataflows.settings import GatewaySettings
from tests.stalls import Stalls
from tests.waiting import until

CONNECTIONS = 6
HEAD_S = 1.0


async def at_once(_: Request) -> Response:
    return Response("here", 401)


async def late(_: Request) -> Response:
    await asyncio.sleep(2 * HEAD_S)
    return Response("late")


at_work, done = [], threading.Event()


async def working(_: Request) -> Response:
    at_work.append(True)
    await asyncio.to_thread(done.wait, 60)
    return Response("done")


async def echo(socket):
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(PromptHttp, "head_s", HEAD_S)
    (port,) = free_ports(1)
    routes = [
        Route("/", at_once, methods=["GET", "POST"]),
        Route("/late", late),
        Route("/work", working),
        WebSocketRoute("/ws", echo),
    ]
    door = GatewaySettings(port=port, connections=CONNECTIONS)
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), **serving(door), **WEBSOCKETS))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield port
    server.should_exit = True
    thread.join(10)


def connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def held_s(connection, said, drip=b""):
    """How long the listener keeps a connection on which something was said, and a byte drips on."""
    began = time.monotonic()
    connection.settimeout(0.1)
    with contextlib.suppress(OSError):
        connection.sendall(said)
        while time.monotonic() - began < 10:
            try:
                if not connection.recv(65536):
                    break
            except TimeoutError:
                connection.sendall(drip)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("said", "drip"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"x"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /", b"x"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    ],
    ids=["silent", "a dripping head", "idle after an answer", "a second head drips", "a body that nobody asked for"],
)
def test_who_does_not_ask_in_time_is_hung_up_on(port, said, drip):
    with connected(port) as connection, Stalls() as stalls:
        held = []
        assert stalls.timed(lambda: held.append(held_s(connection, said, drip))) < 4 * HEAD_S
    assert held[0] > HEAD_S * 0.8


def test_who_waits_for_an_answer_is_not_hung_up_on(port):
    assert httpx.get(f"http://127.0.0.1:{port}/late", timeout=60).text == "late"


def test_a_socket_that_was_opened_stays(port):
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/ws") as live:
        time.sleep(2 * HEAD_S)
        live.send("still there")
        assert live.recv(timeout=60) == "still there"


def test_who_holds_every_connection_keeps_nobody_out(port, monkeypatch):
    monkeypatch.setattr(PromptHttp, "head_s", 60.0)
    with contextlib.ExitStack() as stack:
        held = []
        for number in range(5 * CONNECTIONS):
            held.append(stack.enter_context(connected(port)))
            held[-1].sendall(b"GET / HTTP/1.1\r\nX: ")
            if number % CONNECTIONS == 0:
                assert httpx.get(f"http://127.0.0.1:{port}/", timeout=60).text == "here"
        assert [httpx.get(f"http://127.0.0.1:{port}/", timeout=60).status_code for _ in range(20)] == [401] * 20
        held[0].settimeout(5)
        assert held[0].recv(1) == b""


def test_with_every_connection_at_work_another_is_told_so(port):
    at_work.clear()
    done.clear()
    with contextlib.ExitStack() as stack:
        stack.callback(done.set)
        # One after the other: a connection that has asked nothing yet makes room for the next.
        for number in range(1, CONNECTIONS):
            stack.enter_context(connected(port)).sendall(b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda number=number: len(at_work) == number)
        until(lambda: httpx.get(f"http://127.0.0.1:{port}/", timeout=60).status_code == 503, 5)
        done.set()
        until(lambda: httpx.get(f"http://127.0.0.1:{port}/", timeout=60).status_code == 401, 10)
