//! A syncer that may open no more files, and so no connections: it lives, says so, and goes on once it may.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::process::Process;
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use super::health::becomes_ready;
use crate::planes::both::Both;

/// Less than a program has open that does nothing.
const NONE: u32 = 3;
const MANY: u32 = 1024;
/// What a syncer that tries again and again without a pause writes in a second.
const ENDLESS: usize = 1000;

/// How many files a process may have open from now on; those that are open stay.
fn limit(process: &Process, files: u32) -> Result<()> {
    let (pid, files) = (process.pid().to_string(), format!("--nofile={files}:"));
    let status = Command::new("prlimit").args(["--pid", &pid, &files]).status()?;
    ensure!(status.success(), "prlimit: {status}");
    Ok(())
}

#[test]
fn a_syncer_that_may_open_no_file_lives_and_goes_on_once_it_may() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        tenant.start_syncer().await?;
        let syncer = tenant.syncer()?;
        both.create_pod("before", json!({})).await?;
        both.runs("before").await?;

        limit(&syncer, NONE)?;
        for proxy in [tenant.host_proxy()?, tenant.virtual_proxy()?] {
            proxy.cut_connections();
        }
        both.create_pod("after", json!({})).await?;
        both.delete::<Pod>("before").await?;
        eventually("the log says why no server is reached", SOON, async || {
            let log = fs::read_to_string(tenant.syncer_log())?;
            for side in ["host", "virtual"] {
                let says = |line: &str| line.contains(side) && line.contains("Too many open files");
                ensure!(log.lines().any(says), "nothing of the {side} API server");
            }
            Ok(())
        })
        .await?;
        syncer.check()?;
        let lines = fs::read_to_string(tenant.syncer_log())?.lines().count();
        ensure!(lines < ENDLESS, "the log has {lines} lines");

        limit(&syncer, MANY)?;
        both.runs("after").await?;
        both.gone::<Pod>("before").await?;
        syncer.check()?;
        becomes_ready(tenant).await
    })
}
