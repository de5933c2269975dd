//! DTLS-SRTP between our two roles in virtual time, and against OpenSSL with RSA and ECDSA certificates.

#[path = "support/directory.rs"]
mod directory;
#[path = "support/identity.rs"]
mod identity;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use directory::Directory;
use identity::identity;
use postern_media::dtls::{Dtls, DtlsIdentity, DtlsKeying, DtlsKeys, DtlsRole};
use postern_media::event::DtlsFailure;
use postern_media::fingerprint::{Fingerprint, FingerprintHash};
use postern_media::srtp_profile::SrtpProfile;

fn keying(role: DtlsRole, identity: &Arc<DtlsIdentity>, peer: Fingerprint, profiles: &[SrtpProfile]) -> DtlsKeying {
    DtlsKeying { role, identity: identity.clone(), fingerprints: vec![peer], profiles: profiles.to_vec() }
}

struct Pair {
    client: Dtls,
    server: Dtls,
    now: Instant,
    outcomes: [Option<Result<DtlsKeys, DtlsFailure>>; 2],
}

impl Pair {
    fn new(client: DtlsKeying, server: DtlsKeying) -> Self {
        let now = Instant::now();
        let mut client = Dtls::new(client, now).unwrap();
        client.start(now);
        Self { client, server: Dtls::new(server, now).unwrap(), now, outcomes: [None, None] }
    }

    /// Exchanges datagrams, of which `lose` says by number which are lost, until nothing is due any more.
    fn run(&mut self, mut lose: impl FnMut(u32) -> bool) {
        let mut number = 0;
        let end = self.now + Duration::from_secs(30);
        while self.now < end {
            let mut moved = true;
            while moved {
                moved = false;
                while let Some(datagram) = self.client.poll_transmit() {
                    moved = true;
                    number += 1;
                    if !lose(number) {
                        let outcome = self.server.handle(&datagram, self.now);
                        self.outcomes[1] = self.outcomes[1].take().or(outcome);
                    }
                }
                while let Some(datagram) = self.server.poll_transmit() {
                    moved = true;
                    number += 1;
                    if !lose(number) {
                        let outcome = self.client.handle(&datagram, self.now);
                        self.outcomes[0] = self.outcomes[0].take().or(outcome);
                    }
                }
            }
            let due = [self.client.next_timeout(), self.server.next_timeout()];
            let Some(due) = due.into_iter().flatten().min() else { break };
            self.now = self.now.max(due);
            let outcome = self.client.handle_timeout(self.now);
            self.outcomes[0] = self.outcomes[0].take().or(outcome);
            let outcome = self.server.handle_timeout(self.now);
            self.outcomes[1] = self.outcomes[1].take().or(outcome);
        }
    }

    fn keys(&mut self) -> (DtlsKeys, DtlsKeys) {
        let [client, server] = &mut self.outcomes;
        let take = |outcome: &mut Option<Result<DtlsKeys, DtlsFailure>>| match outcome.take() {
            Some(Ok(keys)) => keys,
            other => panic!("no keys: {:?}", other.map(|o| o.err())),
        };
        (take(client), take(server))
    }
}

fn good_pair(profiles: &[SrtpProfile]) -> Pair {
    let (a, b) = (identity(), identity());
    Pair::new(
        keying(DtlsRole::Client, &a, b.fingerprint(FingerprintHash::Sha256), profiles),
        keying(DtlsRole::Server, &b, a.fingerprint(FingerprintHash::Sha512), profiles),
    )
}

#[test]
fn both_roles_get_the_same_keys_for_every_profile() {
    for profile in [
        SrtpProfile::Aes128CmHmacSha1_80,
        SrtpProfile::Aes128CmHmacSha1_32,
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm,
    ] {
        let mut pair = good_pair(&[profile]);
        pair.run(|_| false);
        let (client, server) = pair.keys();
        assert_eq!((client.profile, server.profile), (profile, profile));
        assert!(client.local == server.remote && client.remote == server.local && client.local != client.remote);
    }
}

