//! Edge, router and UM service in one process, each on a task of its own; the UM service starts its workers.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use postern_um::Launch;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::up_metrics::{Scrape, is_ready};
use crate::up_premises::Premises;

/// A worker opens its store, loads its prompts and binds its ports in well under a second.
const READY_TIME: Duration = Duration::from_secs(20);

/// Between two looks at whether a worker is ready.
const READY_PAUSE: Duration = Duration::from_millis(100);

/// How long the UM service may take to end its workers: it kills them after five seconds.
const WORKERS_END_TIME: Duration = Duration::from_secs(7);

/// How long the others may take.
const END_TIME: Duration = Duration::from_secs(2);

type Task = JoinHandle<Result<()>>;

/// What has been started so far.
#[derive(Default)]
pub(crate) struct Roles {
    edge: Option<Task>,
    um: Option<(Task, mpsc::Sender<postern_um::Stop>)>,
    router: Option<(Task, oneshot::Sender<()>)>,
}

impl Roles {
    /// Starts all of them, and waits until the router has somewhere to send calls to. What was started until an error
    /// is for [`end`](Self::end) to end.
    ///
    /// # Errors
    /// The role that did not start, and why.
    pub(crate) async fn start(&mut self, premises: &Premises) -> Result<postern_edge::Listening> {
        let listening = self.start_edge(premises).await?;
        self.start_um(premises).await?;
        self.await_worker(premises).await?;
        self.start_router(premises).await?;
        self.await_service(premises).await?;
        Ok(listening)
    }

    async fn start_edge(&mut self, premises: &Premises) -> Result<postern_edge::Listening> {
        let (tell, ready) = oneshot::channel();
        let loaded = quiet(premises);
        let task = tokio::spawn(async move {
            let ready = |listening: &postern_edge::Listening| drop(tell.send(listening.clone()));
            let origin = postern_edge::Origin::Embedded;
            postern_edge::run(loaded, origin, postern_edge::Stop::AtOnce, ready).await.map_err(Into::into)
        });
        started("edge", ready, self.edge.insert(task)).await
    }

    async fn start_um(&mut self, premises: &Premises) -> Result<()> {
        let (tell, ready) = oneshot::channel();
        let (stop, stops) = mpsc::channel(1);
        let loaded = quiet(premises);
        let launch = Launch::of_config(&premises.configuration).context("the workers' program is not to be found")?;
        let task = tokio::spawn(async move {
            let ready = |_: &_| {
                let _ = tell.send(());
            };
            postern_um::run(loaded, postern_um::Origin::Embedded, launch, stops, ready).await.map_err(Into::into)
        });
        started("UM service", ready, &mut self.um.insert((task, stop)).0).await
    }

    async fn start_router(&mut self, premises: &Premises) -> Result<()> {
        let (tell, ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let loaded = premises.loaded.clone();
        let task = tokio::spawn(async move {
            let ready = |_: &_| {
                let _ = tell.send(());
            };
            let stopped = async { drop(stopped.await) };
            postern_router::run(loaded, postern_router::Origin::Embedded, stopped, ready).await.map_err(Into::into)
        });
        started("router", ready, &mut self.router.insert((task, stop)).0).await
    }

    async fn await_worker(&mut self, premises: &Premises) -> Result<()> {
        let port = premises.ports.metrics.um;
        self.await_that("no worker was ready to take calls", || is_ready(port)).await
    }

    /// The router knows the UM service as healthy, over TCP and over TLS.
    async fn await_service(&mut self, premises: &Premises) -> Result<()> {
        let services = premises.loaded.config.router.as_ref().map_or(0, |router| router.um_services.len());
        let port = premises.ports.metrics.router;
        let all_healthy = || async move {
            let scrape = Scrape::of(port).await?;
            Ok(scrape.sum("postern_router_um_services", &[("health", "healthy")]) >= services as f64)
        };
        self.await_that("the router did not find the UM service healthy", all_healthy).await
    }

    /// Asks again and again, as long as every role goes on.
    async fn await_that<F: Future<Output = Result<bool>>>(&mut self, not: &str, is_so: impl Fn() -> F) -> Result<()> {
        let begun = Instant::now();
        while !is_so().await? {
            if begun.elapsed() >= READY_TIME {
                bail!("{not} within {} s", READY_TIME.as_secs());
            }
            tokio::select! {
                over = self.over() => return over,
                () = sleep(READY_PAUSE) => {}
            }
        }
        Ok(())
    }

    /// Done when a role has ended, which none should.
    ///
    /// # Errors
    /// Which one, and why if it says so.
    pub(crate) async fn over(&mut self) -> Result<()> {
        let (role, ended) = tokio::select! {
            ended = end_of(self.edge.as_mut()) => ("edge", ended),
            ended = end_of(self.um.as_mut().map(|(task, _)| task)) => ("UM service", ended),
            ended = end_of(self.router.as_mut().map(|(task, _)| task)) => ("router", ended),
        };
        Err(why(role, ended))
    }

    /// Ends all of them and waits until they have ended, workers first. Calls under way end; their recordings would be
    /// kept.
    pub(crate) async fn end(self) {
        if let Some((task, stop)) = self.um {
            let _ = stop.send(postern_um::Stop::AtOnce).await;
            finish("UM service", task, WORKERS_END_TIME).await;
        }
        if let Some((task, stop)) = self.router {
            let _ = stop.send(());
            finish("router", task, END_TIME).await;
        }
        if let Some(edge) = self.edge {
            // A signal ends it by itself; nothing else can ask it to, and the process is about to end.
            edge.abort();
        }
    }
}

/// The configuration without its warnings, which one role has told already or will.
fn quiet(premises: &Premises) -> postern_config::Loaded {
    postern_config::Loaded { warnings: Vec::new(), ..premises.loaded.clone() }
}

/// Waits until a role is ready.
async fn started<T>(role: &str, ready: oneshot::Receiver<T>, task: &mut Task) -> Result<T> {
    match ready.await {
        Ok(ready) => Ok(ready),
        Err(_) => Err(why(role, task.await.map_err(Into::into).flatten())),
    }
}

/// How a role ended; never, without one.
async fn end_of(task: Option<&mut Task>) -> Result<()> {
    match task {
        Some(task) => task.await.map_err(Into::into).flatten(),
        None => std::future::pending().await,
    }
}

fn why(role: &str, ended: Result<()>) -> anyhow::Error {
    match ended {
        Ok(()) => anyhow!("the {role} has ended"),
        Err(error) => error.context(format!("the {role} cannot go on")),
    }
}

async fn finish(role: &str, mut task: Task, time: Duration) {
    if task.is_finished() {
        return;
    }
    match timeout(time, &mut task).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(role, %error, "did not end well"),
        Ok(Err(error)) => tracing::warn!(role, %error, "did not end well"),
        Err(_) => {
            tracing::warn!(role, "did not end in time");
            task.abort();
        }
    }
}
