"""Bearer tokens of an issuer, against a real one: who is let in, and every way to pass for somebody."""

import asyncio
import contextlib
import json
import time

import httpx
import pytest
import websockets
from prometheus_client import REGISTRY
from pydantic import ValidationError

from connectors.api.access import Role
from connectors.api.oidc import Issuer as Believer
from connectors.api.oidc import IssuerError, fetch_keys
from connectors.api.problems import ProblemError
from connectors.api.server import UnsafeError, application
from connectors.identity.registry import digest
from connectors.jetstream.streams import ensure_streams
from dataflows.settings import OidcSettings, Settings, WebSettings
from tests.connectors.api.issuer import AUDIENCE, Issuer, Key, by_hand
from tests.connectors.api.served import Served
from tests.connectors.api.test_readers import audited, reads
from tests.servers import NatsServer
from tests.waiting import until

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def issuer():
    running = Issuer().start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def served(issuer, questdb, tmp_path_factory):
    """The API with an issuer and, beside it, one key of its own."""
    folder = tmp_path_factory.mktemp("oidc")
    nats = NatsServer(folder / "nats").start()
    (folder / "keys.toml").write_text(f'[[key]]\nname = "own"\nrole = "admin"\nsha256 = "{digest("vk_own")}"\n')
    oidc = OidcSettings(issuer=issuer.url, audience=AUDIENCE, leeway_s=2)
    settings = nats.settings().model_copy(update={"questdb": questdb.settings, "oidc": oidc})
    ensure_streams(settings)
    server = Served(settings, keys=folder / "keys.toml").start()
    until(lambda: ask(server, issuer.token()).status_code == 200)
    until(lambda: ask(server, "vk_own", "/status").json()["nats"]["connected_ns"])
    yield server
    server.stop()
    nats.stop()


def ask(served, token, path="/me", method="GET", **more):
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.request(method, f"{served.url}/api/v1{path}", headers=headers, timeout=20, **more)


def test_people_and_services_get_in_with_their_role_and_organisation(served, issuer):
    me = ask(served, issuer.token()).json()
    assert me == {"name": "oidc:dr-strange", "role": "clinician", "tenant": "ward", "keys_needed": True}
    service = issuer.token(key=issuer.keys[1], sub="svc-reports", roles="vitals-viewer openid", aud=["x", AUDIENCE])
    assert ask(served, service).json()["role"] == "viewer"
    assert ask(served, "vk_own").json()["name"] == "own"
    note = {"json": {"idempotency_key": "o1", "argument": {"text": "seen"}}}
    path = "/patients/p1/commands/note"
    assert ask(served, issuer.token(), path, "POST", **note).json()["actor"] == "oidc:dr-strange"
    assert ask(served, service, path, "POST", **note).status_code == 403
    assert audited(served.settings, "command") == [("oidc:dr-strange", "ward", "p1", "note")]
    assert ask(served, issuer.token(), "/patients?tenant=other").status_code == 403
    assert ask(served, issuer.token(roles=["vitals-admin"]), "/patients?tenant=other").status_code == 403
    assert ask(served, issuer.token(), "/patients").status_code == 200
    assert ("oidc:dr-strange", "ward", "", "/api/v1/patients") in reads(served.settings)


def refusals():
    return REGISTRY.get_sample_value("vitals_api_refused_total", {"status": "401"}) or 0


def hostile(issuer):
    """Tokens that must not be good, by what is wrong with them."""
    now, stranger = int(time.time()), Key("first")
    claims, kid = issuer.claims(), {"kid": "first", "typ": "JWT"}
    good = issuer.token()
    header, body, signature = good.split(".")
    forged = by_hand(kid, issuer.claims(roles=["vitals-admin"])).split(".")[1]
    return {
        "expired": issuer.token(exp=now - 10),
        "not yet": issuer.token(nbf=now + 100),
        "made in the future": issuer.token(iat=now + 100),
        "never ends": issuer.token(exp=None),
        "for somebody else": issuer.token(aud="other-api"),
        "for nobody": issuer.token(aud=None),
        "from somebody else": issuer.token(iss="https://elsewhere.example"),
        "an issuer that only begins like it": issuer.token(iss=issuer.url + "/"),
        "of nobody": issuer.token(sub=None),
        "unknown key": issuer.token(key=Key("unheard-of")),
        "a stranger's key by a known name": issuer.token(key=stranger),
        "changed": f"{header}.{forged}.{signature}",
        "no signature": f"{header}.{body}.",
        "alg none": by_hand({**kid, "alg": "none"}, claims),
        "alg None": by_hand({**kid, "alg": "None"}, claims),
        "no alg": by_hand(kid, claims),
        "HMAC with the public key": by_hand({**kid, "alg": "HS256"}, claims, issuer.keys[0].pem),
        "HMAC with the published key": by_hand(
            {**kid, "alg": "HS256"}, claims, json.dumps(issuer.keys[0].jwk).encode()
        ),
        "HMAC with nothing": by_hand({**kid, "alg": "HS256"}, claims, b""),
        "RSA key as a curve": by_hand({**kid, "alg": "ES256"}, claims, b"x"),
        "no key id": by_hand({"alg": "RS256"}, claims, b"x"),
        "key id is a list": by_hand({"alg": "RS256", "kid": ["first"]}, claims, b"x"),
        "key id is a path": by_hand({"alg": "HS256", "kid": "../../../../dev/null"}, claims, b""),
        "its own key in the header": issuer.token(key=stranger, header={"jwk": stranger.jwk}),
        "its own address of keys": issuer.token(key=stranger, header={"jku": f"{issuer.url}/keys"}),
        "critical extension": issuer.token(header={"crit": ["exp"]}),
        "no JSON": "e30.e30.e30",
        "garbage": "a.b.c",
        "deep": by_hand({**kid, "alg": "RS256", "x": json.loads("[" * 200 + "]" * 200)}, claims, b"x"),
        "long": "x" * 20_000 + ".y.z",
        "bytes": "\xff\xfe.\xff.\xff",
    }


