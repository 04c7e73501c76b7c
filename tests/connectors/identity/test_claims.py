"""Tokens and keys, and the folder that holds them."""

import json
import stat

import pytest

from connectors.identity.authority import Authority, IdentityError
from connectors.identity.claims import ClaimsError, Key, _b64, decode, encode
from connectors.identity.files import read_secret, write_secret


def test_a_token_says_what_was_signed():
    operator, account = Key.new("operator"), Key.new("account")
    assert (operator.public[0], account.public[0]) == ("O", "A")
    claims = decode(encode(operator, account.public, "ward", {"type": "account"}, expires_s=2_000_000_000, issued_s=7))
    assert (claims["iss"], claims["sub"], claims["name"]) == (operator.public, account.public, "ward")
    assert (claims["iat"], claims["exp"], claims["nats"]) == (7, 2_000_000_000, {"type": "account", "version": 2})


def test_a_token_that_was_changed_is_refused():
    token = encode(Key.new("operator"), Key.new("account").public, "ward", {"type": "account"})
    header, body, signature = token.split(".")
    claims = decode(token)
    claims["nats"]["limits"] = {"conn": -1}
    for forged in (
        f"{header}.{_b64(json.dumps(claims).encode())}.{signature}",
        f"{header}.{body}.{_b64(bytes(64))}",
        f"{header}.{body}.",
        "no token at all",
        "",
    ):
        with pytest.raises(ClaimsError):
            decode(forged)


def test_secrets_are_readable_by_their_owner_alone(tmp_path):
    authority = Authority(tmp_path / "identity")
    assert authority.prepare()
    assert authority.add_tenant("ward_a")
    assert stat.S_IMODE(authority.folder.stat().st_mode) == 0o700
    secrets = [path for path in authority.folder.iterdir() if path.suffix in {".seed", ".creds", ".account"}]
    assert len(secrets) >= 9
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    (authority.folder / "operator.seed").chmod(0o644)
    with pytest.raises(PermissionError, match="can be read by others"):
        authority.add_tenant("ward_b")


def test_preparing_again_keeps_every_key(tmp_path):
    authority = Authority(tmp_path)
    authority.prepare()
    authority.add_tenant("main")
    before = {path.name: path.read_text() for path in tmp_path.glob("*.seed")}
    assert not authority.prepare()
    assert not authority.add_tenant("main")
    assert {path.name: path.read_text() for path in tmp_path.glob("*.seed")} == before


def test_revocations_add_up_and_survive(tmp_path):
    authority = Authority(tmp_path)
    authority.prepare()
    authority.add_tenant("main")
    now = decode(authority.account_token("main"))["iat"]
    authority.revoke("main", {"UA": now, "UOLD": 1})
    authority.revoke("main", {"UB": now + 1, "UA": now - 5})
    # What is older than any token can be is forgotten; a later time is never taken back.
    assert Authority(tmp_path).revocations("main") == {"UA": now, "UB": now + 1}


def test_a_device_token_carries_no_rights_of_its_own(tmp_path):
    authority = Authority(tmp_path)
    authority.prepare()
    authority.add_tenant("main")
    issued = authority.issue_device("main", "p1", "patch7", role="device", days=1)
    claims = decode(issued.token)
    assert claims["nats"] == {
        "type": "user",
        "version": 2,
        "issuer_account": authority.account_public("main"),
        "tags": ["patient:p1", "device:patch7"],
    }
    assert claims["iss"] != authority.account_public("main")
    assert issued.seed not in repr(issued)


@pytest.mark.parametrize(
    ("tenant", "patient", "device", "days"),
    [
        ("main", "p1.>", "d", 1),
        ("main", "p1", "*", 1),
        ("main", "", "d", 1),
        ("main", "p1", "control", 1),
        ("main", "p1", "model-x", 1),
        ("main", "p1", "d", 367),
        ("main", "p1", "d", 0),
        ("main", "p1", "d", float("nan")),
        ("nobody", "p1", "d", 1),
        ("main", "p1:device:d2", "d", 1),
    ],
)
def test_no_identity_for_what_is_no_name(tmp_path, tenant, patient, device, days):
    authority = Authority(tmp_path)
    authority.prepare()
    authority.add_tenant("main")
    with pytest.raises(IdentityError):
        authority.issue_device(tenant, patient, device, role="device", days=days)


@pytest.mark.parametrize("tenant", ["tick", "VITALS", "SYS", "../up", "a.b", "", "x" * 65])
def test_no_account_for_what_is_no_tenant(tmp_path, tenant):
    authority = Authority(tmp_path)
    authority.prepare()
    with pytest.raises(IdentityError):
        authority.add_tenant(tenant)


def test_a_secret_is_replaced_whole(tmp_path):
    file = tmp_path / "secret"
    write_secret(file, "one")
    write_secret(file, "two")
    assert read_secret(file) == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
