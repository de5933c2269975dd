//! Many calls that leave a message at once, on a worker that has one core.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use postern_media::Stream;
use postern_media::event::Destination;
use postern_media::session::{Component, Options};
use postern_sip::offer_answer_capabilities::OfferKeying;
use postern_sip::user_agent_io::CallHandle;
use tokio::time::{interval, sleep_until, timeout};

use crate::cpu;
use crate::numbered::{self, FRAME, Proof};
use crate::office::{Office, Running, WORKER, mailbox_number};
use crate::phone::{Answered, News, PATIENCE, Phones, seed};

/// Calls that one mailbox takes at once.
pub const PER_MAILBOX: usize = 2;

/// New calls in a second.
const CALLS_PER_SEC: u32 = 50;

/// From the last answer until every call is recorded: the greeting and the tone.
const GREETING: Duration = Duration::from_secs(12);

/// Audio that a phone has ready.
const QUEUED: usize = 3 * FRAME;

pub struct Recorded {
    pub calls: usize,
    /// The worker's processor time in the window, and the window.
    pub worker: Duration,
    /// The phones' own, to be seen when they are what falls behind.
    pub phones: Duration,
    pub window: Duration,
    pub memory_before: u64,
    pub memory: u64,
    /// Messages in the mailboxes.
    pub messages: usize,
    pub proof: Proof,
}

/// Makes `calls` calls, keeps them recording for `window`, hangs up, and judges every recording.
pub async fn measure(
    office: &Office,
    calls: usize,
    keying: OfferKeying,
    window: Duration,
    core: usize,
) -> Result<Recorded> {
    let worker = office.start("worker", &core.to_string(), WORKER)?;
    let memory_before = cpu::memory_of(worker.pid())?;
    let mut phones = Phones::new()?;
    let (speakers, arriving) = channel();
    let speaking = thread::spawn(move || speak(&arriving));
    let outcome = play_out(&mut phones, calls, keying, window, &worker, &speakers).await;
    drop(speakers);
    let spoken = speaking.join();
    let mut recorded = outcome?;
    ensure!(matches!(spoken, Ok(Ok(()))), "the phones' media ended early: {spoken:?}");
    recorded.memory_before = memory_before;
    drop(worker);
    let recordings = office.recordings().await?;
    recorded.messages = recordings.len();
    for recording in &recordings {
        let one = numbered::judge(recording);
        recorded.proof.frames += one.frames;
        recorded.proof.missing += one.missing;
        recorded.proof.misplaced += one.misplaced;
    }
    Ok(recorded)
}

/// What the speaking thread is told.
enum Told {
    Begin(Box<Answered>),
    End(CallHandle),
}

async fn play_out(
    phones: &mut Phones,
    calls: usize,
    keying: OfferKeying,
    window: Duration,
    worker: &Running,
    speakers: &Sender<Told>,
) -> Result<Recorded> {
    let mut pace = interval(Duration::from_secs(1) / CALLS_PER_SEC);
    let (mut made, mut answered) = (0, Vec::new());
    let begun = Instant::now();
    while answered.len() < calls {
        ensure!(begun.elapsed() < PATIENCE * 4, "{} of {calls} calls were answered", answered.len());
        tokio::select! {
            _ = pace.tick(), if made < calls => {
                phones.call(&mailbox_number(made / PER_MAILBOX), WORKER, keying)?;
                made += 1;
            }
            news = phones.turn() => for (call, news) in news? {
                match news {
                    News::Answered(call) => {
                        answered.push(call.call);
                        speakers.send(Told::Begin(call))?;
                    }
                    News::Ended(cause) => bail!("call {call:?} of {calls} ended: {cause:?}"),
                }
            },
        }
    }
    stay(phones, GREETING).await?;
    let (before, own_before, from) = (cpu::time_of(worker.pid())?, cpu::time_of(std::process::id())?, Instant::now());
    stay(phones, window).await?;
    let (after, own_after, window) = (cpu::time_of(worker.pid())?, cpu::time_of(std::process::id())?, from.elapsed());
    let memory = cpu::memory_of(worker.pid())?;
    let mut open = answered.len();
    let mut hang_up = answered.into_iter();
    while open > 0 {
        tokio::select! {
            _ = pace.tick(), if hang_up.len() > 0 => if let Some(call) = hang_up.next() {
                phones.hang_up(call);
                // What is spoken while the BYE is under way is nobody's to miss.
                speakers.send(Told::End(call))?;
            },
            news = timeout(PATIENCE, phones.turn()) => {
                open -= news??.iter().filter(|(_, news)| matches!(news, News::Ended(_))).count();
            }
        }
    }
    Ok(Recorded {
        calls,
        worker: after - before,
        phones: own_after - own_before,
        window,
        memory_before: 0,
        memory,
        messages: 0,
        proof: Proof::default(),
    })
}

/// Goes on for a while, in which no call may end.
async fn stay(phones: &mut Phones, time: Duration) -> Result<()> {
    let until = tokio::time::Instant::now() + time;
    loop {
        tokio::select! {
            () = sleep_until(until) => return Ok(()),
            news = phones.turn() => for (call, news) in news? {
                if let News::Ended(cause) = news {
                    bail!("call {call:?} ended by itself: {cause:?}");
                }
            },
        }
    }
}

/// One phone's media.
struct Speaker {
    stream: Stream,
    answered: Box<Answered>,
    number: u16,
}

impl Speaker {
    fn new(answered: Box<Answered>) -> Result<Self> {
        let origin = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?);
        let options = Options { pcm_rate: Some(8_000), ..Options::new(seed()?, origin, "bench") };
        let stream = Stream::new(options, answered.session.clone(), Instant::now())?;
        Ok(Self { stream, answered, number: 0 })
    }

    fn turn(&mut self, now: Instant) -> Result<()> {
        while self.stream.next_timeout() <= now {
            while self.stream.play_queued() < QUEUED {
                self.stream.play(&numbered::frame(self.number));
                self.number = self.number.wrapping_add(1);
            }
            self.stream.handle_timeout(now);
            while let Some(packet) = self.stream.poll_transmit() {
                let Destination::Address(to) = packet.destination else { continue };
                let socket = match packet.component {
                    Component::Rtp => &self.answered.rtp,
                    Component::Rtcp => &self.answered.rtcp,
                };
                socket.send_to(packet.bytes, to)?;
            }
            while self.stream.poll_frame().is_some() {}
            while self.stream.poll_event().is_some() {}
        }
        Ok(())
    }
}

/// Speaks for all phones until nobody tells it anything any more.
fn speak(told: &Receiver<Told>) -> Result<()> {
    let mut speakers: HashMap<CallHandle, Speaker> = HashMap::new();
    loop {
        loop {
            match told.try_recv() {
                Ok(Told::Begin(answered)) => {
                    speakers.insert(answered.call, Speaker::new(answered)?);
                }
                Ok(Told::End(call)) => {
                    speakers.remove(&call);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        let now = Instant::now();
        for speaker in speakers.values_mut() {
            speaker.turn(now)?;
        }
        thread::sleep(Duration::from_millis(2));
    }
}
