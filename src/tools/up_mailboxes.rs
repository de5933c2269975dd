//! The mailboxes of `postern up`.

use anyhow::{Context, Result, anyhow};
use postern_config::Config;
use postern_mailbox::{GreetingInUse, MailboxId, OwnQuota, Pin, PlanName};
use postern_store::{MailSettings, NewMailbox, SqliteStore};

use crate::mailbox_pin;
use crate::up_premises::PLAN;

/// Whose they are.
const OWNERS: [(&str, &str); 2] = [("1001", "Alice Ng"), ("1002", "Bob Okafor")];

/// A mailbox and how its owner opens it.
pub(crate) struct Mailbox {
    pub(crate) number: &'static str,
    pub(crate) name: &'static str,
    pub(crate) pin: Pin,
    /// Sets the password of the page, once.
    pub(crate) link: String,
}

/// Adds both mailboxes, each with a PIN of its own that need not be changed, and a link to set the password of the page.
///
/// # Errors
/// The store cannot be opened or written to.
pub(crate) async fn add(config: &Config) -> Result<Vec<Mailbox>> {
    let settings = config.mailbox.as_ref().context("the embedded configuration has no [mailbox]")?;
    let web = config.web.as_ref().context("the embedded configuration has no [web]")?;
    let (store, _) = SqliteStore::open(postern_worker::store_options(settings)?).await?;
    let mut mailboxes = Vec::new();
    for (number, name) in OWNERS {
        let mailbox = postern_mailbox::Mailbox {
            // The store gives it one of its own.
            id: MailboxId::from_bytes([0; 16]),
            plan: PlanName(PLAN.into()),
            addresses: vec![number.parse().map_err(|_| anyhow!("{number} is no mailbox number"))?],
            name: name.into(),
            language: "en".into(),
            time_zone: jiff::tz::TimeZone::UTC,
            operator: None,
            quota: OwnQuota::default(),
            greeting: GreetingInUse::Standard,
            recorded: Vec::new(),
        };
        let pin = mailbox_pin::choose(None, &postern_worker::pin_policy(settings), &mailbox)?.pin;
        let new = NewMailbox {
            plan: mailbox.plan,
            addresses: mailbox.addresses,
            name: mailbox.name,
            language: mailbox.language,
            time_zone: "UTC".into(),
            operator: mailbox.operator,
            quota: mailbox.quota,
            mail: MailSettings::default(),
            pin: pin.clone(),
            must_change: false,
        };
        let id = store.add_mailbox(new).await?;
        let token = store.make_link(id, jiff::Timestamp::now()).await?;
        let link = format!("{}/#/link/{}", web.url, token.reveal());
        mailboxes.push(Mailbox { number, name, pin, link });
    }
    Ok(mailboxes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::up_ports;
    use crate::up_premises::Premises;

    #[tokio::test]
    async fn two_mailboxes_have_pins_and_links_of_their_own() {
        let scratch = Scratch::new().unwrap();
        let premises = Premises::make(scratch.path(), scratch.path(), up_ports::standard(), "warn").unwrap();
        let mailboxes = add(&premises.loaded.config).await.unwrap();
        assert_eq!(mailboxes.iter().map(|mailbox| mailbox.number).collect::<Vec<_>>(), ["1001", "1002"]);
        assert_ne!(mailboxes[0].pin.digits(), mailboxes[1].pin.digits());
        assert_ne!(mailboxes[0].link, mailboxes[1].link);
    }
}
