//! The UM services as they last said they are, and which of them a call is offered to.

use postern_config::{SipTarget, SipTransport};
use postern_dialplan::{Refusal, ServiceStatus};
use postern_sip::SipUri;

/// How a UM service is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It has not been asked yet.
    #[default]
    Unknown,
    /// It answered OPTIONS.
    Healthy(ServiceStatus),
    /// It answered that it takes no calls.
    Refusing,
    /// It did not answer.
    Dead,
}

/// A UM service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) target: SipTarget,
    pub(crate) condition: Condition,
    /// Calls offered to it since it last said how many it could take.
    offered: u32,
}

/// All of them, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Services {
    list: Vec<Service>,
}

impl Services {
    pub(crate) fn new(targets: &[SipTarget]) -> Self {
        let service =
            |target: &SipTarget| Service { target: target.clone(), condition: Condition::Unknown, offered: 0 };
        Self { list: targets.iter().map(service).collect() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Service> {
        self.list.iter()
    }

    /// Takes other targets in; those that stay keep their condition.
    pub(crate) fn set_targets(&mut self, targets: &[SipTarget]) {
        let known = std::mem::take(self);
        *self = Self::new(targets);
        for service in &mut self.list {
            if let Some(before) = known.list.iter().find(|before| before.target == service.target) {
                service.condition = before.condition.clone();
            }
        }
    }

    /// Notes how the service at `target` is. What it was before, unless it is the same but for its calls.
    pub(crate) fn note(&mut self, target: &SipTarget, condition: Condition) -> Option<Condition> {
        let service = self.list.iter_mut().find(|service| service.target == *target)?;
        service.offered = 0;
        let before = std::mem::replace(&mut service.condition, condition);
        let same = std::mem::discriminant(&before) == std::mem::discriminant(&service.condition);
        (!same).then_some(before)
    }

    /// Whether a call over `transport` could go anywhere.
    pub(crate) fn any_healthy(&self, transport: SipTransport) -> bool {
        self.list.iter().any(|service| service.healthy_over(transport).is_some())
    }

    /// Up to `count_max` places for a call over `transport`, that of the service with most free calls first; `place_of`
    /// tells a service's. The first one's free calls count one less until it says how many they are.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when none is healthy with a place, [`Refusal::Full`] when none of those has free calls.
    pub(crate) fn choose(
        &mut self,
        transport: SipTransport,
        count_max: usize,
        place_of: impl Fn(&SipTarget, &ServiceStatus) -> Option<SipUri>,
    ) -> Result<Vec<SipUri>, Refusal> {
        let with_place = self.list.iter_mut().filter_map(|service| {
            let status = service.healthy_over(transport)?;
            let (place, free) = (place_of(&service.target, status)?, status.free_calls);
            Some((service, place, free))
        });
        let mut chosen: Vec<(&mut Service, SipUri, u32)> = with_place.collect();
        if chosen.is_empty() {
            return Err(Refusal::Unavailable);
        }
        chosen.retain(|(_, _, free)| *free > 0);
        chosen.sort_by_key(|(service, _, free)| std::cmp::Reverse(free.saturating_sub(service.offered)));
        let (first, ..) = chosen.first_mut().ok_or(Refusal::Full)?;
        first.offered = first.offered.saturating_add(1);
        Ok(chosen.into_iter().map(|(_, place, _)| place).take(count_max.max(1)).collect())
    }
}

impl Service {
    fn healthy_over(&self, transport: SipTransport) -> Option<&ServiceStatus> {
        match &self.condition {
            Condition::Healthy(status) if self.target.transport == transport => Some(status),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::uri_of;

    fn target(port: u16, transport: SipTransport) -> SipTarget {
        SipTarget { host: "um.example.test".into(), port: Some(port), transport }
    }

    fn healthy(free_calls: u32) -> Condition {
        Condition::Healthy(ServiceStatus { free_calls, workers: Vec::new() })
    }

    fn ports(services: &mut Services, transport: SipTransport, count_max: usize) -> Result<Vec<u16>, Refusal> {
        let chosen = services.choose(transport, count_max, |target, _| uri_of(target))?;
        Ok(chosen.iter().filter_map(|place| place.port).collect())
    }

    fn three() -> (Services, [SipTarget; 3]) {
        let targets = [1, 2, 3].map(|port| target(port, SipTransport::Tcp));
        let mut services = Services::new(&targets);
        for (target, free) in targets.iter().zip([5, 50, 20]) {
            services.note(target, healthy(free));
        }
        (services, targets)
    }

    #[test]
    fn the_services_with_most_free_calls_come_first() {
        let (mut services, targets) = three();
        assert_eq!(ports(&mut services, SipTransport::Tcp, 4), Ok(vec![2, 3, 1]));
        assert_eq!(ports(&mut services, SipTransport::Tcp, 2), Ok(vec![2, 3]));
        services.note(&targets[1], Condition::Dead);
        assert_eq!(ports(&mut services, SipTransport::Tcp, 4), Ok(vec![3, 1]));
    }

    #[test]
    fn a_service_without_a_place_leaves_its_rank_to_the_next_one() {
        let (mut services, _) = three();
        let place_of = |target: &SipTarget, _: &ServiceStatus| uri_of(target).filter(|place| place.port != Some(2));
        let chosen = services.choose(SipTransport::Tcp, 2, place_of).expect("two have a place");
        assert_eq!(chosen.iter().filter_map(|place| place.port).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(services.choose(SipTransport::Tcp, 2, |_, _| None), Err(Refusal::Unavailable));
    }

    #[test]
    fn one_over_tcp_is_no_health_over_tls() {
        let (services, _) = three();
        assert!(services.any_healthy(SipTransport::Tcp) && !services.any_healthy(SipTransport::Tls));
    }

    #[test]
    fn calls_offered_between_two_answers_spread() {
        let (mut services, targets) = three();
        services.note(&targets[1], healthy(21));
        let firsts: Vec<u16> =
            (0..4).map(|_| ports(&mut services, SipTransport::Tcp, 1).expect("some are free")[0]).collect();
        assert_eq!(firsts, [2, 2, 3, 2]);
        services.note(&targets[1], healthy(21));
        assert_eq!(ports(&mut services, SipTransport::Tcp, 1), Ok(vec![2]));
    }

    #[test]
    fn a_call_keeps_its_transport_or_is_not_taken() {
        let (mut services, _) = three();
        assert_eq!(ports(&mut services, SipTransport::Tls, 4), Err(Refusal::Unavailable));
    }

    #[test]
    fn services_without_free_calls_are_left_out_and_all_of_them_are_busy() {
        let (mut services, targets) = three();
        services.note(&targets[1], healthy(0));
        assert_eq!(ports(&mut services, SipTransport::Tcp, 4), Ok(vec![3, 1]));
        for target in &targets {
            services.note(target, healthy(0));
        }
        assert_eq!(ports(&mut services, SipTransport::Tcp, 4), Err(Refusal::Full));
        for target in &targets {
            services.note(target, Condition::Refusing);
        }
        assert_eq!(ports(&mut services, SipTransport::Tcp, 4), Err(Refusal::Unavailable));
    }

    #[test]
    fn more_offers_than_calls_still_leave_a_choice() {
        let (mut services, _) = three();
        for _ in 0..1000 {
            assert_eq!(ports(&mut services, SipTransport::Tcp, 4).map(|ports| ports.len()), Ok(3));
        }
    }

    #[test]
    fn only_a_change_of_condition_is_news() {
        let (mut services, targets) = three();
        assert_eq!(services.note(&targets[0], healthy(4)), None);
        assert_eq!(services.note(&targets[0], Condition::Dead), Some(healthy(4)));
        assert_eq!(services.note(&target(9, SipTransport::Tcp), Condition::Dead), None);
    }

    #[test]
    fn services_that_stay_keep_their_condition() {
        let (mut services, targets) = three();
        services.set_targets(&[targets[2].clone(), target(9, SipTransport::Tcp)]);
        assert_eq!(ports(&mut services, SipTransport::Tcp, 4), Ok(vec![3]));
    }
}
