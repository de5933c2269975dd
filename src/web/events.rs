//! Server-sent events: what changed, for browsers that have the mailbox open.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use postern_mailbox::MailboxId;
use postern_store::SessionToken;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use crate::calls::{CallId, CallInfo};
use crate::desk::Desk;
use crate::limits::{STREAM_BEAT, STREAMS_PER_MAILBOX};
use crate::phone::Shown;
use crate::problem::Problem;
use crate::signed::Signed;

/// What changed of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Messages(MailboxId),
    Options(MailboxId),
    Call(MailboxId, CallId, CallInfo),
}

/// GET /events
pub(crate) async fn follow(State(desk): State<Arc<Desk>>, signed: Signed) -> Result<Response, Problem> {
    let place = Place::take(&desk, signed.mailbox).ok_or(Problem::TooMany { secs: 15 })?;
    let following = Following {
        news: desk.news.subscribe(),
        desk,
        mailbox: signed.mailbox,
        token: signed.token,
        beat: Instant::now() + STREAM_BEAT,
        is_begun: false,
        _place: place,
    };
    let body = Body::from_stream(stream::unfold(following, Following::next));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))], body).into_response())
}

/// One browser that is told of changes.
struct Following {
    desk: Arc<Desk>,
    news: Receiver<News>,
    mailbox: MailboxId,
    token: SessionToken,
    beat: Instant,
    is_begun: bool,
    _place: Place,
}

impl Following {
    /// The next piece of the stream. None: the session has ended.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if !self.is_begun {
            self.is_begun = true;
            return Some((Ok(Bytes::from_static(b"retry: 3000\n\n")), self));
        }
        loop {
            tokio::select! {
                news = self.news.recv() => {
                    if let Some(told) = self.told(news)? {
                        return Some((Ok(told), self));
                    }
                }
                () = sleep_until(self.beat) => {
                    // A store that cannot be read ends nobody's session.
                    let session = self.desk.store.peek_session(&self.token, self.desk.now()).await;
                    if matches!(session, Ok(None)) {
                        return None;
                    }
                    self.beat = Instant::now() + STREAM_BEAT;
                    return Some((Ok(Bytes::from_static(b":\n\n")), self));
                }
            }
        }
    }

    /// The event of some news, if it concerns this mailbox. The outer None: there will be no more.
    fn told(&self, news: Result<News, RecvError>) -> Option<Option<Bytes>> {
        let event = match news {
            Ok(News::Messages(mailbox)) if mailbox == self.mailbox => "event: messages\ndata: {}\n\n".to_owned(),
            Ok(News::Options(mailbox)) if mailbox == self.mailbox => "event: options\ndata: {}\n\n".to_owned(),
            Ok(News::Call(mailbox, id, info)) if mailbox == self.mailbox => {
                let call = serde_json::to_string(&Shown::of(id, info)).unwrap_or_else(|_| "{}".to_owned());
                format!("event: call\ndata: {call}\n\n")
            }
            Ok(_) => return Some(None),
            // Some news is lost: anything may have changed.
            Err(RecvError::Lagged(_)) => "event: messages\ndata: {}\n\nevent: options\ndata: {}\n\n".to_owned(),
            Err(RecvError::Closed) => return None,
        };
        Some(Some(event.into()))
    }
}

/// A stream's place among all and among those of its mailbox.
struct Place {
    desk: Arc<Desk>,
    mailbox: MailboxId,
    _of_all: OwnedSemaphorePermit,
}

impl Place {
    fn take(desk: &Arc<Desk>, mailbox: MailboxId) -> Option<Self> {
        let of_all = Arc::clone(&desk.streams).try_acquire_owned().ok()?;
        let mut counts = desk.streams_of.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(mailbox).or_default();
        if *count >= STREAMS_PER_MAILBOX {
            return None;
        }
        *count += 1;
        desk.cells.web_streams.set((), u64::from(counts.values().sum::<u32>()));
        Some(Self { desk: Arc::clone(desk), mailbox, _of_all: of_all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.desk.streams_of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.mailbox) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.mailbox);
            }
        }
        self.desk.cells.web_streams.set((), u64::from(counts.values().sum::<u32>()));
    }
}
