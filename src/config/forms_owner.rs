//! The forms of single values that web services and mail need: servers, mail addresses, names to sign in with.

use std::net::IpAddr;

use crate::forms_call::https;
use crate::reader::{Value, quoted};
use crate::sip_target::split_port;
use crate::tree_owner::{MailSecurity, MailServer};

const USERNAME_BYTES_MAX: usize = 255;
/// RFC 5321 section 4.5.3.1.3: 256 with the brackets around it.
const MAIL_ADDRESS_BYTES_MAX: usize = 254;
/// RFC 5321 section 4.5.3.1.1.
const LOCAL_PART_BYTES_MAX: usize = 64;

/// `smtp://HOST[:587]` (STARTTLS), `smtps://HOST[:465]`, or `smtp+plain://LOOPBACK[:25]`.
pub(crate) fn mail_server(value: &Value<'_>) -> Option<MailServer> {
    let text = value.string()?;
    let wanted = "write one like \"smtp://mail.example.test:587\" (STARTTLS) or \"smtps://mail.example.test:465\"";
    let (security, port_default, rest) = match text.split_once("://") {
        Some(("smtp", rest)) => (MailSecurity::StartTls, 587, rest),
        Some(("smtps", rest)) => (MailSecurity::Tls, 465, rest),
        Some(("smtp+plain", rest)) => (MailSecurity::Plain, 25, rest),
        _ => return value.error(format!("{} does not start with smtp:// or smtps://", quoted(text)), wanted),
    };
    let (host, port) = match split_port(rest) {
        Ok((host, port)) => (host.to_ascii_lowercase(), port.unwrap_or(port_default)),
        Err(what) => return value.error(format!("{} {what}", quoted(text)), wanted),
    };
    let on_loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if security == MailSecurity::Plain && !on_loopback {
        let what = format!("{} would send mail in clear beyond this machine", quoted(text));
        return value.error(what, "write smtp:// (STARTTLS) or smtps://; smtp+plain:// is for 127.0.0.1 and [::1]");
    }
    Some(MailServer { host, port, security })
}

/// An address of mail without a display name: what stands in a header needs no quoting, and cannot end it.
pub(crate) fn mail_address(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    if !is_mail_address(text) {
        return value
            .error(format!("{} is no mail address", quoted(text)), "write one like \"voicemail@example.test\"");
    }
    Some(text.into())
}

/// RFC 5321 section 4.1.2, dot-strings and names alone.
fn is_mail_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let in_local = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let atom = |atom: &str| !atom.is_empty() && atom.bytes().all(in_local);
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let good_ends = !label.starts_with('-') && !label.ends_with('-');
        !label.is_empty() && label.len() <= 63 && good_ends && label.bytes().all(plain)
    };
    text.len() <= MAIL_ADDRESS_BYTES_MAX
        && local.len() <= LOCAL_PART_BYTES_MAX
        && local.split('.').all(atom)
        && domain.split('.').all(label)
}

/// A name to sign in with.
pub(crate) fn username(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    if text.is_empty() || text.len() > USERNAME_BYTES_MAX || text.chars().any(char::is_control) {
        let remedy = format!("write 1 to {USERNAME_BYTES_MAX} bytes without control characters");
        return value.error(format!("{} is no user name", quoted(text)), remedy);
    }
    Some(text.into())
}

/// `https://HOST[:PORT]` as it was meant, and its host.
pub(crate) fn page(value: &Value<'_>) -> Option<(String, String)> {
    let (host, port) = https(value)?;
    Some((page_at(&host, port), host))
}

/// The URL of a page at `host`, a name or an address without brackets.
pub(crate) fn page_at(host: &str, port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") }
}
