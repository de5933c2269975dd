//! `postern up --try`: a phone leaves a message and hears it again, through router, UM service, worker and edge, and each
//! step proves itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use postern_config::{EdgeLocation, WorkerEdgeConfig};
use postern_sip::Uri;
use postern_worker::edges::Edges;
use tokio::time::timeout;

use crate::phone::{Hop, IdlePhone, Phone};
use crate::phone_sound::RATE_HZ;
use crate::try_steps::{StepFailed, Steps};
use crate::try_verdict::{excerpt, judge, speech, told, wrong_recordings};
use crate::up_mailboxes::Mailbox;
use crate::up_metrics::Scrape;
use crate::up_premises::{PILOT, Premises};

/// What the whole story may take.
const STORY_TIME: Duration = Duration::from_secs(60);

/// What ICE may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// The greeting and the tone.
const TONE_TIME: Duration = Duration::from_secs(20);

/// From a key to the voice that answers it: hashing a PIN is slow on purpose.
const VOICE_TIME: Duration = Duration::from_secs(8);

/// Who left the message, and when, is said before it.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Silence that the caller leaves before and after speaking.
const PAUSE: Duration = Duration::from_millis(600);

/// Somebody who has no mailbox.
const CALLER: &str = "<sip:2002@127.0.0.1>";

/// A sample of PCMU is a byte; so much of what was spoken or heard must be seen on the relay.
const RELAYED_SHARE: f64 = 0.9;

/// Where to look when a step fails.
mod look {
    pub(super) const EDGE: &str = "postern up --try --log info,postern_edge=debug; the tokens and relays of the edge";
    pub(super) const REDIRECTS: &str = "postern up --try --log info,postern_router=debug,postern_um=debug";
    pub(super) const WORKER: &str = "postern up --try --log info,postern_worker=debug";
    pub(super) const COMPARISON: &str =
        "the machine's load: a phone plays what comes when it comes; try again when it is idle";
}

/// Plays the story and prints it. Whether every step passed.
pub(crate) async fn play(premises: &Premises, mailboxes: &[Mailbox], steps: &Steps) -> bool {
    match timeout(STORY_TIME, Story { premises, steps }.play(mailboxes)).await {
        Ok(Ok(())) => {
            steps.note("All steps passed.");
            true
        }
        Ok(Err(StepFailed)) => false,
        Err(_) => {
            steps.note(format_args!(
                "FAILED: not over within {} s; the step after the last one hangs",
                STORY_TIME.as_secs()
            ));
            false
        }
    }
}

struct Story<'a> {
    premises: &'a Premises,
    steps: &'a Steps,
}

/// What the edge has relayed, in bytes.
#[derive(Clone, Copy)]
struct RelayedBytes {
    to_worker: f64,
    to_phone: f64,
}

