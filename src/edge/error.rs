//! Why an edge does not start, or a reload is refused.

use postern_config::Finding;

/// The operator's to mend, but for [`Thread`](EdgeError::Thread).
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// One line per fault.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Configuration(Vec<Finding>),
    #[error("these keys take hold at a restart only: {}; restart, or set them back", .0.join(", "))]
    RestartOnly(Vec<&'static str>),
    #[error("{0}")]
    Listen(String),
    #[error("edge.auth.secrets: {0}")]
    Keys(#[from] postern_token::KeyError),
    #[error("edge.certificate: {0}")]
    Certificate(#[from] rustls::Error),
    #[error("edge.records.file: {0}; name a file in a directory that the service may write")]
    Records(std::io::Error),
    #[error("token service: {0}")]
    Tokens(String),
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
    #[error("metrics: {0}")]
    Metrics(#[from] postern_telemetry::MetricsError),
    #[error("{shards} of the shards did not take the last configuration within {seconds} s: stuck; see /healthz")]
    Stuck { shards: usize, seconds: u64 },
}

impl From<crate::listeners::ListenError> for EdgeError {
    fn from(error: crate::listeners::ListenError) -> Self {
        Self::Listen(error.to_string())
    }
}