#[test]
fn lost_flights_are_repeated() {
    for seed in 0..40u32 {
        let mut pair = good_pair(&[SrtpProfile::Aes128CmHmacSha1_80]);
        // Every third datagram or so of the first forty.
        pair.run(|number| {
            number < 40 && (number.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(0x9e37_79b9)) >> 16 & 3 == 0
        });
        let (client, server) = pair.keys();
        assert!(client.local == server.remote && client.remote == server.local, "seed {seed}");
    }
}

#[test]
fn another_certificate_than_the_described_one_gives_no_keys() {
    let (a, b, c) = (identity(), identity(), identity());
    let profiles = [SrtpProfile::AeadAes128Gcm];
    let sha = FingerprintHash::Sha256;
    let mut pair = Pair::new(
        keying(DtlsRole::Client, &a, c.fingerprint(sha), &profiles),
        keying(DtlsRole::Server, &b, a.fingerprint(sha), &profiles),
    );
    pair.run(|_| false);
    assert!(matches!(pair.outcomes[0], Some(Err(DtlsFailure::Fingerprint))));
    assert!(!matches!(pair.outcomes[1], Some(Ok(_))));
    let mut pair = Pair::new(
        keying(DtlsRole::Client, &a, b.fingerprint(sha), &profiles),
        keying(DtlsRole::Server, &b, c.fingerprint(sha), &profiles),
    );
    pair.run(|_| false);
    assert!(matches!(pair.outcomes[1], Some(Err(DtlsFailure::Fingerprint))));
}

#[test]
fn no_profile_in_common_is_told_as_such() {
    let (a, b) = (identity(), identity());
    let sha = FingerprintHash::Sha256;
    let mut pair = Pair::new(
        keying(DtlsRole::Client, &a, b.fingerprint(sha), &[SrtpProfile::AeadAes128Gcm]),
        keying(DtlsRole::Server, &b, a.fingerprint(sha), &[SrtpProfile::Aes128CmHmacSha1_80]),
    );
    pair.run(|_| false);
    assert!(matches!(pair.outcomes[1], Some(Err(DtlsFailure::NoProfile))));
}

#[test]
fn a_silent_peer_ends_in_a_timeout() {
    let mut pair = good_pair(&[SrtpProfile::AeadAes128Gcm]);
    pair.run(|_| true);
    for outcome in &pair.outcomes {
        assert!(matches!(outcome, Some(Err(DtlsFailure::Timeout))));
    }
}

#[test]
fn rubbish_before_the_handshake_does_not_hinder_it() {
    let mut pair = good_pair(&[SrtpProfile::AeadAes128Gcm]);
    for length in 0..60 {
        let rubbish: Vec<u8> = (0..length).map(|i| if i == 0 { 22 } else { i as u8 ^ 0x5a }).collect();
        assert!(pair.server.handle(&rubbish, pair.now).is_none());
        assert!(pair.client.handle(&rubbish, pair.now).is_none());
    }
    pair.run(|_| false);
    pair.keys();
}

