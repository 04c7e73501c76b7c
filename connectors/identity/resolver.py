"""Tells the running server of an account, so that a revocation works at once."""

import json

from nats.errors import Error as NatsError

from connectors.identity.authority import Authority, IdentityError
from connectors.jetstream.connection import connect
from dataflows.settings import NatsSettings

_UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
_OK = 200


async def push_account(nats: NatsSettings, authority: Authority, name: str) -> None:
    """Gives the server an account's present token; connections of users that it revokes are closed by that.

    Raises:
        IdentityError: The server cannot be reached or refuses it. What is revoked in the folder is revoked at the
            server's next start in any case.
    """
    settings = nats.model_copy(update={"credentials": authority.credentials("system"), "user": None, "password": None})
    try:
        client = await connect(settings, "vitals identity")
        try:
            answer = await client.request(_UPDATE, authority.account_token(name).encode(), timeout=nats.ack_timeout_s)
        finally:
            await client.close()
    except (OSError, NatsError) as error:
        message = f"the server at {nats.url} was not told of account {name}: {error or type(error).__name__}"
        raise IdentityError(message) from error
    said = json.loads(answer.data)
    if said.get("data", {}).get("code") != _OK:
        message = f"the server refused account {name}: {said.get('error', said.get('data'))}"
        raise IdentityError(message)
