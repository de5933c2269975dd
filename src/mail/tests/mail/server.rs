//! SMTP as a server on loopback answers it: who is to blame for what, and what is never said without protection.

use std::net::SocketAddr;

use postern_mail::{Carrier, Failure, Login, Security, Sender, Server, ServerError};
use postern_store::{Blame, Claimed, Letter, Wanted};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::support::*;

/// Serves one connection: each line that begins with the first of a pair is answered by the second; "" closes the
/// connection without an answer. Returns what was said to it.
async fn script(answers: &'static [(&'static str, &'static str)]) -> (SocketAddr, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let mut heard = String::new();
        let (_, greeting) = answers.iter().find(|(said, _)| said.is_empty()).unwrap_or(&("", "220 ready\r\n"));
        write.write_all(greeting.as_bytes()).await.unwrap();
        let mut in_data = false;
        while let Ok(Some(line)) = lines.next_line().await {
            heard.push_str(&line);
            heard.push('\n');
            let said = if in_data && line != "." { continue } else { line };
            let answer = answers.iter().find(|(begin, _)| !begin.is_empty() && said.starts_with(begin));
            let answer = answer.map_or("250 fine\r\n", |(_, answer)| *answer);
            if answer.is_empty() {
                break;
            }
            in_data = answer.starts_with("354");
            if write.write_all(answer.as_bytes()).await.is_err() {
                break;
            }
        }
        let _ = tell.send(heard);
    });
    (address, told)
}

const EHLO: (&str, &str) = ("EHLO", "250-here\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n");
const DATA: (&str, &str) = ("DATA", "354 go on\r\n");

async fn letter() -> (House, Letter) {
    let house = House::new().await;
    house.message(bob()).await;
    let hold = postern_mail::limits::HOLD;
    let Some(Claimed::Letter(letter)) = house.store.claim_letter(house.now, hold, Wanted::Due).await.unwrap() else {
        panic!("a letter")
    };
    (house, *letter)
}

async fn carried(server: &Server) -> Result<(), Failure> {
    let (house, letter) = letter().await;
    let sender = Sender { address: "voicemail@pbx.example.test".parse().unwrap() };
    let composed = sender.compose(&letter, &*house.store).await.unwrap();
    server.carry(&composed).await
}

fn plain(address: SocketAddr, login: Option<Login>) -> Server {
    Server::new("127.0.0.1", address.port(), Security::Plain, login, None, "pbx.example.test").unwrap()
}

async fn said(answers: &'static [(&'static str, &'static str)]) -> Result<(), Failure> {
    let (address, _) = script(answers).await;
    carried(&plain(address, None)).await
}

fn blame(result: Result<(), Failure>) -> Blame {
    match result {
        Err(Failure::Delayed { blame, .. }) => blame,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_letter_goes_from_our_address_to_the_owners() {
    let (address, told) = script(&[EHLO, DATA]).await;
    carried(&plain(address, None)).await.unwrap();
    let heard = told.await.unwrap();
    assert!(heard.starts_with("EHLO pbx.example.test\n"), "{heard}");
    assert!(heard.contains("MAIL FROM:<voicemail@pbx.example.test>\nRCPT TO:<alice@example.test>\nDATA\n"), "{heard}");
}

#[tokio::test]
async fn what_a_server_says_to_the_letter_is_for_now_or_for_ever() {
    for said_to in ["RCPT", "DATA", "."] {
        let (now, ever): (&'static [_], &'static [_]) = match said_to {
            "RCPT" => {
                (&[EHLO, DATA, ("RCPT", "451 greylisted\r\n")], &[EHLO, DATA, ("RCPT", "550-no such\r\n550 user\r\n")])
            }
            "DATA" => (&[EHLO, ("DATA", "451 later\r\n")], &[EHLO, ("DATA", "554 no\r\n")]),
            _ => (&[EHLO, DATA, (".", "452 full\r\n")], &[EHLO, DATA, (".", "552 too large\r\n")]),
        };
        assert_eq!(blame(said(now).await), Blame::Letter, "{said_to}");
        let refused = said(ever).await;
        assert!(matches!(&refused, Err(Failure::Refused { .. })), "{said_to}: {refused:?}");
    }
}

#[tokio::test]
async fn a_server_that_takes_nothing_is_no_letters_fault() {
    assert_eq!(blame(said(&[("", "421 too busy\r\n")]).await), Blame::Server);
    assert_eq!(blame(said(&[("", "554 not you\r\n")]).await), Blame::Server);
    assert_eq!(blame(said(&[EHLO, ("MAIL", "530 sign in first\r\n")]).await), Blame::Server);
    assert_eq!(blame(said(&[EHLO, ("RCPT", "421 going down\r\n")]).await), Blame::Server);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(blame(carried(&plain(address, None)).await), Blame::Server);
}

#[tokio::test]
async fn a_connection_that_is_lost_before_the_answer_is_tried_again() {
    assert_eq!(blame(said(&[EHLO, DATA, (".", "")]).await), Blame::Letter);
}

#[tokio::test]
async fn a_server_without_starttls_hears_neither_password_nor_letter() {
    let (address, told) = script(&[EHLO, DATA]).await;
    let login = Login { username: "postern".into(), password: "geheim".to_owned().into() };
    let server =
        Server::new("127.0.0.1", address.port(), Security::StartTls, Some(login), None, "pbx.example.test").unwrap();
    let failure = carried(&server).await;
    assert!(matches!(&failure, Err(Failure::Delayed { blame: Blame::Server, why }) if why.contains("STARTTLS")));
    let heard = told.await.unwrap();
    assert!(!heard.contains("AUTH") && !heard.contains("MAIL"), "{heard}");
}

#[tokio::test]
async fn a_password_that_is_refused_is_told_without_it() {
    let (address, _) = script(&[EHLO, ("AUTH", "535 AHBvc3Rlcm4AZ2VoZWlt is wrong\r\n")]).await;
    let login = Login { username: "postern".into(), password: "geheim".to_owned().into() };
    assert!(!format!("{login:?}").contains("geheim"));
    let Err(Failure::Delayed { blame: Blame::Server, why }) = carried(&plain(address, Some(login))).await else {
        panic!("it waits for an operator")
    };
    assert_eq!(why, "the mail server does not let us sign in (535)");
}

#[tokio::test]
async fn what_a_server_says_is_kept_short_and_in_one_line() {
    let Err(Failure::Refused { why }) = said(&[EHLO, ("RCPT", "550 a\u{1b}[2Jb\u{202e}c\r\n")]).await else {
        panic!("refused")
    };
    assert!(!why.contains(char::is_control) && !why.contains('\u{202e}'), "{why:?}");
}

#[test]
fn without_protection_no_letter_leaves_this_machine() {
    for host in ["mail.example.test", "192.0.2.1", "localhost.example.test", "0.0.0.0", "::"] {
        let server = Server::new(host, 25, Security::Plain, None, None, "pbx.example.test");
        assert!(matches!(server.err(), Some(ServerError::PlainElsewhere { .. })), "{host}");
    }
    for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
        assert!(Server::new(host, 25, Security::Plain, None, None, "pbx.example.test").is_ok(), "{host}");
    }
}
