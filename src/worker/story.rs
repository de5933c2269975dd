//! What happened in recent calls, for whoever asks why one went wrong: the SIP ladder, what ICE tried, and counters.
//!
//! Nothing secret enters: of a SIP message its method or status alone, never keys pressed, keys of media, or bodies.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use postern_media::report::Report;
use postern_sip::trace::{Traced, Way};
use postern_slots::CallKey;

use crate::media::Closed;
use crate::records::CallRecord;
use crate::service_limits::{STORIES_UNDER_WAY_MAX, STORY_END_BYTES_MAX, STORY_LINE_MAX, STORY_LINES_MAX};

/// A call that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub call_id: String,
    pub began: Timestamp,
    /// `None` while it is under way.
    pub ended: Option<Timestamp>,
}

/// Stories of the calls under way, and of the last ones that ended: bounded in number and in memory. A Call-ID that is too
/// long is known by its beginning and its end, as [`CallKey`] has it.
pub struct Stories {
    kept: Mutex<Kept>,
    calls_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Kept {
    stories: HashMap<String, Story>,
    /// Those that ended, the oldest first.
    ended: VecDeque<String>,
    bytes: usize,
}

struct Story {
    began: Timestamp,
    ended: Option<Timestamp>,
    first: Vec<Line>,
    last: VecDeque<Line>,
    left_out: u64,
    /// What is told at the end.
    end: String,
    bytes: usize,
}

struct Line {
    at: Timestamp,
    text: String,
}

impl Stories {
    /// Keeps `calls_max` calls that ended (`worker.recent_calls`), as long as all stories take no more than `mib`
    /// mebibytes (`worker.recent_calls_mib`).
    pub fn new(calls_max: u32, mib: u32) -> Self {
        Self { kept: Mutex::default(), calls_max: calls_max as usize, bytes_max: (mib as usize) << 20 }
    }

    /// A call comes. One that is known already goes on: its name is the peer's to choose.
    pub fn begin(&self, call_id: &str) {
        self.begin_at(Timestamp::now(), call_id);
    }

    fn begin_at(&self, at: Timestamp, call_id: &str) {
        let key = CallKey::of(call_id);
        let call_id = key.as_str();
        let mut kept = self.kept();
        self.shrink(&mut kept);
        if kept.stories.contains_key(call_id) {
            kept.reopen(call_id);
        } else if kept.bytes < self.bytes_max {
            kept.begin(call_id, at);
        }
    }

    /// A SIP message went by. Those of no call that is known are passed over.
    pub fn note_sip(&self, traced: &Traced) {
        let arrow = match traced.way {
            Way::Received => "-->",
            Way::Sent => "<--",
        };
        self.line(&traced.call_id, Timestamp::now(), &format!("{arrow} {}  (CSeq {})", traced.gist, traced.cseq));
    }

    /// Something else of interest happened to a call that is known.
    pub fn note(&self, call_id: &str, what: &str) {
        self.line(call_id, Timestamp::now(), what);
    }

    fn line(&self, call_id: &str, at: Timestamp, text: &str) {
        let key = CallKey::of(call_id);
        let call_id = key.as_str();
        let mut kept = self.kept();
        if !kept.stories.contains_key(call_id) {
            return;
        }
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STORY_LINE_MAX).collect();
        self.shrink(&mut kept);
        // Calls under way alone fill the room: their stories do without this line.
        let is_full = kept.bytes >= self.bytes_max;
        kept.change(call_id, |story| match is_full {
            true => story.left_out += 1,
            false => story.push(Line { at, text }),
        });
        self.shrink(&mut kept);
    }

    /// A call is over.
    pub fn end(&self, record: &CallRecord, media: Option<&Closed>) {
        self.end_at(Timestamp::now(), record, media);
    }

