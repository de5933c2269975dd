//! Rules on what leaves by itself (our own calls and notifications, mail) and on the page, with the line that each names.

use crate::testing::{CALL, Scratch, accepted, call_with, load_text, machine, printed, refuses, source, warns};
use crate::tree_owner::{MailSecurity, MailServer};
use crate::{Loaded, load_source};

/// To be added to [`CALL`]; its header is line 56.
const WEB: &str = "[web]\nlisten = \"10.20.0.20:8444\"\ncertificate = \"call.pem\"\nprivate_key = \"call.key\"\n";
/// To be added to [`CALL`]; its header is line 56.
const MAIL: &str = "[mail]\nsmtp = \"smtp://mail.example.test\"\nfrom = \"voicemail@example.test\"\n";

fn web(old: &str, new: &str) -> String {
    assert!(WEB.contains(old));
    format!("{CALL}{}", WEB.replacen(old, new, 1))
}

fn mail(old: &str, new: &str) -> String {
    assert!(MAIL.contains(old));
    format!("{CALL}{}", MAIL.replacen(old, new, 1))
}

/// [`CALL`] with lines added to its second gateway, whose header is line 44.
fn gateway(lines: &str) -> String {
    let last = "name = \"gw.example.test\"\ndial_plan = \"sealed\"\n";
    call_with(last, &format!("{last}{lines}"))
}

/// [`CALL`] with lines added to its first plan, whose header is line 48.
fn plan(lines: &str) -> String {
    call_with("pilots = [\"7000\"]\n", &format!("pilots = [\"7000\"]\n{lines}"))
}

fn load_with(text: &str, files: &[(&str, &str)]) -> Loaded {
    let source = files.iter().fold(source(text), |source, (name, contents)| source.with_file(name, *contents));
    load_source(&source, &machine()).unwrap_or_else(|errors| panic!("refused: {}", printed(&errors)))
}

#[test]
fn nothing_leaves_by_itself_unless_written() {
    let config = accepted(CALL);
    assert!(config.web.is_none() && config.mail.is_none());
    for gateway in &config.gateways {
        assert!(gateway.target.is_none() && !gateway.outcalls && gateway.mwi && gateway.credentials.is_none());
    }
    assert!(config.dial_plans.iter().all(|plan| plan.allow.is_empty()));
    assert_eq!(config.um.map(|um| um.outcalls_per_hour), Some(20));
    assert_eq!(config.worker.map(|worker| worker.ring_secs), Some(60));
}

#[test]
fn a_page_listens_where_it_is_told_and_knows_its_url() {
    let page = |text: &str| accepted(text).web.expect("on");
    let one = page(&web("", ""));
    assert_eq!(one.listen, ["10.20.0.20:8444".parse().expect("an address")]);
    assert_eq!(one.url, "https://router.example.test:8444");
    assert!(one.admin_tokens.is_empty());
    let two = page(&web("\"10.20.0.20:8444\"", "[\"10.20.0.20:443\", \"10.20.0.21:8444\"]"));
    assert_eq!((two.listen.len(), two.url.as_str()), (2, "https://router.example.test"));
    let written = page(&format!("{CALL}{WEB}url = \"https://um.example.test/\"\n"));
    assert_eq!(written.url, "https://um.example.test");
    let openings = accepted(&web("", "")).openings();
    let opening = openings.iter().find(|opening| opening.key == "web.listen").expect("named");
    assert_eq!((opening.address.to_string(), opening.ports.first), ("10.20.0.20".into(), 8444));
}

