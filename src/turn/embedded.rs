//! IPv4 addresses inside IPv6 addresses. A packet to such an address may end at the IPv4 one, so that is what gets judged.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Most IPv4 addresses that one IPv6 address can hold: two of Teredo (or one of 6to4), and one of ISATAP.
const EMBEDDED_MAX: usize = 3;

/// Every IPv4 address that `address` holds by one of the known mappings:
///
/// | form | prefix | IPv4 address |
/// |---|---|---|
/// | IPv4-compatible (RFC 4291 section 2.5.5.1) | `::/96` but `::` and `::1` | last 32 bits |
/// | IPv4-mapped (RFC 4291 section 2.5.5.2) | `::ffff:0:0/96` | last 32 bits |
/// | IPv4-translated (RFC 2765 section 2.1) | `::ffff:0:0:0/96` | last 32 bits |
/// | NAT64 (RFC 6052 section 2.1) | `64:ff9b::/96` | last 32 bits |
/// | 6to4 (RFC 3056 section 2) | `2002::/16` | bits 16 to 47 |
/// | Teredo (RFC 4380 section 4) | `2001::/32` | server in bits 32 to 63, client in the last 32, inverted |
/// | ISATAP (RFC 5214 section 6.1) | any /64, then `0:5efe` with any u and g bits | last 32 bits |
pub(crate) fn embedded_ipv4(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let mut found = [None; EMBEDDED_MAX];
    let s = address.segments();
    let [high, low] = [last32(s[6], s[7]), last32(!s[6], !s[7])];
    if is_in_96(s) {
        found[0] = Some(high);
    }
    if s[0] == 0x2002 {
        found[0] = Some(last32(s[1], s[2]));
    }
    if s[0] == 0x2001 && s[1] == 0 {
        found[0] = Some(last32(s[2], s[3]));
        found[1] = Some(low);
    }
    if s[4] & 0xfcff == 0 && s[5] == 0x5efe {
        found[2] = Some(high);
    }
    found.into_iter().flatten()
}

/// The prefixes of 96 bits, whose last 32 are the IPv4 address.
fn is_in_96(s: [u16; 8]) -> bool {
    match [s[0], s[1], s[2], s[3], s[4], s[5]] {
        // :: and ::1 are addresses of their own, not 0.0.0.0 and 0.0.0.1.
        [0, 0, 0, 0, 0, 0] => s[6] != 0 || s[7] > 1,
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => true,
        _ => false,
    }
}

fn last32(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(text: &str) -> Vec<String> {
        embedded_ipv4(text.parse().unwrap()).map(|ip| ip.to_string()).collect()
    }

    #[test]
    fn each_mapping_yields_its_ipv4_address() {
        for (text, want) in [
            ("::ffff:10.1.2.3", vec!["10.1.2.3"]),
            ("::10.1.2.3", vec!["10.1.2.3"]),
            ("::2", vec!["0.0.0.2"]),
            ("::ffff:0:10.1.2.3", vec!["10.1.2.3"]),
            ("64:ff9b::10.1.2.3", vec!["10.1.2.3"]),
            ("2002:a01:203::5", vec!["10.1.2.3"]),
            // RFC 4380 section 4: the client's address is inverted.
            ("2001:0:4136:e378:8000:63bf:f5fe:fdfc", vec!["65.54.227.120", "10.1.2.3"]),
            ("fe80::5efe:10.1.2.3", vec!["10.1.2.3"]),
            ("2001:db8:1:2:200:5efe:10.1.2.3", vec!["10.1.2.3"]),
            ("2001:db8:1:2:300:5efe:10.1.2.3", vec!["10.1.2.3"]),
            ("2002:808:808:0:0:5efe:10.1.2.3", vec!["8.8.8.8", "10.1.2.3"]),
        ] {
            assert_eq!(within(text), want, "{text}");
        }
    }

    #[test]
    fn other_addresses_hold_none() {
        for text in [
            "::",
            "::1",
            "2001:db8::10.1.2.3",
            "64:ff9b:1::10.1.2.3",
            "64:ff9b::1:0:0",
            "2001:1::1",
            "fe80::1",
            "2003:a01:203::",
            "2001:db8:1:2:400:5efe:10.1.2.3",
        ] {
            assert!(within(text).is_empty(), "{text}");
        }
    }
}
