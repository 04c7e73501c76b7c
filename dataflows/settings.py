"""Every setting of the pipeline: environment variables, one TOML file, defaults, in that order.

`VITALS_NATS__URL=nats://10.0.0.5:4222` sets `nats.url`; the TOML file is `vitals.toml` in the working directory or
what `VITALS_CONFIG` names. docs/settings.md lists them all and is checked against this module.
"""

import os
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class NatsSettings(BaseModel):
    """Where NATS is and how to get in."""

    url: str = Field("nats://127.0.0.1:4222", description="Address of the NATS server (comma separated for a cluster).")
    credentials: Path | None = Field(None, description="Credentials file (JWT and nkey seed).")
    user: str | None = Field(None, description="User name, where the server wants one.")
    password: SecretStr | None = Field(None, description="Password of the user.")
    tls_ca: Path | None = Field(None, description="CA certificate that the server's certificate is checked against.")
    tls_cert: Path | None = Field(None, description="Client certificate, where the server wants one.")
    tls_key: Path | None = Field(None, description="Key of the client certificate.")
    ack_timeout_s: float = Field(5.0, gt=0, description="How long a publisher waits for JetStream's acknowledgement.")
    heartbeat_s: float = Field(2.0, gt=0, description="Idle heartbeat of a consumer; two missed ones stop the flow.")


class StreamSettings(BaseModel):
    """The streams of the log and of the outputs; an existing stream with other settings is reported, not altered."""

    vitals: str = Field("VITALS", description="Name of the log of record.")
    alerts: str = Field("ALERTS", description="Name of the stream of alerts.")
    rejected: str = Field("REJECTED", description="Name of the stream of rejected messages.")
    spill: str = Field("SPILL", description="Name of the stream of rows that wait for QuestDB.")
    partitions: int = Field(8, ge=1, le=64, description="Partitions of VITALS, fixed when it is created.")
    log_time: Literal["server", "header"] = Field(
        "server", description="What log time is: the server's timestamps, or the header Vitals-Log-Time (replays)."
    )
    replicas: int = Field(1, ge=1, le=5, description="Replicas of each stream.")
    dedupe_window_s: float = Field(120.0, gt=0, description="Window in which the server drops repeated message ids.")
    vitals_max_age_h: float = Field(72.0, gt=0, description="How long VITALS keeps messages.")
    vitals_max_bytes: int = Field(4 << 30, gt=0, description="How many bytes VITALS keeps.")
    alerts_max_age_h: float = Field(24.0 * 365, gt=0, description="How long ALERTS keeps messages.")
    rejected_max_age_h: float = Field(24.0 * 30, gt=0, description="How long REJECTED keeps messages.")
    rejected_max_bytes: int = Field(1 << 29, gt=0, description="How many bytes REJECTED keeps.")
    spill_max_bytes: int = Field(2 << 30, gt=0, description="How many bytes SPILL holds before it refuses more.")
    ticks: str = Field("TICKS", description="Name of the stream that schedules the ticks of the log.")
    audit: str = Field("AUDIT", description="Name of the stream of who did what.")
    bridges: str = Field("BRIDGES", description="Name of the stream of how far each bridge has sent alerts on.")
    audit_max_age_h: float = Field(24.0 * 3650, gt=0, description="How long AUDIT keeps messages.")


