//! The misbehaving guest does its worst with two real API servers: what comes of each deed, as a table.

mod rows;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use weft_tests::eventually::eventually;
use weft_tests::guests::misbehaving::Guest;
use weft_tests::shared::in_shared_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::World;

use super::bomb;
use super::planes::{
    HEALED, actions, ensure_healthy, ensure_not_on_the_host, ensure_others_are_synced, plant, taking,
};
use crate::planes::place::{Place, pod, with};
use rows::{Deed, EDITS, EXCESSES, On};

/// What a syncer may take, whatever its plugins do.
const MOST: u64 = 200 * 1024;
/// So many failures in a row do not pause the plugin yet.
const AT_ONCE: usize = 4;

/// A file in the folder of plugins, its entry, and words of what the syncer says of it.
struct File {
    title: &'static str,
    name: &'static str,
    bytes: Vec<u8>,
    entry: Value,
    words: &'static [&'static str],
}

/// What is in the way when a file is loaded.
fn files() -> Result<Vec<File>> {
    let bytes = |guest: Guest| Ok::<_, anyhow::Error>(fs::read(super::bench::component(guest)?)?);
    let good = bytes(Guest::Obedient)?;
    let bomb = bomb::wide(&good);
    let pinned = json!({"digest": format!("sha256:{}", "0".repeat(64))});
    let file = |title, name, bytes, entry, words| File { title, name, bytes, entry, words };
    Ok(vec![
        file("a compile bomb, not the pinned file", "pinned", bomb.clone(), pinned, &["`digest` pins"]),
        file("a compile bomb", "bomb", bomb, json!({}), &["compiling it takes"]),
        file(
            "settings with a schema that never ends",
            "slow-schema",
            bytes(Guest::SlowSchema)?,
            json!({"settings": {"configure": "at ease"}}),
            &["applying its settings schema takes"],
        ),
        file("the file of another plugin", "other", good, json!({}), &["named \"guest\""]),
    ])
}

/// The tenant, and what was done to it.
struct Trial {
    tenant: Tenant,
    place: Place,
    folder: PathBuf,
    table: Vec<Outcome>,
}

/// A row of the table.
struct Outcome {
    section: &'static str,
    title: &'static str,
    /// What the tenant or the operator reads; an error if it is not what it must be.
    said: Result<String>,
}

impl Trial {
    async fn begin(world: &World, namespace: &str) -> Result<Self> {
        let folder = world.dir().join(format!("{namespace}.plugins"));
        fs::create_dir_all(&folder)?;
        fs::copy(Guest::Worst.component().await?, folder.join("guest.wasm"))?;
        let plugins = plugins(&folder, &[]);
        let tenant = world.another_tenant("trial", &format!("{namespace}-trial"), &plugins).await?;
        let place = plant(&tenant).await?;
        Ok(Self { tenant, place, folder, table: Vec::new() })
    }

    /// Does some deeds at a time, and looks after the others then.
    async fn all(&mut self, section: &'static str, deeds: &[Deed]) -> Result<()> {
        for (turn, deeds) in deeds.chunks(AT_ONCE).enumerate() {
            let name = |at: usize| format!("bad-{section}-{turn}-{at}");
            for (at, deed) in deeds.iter().enumerate() {
                deed.begin(&self.place, &name(at)).await.context(deed.title)?;
            }
            for (at, deed) in deeds.iter().enumerate() {
                let said = deed.outcome(&self.place, &name(at)).await;
                self.table.push(Outcome { section, title: deed.title, said });
            }
            ensure_others_are_synced(&self.place, &format!("good-{section}-{turn}")).await?;
        }
        Ok(())
    }

    /// Has the files loaded beside the guest.
    async fn load(&mut self, section: &'static str, files: &[File]) -> Result<()> {
        self.tenant.configure(&plugins(&self.folder, files))?;
        for file in files {
            let part = self.folder.join(format!(".{}.part", file.name));
            fs::write(&part, &file.bytes)?;
            fs::rename(part, self.folder.join(format!("{}.wasm", file.name)))?;
            let said = eventually(file.title, HEALED, async || self.refusal(file).await).await;
            self.table.push(Outcome { section, title: file.title, said });
        }
        ensure_others_are_synced(&self.place, &format!("good-{section}-loaded")).await?;
        // What is to be loaded and is not keeps the syncer from being ready.
        self.tenant.configure(&plugins(&self.folder, &[]))?;
        for file in files {
            fs::remove_file(self.folder.join(format!("{}.wasm", file.name)))?;
        }
        eventually("the syncer is ready without them", HEALED, async || {
            self.tenant.probe("/readyz").await?;
            Ok(())
        })
        .await
    }

