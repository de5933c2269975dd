//! Outgoing calls as the web services ask for them.

use std::sync::Arc;

use async_trait::async_trait;
use postern_mailbox::MailboxId;
use postern_slots::{NotPlaced, OrderCause, OrderId, OrderPurpose, OrderState, Progress};
use postern_store::SqliteStore;
use postern_web::{CallCause, CallId, CallInfo, CallPurpose, CallRefusal, CallState, Calls, News};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::outcalls::{Changed, Denied, Outcalls, Wish};

/// Calls for owners of mailboxes in this store.
pub struct OwnerCalls {
    pub outcalls: Outcalls,
    pub store: Arc<SqliteStore>,
}

#[async_trait]
impl Calls for OwnerCalls {
    async fn place(&self, mailbox: MailboxId, what: CallPurpose, to: String) -> Result<CallId, CallRefusal> {
        let known = self.store.mailbox(mailbox).await.map_err(|_| CallRefusal::Unavailable)?;
        let known = known.ok_or(CallRefusal::Unavailable)?;
        // The one that is written first is the mailbox's own.
        let number = known.addresses.first().ok_or(CallRefusal::Unavailable)?.to_string();
        let wish =
            Wish { mailbox: mailbox.to_string(), plan: known.plan.0, number, purpose: purpose(what), dialled: to };
        self.outcalls.place(wish).await.map(id_of).map_err(refusal)
    }

    async fn info(&self, mailbox: MailboxId, call: CallId) -> Option<CallInfo> {
        let progress = self.outcalls.progress(&mailbox.to_string(), order_of(call)).await?;
        Some(info(progress))
    }

    async fn hang_up(&self, mailbox: MailboxId, call: CallId) -> bool {
        self.outcalls.hang_up(&mailbox.to_string(), order_of(call)).await
    }
}

/// Tells browsers of every change, until the service ends.
pub async fn tell_changes(mut changes: broadcast::Receiver<Changed>, news: broadcast::Sender<News>) {
    loop {
        match changes.recv().await {
            Ok(Changed { mailbox, call, progress }) => {
                if let Ok(mailbox) = mailbox.parse() {
                    // Nobody may have the page open.
                    let _ = news.send(News::Call(mailbox, id_of(call), info(progress)));
                }
            }
            // Whoever waits for a call asks for it again.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn purpose(what: CallPurpose) -> OrderPurpose {
    match what {
        CallPurpose::PlayMessage(message) => OrderPurpose::PlayMessage { message: message.to_string() },
        CallPurpose::PlayGreeting(kind) => OrderPurpose::PlayGreeting { greeting: kind.name().into() },
        CallPurpose::RecordGreeting(kind) => OrderPurpose::RecordGreeting { greeting: kind.name().into() },
    }
}

fn id_of(order: OrderId) -> CallId {
    CallId(u128::from_be_bytes(order.bytes()))
}

fn order_of(call: CallId) -> OrderId {
    OrderId::new(call.0.to_be_bytes())
}

fn refusal(denied: Denied) -> CallRefusal {
    match denied {
        Denied::NotAllowed => CallRefusal::NotAllowed,
        Denied::NotPlaced(NotPlaced::Busy) => CallRefusal::Busy,
        Denied::NotPlaced(NotPlaced::TooMany) => CallRefusal::TooMany,
        Denied::NotPlaced(NotPlaced::Unavailable) => CallRefusal::Unavailable,
    }
}

fn info(progress: Progress) -> CallInfo {
    CallInfo {
        state: match progress.state {
            OrderState::Idle => CallState::Idle,
            OrderState::Connecting => CallState::Connecting,
            OrderState::Alerted => CallState::Alerted,
            OrderState::Connected => CallState::Connected,
            OrderState::Disconnected => CallState::Disconnected,
        },
        cause: progress.cause.map(|cause| match cause {
            OrderCause::None => CallCause::None,
            OrderCause::Busy => CallCause::Busy,
            OrderCause::NoAnswer => CallCause::NoAnswer,
            OrderCause::Unavailable => CallCause::Unavailable,
            OrderCause::Other => CallCause::Other,
        }),
        sip_status: progress.sip_status,
    }
}
