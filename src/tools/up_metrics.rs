//! Reads the metrics of a role on loopback, as Prometheus does, and whether it is ready.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One role's metrics at a moment, in the text format.
pub(crate) struct Scrape(String);

/// A role on the same machine answers at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// More than all metrics of a role.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

impl Scrape {
    /// Asks whoever serves metrics on a port of loopback.
    ///
    /// # Errors
    /// No answer in time, or one that is not 200.
    pub(crate) async fn of(port: u16) -> Result<Self> {
        let answer = get(port, "/metrics").await?;
        ensure!(is_ok(&answer), "http://127.0.0.1:{port}/metrics has none");
        Ok(Self(answer))
    }

    /// The sum of all samples of `name` that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.0.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        let mut sum = 0.0;
        for (series, value) in samples {
            let is_series = series.is_empty() || series.starts_with('{');
            let has = |(label, wanted): &(&str, &str)| series.contains(&format!("{label}=\"{wanted}\""));
            if is_series && labels.iter().all(has) {
                sum += value.trim().parse::<f64>().unwrap_or(0.0);
            }
        }
        sum
    }
}

/// Whether the role that serves metrics on a port of loopback says that it does its work.
///
/// # Errors
/// No answer in time.
pub(crate) async fn is_ready(port: u16) -> Result<bool> {
    Ok(is_ok(&get(port, "/readyz").await?))
}

fn is_ok(answer: &str) -> bool {
    answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 ")
}

async fn get(port: u16, path: &str) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    answer.with_context(|| format!("http://127.0.0.1:{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let scrape = Scrape(
            "HTTP/1.1 200 OK\r\n\r\n# HELP bytes_total Bytes.\nbytes_total{direction=\"in\",path=\"udp\"} 5\n\
             bytes_total{direction=\"out\",path=\"udp\"} 7\nbytes_total_more 100\nplain 3\n"
                .into(),
        );
        assert_eq!(scrape.sum("bytes_total", &[]), 12.0);
        assert_eq!(scrape.sum("bytes_total", &[("direction", "out")]), 7.0);
        assert_eq!(scrape.sum("plain", &[]), 3.0);
        assert_eq!(scrape.sum("absent", &[]), 0.0);
    }

    #[tokio::test]
    async fn nobody_to_ask_is_an_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(Scrape::of(port).await.is_err());
    }
}
