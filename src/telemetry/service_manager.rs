//! What systemd is told of this process, where it asked to be told (sd_notify(3)).

use sd_notify::NotifyState;

/// It serves, for the first time or after a reload.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// It takes in its configuration anew; [`ready`] is to follow.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// It is about to end.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
