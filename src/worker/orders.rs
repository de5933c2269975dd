//! The outgoing calls that a worker was told to place: those under way, and for a while those that are over, so that a
//! UM service that comes later can be told how they went.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use postern_slots::limits::{OUTCALL_MEMORY, OUTCALLS_MAX};
use postern_slots::{Order, OrderId, OrderReport, OrderState, Progress};

struct Known {
    mailbox: String,
    ordered: Instant,
    ended: Option<Instant>,
    progress: Progress,
}

/// What is known of outgoing calls.
#[derive(Default)]
pub(crate) struct Orders {
    known: BTreeMap<OrderId, Known>,
    /// The oldest first.
    over: VecDeque<OrderId>,
}

impl Orders {
    /// Takes an order in. Whether it is to be carried out: it is not known already, and there is room.
    pub(crate) fn take(&mut self, order: &Order, now: Instant) -> bool {
        self.forget(now);
        if self.known.contains_key(&order.id) || !order.is_bounded() || self.known.len() >= OUTCALLS_MAX {
            return false;
        }
        let progress = Progress { state: OrderState::Connecting, ..Progress::default() };
        let known = Known { mailbox: order.mailbox.clone(), ordered: now, ended: None, progress };
        self.known.insert(order.id, known);
        true
    }

    /// A call has come this far. What is to be told of it, if that is news.
    pub(crate) fn advance(&mut self, id: OrderId, progress: Progress, now: Instant) -> Option<OrderReport> {
        let known = self.known.get_mut(&id)?;
        if known.progress.is_over() || progress.state < known.progress.state || progress == known.progress {
            return None;
        }
        known.progress = progress;
        if progress.is_over() {
            known.ended = Some(now);
            self.over.push_back(id);
        }
        self.report(id, now)
    }

    /// How a call is.
    pub(crate) fn report(&self, id: OrderId, now: Instant) -> Option<OrderReport> {
        let Known { mailbox, ordered, ended, progress } = self.known.get(&id)?;
        let since = |at: Instant| now.saturating_duration_since(at).as_secs();
        Some(OrderReport {
            order: id,
            mailbox: mailbox.clone(),
            age_secs: since(*ordered),
            over_secs: ended.map_or(0, since),
            progress: *progress,
        })
    }

    /// How all of them are.
    pub(crate) fn reports(&mut self, now: Instant) -> Vec<OrderReport> {
        self.forget(now);
        self.known.keys().filter_map(|id| self.report(*id, now)).collect()
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |known: &Known| known.ended.is_some_and(|ended| ended + OUTCALL_MEMORY <= now);
        while let Some(id) = self.over.front()
            && (self.known.len() >= OUTCALLS_MAX || self.known.get(id).is_none_or(is_old))
        {
            self.known.remove(id);
            self.over.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_slots::{OrderCause, OrderPurpose, OrderTarget};

    use super::*;

    fn order(number: u32) -> Order {
        Order {
            id: OrderId::new(u128::from(number).to_be_bytes()),
            mailbox: "alice".into(),
            plan: "office".into(),
            number: "1001".into(),
            purpose: OrderPurpose::RecordGreeting { greeting: "own".into() },
            target: OrderTarget::Number("2002".into()),
            dialled: "2002".into(),
            gateways: vec!["gw".into()],
        }
    }

    #[test]
    fn an_order_is_carried_out_once_and_its_news_are_told_once() {
        let (mut orders, now) = (Orders::default(), Instant::now());
        assert!(orders.take(&order(1), now));
        assert!(!orders.take(&order(1), now));
        let alerted = Progress { state: OrderState::Alerted, cause: None, sip_status: Some(180) };
        let told = orders.advance(order(1).id, alerted, now + Duration::from_secs(3)).unwrap();
        assert_eq!((told.progress, told.age_secs, &*told.mailbox), (alerted, 3, "alice"));
        assert_eq!(orders.advance(order(1).id, alerted, now), None);
        let over = Progress::over(OrderCause::Busy, Some(486));
        assert!(orders.advance(order(1).id, over, now).is_some());
        assert_eq!(orders.advance(order(1).id, alerted, now), None, "what is over stays so");
        assert!(!orders.take(&order(1), now), "and is not done again");
    }

    #[test]
    fn what_is_over_is_told_for_a_while_and_what_is_under_way_until_it_is_over() {
        let (mut orders, now) = (Orders::default(), Instant::now());
        orders.take(&order(1), now);
        orders.take(&order(2), now);
        orders.advance(order(1).id, Progress::over(OrderCause::None, None), now);
        assert_eq!(orders.reports(now + OUTCALL_MEMORY / 2).len(), 2);
        let left = orders.reports(now + OUTCALL_MEMORY);
        assert_eq!(left.iter().map(|report| report.order).collect::<Vec<_>>(), [order(2).id]);
    }

    #[test]
    fn more_orders_than_may_be_are_not_taken_while_all_are_under_way() {
        let (mut orders, now) = (Orders::default(), Instant::now());
        for number in 0..OUTCALLS_MAX as u32 {
            assert!(orders.take(&order(number), now));
        }
        assert!(!orders.take(&order(99_999), now));
        orders.advance(order(5).id, Progress::over(OrderCause::None, None), now);
        assert!(orders.take(&order(99_999), now));
    }
}
