//! Rules on router, UM service, worker, mailbox, gateways and dial plans, with the line that each names.

use crate::drawn_ports::DrawnPorts;
use crate::reader::Notes;
use crate::rules::Surroundings;
use crate::testing::{BASE, CALL, accepted, call_with, load_text, machine, printed, refuses, source, warns};
use crate::tree::{PortRange, Role};
use crate::tree_call::{GatewayStatus, KeyMapSource, Peer, Security, SlotPorts, StartupMode, UriType};

fn places(text: &str) -> Vec<String> {
    let errors = load_text(text).expect_err("this must be refused");
    errors.iter().map(|error| format!("{} {}", error.line, error.key)).collect()
}

#[test]
fn the_call_of_these_tests_is_accepted_without_a_warning() {
    let loaded = load_text(CALL).unwrap_or_else(|errors| panic!("{}", printed(&errors)));
    assert_eq!(printed(&loaded.warnings), "");
    let both = format!("{BASE}{CALL}");
    let loaded = load_text(&both).unwrap_or_else(|errors| panic!("{}", printed(&errors)));
    assert_eq!(printed(&loaded.warnings), "");
}

#[test]
fn what_the_file_leaves_out_has_its_default() {
    let config = accepted(CALL);
    assert!(!config.roles.edge && config.roles.router && config.roles.um && config.roles.worker);
    assert!(
        config.edge.udp.is_empty() && config.edge.relay.addresses.is_empty() && config.edge.auth.secrets.is_empty()
    );
    let worker = config.worker.expect("there");
    assert_eq!(worker.ports(0), SlotPorts { tcp: Some(5065), tls: Some(5066) });
    assert_eq!(worker.ports(1), SlotPorts { tcp: Some(5067), tls: Some(5068) });
    assert_eq!(worker.rtp_ports, PortRange { first: 20000, last: 29999 });
    assert_eq!(worker.routers, config.um.expect("there").routers);
    let office = &config.dial_plans[0];
    assert_eq!((office.call_secs_max, office.recording_secs_max, office.recording_idle_secs), (1800, 1200, 5));
    assert_eq!((office.uri_type, office.security), (UriType::Extension, Security::Unsecured));
    let mailbox = config.mailbox.expect("there");
    assert_eq!(mailbox.key_map, KeyMapSource::BuiltIn("ova"));
    assert_eq!((mailbox.pin.length_min, mailbox.pin.lifetime_days, mailbox.pin.attempts_max), (6, 60, 15));
    assert_eq!(config.gateways[0].status, GatewayStatus::Enabled);
    assert_eq!(config.gateways[1].peer, Peer::Name("gw.example.test".into()));
}

#[test]
fn times_that_would_break_what_the_router_promises_are_refused() {
    for (key, most) in [("health_interval_ms", 900), ("health_timeout_ms", 2000), ("timer_c_secs", 599)] {
        let with = |value: u32| call_with("[router]\n", &format!("[router]\n{key} = {value}\n"));
        accepted(&with(most));
        refuses(&with(most + 1), &format!("2: router.{key}"), "");
    }
}

