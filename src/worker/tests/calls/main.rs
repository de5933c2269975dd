//! Whole calls over loopback: a phone calls a worker, leaves a message, hears it again.

mod challenged;
mod gateway;
mod letters;
mod no_audio;
mod outgoing;
mod phone;
mod site;
mod slot;
mod told;
mod ways;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use phone::Phone;
use postern_config::{Source, load_source};
use postern_mailbox::{AudioId, Message, OwnQuota, Pin, PlanName, Store};
use postern_media::{compare, g711};
use postern_sip::offer_answer_capabilities::{Codec, OfferKeying};
use postern_store::{MailSettings, NewMailbox};
use postern_worker::{Duty, Seat, Worker};

/// A worker with Alice's mailbox, in a directory of its own.
struct Lab {
    worker: Worker,
    port: u16,
    directory: PathBuf,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn configuration(directory: &Path, port: u16, addresses: &[&str], worker: &str, more: &str) -> String {
    let directory = directory.display();
    format!(
        r#"
[worker]
startup_mode = "tcp"
addresses = {addresses:?}
slots = [{port}, {}]
rtp_ports = "44000-45999"
rtp_rest_secs = 0
media_threads = 1
metrics = ["127.0.0.1:{}", "127.0.0.1:{}"]
{worker}
[mailbox]
store = "sqlite:{directory}/postern.db"
recordings = "file:{directory}/recordings"
pin_key_file = "{directory}/pin.key"
[[gateway]]
address = "127.0.0.1"
dial_plan = "office"
[[dial_plan]]
name = "office"
pilots = ["7000"]
digits = 4
[worker.records]
json = "{directory}/calls.json"
{more}
"#,
        port + 2,
        port + 4,
        port + 5,
    )
}

impl Lab {
    async fn new() -> Self {
        Self::seated(|_| None).await
    }

    /// With more in its configuration than others.
    async fn with(more: &str) -> Self {
        Self::set_up(&["127.0.0.1"], more, |_| None).await
    }

    /// In the seat that is given for its directory.
    async fn seated(seat: impl FnOnce(&Path) -> Option<Seat>) -> Self {
        Self::set_up(&["127.0.0.1"], "", seat).await
    }

    /// With an address of each family.
    async fn of_both_families() -> Self {
        Self::set_up(&["127.0.0.1", "::1"], "", |_| None).await
    }

    async fn set_up(addresses: &[&str], more: &str, seat: impl FnOnce(&Path) -> Option<Seat>) -> Self {
        Self::set_up_as(addresses, "", more, seat).await
    }

