//! The certificate a server shows: who vouches for it, for which name, for how long.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::doctor_failure::Failure;
use crate::doctor_report::{Finding, Status};

/// A certificate that ends within this many days is worth a warning.
pub const EXPIRY_WARN_DAYS: i64 = 14;

const DAY_SECS: i64 = 86_400;

/// Where distributions keep the authorities that they trust.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom the doctor trusts to vouch for servers.
pub struct Trust {
    roots: Option<RootCertStore>,
    /// Where the roots came from, for people.
    source: String,
    provider: Arc<CryptoProvider>,
}

/// What a server showed in its handshake.
pub struct Handshake {
    /// Leaf first, as sent.
    pub chain: Vec<CertificateDer<'static>>,
    /// `TLSv1_3` and the like.
    pub version: String,
}

impl Trust {
    /// Trusts the authorities in the PEM file `ca`, else those of the system, else none.
    ///
    /// # Errors
    /// When `ca` cannot be read or holds no certificate.
    pub fn load(ca: Option<&Path>) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        if let Some(path) = ca {
            let roots = read_roots(path)?;
            return Ok(Self { roots: Some(roots), source: path.display().to_string(), provider });
        }
        let found = SYSTEM_BUNDLES.iter().find_map(|path| Some((*path, read_roots(Path::new(path)).ok()?)));
        Ok(match found {
            Some((path, roots)) => Self { roots: Some(roots), source: path.into(), provider },
            None => Self { roots: None, source: "nowhere".into(), provider },
        })
    }

    /// The roots, for connections that must be refused when the server is not trusted.
    pub fn roots(&self) -> Option<&RootCertStore> {
        self.roots.as_ref()
    }

    /// Makes a TLS session with whoever answers, and keeps what was shown. Signatures are verified, the chain is not.
    ///
    /// # Errors
    /// When no session can be agreed on.
    pub async fn handshake(&self, stream: TcpStream, host: &str) -> Result<(TlsStream<TcpStream>, Handshake), Failure> {
        let recorder = Arc::new(Recorder { provider: self.provider.clone(), chain: Mutex::default() });
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Tls(format!("{host} is neither a host name nor an IP address")))?;
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Tls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(recorder.clone())
            .with_no_client_auth();
        // RFC 7443.
        config.alpn_protocols = vec![b"stun.turn".to_vec()];
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| Failure::Tls(format!("no TLS handshake: {error}")))?;
        let version =
            stream.get_ref().1.protocol_version().map_or_else(|| "TLS".into(), |version| format!("{version:?}"));
        let chain = recorder.chain.lock().map(|mut chain| std::mem::take(&mut *chain)).unwrap_or_default();
        Ok((stream, Handshake { chain, version }))
    }

    /// Judges what a server showed: chain, name, expiry. The second value says whether a client would accept it.
    pub fn judge(
        &self,
        path: &str,
        host: &str,
        chain: &[CertificateDer<'_>],
        now_unix_secs: u64,
    ) -> (Vec<Finding>, bool) {
        let Some((leaf, intermediates)) = chain.split_first() else {
            let none = Finding::fail(
                format!("{path} certificate"),
                "the server showed none",
                "configure `certificate` and `private_key`",
            );
            return (vec![none], false);
        };
        let findings = vec![
            self.judge_chain(path, leaf, intermediates, now_unix_secs),
            judge_name(path, host, leaf),
            judge_expiry(path, chain, now_unix_secs),
        ];
        // Without any roots the chain is unknown; that is this machine's lack and not the server's.
        let trusted = findings.iter().all(|finding| finding.status != Status::Fail);
        (findings, trusted)
    }

    fn judge_chain(
        &self,
        path: &str,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now_unix_secs: u64,
    ) -> Finding {
        let check = format!("{path} certificate chain");
        let Some(roots) = &self.roots else {
            let remedy = "give the authority's certificate with --ca, or install ca-certificates";
            return Finding::unknown(check, "this machine trusts no authority", remedy);
        };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_unix_secs));
        let verdict = ParsedCertificate::try_from(leaf).and_then(|parsed| {
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)
        });
        let Err(error) = verdict else {
            return Finding::ok(
                check,
                format!("{} certificate(s), vouched for by {}", 1 + intermediates.len(), self.source),
            );
        };
        let last = intermediates.last().unwrap_or(leaf);
        let remedy = match (&error, issuer(last)) {
            (
                rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer),
                Some((issuer, self_issued)),
            ) => {
                if self_issued {
                    format!(
                        "the chain ends in \"{issuer}\", which {} does not trust: give it with --ca, or use a public authority",
                        self.source
                    )
                } else {
                    format!(
                        "the chain ends in a certificate of \"{issuer}\", which is neither sent nor trusted: append the intermediate certificates to `certificate`, or give the authority with --ca"
                    )
                }
            }
            _ => "renew the certificate, leaf first and intermediates after it in one PEM file".into(),
        };
        Finding::fail(check, format!("clients will refuse it: {error}"), remedy)
    }
}

fn judge_name(path: &str, host: &str, leaf: &CertificateDer<'_>) -> Finding {
    let check = format!("{path} certificate name");
    let verdict = ServerName::try_from(host).map_err(|error| error.to_string()).and_then(|name| {
        let parsed = ParsedCertificate::try_from(leaf).map_err(|error| error.to_string())?;
        verify_server_name(&parsed, &name).map_err(|error| error.to_string())
    });
    match verdict {
        Ok(()) => Finding::ok(check, format!("is for {host}")),
        Err(error) => Finding::fail(
            check,
            format!("is not for {host}: {error}"),
            "reach the server by a name in its certificate, or issue one with this name",
        ),
    }
}

