//! Redirects asked for by SIPp, a gateway that others wrote.

use std::process::Command;

use crate::harness::*;

const SCENARIO: &str = r#"<?xml version="1.0"?>
<scenario name="redirect">
<send retrans="500"><![CDATA[
INVITE sip:7000@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:2001@[local_ip]>;tag=[call_number]
To: <sip:7000@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:2001@[local_ip]:[local_port]>
Diversion: <sip:1001@[remote_ip]>;reason=no-answer
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="100" optional="true"/>
<recv response="302"/>
<send><![CDATA[
ACK sip:7000@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:2001@[local_ip]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
</scenario>
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_is_redirected_two_hundred_times() {
    let um = Service::start(Manner::free(100));
    let router = Router::with(&[um.address], "").await;
    router.until_options_say(200).await;
    let address = router.address.to_string();
    let ran = tokio::task::spawn_blocking(move || {
        let directory = std::env::temp_dir().join(format!("postern-router-sipp-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("scenario.xml"), SCENARIO).expect("a file");
        let ran = Command::new("sipp")
            .args(["-sf", "scenario.xml", "-t", "t1", "-m", "200", "-r", "200", "-i", "127.0.0.1"])
            .args(["-timeout", "20", "-timeout_error", "-nostdin", &address])
            .current_dir(&directory)
            .output();
        std::fs::remove_dir_all(&directory).expect("own directory");
        ran
    });
    let output = match ran.await.expect("it runs") {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return eprintln!("skipped: sipp is not installed (package sip-tester)");
        }
        Err(error) => panic!("sipp does not run: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
