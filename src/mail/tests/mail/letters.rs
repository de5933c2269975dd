//! What a letter says, and what no caller can make it say.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use postern_mail::wav_of;
use postern_mailbox::{AudioId, Caller, Pin, Store};

use crate::support::*;

/// The header lines of a mail, unfolded.
fn headers(mail: &str) -> Vec<String> {
    let (head, _) = mail.split_once("\r\n\r\n").unwrap();
    head.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n").map(str::to_owned).collect()
}

fn header<'h>(headers: &'h [String], name: &str) -> &'h str {
    let of = |line: &&'h String| line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
    let found: Vec<_> = headers.iter().filter(of).collect();
    assert_eq!(found.len(), 1, "{name} in {headers:#?}");
    found[0].split_once(": ").unwrap().1
}

#[tokio::test]
async fn a_new_message_is_told_with_its_audio_attached() {
    let mut house = House::new().await;
    let message = house.message(bob()).await;
    house.work().await;
    let mail = house.taken().remove(0);
    let headers = headers(&mail);
    assert_eq!(header(&headers, "From"), "voicemail@pbx.example.test");
    assert_eq!(header(&headers, "To").replace('"', ""), "Alice Ng <alice@example.test>");
    assert_eq!(header(&headers, "Subject"), "Voice message from Bob Okafor (+15551234567) (0:01)");
    assert_eq!(header(&headers, "Auto-Submitted"), "auto-generated");
    assert!(mail.contains("Received: Sunday, 29 March 2026, 01:30 (CET)"), "{mail}");
    let wav = wav_of(&*house.store, AudioId::Message(message), usize::MAX).await.unwrap();
    assert!(mail.contains("filename=\"20260329T003000Z.wav\""), "{mail}");
    let (_, attached) = mail.split_once("audio/wav").unwrap();
    let (_, attached) = attached.split_once("\r\n\r\n").unwrap();
    let (attached, _) = attached.split_once("\r\n--").unwrap();
    assert_eq!(STANDARD.decode(attached.replace("\r\n", "")).unwrap(), wav);
}

#[tokio::test]
async fn a_missed_call_and_a_pin_are_told_in_the_owners_time() {
    let mut house = House::new().await;
    let at = Timestamp::from_second(1_774_747_800).unwrap();
    house.store.note_missed_call(house.alice, Caller::default(), at).await.unwrap();
    house.store.reset_pin_by_mail(house.alice, Pin::new("482615").unwrap()).await.unwrap();
    house.work().await;
    let [missed, pin] = &house.taken()[..] else { panic!("two letters") };
    assert_eq!(header(&headers(missed), "Subject"), "Missed call from a caller who withholds the number");
    assert!(missed.contains("Time: Sunday, 29 March 2026, 03:30 (CEST)"), "{missed}");
    assert_eq!(header(&headers(pin), "Subject"), "The PIN of your mailbox was reset");
    assert!(pin.contains("\r\n    482615\r\n"), "{pin}");
}

#[tokio::test]
async fn no_caller_writes_a_header_or_a_part() {
    let attacks = [
        "Bob\r\nBcc: eve@example.test",
        "Bob\nX-Injected: yes\n\nbody",
        "Bob\r\n\r\n--boundary\r\nContent-Type: text/html\r\n\r\n<b>",
        "Bob\u{85}Bcc: eve@example.test\u{2028}Bcc: eve@example.test",
        "=?utf-8?q?Bob=0D=0ABcc:_eve@example.test?=",
        "Bob\0\u{1b}[2J",
        "\u{202e}tset.elpmaxe@eve\u{202c}",
        "\" <eve@example.test>, \"",
    ];
    let mut house = House::new().await;
    for attack in attacks {
        house.message(Caller { address: Some(attack.into()), name: Some(attack.into()) }).await;
        house.store.note_missed_call(house.alice, bob_named(attack), Timestamp::UNIX_EPOCH).await.unwrap();
    }
    house.work().await;
    let taken = house.taken();
    assert_eq!(taken.len(), 2 * attacks.len());
    for mail in &taken {
        let headers = headers(mail);
        let known = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];
        for line in &headers {
            let name = line.split_once(':').unwrap().0;
            assert!(known.contains(&name) || name == "Content-Transfer-Encoding", "{line:?}");
            assert!(line.is_ascii() && !line.contains(['\0', '\u{1b}', '\n', '\r']), "{line:?}");
        }
        assert!(!header(&headers, "Subject").contains("=?utf-8?q?Bob"), "a word that is decoded by who reads it");
        assert_eq!(header(&headers, "To").replace('"', ""), "Alice Ng <alice@example.test>");
        assert_eq!(header(&headers, "From"), "voicemail@pbx.example.test");
        // The boundary opens two parts and ends the last one, whatever the caller is called.
        if let Some((_, boundary)) = header(&headers, "Content-Type").split_once("boundary=\"") {
            assert_eq!(mail.matches(&format!("--{}", boundary.trim_end_matches('"'))).count(), 3, "{mail}");
        }
        assert!(!mail.contains('\u{202e}') && !mail.contains('\u{2028}'));
    }
}

fn bob_named(name: &str) -> Caller {
    Caller { name: Some(name.into()), ..bob() }
}

#[tokio::test]
async fn names_in_other_scripts_are_encoded() {
    let mut house = House::owned_by("Jürgen \"J\" <x@y>\r\nBcc: eve@example.test").await;
    house.message(Caller { address: None, name: Some("鈴木 一郎".into()) }).await;
    house.work().await;
    let mail = house.taken().remove(0);
    let headers = headers(&mail);
    assert!(header(&headers, "Subject").contains("=?utf-8?b?"), "{headers:#?}");
    let to = header(&headers, "To");
    assert!(to.ends_with("<alice@example.test>") && to.matches('<').count() == 1, "{to}");
    assert!(!headers.iter().any(|line| line.starts_with("Bcc")));
}

#[tokio::test]
async fn a_message_too_long_for_a_mail_is_told_without_its_audio() {
    let mut house = House::new().await;
    let samples = vec![0; postern_mail::limits::ATTACHED_BYTES_MAX / 2 + 1];
    house.message_of(bob(), &samples).await;
    house.work().await;
    let mail = house.taken().remove(0);
    assert!(mail.contains("too long for a mail") && !mail.contains("audio/wav"), "{}", &mail[..mail.len().min(2000)]);
    assert!(mail.len() < 4000);
}

#[tokio::test]
async fn a_letter_that_is_sent_again_is_the_same_to_the_byte() {
    let mut house = House::new().await;
    house.message(bob()).await;
    let lost = || Err(postern_mail::Failure::Delayed { blame: postern_store::Blame::Letter, why: "lost".into() });
    house.will_say([lost(), lost()]);
    for _ in 0..3 {
        house.work().await;
        house.pass(200);
    }
    let shown = house.carrier.shown.lock().unwrap();
    assert_eq!(shown.len(), 3);
    assert!(shown[0] == shown[1] && shown[1] == shown[2]);
    let mail = String::from_utf8(shown[0].clone()).unwrap();
    let id = header(&headers(&mail), "Message-ID").to_owned();
    assert!(id.starts_with('<') && id.ends_with("@pbx.example.test>"), "{id}");
}
