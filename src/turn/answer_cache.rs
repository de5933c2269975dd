//! Answers to authenticated requests, kept while their client may still repeat the request (RFC 8489 section 6.3.1).

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::five_tuple::SeededHash;
use crate::limits::{ANSWER_KEPT_SECS, ANSWERS_KEPT_MAX};
use crate::reply::RequestKey;
use crate::wheel::SECOND;

/// Bounded in time and number; the oldest answer goes first. Nothing of a stranger's comes in.
#[derive(Debug)]
pub(crate) struct AnswerCache {
    answers: HashMap<RequestKey, Vec<u8>, SeededHash>,
    /// When each answer was kept, oldest first.
    order: VecDeque<(u64, RequestKey)>,
}

impl AnswerCache {
    pub(crate) fn new(hash: SeededHash) -> Self {
        Self { answers: HashMap::with_hasher(hash), order: VecDeque::new() }
    }

    pub(crate) fn keep(&mut self, now_nanos: u64, key: RequestKey, answer: Vec<u8>) {
        self.forget_old(now_nanos);
        if self.answers.insert(key, answer).is_none() {
            self.order.push_back((now_nanos, key));
        }
        if self.order.len() > ANSWERS_KEPT_MAX {
            self.forget_first();
        }
    }

    pub(crate) fn find(&mut self, now_nanos: u64, key: &RequestKey) -> Option<&Vec<u8>> {
        self.forget_old(now_nanos);
        self.answers.get(key)
    }

    fn forget_old(&mut self, now_nanos: u64) {
        while self.order.front().is_some_and(|(kept, _)| now_nanos >= kept + ANSWER_KEPT_SECS * SECOND) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.answers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::five_tuple::{FiveTuple, seeded_hash};
    use crate::io::{Client, Transport};

    fn key(digest: u64) -> RequestKey {
        let address = std::net::SocketAddr::from(([192, 0, 2, 1], 3478));
        let client = Client { transport: Transport::Udp, listener: 0, stream: 0, local: address, remote: address };
        RequestKey { tuple: FiveTuple::of(&client), transaction_id: [0; 16], digest }
    }

    #[test]
    fn an_answer_is_kept_for_forty_seconds() {
        let mut cache = AnswerCache::new(seeded_hash(1));
        cache.keep(5, key(1), vec![1]);
        assert_eq!(cache.find(40 * SECOND, &key(1)), Some(&vec![1]));
        assert_eq!(cache.find(40 * SECOND, &key(2)), None);
        assert_eq!(cache.find(40 * SECOND + 5, &key(1)), None);
    }

    #[test]
    fn the_oldest_answer_goes_first_when_there_are_too_many() {
        let mut cache = AnswerCache::new(seeded_hash(1));
        for digest in 0..=ANSWERS_KEPT_MAX as u64 {
            cache.keep(0, key(digest), Vec::new());
        }
        assert!(cache.find(0, &key(0)).is_none());
        assert!(cache.find(0, &key(1)).is_some());
        assert_eq!(cache.answers.len(), ANSWERS_KEPT_MAX);
    }
}
