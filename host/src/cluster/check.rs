//! Checks of a virtual cluster, on the host side and through its own API server, all at once.

mod host_side;
mod virtual_side;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, join_all};
use k8s_openapi::api::apps::v1::StatefulSet;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use weft_core::causes::chain;

use crate::cluster::Place;
use crate::cluster::connection::Connection;
use crate::cluster::forward::{Target, listen, serve};
use crate::cluster::forwarder::server;
use crate::cluster::host::Host;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but somebody should look.
    Warning,
    /// It does not work.
    Error,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `host` or `virtual`.
    pub side: &'static str,
    /// What was checked.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What a check says of itself; its side and name are added.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    level: Level,
    message: String,
    hint: Option<String>,
}

impl Outcome {
    fn ok(message: impl Into<String>) -> Self {
        Self { level: Level::Ok, message: message.into(), hint: None }
    }

    fn warning(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Warning, message: message.into(), hint: Some(hint.into()) }
    }

    fn error(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Error, message: message.into(), hint: Some(hint.into()) }
    }
}

/// A check that is to be made.
type Check<'a> = (&'static str, &'static str, LocalBoxFuture<'a, Outcome>);

/// Makes all checks of the virtual cluster of `set`, beside each other. What has no answer at the deadline is an error.
pub async fn all(host: &Host, place: &Place, set: &StatefulSet, deadline: Instant) -> Vec<Finding> {
    let host_side = host_side::checks(host, place, set).into_iter().map(|check| limited(check, deadline));
    let (mut findings, through) = tokio::join!(join_all(host_side), virtual_side(host, place, deadline));
    findings.extend(through);
    findings
}

/// The checks through the virtual API server, on a forwarded port that lives as long as they do.
async fn virtual_side(host: &Host, place: &Place, deadline: Instant) -> Vec<Finding> {
    let checks = async {
        let connection = timeout_at(deadline, Connection::read(host, place)).await;
        let connection = connection.context("the host did not answer in time")??;
        let listener = listen(None).await?;
        let address = server(listener.local_addr()?.port());
        let client = connection.client(&connection.cluster_at(&address)).await?;
        let checks = virtual_side::checks(&client).into_iter().map(|check| limited(check, deadline));
        tokio::select! {
            findings = join_all(checks) => anyhow::Ok(findings),
            ended = serve(listener, Target::new(host, place.clone())) => {
                ended?;
                anyhow::bail!("{place} was deleted")
            }
        }
    };
    checks.await.unwrap_or_else(|error| {
        let hint = format!("`weft status {}` shows what it waits for", place.name);
        let outcome = Outcome::error(chain(error.as_ref()), hint);
        vec![finding("virtual", "connection", outcome)]
    })
}

async fn limited((side, check, outcome): Check<'_>, deadline: Instant) -> Finding {
    let late = || {
        let hint = format!(
            "the API server of the {side} cluster is slow or away; try again, or with more `--timeout`"
        );
        Outcome::error("no answer in time", hint)
    };
    let outcome = timeout_at(deadline, outcome).await.unwrap_or_else(|_| late());
    finding(side, check, outcome)
}

fn finding(side: &'static str, check: &'static str, outcome: Outcome) -> Finding {
    let Outcome { level, message, hint } = outcome;
    Finding { side, check, level, message, hint }
}

/// Names a check of one side.
fn named<'a>(
    side: &'static str,
    check: &'static str,
    outcome: impl Future<Output = Outcome> + 'a,
) -> Check<'a> {
    (side, check, outcome.boxed_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_check_that_gets_no_answer_is_an_error_with_a_hint() {
        let check = named("host", "API server", std::future::pending());
        let finding = limited(check, Instant::now()).await;
        assert_eq!((finding.level, finding.message.as_str()), (Level::Error, "no answer in time"));
        assert!(finding.hint.is_some());
    }
}
