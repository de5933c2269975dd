//! All gateways, plans and hunt groups together, and the one function that judges a call by them.

use std::net::IpAddr;

use postern_sip::host::Host;
use postern_sip::{Request, SipUri, Source, Transport, Uri};

use crate::caller::Caller;
use crate::origin::Origin;
use crate::peer::{Gateway, Peer, Status};
use crate::plan::{HuntGroup, Plan};
use crate::reason::CallReason;
use crate::refusal::Refusal;
use crate::seal::{SEAL_PARAMETER, Sealed, Seals};
use crate::{diversion, history};

/// What rules are made of.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub gateways: Vec<Gateway>,
    pub plans: Vec<Plan>,
    pub hunt_groups: Vec<HuntGroup>,
    /// Routers of ours, accepted beside the gateways and believed in what they tell of them.
    pub routers: Vec<Peer>,
    /// Hosts that are ours: addresses and names of router, UM services and workers.
    pub own: Vec<Host>,
    /// Diversion entries of one INVITE beyond which it is taken for a loop.
    pub diversions_max: u32,
}

/// Why options make no rules; the operator's fault, which the configuration has found before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    #[error("there is no dial plan {0}")]
    UnknownPlan(String),
    #[error("there is no gateway {0}")]
    UnknownGateway(String),
    #[error("the dial plan {0} is there twice")]
    RepeatedPlan(String),
}

/// Gateways, plans, hunt groups and routers, ready to judge calls by.
#[derive(Clone, Debug)]
pub struct Rules {
    options: Options,
}

/// What a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody leaves a message. The number is well-formed in its plan; whether there is such a mailbox, the store
    /// knows.
    CallAnswering { mailbox: String },
    /// Somebody hears messages. Without a mailbox, the caller's number may tell it, or the caller is asked.
    SubscriberAccess { mailbox: Option<String> },
}

/// On whose word a decision rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// Our own reading of the message.
    Message,
    /// What an earlier hop sealed into the Request-URI.
    Seal,
}

/// How a call is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Its gateway, by [`Gateway::label`].
    pub gateway: String,
    pub plan: String,
    pub purpose: Purpose,
    pub reason: CallReason,
    pub caller: Caller,
    /// User of the Request-URI, as it came.
    pub dialled: String,
    /// Where the gateway's signalling comes from, a router in between or not.
    pub signalling: IpAddr,
    pub belief: Belief,
    /// Entries of Diversion and History-Info that could not be read.
    pub unreadable: usize,
}

impl Decision {
    /// What a worker makes of it once it knows whether the caller's number is one of the called mailbox: owners who call
    /// their own number hear their messages, unless the call was diverted there.
    pub fn called_by_owner(mut self, is_owner: bool) -> Self {
        if is_owner
            && self.reason == CallReason::Direct
            && let Purpose::CallAnswering { mailbox } = self.purpose
        {
            self.purpose = Purpose::SubscriberAccess { mailbox: Some(mailbox) };
        }
        self
    }
}

/// A source that may place calls.
struct Admitted<'r> {
    gateway: &'r Gateway,
    /// Of a router's telling; otherwise the gateway's own or a hunt group's.
    plan: Option<&'r Plan>,
    signalling: IpAddr,
    /// Whether the gateway, or the router that speaks for it, has proved a name under mutual TLS.
    proved: bool,
}

impl Rules {
    /// # Errors
    /// A name that leads nowhere, or two plans of one name.
    pub fn new(options: Options) -> Result<Self, RulesError> {
        for (at, plan) in options.plans.iter().enumerate() {
            if options.plans[..at].iter().any(|earlier| earlier.name == plan.name) {
                return Err(RulesError::RepeatedPlan(plan.name.clone()));
            }
        }
        let rules = Self { options };
        let plans = rules.options.gateways.iter().map(|gateway| &gateway.plan);
        let plans = plans.chain(rules.options.hunt_groups.iter().map(|group| &group.plan));
        if let Some(unknown) = plans.into_iter().find(|name| rules.plan(name).is_none()) {
            return Err(RulesError::UnknownPlan(unknown.clone()));
        }
        if let Some(group) = rules.options.hunt_groups.iter().find(|group| rules.gateway(&group.gateway).is_none()) {
            return Err(RulesError::UnknownGateway(group.gateway.clone()));
        }
        Ok(rules)
    }

    /// The gateway of a label. Cost: linear.
    pub fn gateway(&self, label: &str) -> Option<&Gateway> {
        self.options.gateways.iter().find(|gateway| gateway.label() == label)
    }