fn judge_expiry(path: &str, chain: &[CertificateDer<'_>], now_unix_secs: u64) -> Finding {
    let check = format!("{path} certificate expiry");
    let now = i64::try_from(now_unix_secs).unwrap_or(i64::MAX);
    let mut validities = Vec::with_capacity(chain.len());
    for der in chain {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Finding::fail(check, "a certificate of the chain cannot be parsed", "issue it anew");
        };
        let validity = certificate.validity();
        validities.push((validity.not_before.timestamp(), validity.not_after.timestamp()));
    }
    let ends = validities.iter().map(|(_, not_after)| *not_after).min().unwrap_or(i64::MIN);
    let begins = validities.iter().map(|(not_before, _)| *not_before).max().unwrap_or(i64::MAX);
    let days = (ends - now).div_euclid(DAY_SECS);
    if now > ends {
        Finding::fail(
            check,
            format!("expired {} day(s) ago", -days),
            "renew it; a running edge picks up the new file by itself",
        )
    } else if now < begins {
        Finding::fail(check, "is not valid yet", "compare the clocks of this machine and of the authority")
    } else if days < EXPIRY_WARN_DAYS {
        Finding::warn(
            check,
            format!("ends in {days} day(s)"),
            "renew it now; a running edge picks up the new file by itself",
        )
    } else {
        Finding::ok(check, format!("{days} days left"))
    }
}

/// Name of the issuer, and whether it is the certificate itself.
fn issuer(certificate: &CertificateDer<'_>) -> Option<(String, bool)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some((parsed.issuer().to_string(), parsed.issuer() == parsed.subject()))
}

fn read_roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", path.display()))?;
    if roots.add_parsable_certificates(certificates).0 == 0 {
        bail!("{} holds no certificate of an authority", path.display());
    }
    Ok(roots)
}

/// Accepts every chain and keeps it; the handshake's own signature is verified as always.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Ok(mut chain) = self.chain.lock() {
            *chain = std::iter::once(end_entity).chain(intermediates).map(|der| der.clone().into_owned()).collect();
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// 2030-01-01.
    const NOW: u64 = 1_893_456_000;

    struct Chain {
        leaf: CertificateDer<'static>,
        intermediate: CertificateDer<'static>,
        trust: Trust,
    }

    /// A root, an intermediate and a leaf for `edge.example.test` that ends on the given day of January 2030.
    fn chain(ends_day: u8) -> Chain {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.not_after = date_time_ymd(2040, 1, 1);
            params
        };
        let root = CertifiedIssuer::self_signed(authority("root"), KeyPair::generate().unwrap()).unwrap();
        let middle = CertifiedIssuer::signed_by(authority("middle"), KeyPair::generate().unwrap(), &root).unwrap();
        let mut params = CertificateParams::new(vec!["edge.example.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2029, 1, 1);
        params.not_after = date_time_ymd(2030, 1, ends_day);
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &middle).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let trust = Trust { roots: Some(roots), source: "test".into(), provider };
        Chain { leaf: leaf.der().clone(), intermediate: middle.der().clone(), trust }
    }

    fn statuses(findings: &[Finding]) -> Vec<Status> {
        findings.iter().map(|finding| finding.status).collect()
    }

    #[test]
    fn a_whole_chain_with_the_right_name_is_trusted() {
        let Chain { leaf, intermediate, trust } = chain(31);
        let (findings, trusted) = trust.judge("tls", "edge.example.test", &[leaf, intermediate], NOW);
        assert_eq!(statuses(&findings), [Status::Ok, Status::Ok, Status::Ok], "{findings:?}");
        assert!(trusted);
    }

    #[test]
    fn a_truncated_chain_fails_and_the_remedy_names_what_is_missing() {
        let Chain { leaf, trust, .. } = chain(31);
        let (findings, trusted) = trust.judge("tls", "edge.example.test", &[leaf], NOW);
        assert!(!trusted);
        assert_eq!(findings[0].status, Status::Fail);
        let remedy = findings[0].remedy.as_deref().unwrap();
        assert!(remedy.contains("middle") && remedy.contains("intermediate"), "{remedy}");
    }

    #[test]
    fn another_name_fails() {
        let Chain { leaf, intermediate, trust } = chain(31);
        let (findings, trusted) = trust.judge("tls", "192.0.2.1", &[leaf, intermediate], NOW);
        assert_eq!(statuses(&findings), [Status::Ok, Status::Fail, Status::Ok]);
        assert!(!trusted);
    }

    #[test]
    fn a_certificate_that_ends_soon_is_warned_of_and_an_ended_one_fails() {
        let Chain { leaf, intermediate, trust } = chain(10);
        let presented = [leaf, intermediate];
        let (findings, trusted) = trust.judge("tls", "edge.example.test", &presented, NOW);
        assert_eq!(findings[2].status, Status::Warn);
        assert!(trusted);
        let (findings, trusted) = trust.judge("tls", "edge.example.test", &presented, NOW + 30 * DAY_SECS as u64);
        assert_eq!(findings[2].status, Status::Fail);
        assert!(!trusted);
    }

    #[test]
    fn without_authorities_the_chain_is_unknown_and_not_ok() {
        let Chain { leaf, intermediate, mut trust } = chain(31);
        trust.roots = None;
        let (findings, _) = trust.judge("tls", "edge.example.test", &[leaf, intermediate], NOW);
        assert_eq!(findings[0].status, Status::Unknown);
    }
}