    fn end_at(&self, at: Timestamp, record: &CallRecord, media: Option<&Closed>) {
        let mut kept = self.kept();
        let key = CallKey::of(&record.call_id);
        let call_id = key.as_str();
        if !kept.stories.contains_key(call_id) && !kept.begin(call_id, record.started) {
            return;
        }
        let end = end_of(record, media);
        let was_over = kept.stories.get(call_id).is_some_and(|story| story.ended.is_some());
        kept.change(call_id, |story| {
            story.ended = Some(at);
            story.end = end;
        });
        if !was_over {
            kept.ended.push_back(call_id.to_owned());
        }
        self.shrink(&mut kept);
    }

    /// What is known of a call, as text of several lines.
    pub fn render(&self, call_id: &str) -> Option<String> {
        let kept = self.kept();
        let key = CallKey::of(call_id);
        let story = kept.stories.get(key.as_str())?;
        Some(story.render(key.as_str()))
    }

    /// The calls that are known, the youngest first.
    pub fn list(&self) -> Vec<Listed> {
        let kept = self.kept();
        let listed = |(call_id, story): (&String, &Story)| Listed {
            call_id: call_id.clone(),
            began: story.began,
            ended: story.ended,
        };
        let mut calls: Vec<_> = kept.stories.iter().map(listed).collect();
        calls.sort_by(|one, other| other.began.cmp(&one.began).then_with(|| one.call_id.cmp(&other.call_id)));
        calls
    }