    pub(crate) fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        self.options.gateways.iter()
    }

    /// Whether calls of this gateway may be of that plan.
    pub(crate) fn leads_to(&self, gateway: &Gateway, plan: &str) -> bool {
        let label = gateway.label();
        gateway.plan == plan
            || self.options.hunt_groups.iter().any(|group| group.gateway == label && group.plan == plan)
    }

    /// The plan of a name. Cost: linear.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.options.plans.iter().find(|plan| plan.name == name)
    }

    /// Whether `source` is a router of ours.
    pub fn is_router(&self, source: &Source) -> bool {
        self.options.routers.iter().any(|router| router.match_of(source).is_some())
    }

    /// Whether `source` may speak to us at all: a router, or a gateway that is not disabled.
    pub fn admits(&self, source: &Source) -> bool {
        self.is_router(source) || self.gateway_of(source).is_some_and(|gateway| gateway.status != Status::Disabled)
    }

    /// The address of `text` in the plan `plan`, as mailboxes are compared; `None` when it has none there.
    pub fn address_of_text(&self, plan: &str, text: &str) -> Option<String> {
        self.plan(plan)?.address_of_text(text, &self.options.own)
    }

    /// Judges an INVITE outside of any dialog. Cost: linear in gateways, hunt groups and pilots.
    ///
    /// # Errors
    /// The answer that it gets; nothing is kept of it.
    pub fn decide(
        &self,
        request: &Request,
        source: &Source,
        seals: &Seals,
        now_unix_secs: u64,
    ) -> Result<Decision, Refusal> {
        let admitted = self.admit(request, source)?;
        let gateway = admitted.gateway;
        match gateway.status {
            Status::Enabled => {}
            Status::NoNewCalls => return Err(Refusal::NoNewCalls),
            Status::Disabled => return Err(Refusal::Disabled),
        }
        let plan = admitted.plan.or_else(|| self.plan_of(gateway, &request.uri)).ok_or(Refusal::UnknownGateway)?;
        if plan.security.needs_tls() && !admitted.proved {
            return Err(Refusal::NotSecure);
        }
        let diversions = request.headers.diversions();
        if diversions.list.len() + diversions.unreadable > self.options.diversions_max as usize {
            return Err(Refusal::Loop);
        }
        let mut caller = Caller::of(request, plan, &self.options.own);
        let label = gateway.label();
        let sealed = request.uri.as_sip().and_then(|uri| seals.open_in(uri, now_unix_secs));
        let sealed = sealed.filter(|sealed| sealed.gateway == label && sealed.plan == plan.name);
        let histories = request.headers.history_info();
        let (purpose, reason, belief) = match sealed {
            Some(sealed) => {
                caller.address = sealed.caller.or(caller.address);
                (sealed.purpose, sealed.reason, Belief::Seal)
            }
            None => {
                let called = Called { rules: self, gateway, plan, uri: &request.uri };
                let (purpose, reason) = called.purpose(&diversions, &histories, &caller)?;
                (purpose, reason, Belief::Message)
            }
        };
        Ok(Decision {
            gateway: label,
            plan: plan.name.clone(),
            purpose,
            reason,
            caller,
            dialled: request.uri.user().unwrap_or_default().into_owned(),
            signalling: admitted.signalling,
            belief,
            unreadable: diversions.unreadable + histories.unreadable,
        })
    }

    /// `uri` with the decision sealed into it, for the next hop; without keys, `uri` as it is.
    pub fn seal(&self, mut uri: SipUri, decision: &Decision, seals: &Seals, now_unix_secs: u64) -> SipUri {
        uri.remove_param(SEAL_PARAMETER);
        let sealed = Sealed {
            gateway: decision.gateway.clone(),
            plan: decision.plan.clone(),
            purpose: decision.purpose.clone(),
            reason: decision.reason,
            caller: decision.caller.address.clone(),
        };
        if let Some(text) = seals.seal(&sealed, now_unix_secs) {
            uri.set_param(SEAL_PARAMETER, Some(&text));
        }
        uri
    }

    /// What a router tells the next hop of this call.
    pub fn origin(&self, decision: &Decision) -> Origin {
        Origin { gateway: decision.gateway.clone(), plan: decision.plan.clone(), address: decision.signalling }
    }

    fn admit(&self, request: &Request, source: &Source) -> Result<Admitted<'_>, Refusal> {
        let routers = self.options.routers.iter().filter_map(|router| Some((router.match_of(source)?, router)));
        if let Some((_, router)) = routers.max_by_key(|(surety, _)| *surety)
            && Origin::is_in(&request.headers)
        {
            let origin = Origin::read_from(&request.headers).ok_or(Refusal::NoOrigin)?;
            return Ok(Admitted {
                gateway: self.gateway(&origin.gateway).ok_or(Refusal::NoOrigin)?,
                plan: Some(self.plan(&origin.plan).ok_or(Refusal::NoOrigin)?),
                signalling: origin.address,
                proved: matches!(router, Peer::Name(_)),
            });
        }
        let gateway = self.gateway_of(source).ok_or(match self.is_router(source) {
            true => Refusal::NoOrigin,
            false => Refusal::UnknownGateway,
        })?;
        let proved = source.transport == Transport::Tls && matches!(gateway.peer, Peer::Name(_));
        Ok(Admitted { gateway, plan: None, signalling: source.remote.ip().to_canonical(), proved })
    }

    /// The surest of the gateways that `source` may be, the first of equals.
    fn gateway_of(&self, source: &Source) -> Option<&Gateway> {
        let mut best: Option<(u16, &Gateway)> = None;
        for gateway in &self.options.gateways {
            if let Some(surety) = gateway.peer.match_of(source)
                && best.is_none_or(|(other, _)| surety > other)
            {
                best = Some((surety, gateway));
            }
        }
        best.map(|(_, gateway)| gateway)
    }

    fn plan_of(&self, gateway: &Gateway, called: &Uri) -> Option<&Plan> {
        let label = gateway.label();
        let groups = self.options.hunt_groups.iter().filter(|group| group.gateway == label);
        let of_group = groups.filter_map(|group| Some((group, self.plan(&group.plan)?)));
        let mut hunted = of_group.filter(|(group, plan)| plan.is_called(&group.pilot, called, &self.options.own));
        hunted.next().map(|(_, plan)| plan).or_else(|| self.plan(&gateway.plan))
    }
}

