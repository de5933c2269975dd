//! `[mailbox]`, `[[gateway]]`, `[[dial_plan]]` and `[[hunt_group]]` to the typed tree, with the defaults of their keys.

use postern_dialplan::limits::DIAL_RULES_MAX;

use crate::decode::NAMES_MAX;
use crate::decode_call::Reading;
use crate::decode_owner::credentials;
use crate::forms::{self, name_or_domain};
use crate::forms_call;
use crate::reader::{Table, Value, quoted};
use crate::tree_call::{
    DialPlanConfig, DiversionOrder, GatewayConfig, GatewayStatus, HuntGroupConfig, KeyMapSource, MailboxConfig,
    PinConfig, RecordingsLocation, Security, StoreLocation, UriType,
};

/// Most gateways, and most hunt groups: a call compares itself with each.
pub(crate) const GATEWAYS_MAX: usize = 1024;
/// Most dial plans; their names are metric labels.
pub(crate) const PLANS_MAX: usize = 256;

/// Key maps that the mailbox brings along, the default first.
const KEY_MAPS: [&str; 3] = ["ova", "asterisk", "cisco"];

pub(crate) fn mailbox(table: Table<'_>, reading: Reading<'_, '_>) -> MailboxConfig {
    let files = reading.files;
    let location = |key, scheme: &'static str, default: &str| {
        let path = table.optional(key, |value: &Value<'_>| {
            let text = value.string()?;
            match text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(':')).filter(|path| !path.is_empty()) {
                Some(path) if !path.contains('\0') => Some(files.resolve(path)),
                _ => value.error(
                    format!("{} is no {key} known here", quoted(text)),
                    format!("write \"{scheme}:PATH\", relative to this file"),
                ),
            }
        });
        path.unwrap_or_else(|| files.resolve(default))
    };
    let mailbox = MailboxConfig {
        store: StoreLocation::Sqlite(location("store", "sqlite", "postern.db")),
        recordings: RecordingsLocation::Directory(location("recordings", "file", "recordings")),
        pin_key_file: files.resolve(table.or("pin_key_file", "pin.key", forms::path)),
        // "" is what is built in.
        prompts: Some(table.or("prompts", "", forms::path))
            .filter(|path| !path.is_empty())
            .map(|path| files.resolve(path)),
        key_map: table.or("key_map", KeyMapSource::BuiltIn(KEY_MAPS[0]), |value| {
            let text = forms::path(value)?;
            if text.ends_with(".toml") {
                return Some(KeyMapSource::File(files.resolve(text)));
            }
            match KEY_MAPS.iter().find(|name| **name == text) {
                Some(name) => Some(KeyMapSource::BuiltIn(name)),
                None => value.error(
                    format!("{} is no key map", quoted(text)),
                    format!("write one of {}, or the path of a .toml file", KEY_MAPS.join(", ")),
                ),
            }
        }),
        quota_messages: table.or("quota_messages", 100, |v| v.integer(1..=100_000)),
        quota_minutes: table.or("quota_minutes", 60, |v| v.integer(1..=100_000)),
        deposits_max: table.or("deposits_max", 3, |v| v.integer(1..=100)),
        greeting_secs_max: table.or("greeting_secs_max", 300, |v| v.integer(60..=600)),
        pin: pin(table.section("pin")),
    };
    table.close();
    mailbox
}

fn pin(table: Table<'_>) -> PinConfig {
    let pin = PinConfig {
        length_min: table.or("length_min", 6, |v| v.integer(4..=24)),
        lifetime_days: table.or("lifetime_days", 60, |v| v.integer(0..=999)),
        history: table.or("history", 5, |v| v.integer(1..=20)),
        attempts_max: table.or("attempts_max", 15, |v| v.integer(1..=999)),
        common_patterns: table.or("common_patterns", false, Value::boolean),
    };
    table.close();
    pin
}

