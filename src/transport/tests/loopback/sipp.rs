//! An exchange with SIPp, a client that others wrote.

use std::process::{Command, Output};

use postern_transport::Hosts;

use crate::harness::*;

/// A scenario of one request and its answer; with an ACK behind a redirection.
fn scenario(method: &str, status: u16) -> String {
    let message = |method: &str, to: &str| {
        format!(
            "<![CDATA[\n{method} sip:7000@[remote_ip]:[remote_port] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];\
             branch=[branch]\nFrom: <sip:sipp@[local_ip]>;tag=[call_number]\n{to}\nCall-ID: [call_id]\n\
             CSeq: 1 {method}\nContact: <sip:sipp@[local_ip]:[local_port]>\nMax-Forwards: 70\nContent-Length: 0\n\n]]>"
        )
    };
    let to = "To: <sip:7000@[remote_ip]>";
    let trying = if method == "INVITE" { "<recv response=\"100\" optional=\"true\"/>" } else { "" };
    let ack = match method {
        "INVITE" => format!("<send>{}</send>", message("ACK", "[last_To:]")),
        _ => String::new(),
    };
    format!(
        "<?xml version=\"1.0\"?><scenario name=\"{method}\"><send retrans=\"500\">{}</send>{trying}\
         <recv response=\"{status}\"/>{ack}</scenario>",
        message(method, to)
    )
}

fn sipp(server: &Server, method: &str, status: u16, calls: u32) -> Option<Output> {
    let directory = std::env::temp_dir().join(format!("postern-sipp-{}-{method}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("scenario.xml");
    std::fs::write(&file, scenario(method, status)).unwrap();
    let (addr, calls) = (server.tcp().to_string(), calls.to_string());
    let output = Command::new("sipp")
        .args(["-sf", file.to_str().unwrap(), "-t", "t1", "-m", &calls, "-r", "200", "-i", "127.0.0.1"])
        .args(["-timeout", "20", "-timeout_error", "-nostdin", &addr])
        .current_dir(&directory)
        .output();
    std::fs::remove_dir_all(&directory).unwrap();
    match output {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("sipp does not run: {error}"),
    }
}

async fn exchange(method: &'static str, status: u16) {
    let server = Party::new(on_tcp(), None, Hosts::default()).serve(0);
    let (server, output) = tokio::task::spawn_blocking(move || {
        let output = sipp(&server, method, status, 100);
        (server, output)
    })
    .await
    .unwrap();
    let Some(output) = output else {
        eprintln!("skipped: sipp is not installed (package sip-tester)");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut server = server;
    let mut answered = 0;
    while server.seen.try_recv().is_ok() {
        answered += 1;
    }
    assert_eq!(answered, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_gets_200_to_each_options() {
    exchange("OPTIONS", 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_gets_302_to_each_invite_and_acknowledges_it() {
    exchange("INVITE", 302).await;
}
