//! The machine: addresses, descriptors, cores, clocks, randomness; by re-export what /proc and the routing table say.

use std::io;
use std::mem;
use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::address::RawAddress;

pub use crate::descriptor_shares::DescriptorShares;
pub use crate::proc::{
    Conntrack, conntrack, conntrack_entries_in, ephemeral_ports, port_owner, reserved_ports, rmem_max, wmem_max,
};
pub use crate::route::{Route, route_from, route_to};

/// The addresses of all interfaces of this machine, each once.
///
/// # Errors
/// ENOMEM and the like.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the kernel library writes the head of a list that it allocates.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is an element of the list, which lives until freeifaddrs.
        let entry = unsafe { &*next };
        if let Some(ip) = interface_address(entry.ifa_addr)
            && !addresses.contains(&ip)
        {
            addresses.push(ip);
        }
        next = entry.ifa_next;
    }
    // SAFETY: `list` came from getifaddrs, is freed once, and nothing refers to it any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(addresses)
}

fn interface_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, and every sockaddr begins with its family.
    let length = match i32::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => mem::size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => mem::size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    let mut raw = RawAddress::empty();
    // SAFETY: an address of this family has `length` bytes, fewer than the storage.
    unsafe { std::ptr::copy_nonoverlapping(address.cast::<u8>(), (&raw mut raw.0).cast::<u8>(), length) };
    raw.decode().map(|address| address.ip())
}

/// Raises this process's soft limit of descriptors to the hard one; answers (soft, hard) as they are afterwards.
///
/// # Errors
/// What getrlimit(2) and setrlimit(2) report.
pub fn raise_descriptor_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a local of the right type is written.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: a local of the right type is read.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// The cores that this process may run on, by number.
pub fn cores() -> Vec<usize> {
    // SAFETY: cpu_set_t is plain integers.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: a local is written, with its true size.
    let status = unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) };
    if status != 0 {
        return vec![0];
    }
    // SAFETY: CPU_ISSET reads a bit of `set`; the number is below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
}

/// Keeps the calling thread on one core, one of [`cores`].
///
/// # Errors
/// EINVAL for a core that is not there or not allowed. Media flows without pinning too.
pub fn pin_thread(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: cpu_set_t is plain integers; the number is below CPU_SETSIZE.
    let set = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        set
    };
    // SAFETY: a local is read, with its true size; 0 means this thread.
    let status = unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Resident memory of this process in bytes; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}

/// Bytes of the system's random source.
///
/// # Errors
/// Where the system has none to give.
pub fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Seconds since 1970 by this machine's clock.
pub fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub instant: Instant,
    /// Nanoseconds since the clock's origin, which is not zero seconds ago at start but one.
    pub mono_nanos: u64,
    pub unix_secs: u64,
}

/// Source of readings. Copies share the origin, so that shards agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

/// So that no reading is 0, which a state machine may take for "never".
const ORIGIN_NANOS: u64 = 1_000_000_000;

impl Clock {
    /// A clock whose origin is now.
    pub fn new() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Reads both clocks.
    pub fn read(&self) -> Reading {
        let instant = Instant::now();
        Reading { instant, mono_nanos: self.mono_nanos(instant), unix_secs: unix_secs() }
    }

    /// An instant in this clock's nanoseconds; those before the origin are the origin.
    pub fn mono_nanos(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(ORIGIN_NANOS)
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn this_process_takes_memory() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100 << 10));
    }

    #[test]
    fn loopback_is_among_our_own_addresses() {
        assert!(own_addresses().unwrap().contains(&Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn the_soft_limit_of_descriptors_reaches_the_hard_one() {
        let (soft, hard) = raise_descriptor_limit().unwrap();
        assert_eq!(soft, hard);
    }

    #[test]
    fn a_thread_stays_on_its_core() {
        std::thread::spawn(|| {
            let core = *cores().last().unwrap();
            pin_thread(core).unwrap();
            assert_eq!(cores(), vec![core]);
            assert!(pin_thread(usize::MAX).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_reading_agrees_with_itself() {
        let clock = Clock::new();
        let reading = clock.read();
        assert_eq!(clock.mono_nanos(reading.instant), reading.mono_nanos);
        assert!(reading.mono_nanos >= ORIGIN_NANOS);
        assert!(reading.unix_secs > 1_600_000_000);
    }
}