def test_every_way_to_pass_for_somebody_is_refused(served, issuer, caplog):
    before = refusals()
    tokens = hostile(issuer)
    for what, token in tokens.items():
        answer = httpx.get(
            f"{served.url}/api/v1/me", headers={b"Authorization": b"Bearer " + token.encode("latin-1")}, timeout=60
        )
        assert answer.status_code == 401, (what, answer.text)
        assert answer.headers["content-type"] == "application/problem+json", what
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["status"] == 401
        assert token[-20:] not in answer.text
    assert refusals() - before == len(tokens)
    assert caplog.text.count("API refused 127.0.0.1") >= len(tokens)
    assert all(part not in caplog.text for token in tokens.values() for part in token.split(".") if len(part) > 20)
    assert ask(served, issuer.token()).status_code == 200


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"roles": None}, "roles"),
        ({"roles": []}, "roles"),
        ({"roles": {"vitals-admin": True}}, "roles"),
        ({"roles": 3}, "roles"),
        ({"roles": [["vitals-admin"], None]}, "roles"),
        ({"roles": "xvitals-adminx"}, "roles"),
        ({"tenant": None}, "tenant"),
        ({"tenant": ""}, "tenant"),
        ({"tenant": ["ward", "other"]}, "tenant"),
        ({"tenant": "ward.>"}, "tenant"),
        ({"tenant": "../main"}, "tenant"),
        ({"sub": "a b"}, "who"),
        ({"sub": ""}, "who"),
    ],
)
def test_a_good_token_without_role_or_organisation_may_nothing(served, issuer, changed, says):
    answer = ask(served, issuer.token(**changed))
    assert answer.status_code == 403
    assert says in answer.json()["detail"]


def test_claims_are_configurable(issuer):
    settings = OidcSettings(
        issuer=issuer.url, audience=AUDIENCE, role_claim="realm_access.roles", tenant_claim="https://vitals/org",
        name_claim="email", admin="boss",
    )  # fmt: skip
    changed = {"realm_access": {"roles": ["boss"]}, "https://vitals/org": ["north"], "email": "a@example.org"}

    async def story():
        believer = Believer(settings)
        await believer.ready_for(issuer.token())
        late = issuer.token(exp=int(time.time()) - 5, **changed)
        return believer.identify(issuer.token(**changed)), believer.identify(late)

    inside, late = asyncio.run(story())
    assert (inside.name, inside.role, inside.tenant) == ("oidc:a@example.org", Role.ADMIN, "north")
    assert late.name == inside.name  # the clocks may differ by `leeway_s`


def test_a_new_key_is_fetched_and_a_withdrawn_one_forgotten():
    issuer, now_s = Issuer().start(), [1000.0]
    believer = Believer(OidcSettings(issuer=issuer.url, audience=AUDIENCE), clock=lambda: now_s[0])

    async def good(token):
        await believer.ready_for(token)
        try:
            return believer.identify(token).name == "oidc:dr-strange"
        except ProblemError as problem:
            return problem.status

    async def story():
        old = issuer.token()
        assert await good(old) is True
        issuer.keys = [Key("second")]
        assert await good(issuer.token()) == 401, "asked again at once: a flood of unknown keys would go to the issuer"
        now_s[0] += 6
        assert await good(issuer.token()) is True
        assert await good(old) == 401, "its key was withdrawn"
        asked = issuer.asked
        unheard = [issuer.token(key=Key(f"k{n}", "ES256")) for n in range(20)]
        now_s[0] += 6
        assert await asyncio.gather(*map(good, unheard)) == [401] * 20
        assert issuer.asked == asked + 1
        return issuer.token()

    token = asyncio.run(story())
    issuer.stop()

    async def away():
        now_s[0] += 3600
        assert await good(token) is True, "the issuer's last keys go on"
        assert await good(issuer.token(key=Key("third", "ES256"))) == 401
        now_s[0] += 86400
        assert await good(token) == 503, "not for ever"

    asyncio.run(away())


