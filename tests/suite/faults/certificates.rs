//! Certificates of the API servers that change, expire or are another's: it is reported why, and heals without a restart.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::fault_proxy::FaultProxy;
use weft_tests::pki::Pki;
use weft_tests::process::tail;
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use super::health::{becomes_ready, is_not_ready};
use crate::planes::both::Both;

/// What the name in a certificate is worth: nobody checks it.
const NAME: &str = "kube-apiserver";

/// Has both servers show what is wrong with their certificates, to connections that are opened from now on.
fn show_wrong([host, inner]: [&FaultProxy; 2], own: &Pki, other: &Pki) -> Result<()> {
    host.show_certificate(&own.expired_server(NAME)?)?;
    inner.show_certificate(&other.server(NAME, &["127.0.0.1"])?)?;
    for proxy in [host, inner] {
        proxy.cut_connections();
    }
    Ok(())
}

#[test]
fn certificates_that_are_wrong_are_reported_and_those_that_are_replaced_are_trusted() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let proxies = [tenant.host_proxy()?, tenant.virtual_proxy()?];
        let own = [tenant.host_plane().pki(), tenant.virtual_plane().pki()];
        let other = Pki::create(&world.dir().join("other-pki"), Ipv4Addr::LOCALHOST)?;
        tenant.start_syncer().await?;

        show_wrong(proxies, own[0], &other)?;
        let words = ["the host API server", "expired", "the virtual API server", "BadSignature"];
        is_not_ready(tenant, &words).await?;
        for (proxy, own) in proxies.into_iter().zip(own) {
            // It is that of another machine.
            proxy.show_certificate(&own.server(NAME, &["192.0.2.1"])?)?;
            proxy.cut_connections();
        }
        is_not_ready(tenant, &["the host API server", "192.0.2.1", "the virtual API server"]).await?;
        for (proxy, own) in proxies.into_iter().zip(own) {
            proxy.show_certificate(&own.server(NAME, &["127.0.0.1"])?)?;
        }
        becomes_ready(tenant).await?;
        both.create_pod("renewed", json!({})).await?;
        both.runs("renewed").await?;

        for proxy in proxies {
            proxy.change_authority(&other)?;
            proxy.cut_connections();
        }
        both.delete::<Pod>("renewed").await?;
        both.gone::<Pod>("renewed").await?;
        becomes_ready(tenant).await?;

        tenant.stop_syncer().await?;
        show_wrong(proxies, &other, own[1])?;
        tenant.launch_syncer()?;
        eventually("the log says what is wrong", SOON, async || {
            let log = tail(&tenant.syncer_log());
            ensure!(log.contains("expired") && log.contains("BadSignature"), "{log}");
            Ok(())
        })
        .await?;
        for proxy in proxies {
            proxy.change_authority(&other)?;
        }
        tenant.syncer_ready().await
    })
}