#[test]
fn a_page_lacking_its_keys_is_refused_for_each_of_them() {
    let errors = load_text(&format!("{CALL}[web]\n")).expect_err("nothing is there");
    let keys: Vec<(usize, &str)> = errors.iter().map(|error| (error.line, error.key.as_str())).collect();
    assert_eq!(keys, [(56, "web.listen"), (56, "web.certificate"), (56, "web.private_key")]);
    refuses(&web("\"10.20.0.20:8444\"", "[]"), "57: web.listen", "is empty");
    refuses(&web("\"10.20.0.20:8444\"", "8444"), "57: web.listen", "is of type integer");
    refuses(&web("10.20.0.20:8444", "10.20.0.20:5063"), "57: web.listen", "is taken by um.tls[0] (line 15)");
    refuses(&web("10.20.0.20:8444", "10.20.0.20:5065"), "57: web.listen", "is taken by worker.slots[0]");
    refuses(
        &format!("{CALL}{WEB}admin_tokens_file = \"x\"\n"),
        "60: web.admin_tokens_file",
        "did you mean admin_token_file?",
    );
    refuses(&format!("{CALL}{WEB}url = \"http://um.example.test\"\n"), "60: web.url", "does not start with https://");
    warns(&format!("{CALL}{WEB}url = \"https://mail.example.test\"\n"), "60: web.url", "mail.example.test is not in");
}

#[test]
fn page_and_mail_belong_to_a_um_service() {
    let router = CALL.split_once("[um]").expect("in it").0;
    let rest = CALL.split_once("[[gateway]]").expect("in it").1;
    for (table, lines) in [("web", WEB), ("mail", MAIL)] {
        let errors = load_text(&format!("{router}[[gateway]]{rest}{lines}")).expect_err("no UM service");
        assert!(printed(&errors).contains(&format!("{table}: stands without um")), "{}", printed(&errors));
    }
}