def test_without_any_keys_nobody_is_let_in_until_the_issuer_is_there(questdb, nats_server):
    issuer = Issuer()
    oidc = OidcSettings(issuer=issuer.url, audience=AUDIENCE, refresh_s=0.2)
    settings = nats_server.settings().model_copy(update={"questdb": questdb.settings, "oidc": oidc})
    ensure_streams(settings)
    server = Served(settings).start()
    try:
        token = issuer.token()
        assert ask(server, token).status_code == 503
        assert httpx.get(f"{server.url}/api/v1/me", timeout=60).status_code == 401
        assert ask(server, "vk_own").status_code == 401
        issuer.start()
        until(lambda: ask(server, token).status_code == 200)
        issuer.stop()
        until(lambda: ask(server, token).status_code == 200)
    finally:
        server.stop()


def test_a_browser_keeps_a_token_and_a_screen_ends_with_it(served, issuer):
    with httpx.Client(base_url=f"{served.url}/api/v1", timeout=60) as browser:
        assert browser.post("/session", json={"key": issuer.token(aud="x")}).status_code == 401
        assert browser.post("/session", json={"key": issuer.token(padding="x" * 4000)}).status_code == 413
        token = issuer.token(exp=int(time.time()) + 8)  # and 2 s of leeway
        answer = browser.post("/session", json={"key": token})
        assert 0 < int(answer.headers["set-cookie"].lower().split("max-age=")[1].split(";")[0]) <= 10
        cookie = {"Cookie": f"vitals_key={token}"}

    async def screen():
        async with websockets.connect(served.live_url, additional_headers=cookie) as socket:
            with contextlib.suppress(websockets.ConnectionClosed):
                async with asyncio.timeout(60):
                    async for _ in socket:
                        pass
            assert socket.close_code == 1008
            assert "expired" in socket.close_reason

    asyncio.run(screen())
    assert httpx.get(f"{served.url}/api/v1/me", headers=cookie, timeout=60).status_code == 401


def test_what_is_no_issuer_is_not_believed(issuer):
    settings = OidcSettings(issuer=issuer.url, audience=AUDIENCE)
    assert {kid for kid, _ in fetch_keys(settings)} == {"first", "curve"}
    kept = issuer.keys
    try:
        issuer.keys = [Key("weak", "weak")]
        with pytest.raises(IssuerError, match="no key"):
            fetch_keys(settings)
        issuer.keys = kept
        issuer.redirect = f"http://127.0.0.1:{issuer.port}/elsewhere"
        with pytest.raises(IssuerError, match="307"):
            fetch_keys(settings)
        issuer.called = "https://somebody.example"
        with pytest.raises(IssuerError, match="calls itself"):
            fetch_keys(settings)
    finally:
        issuer.keys, issuer.redirect, issuer.called = kept, "", issuer.url
    with pytest.raises(IssuerError):
        fetch_keys(settings.model_copy(update={"issuer": "http://127.0.0.1:9/nobody"}))


@pytest.mark.parametrize(
    "values",
    [
        {"issuer": "https://id.example.org"},
        {"issuer": "http://id.example.org", "audience": "a"},
        {"issuer": "file:///etc/passwd", "audience": "a"},
        {"issuer": "https://id.example.org", "audience": "a", "algorithms": ["none"]},
        {"issuer": "https://id.example.org", "audience": "a", "algorithms": ["HS256"]},
        {"issuer": "https://id.example.org", "audience": "a", "algorithms": []},
    ],
)
def test_settings_that_would_believe_anybody_are_refused(values):
    with pytest.raises(ValidationError):
        OidcSettings(**values)


def test_keys_never_travel_in_clear_over_a_network(tmp_path):
    (tmp_path / "keys.toml").write_text(f'[[key]]\nname = "a"\nrole = "admin"\nsha256 = "{digest("a")}"\n')
    oidc = OidcSettings(issuer="https://id.example.org", audience="a")
    for web, needed in (
        (WebSettings(host="0.0.0.0"), "web.keys"),  # noqa: S104
        (WebSettings(host="0.0.0.0", keys=tmp_path / "keys.toml"), "in clear"),  # noqa: S104
    ):
        with pytest.raises(UnsafeError, match=needed):
            application(Settings(web=web))
    with pytest.raises(UnsafeError, match="in clear"):
        application(Settings(web=WebSettings(host="0.0.0.0"), oidc=oidc))  # noqa: S104
    application(Settings(web=WebSettings(host="0.0.0.0", secure_cookie=True), oidc=oidc))  # noqa: S104