class QuestDBSettings(BaseModel):
    """Where QuestDB is, and how long an alert may wait for it: never."""

    enabled: bool = Field(True, description="Whether rows are written at all.")
    http_url: str = Field("http://127.0.0.1:9000", description="Address for writing (ILP over HTTP) and DDL.")
    pg_dsn: str = Field(
        "host=127.0.0.1 port=8812 user=admin password=quest dbname=qdb",  # QuestDB's documented default
        description="Address for reading (PostgreSQL wire).",
    )
    user: str | None = Field(None, description="User of the HTTP interface.")
    password: SecretStr | None = Field(None, description="Password of the HTTP interface.")
    reader: str = Field("reader", description="User that may only read (PostgreSQL wire): the API's.")
    reader_password: SecretStr = Field(SecretStr("reader"), description="Password of that user.")
    ack_timeout_ms: int = Field(500, gt=0, description="After this long without an acknowledgement rows go to SPILL.")
    group_ms: int = Field(
        200, ge=0, description="Rows that gather for this long share a transaction; 0 gives each batch its own."
    )
    waveform_ttl_h: int = Field(72, ge=1, description="How long waveforms are kept.")
    rows_ttl_d: int = Field(90, ge=1, description="How long observations, beats and quality are kept.")
    rollup_1m_ttl_d: int = Field(400, ge=1, description="How long roll-ups by the minute are kept.")
    rollup_1h_ttl_d: int = Field(3660, ge=1, description="How long roll-ups by the hour are kept.")


class FlowSettings(BaseModel):
    """The dataflow itself."""

    batch_messages: int = Field(4000, ge=1, description="Messages a source partition hands over at once, at most.")
    poll_ms: float = Field(3.0, gt=0, description="How often an idle source partition is polled.")
    max_ahead_s: float = Field(300.0, gt=0, description="A device clock further ahead of log time is rejected.")
    rules: list[Path] = Field([], description="Rule files that are added to the built-in ones (docs/alerts.md).")
    reorder_s: float = Field(2.0, gt=0, description="How long, in log time, a missing frame is waited for.")
    silence_wave_s: float = Field(10.0, ge=0, description="A wave without a frame for this long is silent; 0: never.")
    silence_reading_s: float = Field(
        60.0, ge=0, description="The same for readings, at least three times their own longest pause."
    )
    device_frames_per_s: float = Field(100.0, gt=0, description="Frames a device may send a second of log time.")
    device_bytes_per_s: float = Field(262144.0, gt=0, description="Bytes a device may send a second of log time.")
    device_burst_s: float = Field(200.0, gt=0, description="So many seconds of both a device may send at once.")
    roster_h: float = Field(24.0, gt=0, description="A patient without a frame for this long gets no more ticks.")


class StackSettings(BaseModel):
    """The local stack that `vitals up` starts."""

    data_dir: Path = Field(Path(".vitals"), description="Folder of the local stack's data, logs and pid files.")
    questdb_version: str = Field("9.3.4", description="Version of the QuestDB jar that is fetched once by Maven.")
    questdb_health_port: int = Field(9003, ge=1, le=65535, description="Port of QuestDB's health check and metrics.")
    cache_dir: Path = Field(Path("~/.cache/vitals"), description="Where the QuestDB jar is kept for all checkouts.")
    snapshot_interval_s: int = Field(2, ge=1, description="How often the flow of the local stack snapshots its state.")
    durability: Literal["default", "power-loss"] = Field(
        "default", description="What is acknowledged survives the crash of a process, or of the power (slower)."
    )
    security: bool = Field(False, description="NATS with TLS and signed identities; off: whoever reaches loopback.")
    client_certificates: bool = Field(False, description="With security: clients need a certificate, too.")
    host: str = Field("127.0.0.1", description="Address of the NATS listeners; beyond loopback only with security.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of /metrics, on loopback alone; 0: none.")
    mqtt_port: int = Field(0, ge=0, le=65535, description="Port of the MQTT 3.1.1 listener; 0: none.")
    websocket_port: int = Field(0, ge=0, le=65535, description="Port of the WebSocket listener; 0: none.")
    tenant_frames_per_s: float = Field(5000.0, gt=0, description="Frames a second of an organisation, all listeners.")
    tenant_bytes_per_s: float = Field(16.0 * (1 << 20), gt=0, description="Bytes a second of an organisation.")
    tenant_burst_s: float = Field(2.0, gt=0, description="So many seconds of both an organisation may send at once.")
    flood_ban_s: float = Field(30.0, gt=0, description="Above that its heaviest devices are cut off for so long.")

    @property
    def identity_dir(self) -> Path:
        """Folder of the keys that say who may come in."""
        return self.data_dir / "identity"


