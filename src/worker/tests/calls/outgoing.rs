//! Calls that a worker is told to place: through which gateway, how they go, and how they end.

use std::time::Duration;

use postern_sip::offer_answer_capabilities::{Codec, OfferKeying};
use postern_sip::user_agent_io::EndCause;
use postern_sip::{StatusCode, Uri};
use postern_slots::{
    Contacts, FromWorker, Order, OrderCause, OrderId, OrderPurpose, OrderState, OrderTarget, Progress, ToWorker,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::gateway::{Gateway, table};
use crate::slot::{Service, seat};
use crate::{Lab, correlation, speech};

pub async fn lab(gateways: &[String], worker: &str) -> Lab {
    let more = gateways.concat();
    let lab = Lab::set_up_as(&["127.0.0.1"], worker, &more, |directory| Some(seat(directory)));
    lab.await
}

pub fn order(gateways: &[&Gateway]) -> Order {
    Order {
        id: OrderId::new([7; 16]),
        mailbox: "alice".into(),
        plan: "office".into(),
        number: "1001".into(),
        purpose: OrderPurpose::RecordGreeting { greeting: "own".into() },
        target: OrderTarget::Number("2002".into()),
        dialled: "2002".into(),
        gateways: gateways.iter().map(|gateway| gateway.address.ip().to_string()).collect(),
    }
}

async fn place(lab: &Lab, order: Order) -> Service {
    let mut service = Service::greet(lab).await;
    service.say(&ToWorker::Place(Box::new(order))).await;
    service
}

impl Service {
    /// The next word on an outgoing call.
    async fn progress(&mut self) -> Progress {
        loop {
            if let FromWorker::Order(report) = self.hear().await {
                return report.progress;
            }
        }
    }

    async fn states(&mut self, states: &[OrderState]) {
        for state in states {
            assert_eq!(self.progress().await.state, *state);
        }
    }

    /// Nothing is left of the call.
    async fn call_ended(&mut self) {
        while !matches!(self.hear().await, FromWorker::CallEnded { .. }) {}
    }
}

fn going(state: OrderState) -> Progress {
    Progress { state, ..Progress::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_rings_is_answered_speaks_and_is_hung_up_by_the_callee() {
    let mut gateway = Gateway::start("127.0.0.2");
    let table = [gateway.table()];
    let lab = gateway.during(lab(&table, "")).await;
    gateway.during(lab.leave(&speech(), Codec::Pcmu, OfferKeying::Plain)).await;
    let [message] = lab.messages().await.try_into().unwrap();
    let mailbox = lab.mailbox().await;
    let purpose = OrderPurpose::PlayMessage { message: message.id.to_string() };
    let mut service = place(&lab, Order { purpose, mailbox: mailbox.clone(), ..order(&[&gateway]) }).await;
    assert!(matches!(service.hear().await, FromWorker::Hello { .. }));
    let incoming = gateway.incoming().await;
    let invite = &incoming.invite;
    assert_eq!(invite.uri.to_string(), format!("sip:2002@{};user=phone", gateway.address));
    assert_eq!(invite.headers.from().unwrap().uri, Uri::parse("sip:1001@127.0.0.1").unwrap());
    assert_eq!(invite.headers.call_id().unwrap(), order(&[]).id.to_string());
    gateway.ring(incoming.call);
    let mut phone = gateway.answer(&incoming).await;
    let (speech, mut compared) = (speech(), 0);
    phone
        .listen("the message is heard", |heard| {
            // Comparing takes its time: once for each second that was heard.
            let is_more = heard.pcm.len() >= compared + 8_000 && heard.pcm.len() > speech.len();
            compared = if is_more { heard.pcm.len() } else { compared };
            is_more && correlation(&speech, heard.pcm) > 0.9
        })
        .await;
    phone.hang_up().await;
    let mut heard = Vec::new();
    while !heard.last().is_some_and(Progress::is_over) {
        if let FromWorker::Order(report) = service.hear().await {
            heard.push(report.progress);
        }
    }
    let connected = Progress { sip_status: Some(200), ..going(OrderState::Connected) };
    let over = Progress::over(OrderCause::None, Some(200));
    assert_eq!(heard, [going(OrderState::Connecting), going(OrderState::Alerted), connected, over]);
    service.call_ended().await;
    let record = lab.records(2).await.remove(1);
    assert_eq!(
        (&record["gateway"], &record["called"], &record["reason"]),
        (&"127.0.0.2".into(), &"2002".into(), &"outbound".into())
    );
    assert_eq!((&record["caller"], &record["mailbox"]), (&"1001".into(), &mailbox.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_callee_is_told_and_no_other_gateway_is_tried() {
    for (status, cause) in [
        (StatusCode::BUSY_HERE, OrderCause::Busy),
        (StatusCode::TEMPORARILY_UNAVAILABLE, OrderCause::NoAnswer),
        (StatusCode::MOVED_TEMPORARILY, OrderCause::Other),
    ] {
        let (mut first, mut second) = (Gateway::start("127.0.0.2"), Gateway::start("127.0.0.3"));
        let tables = [first.table(), second.table()];
        let lab = first.during(lab(&tables, "")).await;
        let mut service = place(&lab, order(&[&first, &second])).await;
        let incoming = first.incoming().await;
        first.refuse(incoming.call, status);
        let told = async {
            service.states(&[OrderState::Connecting]).await;
            assert_eq!(service.progress().await, Progress::over(cause, Some(status.code())));
            service.call_ended().await;
        };
        tokio::select! {
            () = told => {}
            () = first.stay() => {}
            _ = second.incoming() => panic!("the second gateway is called after {status}"),
        }
        let record = lab.records(1).await.remove(0);
        assert_eq!(record["status"], status.code());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_gateway_is_taken_when_one_is_silent_and_one_refuses_for_itself() {
    let silent = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let at = silent.local_addr().unwrap();
    let (mut second, mut third) = (Gateway::start("127.0.0.3"), Gateway::start("127.0.0.4"));
    let lab = lab(&[table(at), second.table(), third.table()], "").await;
    let gateways = vec![at.ip().to_string(), "127.0.0.3".into(), "127.0.0.4".into()];
    let mut service = place(&lab, Order { gateways, ..order(&[]) }).await;
    let (mut deaf, _) = silent.accept().await.unwrap();
    tokio::spawn(async move { while deaf.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} });
    let incoming = second.incoming().await;
    second.refuse(incoming.call, StatusCode::SERVICE_UNAVAILABLE);
    let incoming = tokio::select! {
        incoming = third.incoming() => incoming,
        () = second.stay() => panic!("it stays for ever"),
    };
    let phone = third.answer(&incoming).await;
    service.states(&[OrderState::Connecting, OrderState::Connected]).await;
    phone.hang_up().await;
    service.states(&[OrderState::Disconnected]).await;
    assert_eq!(lab.records(1).await[0]["gateway"], "127.0.0.4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_gateway_that_answers_is_unavailable() {
    let gone = Gateway::start("127.0.0.2").address;
    let lab = lab(&[table(gone)], "").await;
    let gateways = vec!["127.0.0.2".into(), "unknown.example.test".into()];
    let mut service = place(&lab, Order { gateways, ..order(&[]) }).await;
    service.states(&[OrderState::Connecting]).await;
    assert_eq!(service.progress().await, Progress::over(OrderCause::Unavailable, None));
    service.call_ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_rings_too_long_is_cancelled() {
    let mut gateway = Gateway::start("127.0.0.2");
    let table = [gateway.table()];
    let lab = gateway.during(lab(&table, "ring_secs = 1")).await;
    let mut service = place(&lab, order(&[&gateway])).await;
    let incoming = gateway.incoming().await;
    gateway.ring(incoming.call);
    assert_eq!(gateway.ended().await, EndCause::Cancelled);
    service.states(&[OrderState::Connecting, OrderState::Alerted]).await;
    assert_eq!(service.progress().await, Progress::over(OrderCause::NoAnswer, None));
    service.call_ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_ordered_a_call_may_end_it_before_its_answer_and_after() {
    let mut gateway = Gateway::start("127.0.0.2");
    let table = [gateway.table()];
    let lab = gateway.during(lab(&table, "")).await;
    let mut service = place(&lab, order(&[&gateway])).await;
    let incoming = gateway.incoming().await;
    gateway.ring(incoming.call);
    let rings = async { service.states(&[OrderState::Connecting, OrderState::Alerted]).await };
    tokio::select! { () = rings => {}, () = gateway.stay() => {} }
    service.say(&ToWorker::HangUp { order: order(&[]).id }).await;
    assert_eq!(gateway.ended().await, EndCause::Cancelled);
    assert_eq!(service.progress().await, Progress::over(OrderCause::None, None));
    service.call_ended().await;

    service.say(&ToWorker::Place(Box::new(Order { id: OrderId::new([8; 16]), ..order(&[&gateway]) }))).await;
    let incoming = gateway.incoming().await;
    let mut phone = gateway.answer(&incoming).await;
    phone.wait(Duration::from_millis(500)).await;
    service.say(&ToWorker::HangUp { order: OrderId::new([8; 16]) }).await;
    phone.listen("the worker hangs up", |heard| heard.ended.is_some()).await;
    service.call_ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_worker_keeps_its_call_takes_no_other_and_tells_the_next_service_of_both() {
    let mut gateway = Gateway::start("127.0.0.2");
    let table = [gateway.table()];
    let lab = gateway.during(lab(&table, "")).await;
    let mut service = place(&lab, order(&[&gateway])).await;
    let incoming = gateway.incoming().await;
    let mut phone = gateway.answer(&incoming).await;
    service.states(&[OrderState::Connecting, OrderState::Connected]).await;
    service.say(&ToWorker::Drain { elsewhere: Contacts::default() }).await;
    service.say(&ToWorker::Place(Box::new(Order { id: OrderId::new([9; 16]), ..order(&[]) }))).await;
    service.states(&[OrderState::Connecting, OrderState::Disconnected]).await;
    phone.wait(Duration::from_millis(500)).await;
    assert_eq!(phone.ended, None, "the call goes on");
    let mut next = Service::greet(&lab).await;
    let mut told = Vec::new();
    loop {
        match next.hear().await {
            FromWorker::Order(report) => told.push((report.order, report.progress.state)),
            FromWorker::Status(status) => {
                assert_eq!(status.calls, 1);
                break;
            }
            _ => {}
        }
    }
    let (kept, refused) = (OrderId::new([7; 16]), OrderId::new([9; 16]));
    assert_eq!(told, [(kept, OrderState::Connected), (refused, OrderState::Disconnected)]);
    phone.hang_up().await;
    next.call_ended().await;
}