    /// With more in `[worker]`, too.
    async fn set_up_as(addresses: &[&str], worker: &str, more: &str, seat: impl FnOnce(&Path) -> Option<Seat>) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 25_065 + 20 * number;
        let directory = std::env::temp_dir().join(format!("postern-worker-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let source = Source::text("worker.toml", &configuration(&directory, port, addresses, worker, more), &directory);
        let loaded = load_source(&source, &[]).unwrap_or_else(|faults| {
            panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        let worker = postern_worker::start_in(&loaded.config, 0, seat(&directory)).await.unwrap();
        let alice = NewMailbox {
            plan: PlanName("office".into()),
            addresses: vec!["1001".parse().unwrap()],
            name: "Alice Ng".into(),
            language: "en".into(),
            time_zone: "UTC".into(),
            operator: None,
            quota: OwnQuota::default(),
            mail: MailSettings::default(),
            pin: Pin::new("739182").unwrap(),
            must_change: false,
        };
        worker.store.add_mailbox(alice).await.unwrap();
        Self { worker, port, directory }
    }

    fn uri(&self, user: &str) -> String {
        format!("sip:{user}@127.0.0.1:{};transport=tcp", self.port)
    }

    /// The records of calls, once there are so many.
    async fn records(&self, count: usize) -> Vec<serde_json::Value> {
        let begun = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.directory.join("calls.json")).unwrap_or_default();
            let records: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if records.len() >= count {
                return records;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{} records, not {count}", records.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The id of Alice's mailbox.
    async fn mailbox(&self) -> String {
        self.worker.store.mailboxes().await.unwrap().remove(0).mailbox.id.to_string()
    }

    async fn messages(&self) -> Vec<Message> {
        let mailbox = self.worker.store.mailboxes().await.unwrap().remove(0).mailbox.id;
        self.worker.store.list_messages(mailbox).await.unwrap()
    }

    /// All of a message, brought to 8 kHz.
    async fn audio(&self, message: &Message) -> Vec<i16> {
        let mut pcm: Vec<i16> = Vec::new();
        let mut rate = 8_000;
        loop {
            let audio = AudioId::Message(message.id);
            let read = self.worker.store.read_audio(audio, pcm.len() as u64, 16_000).await.unwrap();
            rate = read.rate_hz.max(rate);
            pcm.extend(read.samples);
            if read.is_end {
                break;
            }
        }
        if rate == 8_000 {
            return pcm;
        }
        let mut out = Vec::new();
        postern_media::resample::Resampler::new(rate, 8_000).process(&pcm, &mut out);
        out
    }

    /// Leaves a message of `speech`.
    async fn leave(&self, speech: &[i16], codec: Codec, keying: OfferKeying) {
        let mut phone = Phone::call("<sip:2002@127.0.0.1>", &self.uri("1001"), codec, keying).await.unwrap();
        phone.wait_for_tone().await;
        phone.say(speech).await;
        phone.wait(Duration::from_millis(300)).await;
        phone.hang_up().await;
    }
}

/// Spoken by a voice, 4.7 s at 8 kHz.
fn speech() -> Vec<i16> {
    let file = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/assets/speech-mulaw.wav")).unwrap();
    let data = file.windows(4).position(|window| window == b"data").unwrap() + 8;
    file[data..].iter().map(|byte| g711::decode_ulaw(*byte)).collect()
}

fn correlation(reference: &[i16], recording: &[i16]) -> f32 {
    compare::compare(reference, recording, 8_000).unwrap().correlation
}

async fn a_message_arrives(codec: Codec, keying: OfferKeying) {
    let (lab, speech) = (Lab::new().await, speech());
    lab.leave(&speech, codec, keying).await;
    let messages = lab.messages().await;
    assert_eq!(messages.len(), 1, "it is there when the BYE is answered");
    assert_eq!(messages[0].caller.address.as_deref(), Some("2002"));
    assert!(!messages[0].partial);
    let verdict = compare::compare(&speech, &lab.audio(&messages[0]).await, 8_000).unwrap();
    assert!(verdict.passes(), "{verdict:?}");
    let other: Vec<i16> = speech.iter().rev().copied().collect();
    assert!(correlation(&other, &lab.audio(&messages[0]).await) < 0.5, "another recording is seen not to be it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_plain_rtp_is_what_was_spoken() {
    a_message_arrives(Codec::Pcmu, OfferKeying::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_sdes_srtp_is_what_was_spoken() {
    a_message_arrives(Codec::Pcma, OfferKeying::Sdes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_dtls_srtp_is_what_was_spoken() {
    a_message_arrives(Codec::Pcmu, OfferKeying::Dtls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_g722_is_what_was_spoken() {
    a_message_arrives(Codec::G722, OfferKeying::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_owner_hears_the_message_after_the_pin_and_nobody_without_it() {
    let (lab, speech) = (Lab::new().await, speech());
    lab.leave(&speech, Codec::Pcmu, OfferKeying::Plain).await;
    for (pin, is_heard) in [("739182#", true), ("111112#", false)] {
        let from = "<sip:1001@127.0.0.1>";
        let mut phone = Phone::call(from, &lab.uri("7000"), Codec::Pcmu, OfferKeying::Plain).await.unwrap();
        phone.wait(Duration::from_millis(500)).await;
        phone.press(pin).await;
        phone.wait(Duration::from_secs(3)).await;
        phone.press("1").await;
        phone.wait(Duration::from_secs(16)).await;
        let heard = correlation(&speech, &phone.heard);
        assert_eq!(heard > 0.9, is_heard, "correlation {heard} with the PIN {pin}");
        phone.hang_up().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_without_a_mailbox_is_refused_or_told_and_leaves_nothing() {
    let lab = Lab::new().await;
    let uri = lab.uri("1999");
    let mut phone = Phone::call("<sip:2002@127.0.0.1>", &uri, Codec::Pcmu, OfferKeying::Plain).await.unwrap();
    phone.listen("the worker hangs up", |heard| heard.ended.is_some()).await;
    assert_eq!(lab.messages().await, []);
    assert!(Phone::call("<sip:2002@127.0.0.1>", &lab.uri("12"), Codec::Pcmu, OfferKeying::Plain).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_worker_serves_its_call_to_the_end_and_takes_no_other() {
    let (lab, speech) = (Lab::new().await, speech());
    let from = "<sip:2002@127.0.0.1>";
    let mut phone = Phone::call(from, &lab.uri("1001"), Codec::Pcmu, OfferKeying::Plain).await.unwrap();
    lab.worker.duty.send(Duty::Draining { elsewhere: Default::default() }).unwrap();
    phone.wait_for_tone().await;
    assert!(Phone::call(from, &lab.uri("1001"), Codec::Pcmu, OfferKeying::Plain).await.is_err(), "503");
    phone.say(&speech).await;
    phone.hang_up().await;
    assert_eq!(lab.messages().await.len(), 1);
}
