//! Writes whose reply or request is lost, or that are refused for a while: the end is that of an undisturbed run.

use anyhow::{Context as _, Result, ensure};
use weft_tests::fault_proxy::{Matcher, Rule};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use super::life::{at_each_write, live};

/// A fault that hits each of the writes once, or several times.
struct Case {
    name: &'static str,
    fault: fn(Matcher) -> Rule,
}

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
            for (now, before) in disturbed.iter().zip(&undisturbed) {
                ensure!(now == before, "{name}: the end is {now}, undisturbed it is {before}");
            }
            let happened = faults.iter().filter(|applied| applied.times() > 0).count();
            ensure!(
                happened >= faults.len() / 2,
                "{name}: only {happened} of {} faults happened",
                faults.len()
            );
            for proxy in proxies {
                proxy.clear();
            }
        }
        Ok(())
    })
}
