//! The address of the host leads to another cluster, which has none of our pods: nothing of the virtual cluster is lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::json;
use weft_tests::eventually::{SOON, always, eventually};
use weft_tests::fault_proxy::{deletes, watches};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use crate::planes::both::{Both, at, uid};

/// Longer than the syncer takes to list everything anew, and to act on it.
const LONG_ENOUGH: Duration = Duration::from_secs(20);
/// So few that no second reading is asked for.
const PODS: usize = 3;

#[test]
fn an_address_that_leads_to_another_host_deletes_nothing_and_heals() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let tenant = world.tenant();
        tenant.start_syncer().await?;
        let both = Both::of(&world, "default").await?;
        both.create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"a": "1"}})).await?;
        let names: Vec<String> = (0..PODS).map(|number| format!("web-{number}")).collect();
        for name in &names {
            let volumes = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
            both.create_pod(name, json!({"volumes": volumes})).await?;
        }
        for name in &names {
            both.runs(name).await?;
        }
        let before = both.get::<Pod>("web-0").await?;

        // An API server that has nothing of ours, and would take every write. It knows nothing of our versions either.
        let listed = tenant.host_proxy()?.rule(watches("pods").answer(410, "Expired"));
        tenant.host_proxy()?.redirect(tenant.virtual_plane().client().await?);
        listed.at_least(1).await?;
        eventually("it is not ready", SOON, async || {
            let why = tenant.probe("/readyz").await.err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(!why.is_empty(), "{why:?}");
            Ok(())
        })
        .await?;
        always("every virtual pod stays", LONG_ENOUGH, async || {
            for name in &names {
                let pod = both.get::<Pod>(name).await?;
                ensure!(at(&pod, "/metadata/deletionTimestamp").is_null(), "{name} is lost");
            }
            Ok(())
        })
        .await?;
        ensure!(tenant.virtual_proxy()?.count(&deletes("pods")) == 0, "a virtual pod was to be deleted");

        tenant.host_proxy()?.clear();
        tenant.host_proxy()?.redirect(world.host().client_as(&tenant.host_user()).await?);
        tenant.syncer_ready().await?;
        both.edit::<ConfigMap>("settings", json!({"data": {"a": "2"}})).await?;
        eventually("the host has the change", SOON, async || {
            let host = both.host::<ConfigMap>("settings").await?;
            ensure!(at(&host, "/data/a") == "2", "{host}");
            Ok(())
        })
        .await?;
        let after = both.get::<Pod>("web-0").await?;
        ensure!(uid(&before) == uid(&after), "the pod is another one");
        Ok(())
    })
}
