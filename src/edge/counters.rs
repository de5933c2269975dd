//! The server's plain counters as metric cells: one table per label, so that a new variant has one place to go.

use postern_telemetry::EdgeCells;
use postern_telemetry::labels::{self, RequestResult};
use postern_turn::counters::{COUNTED_ERRORS, CountedMethod, Counters, DROP_REASONS, Direction, Path};
use postern_turn::io::DropReason;

pub(crate) const DROPS: [(DropReason, labels::DropReason); DROP_REASONS] = [
    (DropReason::NotStun, labels::DropReason::NotStun),
    (DropReason::Malformed, labels::DropReason::Malformed),
    (DropReason::BadFingerprint, labels::DropReason::BadFingerprint),
    (DropReason::UnknownAttribute, labels::DropReason::UnknownAttribute),
    (DropReason::NoAllocation, labels::DropReason::NoAllocation),
    (DropReason::NoChannel, labels::DropReason::NoChannel),
    (DropReason::NoPermission, labels::DropReason::NoPermission),
    (DropReason::PeerForbidden, labels::DropReason::PeerForbidden),
    (DropReason::Oversize, labels::DropReason::Oversize),
    (DropReason::Bitrate, labels::DropReason::Bitrate),
    (DropReason::RateLimited, labels::DropReason::RateLimited),
    (DropReason::UnknownRelay, labels::DropReason::UnknownRelay),
    (DropReason::Expired, labels::DropReason::Expired),
    (DropReason::QueueFull, labels::DropReason::QueueFull),
    (DropReason::FamilyMismatch, labels::DropReason::FamilyMismatch),
];

const METHODS: [(CountedMethod, labels::Method); CountedMethod::ALL.len()] = [
    (CountedMethod::Binding, labels::Method::Binding),
    (CountedMethod::Allocate, labels::Method::Allocate),
    (CountedMethod::Refresh, labels::Method::Refresh),
    (CountedMethod::CreatePermission, labels::Method::CreatePermission),
    (CountedMethod::ChannelBind, labels::Method::ChannelBind),
    (CountedMethod::Connect, labels::Method::Connect),
    (CountedMethod::ConnectionBind, labels::Method::ConnectionBind),
];

const DIRECTIONS: [(Direction, labels::Direction); 2] =
    [(Direction::ToPeer, labels::Direction::ToPeer), (Direction::ToClient, labels::Direction::ToClient)];

const PATHS: [(Path, labels::Path); 3] = [
    (Path::Channel, labels::Path::Channel),
    (Path::Indication, labels::Path::Indication),
    (Path::Tcp, labels::Path::Tcp),
];

/// Publishes requests and relayed traffic.
pub(crate) fn publish(server: &Counters, cells: &EdgeCells) {
    for (direction, direction_label) in DIRECTIONS {
        for (path, path_label) in PATHS {
            let relayed = server.relayed(direction, path);
            cells.relayed_packets.store((direction_label, path_label), relayed.packets);
            cells.relayed_bytes.store((direction_label, path_label), relayed.bytes);
        }
    }
    for (method, label) in METHODS {
        let [success, errors @ ..] = &server.requests[method as usize];
        cells.requests.store((label, RequestResult::Success), *success);
        for (code, count) in COUNTED_ERRORS.iter().zip(errors) {
            if let Some(result) = RequestResult::from_code(code.number()) {
                cells.requests.store((label, result), *count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drop_reason_has_its_own_label() {
        for (place, (reason, _)) in DROPS.iter().enumerate() {
            assert_eq!(*reason as usize, place, "{reason:?}");
        }
        let labels: std::collections::HashSet<_> = DROPS.iter().map(|(_, label)| *label).collect();
        assert_eq!(labels.len(), DROP_REASONS);
    }

    #[test]
    fn every_counted_error_keeps_its_code_as_label() {
        for code in COUNTED_ERRORS {
            assert!(RequestResult::from_code(code.number()).is_some(), "{code:?}");
        }
    }
}