#[test]
fn every_fault_of_a_call_is_told_at_once_in_line_order() {
    let text = r#"[router]
startup_mode = "both"
tcp = ["10.20.0.21"]
um_services = ["um.example.test"]
contacts = 0
[um]
tcp = []
routers = ["10.20.0.0/40"]
[worker]
addresses = ["0.0.0.0"]
slots = [5065]
rtp_ports = "20001-20002"
codecs = ["SILK"]
[[worker.edge]]
tokens = "http://10.20.0.10"
[mailbox]
store = "postgres:mail"
[[gateway]]
[[gateway]]
address = "gw.example.test"
dial_plan = "office"
[[dial_plan]]
name = "office"
uri_type = "e164"
pilots = ["7000"]
"#;
    let expected = [
        "2 router.startup_mode",
        "3 router.tcp[0]",
        "4 router.um_services[0]",
        "5 router.contacts",
        "7 um.tcp",
        "8 um.routers[0]",
        "10 worker.addresses[0]",
        "11 worker.slots",
        "12 worker.rtp_ports",
        "13 worker.codecs[0]",
        "14 worker.edge[0].certificate",
        "14 worker.edge[0].private_key",
        "14 worker.edge[0].ca",
        "15 worker.edge[0].tokens",
        "17 mailbox.store",
        "18 gateway[0].address",
        "18 gateway[0].dial_plan",
        "20 gateway[1].address",
        "25 dial_plan[0].pilots[0]",
    ];
    let mut got = places(text);
    got.sort_by_key(|place| {
        let key = place.split_once(' ').expect("a key").1;
        expected.iter().position(|expected| expected.ends_with(key)).unwrap_or(usize::MAX)
    });
    assert_eq!(got, expected);
}

#[test]
fn an_unknown_key_in_a_list_of_tables_is_refused_with_its_line() {
    refuses(
        &call_with("dial_plan = \"office\"", "dial_plan = \"office\"\nsymetric_rtp = true"),
        "43: gateway[0].symetric_rtp",
        "did you mean symmetric_rtp?",
    );
    refuses(
        &call_with("\n[mailbox]", "token_lifetimes_secs = 500\n[mailbox]"),
        "35: worker.edge[0].token_lifetimes_secs",
        "did you mean token_lifetime_secs?",
    );
    refuses(&format!("{CALL}[dial_plans]\n"), "56: dial_plans", "did you mean dial_plan?");
}

#[test]
fn a_listener_list_that_the_mode_opens_must_not_be_empty() {
    refuses(
        &call_with("tls = [\"10.20.0.21:5061\"]", "tls = []"),
        "4: router.tls",
        "is empty, and startup_mode opens tls",
    );
    refuses(&call_with("tcp = [\"10.20.0.20:5062\"]\n", ""), "12: um.tcp", "is empty, and startup_mode opens tcp");
    let tls_only = call_with("startup_mode = \"dual\"\ntcp = [\"10.20.0.20:5062\"]\n", "startup_mode = \"tls\"\n");
    let um = accepted(&tls_only).um.expect("there");
    assert!(um.tcp.is_empty() && um.startup_mode == StartupMode::Tls);
}

#[test]
fn a_listener_list_that_the_mode_leaves_closed_is_warned_of() {
    let text = call_with(
        "startup_mode = \"dual\"\ntcp = [\"10.20.0.20:5062\"]",
        "startup_mode = \"tls\"\ntcp = [\"10.20.0.20:5062\"]",
    );
    warns(&text, "14: um.tcp", "is not opened: startup_mode leaves tcp closed");
    assert!(accepted(&text).um.expect("there").tcp.is_empty());
}

#[test]
fn tls_needs_host_certificate_key_and_authority() {
    let bare = CALL.replacen("host = \"um.example.test\"\ncertificate = \"call.pem\"\nprivate_key = \"call.key\"\nclient_ca = \"call.pem\"\n", "", 1);
    let expected = ["12 um.host", "12 um.certificate", "12 um.private_key", "12 um.client_ca"];
    assert_eq!(places(&bare), expected);
    refuses(
        &call_with("client_ca = \"call.pem\"\num_services", "um_services"),
        "1: router.client_ca",
        "is missing, and startup_mode opens TLS",
    );
    refuses(&call_with("private_key = \"call.key\"", ""), "7: router.certificate", "stands without private_key");
}

#[test]
fn the_host_must_be_in_the_certificate() {
    refuses(
        &call_with("host = \"um.example.test\"", "host = \"mail.example.test\""),
        "16: um.host",
        "mail.example.test is not in /nonexistent/call.pem",
    );
}

