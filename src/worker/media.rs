//! The threads that carry media, and what calls ask of them. No media rides on the control plane: it sends commands
//! and reads events.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use postern_ice::candidate::Component;
use postern_ice::io::{EdgeId, EdgeServer, PairInfo, RemoteChange, Settings};
use postern_ice::sdp::Description;
use postern_ice::story::Story;
use postern_media::digit::Digit;
use postern_media::event::Event as StreamEvent;
use postern_media::report::Report;
use postern_media::session::{Options, Session};
use postern_net::{Reactor, UdpSocket, Waker};
use postern_turn::client::{ClientCredentials, EdgeFailure};
use tokio::sync::mpsc;

use crate::limits;
use crate::media_thread::MediaThread;
use crate::monitor::ThreadMeter;
use crate::ports::PortLease;

/// A call's name on its thread; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaId(pub u64);

/// What a call's media begins with.
pub struct Opening {
    /// Bound sockets with their component, in the order of [`Settings::sockets`].
    pub sockets: Vec<(Component, UdpSocket)>,
    /// Given back when the sockets are closed.
    pub leases: Vec<PortLease>,
    /// An ICE agent begins to gather at once.
    pub ice: Option<Settings>,
    /// Secret randomness of the agent.
    pub seed: [u8; 32],
}

/// What is asked of a call's media.
pub enum Command {
    /// What offer and answer agreed on, for the first time or again.
    Agree(Box<Options>, Box<Session>),
    /// The peer's ICE description.
    Remote(Box<Description>),
    /// The peer does without ICE.
    DropIce,
    /// Gather again, through these edges.
    RestartIce(Vec<EdgeServer>),
    Credentials(EdgeId, ClientCredentials),
    /// Play these samples, after whatever was playing was stopped. With `more`, others follow by `PlayOn`.
    Play {
        playback: u32,
        pieces: Vec<Arc<[i16]>>,
        more: bool,
    },
    PlayOn {
        playback: u32,
        piece: Arc<[i16]>,
        more: bool,
    },
    StopPlaying,
    Record(Recording),
    StopRecording,
    SendDigit(Digit, Duration),
    Close,
}

/// What is recorded, and where to.
pub struct Recording {
    /// Pieces of [`limits::RECORDED_PIECE`]; dropped at the end.
    pub sink: mpsc::Sender<Vec<i16>>,
    pub samples_max: u64,
    /// Silence that ends it.
    pub silence: Duration,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingEnd {
    Stopped,
    Silence,
    Limit,
    /// The disk does not keep up.
    Overrun,
}

/// What a call's media tells.
#[derive(Debug)]
pub enum MediaEvent {
    /// Our ICE description is complete.
    Gathered(Box<Description>),
    RemoteChanged(RemoteChange),
    PairSelected(Component, Box<PairInfo>),
    IceCompleted,
    IceFailed {
        keeps_former: bool,
    },
    ConsentLost {
        ever_answered: bool,
    },
    PairQuiet,
    EdgeFailed {
        edge: EdgeId,
        why: EdgeFailure,
        in_use: bool,
    },
    /// An edge does not take renewed credentials for what it gave under the former ones.
    CredentialsRefused(EdgeId),
    Stream(StreamEvent),
    /// The first packet of RTP has left.
    FirstSent,
    /// The agreed session cannot be set up.
    SetupFailed(String),
    /// A playback that goes on needs its next piece.
    PlaybackLow(u32),
    PlaybackFinished(u32),
    /// `samples` were recorded, `silence` of them silent at the end.
    RecordingEnded {
        why: RecordingEnd,
        samples: u64,
        silence: u64,
    },
    /// The last one.
    Closed(Box<Closed>),
}

/// What there is to say of a call's media at its end.
#[derive(Debug)]
pub struct Closed {
    /// Absent when nothing was ever agreed on.
    pub report: Option<Report>,
    pub story: Option<Story>,
    /// Packets that came before anything was agreed on, or that ICE did not let in.
    pub ignored: u64,
}

/// No thread takes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the media threads have all they can do")]
pub struct MediaBusy;

pub(crate) enum ToThread {
    Open(MediaId, Box<Opening>, mpsc::Sender<MediaEvent>),
    Ask(MediaId, Command),
}

struct Thread {
    inbox: SyncSender<ToThread>,
    waker: Waker,
    calls: Arc<AtomicUsize>,
}

/// All media threads of a process. They end when this and every [`MediaCall`] is dropped.
pub struct Media {
    threads: Vec<Arc<Thread>>,
    opened: std::sync::atomic::AtomicU64,
}

impl Media {
    /// Starts `threads` of them; 0 is one per core.
    ///
    /// # Errors
    /// No thread, or no descriptor.
    pub fn start(threads: usize) -> io::Result<Self> {
        Self::start_counting(Self::count(threads), |_| ThreadMeter::default())
    }

