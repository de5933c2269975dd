//! Behind a 1:1 NAT an address has two names: the one we bind, and the one that the world knows.

use std::net::{IpAddr, SocketAddr};

/// Translates between local and public addresses; ports stay. Without entries both names are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertise {
    pairs: Vec<(IpAddr, IpAddr)>,
}

impl Advertise {
    /// `pairs` are (local, public). Where two local addresses share a public one, the way back leads to the one that is
    /// in `relay_addresses`, since only relayed addresses are ever translated back.
    pub fn new(pairs: &[(IpAddr, IpAddr)], relay_addresses: &[IpAddr]) -> Self {
        let mut pairs: Vec<_> =
            pairs.iter().map(|&(local, public)| (local.to_canonical(), public.to_canonical())).collect();
        pairs.sort_by_key(|(local, _)| !relay_addresses.contains(local));
        Self { pairs }
    }

    /// What clients and peers are told of the local address `local`.
    pub fn outside(&self, local: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.outside_ip(local.ip()), local.port())
    }

    /// The local address behind `public`, which is `public` itself when it is nobody's translation.
    pub fn inside(&self, public: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.inside_ip(public.ip()), public.port())
    }

    pub fn outside_ip(&self, local: IpAddr) -> IpAddr {
        self.pairs.iter().find(|pair| pair.0 == local).map_or(local, |pair| pair.1)
    }

    pub fn inside_ip(&self, public: IpAddr) -> IpAddr {
        self.pairs.iter().find(|pair| pair.1 == public).map_or(public, |pair| pair.0)
    }

    /// Every address on either side.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.pairs.iter().flat_map(|&(local, public)| [local, public])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_translate_both_ways_and_ports_stay() {
        let relay = "10.0.0.5".parse().unwrap();
        let advertise = Advertise::new(&[(relay, "203.0.113.5".parse().unwrap())], &[relay]);
        assert_eq!(advertise.outside("10.0.0.5:7".parse().unwrap()), "203.0.113.5:7".parse().unwrap());
        assert_eq!(advertise.inside("203.0.113.5:7".parse().unwrap()), "10.0.0.5:7".parse().unwrap());
        assert_eq!(advertise.outside("10.0.0.6:7".parse().unwrap()), "10.0.0.6:7".parse().unwrap());
        assert_eq!(advertise.inside("203.0.113.6:7".parse().unwrap()), "203.0.113.6:7".parse().unwrap());
    }

    #[test]
    fn the_way_back_leads_to_the_relay_address() {
        let [listener, relay, public] = ["10.0.0.4", "10.0.0.5", "203.0.113.5"].map(|ip| ip.parse().unwrap());
        let advertise = Advertise::new(&[(listener, public), (relay, public)], &[relay]);
        assert_eq!(advertise.inside_ip(public), relay);
        assert_eq!(advertise.outside_ip(listener), public);
    }
}