/// A child that is gone when the test is.
struct OpenSsl {
    child: Child,
    _directory: Directory,
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Certificate {
    directory: Directory,
    certificate: PathBuf,
    key: PathBuf,
    fingerprint: Fingerprint,
}

fn openssl_is_here() -> bool {
    let here = Command::new("openssl").arg("version").output().is_ok();
    if !here {
        println!("skipped: no openssl on this machine");
    }
    here
}

fn certificate(kind: &[&str]) -> Certificate {
    let directory = Directory::new("dtls");
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=phone", "-newkey"])
        .args(kind)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let der = Command::new("openssl").args(["x509", "-outform", "DER", "-in"]).arg(&certificate).output().unwrap();
    let fingerprint = Fingerprint::of(FingerprintHash::Sha256, &der.stdout);
    Certificate { directory, certificate, key, fingerprint }
}

/// Starts `s_client` or `s_server` with a certificate, to print the keying material of DTLS-SRTP.
fn start(mode: &str, certificate: Certificate, more: &[&str]) -> OpenSsl {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let child = Command::new("openssl")
        .args([mode, "-dtls1_2", "-cipher", "DEFAULT@SECLEVEL=0"])
        .args(["-cert", &path(&certificate.certificate), "-key", &path(&certificate.key)])
        .args(["-use_srtp", "SRTP_AES128_CM_SHA1_80", "-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", "60"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    OpenSsl { child, _directory: certificate.directory }
}

/// Drives our side over a real socket until it has keys.
fn drive(dtls: &mut Dtls, socket: &UdpSocket, connected: bool) -> DtlsKeys {
    let end = Instant::now() + Duration::from_secs(15);
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut peer = connected.then(|| socket.peer_addr().unwrap());
    let mut buffer = [0; 2_048];
    dtls.start(Instant::now());
    let mut keys = None;
    while Instant::now() < end {
        while let Some(datagram) = dtls.poll_transmit() {
            match (connected, peer) {
                // A server that is not up yet refuses: the flight will be repeated.
                (true, _) => drop(socket.send(&datagram)),
                (false, Some(peer)) => drop(socket.send_to(&datagram, peer)),
                (false, None) => {}
            }
        }
        if let Some(keys) = keys {
            return keys;
        }
        if let Ok((length, source)) = socket.recv_from(&mut buffer) {
            peer = Some(source);
            match dtls.handle(&buffer[..length], Instant::now()) {
                Some(Ok(done)) => keys = Some(done),
                Some(Err(failure)) => panic!("{failure:?}"),
                None => {}
            }
        }
        if let Some(Err(failure)) = dtls.handle_timeout(Instant::now()) {
            panic!("{failure:?}");
        }
    }
    panic!("no keys in time");
}

/// The 60 bytes that OpenSSL exported, in its order.
fn exported(openssl: &mut OpenSsl) -> Vec<u8> {
    let mut lines = BufReader::new(openssl.child.stdout.take().unwrap()).lines();
    let hex = lines
        .find_map(|line| Some(line.ok()?.trim().strip_prefix("Keying material: ")?.to_owned()))
        .expect("openssl printed keying material");
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn in_wire_order(client: &[u8], server: &[u8]) -> Vec<u8> {
    [&client[..16], &server[..16], &client[16..], &server[16..]].concat()
}

const KINDS: [&[&str]; 3] = [&["rsa:2048"], &["rsa:1024"], &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]];

#[test]
fn we_are_client_to_openssl_with_rsa_and_ecdsa() {
    if !openssl_is_here() {
        return;
    }
    for kind in KINDS {
        let identity = identity();
        let certificate = certificate(kind);
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let keying = keying(
            DtlsRole::Client,
            &identity,
            certificate.fingerprint.clone(),
            &[SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80],
        );
        let accept = format!("127.0.0.1:{port}");
        let mut openssl = start("s_server", certificate, &["-accept", &accept, "-verify", "1"]);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(&accept).unwrap();
        let mut dtls = Dtls::new(keying, Instant::now()).unwrap();
        let keys = drive(&mut dtls, &socket, true);
        assert_eq!(keys.profile, SrtpProfile::Aes128CmHmacSha1_80);
        let ours = in_wire_order(&keys.local.concatenated(), &keys.remote.concatenated());
        assert_eq!(exported(&mut openssl), ours, "{kind:?}");
    }
}

#[test]
fn we_are_server_to_openssl_with_rsa_and_ecdsa() {
    if !openssl_is_here() {
        return;
    }
    for kind in KINDS {
        let identity = identity();
        let certificate = certificate(kind);
        let keying = keying(
            DtlsRole::Server,
            &identity,
            certificate.fingerprint.clone(),
            &[SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80],
        );
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let connect = socket.local_addr().unwrap().to_string();
        let mut openssl = start("s_client", certificate, &["-connect", &connect]);
        let mut dtls = Dtls::new(keying, Instant::now()).unwrap();
        let keys = drive(&mut dtls, &socket, false);
        let ours = in_wire_order(&keys.remote.concatenated(), &keys.local.concatenated());
        assert_eq!(exported(&mut openssl), ours, "{kind:?}");
        // It must live until it has printed; now it may go.
        openssl.child.stdin.take().unwrap().write_all(b"Q\n").unwrap();
        let mut rest = String::new();
        let _ = openssl.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut rest));
    }
}
