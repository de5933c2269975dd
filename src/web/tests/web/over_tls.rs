//! The services on a listener: TLS, another certificate, changes of the store by somebody else, slow and many clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_web::{Parts, Web, tls_config};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn identity() -> (CertificateDer<'static>, Arc<ServerConfig>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
    let chain = vec![certificate.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (certificate.der().clone(), tls_config(chain, key).unwrap())
}

async fn start(bench: &Bench, tls: Arc<ServerConfig>) -> Web {
    let parts = Parts {
        store: Arc::clone(&bench.store),
        calls: None,
        news: bench.news.clone(),
        cells: Arc::clone(&bench.cells),
        clock: {
            let now = bench.now();
            Arc::new(move || now)
        },
    };
    Web::start(&["127.0.0.1:0".parse().unwrap()], tls, options(), parts)
        .await
        .unwrap_or_else(|error| panic!("{error:?}"))
}

async fn connect(address: SocketAddr, root: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(HOST).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

async fn read_until(stream: &mut TlsStream<TcpStream>, wanted: &str) -> String {
    let mut text = String::new();
    let reading = async {
        let mut bytes = [0; 4096];
        while !text.contains(wanted) {
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "the stream ended: {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    };
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("no {wanted:?} came"));
    text
}

#[tokio::test]
async fn the_services_speak_tls_alone_and_take_another_certificate_while_they_run() {
    let bench = Bench::new().await;
    let (first, tls) = identity();
    let web = start(&bench, tls).await;
    let address = web.local_addrs()[0];
    let mut stream = connect(address, &first).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: voice.example.test\r\n\r\n").await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));

    let (second, tls) = identity();
    web.set_tls(tls);
    assert!(connect(address, &first).await.is_err());
    let mut fresh = connect(address, &second).await.unwrap();
    fresh.write_all(b"GET /api/v1/session HTTP/1.1\r\nHost: voice.example.test\r\n\r\n").await.unwrap();
    assert!(read_until(&mut fresh, "signed_out").await.starts_with("HTTP/1.1 401 "));
    // Who was there before stays.
    stream.write_all(b"GET /api/v1/session HTTP/1.1\r\nHost: voice.example.test\r\n\r\n").await.unwrap();
    read_until(&mut stream, "signed_out").await;

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: voice.example.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP"));
}

#[tokio::test]
async fn a_change_of_the_store_by_another_process_reaches_the_browser() {
    let bench = Bench::new().await;
    let (root, tls) = identity();
    let web = start(&bench, tls).await;
    let alice = bench.owner(bench.alice).await;
    let mut stream = connect(web.local_addrs()[0], &root).await.unwrap();
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {HOST}\r\nCookie: {}\r\n\r\n", alice.cookie);
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "retry: 3000").await;
    // Another handle of the same files, as a worker has.
    let bench = bench.restarted().await;
    bench.leave(bench.alice, &samples(1)).await;
    read_until(&mut stream, "event: messages").await;
    bench.store.set_phone_number(bench.alice, Some("1")).await.unwrap();
    read_until(&mut stream, "event: options").await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_they_end_with_the_services() {
    let bench = Bench::new().await;
    let (root, tls) = identity();
    let web = start(&bench, tls).await;
    let address = web.local_addrs()[0];
    let mut all = Vec::new();
    for _ in 0..postern_web::limits::CONNECTIONS_PER_SOURCE_MAX {
        all.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(timeout(PATIENCE, connect(address, &root)).await.unwrap().is_err());
    all.clear();
    let connected = timeout(PATIENCE, async {
        loop {
            // The server learns of closed connections a moment later.
            if let Ok(stream) = connect(address, &root).await {
                break stream;
            }
            tokio::task::yield_now().await;
        }
    });
    let mut stream = connected.await.unwrap();
    drop(web);
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection ends");
    assert!(TcpStream::connect(address).await.is_err());
}
