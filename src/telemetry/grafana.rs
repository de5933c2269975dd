//! Dashboards and alert rules may use only what the catalogue holds, and leave nothing of it out.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::catalogue::{Definition, catalogue};

/// Labels that Prometheus itself puts on, or that belong to histograms.
const FOREIGN_LABELS: [&str; 3] = ["instance", "job", "le"];

/// A metric as a query names it.
#[derive(Debug, PartialEq)]
struct Use {
    name: String,
    /// Label, operator, value.
    matchers: Vec<(String, String, String)>,
}

/// Every metric of ours in a text: a name, and the matchers in braces behind it.
fn uses(text: &str) -> Vec<Use> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = ["postern_", "process_"].iter().filter_map(|prefix| text[at..].find(prefix)).min() {
        let start = at + offset;
        let end = start + text[start..].bytes().take_while(|&byte| is_name(byte)).count();
        at = end;
        if start > 0 && is_name(text.as_bytes()[start - 1]) {
            continue;
        }
        let inside = text[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let matchers = inside.map_or_else(Vec::new, |(inside, _)| matchers(inside));
        found.push(Use { name: text[start..end].to_owned(), matchers });
    }
    found
}

fn matchers(inside: &str) -> Vec<(String, String, String)> {
    let pieces = inside.split_inclusive('"').collect::<Vec<_>>();
    let matchers = pieces.chunks_exact(2).map(|pair| {
        let before = pair[0].trim_start_matches([',', ' ']).trim_end_matches('"');
        let label_end = before.find(['=', '!']).unwrap_or(before.len());
        let (label, operator) = before.split_at(label_end);
        (label.to_owned(), operator.to_owned(), pair[1].trim_end_matches('"').to_owned())
    });
    matchers.collect()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../grafana")
}

fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            found.extend(files(&entry, end));
        } else if entry.to_string_lossy().ends_with(end) {
            found.push(entry);
        }
    }
    found
}

/// Every string of a JSON document, which is where queries stand.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(members) => members.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

/// What each file of dashboards and rules uses.
fn used() -> Vec<(PathBuf, Use)> {
    let mut found = Vec::new();
    for path in files(&directory(), ".json") {
        let text = fs::read_to_string(&path).expect("a dashboard");
        let dashboard: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        found.extend(strings(&dashboard).into_iter().flat_map(uses).map(|found| (path.clone(), found)));
    }
    for path in files(&directory(), ".yml") {
        let text = fs::read_to_string(&path).expect("rules");
        found.extend(uses(&text).into_iter().map(|found| (path.clone(), found)));
    }
    found
}

/// What is wrong with a use, against the catalogue.
fn fault(found: &Use, samples: &HashMap<String, Definition>) -> Option<String> {
    let Some(definition) = samples.get(&found.name) else {
        return Some(format!("{} is no metric of ours", found.name));
    };
    found.matchers.iter().find_map(|(label, operator, value)| {
        if FOREIGN_LABELS.contains(&label.as_str()) {
            return None;
        }
        let Some((_, values)) = definition.labels.iter().find(|(name, _)| name == label) else {
            return Some(format!("{} has no label {label}", found.name));
        };
        let is_pattern = operator.ends_with('~');
        let alternatives: Vec<_> = if is_pattern { value.split('|').collect() } else { vec![value] };
        let exists = |alternative: &&str| match alternative.strip_suffix(".*").filter(|_| is_pattern) {
            Some(beginning) => values.iter().any(|value| value.starts_with(beginning)),
            None => values.contains(alternative),
        };
        let missing = alternatives.iter().find(|alternative| !exists(alternative))?;
        Some(format!("label {label} of {} is never {missing}", found.name))
    })
}

fn samples() -> HashMap<String, Definition> {
    let of_one = |definition: Definition| definition.sample_names().into_iter().map(move |name| (name, definition));
    catalogue().into_iter().flat_map(of_one).collect()
}

#[test]
fn dashboards_and_rules_use_only_metrics_and_label_values_that_exist() {
    let samples = samples();
    let used = used();
    assert!(used.len() > 100, "only {} uses found: are the files still there?", used.len());
    let faults: Vec<_> = used
        .iter()
        .filter_map(|(path, found)| Some(format!("{}: {}", path.display(), fault(found, &samples)?)))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_metric_has_its_place_on_a_dashboard() {
    let shown: HashSet<_> = used()
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "json"))
        .map(|(_, found)| found.name)
        .collect();
    let missing: Vec<_> = catalogue()
        .into_iter()
        .filter(|definition| !definition.sample_names().iter().any(|name| shown.contains(name)))
        .map(|definition| definition.name)
        .collect();
    assert!(missing.is_empty(), "on no dashboard: {missing:?}");
}

#[test]
fn every_alert_has_a_test() {
    let mut alerts = HashSet::new();
    let mut tested = HashSet::new();
    for path in files(&directory().join("alerts"), ".yml") {
        for line in fs::read_to_string(&path).expect("rules").lines() {
            if let Some((_, name)) = line.split_once("- alert: ") {
                alerts.insert(name.trim().to_owned());
            }
            if let Some((_, rest)) = line.split_once("alertname: ") {
                tested.insert(rest.split([',', ' ']).next().unwrap_or_default().to_owned());
            }
        }
    }
    assert!(!alerts.is_empty());
    assert_eq!(alerts, tested);
}

#[test]
fn a_metric_label_or_value_that_does_not_exist_is_a_fault() {
    let samples = samples();
    let judge = |query: &str| {
        let found = uses(query);
        assert_eq!(found.len(), 1, "{query}");
        fault(&found[0], &samples)
    };
    for good in [
        "rate(postern_edge_drops_total{reason=~\"kernel_.*|bitrate\", instance=~\"$instance\"}[5m])",
        "postern_edge_allocate_seconds_bucket{le=\"0.1\"}",
        "sum(process_open_fds) by (instance)",
        "postern_edge_requests_total{method=\"allocate\",result!=\"success\"}",
    ] {
        assert_eq!(judge(good), None, "{good}");
    }
    for bad in [
        "postern_edge_drop_total",
        "postern_edge_allocate_seconds",
        "postern_edge_drops_total{cause=\"bitrate\"}",
        "postern_edge_drops_total{reason=\"bitrat\"}",
        "postern_edge_drops_total{instance=~\"a\", reason!~\"bitrate|none\"}",
        "process_opened_fds",
    ] {
        assert!(judge(bad).is_some(), "{bad}");
    }
    assert_eq!(uses("not_postern_edge_drops_total or postern-edge"), []);
}