    /// How many threads `threads` means.
    pub(crate) fn count(threads: usize) -> usize {
        if threads == 0 { postern_net::system::cores().len().max(1) } else { threads }
    }

    /// As [`start`](Self::start), exactly so many; thread number n counts with `meter(n)`.
    pub(crate) fn start_counting(threads: usize, meter: impl Fn(usize) -> ThreadMeter) -> io::Result<Self> {
        let threads = (0..threads).map(|number| {
            let reactor = Reactor::new()?;
            let waker = reactor.waker();
            let (inbox, commands) = sync_channel(limits::COMMANDS_MAX);
            let calls = Arc::new(AtomicUsize::new(0));
            let thread = MediaThread::new(reactor, commands, Arc::clone(&calls), meter(number));
            std::thread::Builder::new().name(format!("media-{number}")).spawn(move || thread.run())?;
            Ok(Arc::new(Thread { inbox, waker, calls }))
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, opened: Default::default() })
    }

    /// Hands a call's sockets to the thread with the fewest calls.
    ///
    /// # Errors
    /// [`MediaBusy`]; the sockets are closed.
    pub fn open(&self, opening: Opening) -> Result<(MediaCall, mpsc::Receiver<MediaEvent>), MediaBusy> {
        let thread = self.threads.iter().min_by_key(|thread| thread.calls.load(Ordering::Relaxed)).ok_or(MediaBusy)?;
        if thread.calls.load(Ordering::Relaxed) >= limits::CALLS_PER_THREAD {
            return Err(MediaBusy);
        }
        let id = MediaId(self.opened.fetch_add(1, Ordering::Relaxed));
        let (events, receiver) = mpsc::channel(limits::MEDIA_EVENTS_MAX);
        let call = MediaCall { thread: Arc::clone(thread), id };
        call.send(ToThread::Open(id, Box::new(opening), events))?;
        Ok((call, receiver))
    }

    /// Calls with open sockets.
    pub fn calls(&self) -> usize {
        self.threads.iter().map(|thread| thread.calls.load(Ordering::Relaxed)).sum()
    }
}

/// A call's media, seen from its control. Dropping it closes it.
pub struct MediaCall {
    thread: Arc<Thread>,
    id: MediaId,
}

impl MediaCall {
    /// Asks for something.
    ///
    /// # Errors
    /// [`MediaBusy`]: the thread is far behind. The call had better end.
    pub fn ask(&self, command: Command) -> Result<(), MediaBusy> {
        self.send(ToThread::Ask(self.id, command))
    }

    fn send(&self, message: ToThread) -> Result<(), MediaBusy> {
        self.thread.inbox.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => MediaBusy,
        })?;
        self.thread.waker.wake();
        Ok(())
    }
}

impl Drop for MediaCall {
    fn drop(&mut self) {
        // A queue that is full is emptied soon: the call is found abandoned when its events have no reader.
        let _ = self.send(ToThread::Ask(self.id, Command::Close));
    }
}
