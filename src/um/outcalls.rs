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
            Question::Place(wish, tell) => {
                let _ = tell.send(place(*wish, knowledge));
            }
            Question::Progress { mailbox, call, tell } => {
                let _ = tell.send(own(&mailbox, call).map(|known| known.progress));
            }
            Question::HangUp { mailbox, call, tell } => {
                let is_own = own(&mailbox, call).is_some();
                if is_own {
                    knowledge.slots.hang_up(call);
                }
                let _ = tell.send(is_own);
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
    let (target, gateways) = dialling::judge(rules, &plan, &dialled).map_err(|why| {
        tracing::debug!(%plan, mailbox = %number, %why, "an outgoing call is not placed");
        Denied::NotAllowed
    })?;
    if gateways.is_empty() {
        tracing::warn!(%plan, "no gateway of the dial plan has a target and outcalls");
        return Err(NotPlaced::Unavailable.into());
    }
    let random = system::random().map_err(|_| NotPlaced::Unavailable)?;
    let id = OrderId::new(*random.first_chunk().ok_or(NotPlaced::Unavailable)?);
    let order = Order { id, mailbox, plan, number, purpose, target, dialled, gateways };
    slots.place(order, per_hour, Instant::now())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use postern_config::{Source, load_source};
    use postern_slots::limits::VERSION;
    use postern_slots::{
        Action, FromWorker, Options, OrderCause, OrderReport, OrderState, OrderTarget, Readiness, Slot, Status,
        ToWorker,
    };

    use super::*;
    use crate::generation;

    /// A service's loop, with a worker that takes every order.
    struct Loop {
        home: Home,
        slots: Slots,
        rules: Rules,
        placed: Vec<Order>,
        hung_up: Vec<OrderId>,
    }

    const CONFIGURATION: &str = r#"
[um]
startup_mode = "tcp"
tcp = ["127.0.0.1:5062"]
[worker]
startup_mode = "tcp"
addresses = ["127.0.0.1"]
[mailbox]
[[gateway]]
address = "10.0.0.1"
dial_plan = "office"
[[gateway]]
address = "10.0.0.2"
dial_plan = "office"
target = "sip:10.0.0.2;transport=tcp"
outcalls = true
[[gateway]]
address = "10.0.0.3"
dial_plan = "office"
target = "sip:10.0.0.3;transport=tcp"
outcalls = true
[[dial_plan]]
name = "office"
digits = 4
allow = ["9*", "sip:*@partner.example.test"]
[[dial_plan]]
name = "closed"
digits = 4
"#;

    fn service() -> (Outcalls, Loop) {
        let loaded = load_source(&Source::text("um.toml", CONFIGURATION, Path::new("/etc/postern")), &[]);
        let loaded = loaded.unwrap_or_else(|faults| panic!("{}", faults[0]));
        let rules = generation::desk(&loaded.config, &[]).unwrap().rules;
        let now = Instant::now();
        let options = Options {
            calls_max: 10,
            longest_call: std::time::Duration::from_secs(60),
            recycle_age: None,
            recycle_memory_bytes: None,
            recycle_interval: std::time::Duration::from_secs(60),
        };
        let mut slots = Slots::new(options, now);
        slots.handle_connected(Slot::A, now);
        let hello = FromWorker::Hello { version: VERSION, slot: Slot::A, generation: 1, pid: 1 };
        slots.handle_message(Slot::A, hello, now);
        let status = Status { ready: Readiness::ALL, ..Status::default() };
        slots.handle_message(Slot::A, FromWorker::Status(status), now);
        let (outcalls, home) = Home::new();
        (outcalls, Loop { home, slots, rules, placed: Vec::new(), hung_up: Vec::new() })
    }

    impl Loop {
        /// Answers what is asked until `asking` has its answer.
        async fn serve<T>(&mut self, asking: impl Future<Output = T>) -> T {
            tokio::pin!(asking);
            loop {
                tokio::select! {
                    answer = &mut asking => return answer,
                    asked = self.home.asked() => {
                        let Self { slots, rules, .. } = self;
                        self.home.answer(asked, Knowledge { slots, rules, per_hour: 2 });
                        self.work();
                    }
                }
            }
        }

        fn work(&mut self) {
            while let Some(action) = self.slots.poll_action() {
                match action {
                    Action::Send { message: ToWorker::Place(order), .. } => {
                        self.tell(&order, Progress { state: OrderState::Connecting, ..Progress::default() });
                        self.placed.push(*order);
                    }
                    Action::Send { message: ToWorker::HangUp { order }, .. } => self.hung_up.push(order),
                    _ => {}
                }
            }
            self.home.tell(&mut self.slots);
        }

        fn tell(&mut self, order: &Order, progress: Progress) {
            let report =
                OrderReport { order: order.id, mailbox: order.mailbox.clone(), age_secs: 0, over_secs: 0, progress };
            self.slots.handle_message(Slot::A, FromWorker::Order(report), Instant::now());
            self.home.tell(&mut self.slots);
        }
    }

    fn wish(mailbox: &str, dialled: &str) -> Wish {
        Wish {
            mailbox: mailbox.into(),
            plan: "office".into(),
            number: "1001".into(),
            purpose: OrderPurpose::PlayGreeting { greeting: "own".into() },
            dialled: dialled.into(),
        }
    }

    #[tokio::test]
    async fn a_call_goes_by_the_gateways_that_have_a_target_and_its_changes_are_told() {
        let (outcalls, mut service) = service();
        let mut changes = outcalls.changes();
        let call = service.serve(outcalls.place(wish("alice", "9-123"))).await.unwrap();
        let order = service.placed[0].clone();
        assert_eq!((order.id, &order.target), (call, &OrderTarget::Number("9123".into())));
        assert_eq!(order.gateways, ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(service.serve(outcalls.progress("alice", call)).await.unwrap().state, OrderState::Connecting);
        let over = Progress::over(OrderCause::Busy, Some(486));
        service.tell(&order, over);
        assert_eq!(service.serve(outcalls.progress("alice", call)).await, Some(over));
        let told: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).collect();
        assert!(told.iter().all(|change| (change.call, &*change.mailbox) == (call, "alice")));
        assert_eq!(told.last().unwrap().progress, over);
    }

    #[tokio::test]
    async fn what_the_rules_do_not_name_is_not_called() {
        let (outcalls, mut service) = service();
        for dialled in [
            "0123",
            "+19005550100",
            "",
            "9abc",
            "tel:9123;phone-context=+1",
            "sip:9123@evil.example.test",
            "sip:9123@partner.example.test?Subject=x",
            "9123\r\nX-Evil: yes",
        ] {
            let placed = service.serve(outcalls.place(wish("alice", dialled))).await;
            assert_eq!(placed, Err(Denied::NotAllowed), "{dialled:?}");
        }
        let closed = Wish { plan: "closed".into(), ..wish("alice", "9123") };
        assert_eq!(service.serve(outcalls.place(closed)).await, Err(Denied::NotAllowed), "the default is nothing");
        assert_eq!(service.placed, []);
        service.serve(outcalls.place(wish("alice", "sip:bob@partner.example.test"))).await.unwrap();
        assert_eq!(service.placed[0].target, OrderTarget::Uri("sip:bob@partner.example.test".into()));
    }

    #[tokio::test]
    async fn a_mailbox_has_one_call_at_a_time_and_so_many_an_hour() {
        let (outcalls, mut service) = service();
        let denied = |why| Err(Denied::NotPlaced(why));
        for _ in 0..2 {
            service.serve(outcalls.place(wish("alice", "9123"))).await.unwrap();
            assert_eq!(service.serve(outcalls.place(wish("alice", "9123"))).await, denied(NotPlaced::Busy));
            let order = service.placed.last().unwrap().clone();
            service.tell(&order, Progress::over(OrderCause::None, Some(200)));
        }
        assert_eq!(service.serve(outcalls.place(wish("alice", "9123"))).await, denied(NotPlaced::TooMany));
        service.serve(outcalls.place(wish("bob", "9123"))).await.unwrap();
    }

    #[tokio::test]
    async fn nobody_sees_or_ends_another_mailboxs_call() {
        let (outcalls, mut service) = service();
        let call = service.serve(outcalls.place(wish("alice", "9123"))).await.unwrap();
        assert_eq!(service.serve(outcalls.progress("bob", call)).await, None);
        assert!(!service.serve(outcalls.hang_up("bob", call)).await);
        assert_eq!(service.hung_up, []);
        assert!(service.serve(outcalls.hang_up("alice", call)).await);
        assert_eq!(service.hung_up, [call]);
    }

    #[tokio::test]
    async fn a_service_that_ends_places_nothing() {
        let (outcalls, service) = service();
        drop(service);
        let unavailable = Err(Denied::NotPlaced(NotPlaced::Unavailable));
        assert_eq!(outcalls.place(wish("alice", "9123")).await, unavailable);
        assert!(!outcalls.hang_up("alice", OrderId::new([1; 16])).await);
    }
}