#[test]
fn each_role_says_which_table_it_lacks() {
    let only =
        |from: &str, to: &str| CALL.split_once(from).expect("in it").1.split_once(to).expect("in it").0.to_string();
    let router = format!("[router]{}", only("[router]", "[um]"));
    assert_eq!(places(&router), ["1 router", "1 router"]);
    refuses(
        &CALL.replacen("[mailbox]\nstore = \"sqlite:postern.db\"\nrecordings = \"file:recordings\"\n", "", 1),
        "12: um",
        "stands without mailbox",
    );
    let um = format!("[um]{}[[gateway]]{}", only("[um]", "[worker]"), CALL.split_once("[[gateway]]").expect("in it").1);
    assert_eq!(places(&um), ["1 um", "1 um"]);
    accepted(&format!("{router}[[gateway]]{}", CALL.split_once("[[gateway]]").expect("in it").1));
    accepted("[mailbox]\n");
}

#[test]
fn a_process_whose_table_is_missing_says_so() {
    let directory = crate::testing::Scratch::new();
    directory.write("mail.toml", "[mailbox]\n");
    let path = directory.path("mail.toml");
    for role in [Role::Edge, Role::Router, Role::Um, Role::Worker] {
        let errors = crate::load_role(&path, &[], role).expect_err("not there");
        assert!(
            printed(&errors).contains(&format!("{}: is missing: postern {0} reads", role.name())),
            "{}",
            printed(&errors)
        );
    }
    crate::load(&path, &[]).unwrap_or_else(|errors| panic!("{}", printed(&errors)));
}

#[test]
fn a_gateway_has_an_address_or_a_name_and_not_both() {
    refuses(&call_with("address = \"203.0.113.0/24\"\n", ""), "40: gateway[0].address", "is missing, and so is name");
    refuses(
        &call_with("name = \"gw", "address = \"10.0.0.1\"\nname = \"gw"),
        "45: gateway[1].address",
        "stands beside name",
    );
    refuses(&call_with("gw.example.test", "10.0.0.1"), "45: gateway[1].name", "is an address");
    refuses(&call_with("203.0.113.0/24", "gw.example.test"), "41: gateway[0].address", "is no address");
}

#[test]
fn a_gateway_of_a_secured_plan_is_named_by_its_certificate() {
    for level in ["secured", "sip-secured"] {
        let text = call_with(
            "[[dial_plan]]\nname = \"office\"",
            &format!("[[dial_plan]]\nname = \"office\"\nsecurity = \"{level}\""),
        );
        refuses(
            &text,
            "41: gateway[0].address",
            &format!("203.0.113.0/24 is an address, and dial plan office is {level}"),
        );
    }
    accepted(&call_with("security = \"secured\"", "security = \"unsecured\""));
}

#[test]
fn a_plan_that_demands_tls_needs_roles_that_open_it() {
    let text = CALL.replacen("startup_mode = \"dual\"\naddresses", "startup_mode = \"tcp\"\naddresses", 1);
    refuses(&text, "23: worker.startup_mode", "opens no TLS, and dial plan sealed is secured");
}

#[test]
fn names_of_plans_lead_to_one_plan_each() {
    refuses(
        &call_with("dial_plan = \"office\"", "dial_plan = \"offices\""),
        "42: gateway[0].dial_plan",
        "there is no dial plan offices; known here: office, sealed",
    );
    refuses(
        &call_with("name = \"sealed\"", "name = \"Office\"")
            .replace("dial_plan = \"sealed\"", "dial_plan = \"Office\""),
        "53: dial_plan[1].name",
        "Office is there twice",
    );
    refuses(
        &call_with("name = \"office\"", "name = \"head office\""),
        "49: dial_plan[0].name",
        "is no name of a dial plan",
    );
}

#[test]
fn a_gateway_is_there_once() {
    let text = format!("{CALL}[[gateway]]\naddress = \"203.0.113.0/24\"\ndial_plan = \"office\"\n");
    refuses(&text, "56: gateway[2]", "203.0.113.0/24 is gateway[0] (line 40) already");
}