class RunSettings(BaseModel):
    """`vitals run`: the flow's processes, kept running."""

    processes: int = Field(1, ge=1, le=64, description="Processes of the flow on this machine.")
    workers: int = Field(1, ge=1, le=64, description="Worker threads in each process.")
    drainer: bool = Field(True, description="Whether the drainer of SPILL runs beside the flow.")
    drainer_port: int = Field(9402, ge=0, le=65535, description="Port of the drainer's /metrics, on loopback; 0: none.")
    health_host: str = Field("127.0.0.1", description="Address of the health endpoint.")
    health_port: int = Field(9400, ge=0, le=65535, description="Port of the health endpoint; 0 takes a free one.")
    silent_s: float = Field(15.0, gt=0, description="No progress for this long is reported as a silent pipeline.")
    drain_s: float = Field(20.0, gt=0, description="How long SIGTERM waits for the flow to end its epoch.")
    healthy_s: float = Field(60.0, gt=0, description="After this long without a death the back-off starts anew.")
    backoff_max_s: float = Field(30.0, gt=0, description="Longest pause before the flow is started again.")


class WebSettings(BaseModel):
    """The API and the dashboard: `vitals dashboard`."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; another than loopback needs keys or `oidc`, and TLS."
    )
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    tls_cert: Path | None = Field(None, description="Certificate of the listener.")
    tls_key: Path | None = Field(None, description="Key of the certificate.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of /metrics, on loopback alone; 0: none.")
    keys: Path | None = Field(
        None, description="File of API keys (docs/api.md); without it and `oidc.issuer` loopback is open."
    )
    max_rows: int = Field(10_000, ge=1, le=1_000_000, description="Most rows in one answer.")
    max_screens: int = Field(200, ge=1, description="Most live connections at once.")
    connections: int = Field(1000, ge=1, description="Further connections at once; more are answered 503.")
    flow_health: list[str] = Field(
        ["http://127.0.0.1:9400"], description="Health endpoints of `vitals run`: whether the flow gets on."
    )
    secure_cookie: bool = Field(False, description="A TLS proxy stands before it: the cookie is sent over HTTPS only.")


class OidcSettings(BaseModel):
    """An OpenID Connect issuer whose bearer tokens the API believes, beside its own keys (docs/api.md)."""

    issuer: str = Field(
        "", pattern=r"^(https?://[^\s?#]+)?$", description="Issuer, as its tokens name it; empty: none."
    )
    audience: str = Field("", description="What tokens for this API have in `aud`.")
    algorithms: list[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
    ] = Field(["RS256", "ES256"], min_length=1, description="Signatures that are believed.")
    leeway_s: float = Field(30.0, ge=0, le=300, description="How far the clocks of issuer and API may differ.")
    refresh_s: float = Field(300.0, gt=0, description="How often the issuer's keys are fetched.")
    stale_s: float = Field(86400.0, gt=0, description="While the issuer is away its last keys are believed so long.")
    timeout_s: float = Field(5.0, gt=0, le=60, description="How long the issuer's answer is waited for.")
    ca: Path | None = Field(None, description="CA certificate that the issuer's certificate is checked against.")
    name_claim: str = Field("sub", min_length=1, description="Claim that says who it is; must not be reused.")
    tenant_claim: str = Field("tenant", min_length=1, description="Claim that names the organisation.")
    role_claim: str = Field("roles", min_length=1, description="Claim that lists roles; `a.b` is b inside of a.")
    viewer: str = Field("vitals-viewer", min_length=1, description="Name of the role viewer in that claim.")
    clinician: str = Field("vitals-clinician", min_length=1, description="Name of the role clinician.")
    admin: str = Field("vitals-admin", min_length=1, description="Name of the role admin.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.issuer:
            return self
        if not self.audience:
            message = "oidc.audience is missing: a token for somebody else would be good here"
            raise ValueError(message)
        url = urlsplit(self.issuer)
        if url.scheme != "https" and url.hostname not in _LOOPBACK:
            message = f"oidc.issuer {self.issuer} is not https: whoever is on the way could make tokens"
            raise ValueError(message)
        return self


class NotifyTarget(BaseModel):
    """A webhook that alerts are delivered to: `[[notify.targets]]` in the TOML file."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Name of the target; its consumer is called by it.")
    url: str = Field(pattern=r"^https?://[^\s]+$", description="Where transitions are posted.")
    secret: SecretStr = Field(min_length=16, description="Key of the signature, shared with the receiver.")
    form: Literal["vitals", "fhir"] = Field("vitals", description="Body: the alert as it is, or a FHIR R4 Flag.")
    events: Literal["notify", "all"] = Field("notify", description="Transitions that page, or all of them.")
    least: Literal["high", "medium", "low"] = Field("low", description="Least priority.")
    kinds: list[Literal["physiological", "technical"]] = Field([], description="Kinds of alerts; empty: both.")
    level: int = Field(1, ge=1, description="Least level of escalation: 2 is for who is called when nobody answers.")
    tenant: str = Field("", description="Only this organisation; empty: all.")
    confirm: bool = Field(True, description="Whether the log is told of deliveries (command `delivered`).")
    history: bool = Field(False, description="Whether a new target gets what ALERTS holds already.")
    timeout_s: float = Field(10.0, gt=0, le=120, description="How long an answer is waited for.")
    retry_s: float = Field(1.0, gt=0, description="Pause after the first failure; doubled with each, with jitter.")
    retry_max_s: float = Field(300.0, gt=0, description="Longest pause between attempts.")
    attempts: int = Field(50, ge=1, description="After so many attempts it is a dead letter.")
    give_up_s: float = Field(86400.0, gt=0, description="An alert older than this becomes a dead letter.")
    in_flight: int = Field(8, ge=1, le=256, description="Requests at once.")


