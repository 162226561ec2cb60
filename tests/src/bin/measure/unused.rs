//! What content costs that no pod uses, such as Helm's releases: peak memory and time of a restart beside it, against the
//! same without it.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::bench::Bench;
use crate::load::{self, Pace};
use crate::report::{Limit, Report, Row, say};
use crate::{settled, usage};

const OBJECTS: u32 = 300;
/// Of one object: the API takes 1 MiB.
const BYTES: usize = 950_000;
const MB: f64 = 1e6;

/// Restarts a syncer without and with content that no pod uses.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let (restart_without, peak_without) = restart(bench).await?;
    say(&format!("creating {OBJECTS} ConfigMaps of {BYTES} bytes"));
    let numbers: Vec<u32> = (0..OBJECTS).collect();
    load::run(Pace::Burst, &numbers, |number, _| {
        let (server, number) = (bench.r#virtual.clone(), *number);
        async move {
            let name = format!("unused-{number}");
            let object = json!({"metadata": {"name": name}, "data": {"content": content(&name)}});
            server.ensure("namespaces/default/configmaps", &object).await
        }
    })
    .await?;
    let (restart_with, peak_with) = restart(bench).await?;
    let at_most = |must, aim| vec![Limit::AtMost { must, aim }];
    report.add(Row {
        key: "unused_peak_mb",
        what: "more peak memory beside 285 MB that no pod uses, MB",
        values: vec![("value", (peak_with - peak_without) / MB)],
        pods: 0,
        limits: at_most(20.0, 5.0),
    });
    report.add(Row {
        key: "unused_restart_s",
        what: "restart beside 285 MB that no pod uses, s more",
        values: vec![("value", restart_with - restart_without)],
        pods: 0,
        limits: at_most(5.0, 0.5),
    });
    Ok(())
}

/// Seconds of a restart, and bytes that the syncer has taken at most since.
async fn restart(bench: &Bench) -> Result<(f64, f64)> {
    let took = settled::restarts(bench, 0).await?;
    Ok((took, f64::from(usage::peak(bench.syncer()?)?)))
}

/// Text that does not compress, as what is compressed already.
fn content(name: &str) -> String {
    let digests = (0_u32..).flat_map(|number| Sha256::digest(format!("{name} {number}")));
    STANDARD.encode(digests.take(BYTES / 4 * 3).collect::<Vec<u8>>())
}
