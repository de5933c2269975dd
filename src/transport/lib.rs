//! SIP over TCP, TLS and UDP: binds the SIP core to connections, certificates and DNS.

mod connect;
mod connection;
mod dns;
mod input;
pub mod limits;
mod listener;
mod names;
pub mod options;
pub mod report;
mod tls;
mod transport;

pub use options::{ClientCertificates, Hosts, Listening, TlsIdentity, TransportError, TransportOptions};
pub use report::Report;
pub use transport::Transport;