class NotifySettings(BaseModel):
    """Notifications: `vitals notify` (docs/notifications.md)."""

    targets: list[NotifyTarget] = Field([], description="Webhooks; each a table `[[notify.targets]]`.")
    dead_stream: str = Field("UNDELIVERED", description="Name of the stream of dead letters.")
    dead_max_age_h: float = Field(24.0 * 30, gt=0, description="How long dead letters are kept.")


class GatewaySettings(BaseModel):
    """The gateway for devices and apps, over HTTP and gRPC: `vitals gateway`."""

    host: str = Field("127.0.0.1", description="Address to listen on; another than loopback needs a certificate.")
    port: int = Field(8088, ge=0, le=65535, description="Port to listen on.")
    grpc_port: int = Field(0, ge=0, le=65535, description="Port of the gRPC listener; 0: none.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of /metrics, on loopback alone; 0: none.")
    tls_cert: Path | None = Field(None, description="Certificate of the listeners.")
    tls_key: Path | None = Field(None, description="Key of the certificate.")
    max_body_bytes: int = Field(1 << 20, gt=0, description="Largest body of a request.")
    body_s: float = Field(10.0, gt=0, description="A body that takes longer is refused.")
    frames_per_s: float = Field(20.0, gt=0, description="Frames a second of a device.")
    burst_frames: int = Field(1000, ge=1, description="Frames of a device at once: a request holds no more.")
    tenant_frames_per_s: float = Field(5000.0, gt=0, description="Frames a second of an organisation.")
    tenant_burst_frames: int = Field(50_000, ge=1, description="Frames of an organisation at once.")
    call_idle_s: float = Field(300.0, gt=0, description="A gRPC call without a frame for this long is ended.")
    connections: int = Field(1000, ge=1, description="Connections at once; more are answered 503.")


