//! The permissions of one allocation (RFC 8656 section 9): which peer addresses may talk, and until when.

use std::net::IpAddr;

use crate::limits::{PERMISSION_LIFETIME_SECS, PERMISSIONS_PER_ALLOCATION_MAX};
use crate::wheel::SECOND;

/// The table is full: 508.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Peer IP addresses with a permission, sorted, so that a look-up is a few comparisons in one cache line.
///
/// Addresses are those that the relay's socket sees: one of our own relay addresses stands here before `advertise`.
#[derive(Debug, Default)]
pub(crate) struct PermissionTable {
    entries: Vec<Permission>,
}

#[derive(Clone, Copy, Debug)]
struct Permission {
    ip: IpAddr,
    expires_nanos: u64,
}

impl PermissionTable {
    /// Installs or refreshes the permission for `ip`. What is over gives way first.
    ///
    /// # Errors
    /// [`Full`]: nothing has changed.
    pub(crate) fn permit(&mut self, now_nanos: u64, ip: IpAddr) -> Result<u64, Full> {
        let expires_nanos = now_nanos + PERMISSION_LIFETIME_SECS * SECOND;
        let mut place = self.place(ip);
        if place.is_err() && self.entries.len() >= PERMISSIONS_PER_ALLOCATION_MAX {
            self.remove_expired(now_nanos);
            place = self.place(ip);
        }
        match place {
            Ok(at) => self.entries[at].expires_nanos = expires_nanos,
            Err(_) if self.entries.len() >= PERMISSIONS_PER_ALLOCATION_MAX => return Err(Full),
            Err(at) => self.entries.insert(at, Permission { ip, expires_nanos }),
        }
        Ok(expires_nanos)
    }

    /// How many of `ips` could not be taken in beside what is still good.
    pub(crate) fn has_room_for(&mut self, now_nanos: u64, ips: &[IpAddr]) -> bool {
        self.remove_expired(now_nanos);
        let fresh =
            ips.iter().enumerate().filter(|(at, ip)| self.place(**ip).is_err() && !ips[..*at].contains(ip)).count();
        self.entries.len() + fresh <= PERMISSIONS_PER_ALLOCATION_MAX
    }

    pub(crate) fn is_permitted(&self, now_nanos: u64, ip: IpAddr) -> bool {
        self.place(ip).is_ok_and(|at| now_nanos < self.entries[at].expires_nanos)
    }

    pub(crate) fn remove_expired(&mut self, now_nanos: u64) {
        self.entries.retain(|entry| now_nanos < entry.expires_nanos);
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(IpAddr) -> bool) {
        self.entries.retain(|entry| keep(entry.ip));
    }

    /// The earliest end of a permission.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.entries.iter().map(|entry| entry.expires_nanos).min()
    }

    fn place(&self, ip: IpAddr) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.ip.cmp(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u16) -> IpAddr {
        IpAddr::from([198, 51, (last >> 8) as u8, last as u8])
    }

    #[test]
    fn a_permission_lasts_exactly_300_seconds() {
        let mut table = PermissionTable::default();
        table.permit(1, ip(1)).unwrap();
        assert!(table.is_permitted(300 * SECOND, ip(1)));
        assert!(!table.is_permitted(300 * SECOND + 1, ip(1)));
        assert!(!table.is_permitted(1, ip(2)));
    }

    #[test]
    fn a_full_table_takes_no_more_until_one_is_over() {
        let mut table = PermissionTable::default();
        for last in 0..PERMISSIONS_PER_ALLOCATION_MAX as u16 {
            table.permit(u64::from(last), ip(last)).unwrap();
        }
        assert_eq!(table.permit(10, ip(9_999)), Err(Full));
        assert!(!table.has_room_for(10, &[ip(0), ip(9_999)]));
        assert!(table.has_room_for(10, &[ip(0), ip(1)]));
        assert!(table.permit(10, ip(0)).is_ok());
        assert!(table.permit(300 * SECOND + 1, ip(9_999)).is_ok());
    }
}