    fn shrink(&self, kept: &mut Kept) {
        while kept.ended.len() > self.calls_max || kept.bytes > self.bytes_max {
            let Some(oldest) = kept.ended.pop_front() else { break };
            kept.remove(&oldest);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// False: there are too many under way, and this one has no story.
    fn begin(&mut self, call_id: &str, at: Timestamp) -> bool {
        if self.stories.len() - self.ended.len() >= STORIES_UNDER_WAY_MAX {
            return false;
        }
        let mut story = Story {
            began: at,
            ended: None,
            first: Vec::new(),
            last: VecDeque::new(),
            left_out: 0,
            end: String::new(),
            bytes: 0,
        };
        story.bytes = story.size(call_id);
        self.bytes += story.bytes;
        self.stories.insert(call_id.to_owned(), story);
        true
    }

    /// A call that ended goes on after all.
    fn reopen(&mut self, call_id: &str) {
        self.ended.retain(|ended| ended != call_id);
        self.change(call_id, |story| {
            story.ended = None;
            story.end.clear();
        });
    }

    fn change(&mut self, call_id: &str, change: impl FnOnce(&mut Story)) {
        let Some(story) = self.stories.get_mut(call_id) else { return };
        change(story);
        let bytes = story.size(call_id);
        self.bytes = self.bytes - story.bytes + bytes;
        story.bytes = bytes;
    }

    fn remove(&mut self, call_id: &str) {
        if let Some(story) = self.stories.remove(call_id) {
            self.bytes -= story.bytes;
        }
    }
}

impl Story {
    fn push(&mut self, line: Line) {
        if self.first.len() < STORY_LINES_MAX / 2 {
            return self.first.push(line);
        }
        if self.last.len() >= STORY_LINES_MAX / 2 {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(line);
    }

    /// What it costs in memory, nearly.
    fn size(&self, call_id: &str) -> usize {
        let lines: usize = self.first.iter().chain(&self.last).map(|line| size_of::<Line>() + line.text.len()).sum();
        // The name stands in the table and in the queue.
        size_of::<Self>() + 2 * call_id.len() + lines + self.end.len()
    }

    fn render(&self, call_id: &str) -> String {
        let mut text = String::new();
        let name: String = call_id.chars().filter(|c| !c.is_control()).take(STORY_LINE_MAX).collect();
        let _ = writeln!(text, "call {name}, begun {}", self.began);
        let mut tell = |line: &Line| {
            let since = line.at.duration_since(self.began).as_secs_f64();
            let _ = writeln!(text, "{since:>9.3} s  {}", line.text);
        };
        self.first.iter().for_each(&mut tell);
        if self.left_out > 0 {
            tell(&Line { at: self.began, text: format!("... {} lines are left out here", self.left_out) });
        }
        self.last.iter().for_each(&mut tell);
        match self.ended {
            Some(at) => {
                let _ = writeln!(text, "ended {at}");
            }
            None => text.push_str("under way\n"),
        }
        text.push_str(&self.end);
        text
    }
}

/// The record, the counters of the media, and what ICE tried.
fn end_of(record: &CallRecord, media: Option<&Closed>) -> String {
    let mut text = String::new();
    if let Ok(serde_json::Value::Object(columns)) = serde_json::to_value(record) {
        for (name, value) in columns.iter().filter(|(name, _)| *name != "event" && *name != "record") {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(text, "{name:<22}{value}");
        }
    }
    if let Some(report) = media.and_then(|closed| closed.report.as_ref()) {
        let Report { frames_audio, frames_concealed, frames_comfort_noise, frames_nothing, frames_on_hold, .. } =
            report;
        let _ = writeln!(
            text,
            "frames of 20 ms       {frames_audio} audio, {frames_concealed} concealed, {frames_comfort_noise} comfort \
             noise, {frames_nothing} nothing, {frames_on_hold} on hold"
        );
    }
    if let Some(story) = media.and_then(|closed| closed.story.as_ref()) {
        let _ = write!(text, "{story}");
    }
    if text.len() > STORY_END_BYTES_MAX {
        let end = (0..=STORY_END_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("\n... the rest is left out\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_media::report::NoAudio;
    use postern_sip::fields::CSeq;
    use postern_sip::trace::Gist;
    use postern_sip::{Method, StatusCode};

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    fn record(call_id: &str) -> CallRecord {
        CallRecord {
            started: at(0),
            call_id: call_id.into(),
            no_audio_received: Some(NoAudio::WrongSource),
            duration: Duration::from_secs(3),
            ..CallRecord::default()
        }
    }

    #[test]
    fn a_story_tells_the_ladder_and_the_end() {
        let stories = Stories::new(10, 1);
        stories.begin_at(at(0), "a");
        stories.line("a", at(0), "--> INVITE  (CSeq 1 INVITE)");
        stories.line("a", at(12), "<-- 200 OK  (CSeq 1 INVITE)");
        assert!(stories.render("a").unwrap().ends_with("under way\n"));
        let report = Some(Report { frames_audio: 7, ..Report::default() });
        stories.end_at(at(3_012), &record("a"), Some(&Closed { report, story: None, ignored: 0 }));
        let text = stories.render("a").unwrap();
        for line in [
            "call a, begun 2027-01-15T08:00:00Z\n",
            "    0.000 s  --> INVITE  (CSeq 1 INVITE)\n",
            "    0.012 s  <-- 200 OK  (CSeq 1 INVITE)\n",
            "ended 2027-01-15T08:00:03.012Z\n",
            "no_audio_received     wrong_source\n",
            "frames of 20 ms       7 audio, ",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert_eq!(stories.render("b"), None);
        let listed = stories.list();
        assert_eq!((listed.len(), listed[0].ended), (1, Some(at(3_012))));
    }

    #[test]
    fn of_a_message_only_method_or_status_is_told() {
        let stories = Stories::new(10, 1);
        let traced = |call_id: &str, way, gist| {
            let cseq = CSeq { number: 2, method: Method::Info };
            stories.note_sip(&Traced { way, call_id: call_id.into(), gist, cseq });
        };
        stories.begin("a");
        traced("a", Way::Received, Gist::Request(Method::Info));
        traced("a", Way::Sent, Gist::Response(StatusCode::CALL_DOES_NOT_EXIST));
        traced("b", Way::Received, Gist::Request(Method::Options));
        let text = stories.render("a").unwrap();
        assert!(text.contains("--> INFO  (CSeq 2 INFO)"), "{text}");
        assert!(text.contains("<-- 481 "), "{text}");
        assert_eq!(text.lines().count(), 4);
        assert_eq!(stories.render("b"), None, "what belongs to no call has no story");
    }

    #[test]
    fn a_call_that_comes_again_goes_on_in_its_story() {
        let stories = Stories::new(2, 1);
        for _ in 0..3 {
            stories.begin("a");
            stories.note("a", "again");
            assert!(stories.render("a").unwrap().contains("under way\n"));
            stories.end(&record("a"), None);
        }
        assert_eq!(stories.render("a").unwrap().matches("again").count(), 3);
        assert_eq!((stories.list().len(), stories.kept().ended.len()), (1, 1));
    }

    #[test]
    fn a_call_of_an_endless_name_is_found_by_it_and_by_its_short_form() {
        let stories = Stories::new(3, 1);
        let name = format!("{}@host", "n".repeat(10_000));
        stories.begin(&name);
        stories.note(&name, "noted");
        stories.end(&record(&name), None);
        let text = stories.render(&name).unwrap();
        assert!(text.contains("noted"));
        assert_eq!(stories.render(CallKey::of(&name).as_str()), Some(text));
        assert!(stories.kept().bytes < 4_000, "the whole name is in none of it");
    }

    #[test]
    fn only_so_many_calls_are_remembered() {
        let stories = Stories::new(3, 1);
        for call in 0..10 {
            stories.begin_at(at(call), &call.to_string());
            stories.end_at(at(call + 1), &CallRecord { started: at(call), ..record(&call.to_string()) }, None);
        }
        let known: Vec<_> = stories.list().into_iter().map(|call| call.call_id).collect();
        assert_eq!(known, ["9", "8", "7"]);
    }

    #[test]
    fn memory_is_bounded_whatever_calls_say() {
        let stories = Stories::new(1_000_000, 1);
        for call in 0..2_000 {
            let name = format!("{call}-{}", "n".repeat(500));
            stories.begin_at(at(0), &name);
            for line in 0..20 {
                stories.line(&name, at(line), &"x".repeat(10_000));
            }
            stories.end_at(at(99), &record(&name), None);
        }
        let kept = stories.kept();
        assert!(kept.bytes <= 1 << 20 && kept.stories.len() < 400, "{} bytes", kept.bytes);
        let told: usize = kept.stories.iter().map(|(name, story)| story.size(name)).sum();
        assert_eq!(kept.bytes, told);
        assert_eq!(kept.stories.len(), kept.ended.len());
    }

    #[test]
    fn calls_under_way_leave_lines_out_when_the_room_is_full() {
        let stories = Stories::new(3, 1);
        (0..1_000).for_each(|call| stories.begin_at(at(0), &call.to_string()));
        for round in 0..20 {
            for call in 0..1_000 {
                stories.line(&call.to_string(), at(round), &"x".repeat(200));
            }
        }
        let room = 1 << 20;
        assert!(stories.kept().bytes < room + 1_000, "{}", stories.kept().bytes);
        assert!(stories.render("0").unwrap().contains("lines are left out here"));
        stories.end_at(at(99), &record("0"), None);
        assert!(stories.kept().bytes < room, "a call that ended makes room");
    }

    #[test]
    fn a_long_call_keeps_its_beginning_and_its_end() {
        let stories = Stories::new(3, 1);
        stories.begin_at(at(0), "a");
        for line in 0..1_000 {
            stories.line("a", at(line), &format!("line {line}."));
        }
        let text = stories.render("a").unwrap();
        assert!(text.contains("line 0.\n") && text.contains("line 63.\n") && text.contains("line 999.\n"));
        assert!(!text.contains("line 500.\n"));
        assert!(text.contains("... 872 lines are left out here"), "{text}");
    }

    #[test]
    fn calls_under_way_are_bounded_too() {
        let stories = Stories::new(3, 64);
        for call in 0..=STORIES_UNDER_WAY_MAX {
            stories.begin(&call.to_string());
        }
        assert_eq!(stories.list().len(), STORIES_UNDER_WAY_MAX);
    }
}