class LakeSettings(BaseModel):
    """The data lake: `vitals archive` (docs/lake.md)."""

    root: Path = Field(Path(".vitals/lake"), description="Folder of the Parquet files.")
    epoch_s: int = Field(60, ge=1, description="How often what was read is written, s: rows are that old in files.")
    file_rows: int = Field(100_000, ge=1, description="A bucket with so many rows waiting writes them at once.")
    merge_files: int = Field(12, ge=2, description="So many small files of a day and bucket become one.")
    health_port: int = Field(9401, ge=0, le=65535, description="Port of the health endpoint; 0 takes a free one.")
    merge_bytes: int = Field(64 << 20, ge=1, description="A file above this many bytes is not small.")
    waveforms_keep_d: int = Field(0, ge=0, description="Days after which waveforms are removed; 0: never.")
    rows_keep_d: int = Field(0, ge=0, description="The same for other rows; alerts, commands and audit stay for ever.")


class BridgeSettings(BaseModel):
    """Bridges to the queues of hospitals: `vitals bridge kafka`, `vitals bridge amqp`."""

    tenant: str = Field("main", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Organisation that the queues belong to.")
    group_messages: int = Field(500, ge=1, description="Messages that are moved at once, at most.")
    history: bool = Field(False, description="Whether a queue that is new gets the alerts that ALERTS holds already.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of /metrics, on loopback alone; 0: none.")
    kafka_servers: str = Field("127.0.0.1:9092", description="Kafka brokers, comma separated.")
    kafka_topics: list[str] = Field([], description="Topics of frames (`^` begins a pattern).")
    kafka_group: str = Field("vitals", description="Consumer group.")
    kafka_instance: str = Field(
        "", description="Name of this bridge in its group: started again, it has its partitions at once."
    )
    kafka_alerts: str = Field("", description="Topic of alerts, which exists already; empty: none.")
    kafka_properties: Path | None = Field(
        None, description="Properties of librdkafka (TLS, SASL); a file of mode 0600."
    )
    amqp_url: SecretStr = Field(
        SecretStr("amqp://guest:guest@127.0.0.1/"), description="Address of the AMQP broker, with user and password."
    )
    amqp_queues: list[str] = Field([], description="Queues of frames, which exist already.")
    amqp_exchange: str = Field("", description="Topic exchange of alerts; empty: none.")


class Settings(BaseSettings):
    """All settings; build it once at the edge and pass the parts down."""

    model_config = SettingsConfigDict(env_prefix="VITALS_", env_nested_delimiter="__", extra="forbid")

    nats: NatsSettings = NatsSettings()
    streams: StreamSettings = StreamSettings()
    questdb: QuestDBSettings = QuestDBSettings()
    flow: FlowSettings = FlowSettings()
    stack: StackSettings = StackSettings()
    run: RunSettings = RunSettings()
    web: WebSettings = WebSettings()
    oidc: OidcSettings = OidcSettings()
    notify: NotifySettings = NotifySettings()
    gateway: GatewaySettings = GatewaySettings()
    lake: LakeSettings = LakeSettings()
    bridge: BridgeSettings = BridgeSettings()

    @model_validator(mode="after")
    def _locked_doors(self) -> Self:
        """With `stack.security` this machine's programs find their credentials; without it nothing listens outside."""
        stack, folder = self.stack, self.stack.identity_dir
        if not stack.security:
            if stack.host not in _LOOPBACK:
                message = f"stack.host {stack.host} is not loopback: switch stack.security on, or others get in unasked"
                raise ValueError(message)
            return self
        nats = self.nats
        found: dict[str, Path] = {}
        if nats.credentials is None and nats.user is None:
            found["credentials"] = folder / "pipeline.creds"
        if nats.tls_ca is None:
            found["tls_ca"] = folder / "tls" / "ca.pem"
        if stack.client_certificates and nats.tls_cert is None:
            found |= {
                "tls_cert": folder / "tls" / "client-pipeline.pem",
                "tls_key": folder / "tls" / "client-pipeline.key",
            }
        self.nats = nats.model_copy(update={name: path.absolute() for name, path in found.items()})
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Puts the environment before the TOML file."""
        file = Path(os.environ.get("VITALS_CONFIG", "vitals.toml"))
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file))
