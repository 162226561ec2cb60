//! Plugins are loaded, replaced and removed while the syncer runs, and no object is lost.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::ListParams;
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::guests::rust;
use weft_tests::shared::{in_own_world, in_shared_world};
use weft_tests::tenant::Tenant;
use weft_tests::world::{Options, World};

use super::both::{Both, at, text};
use super::place::Place;
use crate::plugins::unloadable;

/// A tenant whose syncer takes plugins from a folder.
struct Workshop {
    tenant: Tenant,
    both: Both,
    folder: PathBuf,
}

impl Workshop {
    /// A cluster of this name with an empty folder of plugins.
    async fn open(world: &World, cluster: &str, grants: &str) -> Result<Self> {
        let folder = world.dir().join(format!("{cluster}.plugins"));
        fs::create_dir_all(&folder)?;
        let config = json!({"plugins": {"folder": folder, "grants": grants}});
        let tenant = world.another_tenant(cluster, cluster, &config).await?;
        Place::fresh(&tenant, "work").await?;
        let both = Both::of_tenant(&tenant, "work").await?;
        Ok(Self { tenant, both, folder })
    }

    /// Writes the entry of a plugin, as an operator who edits the configuration.
    fn configure(&self, grants: &str, load: &Value) -> Result<()> {
        self.tenant.configure(&json!({"plugins": {"folder": self.folder, "grants": grants, "load": load}}))
    }

    /// Replaces a file, as compilers do.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let part = self.folder.join(format!(".{name}.part"));
        fs::write(&part, bytes)?;
        Ok(fs::rename(part, self.folder.join(format!("{name}.wasm")))?)
    }

    /// Waits until the pod on the host has this team.
    async fn has_team(&self, pod: &str, team: Option<&str>) -> Result<()> {
        eventually(&format!("the host pod of {pod} has the team {team:?}"), SOON, async || {
            let host = self.both.host::<Pod>(pod).await?;
            let found = host.pointer("/metadata/labels/team").and_then(Value::as_str);
            ensure!(found == team, "it has {found:?}");
            Ok(())
        })
        .await
    }

    /// What the syncer reports of a plugin.
    async fn shown(&self, name: &str) -> Result<Value> {
        let plugins: Value = serde_json::from_str(&self.tenant.probe("/plugins").await?)?;
        let plugins = plugins.as_array().context("a list of plugins")?;
        Ok(plugins.iter().find(|plugin| text(plugin, "/name") == name).cloned().unwrap_or_default())
    }

    /// Waits until the syncer says this of why a plugin's file is not called.
    async fn is_refused(&self, name: &str, words: &[&str]) -> Result<()> {
        eventually(&format!("{name} is refused with {words:?}"), SOON, async || {
            let shown = self.shown(name).await?;
            let problem = text(&shown, "/problem");
            ensure!(words.iter().all(|word| problem.contains(word)), "{shown}");
            Ok(())
        })
        .await
    }
}

fn team(name: &str) -> Value {
    json!({"team-label": {"settings": {"team": name}}})
}