impl Story<'_> {
    async fn play(&self, mailboxes: &[Mailbox]) -> Result<(), StepFailed> {
        let spoken = speech();
        let alice = &mailboxes[0];
        let edges = self.steps.run("a token service for the phone", look::EDGE, async { self.edges() }).await?;
        let before = self.steps.run("the edge counts what it relays", look::EDGE, self.relayed()).await?;

        let mut phone = self.call(&edges, "the first call", alice.number).await?;
        let connected = phone.heard().len();
        self.steps.run("a message is spoken after the tone", look::WORKER, leave(&mut phone, &spoken)).await?;
        let heard = phone.heard().len() - connected;
        self.steps.run("the message is kept before the call is over", look::WORKER, hang_up(phone)).await?;
        self.media_was_relayed(before, spoken.len(), heard).await?;

        let mut phone = self.call(&edges, "the second call", PILOT).await?;
        self.steps
            .run("the owner is let in by mailbox number and PIN", look::WORKER, log_on(&mut phone, alice))
            .await?;
        let heard = self.steps.run("the message is played", look::WORKER, hear(&mut phone, &spoken)).await?;
        self.steps.run("the second call is over", look::WORKER, hang_up(phone)).await?;

        let compared = async {
            let part = excerpt(&spoken, &heard)?;
            let verdict = judge(&spoken, &part)?;
            Ok((part, told(&verdict)))
        };
        let part = self.steps.run("what was heard is what was spoken", look::COMPARISON, compared).await?;
        self.steps.run("a wrong recording is refused", look::COMPARISON, async { refuse_wrong(&spoken, &part) }).await
    }

    /// The edge's token service, asked as for a client outside.
    fn edges(&self) -> Result<(Edges, String)> {
        let worker = self.premises.loaded.config.worker.as_ref().context("no [worker]")?;
        let edge = worker.edges.first().context("no [[worker.edge]]")?;
        let outside = WorkerEdgeConfig { location: EdgeLocation::Internet, ..edge.clone() };
        let place = format!("https://{}:{}", outside.host, outside.port);
        Ok((Edges::start(&[outside])?, place))
    }

    async fn relayed(&self) -> Result<(RelayedBytes, String)> {
        let scrape = Scrape::of(self.premises.ports.metrics.edge).await?;
        let bytes = |direction| scrape.sum("postern_edge_relayed_bytes_total", &[("direction", direction)]);
        let relayed = RelayedBytes { to_worker: bytes("to_peer"), to_phone: bytes("to_client") };
        Ok((relayed, format!("{} bytes so far", relayed.to_worker + relayed.to_phone)))
    }

    /// A relay under a token, two redirects, an answer, and a way for media.
    async fn call(&self, edges: &Edges, which: &str, user: &str) -> Result<Phone, StepFailed> {
        let name = format!("{which}: a relay under a token");
        let phone = self.steps.run(&name, look::EDGE, self.relay(edges, which)).await?;
        let name = format!("{which}: redirected twice, then answered");
        let mut phone = self.steps.run(&name, look::REDIRECTS, self.follow(phone, user)).await?;
        let name = format!("{which}: media goes by the relay");
        self.steps.run(&name, look::EDGE, connect(&mut phone)).await?;
        Ok(phone)
    }

    async fn relay(&self, edges: &Edges, which: &str) -> Result<(IdlePhone, String)> {
        let phone = IdlePhone::with_relay(edges, which).await?;
        let scrape = Scrape::of(self.premises.ports.metrics.edge).await?;
        let issued = |location| scrape.sum("postern_edge_tokens_issued_total", &[("location", location)]);
        let (outside, inside) = (issued("internet"), issued("intranet"));
        ensure!(outside >= 1.0 && inside >= 1.0, "the edge has issued {outside} and {inside} tokens");
        let relays: Vec<String> = phone.relays().iter().map(ToString::to_string).collect();
        let told = format!("{}; tokens issued: {outside} outside, {inside} to the worker", relays.join(" and "));
        Ok((phone, told))
    }

    /// Calls the router; both redirects must be as they should be.
    async fn follow(&self, phone: IdlePhone, user: &str) -> Result<(Phone, String)> {
        let ports = &self.premises.ports;
        let uri = format!("sip:{user}@127.0.0.1:{};transport=tcp", ports.router.tcp);
        let mut hops: Vec<Hop> = Vec::new();
        let phone = phone
            .call(CALLER, &uri, |hop| {
                self.steps.note(format_args!("{} {} -> {}", hop.status, shown(&hop.asked), shown(&hop.contact)));
                hops.push(hop.clone());
            })
            .await?;
        let [router, um] = &hops[..] else { bail!("redirected {} times", hops.len()) };
        ensure!(router.status == 302 && um.status == 302, "not by 302");
        ensure!(port_of(&router.contact) == Some(ports.um.tcp), "the router sent us elsewhere than to the UM service");
        let worker = port_of(&um.contact);
        let slots = ports.slots.map(|slot| Some(slot.tcp));
        ensure!(slots.contains(&worker), "the UM service sent us elsewhere than to a worker");
        Ok((phone, format!("the worker at {}", shown(&um.contact))))
    }

    /// What was spoken and heard is found in the edge's own count.
    async fn media_was_relayed(&self, before: RelayedBytes, spoken: usize, heard: usize) -> Result<(), StepFailed> {
        let step = async {
            let (after, _) = self.relayed().await?;
            let to_worker = after.to_worker - before.to_worker;
            let to_phone = after.to_phone - before.to_phone;
            ensure!(to_worker >= spoken as f64 * RELAYED_SHARE, "only {to_worker} bytes went to the worker");
            ensure!(to_phone >= heard as f64 * RELAYED_SHARE, "only {to_phone} bytes came from the worker");
            Ok(((), format!("{to_worker} bytes to the worker, {to_phone} from it")))
        };
        self.steps.run("the edge has counted the media", look::EDGE, step).await
    }
}

/// ICE has chosen, and our end is a relay.
async fn connect(phone: &mut Phone) -> Result<((), String)> {
    let pair = phone.connected(CONNECT_TIME).await?;
    Ok(((), format!("relay {} with {} {}", pair.relay, pair.peer_kind, pair.peer)))
}

