//! The prompts: what the code names, what the text says and what was recorded are the same set, and sound.

use std::collections::BTreeSet;

use postern_mailbox::{Phrase, Prompt, language, recording};

const ENGLISH: &str = include_str!("../../../config/prompts/en.toml");
const RATE_HZ: u32 = 16_000;

fn texts() -> toml::Table {
    ENGLISH.parse().unwrap()
}

/// The samples of a WAV file in the one form that we accept.
fn samples(wav: &[u8]) -> Vec<i16> {
    let u16_at = |at: usize| u16::from_le_bytes([wav[at], wav[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([wav[at], wav[at + 1], wav[at + 2], wav[at + 3]]);
    assert_eq!((&wav[..4], &wav[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]));
    assert_eq!((u16_at(20), u16_at(22), u32_at(24), u16_at(34)), (1, 1, RATE_HZ, 16), "PCM, mono, 16 kHz, 16 bits");
    assert_eq!(&wav[36..40], b"data");
    assert_eq!(u32_at(40) as usize, wav.len() - 44);
    assert_eq!(u32_at(4) as usize, wav.len() - 8);
    wav[44..].chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect()
}

#[test]
fn every_prompt_that_the_code_names_has_a_text_and_a_recording_and_no_other_has() {
    let named: BTreeSet<&str> = language("en").names().into_iter().collect();
    assert_eq!(named.len(), language("en").names().len(), "a name is given twice");
    let texts = texts();
    let written: BTreeSet<&str> = texts.keys().map(String::as_str).collect();
    let recorded: BTreeSet<&str> = language("en").recordings().iter().map(|(name, _)| *name).collect();
    assert_eq!(named, written);
    assert_eq!(named, recorded);
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/prompts/en");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.collect();
    assert_eq!(files, named.iter().map(|name| format!("{name}.wav")).collect());
}

#[test]
fn every_text_can_be_shown_and_spoken() {
    for (name, prompt) in texts() {
        let prompt = prompt.as_table().unwrap();
        let keys: Vec<&str> = prompt.keys().map(String::as_str).collect();
        assert!(keys == ["text"] || keys == ["speak", "text"], "{name}: {keys:?}");
        assert!(prompt.values().all(|text| text.as_str().is_some_and(|text| !text.trim().is_empty())), "{name}");
    }
}

#[test]
fn every_recording_is_sound_without_silence_at_its_ends() {
    for (name, wav) in language("en").recordings() {
        let samples = samples(wav);
        let secs = samples.len() as f64 / f64::from(RATE_HZ);
        assert!((0.1..5.0).contains(&secs), "{name} lasts {secs} s");
        let rms = (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt();
        assert!(rms > 500.0, "{name} is silent: {rms}");
        assert!(samples.iter().all(|sample| sample.unsigned_abs() < 32_000), "{name} is too loud");
        let loud = |window: &[i16]| window.iter().any(|sample| sample.unsigned_abs() > 300);
        let edge = RATE_HZ as usize / 10;
        assert!(loud(&samples[..edge.min(samples.len())]), "{name} begins with silence");
        assert!(loud(&samples[samples.len().saturating_sub(edge)..]), "{name} ends with silence");
    }
}

#[test]
fn all_recordings_together_stay_below_4_megabytes() {
    let bytes: usize = language("en").recordings().iter().map(|(_, wav)| wav.len()).sum();
    assert!(bytes < 4_000_000, "{bytes}");
}

#[test]
fn a_language_is_found_by_its_tag_or_the_first_part_of_it() {
    for tag in ["en", "EN", "en-US", "en_GB", "xx", ""] {
        assert_eq!(language(tag).tag(), "en", "{tag}");
    }
}

#[test]
fn a_prompt_is_found_by_its_name() {
    let prompt = Prompt { language: "en", name: Phrase::Goodbye.name() };
    assert_eq!(prompt.to_string(), "en/goodbye");
    assert!(recording(prompt).is_some());
    assert!(recording(Prompt { name: "no-such-prompt", ..prompt }).is_none());
}
