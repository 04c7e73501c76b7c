"""The live WebSocket: one a screen. The server speaks first; the screen says whose strips it wants."""

import asyncio
import contextlib

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from connectors.api.access import Identity
from connectors.api.context import Context, context
from connectors.api.hub import Screen
from connectors.api.problems import ProblemError, refused
from connectors.api.requests import token

MAX_PATIENTS = 64
_POLICY, _TRY_AGAIN = 1008, 1013
_LOOK_S = 0.5


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a screen sends: the patients whose strips it wants from now on."""

    watch: list[str]


async def live(socket: WebSocket) -> None:
    """Serves one screen until it goes, does not keep up, or says what nobody understands."""
    here = context(socket)
    try:
        identity = here.access.identify(socket, changes=True)
        wanted = socket.query_params.get("tenant")
        tenant = identity.tenant_of(token(wanted, "tenant") if wanted else None)
    except ProblemError as problem:
        refused(socket, problem)
        # A browser sees the reason only of a socket that was open.
        await socket.accept()
        await socket.close(_POLICY, problem.detail[:120])
        return
    # Before the screen is open: what comes in between would reach it as history, not as news.
    await here.readers.note(here.hub.client, identity, tenant, "", "/live")
    await socket.accept()
    if here.hub.screens >= here.settings.web.max_screens:
        await socket.close(_TRY_AGAIN, "too many screens")
        return
    screen = Screen(tenant)
    here.hub.open(screen, role=identity.role.name.lower(), name=identity.name)
    sender = asyncio.create_task(_send(socket, screen))
    receiver = asyncio.create_task(_receive(socket, screen, here, identity))
    revoked = asyncio.create_task(_until_revoked(here, identity))
    tasks = (sender, receiver, revoked)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        code, reason = next(iter(done)).result()
        if code is not None:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(code, reason)
    finally:
        here.hub.close(screen)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_revoked(here: Context, identity: Identity) -> tuple[int | None, str]:
    while here.access.valid(identity):
        await asyncio.sleep(_LOOK_S)
    return _POLICY, "the key of this screen is no longer valid" if identity.key else "this token has expired"


async def _send(socket: WebSocket, screen: Screen) -> tuple[int | None, str]:
    try:
        while not screen.slow:
            message = await screen.queue.get()
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_text(message)
    except (WebSocketDisconnect, RuntimeError):
        return None, ""
    return _TRY_AGAIN, "this screen does not keep up"


async def _receive(socket: WebSocket, screen: Screen, here: Context, identity: Identity) -> tuple[int | None, str]:
    try:
        while True:
            wanted = msgspec.json.decode(await socket.receive_text(), type=Watch).watch
            if len(wanted) > MAX_PATIENTS:
                return _POLICY, f"at most {MAX_PATIENTS} patients at once"
            patients = {token(name, "watch") for name in wanted}
            for patient in sorted(patients):
                await here.readers.note(here.hub.client, identity, screen.tenant, patient, "/live")
            here.hub.watch(screen, patients)
    except WebSocketDisconnect:
        return None, ""
    except (msgspec.MsgspecError, KeyError):
        return _POLICY, 'send {"watch": [patient, ...]}'
    except ProblemError as problem:
        return _POLICY, problem.detail
