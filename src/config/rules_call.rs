//! Rules between the keys of a call: what each role needs, which plans its listeners can serve, who leads to which plan.

use std::collections::BTreeSet;

use crate::decode::{Draft, Placed, repeated};
use crate::decode_call::addresses_of;
use crate::forms_call::rtp_pairs;
use crate::reader::Notes;
use crate::rules::Surroundings;
use crate::sip_target::SipTransport;
use crate::tree::{Role, Roles};
use crate::tree_call::{DialPlanConfig, Peer, Security, StartupMode, UriType};

/// Notes every rule of a call that `draft` breaks.
pub(crate) fn apply(draft: &Draft, surroundings: &Surroundings<'_>, notes: &Notes) {
    presence(draft, surroundings.role, notes);
    targets(draft, notes);
    plans(draft, notes);
    gateways(draft, notes);
    hunt_groups(draft, notes);
    security(draft, notes);
    media(draft, surroundings, notes);
    contact_secrets(draft, notes);
}

/// Which tables each role needs beside its own.
const NEEDS: [(Role, &[(&str, &str)]); 3] = [
    (Role::Router, &[GATEWAY, DIAL_PLAN]),
    (Role::Um, &[WORKER, MAILBOX, GATEWAY, DIAL_PLAN]),
    (Role::Worker, &[MAILBOX, GATEWAY, DIAL_PLAN]),
];
const WORKER: (&str, &str) =
    ("worker", "add [worker] with its addresses: the UM service starts workers from this file");
const MAILBOX: (&str, &str) = ("mailbox", "add [mailbox]; its keys have defaults");
const GATEWAY: (&str, &str) = ("gateway", "add [[gateway]] with address and dial_plan: calls from elsewhere are 403");
const DIAL_PLAN: (&str, &str) = ("dial_plan", "add [[dial_plan]] with name and pilots");

fn presence(draft: &Draft, role: Option<Role>, notes: &Notes) {
    let has = |name: &str| match name {
        "worker" => draft.roles.worker,
        "mailbox" => draft.mailbox.is_some() || notes.faulty("mailbox"),
        "gateway" => !draft.gateways.is_empty() || notes.faulty("gateway"),
        _ => !draft.dial_plans.is_empty() || notes.faulty("dial_plan"),
    };
    let mut told = BTreeSet::new();
    for (role, tables) in NEEDS.iter().filter(|(role, _)| draft.roles.has(*role)) {
        for (name, remedy) in *tables {
            if !has(name) && told.insert(*name) {
                notes.error(role.name(), format!("stands without {name}"), *remedy);
            }
        }
    }
    if let Some(role) = role.filter(|role| !draft.roles.has(*role)) {
        let name = role.name();
        let remedy = format!("add [{name}] as config/postern.toml has it, or name the file that has one");
        notes.error(name, format!("is missing: postern {name} reads its settings there"), remedy);
    } else if draft.roles == Roles::default() && draft.mailbox.is_none() && !notes.any_error() {
        let remedy = "add [edge], [router], or [um] with [worker], as config/postern.toml has them";
        notes.error("", "configures no role", remedy);
    }
}

fn targets(draft: &Draft, notes: &Notes) {
    let Some(router) = draft.router.as_ref().filter(|_| !notes.faulty("router.um_services")) else { return };
    if router.um_services.is_empty() {
        let remedy = "write um_services = [\"sip:10.20.0.20:5062;transport=tcp\"]";
        notes.warn("router.um_services", "is empty: every call is answered with 503", remedy);
        return;
    }
    if !notes.faulty("router.startup_mode") {
        for (open, transport) in
            [(router.startup_mode.opens_tcp(), SipTransport::Tcp), (router.startup_mode.opens_tls(), SipTransport::Tls)]
        {
            if open && !router.um_services.iter().any(|target| target.transport == transport) {
                let what = format!("names no service over {transport}: calls that come in by it are answered with 503");
                notes.warn("router.um_services", what, format!("add one with ;transport={transport}"));
            }
        }
    }
    for (at, target) in repeated(router.um_services.iter()) {
        notes.error(&format!("router.um_services[{at}]"), format!("{target} is there twice"), "take one out");
    }
}

