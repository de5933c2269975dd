//! The steps of a trial, each printed when it is done, with its time.

use std::fmt::Display;
use std::time::Instant;

use anyhow::Result;

use crate::output;

/// A step failed, and was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a step failed")]
pub(crate) struct StepFailed;

/// Prints steps with the time since the beginning.
pub(crate) struct Steps {
    begun: Instant,
}

impl Steps {
    pub(crate) fn since(begun: Instant) -> Self {
        Self { begun }
    }

    /// Waits for a step and prints what came of it: its name and what it says, or why it failed and where to look.
    ///
    /// # Errors
    /// The step's failure.
    pub(crate) async fn run<T>(
        &self,
        name: &str,
        look: &str,
        step: impl Future<Output = Result<(T, String)>>,
    ) -> Result<T, StepFailed> {
        match step.await {
            Ok((value, detail)) => {
                self.print("passed", format_args!("{name}: {detail}"));
                Ok(value)
            }
            Err(error) => {
                self.print("FAILED", format_args!("{name}: {error:#}"));
                self.print("", format_args!("Where to look: {look}"));
                Err(StepFailed)
            }
        }
    }

    /// Prints something that is part of a step under way.
    pub(crate) fn note(&self, text: impl Display) {
        self.print("", text);
    }

    fn print(&self, verdict: &str, text: impl Display) {
        let line = format!("{:6.2} s  {verdict:<6}  {text}", self.begun.elapsed().as_secs_f64());
        if let Err(error) = output::print_line(line) {
            output::complain(format_args!("postern up: nobody can read what is printed: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_gives_its_value_or_its_failure() {
        let steps = Steps::since(Instant::now());
        assert_eq!(steps.run("one", "", async { Ok((7, "well".to_owned())) }).await, Ok(7));
        let failed = steps.run::<()>("two", "", async { anyhow::bail!("not well") }).await;
        assert_eq!(failed, Err(StepFailed));
    }
}
