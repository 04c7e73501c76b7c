"""`vitals gateway` as a program: HTTPS and gRPC by one certificate, its metrics on loopback, no key in its log."""

import grpc
import httpx
import pytest

from connectors.identity.certs import DevelopmentCA
from connectors.local.doors import with_own_certificate
from connectors.local.ports import free_ports
from connectors.local.process import ServerProcess
from dataflows.contracts.frames import Origin
from dataflows.settings import WebSettings
from tests.connectors.gateway.conftest import gateway_command
from tests.connectors.gateway.grpc_client import upload
from tests.connectors.gateway.test_frames import frames
from tests.connectors.identity.conftest import tls_context
from tests.waiting import until

pytestmark = pytest.mark.services


def test_one_certificate_for_both_listeners_and_metrics_beside_them(behind, tmp_path):
    authority = DevelopmentCA(tmp_path)
    pair, (port, grpc_port, metrics) = authority.server(), free_ports(3)
    command, env = gateway_command(
        behind.settings,
        port=port,
        grpc_port=grpc_port,
        metrics_port=metrics,
        tls_cert=pair.certificate,
        tls_key=pair.key,
    )
    gateway = ServerProcess("gateway", command, tmp_path / "gateway.log", tmp_path / "gateway.pid", env=env)
    key = behind.enrol(Origin("cmd", "d"), by="http").secret
    sent = [frame.SerializeToString() for frame in frames("cmd", 3)]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-protobuf"}
    gateway.start()
    try:
        with httpx.Client(
            base_url=f"https://localhost:{port}/v1", verify=tls_context(authority.certificate), timeout=60
        ) as client:
            until(lambda: _healthy(client))
            assert client.post("/frames", content=sent[0], headers=headers).status_code == 202
            assert client.post("/frames", content=b"\xff", headers=headers).status_code == 422
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://localhost:{port}/v1/health", timeout=60)
        trusted = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{grpc_port}", trusted) as channel:
            assert [ack.duplicate for ack in upload(channel, key, sent)] == [True, False, False]
        said = httpx.get(f"http://127.0.0.1:{metrics}/metrics", timeout=60).text
    finally:
        gateway.stop()
    assert 'vitals_gateway_frames_total{route="frames"} 1.0' in said
    assert 'vitals_gateway_frames_total{route="grpc"} 3.0' in said
    assert 'vitals_gateway_requests_total{outcome="invalid",route="frames"} 1.0' in said
    log = gateway.log.read_text()
    assert "gateway refused frames" in log
    assert key.split("_", 2)[2] not in log + said


def test_beyond_loopback_it_takes_the_stacks_certificate(behind, tmp_path):
    (port,) = free_ports(1)
    command, env = gateway_command(behind.settings, port=port, host="0.0.0.0")  # noqa: S104
    gateway = ServerProcess("gateway", command, tmp_path / "gateway.log", tmp_path / "gateway.pid", env=env)
    gateway.start()
    try:
        with httpx.Client(base_url=f"https://127.0.0.1:{port}/v1", verify=tls_context(behind.ca), timeout=60) as client:
            until(lambda: _healthy(client))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/v1/health", timeout=60)
    finally:
        gateway.stop()


def test_other_listeners_keep_what_they_name(behind):
    def listener(**web):
        changed = behind.settings.model_copy(update={"web": WebSettings(**web)})
        return with_own_certificate(changed, "web").web

    own = listener(host="0.0.0.0")  # noqa: S104
    assert own.tls_cert == behind.settings.stack.identity_dir.absolute() / "tls" / "server.pem"
    assert own.tls_key.stat().st_mode & 0o777 == 0o600
    assert listener(host="127.0.0.1").tls_cert is None
    assert listener(host="0.0.0.0", secure_cookie=True).tls_cert is None  # noqa: S104
    assert str(listener(host="0.0.0.0", tls_cert="a.pem", tls_key="a.key").tls_cert) == "a.pem"  # noqa: S104


def _healthy(client):
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False