async fn leave(phone: &mut Phone, spoken: &[i16]) -> Result<((), String)> {
    let has_tone = phone.listen(TONE_TIME, |heard| heard.tone_has_ended()).await?;
    ensure!(has_tone, "no tone within {} s; {} were heard", TONE_TIME.as_secs(), seconds(phone.heard().len()));
    phone.wait(PAUSE).await?;
    phone.say(spoken).await?;
    phone.wait(PAUSE).await?;
    Ok(((), seconds(spoken.len())))
}

async fn hang_up(phone: Phone) -> Result<((), String)> {
    let begun = Instant::now();
    phone.hang_up().await?;
    Ok(((), format!("the BYE was answered after {} ms", begun.elapsed().as_millis())))
}

/// As a person does: listens to what is asked for, then presses the keys.
async fn log_on(phone: &mut Phone, owner: &Mailbox) -> Result<((), String)> {
    hear_voice(phone, 0, "the pilot").await?;
    phone.press(owner.number).await?;
    let at = press_last(phone).await?;
    hear_voice(phone, at, "after the mailbox number").await?;
    phone.press(owner.pin.digits()).await?;
    let at = press_last(phone).await?;
    hear_voice(phone, at, "after the PIN").await?;
    Ok(((), format!("mailbox {}, by RFC 4733 events", owner.number)))
}

/// Ends an entry; what is heard from then on answers it.
async fn press_last(phone: &mut Phone) -> Result<usize> {
    let at = phone.heard().len();
    phone.press("#").await?;
    Ok(at)
}

async fn hear_voice(phone: &mut Phone, since: usize, whence: &str) -> Result<()> {
    let is_heard = phone.listen(VOICE_TIME, |heard| heard.has_voice_since(since)).await?;
    ensure!(is_heard, "no voice {whence} within {} s", VOICE_TIME.as_secs());
    Ok(())
}

/// Asks for new messages, and listens until the first must have been heard. Nothing is computed meanwhile: it would take
/// its time from the media.
async fn hear(phone: &mut Phone, spoken: &[i16]) -> Result<(Vec<i16>, String)> {
    let from = phone.heard().len();
    phone.press("1").await?;
    phone.wait(HEADER_TIME + Duration::from_secs_f64(spoken.len() as f64 / f64::from(RATE_HZ))).await?;
    let heard = phone.heard().0[from..].to_vec();
    let told = format!("{} were heard", seconds(heard.len()));
    Ok((heard, told))
}

/// The same comparison must see that other recordings are not this one.
fn refuse_wrong(spoken: &[i16], heard: &[i16]) -> Result<((), String)> {
    let mut refused = Vec::new();
    for (wrong, pcm) in wrong_recordings(heard) {
        ensure!(judge(spoken, &pcm).is_err(), "{wrong} was taken for what was spoken");
        refused.push(wrong);
    }
    Ok(((), refused.join(", ")))
}

fn seconds(samples: usize) -> String {
    format!("{:.1} s", samples as f64 / f64::from(RATE_HZ))
}

fn port_of(uri: &Uri) -> Option<u16> {
    uri.as_sip().and_then(|uri| uri.port)
}

/// A URI without the decision that is sealed into it.
fn shown(uri: &Uri) -> String {
    let text = uri.to_string();
    let mut parts = text.split(';');
    let address = parts.next().unwrap_or_default().to_owned();
    let transport = parts.find(|part| part.starts_with("transport="));
    transport.map_or_else(|| address.clone(), |transport| format!("{address};{transport}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_shown_without_what_is_sealed_into_it() {
        let shown = |uri| shown(&Uri::parse(uri).unwrap());
        assert_eq!(
            shown("sip:1001@127.0.0.1:5062;postern-call=abc;transport=tcp"),
            "sip:1001@127.0.0.1:5062;transport=tcp"
        );
        assert_eq!(shown("sip:1001@127.0.0.1:5062"), "sip:1001@127.0.0.1:5062");
    }

    #[test]
    fn wrong_recordings_are_refused_and_a_blind_judge_would_be_seen() {
        let spoken = speech();
        assert!(refuse_wrong(&spoken, &spoken).is_ok());
        // Where nothing is cut off or silenced, the recordings are not wrong, and taking them is told.
        let constant = vec![1_000; 40_000];
        assert!(refuse_wrong(&constant, &constant).is_err());
    }
}
