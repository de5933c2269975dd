//! A development certificate authority and the certificates that every role needs.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use jiff::civil::Date;
use jiff::{Span, Zoned, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use crate::output;

/// Days for which a development authority is good.
pub const AUTHORITY_LIFETIME_DAYS: i64 = 1825;

/// Days for which a certificate of the development authority is good.
pub const LEAF_LIFETIME_DAYS: i64 = 397;

/// The name that a worker's certificate carries unless another is asked for.
pub const WORKER_NAME: &str = "worker.example.test";

/// Arguments of `postern certs`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory to write to; made if missing. Nothing in it is ever overwritten
    #[arg(long)]
    dir: PathBuf,
    /// Host name or IP address that the edge's certificates are for; may be given several times
    #[arg(long = "name", num_args = 1.., default_values = ["localhost", "127.0.0.1", "::1"])]
    names: Vec<String>,
    /// Name in the router's certificate (`router.host`)
    #[arg(long, default_value = "router.example.test")]
    router: String,
    /// Name in the UM service's certificate (`um.host`)
    #[arg(long, default_value = "um.example.test")]
    um: String,
    /// Name in the workers' certificate (`worker.host`, and the edge's `allowed_names`)
    #[arg(long, default_value = WORKER_NAME)]
    worker: String,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Server,
    /// A SIP role: server of who calls it, client of the next hop, and of the token service.
    Both,
}

/// Names, at least one each, that the certificates of the roles are for.
pub struct Names {
    /// The edge's, and its token service's.
    pub edge: Vec<String>,
    pub router: Vec<String>,
    pub um: Vec<String>,
    pub worker: Vec<String>,
}

/// A certificate and its private key, both PEM.
pub struct Pair {
    /// The certificate itself; the authority is not appended.
    pub certificate_pem: String,
    /// PKCS #8.
    pub key_pem: String,
}

