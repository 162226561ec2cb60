//! A syncer that is killed at a write, before or after it took effect, and started again: the end is that of an
//! undisturbed run.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context as _, Result};
use weft_tests::fault_proxy::Applied;
use weft_tests::shared::in_own_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::{Options, World};

use super::life::{Case, at_each_write, ends_as, live};

/// How often it is looked whether a write hangs.
const POLL: Duration = Duration::from_millis(20);

/// Which of the writes of a kind hangs until the syncer is killed.
const CASES: &[Case] = &[
    Case { name: "after-the-first", fault: |write| write.first(1).hang_after_effect() },
    Case { name: "before-the-first", fault: |write| write.first(1).hang_before_effect() },
    Case { name: "after-the-second", fault: |write| write.nth(2).hang_after_effect() },
];

/// Kills the syncer whenever a write hangs, and starts it again.
async fn kill_at(tenant: &Tenant, faults: &[Applied]) -> Result<Infallible> {
    loop {
        if faults.iter().any(|fault| fault.hanging() > 0) {
            tenant.kill_syncer()?;
            while faults.iter().any(|fault| fault.hanging() > 0) {
                tokio::time::sleep(POLL).await;
            }
            tenant.launch_syncer()?;
        }
        tokio::time::sleep(POLL).await;
    }
}

#[test]
fn a_syncer_that_is_killed_at_any_write_finishes_it_after_a_restart() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let tenant = world.tenant();
        let proxies = [tenant.host_proxy()?, tenant.virtual_proxy()?];
        tenant.start_syncer().await?;
        let undisturbed = live(&world, "undisturbed").await?;
        for Case { name, fault } in CASES {
            let faults = at_each_write(proxies, fault);
            let killed = tokio::select! {
                ended = live(&world, name) => ended.context(*name)?,
                Err(error) = kill_at(tenant, &faults) => return Err(error.context(*name)),
            };
            // The life may end while it is dead.
            if tenant.syncer().is_err() {
                tenant.launch_syncer()?;
            }
            ends_as(&undisturbed, &killed, &faults).context(*name)?;
            for proxy in proxies {
                proxy.clear();
            }
            tenant.syncer_ready().await?;
        }
        Ok(())
    })
}
