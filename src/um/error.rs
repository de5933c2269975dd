//! Why a UM service does not start, or a reload is refused.

use std::net::SocketAddr;
use std::path::PathBuf;

use postern_config::Finding;

/// The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum UmError {
    /// One line per fault.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Configuration(Vec<Finding>),
    #[error("the configuration has no [um]; add it as config/postern.toml has it")]
    Missing,
    #[error("these keys take hold at a restart only: {}; restart, or set them back", .0.join(", "))]
    RestartOnly(Vec<&'static str>),
    #[error("um: {0}")]
    Listen(#[from] postern_transport::TransportError),
    #[error("um.metrics {address}: {error}; choose another port, or end who holds this one")]
    Metrics { address: SocketAddr, error: std::io::Error },
    #[error("gateways and dial plans: {0}")]
    Rules(#[from] postern_dialplan::RulesError),
    #[error("um.runtime_directory {path}: {error}; name a directory that the service may write")]
    Directory { path: PathBuf, error: std::io::Error },
    #[error("um.runtime_directory {path}: too long for the sockets in it; name a shorter one, such as /run/postern")]
    DirectoryTooLong { path: PathBuf },
    #[error("another UM service (process {pid}) holds {path}; end it by SIGINT, and its workers go on under this one")]
    Held { path: PathBuf, pid: String },
    #[error("[mailbox]: {0}")]
    Store(#[from] postern_store::OpenError),
    #[error("web.listen {address}: {error}; choose another, or end who holds this one")]
    WebListen { address: SocketAddr, error: std::io::Error },
    #[error("web.certificate: {0}")]
    WebCertificate(#[from] postern_web::TlsError),
    #[error("web.admin_token_file: {0}")]
    WebAdministrator(#[from] postern_web::AdminTokenError),
    #[error("[web] serves mailboxes, and there is no [mailbox]; add it, or take [web] out")]
    WebWithoutMailboxes,
    #[error("mail.smtp: {0}")]
    MailServer(#[from] postern_mail::ServerError),
    #[error("mail.from {from:?}: {error}")]
    Sender { from: String, error: postern_store::MailAddressError },
    #[error("metrics: {0}")]
    Cells(#[from] postern_telemetry::MetricsError),
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}