#[test]
fn hunt_groups_join_gateways_and_plans_that_exist() {
    let group = |gateway: &str, plan: &str| {
        format!("{CALL}[[hunt_group]]\ngateway = \"{gateway}\"\npilot = \"7100\"\ndial_plan = \"{plan}\"\n")
    };
    assert_eq!(accepted(&group("203.0.113.0/24", "office")).hunt_groups[0].pilot, "7100");
    refuses(&group("203.0.114.0/24", "office"), "57: hunt_group[0].gateway", "there is no gateway 203.0.114.0/24");
    refuses(&group("203.0.113.0/24", "sales"), "59: hunt_group[0].dial_plan", "there is no dial plan sales");
    refuses(
        &group("203.0.113.0/24", "sealed"),
        "57: hunt_group[0].gateway",
        "is an address, and dial plan sealed is secured",
    );
    let twice = format!(
        "{}[[hunt_group]]\ngateway = \"203.0.113.0/24\"\npilot = \"7100\"\ndial_plan = \"office\"\n",
        group("203.0.113.0/24", "office")
    );
    refuses(&twice, "62: hunt_group[1].pilot", "7100 of 203.0.113.0/24 is hunt_group[0] (line 56) already");
}

#[test]
fn pilots_have_the_form_of_their_plan() {
    let pilots = |uri_type: &str, pilot: &str| {
        call_with(
            "name = \"office\"\npilots = [\"7000\"]",
            &format!("name = \"office\"\nuri_type = \"{uri_type}\"\npilots = [\"{pilot}\"]"),
        )
    };
    for (uri_type, pilot) in
        [("extension", "*97"), ("e164", "+15550100"), ("sip", "voicemail@example.test"), ("sip", "vm")]
    {
        accepted(&pilots(uri_type, pilot));
    }
    for (uri_type, pilot) in [("extension", "vm"), ("e164", "7000"), ("sip", "vm@"), ("sip", "v m"), ("sip", "vm@a b")]
    {
        refuses(&pilots(uri_type, pilot), "51: dial_plan[0].pilots[0]", "is no address in this plan");
    }
}

#[test]
fn an_rtp_range_over_ports_of_the_kernel_is_warned_of_with_the_remedy() {
    let source = source(CALL);
    let notes = Notes::new(&source.name, &source.text);
    let own = machine();
    let drawn = DrawnPorts::parse("16384 24575", "");
    crate::read(&source, &Surroundings { own_addresses: &own, drawn, ..Surroundings::unknown() }, &notes);
    let warnings = printed(&notes.verdict().expect("no error"));
    let wanted = "worker.rtp_ports: 20000-29999 overlaps the ports that the kernel hands out by itself, 16384-24575; \
                  set net.ipv4.ip_local_reserved_ports = 20000-29999";
    assert!(warnings.contains(wanted), "{warnings}");
}

#[test]
fn an_rtp_range_is_kept_from_other_ports_and_large_enough() {
    let range = |range: &str| {
        call_with("addresses = [\"10.20.0.20\"]", &format!("addresses = [\"10.20.0.20\"]\nrtp_ports = \"{range}\""))
    };
    refuses(&range("1000-2000"), "25: worker.rtp_ports", "privileged");
    refuses(&range("20001-20002"), "25: worker.rtp_ports", "no even port with the odd one after it");
    warns(&range("20001-20200"), "25: worker.rtp_ports", "holds 99 pairs, and um.max_calls = 100");
    let shared = range("5000-5999").replace("10.20.0.20\"]\nrtp", "10.20.0.21\"]\nrtp");
    refuses(&shared, "25: worker.rtp_ports", "holds the port of router.udp[0]");
    let relay = format!(
        "{}{CALL}",
        BASE.replace(
            "\"203.0.113.10\", \"2001:db8::10\"]\nports = \"50000-59999\"",
            "\"10.20.0.20\"]\nports = \"25000-25999\""
        )
    );
    refuses(&relay, "41: worker.rtp_ports", "overlaps edge.relay.ports");
}