#[test]
fn a_plugin_is_loaded_replaced_and_removed_while_the_syncer_runs() -> Result<()> {
    in_shared_world(async |world, _| {
        let shop = Workshop::open(world, "reload", "requested").await?;
        shop.both.create_pod("web", json!({})).await?;
        shop.both.runs("web").await?;
        let first = shop.both.host::<Pod>("web").await?;

        shop.configure("requested", &team("red"))?;
        let component = rust::example("rust-team-label").await?;
        shop.put("team-label", &component)?;
        shop.has_team("web", Some("red")).await?;

        // New settings, the same file.
        shop.configure("requested", &team("blue"))?;
        shop.has_team("web", Some("blue")).await?;

        // An edit.
        let edited = world.dir().join("edited");
        rust::edited(
            "rust-team-label",
            &edited,
            r#"set_label("team", &self.team)"#,
            r#"set_label("team", &format!("the-{}", self.team))"#,
        )?;
        shop.put("team-label", &rust::component(&edited).await?)?;
        shop.has_team("web", Some("the-blue")).await?;

        // Half a file, then another file: the loaded version stays, and the error is reported.
        let half = component.get(..component.len() / 2).unwrap_or_default();
        fs::write(shop.folder.join("team-label.wasm"), half)?;
        shop.is_refused("team-label", &["cannot be compiled"]).await?;
        fs::write(shop.folder.join("team-label.wasm"), "no component at all")?;
        shop.is_refused("team-label", &["not a WebAssembly file"]).await?;
        shop.both.create_pod("later", json!({})).await?;
        shop.has_team("later", Some("the-blue")).await?;

        // The kind goes back to the core.
        fs::remove_file(shop.folder.join("team-label.wasm"))?;
        shop.has_team("web", None).await?;
        shop.has_team("later", None).await?;
        let last = shop.both.host::<Pod>("web").await?;
        ensure!(at(&first, "/metadata/uid") == at(&last, "/metadata/uid"), "the pod was made again");

        let events = shop.both.host_api::<Event>().list(&ListParams::default()).await?;
        let reasons: BTreeSet<_> = events.into_iter().filter_map(|event| event.reason).collect();
        for reason in ["PluginLoaded", "PluginRefused", "PluginRemoved"] {
            ensure!(reasons.contains(reason), "no event says {reason}: {reasons:?}");
        }
        let metrics = shop.tenant.probe("/metrics").await?;
        for line in [r#"plugin_reloads_total{plugin="team-label",result="loaded"} 3"#, r#"verdict="apply""#] {
            ensure!(metrics.contains(line), "the metrics lack {line}:\n{metrics}");
        }
        Ok(())
    })
}

#[test]
fn a_file_that_is_not_a_plugin_leaves_the_previous_one_loaded() -> Result<()> {
    let files = unloadable::files()?;
    in_shared_world(async |world, _| {
        let shop = Workshop::open(world, "unloadable", "requested").await?;
        shop.configure("requested", &team("red"))?;
        let component = rust::example("rust-team-label").await?;
        shop.put("team-label", &component)?;
        shop.both.create_pod("web", json!({})).await?;
        shop.has_team("web", Some("red")).await?;
        for (number, file) in files.iter().enumerate() {
            shop.put("team-label", &file.bytes)?;
            shop.is_refused("team-label", file.words).await.context(file.title)?;
            // The loaded version stays, for new objects too.
            let pod = format!("pod-{number}");
            shop.both.create_pod(&pod, json!({})).await?;
            shop.has_team(&pod, Some("red")).await.context(file.title)?;
        }
        shop.put("team-label", &component)?;
        eventually("the good one is taken again", SOON, async || {
            let shown = shop.shown("team-label").await?;
            ensure!(text(&shown, "/problem").is_empty(), "{shown}");
            Ok(())
        })
        .await
    })
}

#[test]
fn settings_beside_a_component_are_loaded_in_development() -> Result<()> {
    in_shared_world(async |world, _| {
        let shop = Workshop::open(world, "settings", "requested").await?;
        let settings = shop.folder.join("team-label.settings.yaml");
        fs::write(&settings, "team: red\n")?;
        shop.put("team-label", &rust::example("rust-team-label").await?)?;
        shop.both.create_pod("web", json!({})).await?;
        shop.has_team("web", Some("red")).await?;
        fs::write(&settings, "team: blue\n")?;
        shop.has_team("web", Some("blue")).await?;

        for (text, words) in
            [("team: [", ["team-label.settings.yaml", "YAML"]), ("team: 7", ["settings", "team"])]
        {
            fs::write(&settings, text)?;
            shop.is_refused("team-label", &words).await?;
        }
        shop.both.create_pod("later", json!({})).await?;
        shop.has_team("later", Some("blue")).await?;

        // What the configuration says goes before it.
        shop.configure("requested", &team("green"))?;
        shop.has_team("web", Some("green")).await?;
        // And where it speaks of a plugin without a file, pods do not wait for one.
        let absent =
            json!({"teem-label": {"kinds": ["v1/Pod"]}, "team-label": {"settings": {"team": "green"}}});
        shop.configure("requested", &absent)?;
        shop.is_refused("teem-label", &["no file", "is team-label.wasm meant?"]).await?;
        shop.both.create_pod("last", json!({})).await?;
        shop.has_team("last", Some("green")).await
    })
}

