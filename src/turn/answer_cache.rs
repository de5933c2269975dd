//! Answers to authenticated requests, kept while their client may still repeat the request (RFC 8489 section 6.3.1).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hashbrown::HashMap;

use crate::five_tuple::SeededHash;
use crate::limits::{ANSWER_KEPT_SECS, ANSWERS_KEPT_MAX};
use crate::reply::RequestKey;
use crate::wheel::SECOND;

/// Bounded in time and number. Nothing of a stranger's comes in.
///
/// When it is full, who has the most answers in it loses the oldest of them: a flood of requests by one user, from
/// however many 5-tuples, drives out no answer of another's.
#[derive(Debug)]
pub(crate) struct AnswerCache {
    answers: HashMap<RequestKey, Vec<u8>, SeededHash>,
    /// Every answer's place, oldest first.
    places: BTreeMap<u64, Place>,
    next_place: u64,
    /// The places of each user, oldest first; never empty.
    users: HashMap<UserDigest, VecDeque<u64>, SeededHash>,
    /// How many places each user has: the last one has most.
    crowd: BTreeSet<(usize, UserDigest)>,
}

/// Keyed hash of whom the quota counts: tells users apart, and nothing worse than a shared fate comes of two alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UserDigest(pub(crate) u64);

#[derive(Debug)]
struct Place {
    kept_nanos: u64,
    key: RequestKey,
    user: UserDigest,
}

impl AnswerCache {
    pub(crate) fn new(hash: SeededHash) -> Self {
        Self {
            answers: HashMap::with_hasher(hash.clone()),
            places: BTreeMap::new(),
            next_place: 0,
            users: HashMap::with_hasher(hash),
            crowd: BTreeSet::new(),
        }
    }

    pub(crate) fn keep(&mut self, now_nanos: u64, user: UserDigest, key: RequestKey, answer: Vec<u8>) {
        self.forget_old(now_nanos);
        if self.answers.insert(key, answer).is_some() {
            return;
        }
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(place, Place { kept_nanos: now_nanos, key, user });
        self.change_places(user, |places| places.push_back(place));
        if self.places.len() > ANSWERS_KEPT_MAX {
            self.forget_one_of_most();
        }
    }

    pub(crate) fn find(&mut self, now_nanos: u64, key: &RequestKey) -> Option<&Vec<u8>> {
        self.forget_old(now_nanos);
        self.answers.get(key)
    }

    fn forget_old(&mut self, now_nanos: u64) {
        while let Some(oldest) = self.places.first_entry()
            && now_nanos >= oldest.get().kept_nanos + ANSWER_KEPT_SECS * SECOND
        {
            let place = *oldest.key();
            self.forget(place);
        }
    }

    fn forget_one_of_most(&mut self) {
        let most = self.crowd.last().and_then(|(_, user)| self.users.get(user)?.front());
        if let Some(place) = most.copied() {
            self.forget(place);
        }
    }

    /// Only ever the oldest place of its user.
    fn forget(&mut self, place: u64) {
        let Some(Place { key, user, .. }) = self.places.remove(&place) else { return };
        self.answers.remove(&key);
        self.change_places(user, |places| {
            let first = places.pop_front();
            debug_assert_eq!(first, Some(place));
        });
    }

    fn change_places(&mut self, user: UserDigest, change: impl FnOnce(&mut VecDeque<u64>)) {
        let places = self.users.entry(user).or_default();
        self.crowd.remove(&(places.len(), user));
        change(places);
        if places.is_empty() {
            self.users.remove(&user);
        } else {
            self.crowd.insert((places.len(), user));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::five_tuple::{FiveTuple, seeded_hash};
    use crate::io::{Client, Transport};

    const ALICE: UserDigest = UserDigest(1);
    const MALLORY: UserDigest = UserDigest(2);

    fn key(digest: u64) -> RequestKey {
        let address = std::net::SocketAddr::from(([192, 0, 2, 1], 3478));
        let client = Client { transport: Transport::Udp, listener: 0, stream: 0, local: address, remote: address };
        RequestKey { tuple: FiveTuple::of(&client), transaction_id: [0; 16], digest }
    }

    #[test]
    fn an_answer_is_kept_for_forty_seconds() {
        let mut cache = AnswerCache::new(seeded_hash(1));
        cache.keep(5, ALICE, key(1), vec![1]);
        assert_eq!(cache.find(40 * SECOND, &key(1)), Some(&vec![1]));
        assert_eq!(cache.find(40 * SECOND, &key(2)), None);
        assert_eq!(cache.find(40 * SECOND + 5, &key(1)), None);
        assert!(cache.users.is_empty() && cache.crowd.is_empty() && cache.places.is_empty());
    }

    #[test]
    fn the_oldest_answer_of_one_user_goes_first_when_there_are_too_many() {
        let mut cache = AnswerCache::new(seeded_hash(1));
        for digest in 0..=ANSWERS_KEPT_MAX as u64 {
            cache.keep(0, ALICE, key(digest), Vec::new());
        }
        assert!(cache.find(0, &key(0)).is_none());
        assert!(cache.find(0, &key(1)).is_some());
        assert_eq!(cache.answers.len(), ANSWERS_KEPT_MAX);
    }

    #[test]
    fn a_flood_by_one_user_drives_out_his_own_answers_alone() {
        let mut cache = AnswerCache::new(seeded_hash(1));
        for digest in 0..10 {
            cache.keep(digest, ALICE, key(digest), Vec::new());
        }
        let flood = 1_000..1_000 + 2 * ANSWERS_KEPT_MAX as u64;
        for digest in flood.clone() {
            cache.keep(digest, MALLORY, key(digest), Vec::new());
        }
        cache.keep(flood.end, ALICE, key(10), Vec::new());
        assert!((0..=10).all(|digest| cache.find(flood.end, &key(digest)).is_some()));
        assert_eq!(cache.answers.len(), ANSWERS_KEPT_MAX);
        assert!(cache.find(flood.end, &key(flood.end - 1)).is_some(), "and his latest ones stay");
    }
}