#[test]
fn slots_whose_ports_meet_are_refused() {
    let slots = |slots: &str| {
        call_with("addresses = [\"10.20.0.20\"]", &format!("addresses = [\"10.20.0.20\"]\nslots = {slots}"))
    };
    refuses(&slots("[5065, 5066]"), "25: worker.slots[1]", "10.20.0.20:5066 is taken by worker.slots[0]");
    refuses(&slots("[5063, 5067]"), "25: worker.slots[0]", "is taken by um.tls[0]");
    refuses(&slots("[65535, 5067]"), "25: worker.slots[0]", "out of bounds");
}

#[test]
fn services_that_no_call_reaches_are_warned_of() {
    let services = |list: &str| {
        call_with("[\"sip:10.20.0.20:5062;transport=tcp\", \"sip:um.example.test:5063;transport=tls\"]", list)
    };
    warns(&services("[]"), "10: router.um_services", "every call is answered with 503");
    warns(&services("[\"sip:10.20.0.20:5062\"]"), "10: router.um_services", "names no service over tls");
    refuses(
        &services("[\"sip:10.20.0.20:5063;transport=tls\", \"sip:10.20.0.20:5062\"]"),
        "10: router.um_services[0]",
        "needs the name",
    );
}

#[test]
fn plans_that_nobody_can_use_are_warned_of() {
    warns(
        &call_with("name = \"office\"\npilots = [\"7000\"]", "name = \"office\""),
        "48: dial_plan[0].pilots",
        "is empty",
    );
    let unused = format!("{CALL}[[dial_plan]]\nname = \"spare\"\npilots = [\"9000\"]\n");
    warns(&unused, "57: dial_plan[2].name", "no gateway or hunt group leads to spare");
    warns(&call_with("203.0.113.0/24", "0.0.0.0/0"), "41: gateway[0].address", "lets everybody place calls");
}

#[test]
fn secrets_that_sign_contacts_are_judged_as_those_of_tokens() {
    let secrets = |list: &str| format!("{CALL}[sip]\ncontact_secrets = [{list}]\n");
    let one = "{ id = \"a\", value = \"sixteen-bytes-at-the-least\" }";
    assert_eq!(accepted(&secrets(one)).sip.contact_secrets.len(), 1);
    refuses(
        &secrets("{ id = \"a\", value = \"short\" }"),
        "57: sip.contact_secrets[0].value",
        "is a secret of 5 bytes",
    );
    refuses(
        &secrets(&format!("{one}, {{ id = \"a\", file = \"turn.secret\" }}")),
        "57: sip.contact_secrets[1].id",
        "the id a is there twice",
    );
}

#[test]
fn a_listen_key_of_the_edge_does_nothing_without_one() {
    warns(&format!("{CALL}[telemetry]\nlisten = \"127.0.0.1:9641\"\n"), "57: telemetry.listen", "opens nothing");
}

#[test]
fn locations_and_key_maps_are_known_ones() {
    refuses(&call_with("file:recordings", "s3:recordings"), "38: mailbox.recordings", "is no recordings known here");
    refuses(&call_with("sqlite:postern.db", "sqlite:"), "37: mailbox.store", "write \"sqlite:PATH\"");
    refuses(
        &call_with("[mailbox]", "[mailbox]\nkey_map = \"nokia\""),
        "37: mailbox.key_map",
        "write one of ova, asterisk, cisco",
    );
    let own = accepted(&call_with("[mailbox]", "[mailbox]\nkey_map = \"own.toml\"")).mailbox.expect("there").key_map;
    assert_eq!(own, KeyMapSource::File("/nonexistent/own.toml".into()));
}
