//! What a dial string comes to: whom to call, and through which gateways.

use postern_dialplan::{DialRefusal, DialTarget, Gateway, Rules};
use postern_slots::OrderTarget;
use postern_slots::limits::ORDER_GATEWAYS_MAX;

/// Judges a dial string by the rules of a plan. The gateways are those that calls of the plan may leave by, in file order.
///
/// # Errors
/// The rules do not let it be called.
pub(crate) fn judge(rules: &Rules, plan: &str, dialled: &str) -> Result<(OrderTarget, Vec<String>), DialRefusal> {
    let target = match rules.dial(plan, dialled)? {
        DialTarget::Number(number) => OrderTarget::Number(number),
        user @ DialTarget::User { .. } => OrderTarget::Uri(user.to_string()),
    };
    Ok((target, rules.outgoing(plan).map(Gateway::label).take(ORDER_GATEWAYS_MAX).collect()))
}
