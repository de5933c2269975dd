//! The configuration and the store as an administrator of mailboxes uses them: plans, addresses, mailboxes by address.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use postern_config::{Config, DialPlanConfig, MailboxConfig, StoreLocation, UriType};
use postern_dialplan::Rules;
use postern_mail::DeadLetters;
use postern_mailbox::{Address, Mailbox, MailboxId, PinPolicy, PlanName, Store, StoreError};
use postern_store::{Listed, MailSettings, SqliteStore};

use crate::output;

/// A configuration with a store of mailboxes.
pub(crate) struct Desk {
    config: Config,
    mailbox: MailboxConfig,
    rules: Rules,
}

impl Desk {
    /// # Errors
    /// The file cannot be used, has no `[mailbox]`, or its plans make no rules.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let config = crate::configuration::load(path)?;
        let Some(mailbox) = config.mailbox.clone() else {
            bail!("{} has no [mailbox], which says where mailboxes are kept: name the workers' file", path.display())
        };
        let rules = config.call_rules(&[], &[], None)?;
        Ok(Self { config, mailbox, rules })
    }

    pub(crate) fn pin_policy(&self) -> PinPolicy {
        postern_worker::pin_policy(&self.mailbox)
    }

    /// The store, made when it is not there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) async fn store(&self) -> Result<SqliteStore> {
        let mut options = postern_worker::store_options(&self.mailbox)?;
        // Whoever opens a store first finishes what a dead worker could not, and its letters with it.
        options.sends_letters = self.config.mail.is_some();
        Ok(SqliteStore::open(options).await?.0)
    }

    /// The store, where one is.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub(crate) async fn existing_store(&self) -> Result<SqliteStore> {
        let StoreLocation::Sqlite(database) = &self.mailbox.store;
        if !database.exists() {
            bail!("{} is not there: `postern mailbox add` makes it, unless mailbox.store is wrong", database.display())
        }
        self.store().await
    }

    /// Whether callers of this plan may be transferred there; "" is nobody, which is well.
    ///
    /// # Errors
    /// The plan's rules do not allow it.
    pub(crate) fn judge_operator(&self, plan: &str, operator: &str) -> Result<()> {
        match self.rules.transfer(plan, operator) {
            Err(refusal) if !operator.is_empty() => {
                bail!("{operator:?} cannot be the operator: {refusal}; allow it by dial_plan.allow of {plan}")
            }
            _ => Ok(()),
        }
    }

    /// Says so where mail would go nowhere.
    pub(crate) fn tell_of_mail(&self, mail: &MailSettings) {
        if mail.address.is_some() && self.config.mail.is_none() {
            let file = self.config.path.display();
            output::complain(format_args!("no mail is sent yet: {file} has no [mail], which names the mail server"));
        }
    }

    /// The folder of letters that were given up.
    ///
    /// # Errors
    /// The configuration has no `[mail]`.
    pub(crate) fn dead_letters(&self) -> Result<DeadLetters> {
        let Some(mail) = &self.config.mail else {
            bail!(
                "{} has no [mail], so that no mail is sent: name the file of the UM service",
                self.config.path.display()
            )
        };
        Ok(DeadLetters::of_queue(&mail.queue))
    }

    /// The plan of this name; without a name, the only one.
    ///
    /// # Errors
    /// There is no such plan, or which one is meant cannot be told.
    pub(crate) fn plan(&self, name: Option<&str>) -> Result<&DialPlanConfig> {
        let plans = &self.config.dial_plans;
        let known: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
        let file = self.config.path.display();
        match (name, &plans[..]) {
            (_, []) => bail!("{file} has no dial plan: add [[dial_plan]] with name and pilots"),
            (None, [plan]) => Ok(plan),
            (None, _) => bail!("a mailbox belongs to one dial plan: say which with --plan: {}", known.join(", ")),
            (Some(name), _) => plans.iter().find(|plan| plan.name == name).ok_or_else(|| {
                anyhow!("{file} has no dial plan {name:?}: give one of {} with --plan", known.join(", "))
            }),
        }
    }

    /// The addresses that `text` gives a mailbox: first the one that calls reach it by, in the form in which the plan
    /// compares, then the full number that it is the end of.
    ///
    /// # Errors
    /// It is none of the plan's, or a pilot.
    pub(crate) fn main_address(&self, plan: &DialPlanConfig, text: &str) -> Result<Vec<Address>> {
        if let Some(address) = self.as_called(&plan.name, text) {
            return self.forms(plan, address, text);
        }
        let name = &plan.name;
        let remedy = match plan.uri_type {
            UriType::Extension if plan.digits > 0 => format!("give {} digits", plan.digits),
            UriType::Extension => "give digits, such as 1001".into(),
            UriType::E164 => "give a number such as +15551234567".into(),
            // Without domains, users of all hosts are one.
            UriType::Sip if plan.domains.is_empty() => {
                "write the hosts of its addresses as domains = [\"example.test\"] in its [[dial_plan]]".into()
            }
            UriType::Sip => format!("give a user at {}", plan.domains.join(", ")),
        };
        bail!("{text:?} is no address of the dial plan {name}: {remedy}")
    }

    /// As [`main_address`](Self::main_address), of a further one. One that calls of the plan cannot have is kept all the
    /// same, and told.
    ///
    /// # Errors
    /// It has none of the forms of an address, or is a pilot.
    pub(crate) fn alias(&self, plan: &DialPlanConfig, text: &str) -> Result<Vec<Address>> {
        if let Some(address) = self.as_called(&plan.name, text) {
            return self.forms(plan, address, text);
        }
        let address = parse(text)?;
        output::complain(format_args!("{address} is no address that calls of the dial plan {} can have", plan.name));
        Ok(vec![address])
    }

    /// The language of a mailbox; told where it has no prompts.
    ///
    /// # Errors
    /// It is no tag.
    pub(crate) fn language(&self, tag: String) -> Result<String> {
        let well_formed = !tag.is_empty()
            && tag.len() <= 64
            && tag.split('-').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if !well_formed {
            bail!("{tag:?} is no language tag: give one such as en-US with --language")
        }
        let spoken = postern_mailbox::language(&tag).tag();
        // mailbox.prompts takes the place of recordings in this language, and brings no other.
        if !tag.to_ascii_lowercase().starts_with(spoken) {
            output::complain(format_args!("there are no prompts in {tag} yet: the mailbox speaks {spoken}"));
        }
        Ok(tag)
    }

    /// The mailbox with this address.
    ///
    /// # Errors
    /// There is none, or one in each of several plans.
    pub(crate) async fn find(&self, store: &SqliteStore, plan: Option<&str>, text: &str) -> Result<Mailbox> {
        let plans = match plan {
            Some(plan) => vec![plan],
            None => self.config.dial_plans.iter().map(|plan| plan.name.as_str()).collect(),
        };
        let mut found: Vec<Mailbox> = Vec::new();
        for plan in &plans {
            let candidates = [self.as_called(plan, text), text.parse().ok()];
            for address in candidates.into_iter().flatten() {
                let mailbox = store.find_mailbox(&PlanName((*plan).to_owned()), &address).await.map_err(mend)?;
                found.extend(mailbox.filter(|mailbox| found.iter().all(|other| other.id != mailbox.id)));
            }
        }
        let named = |mailboxes: &[Mailbox]| mailboxes.iter().map(|m| m.plan.0.clone()).collect::<Vec<_>>().join(", ");
        match (found.len(), found.pop()) {
            (1, Some(mailbox)) => Ok(mailbox),
            (0, _) | (_, None) => {
                parse(text)?;
                bail!("no mailbox has {text} in {}: `postern mailbox list` shows all", within(&plans))
            }
            (_, Some(last)) => {
                found.push(last);
                bail!("{text} is an address in several dial plans: say which with --plan: {}", named(&found))
            }
        }
    }

    /// A mailbox with what it holds.
    ///
    /// # Errors
    /// It has gone, or the store cannot.
    pub(crate) async fn look(&self, store: &SqliteStore, id: MailboxId) -> Result<Listed> {
        let all = store.mailboxes().await.map_err(mend)?;
        all.into_iter().find(|listed| listed.mailbox.id == id).ok_or_else(|| mend(StoreError::Gone))
    }

    /// The form in which calls of the plan name the address.
    fn as_called(&self, plan: &str, text: &str) -> Option<Address> {
        self.rules.address_of_text(plan, text)?.parse().ok()
    }

    fn forms(&self, plan: &DialPlanConfig, address: Address, text: &str) -> Result<Vec<Address>> {
        let groups = self.config.hunt_groups.iter().filter(|group| group.dial_plan == plan.name);
        let mut pilots = plan.pilots.iter().chain(groups.map(|group| &group.pilot));
        if pilots.any(|pilot| self.as_called(&plan.name, pilot).as_ref() == Some(&address)) {
            bail!("{address} is a pilot of the dial plan {}, which no mailbox is reached by: choose another", plan.name)
        }
        match text.parse() {
            Ok(Address::E164(number)) if matches!(address, Address::Extension(_)) => {
                Ok(vec![address, Address::E164(number)])
            }
            _ => Ok(vec![address]),
        }
    }
}

fn within(plans: &[&str]) -> String {
    match plans {
        [] => "any dial plan, since the configuration has none (--plan names a former one)".into(),
        [plan] => format!("the dial plan {plan}"),
        _ => format!("the dial plans {}", plans.join(", ")),
    }
}

fn parse(text: &str) -> Result<Address> {
    text.parse().map_err(|error| anyhow!("{text:?} is no address of a mailbox: {error}"))
}

/// What the store could not, and what to do about it.
pub(crate) fn mend(error: StoreError) -> anyhow::Error {
    let remedy = match error {
        StoreError::DiskFull => "make room, and try again",
        StoreError::Busy => "others use it; try again",
        StoreError::Unavailable => "look whether its disk is well, and run this as the workers' user",
        StoreError::Gone => "somebody else has removed it",
        StoreError::Damaged => "restore it from a copy",
    };
    anyhow!("{error}: {remedy}")
}
