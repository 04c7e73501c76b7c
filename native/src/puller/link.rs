//! A connection that breaks once and stays broken.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;

use super::PullerError;

/// Where NATS is and how to get in.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Address of the server; comma separated for a cluster.
    pub url: String,
    /// Credentials file (JWT and nkey seed).
    pub credentials: Option<PathBuf>,
    /// User name.
    pub user: Option<String>,
    /// Password of the user.
    pub password: Option<String>,
    /// CA certificate that the server's certificate is checked against.
    pub tls_ca: Option<PathBuf>,
    /// Client certificate.
    pub tls_cert: Option<PathBuf>,
    /// Key of the client certificate.
    pub tls_key: Option<PathBuf>,
    /// How long a connection, a request or an acknowledgement may take.
    pub timeout: Duration,
    /// Name of this connection in the server's monitoring.
    pub name: String,
    /// What the subjects of answers to this connection begin with; the library's own when absent.
    pub inbox_prefix: Option<String>,
}

/// The first failure of a connection or of a consumer; later ones are its consequences.
#[derive(Clone, Debug)]
pub struct Fault(Arc<watch::Sender<Option<PullerError>>>);

impl Fault {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Records the failure unless there was one before.
    pub fn set(&self, error: PullerError) {
        self.0.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(error);
            }
            first
        });
    }

    /// Fails when something failed before.
    pub fn check(&self) -> Result<(), PullerError> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }

    /// Waits for the first failure.
    pub async fn wait(&self) -> PullerError {
        let mut changes = self.0.subscribe();
        let failed = changes.wait_for(Option::is_some).await;
        failed.ok().and_then(|slot| slot.clone()).unwrap_or_else(|| PullerError::Broken("connection closed".into()))
    }
}

/// A connection to NATS with the failure that ended it, if any.
pub struct Link {
    pub client: Client,
    pub jetstream: Context,
    pub fault: Fault,
}

impl Link {
    /// Connects. The client library would reconnect for ever and lose pull requests and acknowledgements on the way,
    /// so the first disconnect is a fault for good; it may then try each server once, which only ends its task.
    pub async fn connect(options: &Options) -> Result<Self, PullerError> {
        let fault = Fault::new();
        let servers: Vec<&str> = options.url.split(',').map(str::trim).filter(|server| !server.is_empty()).collect();
        let broken = |error: String| PullerError::Broken(format!("cannot connect to NATS at {}: {error}", options.url));
        let mut connect = ConnectOptions::new()
            .name(&options.name)
            .connection_timeout(options.timeout)
            .request_timeout(Some(options.timeout))
            .max_reconnects(servers.len().max(1));
        if let Some(file) = &options.credentials {
            connect = connect.credentials_file(file).await.map_err(|error| broken(error.to_string()))?;
        }
        if let Some(user) = &options.user {
            connect = connect.user_and_password(user.clone(), options.password.clone().unwrap_or_default());
        }
        if let Some(prefix) = &options.inbox_prefix {
            connect = connect.custom_inbox_prefix(prefix.as_str());
        }
        if let Some(ca) = &options.tls_ca {
            connect = connect.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let (Some(cert), Some(key)) = (&options.tls_cert, &options.tls_key) {
            connect = connect.add_client_certificate(cert.clone(), key.clone());
        }
        let seen = fault.clone();
        let url = options.url.clone();
        connect = connect.event_callback(move |event| {
            let failed = failure(&event, &url);
            let seen = seen.clone();
            async move {
                if let Some(failed) = failed {
                    seen.set(failed);
                }
            }
        });
        let client = connect.connect(servers.as_slice()).await.map_err(|error| broken(error.to_string()))?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(options.timeout)
            .ack_timeout(options.timeout)
            .build(client.clone());
        Ok(Self { client, jetstream, fault })
    }
}

/// What an event means for the flow; nothing when it is harmless.
fn failure(event: &Event, url: &str) -> Option<PullerError> {
    let broken = |words: &str| Some(PullerError::Broken(format!("NATS at {url}: {words}")));
    let disconnected = |words: &str| Some(PullerError::Disconnected(format!("NATS at {url}: {words}")));
    match event {
        Event::Connected | Event::LameDuckMode | Event::Draining => None,
        Event::Disconnected => disconnected("the connection broke"),
        Event::Closed => disconnected("the connection was closed"),
        Event::SlowConsumer(_) => broken("the client dropped messages that it had no room for"),
        Event::ServerError(error) => broken(&format!("the server says: {error}")),
        Event::ClientError(error) => broken(&format!("the client failed: {error}")),
    }
}
