//! The A/V authentication service as a part of the edge: its settings from the configuration, its counts into the metrics.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use postern_config::{Config, RelayUri, TokensConfig};
use postern_telemetry::EdgeCells;
use postern_telemetry::labels::{Location, TokenRefusal};

use crate::error::EdgeError;
use crate::generation;
use crate::token_service::{TokenMeter, TokenService, TokenServiceLimits, TokenServiceOptions, TokenServiceState};

/// The running service.
pub(crate) struct Tokens(TokenService);

impl Tokens {
    /// `None` when the configuration has no `[edge.tokens]`.
    ///
    /// # Errors
    /// The address, or certificates that cannot serve.
    pub(crate) async fn start(config: &Config, cells: &Arc<EdgeCells>) -> Result<Option<Self>, EdgeError> {
        let Some(tokens) = &config.edge.tokens else { return Ok(None) };
        let state = TokenServiceState::new(options(config, tokens)?).map_err(fault)?;
        let meter = Arc::new(Meter(Arc::clone(cells)));
        let started = TokenService::start(tokens.listen, state, meter, TokenServiceLimits::default()).await;
        started
            .map(|service| Some(Self(service)))
            .map_err(|error| EdgeError::Listen(format!("edge.tokens.listen {}: {error}", tokens.listen)))
    }

    /// The next generation's settings, not yet in force.
    ///
    /// # Errors
    /// Certificates that cannot serve.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Option<TokenServiceState>, EdgeError> {
        let Some(tokens) = &config.edge.tokens else { return Ok(None) };
        self.0.state().successor(options(config, tokens)?).map(Some).map_err(fault)
    }

    pub(crate) fn publish(&self, state: TokenServiceState) {
        self.0.publish(state);
    }

    /// From here on callers are told the alternates.
    pub(crate) fn drain(&self) {
        self.0.drain();
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }
}

fn options(config: &Config, tokens: &TokensConfig) -> Result<TokenServiceOptions, EdgeError> {
    let edge = &config.edge;
    let uris = |relays: &[RelayUri]| relays.iter().map(ToString::to_string).collect();
    let alternates = edge.drain.alternate.iter().flat_map(|other| {
        let host = other.domain.clone().unwrap_or_else(|| other.address.ip().to_string());
        let port = other.address.port();
        other.transports.iter().map(move |&transport| RelayUri { transport, host: host.clone(), port }.to_string())
    });
    Ok(TokenServiceOptions {
        realm: edge.realm.clone(),
        keys: generation::key_ring(edge)?,
        token_lifetime_max_secs: edge.auth.token_lifetime_max_secs.into(),
        allocations_max: edge.auth.allocations_max,
        allowed_names: tokens.allowed_names.clone(),
        internet: uris(&tokens.internet),
        intranet: uris(&tokens.intranet),
        alternates: alternates.collect(),
        requests_per_caller_per_sec: NonZeroU32::new(tokens.requests_per_caller_per_sec).unwrap_or(NonZeroU32::MIN),
        chain: tokens.certificate.material.chain.clone(),
        key: tokens.certificate.material.key.clone_key(),
        client_ca: tokens.client_ca.clone(),
    })
}

fn fault(error: crate::token_service::TokenServiceError) -> EdgeError {
    EdgeError::Tokens(error.to_string())
}

struct Meter(Arc<EdgeCells>);

impl TokenMeter for Meter {
    fn issued(&self, location: Location) {
        self.0.tokens_issued.add(location, 1);
    }

    fn refused(&self, reason: TokenRefusal) {
        self.0.tokens_refused.add(reason, 1);
    }
}
