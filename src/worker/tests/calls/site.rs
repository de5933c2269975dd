//! Real edges on loopback, each on an address of its own, whose tokens name a cable to it that can be cut.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postern_config::{Source, load_source};
use postern_ice::io::{EdgeId, EdgeServer, Transport};
use postern_token::{Issuer, KeyRing, Secret};
use postern_turn::client::ClientCredentials;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Lab;

const SECRET: &str = "at-least-sixteen-bytes";

/// The name in the worker's certificate.
pub const WORKER: &str = "worker.example.test";

/// Where edges are, with all that they and their workers need to know each other.
pub struct Site {
    directory: PathBuf,
    /// Third byte of its addresses.
    net: u8,
}

/// What is special about an edge.
pub struct Plan<'a> {
    pub ports: &'a str,
    /// Networks that its clients may reach.
    pub allow: &'a [IpAddr],
    /// Whose certificate gets tokens.
    pub serves: &'a str,
    pub token_secs_max: u32,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self { ports: "30000-30999", allow: &[], serves: WORKER, token_secs_max: 3600 }
    }
}

/// A running edge; it ends with its test.
pub struct Edge {
    pub ip: IpAddr,
    tokens: SocketAddr,
    metrics: SocketAddr,
    cable: Cable,
}

/// What carries datagrams to an edge and back.
struct Cable {
    address: SocketAddr,
    carrying: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Site {
    /// `net` is no other test's.
    pub fn new(net: u8) -> Self {
        let directory = std::env::temp_dir().join(format!("postern-site-{}-{net}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
        write("ca.pem", params.self_signed(&key).unwrap().pem());
        let issuer = rcgen::Issuer::new(params, key);
        let names = [WORKER.to_owned()].into_iter().chain((1..=9).map(|host| at(net, host).to_string()));
        for (number, name) in names.enumerate() {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(vec![name]).unwrap().signed_by(&key, &issuer).unwrap();
            write(&format!("{number}.pem"), certificate.pem());
            write(&format!("{number}.key"), key.serialize_pem());
        }
        Self { directory, net }
    }

    /// The address of edge `number`.
    pub fn ip(&self, number: u8) -> IpAddr {
        at(self.net, number)
    }

    /// Starts edge `number`, of 1 to 9.
    pub async fn edge(&self, number: u8, plan: Plan<'_>) -> Edge {
        let ip = self.ip(number);
        let cable = Cable::to(SocketAddr::new(ip, 3478)).await;
        let Plan { ports, allow, serves, token_secs_max } = plan;
        let text = format!(
            r#"
[edge]
realm = "example.test"
udp = ["{ip}:3478"]
shards = 1
[edge.relay]
addresses = ["{ip}"]
ports = "{ports}"
allow_peers = {allow:?}
[edge.auth]
secrets = [{{ id = "a", value = "{SECRET}" }}]
token_lifetime_max_secs = {token_secs_max}
[edge.tokens]
listen = "{ip}:8443"
certificate = "{number}.pem"
private_key = "{number}.key"
client_ca = "ca.pem"
allowed_names = ["{serves}"]
internet = ["turn:{cable}"]
intranet = ["turn:{cable}"]
[telemetry]
listen = "{ip}:9464"
"#,
            allow = allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
            cable = cable.address,
        );
        let loaded = load_source(&Source::text("edge.toml", &text, &self.directory), &[]).unwrap_or_else(|faults| {
            panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        let (tell, ready) = oneshot::channel();
        tokio::spawn(async move {
            let ready = |_: &postern_edge::Listening| tell.send(()).unwrap();
            let origin = postern_edge::Origin::Embedded;
            postern_edge::run(loaded, origin, postern_edge::Stop::AtOnce, ready).await.unwrap();
        });
        ready.await.unwrap();
        Edge { ip, tokens: SocketAddr::new(ip, 8443), metrics: SocketAddr::new(ip, 9464), cable }
    }

    /// `[[worker.edge]]` for these edges.
    pub fn worker_edges(&self, edges: &[&Edge]) -> String {
        let directory = self.directory.display();
        let table = |edge: &&Edge| {
            format!(
                "[[worker.edge]]\ntokens = \"https://{}\"\ncertificate = \"{directory}/0.pem\"\n\
                 private_key = \"{directory}/0.key\"\nca = \"{directory}/ca.pem\"\n",
                edge.tokens
            )
        };
        edges.iter().map(table).collect()
    }

    /// A worker of these edges, once all of them are of use to it.
    pub async fn lab(&self, edges: &[&Edge]) -> Lab {
        let lab = Lab::with(&self.worker_edges(edges)).await;
        let begun = Instant::now();
        while lab.worker.cells.edges_usable.value(()) != Some(edges.len() as u64) {
            assert!(begun.elapsed() < Duration::from_secs(20), "the edges are of use to the worker");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lab
    }
}

impl Edge {
    /// The edge as a phone knows it: with a token of its own, and not by the cable.
    pub fn server(&self) -> EdgeServer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let ring = KeyRing::new(vec![Secret::new("a", SECRET).unwrap()]).unwrap();
        let token = Issuer::new(&ring).issue_classic(Some("phone"), now + 600).unwrap();
        EdgeServer {
            id: EdgeId(0),
            server: SocketAddr::new(self.ip, 3478),
            transport: Transport::Udp,
            credentials: ClientCredentials::new(token.username.as_str(), token.password()),
            family: None,
        }
    }

    /// The name of its token service, as records have it.
    pub fn name(&self) -> String {
        self.tokens.to_string()
    }

    /// Whoever comes by the cable hears nothing of it any more.
    pub fn cut(&self) {
        self.cable.carrying.abort();
    }

    /// A metric, summed over its series.
    pub async fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.metrics).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let lines = answer.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

impl Cable {
    async fn to(edge: SocketAddr) -> Self {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let address = socket.local_addr().unwrap();
        let carrying = async move {
            let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
            let mut back = tokio::task::JoinSet::new();
            let mut datagram = [0; 2048];
            while let Ok((length, client)) = socket.recv_from(&mut datagram).await {
                let towards = match clients.get(&client) {
                    Some(towards) => Arc::clone(towards),
                    None => {
                        let towards = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
                        towards.connect(edge).await.unwrap();
                        back.spawn(carry_back(Arc::clone(&towards), Arc::clone(&socket), client));
                        clients.insert(client, Arc::clone(&towards));
                        towards
                    }
                };
                // What is lost is lost, as on any line.
                let _ = towards.send(&datagram[..length]).await;
            }
        };
        Self { address, carrying: tokio::spawn(carrying) }
    }
}

async fn carry_back(from: Arc<UdpSocket>, to: Arc<UdpSocket>, client: SocketAddr) {
    let mut datagram = [0; 2048];
    loop {
        // An ICMP error ends nothing.
        if let Ok(length) = from.recv(&mut datagram).await {
            let _ = to.send_to(&datagram[..length], client).await;
        }
    }
}

fn at(net: u8, number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 1, net, number))
}
