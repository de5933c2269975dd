//! The ports that the kernel hands to sockets which name none: a range of RTP that overlaps them loses pairs to strangers.

use crate::tree::PortRange;

/// `net.ipv4.ip_local_port_range`, less `ip_local_reserved_ports`; nothing when the system does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DrawnPorts {
    range: Option<PortRange>,
    reserved: Vec<PortRange>,
}

impl DrawnPorts {
    pub(crate) fn of_this_machine() -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        Self::parse(&read("ip_local_port_range"), &read("ip_local_reserved_ports"))
    }

    /// From the two files' texts: first and last port with white space between, and `20000-29999,40000`.
    pub(crate) fn parse(range: &str, reserved: &str) -> Self {
        let port = |text: &str| text.trim().parse::<u16>().ok();
        let span = |first: &str, last: &str| Some(PortRange { first: port(first)?, last: port(last)? });
        let range = range.trim().split_once(char::is_whitespace).and_then(|(first, last)| span(first, last));
        let entry = |entry: &str| entry.split_once('-').map_or_else(|| span(entry, entry), |(a, b)| span(a, b));
        Self { range, reserved: reserved.split(',').filter_map(entry).collect() }
    }

    /// The part of the kernel's range that lies within `ports`, if a port of it is not reserved.
    ///
    /// Cost: O(ports · reserved).
    pub(crate) fn within(&self, ports: PortRange) -> Option<PortRange> {
        let drawn = self.range?;
        let (first, last) = (ports.first.max(drawn.first), ports.last.min(drawn.last));
        let mut shared = first..=last;
        shared.any(|port| !self.reserved.iter().any(|reserved| reserved.contains(port))).then_some(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ports_that_the_kernel_may_draw_count() {
        let within = |reserved: &str, first, last| {
            DrawnPorts::parse("32768\t60999\n", reserved).within(PortRange { first, last }).is_some()
        };
        assert!(!within("", 20000, 29999));
        assert!(within("", 32000, 32768));
        assert!(!within("", 61000, 61999));
        assert!(!within("32768-40000\n", 32000, 39999));
        assert!(within("32768-39998,50000\n", 32000, 39999));
        assert!(within("\n", 60999, 61000));
    }

    #[test]
    fn a_system_that_tells_nothing_is_not_judged() {
        assert_eq!(DrawnPorts::parse("", "").within(PortRange { first: 1024, last: 65535 }), None);
    }
}
