//! A call keeps its security.

use std::path::Path;

use postern_config::Source as ConfigSource;
use postern_sip::Method;
use postern_transport::Listening;

use crate::authority::Authority;
use crate::harness::*;

#[tokio::test]
async fn a_call_by_tls_goes_on_by_tls_to_a_proved_name_or_not_at_all() {
    let authority = Authority::new();
    let plain = Service::start(Manner::free(50));
    let secured = Service::start_tls(authority.identity("localhost"), Manner::free(5));
    let (tcp, tls, metrics) = (free_port(), free_port(), free_port());
    let text = format!(
        "[router]\nstartup_mode = \"dual\"\ntcp = [\"127.0.0.1:{tcp}\"]\ntls = [\"127.0.0.1:{tls}\"]\n\
         host = \"localhost\"\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\nclient_ca = \"ca.pem\"\n\
         metrics = \"127.0.0.1:{metrics}\"\nhealth_interval_ms = 100\n\
         um_services = [\"sip:{};transport=tcp\", \"sip:localhost:{};transport=tls\"]\n\
         [sip]\ncontact_secrets = [{{ id = \"a\", value = \"a-secret-for-these-tests\" }}]\n\
         [[gateway]]\nname = \"gw.example.test\"\ndial_plan = \"sealed\"\n\
         [[gateway]]\naddress = \"127.0.0.1\"\ndial_plan = \"office\"\n\
         [[dial_plan]]\nname = \"sealed\"\nsecurity = \"secured\"\npilots = [\"8000\"]\n\
         [[dial_plan]]\nname = \"office\"\npilots = [\"7000\"]\n",
        plain.address,
        secured.address.port(),
    );
    let own = authority.identity("localhost");
    let source = ConfigSource::text("router.toml", &text, Path::new("/nonexistent"))
        .with_file("a.pem", own.certificate)
        .with_file("a.key", own.private_key)
        .with_file("ca.pem", authority.roots());
    let router = Router::run(source).await;
    router.until_options_say(200).await;

    let mut gateway = Party::new(Listening::default(), Some(authority.identity("gw.example.test")));
    let by_tls = format!("sip:8000@localhost:{tls};transport=tls");
    let wanted = format!("sip:8000@localhost:{};transport=tls 1000", secured.address.port());
    let began = std::time::Instant::now();
    loop {
        let answer = gateway.ask(Method::Invite, &by_tls, &[]).await.expect("an answer");
        if answer.status.code() == 302 {
            assert_eq!(contacts(&answer), [wanted]);
            break;
        }
        // The secured service may not have been asked yet, and TCP is no way out.
        assert_eq!(answer.status.code(), 503);
        assert!(began.elapsed() < LONG, "the secured service never takes calls");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let sips = gateway.ask(Method::Invite, &format!("sips:8000@localhost:{tls}"), &[]).await.expect("an answer");
    assert_eq!(contacts(&sips), [format!("sips:8000@localhost:{} 1000", secured.address.port())]);

    // By TCP the plan takes nothing, whatever the certificate would have been.
    let in_clear = Party::client().ask(Method::Invite, &router.uri("8000"), &[]).await.expect("an answer");
    assert_eq!(in_clear.status.code(), 404, "the address leads to the plan office, whose pilot 8000 is not");
    secured.kill();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let answer = gateway.ask(Method::Invite, &by_tls, &[]).await.expect("an answer");
    assert_eq!(answer.status.code(), 503, "TCP is no way out");
    let asked = gateway.ask(Method::Options, &by_tls, &[]).await.expect("an answer");
    assert_eq!(asked.status.code(), 503, "a gateway hears what its calls would");
    let in_clear = Party::client().ask(Method::Options, &router.uri("ping"), &[]).await.expect("an answer");
    assert_eq!(in_clear.status.code(), 200);
    router.end().await;
}
