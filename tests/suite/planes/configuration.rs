//! A configuration that cannot be used ends the syncer with a message that says what to do, and one that changes is
//! applied as far as it can be.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;
use weft_tests::binaries;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::scratch::Scratch;
use weft_tests::shared::{in_runtime, in_shared_world};

use super::both::Both;

/// Runs the syncer with a configuration; gives what it says when it ends badly.
async fn refusal_of(config: &Value) -> Result<String> {
    let scratch = Scratch::new()?;
    let path = scratch.path().join("weft.yaml");
    fs::write(&path, config.to_string())?;
    fs::write(scratch.path().join("empty.kubeconfig"), "{}")?;
    fs::write(scratch.path().join("broken.kubeconfig"), "clusters: [")?;
    let weft = binaries::weft().await?;
    let mut command = Command::new(weft);
    command.current_dir(scratch.path()).args(["syncer", "--config"]).arg(&path).kill_on_drop(true);
    let output = command.env_remove("KUBERNETES_SERVICE_HOST").env_remove("KUBECONFIG").output().await?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(
        !output.status.success(),
        "it must end with a failure, but ended with {} and {said}",
        output.status
    );
    ensure!(!said.contains("panicked"), "{said}");
    Ok(said)
}

#[test]
fn a_syncer_that_cannot_be_configured_says_which_key_to_change() -> Result<()> {
    in_runtime(async {
        let cluster = json!({"name": "my-vcluster", "namespace": "team-a"});
        let health = json!({"listen": "127.0.0.1:0"});
        let r#virtual = json!({"kubeconfig": "virtual.kubeconfig"});
        let of =
            |host: Value| json!({"cluster": cluster, "health": health, "host": host, "virtual": r#virtual});
        for (config, expected) in [
            (json!({"cluster": cluster, "helth": health}), vec!["helth", "did you mean `health`?"]),
            (
                json!({"cluster": {"name": "a".repeat(25), "namespace": "team-a"}}),
                vec!["cluster.name", "1 to 24", "25"],
            ),
            (
                json!({"cluster": {"name": "My_Cluster", "namespace": "team-a"}}),
                vec!["cluster.name", "lower-case"],
            ),
            (json!({"cluster": {"name": "my-vcluster"}}), vec!["namespace"]),
            (json!({"cluster": cluster, "engine": {"workers": 0}}), vec!["engine.workers", "1 to 1000"]),
            (json!({"cluster": cluster, "engine": {"workers": "many"}}), vec!["workers"]),
            (of(json!({"kubeconfig": "nowhere.kubeconfig"})), vec!["nowhere.kubeconfig", "host.kubeconfig"]),
            (of(json!({"kubeconfig": "broken.kubeconfig"})), vec!["broken.kubeconfig", "host.kubeconfig"]),
            (of(json!({"kubeconfig": "empty.kubeconfig"})), vec!["empty.kubeconfig", "host.kubeconfig"]),
            (
                json!({"cluster": cluster, "health": health}),
                vec!["virtual.kubeconfig", "kubeconfig of the virtual API server"],
            ),
            (of(json!({})), vec!["host.kubeconfig", "service account"]),
        ] {
            let said = refusal_of(&config).await?;
            for word in expected {
                ensure!(said.contains(word), "for {config} the message must name {word:?}; it is:\n{said}");
            }
        }
        Ok(())
    })
}

#[test]
fn the_log_level_changes_while_the_syncer_runs_and_what_needs_a_restart_is_named() -> Result<()> {
    in_shared_world(async |world, _| {
        let tenant = world.another_tenant("relog", "relog", &json!({"log": {"level": "warn"}})).await?;
        let both = Both::of_tenant(&tenant, "default").await?;
        let logs = async |words: &[&str]| {
            eventually(&format!("the syncer logs {words:?}"), SOON, async || {
                let log = fs::read_to_string(tenant.syncer_log())?;
                ensure!(words.iter().all(|word| log.contains(word)), "it has logged:\n{log}");
                Ok(())
            })
            .await
        };
        let log = fs::read_to_string(tenant.syncer_log())?;
        ensure!(!log.contains("INFO"), "less than a warning is logged:\n{log}");

        tenant.configure(&json!({"log": {"level": "debug"}, "engine": {"workers": 7}}))?;
        logs(&["the log level is changed", "restart the syncer to apply `engine.workers`"]).await?;
        // Nothing but its level has changed: it works, and says more.
        both.create_pod("web", json!({})).await?;
        both.runs("web").await?;
        logs(&["DEBUG"]).await?;

        tenant.configure(&json!({"log": {"level": "weft=nonsense"}}))?;
        logs(&["the log level stays", "log.level"]).await
    })
}