/// A call whose gateway and plan are known.
struct Called<'r> {
    rules: &'r Rules,
    gateway: &'r Gateway,
    plan: &'r Plan,
    /// The Request-URI.
    uri: &'r Uri,
}

impl Called<'_> {
    /// Which mailbox, and what for: `target` (RFC 4458), Diversion, History-Info, the Request-URI's user.
    fn purpose(
        &self,
        diversions: &postern_sip::typed::Addresses,
        histories: &postern_sip::typed::Addresses,
        caller: &Caller,
    ) -> Result<(Purpose, CallReason), Refusal> {
        let named = self
            .target()
            .or_else(|| diversion::choose(diversions, self.gateway.diversion, |uri| self.mailbox(uri)))
            .or_else(|| history::choose(histories, |uri| self.is_hop_to_us(uri), |uri| self.mailbox(uri)));
        if let Some((mailbox, reason)) = named {
            return Ok((Purpose::CallAnswering { mailbox }, reason));
        }
        if self.is_pilot(self.uri) {
            return Ok((Purpose::SubscriberAccess { mailbox: None }, CallReason::Direct));
        }
        let address = self.address(self.uri).filter(|_| !self.is_pilot_elsewhere()).ok_or(Refusal::NoSuchAddress)?;
        if caller.address.as_ref() == Some(&address) {
            return Ok((Purpose::SubscriberAccess { mailbox: Some(address) }, CallReason::Direct));
        }
        Ok((Purpose::CallAnswering { mailbox: address }, CallReason::Direct))
    }

    fn target(&self) -> Option<(String, CallReason)> {
        let uri = self.uri.as_sip()?;
        let target = Uri::parse(&uri.param("target")?)?;
        let reason = CallReason::of_cause(uri.param("cause").and_then(|cause| cause.parse().ok()));
        Some((self.mailbox(&target)?, reason))
    }

    fn address(&self, uri: &Uri) -> Option<String> {
        self.plan.address_of(uri, &self.rules.options.own)
    }

    /// The mailbox number that an entry names: no pilot, and not what a redirecting hop of ours left behind.
    fn mailbox(&self, uri: &Uri) -> Option<String> {
        let address = self.address(uri)?;
        let ours = uri.as_sip().is_some_and(|uri| self.rules.options.own.contains(&uri.host));
        let left_behind = ours && self.address(self.uri).as_ref() == Some(&address);
        (!left_behind && !self.is_pilot(uri)).then_some(address)
    }

    fn is_hop_to_us(&self, uri: &Uri) -> bool {
        self.is_pilot(uri) || self.address(uri).is_some_and(|address| self.address(self.uri) == Some(address))
    }

    fn is_pilot(&self, uri: &Uri) -> bool {
        let label = self.gateway.label();
        let options = &self.rules.options;
        let groups = options.hunt_groups.iter().filter(|group| group.gateway == label && group.plan == self.plan.name);
        let mut pilots = self.plan.pilots.iter().chain(groups.map(|group| &group.pilot));
        pilots.any(|pilot| self.plan.is_called(pilot, uri, &options.own))
    }

    /// Whether the Request-URI is a pilot of a plan that this gateway does not lead to.
    fn is_pilot_elsewhere(&self) -> bool {
        let others = self.rules.options.plans.iter().filter(|plan| plan.name != self.plan.name);
        let mut pilots = others.flat_map(|plan| &plan.pilots);
        let user = self.uri.user().unwrap_or_default();
        pilots.any(|pilot| *pilot == user)
    }
}