fn plans(draft: &Draft, notes: &Notes) {
    let mut names = BTreeSet::new();
    for Placed { key, value: plan } in &draft.dial_plans {
        if !names.insert(plan.name.to_ascii_lowercase()) {
            let remedy = "give each plan a name of its own";
            notes.error(&format!("{key}.name"), format!("{} is there twice", plan.name), remedy);
        }
        let used = draft.gateways.iter().any(|gateway| gateway.value.dial_plan == plan.name)
            || draft.hunt_groups.iter().any(|group| group.value.dial_plan == plan.name);
        if !used && !notes.faulty("gateway") && !notes.faulty("hunt_group") {
            let what = format!("no gateway or hunt group leads to {}", plan.name);
            notes.warn(&format!("{key}.name"), what, format!("write dial_plan = \"{}\" in a [[gateway]]", plan.name));
        }
        let pilots = format!("{key}.pilots");
        for (at, pilot) in repeated(plan.pilots.iter()) {
            if !notes.faulty(&pilots) {
                notes.error(&format!("{pilots}[{at}]"), format!("{pilot} is there twice"), "take one out");
            }
        }
        let grouped = draft.hunt_groups.iter().any(|group| group.value.dial_plan == plan.name);
        if plan.pilots.is_empty() && !grouped && !notes.faulty(&pilots) {
            let what = "is empty: nobody can call to hear messages, but from their own numbers";
            notes.warn(&pilots, what, "write pilots = [\"7000\"], the number that users call");
        }
        if plan.uri_type == UriType::Sip && plan.digits != 0 {
            let what = "counts digits, which addresses of type sip have not";
            notes.warn(&format!("{key}.digits"), what, "take it out");
        }
        if plan.recording_secs_max > plan.call_secs_max {
            let what = format!(
                "{} is longer than a call may be: call_secs_max = {}",
                plan.recording_secs_max, plan.call_secs_max
            );
            notes.warn(&format!("{key}.recording_secs_max"), what, "lower it, or raise call_secs_max");
        }
    }
}

fn plan<'d>(draft: &'d Draft, name: &str) -> Option<&'d DialPlanConfig> {
    draft.dial_plans.iter().map(|placed| &placed.value).find(|plan| plan.name == name)
}

fn unknown_plan(draft: &Draft, key: &str, name: &str, notes: &Notes) {
    if plan(draft, name).is_none() && !notes.faulty("dial_plan") {
        let known: Vec<&str> = draft.dial_plans.iter().map(|placed| placed.value.name.as_str()).collect();
        let remedy = match known[..] {
            [] => format!("add [[dial_plan]] with name = \"{name}\""),
            _ => format!("known here: {}", known.join(", ")),
        };
        notes.error(&format!("{key}.dial_plan"), format!("there is no dial plan {name}"), remedy);
    }
}

fn gateways(draft: &Draft, notes: &Notes) {
    for (at, Placed { key, value: gateway }) in draft.gateways.iter().enumerate() {
        unknown_plan(draft, key, &gateway.dial_plan, notes);
        if let Some(earlier) = draft.gateways[..at].iter().find(|earlier| earlier.value.peer == gateway.peer) {
            let what = format!("{} is {} (line {}) already", gateway.peer, earlier.key, notes.line(&earlier.key));
            notes.error(key, what, "make one of the two; [[hunt_group]] leads pilots of a gateway to other plans");
        }
        if let Peer::Network(network) = &gateway.peer
            && network.prefix_len() == 0
        {
            let what = format!("{network} lets everybody place calls who reaches the listeners");
            notes.warn(&format!("{key}.address"), what, "name the gateway's own address or network");
        }
        needs_name(draft, &format!("{key}.address"), &gateway.peer, &gateway.dial_plan, notes);
    }
}

/// A gateway of a plan that demands mutual TLS is known by its certificate: its address proves nothing.
fn needs_name(draft: &Draft, key: &str, peer: &Peer, plan_name: &str, notes: &Notes) {
    let Some(plan) = plan(draft, plan_name) else { return };
    if plan.security == Security::Unsecured || matches!(peer, Peer::Name(_)) {
        return;
    }
    let what = format!("{peer} is an address, and dial plan {plan_name} is {}", security_name(plan.security));
    notes.error(key, what, "write name = \"gw.example.test\", the name in the gateway's certificate");
}

fn security_name(security: Security) -> &'static str {
    match security {
        Security::Unsecured => "unsecured",
        Security::SipSecured => "sip-secured",
        Security::Secured => "secured",
    }
}

