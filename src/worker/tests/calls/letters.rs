//! Calls that the owner of a mailbox is told of by mail: queued by the time that the call's record is written.

use std::time::Duration;

use crate::phone::Phone;
use crate::{Lab, speech};
use postern_mailbox::Store;
use postern_sip::offer_answer_capabilities::{Codec, OfferKeying};
use postern_store::{LetterKind, MailSettings};

const MAIL: &str = r#"
[um]
startup_mode = "tcp"
tcp = ["127.0.0.1:15062"]
[mail]
smtp = "smtps://mail.example.test"
from = "voicemail@example.test"
"#;

async fn lab(missed_calls: bool) -> Lab {
    let lab = Lab::with(MAIL).await;
    let alice = lab.worker.store.mailboxes().await.unwrap().remove(0).mailbox.id;
    let mail = MailSettings { address: "alice@example.test".parse().ok(), missed_calls };
    lab.worker.store.set_mail(alice, &mail).await.unwrap();
    lab
}

async fn kinds(lab: &Lab) -> Vec<LetterKind> {
    lab.worker.store.letters().await.unwrap().iter().map(|letter| letter.kind).collect()
}

async fn hang_up_during_the_greeting(lab: &Lab) {
    let from = "<sip:2002@127.0.0.1>";
    let mut phone = Phone::call(from, &lab.uri("1001"), Codec::Pcmu, OfferKeying::Plain).await.unwrap();
    phone.wait(Duration::from_millis(500)).await;
    phone.hang_up().await;
    lab.records(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_during_the_greeting_is_told_to_an_owner_who_wants_that() {
    let lab = lab(true).await;
    hang_up_during_the_greeting(&lab).await;
    assert_eq!(kinds(&lab).await, [LetterKind::MissedCall]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_does_not_want_that_is_not_told() {
    let lab = lab(false).await;
    hang_up_during_the_greeting(&lab).await;
    assert_eq!(kinds(&lab).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_left_is_told_and_its_call_was_not_missed() {
    let lab = lab(true).await;
    lab.leave(&speech(), Codec::Pcmu, OfferKeying::Plain).await;
    lab.records(1).await;
    assert_eq!(kinds(&lab).await, [LetterKind::Message]);
    let alice = lab.worker.store.mailboxes().await.unwrap().remove(0).mailbox.id;
    assert_eq!(lab.worker.store.list_messages(alice).await.unwrap().len(), 1);
}
