//! The process itself, as /proc tells it.

use std::fs;
use std::path::Path;

use prometheus::proto::{self, MetricFamily};

use crate::catalogue::{Definition, Kind};
use crate::cells::gauge_sample;
use crate::metrics::family;

pub(crate) const CATALOGUE: &[Definition] = &[
    Definition {
        name: "process_cpu_seconds_total",
        help: "Processor time spent in user and kernel mode, all threads together, in seconds.",
        kind: Kind::Counter,
        labels: &[],
    },
    Definition { name: "process_open_fds", help: "Open file descriptors.", kind: Kind::Gauge, labels: &[] },
    Definition { name: "process_max_fds", help: "File descriptors that may be open.", kind: Kind::Gauge, labels: &[] },
    Definition {
        name: "process_resident_memory_bytes",
        help: "Resident memory in bytes.",
        kind: Kind::Gauge,
        labels: &[],
    },
    Definition {
        name: "process_virtual_memory_bytes",
        help: "Virtual memory in bytes.",
        kind: Kind::Gauge,
        labels: &[],
    },
    Definition {
        name: "process_start_time_seconds",
        help: "When the process started, in Unix time.",
        kind: Kind::Gauge,
        labels: &[],
    },
    Definition { name: "process_threads", help: "Threads of the process.", kind: Kind::Gauge, labels: &[] },
];

/// Linux tells processor time in these ticks on every architecture that we build for, whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// What could not be read has no sample.
pub(crate) fn families() -> Vec<MetricFamily> {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| field(&text, "btime"));
    let values = [
        stat.as_ref().map(|stat| stat.cpu_ticks / TICKS_PER_SECOND),
        open_descriptors(Path::new("/proc/self/fd")),
        descriptor_limit(&limits),
        field(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024.0),
        field(&status, "VmSize:").map(|kilobytes| kilobytes * 1024.0),
        stat.as_ref().zip(boot).map(|(stat, boot)| boot + stat.start_ticks / TICKS_PER_SECOND),
        field(&status, "Threads:"),
    ];
    CATALOGUE
        .iter()
        .zip(values)
        .map(|(definition, value)| family(definition, |_| Some(sample(definition, value?))))
        .collect()
}

fn sample(definition: &Definition, value: f64) -> proto::Metric {
    if definition.kind == Kind::Gauge {
        return gauge_sample(value);
    }
    let mut counter = proto::Counter::default();
    counter.set_value(value);
    let mut sample = proto::Metric::default();
    sample.set_counter(counter);
    sample
}

/// What we use of /proc/self/stat.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
}

impl Stat {
    /// The program's name stands in parentheses and may hold anything, so fields count from the last one (proc(5)).
    fn parse(text: &str) -> Option<Self> {
        const UTIME: usize = 14 - 3;
        const STIME: usize = 15 - 3;
        const STARTTIME: usize = 22 - 3;
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<_> = after_name.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self { cpu_ticks: number(UTIME)? + number(STIME)?, start_ticks: number(STARTTIME)? })
    }
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The soft limit of open files; infinity when there is none.
fn descriptor_limit(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

/// Since Linux 6.2 the directory's size is the count, O(1); before that it is 0, and the entries are counted.
fn open_descriptors(directory: &Path) -> Option<f64> {
    let size = fs::metadata(directory).ok()?.len();
    if size > 0 {
        return Some(size as f64);
    }
    // The directory itself is open while it is read.
    Some(fs::read_dir(directory).ok()?.count().saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_parentheses_shifts_no_field() {
        let text =
            "7 (a ) b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 12345 1000 200 18446744073709551615";
        assert_eq!(Stat::parse(text), Some(Stat { cpu_ticks: 300.0, start_ticks: 12345.0 }));
        assert_eq!(Stat::parse("7 (name) S 1"), None);
    }

    #[test]
    fn limits_and_status_are_read_by_name() {
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096  files\n";
        assert_eq!(descriptor_limit(limits), Some(1024.0));
        assert_eq!(descriptor_limit("Max open files   unlimited unlimited files"), Some(f64::INFINITY));
        assert_eq!(field("VmSize:\t  100 kB\nVmRSS:\t   2048 kB\n", "VmRSS:"), Some(2048.0));
        assert_eq!(field("", "VmRSS:"), None);
    }

    #[test]
    fn this_process_has_every_number() {
        let families = families();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).expect("a family");
            let sample = family.get_metric().first().unwrap_or_else(|| panic!("{name} has no sample"));
            sample.get_gauge().get_value() + sample.get_counter().get_value()
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_open_fds") <= value("process_max_fds"));
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        let now = jiff::Timestamp::now().as_second() as f64;
        assert!((now - 86_400.0..=now + 2.0).contains(&value("process_start_time_seconds")));
    }
}