#[test]
fn one_or_two_tokens_of_an_administrator_are_taken_from_a_file() {
    let text = format!("{CALL}{WEB}admin_token_file = \"admin.token\"\n");
    let tokens = |contents: &str| {
        let loaded = load_with(&text, &[("admin.token", contents)]);
        let tokens = loaded.config.web.expect("on").admin_tokens;
        tokens.iter().map(|token| String::from_utf8_lossy(token.expose()).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tokens("the-next-token-of-all\n"), ["the-next-token-of-all"]);
    assert_eq!(tokens("the-next-token-of-all\r\n\nthe-former-token"), ["the-next-token-of-all", "the-former-token"]);
    for (contents, what) in [("", "holds 0 tokens"), ("short\n", "is a secret of 5 bytes"), (&"x".repeat(16), "")] {
        let source = source(&text).with_file("admin.token", contents);
        match load_source(&source, &machine()) {
            Ok(_) => assert!(what.is_empty(), "{contents} is taken"),
            Err(errors) => {
                let all = printed(&errors);
                assert!(all.starts_with("edge.toml:60: web.admin_token_file: ") && all.contains(what), "{all}");
            }
        }
    }
    let three = "the-first-token-of-all\n".repeat(3);
    let errors = load_source(&source(&text).with_file("admin.token", three), &machine()).expect_err("three");
    assert!(printed(&errors).contains("holds 3 tokens"), "{}", printed(&errors));
}

#[test]
fn mail_leaves_under_tls_or_to_loopback() {
    let server = |smtp: &str| accepted(&mail("smtp://mail.example.test", smtp)).mail.expect("on").server;
    for (smtp, meant) in [
        ("smtp://Mail.example.test", "smtp://mail.example.test:587"),
        ("smtp://mail.example.test:25", "smtp://mail.example.test:25"),
        ("smtps://mail.example.test", "smtps://mail.example.test:465"),
        ("smtps://[2001:db8::25]:465", "smtps://[2001:db8::25]:465"),
        ("smtp+plain://127.0.0.1:1025", "smtp+plain://127.0.0.1:1025"),
        ("smtp+plain://[::1]", "smtp+plain://[::1]:25"),
    ] {
        assert_eq!(server(smtp).to_string(), meant);
    }
    let named = MailServer { host: "mail.example.test".into(), port: 587, security: MailSecurity::StartTls };
    assert_eq!(server("smtp://mail.example.test"), named);
    for (smtp, what) in [
        ("smtp+plain://mail.example.test", "in clear beyond this machine"),
        ("smtp+plain://localhost", "in clear beyond this machine"),
        ("smtp+plain://203.0.113.25", "in clear beyond this machine"),
        ("mail.example.test:587", "does not start with smtp://"),
        ("smtp://alice@mail.example.test", "no valid host"),
        ("smtp://mail.example.test:0", "no valid port"),
        ("smtp://mail.example.test/x", "no valid host"),
    ] {
        refuses(&mail("smtp://mail.example.test", smtp), "57: mail.smtp", what);
    }
}

#[test]
fn mail_names_who_it_is_from() {
    let config = accepted(&mail("", "")).mail.expect("on");
    assert_eq!(config.from, "voicemail@example.test");
    assert!(config.credentials.is_none() && config.ca.is_none());
    assert!(config.queue.ends_with("nonexistent/mail"));
    for from in [
        "",
        "voicemail",
        "a@b@c.test",
        "a b@example.test",
        "a@exa mple.test",
        "a@",
        "@b.test",
        "ä@b.test",
        "a@b..c",
        "a@b-.test",
    ] {
        refuses(&mail("voicemail@example.test", from), "58: mail.from", "is no mail address");
    }
    refuses(&mail("voicemail@example.test", "a@b.test\\r\\nBcc: c@d.test"), "58: mail.from", "is no mail address");
    let errors = load_text(&format!("{CALL}[mail]\n")).expect_err("nothing is there");
    assert_eq!(errors.iter().map(|error| error.key.as_str()).collect::<Vec<_>>(), ["mail.smtp", "mail.from"]);
}

#[test]
fn user_names_and_passwords_come_together_and_are_not_shown() {
    let login = "username = \"postern\"\npassword_file = \"login.secret\"\n";
    let files = [("login.secret", "a b c ü\n")];
    let target = "target = \"sip:gw.example.test:5061;transport=tls\"\n";
    let loaded = load_with(&format!("{}{MAIL}{login}", gateway(&format!("{target}{login}"))), &files);
    let gateway_login = loaded.config.gateways[1].credentials.clone().expect("written");
    let mail_login = loaded.config.mail.clone().expect("on").credentials.expect("written");
    for credentials in [gateway_login, mail_login] {
        assert_eq!((credentials.username.as_str(), credentials.password.expose()), ("postern", "a b c ü"));
    }
    assert!(!format!("{:?}", loaded.config).contains("a b c"));
    refuses(&format!("{CALL}{MAIL}username = \"postern\"\n"), "59: mail.username", "stands without password_file");
    let alone = format!("{CALL}{MAIL}password_file = \"turn.secret\"\n");
    refuses(&alone, "59: mail.password_file", "stands without username");
    for contents in ["", "\n", "one\ntwo", "a\tb"] {
        let source = source(&format!("{CALL}{MAIL}{login}")).with_file("login.secret", contents);
        let all = printed(&load_source(&source, &machine()).expect_err("no password"));
        assert!(all.starts_with("edge.toml:60: mail.password_file: ") && all.contains("holds no password"), "{all}");
    }
}

#[cfg(unix)]
#[test]
fn passwords_and_tokens_that_everybody_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Scratch::new();
    let (certificate, key) = crate::testing::pem_pair_for(
        &crate::testing::key(),
        &["router.example.test", "um.example.test", "worker.example.test"],
    );
    let text = format!(
        "{CALL}{WEB}admin_token_file = \"admin.token\"\n{MAIL}username = \"postern\"\npassword_file = \"mail.secret\"\n"
    );
    for (name, contents) in [
        ("postern.toml", text.as_str()),
        ("call.pem", &certificate),
        ("call.key", &key),
        ("admin.token", "the-next-token-of-all\n"),
        ("mail.secret", "a-password\n"),
    ] {
        directory.write(name, contents);
    }
    let refused = |mode: u32| {
        for name in ["call.key", "admin.token", "mail.secret"] {
            std::fs::set_permissions(directory.path(name), std::fs::Permissions::from_mode(mode)).expect("own files");
        }
        match crate::load(&directory.path("postern.toml"), &machine()) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.into_iter().map(|error| (error.line, error.key)).collect::<Vec<_>>(),
        }
    };
    assert_eq!(refused(0o640), []);
    assert_eq!(refused(0o644), [(60, "web.admin_token_file".into()), (65, "mail.password_file".into())]);
}

