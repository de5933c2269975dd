//! What `postern up` prints, to be copied: where everything is, how to call it, and all that a proof of the edge takes.

use std::fmt::Write;
use std::net::SocketAddr;

use postern_edge::Listening;

use crate::up_mailboxes::Mailbox;
use crate::up_premises::{PILOT, Premises};

pub(crate) struct Printed<'a> {
    pub(crate) listening: &'a Listening,
    pub(crate) premises: &'a Premises,
    pub(crate) mailboxes: &'a [Mailbox],
    pub(crate) program: &'a str,
}

impl Printed<'_> {
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("Postern is up. Ctrl-C ends it and removes what it made.\n\n");
        self.write_addresses(&mut text);
        self.write_calls(&mut text);
        self.write_page(&mut text);
        self.write_edge(&mut text);
        text
    }

    fn write_addresses(&self, text: &mut String) {
        let ports = &self.premises.ports;
        let (router, um) = (ports.router, ports.um);
        let listening = self.listening;
        for (name, addresses) in [
            ("router", ports.on_all(router.tcp)),
            ("router tls", ports.on_all(router.tls)),
            ("um", ports.on_all(um.tcp)),
            ("um tls", ports.on_all(um.tls)),
            ("turn udp", listening.udp.clone()),
            ("turn tcp", listening.tcp.clone()),
            ("turn tls", listening.tls.clone()),
        ] {
            let _ = writeln!(text, "  {name:<10} {}", joined(&addresses));
        }
        if let Some(address) = listening.tokens {
            let _ = writeln!(text, "  {:<10} https://{address}/v1/tokens (mutual TLS)", "tokens");
        }
        if let Some(address) = listening.telemetry {
            let [slot_a, slot_b] = ports.metrics.slots;
            let others = [ports.metrics.router, ports.metrics.um, slot_a, slot_b];
            let others: Vec<String> = others.iter().map(|port| format!(":{port}")).collect();
            let _ = writeln!(
                text,
                "  {:<10} http://{address}/metrics; router, um and workers at {}",
                "telemetry",
                others.join(" ")
            );
        }
        let token = &self.premises.token;
        let _ = writeln!(text, "  {:<10} username {}  password {}", "token", token.username, token.password());
    }

    fn write_calls(&self, text: &mut String) {
        let uri = |user: &str| format!("sip:{user}@127.0.0.1:{};transport=tcp", self.premises.ports.router.tcp);
        let _ = writeln!(text, "\nLeave a message, with a SIP phone on this machine that follows redirects:");
        for mailbox in self.mailboxes {
            let _ = writeln!(text, "  {:<10} {}", mailbox.name, uri(mailbox.number));
        }
        let _ = writeln!(text, "\nHear it: call {}, then press the mailbox number and #, the PIN and #", uri(PILOT));
        for mailbox in self.mailboxes {
            let _ = writeln!(text, "  {:<10} mailbox {}  PIN {}", mailbox.name, mailbox.number, mailbox.pin.digits());
        }
    }

    fn write_page(&self, text: &mut String) {
        let authority = quoted(&self.premises.directory.join("ca.pem").display().to_string());
        let _ = writeln!(
            text,
            "\nOr hear it in a browser, which does not know the authority {authority}: choose a password by this link, then\n\
             sign in with it and the mailbox number at https://localhost:{}/",
            self.premises.ports.web
        );
        for mailbox in self.mailboxes {
            let _ = writeln!(text, "  {:<10} {}", mailbox.name, mailbox.link);
        }
    }

    fn write_edge(&self, text: &mut String) {
        let directory = quoted(&self.premises.directory.display().to_string());
        let program = quoted(self.program);
        if let Some(address) = self.listening.tokens {
            let _ = write!(
                text,
                "\nAsk the token service for another token:\n  curl --cacert {directory}/ca.pem --cert {directory}/worker.pem \
                 --key {directory}/worker.key -H 'content-type: application/json' \
                 -d '{{\"identity\":\"bob\",\"location\":\"internet\",\"duration_secs\":600}}' \
                 https://{address}/v1/tokens\n"
            );
        }
        let _ = write!(text, "\nProve that the edge relays, in another terminal:\n  {program} doctor");
        for server in self.servers() {
            let _ = write!(text, " --server '{server}'");
        }
        let token = &self.premises.token;
        let _ = writeln!(
            text,
            " --ca {directory}/ca.pem --username '{}' --password '{}'",
            token.username,
            token.password()
        );
    }

    /// What the doctor is to try: `turn:` for UDP and TCP, `turns:` for TLS, every address.
    fn servers(&self) -> Vec<String> {
        let turn = self.listening.udp.iter().map(|address| format!("turn:{address}"));
        let turns = self.listening.tls.iter().map(|address| format!("turns:{address}"));
        turn.chain(turns).collect()
    }
}

fn joined(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join("  ")
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+');
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use postern_mailbox::Pin;

    use super::*;
    use crate::scratch::Scratch;
    use crate::up_ports;

    /// What is printed for a run on the standard ports.
    fn printed() -> (Premises, String) {
        let scratch = Scratch::new().unwrap();
        let premises = Premises::make(scratch.path(), scratch.path(), up_ports::standard(), "warn").unwrap();
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let listening = Listening {
            udp: vec![address(3478)],
            tls: vec![address(5349)],
            tokens: Some(address(8443)),
            ..Listening::default()
        };
        let link = "https://localhost:8444/#/link/once".to_owned();
        let mailboxes = [Mailbox { number: "1001", name: "Alice Ng", pin: Pin::new("739182").unwrap(), link }];
        let program = "/opt/my bin/postern";
        let text = Printed { listening: &listening, premises: &premises, mailboxes: &mailboxes, program }.text();
        (premises, text)
    }

    #[test]
    fn the_doctors_line_is_a_whole_command() {
        let (premises, text) = printed();
        let line = text.lines().find(|line| line.contains(" doctor ")).unwrap();
        let authority = format!("--ca {}/ca.pem", premises.directory.display());
        for part in [
            "'/opt/my bin/postern' doctor",
            "--server 'turn:127.0.0.1:3478'",
            "--server 'turns:127.0.0.1:5349'",
            &authority,
            premises.token.password(),
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn each_mailbox_is_printed_with_its_address_and_pin() {
        let (_, text) = printed();
        for part in [
            "sip:1001@127.0.0.1:5060;transport=tcp",
            "sip:7000@127.0.0.1:5060",
            "mailbox 1001  PIN 739182",
            "  Alice Ng   https://localhost:8444/#/link/once\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
