//! Hashing on threads that may be kept busy, so many at once.

use std::sync::Arc;

use postern_mailbox::StoreError;
use tokio::sync::Semaphore;

use crate::error::Fault;
use crate::pins::PinKey;

/// Who may hash now.
#[derive(Clone)]
pub(crate) struct Hashing {
    key: PinKey,
    turns: Arc<Semaphore>,
}

impl Hashing {
    pub(crate) fn new(key: PinKey, at_once: usize) -> Self {
        Self { key, turns: Arc::new(Semaphore::new(at_once)) }
    }

    /// Does `work` when its turn comes. A turn ends with the work: who no longer waits for it frees none.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&PinKey) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| StoreError::Unavailable)?;
        let key = self.key.clone();
        let working = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&key)
        });
        Ok(working.await.map_err(|_| StoreError::Unavailable)?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

    impl Hashing {
        /// Keeps every turn from being taken until it is dropped.
        pub(crate) fn occupy(&self) -> Vec<tokio::sync::OwnedSemaphorePermit> {
            std::iter::from_fn(|| Arc::clone(&self.turns).try_acquire_owned().ok()).collect()
        }
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_keeps_its_turn_until_it_is_done() {
        let hashing = Hashing::new(PinKey::new(vec![7; 32]).unwrap(), 1);
        let (began, has_begun) = oneshot::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let asked = hashing.clone();
        let asking = tokio::spawn(async move {
            let work = move |_: &PinKey| {
                let _ = began.send(());
                let _ = may_go_on.recv_timeout(PATIENCE);
            };
            let _ = asked.run(work).await;
        });
        timeout(PATIENCE, has_begun).await.unwrap().unwrap();
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        assert_eq!(hashing.turns.available_permits(), 0);
        go_on.send(()).unwrap();
        timeout(PATIENCE, hashing.run(|_| ())).await.expect("the turn ends with the work").unwrap();
    }
}