#[test]
fn a_version_that_fails_on_its_first_objects_is_rolled_back() -> Result<()> {
    in_shared_world(async |world, _| {
        let shop = Workshop::open(world, "failing", "requested").await?;
        shop.configure("requested", &team("red"))?;
        shop.put("team-label", &rust::example("rust-team-label").await?)?;
        let pods: Vec<String> = (0..8).map(|number| format!("pod-{number}")).collect();
        for pod in &pods {
            shop.both.create_pod(pod, json!({})).await?;
            shop.has_team(pod, Some("red")).await?;
        }
        let edited = world.dir().join("panicking");
        rust::edited(
            "rust-team-label",
            &edited,
            r#"set_label("team", &self.team)"#,
            r#"set_label("team", &self.team[99..])"#,
        )?;
        shop.put("team-label", &rust::component(&edited).await?)?;
        let words = ["failed on its first objects", "PluginTrapped"];
        shop.is_refused("team-label", &words).await?;
        // The same is reported after the folder has been read again.
        shop.put("another", b"no component")?;
        shop.is_refused("another", &["not a WebAssembly file"]).await?;
        shop.is_refused("team-label", &words).await?;
        shop.both.create_pod("later", json!({})).await?;
        shop.has_team("later", Some("red")).await?;

        // The same version with other settings is another try.
        shop.configure("requested", &team("blue"))?;
        shop.has_team("later", Some("red")).await?;
        shop.put("team-label", &rust::example("rust-team-label").await?)?;
        shop.has_team("later", Some("blue")).await?;
        let events = shop.both.host_api::<Event>().list(&ListParams::default()).await?;
        let mut rollbacks = events.iter().filter(|event| event.reason.as_deref() == Some("PluginRolledBack"));
        ensure!(rollbacks.next().is_some(), "no event reports it");
        Ok(())
    })
}

#[test]
fn a_mounted_folder_whose_link_is_swapped_is_reloaded() -> Result<()> {
    in_shared_world(async |world, _| {
        let shop = Workshop::open(world, "mounted", "requested").await?;
        shop.configure("requested", &team("red"))?;
        let component = rust::example("rust-team-label").await?;
        // As the kubelet lays out a ConfigMap: `name -> ..data/name`, `..data -> ..<time>`.
        for (version, bytes) in [("..1", b"not yet".as_slice()), ("..2", component.as_slice())] {
            fs::create_dir(shop.folder.join(version))?;
            fs::write(shop.folder.join(version).join("team-label.wasm"), bytes)?;
        }
        symlink("..1", shop.folder.join("..data"))?;
        symlink("..data/team-label.wasm", shop.folder.join("team-label.wasm"))?;
        shop.is_refused("team-label", &["not a WebAssembly file"]).await?;
        symlink("..2", shop.folder.join("..data_tmp"))?;
        fs::rename(shop.folder.join("..data_tmp"), shop.folder.join("..data"))?;
        shop.both.create_pod("web", json!({})).await?;
        shop.has_team("web", Some("red")).await
    })
}

#[test]
fn no_object_is_lost_while_versions_change() -> Result<()> {
    in_shared_world(async |world, _| {
        const OBJECTS: usize = 60;
        let shop = Workshop::open(world, "swapped", "requested").await?;
        let teams = ["t0", "t1", "t2", "t3", "t4", "t5"];
        shop.configure("requested", &team("t0"))?;
        shop.put("team-label", &rust::example("rust-team-label").await?)?;
        eventually("the plugin is loaded", SOON, async || {
            let shown = shop.shown("team-label").await?;
            ensure!(!text(&shown, "/version").is_empty(), "{shown}");
            Ok(())
        })
        .await?;
        for number in 0..OBJECTS {
            if number % (OBJECTS / teams.len()) == 0 {
                let name = teams.get(number * teams.len() / OBJECTS).context("a team for each part")?;
                shop.configure("requested", &team(name))?;
            }
            shop.both.create_pod(&format!("pod-{number}"), json!({})).await?;
            let seen = shop.both.find_host::<Pod>(&format!("pod-{number}")).await?;
            let labels = seen.as_ref().map(|pod| text(pod, "/metadata/labels/team"));
            ensure!(
                labels.is_none_or(|team| teams.contains(&team)),
                "pod-{number} came without a team: {labels:?}"
            );
        }
        for number in 0..OBJECTS {
            shop.has_team(&format!("pod-{number}"), Some("t5")).await?;
        }
        Ok(())
    })
}