/// `None` when the table cannot be told from others.
pub(crate) fn gateway(table: Table<'_>, reading: Reading<'_, '_>) -> Option<GatewayConfig> {
    let address = table.optional("address", |value| forms_call::peer_network(value, reading.notes));
    let name = table.optional("name", forms_call::peer_name);
    let key = table.key("address");
    match (table.has("address"), table.has("name")) {
        (false, false) => {
            let remedy = "write address = \"203.0.113.0/24\", or name = \"gw.example.test\", its certificate's";
            reading.notes.error(&key, "is missing, and so is name", remedy);
        }
        (true, true) => reading.notes.error(&key, "stands beside name", "give exactly one of the two"),
        _ => {}
    }
    let dial_plan = table.required("dial_plan", "\"office\"", forms_call::plan_name);
    let status = table.or("status", GatewayStatus::Enabled, |value| match value.string()? {
        "enabled" => Some(GatewayStatus::Enabled),
        "no-new-calls" => Some(GatewayStatus::NoNewCalls),
        "disabled" => Some(GatewayStatus::Disabled),
        _ => value.error("is no status", "write \"enabled\", \"no-new-calls\" or \"disabled\""),
    });
    let symmetric_rtp = table.or("symmetric_rtp", false, Value::boolean);
    let diversion = table.or("diversion", DiversionOrder::Top, |value| match value.string()? {
        "top" => Some(DiversionOrder::Top),
        "bottom" => Some(DiversionOrder::Bottom),
        _ => value.error("is no order", "write \"top\" (who diverted last) or \"bottom\" (who was called first)"),
    });
    let contacts = match table.or("contacts", 0, |v| v.integer(0..=16)) {
        0 => None,
        contacts => Some(contacts),
    };
    let target = table.optional("target", forms_call::sip_target);
    let outcalls = table.or("outcalls", false, Value::boolean);
    let mwi = table.or("mwi", true, Value::boolean);
    let credentials = credentials(&table, reading);
    if target.is_none() && !reading.notes.faulty(&table.key("target")) {
        let pointless = [("outcalls", outcalls), ("mwi", table.has("mwi") && mwi), ("username", table.has("username"))];
        for (key, _) in pointless.into_iter().filter(|(_, written)| *written) {
            let remedy = "write target = \"sip:gw.example.test:5061;transport=tls\", where the gateway takes calls";
            reading.notes.error(&table.key(key), "stands without target", remedy);
        }
    }
    table.close();
    Some(GatewayConfig {
        peer: name.or(address)?,
        dial_plan: dial_plan?,
        status,
        symmetric_rtp,
        diversion,
        contacts,
        target,
        outcalls,
        mwi,
        credentials,
    })
}

/// `None` when the table has no usable name.
pub(crate) fn dial_plan(table: Table<'_>) -> Option<DialPlanConfig> {
    let name = table.required("name", "\"office\"", forms_call::plan_name);
    let uri_type = table.or("uri_type", UriType::Extension, |value| match value.string()? {
        "extension" => Some(UriType::Extension),
        "sip" => Some(UriType::Sip),
        "e164" => Some(UriType::E164),
        _ => value.error("is no uri_type", "write \"extension\", \"sip\" or \"e164\""),
    });
    let plan = DialPlanConfig {
        name: name.clone().unwrap_or_default(),
        uri_type,
        security: table.or("security", Security::Unsecured, |value| match value.string()? {
            "unsecured" => Some(Security::Unsecured),
            "sip-secured" => Some(Security::SipSecured),
            "secured" => Some(Security::Secured),
            _ => value.error("is no security level", "write \"unsecured\", \"sip-secured\" or \"secured\""),
        }),
        pilots: table.or("pilots", Vec::new(), |value| {
            value.list(NAMES_MAX, |element| forms_call::address_of_plan(element, uri_type))
        }),
        digits: table.or("digits", 0, |v| v.integer(0..=20)),
        country_code: table.or("country_code", String::new(), forms_call::prefix),
        national_prefix: table.or("national_prefix", String::new(), forms_call::prefix),
        international_prefix: table.or("international_prefix", String::new(), forms_call::prefix),
        domains: table.or("domains", Vec::new(), |value| value.list(NAMES_MAX, name_or_domain)),
        allow: table.or("allow", Vec::new(), |value| value.list(DIAL_RULES_MAX, forms_call::dial_rule)),
        operator: table.or("operator", String::new(), forms_call::operator),
        language: table.or("language", "en-US".to_string(), forms_call::tag),
        time_zone: table.or("time_zone", "UTC".to_string(), forms_call::tag),
        call_secs_max: table.or("call_secs_max", 1800, |v| v.integer(10..=86_400)),
        recording_secs_max: table.or("recording_secs_max", 1200, |v| v.integer(5..=6000)),
        recording_idle_secs: table.or("recording_idle_secs", 5, |v| v.integer(2..=60)),
        input_failures_max: table.or("input_failures_max", 3, |v| v.integer(1..=20)),
        logon_failures_max: table.or("logon_failures_max", 3, |v| v.integer(1..=20)),
    };
    table.close();
    name.map(|_| plan)
}

/// `None` when a key of it is missing or faulty.
pub(crate) fn hunt_group(table: Table<'_>, reading: Reading<'_, '_>) -> Option<HuntGroupConfig> {
    let gateway = table.required("gateway", "\"203.0.113.0/24\"", |value| forms_call::peer(value, reading.notes));
    // Of which type it must be is known when its plan is.
    let pilot = table.required("pilot", "\"7100\"", |value| forms_call::address_of_plan(value, UriType::Sip));
    let dial_plan = table.required("dial_plan", "\"sales\"", forms_call::plan_name);
    table.close();
    Some(HuntGroupConfig { gateway: gateway?, pilot: pilot?, dial_plan: dial_plan? })
}
