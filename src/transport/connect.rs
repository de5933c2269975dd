//! Connections that we make.

use std::net::SocketAddr;
use std::sync::Arc;

use postern_sip::{ConnId, Transport as Protocol};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::connection::Stream;
use crate::input::Input;
use crate::limits::CONNECT_TIME;
use crate::listener::prepare;
use crate::names::names_of;
use crate::report::{OnReport, Report};
use crate::tls::CurrentTls;

/// A connection to be made.
pub(crate) struct Wanted {
    pub(crate) conn: ConnId,
    pub(crate) protocol: Protocol,
    pub(crate) remote: SocketAddr,
    pub(crate) server_name: Option<String>,
}

/// What stands: the stream, our address, the names the peer proved.
type Made = (Box<dyn Stream>, SocketAddr, Arc<[String]>);

/// Makes it and tells the core.
pub(crate) async fn connect(wanted: Wanted, tls: CurrentTls, feed: mpsc::Sender<Input>, on_report: OnReport) {
    let Wanted { conn, remote, .. } = wanted;
    let input = match timeout(CONNECT_TIME, make(&wanted, &tls)).await {
        Ok(Ok((stream, local, names))) => Input::Connected { conn, stream, local, names },
        Ok(Err(reason)) => {
            on_report(Report::ConnectFailed { remote, reason });
            Input::ConnectFailed { conn }
        }
        Err(_) => {
            on_report(Report::ConnectFailed { remote, reason: "took too long".into() });
            Input::ConnectFailed { conn }
        }
    };
    // A core that is gone needs no news.
    let _ = feed.send(input).await;
}

async fn make(wanted: &Wanted, tls: &CurrentTls) -> Result<Made, String> {
    let stream = TcpStream::connect(wanted.remote).await.map_err(|error| error.to_string())?;
    let local = stream.local_addr().and_then(|local| prepare(&stream).map(|()| local));
    let local = local.map_err(|error| error.to_string())?;
    if wanted.protocol != Protocol::Tls {
        return Ok((Box::new(stream), local, [].into()));
    }
    let configs = tls.load_full().ok_or("there is no certificate of ours")?;
    let name = wanted.server_name.clone().ok_or("there is no name to be proved")?;
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::clone(&configs.client));
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    let names = names_of(stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()));
    Ok((Box::new(stream), local, names.into()))
}
