"""Certificates of the development authority."""

import socket
import ssl
import stat
import threading

import pytest

from connectors.identity.certs import DevelopmentCA


def handshake(server_context, client_context, name):
    """Shakes hands over a socket pair; returns the client's certificate as the server saw it."""
    ours, theirs = socket.socketpair()
    seen = []

    def serve():
        try:
            with server_context.wrap_socket(theirs, server_side=True) as wrapped:
                seen.append(wrapped.getpeercert())
                wrapped.recv(1)
        except OSError as error:
            seen.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client_context.wrap_socket(ours, server_hostname=name) as wrapped:
            wrapped.send(b"x")
    finally:
        ours.close()
        thread.join(10)
    return seen[0]


def contexts(ca, *, client=None, other=None):
    pair = ca.server()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.key)
    server.load_verify_locations(ca.certificate)
    side = ssl.create_default_context(cafile=(other or ca).certificate)
    if client:
        server.verify_mode = ssl.CERT_REQUIRED
        side.load_cert_chain(client.certificate, client.key)
    return server, side


def test_a_client_that_knows_the_authority_believes_the_server(tmp_path):
    ca = DevelopmentCA(tmp_path)
    for name in ("localhost", "127.0.0.1"):
        handshake(*contexts(ca), name)


def test_a_client_certificate_names_its_owner(tmp_path):
    ca = DevelopmentCA(tmp_path)
    seen = handshake(*contexts(ca, client=ca.client("ward-gateway")), "localhost")
    assert ((("commonName", "ward-gateway"),)) == seen["subject"][0]


def test_another_name_and_another_authority_are_not_believed(tmp_path):
    ca, other = DevelopmentCA(tmp_path / "a"), DevelopmentCA(tmp_path / "b")
    other.server()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*contexts(ca), "example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*contexts(ca, other=other), "localhost")


def test_certificates_are_kept_until_a_name_is_missing(tmp_path):
    ca = DevelopmentCA(tmp_path)
    first = ca.server().certificate.read_bytes()
    assert ca.server().certificate.read_bytes() == first
    assert ca.server(["localhost", "vitals.example.org"]).certificate.read_bytes() != first
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("*.key")} == {0o600}