    /// Why the file is not loaded, as the syncer says.
    async fn refusal(&self, file: &File) -> Result<String> {
        let plugins: Vec<Value> = serde_json::from_str(&self.tenant.probe("/plugins").await?)?;
        let shown = plugins.iter().find(|plugin| plugin.get("name") == Some(&file.name.into()));
        let problem = shown.and_then(|plugin| plugin.get("problem")?.as_str()).unwrap_or_default();
        ensure!(file.words.iter().all(|word| problem.contains(word)), "it is shown as {shown:?}");
        Ok(format!("not loaded: {problem}"))
    }

    /// Prints the table, and fails if anything in it is wrong.
    #[expect(clippy::print_stdout, reason = "the table is what a reader of the test wants")]
    fn judge(&self) -> Result<()> {
        let mut wrong = 0;
        for Outcome { section, title, said } in &self.table {
            match said {
                Ok(said) => println!("§{section} | {title} | {said}"),
                Err(error) => println!("§{section} | {title} | WRONG: {error:#}"),
            }
            wrong += usize::from(said.is_err());
        }
        ensure!(wrong == 0, "{wrong} of {} deeds are wrong", self.table.len());
        Ok(())
    }

    /// Fails if the syncer has had more memory than it may (Linux: proc(5), `VmHWM`, in KiB).
    #[expect(clippy::print_stdout, reason = "what it had is wanted also where the test passes")]
    fn ensure_small(&self) -> Result<()> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.tenant.syncer()?.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("it has a peak")?;
        let most: u64 = line.trim().trim_end_matches(" kB").parse()?;
        println!("through it all, the syncer had {} MiB at most", most / 1024);
        ensure!(most < MOST, "the syncer had {} MiB", most / 1024);
        Ok(())
    }
}

impl Deed {
    /// Creates the object that has the guest do it.
    async fn begin(&self, place: &Place, name: &str) -> Result<()> {
        let doing = |object: Value| with(object, "annotations", actions(self.action, self.with));
        match self.on {
            On::Pod => {
                place.create::<Pod>(doing(pod(name, json!({})))).await?;
            }
            On::Secret => {
                let secret = json!({"metadata": {"name": name}, "stringData": {"a": "b"}});
                place.create::<Secret>(doing(secret)).await?;
                place.create::<Pod>(taking(&format!("takes-{name}"), name)).await?;
            }
            On::Slice => {
                let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
                place.create::<Service>(service).await?;
                let labels = json!({"kubernetes.io/service-name": name});
                let slice = json!({"metadata": {"name": name}, "addressType": "IPv4", "endpoints": []});
                place.create::<EndpointSlice>(with(doing(slice), "labels", labels)).await?;
            }
            On::Claim => {
                let resources = json!({"requests": {"storage": "1Gi"}});
                let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": resources});
                let claim = json!({"metadata": {"name": name}, "spec": spec});
                place.create::<PersistentVolumeClaim>(doing(claim)).await?;
            }
        }
        Ok(())
    }

    /// What the object's event says; fails if there is a host object all the same.
    async fn outcome(&self, place: &Place, name: &str) -> Result<String> {
        // Events beyond the rate limit are emitted half a minute later.
        let event = eventually(self.title, HEALED, async || place.event(name, self.reason).await).await?;
        let message = event.message.clone().unwrap_or_default();
        ensure!(event.type_.as_deref() == Some("Warning"), "{event:?}");
        for word in self.words {
            ensure!(message.contains(word), "{word:?} is missing: {message}");
        }
        match self.on {
            On::Pod => ensure_not_on_the_host::<Pod>(place, name).await?,
            On::Secret => ensure_not_on_the_host::<Secret>(place, name).await?,
            On::Slice => ensure_not_on_the_host::<EndpointSlice>(place, name).await?,
            On::Claim => ensure_not_on_the_host::<PersistentVolumeClaim>(place, name).await?,
        }
        Ok(format!("{}: {message}", self.reason))
    }
}

/// The guest, and `files` beside it. With `deny`, a failure is not retried, so that the plugin does not fail all the
/// time; and memory must run out before time, even on a busy machine.
fn plugins(folder: &Path, files: &[File]) -> Value {
    let limits = json!({"milliseconds": 3000, "mebibytes": 64});
    let guest = json!({"onFailure": "deny", "limits": limits, "wasi": true});
    let entries = files.iter().map(|file| (file.name.to_owned(), file.entry.clone()));
    let load: serde_json::Map<String, Value> = entries.chain([("guest".to_owned(), guest)]).collect();
    json!({"plugins": {"folder": folder, "grants": "requested", "load": load}})
}

#[test]
fn every_deed_is_refused_or_contained_and_others_are_not_affected() -> Result<()> {
    let files = files()?;
    in_shared_world(async |world, namespace| {
        let mut trial = Trial::begin(world, namespace).await?;
        trial.all("1", EDITS).await?;
        trial.all("6", EXCESSES).await?;
        trial.load("6", &files).await?;
        trial.judge()?;
        trial.ensure_small()?;
        ensure_healthy(&trial.tenant, &trial.place).await
    })
}