#[test]
fn two_owners_of_a_kind_are_refused_with_both_names() -> Result<()> {
    in_shared_world(async |world, _| {
        let shop = Workshop::open(world, "owners", "requested").await?;
        shop.put("ingress", &rust::plugin("ingress").await?)?;
        eventually("the first one is loaded", SOON, async || {
            let shown = shop.shown("ingress").await?;
            ensure!(!text(&shown, "/version").is_empty(), "{shown}");
            Ok(())
        })
        .await?;
        let edited = world.dir().join("second-owner");
        rust::edited(
            "rust-team-label",
            &edited,
            r#"Mapping::mutate("v1", "Pod", "pods", 200)"#,
            r#"Mapping::add("networking.k8s.io/v1", "Ingress", "ingresses")"#,
        )?;
        shop.configure("requested", &team("red"))?;
        shop.put("team-label", &rust::component(&edited).await?)?;
        shop.is_refused(
            "team-label",
            &["networking.k8s.io/v1/Ingress", "plugin ingress", "plugin team-label"],
        )
        .await
    })
}

#[test]
fn objects_of_a_missing_plugin_follow_its_failure_policy() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?).await?;
        let folder = world.dir().join("plugins");
        fs::create_dir_all(&folder)?;
        let entry = |on_failure: &str| {
            json!({"plugins": {"folder": folder, "load": {"team-label": {
                "kinds": ["v1/Pod"], "settings": {"team": "red"}, "onFailure": on_failure,
            }}}})
        };
        let tenant = world.tenant();
        tenant.configure(&entry("hold"))?;
        tenant.launch_syncer()?;
        eventually("it is not ready because of the plugin", SOON, async || {
            let reason = tenant.probe("/readyz").await.err().context("it is ready")?.to_string();
            ensure!(reason.contains("objects wait for the plugin team-label"), "{reason}");
            Ok(())
        })
        .await?;
        Place::fresh(tenant, "work").await?;
        let both = Both::of_tenant(tenant, "work").await?;
        both.create::<ConfigMap>(json!({"metadata": {"name": "settings"}})).await?;
        both.create_pod("web", json!({})).await?;
        eventually("the pod says what it waits for", SOON, async || {
            let events = both.virtual_api::<Event>().list(&ListParams::default()).await?;
            let mut reasons = events.items.iter().filter_map(|event| event.reason.as_deref());
            ensure!(reasons.any(|reason| reason == "PluginNotLoaded"), "{:?}", events.items);
            Ok(())
        })
        .await?;
        ensure!(both.find_host::<Pod>("web").await?.is_none(), "it went to the host without the plugin");

        fs::write(folder.join("team-label.wasm"), rust::example("rust-team-label").await?)?;
        let host = both.arrives::<Pod>("web").await?;
        ensure!(text(&host, "/metadata/labels/team") == "red", "{host}");
        tenant.syncer_ready().await?;

        // A missing file does not remove the plugin: its entry in the configuration requires it.
        fs::remove_file(folder.join("team-label.wasm"))?;
        both.create_pod("later", json!({})).await?;
        let host = both.arrives::<Pod>("later").await?;
        ensure!(text(&host, "/metadata/labels/team") == "red", "{host}");

        tenant.stop_syncer().await?;
        tenant.configure(&entry("core"))?;
        tenant.start_syncer().await?;
        both.create_pod("without", json!({})).await?;
        let host = both.arrives::<Pod>("without").await?;
        ensure!(at(&host, "/metadata/labels/team").is_null(), "{host}");
        Ok(())
    })
}
