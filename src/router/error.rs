//! Why a router does not start, or a reload is refused.

use postern_config::Finding;

/// The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// One line per fault.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Configuration(Vec<Finding>),
    #[error("the configuration has no [router]; add it as config/postern.toml has it")]
    Missing,
    #[error("these keys take hold at a restart only: {}; restart, or set them back", .0.join(", "))]
    RestartOnly(Vec<&'static str>),
    #[error("router: {0}")]
    Listen(#[from] postern_transport::TransportError),
    #[error("router.metrics {address}: {error}; choose another port, or end who holds this one")]
    Metrics { address: std::net::SocketAddr, error: std::io::Error },
    #[error("gateways and dial plans: {0}")]
    Rules(#[from] postern_dialplan::RulesError),
    #[error("metrics: {0}")]
    Cells(#[from] postern_telemetry::MetricsError),
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}
