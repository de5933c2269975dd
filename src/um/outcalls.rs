//! The home of outgoing calls: whoever wants one asks here, and nobody learns of another mailbox's.
//!
//! Workers place the calls and [`Slots`] keeps their states; this is the way to both for tasks beside the service's loop.

use std::time::Instant;

use postern_dialplan::Rules;
use postern_net::system;
use postern_slots::{NotPlaced, Order, OrderId, OrderPurpose, Progress, Slots};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::dialling;
use crate::limits::{CALL_CHANGES_MAX, CALL_QUESTIONS_MAX};

/// A call that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The mailbox's id in the store.
    pub mailbox: String,
    /// Its dial plan, by whose rules the dial string is judged.
    pub plan: String,
    /// Its own number, as whom the call is made.
    pub number: String,
    pub purpose: OrderPurpose,
    /// Whom to call, as somebody typed it.
    pub dialled: String,
}

/// Why there is no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The asker's fault, or the operator's who allowed too little.
    #[error("the rules of the dial plan do not allow it; dial_plan.allow names what may be called")]
    NotAllowed,
    #[error(transparent)]
    NotPlaced(#[from] NotPlaced),
}

/// An outgoing call is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub mailbox: String,
    pub call: OrderId,
    pub progress: Progress,
}

enum Question {
    Place(Box<Wish>, oneshot::Sender<Result<OrderId, Denied>>),
    Progress { mailbox: String, call: OrderId, tell: oneshot::Sender<Option<Progress>> },
    HangUp { mailbox: String, call: OrderId, tell: oneshot::Sender<bool> },
}

/// Places calls, and tells how they are. Clones are the same.
#[derive(Clone)]
pub struct Outcalls {
    ask: mpsc::Sender<Question>,
    changes: broadcast::Sender<Changed>,
}

impl Outcalls {
    /// Has a call placed. It is under way when its id is given, and nobody has been rung yet.
    ///
    /// # Errors
    /// [`Denied`]; nothing was sent.
    pub async fn place(&self, wish: Wish) -> Result<OrderId, Denied> {
        let asked = self.ask(|tell| Question::Place(Box::new(wish), tell)).await;
        asked.unwrap_or(Err(Denied::NotPlaced(NotPlaced::Unavailable)))
    }

    /// How a call of this mailbox is. `None`: it has no such call, or that ended long ago.
    pub async fn progress(&self, mailbox: &str, call: OrderId) -> Option<Progress> {
        let mailbox = mailbox.to_owned();
        self.ask(|tell| Question::Progress { mailbox, call, tell }).await.flatten()
    }

    /// Has a call of this mailbox hung up. Whether there is such a call; one that is over stays so.
    pub async fn hang_up(&self, mailbox: &str, call: OrderId) -> bool {
        let mailbox = mailbox.to_owned();
        self.ask(|tell| Question::HangUp { mailbox, call, tell }).await.unwrap_or(false)
    }

    /// Every change from now on, of all mailboxes. Whoever is more than [`CALL_CHANGES_MAX`] behind misses the oldest.
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }

    /// `None`: the service ends.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (tell, told) = oneshot::channel();
        self.ask.send(question(tell)).await.ok()?;
        told.await.ok()
    }
}

/// The service's end.
pub(crate) struct Home {
    asked: mpsc::Receiver<Question>,
    changes: broadcast::Sender<Changed>,
}

/// What the service knows when it is asked.
pub(crate) struct Knowledge<'s> {
    pub(crate) slots: &'s mut Slots,
    pub(crate) rules: &'s Rules,
    pub(crate) per_hour: u32,
}

/// A question to the service, to be answered by [`Home::answer`].
pub(crate) struct Asked(Question);

impl Home {
    pub(crate) fn new() -> (Outcalls, Self) {
        let (ask, asked) = mpsc::channel(CALL_QUESTIONS_MAX);
        let (changes, _) = broadcast::channel(CALL_CHANGES_MAX);
        (Outcalls { ask, changes: changes.clone() }, Self { asked, changes })
    }

    /// The next question; never, once nobody may ask. Cancel-safe.
    pub(crate) async fn asked(&mut self) -> Asked {
        match self.asked.recv().await {
            Some(question) => Asked(question),
            None => std::future::pending().await,
        }
    }

    /// Answers a question. Whoever has asked and gone meanwhile misses the answer.
    pub(crate) fn answer(&self, Asked(question): Asked, knowledge: Knowledge<'_>) {
        let Knowledge { slots, .. } = &knowledge;
        let own = |mailbox: &str, call: OrderId| slots.outcall(call).filter(|known| known.mailbox == mailbox);
        match question {
            Question::Place(wish, tell) => drop(tell.send(place(*wish, knowledge))),
            Question::Progress { mailbox, call, tell } => {
                drop(tell.send(own(&mailbox, call).map(|known| known.progress)));
            }
            Question::HangUp { mailbox, call, tell } => {
                let is_own = own(&mailbox, call).is_some();
                if is_own {
                    knowledge.slots.hang_up(call);
                }
                drop(tell.send(is_own));
            }
        }
    }

    /// Tells of the calls that changed.
    pub(crate) fn tell(&self, slots: &mut Slots) {
        while let Some(call) = slots.poll_outcall() {
            if let Some(known) = slots.outcall(call) {
                tracing::debug!(%call, state = ?known.progress.state, "an outgoing call has changed");
                // Nobody may listen.
                let _ = self.changes.send(Changed { mailbox: known.mailbox.clone(), call, progress: known.progress });
            }
        }
    }
}

fn place(wish: Wish, Knowledge { slots, rules, per_hour }: Knowledge<'_>) -> Result<OrderId, Denied> {
    let Wish { mailbox, plan, number, purpose, dialled } = wish;
    let (target, gateways) = dialling::judge(rules, &plan, &dialled).ok_or(Denied::NotAllowed)?;
    if gateways.is_empty() {
        tracing::warn!(%plan, "no gateway of the dial plan has a target and outcalls");
        return Err(NotPlaced::Unavailable.into());
    }
    let id = OrderId::new(system::random().map_err(|_| NotPlaced::Unavailable)?);
    let order = Order { id, mailbox, plan, number, purpose, target, dialled, gateways };
    slots.place(order, per_hour, Instant::now())?;
    Ok(id)
}
