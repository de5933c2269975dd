//! Gateways, dial plans, hunt groups and the choice of a mailbox: what router, UM service and worker judge alike.
