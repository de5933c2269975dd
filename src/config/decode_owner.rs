//! `[web]`, `[mail]` and the credentials of a gateway to the typed tree, with the defaults of their keys.

use crate::decode::{ADDRESSES_MAX, Listener, ListenerKind, certified_pair};
use crate::decode_call::Reading;
use crate::forms;
use crate::forms_owner::{mail_address, mail_server, page, page_at, username};
use crate::reader::Table;
use crate::tree::CertifiedPair;
use crate::tree_owner::{Credentials, MailConfig, WebConfig};

/// Administrator's tokens that are valid at once: the next one, and the former while it is replaced.
const ADMIN_TOKENS_MAX: usize = 2;

/// `None` when a key of it is missing or faulty.
pub(crate) fn web(table: Table<'_>, reading: Reading<'_, '_>, listeners: &mut Vec<Listener>) -> Option<WebConfig> {
    let key = table.key("listen");
    let listen = table.required("listen", "\"10.20.0.20:8444\"", |value| {
        value.one_or_list(ADDRESSES_MAX, |element| {
            let address = forms::listen_address(element)?;
            listeners.push(Listener { key: element.path().into(), address, kind: ListenerKind::Web });
            Some(address)
        })
    });
    let listen = listen.unwrap_or_default();
    if listen.is_empty() && !reading.notes.faulty(&key) {
        reading.notes.error(&key, "is empty", "name an address with a port, or take [web] out to serve no page");
    }
    for (key, example) in [("certificate", "\"web.pem\""), ("private_key", "\"web.key\"")] {
        if !table.has(key) {
            let remedy = format!("write {key} = {example}: the page is served over HTTPS only");
            reading.notes.error(&table.key(key), "is missing", remedy);
        }
    }
    let certificate = certified_pair(&table, reading.files, reading.notes);
    let written = table.optional("url", page);
    let admin_tokens = table.or("admin_token_file", Vec::new(), |value| {
        reading.files.tokens_file(value.path(), forms::path(value)?, ADMIN_TOKENS_MAX)
    });
    let (key, is_written) = (table.key("url"), table.has("url"));
    table.close();
    let certificate = certificate?;
    let first = listen.first()?;
    let url = match written {
        Some((url, host)) => {
            if !certificate.material.covers(&host) {
                let what = format!("{host} is not in {}", certificate.certificate.display());
                let remedy = "browsers will refuse it: write a name of the certificate, or have the name added to it";
                reading.notes.warn(&key, what, remedy);
            }
            Some(url)
        }
        None if is_written => None,
        None => url_of(&certificate, first.port()),
    };
    if url.is_none() && !reading.notes.faulty(&key) {
        let what = format!("is missing, and {} names no host", certificate.certificate.display());
        reading.notes.error(&key, what, "write url = \"https://voicemail.example.test\"");
    }
    Some(WebConfig { listen, certificate, url: url?, admin_tokens })
}

/// Of the first name, or address, that the certificate stands for.
fn url_of(certificate: &CertifiedPair, port: u16) -> Option<String> {
    let material = &certificate.material;
    let name = material.names.iter().find(|name| !name.starts_with("*.")).cloned();
    let host = name.or_else(|| material.addresses.first().map(|address| address.to_string()))?;
    Some(page_at(&host, port))
}

/// `None` when a key of it is missing or faulty.
pub(crate) fn mail(table: Table<'_>, reading: Reading<'_, '_>) -> Option<MailConfig> {
    let server = table.required("smtp", "\"smtp://mail.example.test:587\"", mail_server);
    let from = table.required("from", "\"voicemail@example.test\"", mail_address);
    let credentials = credentials(&table, reading);
    let ca = table.optional("ca", |value| reading.files.roots(value.path(), forms::path(value)?));
    let queue = reading.files.resolve(table.or("queue", "mail", forms::path));
    table.close();
    Some(MailConfig { server: server?, from: from?, credentials, ca, queue })
}

/// `username` and `password_file` of a table, which come together or not at all.
pub(crate) fn credentials(table: &Table<'_>, reading: Reading<'_, '_>) -> Option<Credentials> {
    let username = table.optional("username", username);
    let password =
        table.optional("password_file", |value| reading.files.password_file(value.path(), forms::path(value)?));
    for (has, lacks) in [("username", "password_file"), ("password_file", "username")] {
        if table.has(has) && !table.has(lacks) {
            let remedy = format!("add {}", table.key(lacks));
            reading.notes.error(&table.key(has), format!("stands without {lacks}"), remedy);
        }
    }
    Some(Credentials { username: username?, password: password? })
}