#[test]
fn a_gateway_is_called_at_its_target() {
    let target = "target = \"sip:gw.example.test:5061;transport=tls\"\n";
    let config = accepted(&gateway(&format!("{target}mwi = false\n")));
    let gw = &config.gateways[1];
    assert_eq!(
        gw.target.as_ref().map(|target| target.to_string()).as_deref(),
        Some("sip:gw.example.test:5061;transport=tls")
    );
    assert!(!gw.outcalls && !gw.mwi);
    refuses(&gateway("outcalls = true\n"), "47: gateway[1].outcalls", "stands without target");
    refuses(&gateway("mwi = true\n"), "47: gateway[1].mwi", "stands without target");
    accepted(&gateway("mwi = false\n"));
    refuses(&gateway("target = \"sip:pbx@gw.example.test\"\n"), "47: gateway[1].target", "names a user");
    refuses(
        &gateway("target = \"sip:gw.example.test\"\n"),
        "47: gateway[1].target",
        "is not TLS, which dial plan sealed",
    );
}

#[test]
fn a_target_under_tls_needs_certificates_to_show() {
    let target = "address = \"203.0.113.0/24\"\ntarget = \"sip:gw.example.test;transport=tls\"\n";
    let text = call_with("address = \"203.0.113.0/24\"\n", target)
        .replace("\"dual\"", "\"tcp\"")
        .replace("\"secured\"", "\"unsecured\"");
    accepted(&text);
    let identity = "host = \"worker.example.test\"\ncertificate = \"call.pem\"\nprivate_key = \"call.key\"\nclient_ca = \"call.pem\"\n";
    assert!(text.contains(identity));
    let errors = load_text(&text.replacen(identity, "", 1)).expect_err("no certificate");
    let all = printed(&errors);
    assert!(
        errors.len() == 1 && all.contains("gateway[0].target") && all.contains("[worker] has no certificate"),
        "{all}"
    );
}

#[test]
fn rules_on_what_may_be_called_are_prefixes_numbers_and_hosts() {
    let config = accepted(&plan("allow = [\"+1*\", \"9*\", \"7000\", \"sip:*@pbx.example.test\"]\n"));
    let rules: Vec<String> = config.dial_plans[0].allow.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["+1*", "9*", "7000", "sip:*@pbx.example.test"]);
    refuses(
        &plan("allow = [\"1\", \"1*2\"]\n"),
        "51: dial_plan[0].allow[1]",
        "\"1*2\" has something other than digits",
    );
    refuses(&plan("allow = [\"sip:*@*\"]\n"), "51: dial_plan[0].allow[0]", "no valid host");
    refuses(&plan("allow = [\"9*\", \"9*\"]\n"), "51: dial_plan[0].allow[1]", "9* is there twice");
    let e164 = "uri_type = \"e164\"\npilots = [\"+15557000\"]\nallow = [\"+1*\", \"0*\"]\n";
    warns(&call_with("pilots = [\"7000\"]\n", e164), "52: dial_plan[0].allow[1]", "0* lets nothing pass");
    warns(&plan("allow = [\"*\"]\n"), "51: dial_plan[0].allow[0]", "call everywhere at your expense");
    let calling = "target = \"sip:gw.example.test;transport=tls\"\noutcalls = true\n";
    warns(&gateway(calling), "54: dial_plan[1].allow", "nothing may be called");
}
