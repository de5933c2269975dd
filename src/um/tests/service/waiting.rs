//! Message waiting: subscribers and gateways over TCP, the store changed by another process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use postern_mailbox::{
    Began, Beginning, Caller, Finished, Finishing, MailboxId, MessageId, MessageState, OwnQuota, Pin, PlanName,
    Purpose, Quota, Store,
};
use postern_sip::{HeaderName, Message, Method, Request, StatusCode};
use postern_store::{MailSettings, NewMailbox, Options, PinKey, SqliteStore};
use postern_um::Stop;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::lab::{Lab, Running, eventually};

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

const RATE: u32 = 8_000;

/// The store as a worker has it.
async fn store(directory: &Path) -> SqliteStore {
    let key = PinKey::load_or_create(&directory.join("pin.key")).expect("a key");
    let options = Options::new(directory.join("postern.db"), directory.join("recordings"), key);
    SqliteStore::open(options).await.expect("a store").0
}

async fn add(store: &SqliteStore, number: &str) -> MailboxId {
    let new = NewMailbox {
        plan: PlanName("office".into()),
        addresses: vec![number.parse().expect("a number")],
        name: "Alice Ng".into(),
        mail: MailSettings::default(),
        language: "en".into(),
        time_zone: "Europe/Berlin".into(),
        operator: None,
        quota: OwnQuota::default(),
        pin: Pin::new("739182").expect("a PIN"),
        must_change: false,
    };
    store.add_mailbox(new).await.expect("added")
}

