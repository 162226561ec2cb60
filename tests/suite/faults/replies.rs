//! Writes whose reply or request is lost, or that are refused for a while: the end is that of an undisturbed run.

use anyhow::{Context as _, Result};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use super::life::{Case, at_each_write, ends_as, live};

/// Faults that hit each of the writes once, or several times.
const CASES: &[Case] = &[
    Case { name: "reply-lost", fault: |write| write.first(1).cut_after_effect() },
    Case { name: "request-lost", fault: |write| write.first(1).cut_before_effect() },
    Case { name: "second-reply-lost", fault: |write| write.nth(2).cut_after_effect() },
    Case { name: "conflicts", fault: |write| write.first(2).answer(409, "Conflict") },
    Case { name: "errors", fault: |write| write.first(3).answer(500, "InternalError") },
    Case { name: "unavailable", fault: |write| write.first(3).answer(503, "ServiceUnavailable") },
    Case {
        name: "too-many",
        fault: |write| write.first(1).answer_with_retry_after(429, "TooManyRequests", 1),
    },
];

#[test]
fn a_write_that_is_lost_or_refused_ends_as_if_it_had_not_been() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let tenant = world.tenant();
        let proxies = [tenant.host_proxy()?, tenant.virtual_proxy()?];
        tenant.start_syncer().await?;
        let undisturbed = live(&world, "undisturbed").await?;
        for Case { name, fault } in CASES {
            let faults = at_each_write(proxies, fault);
            let disturbed = live(&world, name).await.context(*name)?;
            ends_as(&undisturbed, &disturbed, &faults).context(*name)?;
            for proxy in proxies {
                proxy.clear();
            }
        }
        Ok(())
    })
}