/// A private certificate authority, ECDSA P-256.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes an authority with a fresh key.
    ///
    /// # Errors
    /// Only when the system's random source or the crypto provider fails.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = dated(CertificateParams::default(), AUTHORITY_LIFETIME_DAYS)?;
        params.distinguished_name.push(DnType::CommonName, "Postern development CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, key)?))
    }

    /// The authority's own certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate with a fresh key for `names`: host names or IP addresses, at least one.
    ///
    /// # Errors
    /// When there is no name, or one is not ASCII.
    pub fn issue(&self, names: &[String], usage: Usage) -> Result<Pair> {
        let Some(first) = names.first() else {
            bail!("a certificate needs at least one name: give --name HOST");
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = CertificateParams::new(names.to_vec())
            .with_context(|| format!("{} cannot be certificate names", names.join(", ")))?;
        let mut params = dated(params, LEAF_LIFETIME_DAYS)?;
        params.distinguished_name.push(DnType::CommonName, first.as_str());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let (server, client) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
        params.extended_key_usages = match usage {
            Usage::Server => vec![server],
            Usage::Both => vec![server, client],
        };
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Pair { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// Runs `postern certs`.
///
/// # Errors
/// When a file exists already or cannot be written; nothing has been written then unless the disk itself failed.
pub fn run(args: Args) -> Result<ExitCode> {
    let names = Names { edge: args.names, router: vec![args.router], um: vec![args.um], worker: vec![args.worker] };
    for path in write_set(&args.dir, &names)? {
        output::print_line(path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The files of an authority without its key: `ca.pem` and the pairs that `config/postern.toml` names, `edge`,
/// `edge-internal`, `router`, `um` and `worker`; by name, with what is in them.
///
/// # Errors
/// As [`Authority::issue`].
pub fn issue_set(authority: &Authority, names: &Names) -> Result<Vec<(String, String)>> {
    let mut files = vec![("ca.pem".to_owned(), authority.certificate_pem())];
    for (stem, names, usage) in [
        ("edge", &names.edge, Usage::Server),
        ("edge-internal", &names.edge, Usage::Server),
        ("router", &names.router, Usage::Both),
        ("um", &names.um, Usage::Both),
        ("worker", &names.worker, Usage::Both),
    ] {
        let pair = authority.issue(names, usage)?;
        files.push((format!("{stem}.pem"), pair.certificate_pem));
        files.push((format!("{stem}.key"), pair.key_pem));
    }
    Ok(files)
}

/// Writes a new authority, its key and the files of [`issue_set`] into `dir`; answers the paths written.
///
/// # Errors
/// When any of the files exists already (before anything is written), or the directory cannot be written to.
pub fn write_set(dir: &Path, names: &Names) -> Result<Vec<PathBuf>> {
    let authority = Authority::new()?;
    let mut files = issue_set(&authority, names)?;
    files.push(("ca.key".to_owned(), authority.0.key().serialize_pem()));

    let present: Vec<&str> =
        files.iter().map(|(name, _)| name.as_str()).filter(|name| dir.join(name).exists()).collect();
    if !present.is_empty() {
        bail!("{} already holds {}: choose another directory, or move them away", dir.display(), present.join(", "));
    }
    make_private_dir(dir)?;
    let mut written = Vec::with_capacity(files.len());
    for (name, contents) in &files {
        let path = dir.join(name);
        write_new(&path, contents)?;
        written.push(path);
    }
    Ok(written)
}

/// Makes `dir` and its missing parents; what is new is readable by its owner alone.
///
/// # Errors
/// When it cannot be made.
pub fn make_private_dir(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make the directory {}", dir.display()))
}

/// Writes a file that must not exist yet; mode 0600 where the name ends in `.key`, 0644 otherwise.
///
/// # Errors
/// When it exists (a symbolic link counts), or cannot be written.
pub fn write_new(path: &Path, contents: &str) -> Result<()> {
    let is_key = path.extension().is_some_and(|extension| extension == "key");
    write_with_mode(path, contents, if is_key { 0o600 } else { 0o644 })
}

/// As [`write_new`], for its owner alone whatever the name.
///
/// # Errors
/// As `write_new`.
pub fn write_private(path: &Path, contents: &str) -> Result<()> {
    write_with_mode(path, contents, 0o600)
}

fn write_with_mode(path: &Path, contents: &str, mode: u32) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(contents.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// Valid from yesterday, so that a machine whose clock is a little late accepts it too.
fn dated(mut params: CertificateParams, lifetime_days: i64) -> Result<CertificateParams> {
    let today = Zoned::now().with_time_zone(TimeZone::UTC).date();
    let day = |date: Date| date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    params.not_before = day(today.checked_sub(Span::new().days(1))?);
    params.not_after = day(today.checked_add(Span::new().days(lifetime_days))?);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::{WebPkiServerVerifier, danger::ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

    use super::*;
    use crate::scratch::Scratch;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    /// As the sample has them.
    fn sample_names() -> Names {
        let [edge, router, um, worker] =
            ["edge", "router", "um", "worker"].map(|role| names(&[&format!("{role}.example.test")]));
        Names { edge, router, um, worker }
    }

    #[test]
    fn a_set_makes_the_sample_pass() {
        let scratch = Scratch::new().unwrap();
        write_set(scratch.path(), &sample_names()).unwrap();
        write_private(&scratch.path().join("turn.secret"), "a-secret-of-this-test-alone\n").unwrap();
        let sample = scratch.path().join("postern.toml");
        write_private(&sample, include_str!("../../config/postern.toml")).unwrap();
        let machine = ["203.0.113.10", "2001:db8::10", "10.20.0.10", "10.20.0.20", "10.20.0.21"];
        let faults = postern_config::load(&sample, &machine.map(|address| address.parse().unwrap())).err();
        let faults: Vec<String> = faults.iter().flatten().map(ToString::to_string).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[test]
    fn a_set_holds_an_authority_and_five_pairs_with_private_keys() {
        let scratch = Scratch::new().unwrap();
        let dir = scratch.path().join("new");
        let written = write_set(&dir, &sample_names()).unwrap();
        assert_eq!(written.len(), 12);
        for path in written {
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if path.extension().unwrap() == "key" { 0o600 } else { 0o644 }, "{}", path.display());
        }
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn nothing_is_written_when_one_file_exists() {
        let scratch = Scratch::new().unwrap();
        let mine = scratch.path().join("worker.pem");
        std::fs::write(&mine, "mine").unwrap();
        let refusal = write_set(scratch.path(), &sample_names()).unwrap_err().to_string();
        assert!(refusal.contains("worker.pem"), "{refusal}");
        assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_edge_certificate_is_accepted_for_its_names_and_no_other() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let authority = Authority::new().unwrap();
        let pair = authority.issue(&names(&["edge.example.test", "127.0.0.1", "::1"]), Usage::Server).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let leaf = CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes()).unwrap();
        let judge = |name: &str| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).is_ok()
        };
        assert!(judge("edge.example.test") && judge("127.0.0.1") && judge("::1"));
        assert!(!judge("other.example.test") && !judge("127.0.0.2"));
    }

    #[test]
    fn a_certificate_without_a_name_is_refused() {
        assert!(Authority::new().unwrap().issue(&[], Usage::Server).is_err());
    }
}