async fn leave_message(store: &SqliteStore, mailbox: MailboxId) -> MessageId {
    let beginning = Beginning {
        mailbox,
        purpose: Purpose::Deposit {
            caller: Caller::default(),
            quota: Quota::default(),
            deposits_max: 3,
            replaces: None,
        },
        rate_hz: RATE,
        begun: Timestamp::now(),
    };
    let Ok(Began::Recording { recording, .. }) = store.begin_recording(beginning).await else { panic!("refused") };
    store.append_audio(recording, &vec![1; RATE as usize]).await.expect("kept");
    let finishing = Finishing { recording, audio_min: Duration::from_millis(500) };
    match store.finish_recording(finishing).await {
        Ok(Finished::Message { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

/// A connection of a peer's.
struct Line(BufReader<TcpStream>);

impl Line {
    async fn to(address: SocketAddr) -> Line {
        Line(BufReader::new(TcpStream::connect(address).await.expect("it listens")))
    }

    async fn accepted(listener: &TcpListener) -> Line {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await.expect("nobody comes");
        Line(BufReader::new(accepted.expect("a connection").0))
    }

    async fn read(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.read_on()).await.expect("nothing comes")
    }

    async fn read_on(&mut self) -> Message {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut text).await.expect("text"), 0, "closed after {text:?}");
        }
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        self.0.read_exact(&mut body).await.expect("a body");
        let mut bytes = text.into_bytes();
        bytes.append(&mut body);
        Message::parse(&bytes).expect("a message")
    }

    async fn response(&mut self) -> postern_sip::Response {
        match self.read().await {
            Message::Response(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// The next NOTIFY, which is answered.
    async fn notified(&mut self, status: u16) -> Request {
        let Message::Request(notify) = self.read().await else { panic!("no request") };
        assert_eq!(notify.method, Method::Notify);
        assert_eq!(notify.headers.value(HeaderName::Event), Some("message-summary"));
        let response = notify.response(StatusCode::new(status).expect("a status"), Some("peer"));
        self.0.write_all(&response.encode()).await.expect("it reads");
        notify
    }

    /// Reads NOTIFYs until one says this.
    async fn until_told(&mut self, what: &str) -> Request {
        loop {
            let notify = self.notified(200).await;
            if body(&notify).contains(what) {
                return notify;
            }
        }
    }

    async fn subscribe(&mut self, lab: &Lab, user: &str, call_id: &str, contact: SocketAddr) -> postern_sip::Response {
        let text = format!(
            "SUBSCRIBE sip:{user}@{sip} SIP/2.0\r\nVia: SIP/2.0/TCP {contact};branch=z9hG4bK{call_id}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{contact}>;tag=1\r\nTo: <sip:{user}@{sip}>\r\nCall-ID: {call_id}\r\n\
             CSeq: 1 SUBSCRIBE\r\nContact: <sip:{user}@{contact};transport=tcp>\r\nEvent: message-summary\r\n\
             Expires: 600\r\nAccept: application/simple-message-summary\r\nContent-Length: 0\r\n\r\n",
            sip = lab.sip,
        );
        self.0.write_all(text.as_bytes()).await.expect("it reads");
        self.response().await
    }
}

fn body(notify: &Request) -> &str {
    std::str::from_utf8(&notify.body).expect("text")
}

/// What a body says of these counts for 1001.
fn summary(new: u32, old: u32) -> String {
    let waiting = if new > 0 { "yes" } else { "no" };
    format!(
        "Messages-Waiting: {waiting}\r\nMessage-Account: sip:1001@127.0.0.1\r\nVoice-Message: {new}/{old} (0/0)\r\n"
    )
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// Subscribes as soon as message waiting is there.
async fn subscribed(lab: &Lab, contact: SocketAddr) -> Line {
    let mut line = None;
    eventually(async || {
        let mut fresh = Line::to(lab.sip).await;
        let answer = fresh.subscribe(lab, "1001", &lab.next_call_id(), contact).await;
        match answer.status.code() {
            200 => line = Some(fresh),
            status => assert_eq!(status, 503),
        }
        line.is_some()
    })
    .await;
    line.expect("subscribed")
}

async fn end(running: Running) {
    running.stops.send(Stop::AtOnce).await.expect("it runs");
    running.task.await.expect("no panic").expect("no fault");
}

fn cseq(notify: &Request) -> u32 {
    notify.headers.cseq().expect("a CSeq").number
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_is_told_each_change_and_goes_on_being_told_after_a_restart() {
    let lab = Lab::new();
    let store = store(&lab.directory).await;
    let mailbox = add(&store, "1001").await;
    let running = lab.start(10).await;
    let (contact, address) = listener().await;
    let mut line = subscribed(&lab, address).await;
    let first = line.notified(200).await;
    assert_eq!(body(&first), summary(0, 0));
    let message = leave_message(&store, mailbox).await;
    assert_eq!(body(&line.notified(200).await), summary(1, 0));
    store.set_message_state(mailbox, message, MessageState::Saved).await.expect("moved");
    let before = line.notified(200).await;
    assert_eq!(body(&before), summary(0, 1));
    let metrics = lab.scrape("/metrics").await;
    assert!(metrics.contains("postern_um_subscriptions 1\n"), "{metrics}");
    end(running).await;

    leave_message(&store, mailbox).await;
    let running = lab.start(10).await;
    let mut later = Line::accepted(&contact).await;
    let after = later.notified(200).await;
    assert_eq!(body(&after), summary(1, 1));
    for name in [HeaderName::CallId, HeaderName::From, HeaderName::To] {
        assert_eq!(after.headers.value(name.clone()), before.headers.value(name));
    }
    assert!(cseq(&after) > cseq(&before));
    assert!(
        after.headers.value(HeaderName::SubscriptionState).is_some_and(|state| state.starts_with("active;expires="))
    );
    store.remove_mailbox(mailbox).await.expect("removed");
    let last = later.notified(200).await;
    assert_eq!(last.headers.value(HeaderName::SubscriptionState), Some("terminated;reason=noresource"));
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_unknown_mailboxes_have_no_subscription() {
    let lab = Lab::new();
    let store = store(&lab.directory).await;
    add(&store, "1001").await;
    let _running = lab.start(10).await;
    let (_contact, address) = listener().await;
    subscribed(&lab, address).await;
    let stranger = lab.request("SUBSCRIBE", "1001", &lab.next_call_id(), Ipv4Addr::new(127, 0, 0, 2)).await;
    assert_eq!(stranger.status, 403);
    let mut line = Line::to(lab.sip).await;
    for (user, status) in [("1002", 404), ("7000", 404), ("nobody", 404)] {
        let answer = line.subscribe(&lab, user, &lab.next_call_id(), address).await;
        assert_eq!(answer.status.code(), status, "{user}");
    }
    let unnamed = lab.request("SUBSCRIBE", "1001", &lab.next_call_id(), Ipv4Addr::LOCALHOST).await;
    assert_eq!((unnamed.status, unnamed.header("Allow-Events")), (489, Some("message-summary")));
    let metrics = lab.scrape("/metrics").await;
    assert!(metrics.contains("postern_um_subscriptions 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_told_at_the_start_and_on_each_change_until_it_says_489() {
    let mut lab = Lab::new();
    let (gateway, address) = listener().await;
    lab.gateway = format!("target = \"sip:{address};transport=tcp\"\nmwi = true");
    let store = store(&lab.directory).await;
    let mailbox = add(&store, "1001").await;
    let running = lab.start(10).await;
    let mut line = Line::accepted(&gateway).await;
    let first = line.notified(200).await;
    assert_eq!(first.uri.to_string(), format!("sip:1001@{address};transport=tcp"));
    assert_eq!((body(&first), first.headers.to_tag()), (summary(0, 0).as_str(), None));
    assert_eq!(first.headers.value(HeaderName::SubscriptionState), Some("active"));
    leave_message(&store, mailbox).await;
    assert_eq!(body(&line.notified(200).await), summary(1, 0));
    // A mailbox that comes while we run.
    add(&store, "1002").await;
    assert_eq!(line.notified(489).await.uri.user().as_deref(), Some("1002"));
    eventually(async || lab.scrape("/metrics").await.contains("postern_um_notify_targets_stopped 1\n")).await;
    leave_message(&store, mailbox).await;
    end(running).await;
    // The next process asks anew, and nothing came in between.
    let _running = lab.start(10).await;
    let mut line = Line::accepted(&gateway).await;
    assert!(line.until_told("1001@").await.body == summary(2, 0).as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_away_is_told_the_last_state_when_it_is_back() {
    let mut lab = Lab::new();
    let (gateway, address) = listener().await;
    drop(gateway);
    lab.gateway = format!("target = \"sip:{address};transport=tcp\"\nmwi = true");
    let store = store(&lab.directory).await;
    let mailbox = add(&store, "1001").await;
    let _running = lab.start(10).await;
    let failed = "postern_um_notifications_total{kind=\"unsolicited\",result=\"failed\"}";
    eventually(async || {
        let text = lab.scrape("/metrics").await;
        text.lines().any(|line| line.strip_prefix(failed).is_some_and(|count| count.trim() != "0"))
    })
    .await;
    leave_message(&store, mailbox).await;
    leave_message(&store, mailbox).await;
    let gateway = TcpListener::bind(address).await.expect("our port");
    let mut line = Line::accepted(&gateway).await;
    line.until_told("Voice-Message: 2/0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_while_the_store_cannot_be_read() {
    let mut lab = Lab::new();
    let (gateway, address) = listener().await;
    lab.gateway = format!("target = \"sip:{address};transport=tcp\"\nmwi = true");
    let store = store(&lab.directory).await;
    let mailbox = add(&store, "1001").await;
    let _running = lab.start(10).await;
    let mut told = Line::accepted(&gateway).await;
    told.notified(200).await;
    let (_contact, contact) = listener().await;
    let mut subscriber = subscribed(&lab, contact).await;
    assert_eq!(body(&subscriber.notified(200).await), summary(0, 0));

    let mut database = SqliteConnectOptions::new().filename(lab.directory.join("postern.db")).connect().await.unwrap();
    sqlx::raw_sql("ALTER TABLE addresses RENAME TO addresses_away").execute(&mut database).await.unwrap();
    leave_message(&store, mailbox).await;
    // Message waiting has found out when it takes no subscriber any more.
    eventually(async || {
        let mut line = Line::to(lab.sip).await;
        line.subscribe(&lab, "1001", &lab.next_call_id(), contact).await.status.code() == 503
    })
    .await;
    leave_message(&store, mailbox).await;
    sqlx::raw_sql("ALTER TABLE addresses_away RENAME TO addresses").execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    // What comes next is the last state: nothing was said of the one in between, nor that there is none.
    assert_eq!(body(&told.notified(200).await), summary(2, 0));
    assert_eq!(body(&subscriber.notified(200).await), summary(2, 0));
}
