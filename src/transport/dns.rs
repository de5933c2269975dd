//! Names to addresses: a table of our own first, then DNS, bounded in time and memory.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver, TokioResolver};
use postern_sip::io::{Answer, Question, SrvRecord};

use crate::limits::{DNS_ATTEMPTS, DNS_CACHE_MAX, DNS_TIME};
use crate::options::Hosts;

/// Answers questions; cheap to clone.
#[derive(Clone)]
pub(crate) struct Dns {
    hosts: Arc<Hosts>,
    /// `None`: DNS cannot be asked, and why.
    resolver: Result<TokioResolver, String>,
}

impl Dns {
    /// To be called inside a tokio runtime.
    pub(crate) fn new(hosts: Hosts, servers: &[SocketAddr]) -> Dns {
        Dns { hosts: Arc::new(hosts), resolver: resolver(servers) }
    }

    /// Why DNS cannot be asked, if it cannot.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.resolver.as_ref().err().map(String::as_str)
    }

    /// The answer, if the table has it or says that there is none.
    pub(crate) fn known(&self, question: &Question) -> Option<Answer> {
        match question {
            Question::Addresses(name) => {
                self.hosts.addresses.get(&name.to_ascii_lowercase()).cloned().map(Answer::Addresses)
            }
            Question::Srv(name) => {
                let name = name.to_ascii_lowercase();
                if let Some(records) = self.hosts.srv.get(&name) {
                    return Some(Answer::Srv(records.clone()));
                }
                // "_sip._tcp." before the name.
                let host = name.splitn(3, '.').nth(2)?;
                self.hosts.addresses.contains_key(host).then_some(Answer::None)
            }
        }
    }

    pub(crate) async fn ask(&self, question: &Question) -> Answer {
        let Ok(resolver) = &self.resolver else { return Answer::None };
        match question {
            Question::Addresses(name) => match resolver.lookup_ip(absolute(name)).await {
                Ok(found) => Answer::Addresses(found.iter().collect()),
                Err(_) => Answer::None,
            },
            Question::Srv(name) => match resolver.srv_lookup(absolute(name)).await {
                Ok(found) => Answer::Srv(found.answers().iter().filter_map(|record| srv(&record.data)).collect()),
                Err(_) => Answer::None,
            },
        }
    }
}

/// Without the search list.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

fn srv(data: &RData) -> Option<SrvRecord> {
    match data {
        RData::SRV(record) => Some(SrvRecord {
            priority: record.priority,
            weight: record.weight,
            port: record.port,
            target: record.target.to_ascii().trim_end_matches('.').to_owned(),
        }),
        _ => None,
    }
}

fn name_server(addr: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(addr.ip());
    for connection in &mut server.connections {
        connection.port = addr.port();
    }
    server
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|error| error.to_string())?
    } else {
        let servers = servers.iter().map(name_server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        Resolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = DNS_TIME;
    options.attempts = DNS_ATTEMPTS;
    options.cache_size = DNS_CACHE_MAX;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().map_err(|error| error.to_string())
}