fn hunt_groups(draft: &Draft, notes: &Notes) {
    for (at, Placed { key, value: group }) in draft.hunt_groups.iter().enumerate() {
        unknown_plan(draft, key, &group.dial_plan, notes);
        if !draft.gateways.iter().any(|gateway| gateway.value.peer == group.gateway) && !notes.faulty("gateway") {
            let remedy = "write it as the [[gateway]] has it";
            notes.error(&format!("{key}.gateway"), format!("there is no gateway {}", group.gateway), remedy);
        }
        let same = |other: &&Placed<_>| {
            let other: &crate::tree_call::HuntGroupConfig = &other.value;
            other.gateway == group.gateway && other.pilot == group.pilot
        };
        if let Some(earlier) = draft.hunt_groups[..at].iter().find(same) {
            let line = notes.line(&earlier.key);
            let what = format!("{} of {} is {} (line {line}) already", group.pilot, group.gateway, earlier.key);
            notes.error(&format!("{key}.pilot"), what, "lead a pilot of a gateway to one plan");
        }
        needs_name(draft, &format!("{key}.gateway"), &group.gateway, &group.dial_plan, notes);
    }
}

/// Every plan can be called at every role of the file.
fn security(draft: &Draft, notes: &Notes) {
    let modes = [
        ("router", draft.router.as_ref().map(|router| router.startup_mode)),
        ("um", draft.um.as_ref().map(|um| um.startup_mode)),
        ("worker", draft.worker.as_ref().map(|worker| worker.startup_mode)),
    ];
    let Some(plan) = draft.dial_plans.iter().find(|placed| placed.value.security != Security::Unsecured) else {
        return;
    };
    for (role, mode) in modes {
        let key = format!("{role}.startup_mode");
        if mode == Some(StartupMode::Tcp) && !notes.faulty(&key) {
            let plan = &plan.value;
            let what = format!("opens no TLS, and dial plan {} is {}", plan.name, security_name(plan.security));
            notes.error(&key, what, "write startup_mode = \"dual\", or \"tls\"");
        }
    }
}

fn media(draft: &Draft, surroundings: &Surroundings<'_>, notes: &Notes) {
    let Some(worker) = &draft.worker else { return };
    if !notes.faulty("worker.addresses") {
        for (at, address) in repeated(worker.addresses.iter().copied()) {
            notes.error(&format!("worker.addresses[{at}]"), format!("{address} is there twice"), "take one out");
        }
        let own = surroundings.own_addresses;
        for (at, address) in addresses_of(Some(worker)) {
            if !own.is_empty() && !address.is_loopback() && !own.contains(&address) {
                let what = format!("{address} is no address of this machine");
                notes.warn(&format!("worker.addresses[{at}]"), what, "add it to an interface, or correct it");
            }
        }
    }
    if notes.faulty("worker.rtp_ports") {
        return;
    }
    let ports = worker.rtp_ports;
    for listener in draft.listeners.iter().filter(|listener| listener.kind.is_udp()) {
        let ip = listener.address.ip();
        let shared =
            worker.addresses.iter().any(|own| *own == ip || (ip.is_unspecified() && ip.is_ipv4() == own.is_ipv4()));
        if shared && ports.contains(listener.address.port()) {
            let what = format!("{ports} holds the port of {} ({})", listener.key, listener.address);
            notes.error("worker.rtp_ports", what, "move the listener or the range");
        }
    }
    let relay = &draft.edge.relay;
    if worker.addresses.iter().any(|own| relay.addresses.contains(own)) && overlap(ports, relay.ports) {
        let what = format!("{ports} overlaps edge.relay.ports = {} on the same address", relay.ports);
        notes.error("worker.rtp_ports", what, "move one of the two ranges");
    }
    if let Some(drawn) = surroundings.drawn.within(ports) {
        let what = format!("{ports} overlaps the ports that the kernel hands out by itself, {drawn}");
        let remedy = format!("set net.ipv4.ip_local_reserved_ports = {ports} in /etc/sysctl.d, or move the range");
        notes.warn("worker.rtp_ports", what, remedy);
    }
    if let Some(um) = &draft.um {
        let pairs = rtp_pairs(ports);
        if pairs < um.max_calls {
            let what = format!("{ports} holds {pairs} pairs, and um.max_calls = {}", um.max_calls);
            notes.warn("worker.rtp_ports", what, "widen the range: each call takes a pair, which rests afterwards");
        }
    }
}

fn overlap(one: crate::tree::PortRange, other: crate::tree::PortRange) -> bool {
    one.first <= other.last && other.first <= one.last
}

fn contact_secrets(draft: &Draft, notes: &Notes) {
    let key = "sip.contact_secrets";
    if notes.faulty(key) {
        return;
    }
    for (at, id) in repeated(draft.sip.contact_secrets.iter().map(|secret| secret.id.as_str())) {
        let what = format!("the id {id} is there twice");
        notes.error(&format!("{key}[{at}].id"), what, "give each secret an id of its own");
    }
}
