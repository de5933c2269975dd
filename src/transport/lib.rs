//! SIP over TCP, TLS and UDP: binds the SIP core to connections, certificates and DNS.
