//! Agents on real sockets with what others wrote: coturn as the edge, aioice as the peer. What is not installed is said
//! and left out; `tests/run` installs both.

mod programs;
mod shell;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use postern_ice::candidate::{Component, Kind};
use postern_ice::io::{EdgeId, EdgeServer, Event, LocalSocket, Role, Settings, Transport};
use postern_turn::client::{ClientCredentials, EdgeFailure};

use programs::{Aioice, Coturn};
use shell::{Shell, run_until};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn settings(role: Role, ip: IpAddr, mux: bool) -> Settings {
    let components = if mux { vec![Component::RTP] } else { vec![Component::RTP, Component::RTCP] };
    let sockets = components.into_iter().map(|component| LocalSocket { component, address: SocketAddr::new(ip, 0) });
    Settings { role, mux, sockets: sockets.collect(), stun_servers: Vec::new(), edges: Vec::new(), relay_only: false }
}

fn edge(coturn: &Coturn, transport: Transport, password: &str) -> EdgeServer {
    EdgeServer {
        id: EdgeId(1),
        server: coturn.address,
        transport,
        credentials: ClientCredentials::new("worker", password),
        family: None,
    }
}

#[test]
fn two_agents_meet_through_coturn_alone_by_udp_and_tcp() {
    let Some(coturn) = Coturn::start(LOOPBACK) else { return };
    for (one, other) in
        [(Transport::Udp, Transport::Udp), (Transport::Udp, Transport::Tcp), (Transport::Tcp, Transport::Tcp)]
    {
        let through = |role, transport| Settings {
            edges: vec![edge(&coturn, transport, "secret")],
            relay_only: true,
            ..settings(role, LOOPBACK, false)
        };
        let mut caller = Shell::new(through(Role::Controlling, one));
        let mut worker = Shell::new(through(Role::Controlled, other));
        let gathered = |shells: &mut [&mut Shell]| shells.iter().all(|shell| !shell.agent.is_gathering());
        assert!(run_until(&mut [&mut caller, &mut worker], Duration::from_secs(5), gathered));
        caller.hear(&worker.agent.description());
        worker.hear(&caller.agent.description());
        let completed = |shells: &mut [&mut Shell]| shells.iter().all(|shell| shell.has(&Event::Completed));
        assert!(
            run_until(&mut [&mut caller, &mut worker], Duration::from_secs(10), completed),
            "{one:?} {other:?}\n{}\n{}",
            caller.agent.story(),
            worker.agent.story()
        );
        let heard = |shells: &mut [&mut Shell]| {
            shells.iter_mut().for_each(|shell| shell.say(b"\x80 media"));
            shells.iter().all(|shell| shell.heard.len() >= 50)
        };
        assert!(run_until(&mut [&mut caller, &mut worker], Duration::from_secs(10), heard));
        for shell in [&caller, &worker] {
            for component in [Component::RTP, Component::RTCP] {
                let pair = shell.agent.selected(component).unwrap();
                assert_eq!((pair.local.kind, pair.remote.kind), (Kind::Relayed, Kind::Relayed));
            }
            assert!(shell.heard.iter().all(|(_, payload)| payload == b"\x80 media"));
        }
        for shell in [&mut caller, &mut worker] {
            shell.close();
        }
        let closed = |shells: &mut [&mut Shell]| shells.iter().all(|shell| shell.agent.is_closed());
        assert!(run_until(&mut [&mut caller, &mut worker], Duration::from_secs(5), closed));
    }
}

#[test]
fn coturn_refusing_a_password_is_no_credentials_and_its_absence_is_unreachable() {
    let Some(mut coturn) = Coturn::start(LOOPBACK) else { return };
    let with = |coturn: &Coturn, password| Settings {
        edges: vec![edge(coturn, Transport::Udp, password)],
        ..settings(Role::Controlled, LOOPBACK, true)
    };
    let failure = |settings| {
        let mut worker = Shell::new(settings);
        let gathered = |shells: &mut [&mut Shell]| shells.iter().all(|shell| !shell.agent.is_gathering());
        assert!(run_until(&mut [&mut worker], Duration::from_secs(5), gathered));
        worker.agent.story().edge_failures
    };
    assert_eq!(failure(with(&coturn, "wrong")), [EdgeFailure::NoCredentials]);
    assert_eq!(failure(with(&coturn, "secret")), []);
    coturn.stop();
    assert_eq!(failure(with(&coturn, "secret")), [EdgeFailure::Unreachable]);
}

#[test]
fn a_dead_coturn_is_noticed_within_three_seconds() {
    let Some(mut coturn) = Coturn::start(LOOPBACK) else { return };
    let through = |role| Settings {
        edges: vec![edge(&coturn, Transport::Udp, "secret")],
        relay_only: true,
        ..settings(role, LOOPBACK, true)
    };
    let mut caller = Shell::new(through(Role::Controlling));
    let mut worker = Shell::new(through(Role::Controlled));
    let gathered = |shells: &mut [&mut Shell]| shells.iter().all(|shell| !shell.agent.is_gathering());
    assert!(run_until(&mut [&mut caller, &mut worker], Duration::from_secs(5), gathered));
    caller.hear(&worker.agent.description());
    worker.hear(&caller.agent.description());
    let completed = |shells: &mut [&mut Shell]| shells.iter().all(|shell| shell.has(&Event::Completed));
    assert!(run_until(&mut [&mut caller, &mut worker], Duration::from_secs(10), completed));
    coturn.stop();
    let noticed = |shells: &mut [&mut Shell]| {
        shells
            .iter()
            .all(|shell| shell.events.iter().any(|event| matches!(event, Event::EdgeFailed { in_use: true, .. })))
    };
    assert!(run_until(&mut [&mut caller, &mut worker], Duration::from_secs(3), noticed));
}

#[test]
fn aioice_is_met_in_both_roles_directly_and_through_coturn() {
    // aioice has no candidates on loopback.
    let Some(ip) = programs::own_address() else { return };
    for (role, relayed) in
        [(Role::Controlling, false), (Role::Controlled, false), (Role::Controlling, true), (Role::Controlled, true)]
    {
        let Some(mut peer) = Aioice::start(role) else { return };
        let Some(coturn) = Coturn::start(ip) else { return };
        let mut plan = settings(role, ip, true);
        if relayed {
            plan.edges = vec![edge(&coturn, Transport::Udp, "secret")];
            plan.relay_only = true;
        }
        let mut agent = Shell::new(plan);
        let gathered = |shells: &mut [&mut Shell]| !shells[0].agent.is_gathering();
        assert!(run_until(&mut [&mut agent], Duration::from_secs(5), gathered));
        agent.hear(&peer.description());
        peer.hear(&agent.agent.description());
        let completed = |shells: &mut [&mut Shell]| shells[0].has(&Event::Completed);
        assert!(run_until(&mut [&mut agent], Duration::from_secs(20), completed), "{}", agent.agent.story());
        let echoed = |shells: &mut [&mut Shell]| {
            shells[0].say(b"\x80 media");
            shells[0].heard.len() >= 50
        };
        assert!(
            run_until(&mut [&mut agent], Duration::from_secs(10), echoed),
            "{role:?} {relayed}: heard {}\n{:?}\n{}",
            agent.heard.len(),
            agent.events,
            agent.agent.story()
        );
        let local = agent.agent.selected(Component::RTP).unwrap().local.kind;
        assert_eq!(local == Kind::Relayed, relayed);
    }
}
