//! What plugins cost: a call in each language, a burst of pods with none, one and three of them, and the time
//! from saving a plugin to its effect.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::guests::rust;
use weft_tests::guests::toolchains::{self, Guest};

use crate::bench::{Bench, Binaries};
use crate::ledger::Watched;
use crate::load::Pace;
use crate::report::{Limit, Report, Row, say};
use crate::statistics::median;
use crate::throughput::{self, Rates};

/// Calls of each kind.
const RUNS: &str = "300";
/// Versions that are saved.
const SAVES: usize = 6;
/// What is called, and the keys of its numbers.
const LANGUAGES: [Language; 3] = [
    Language {
        name: "rust",
        keys: [
            "plugin.rust.instantiate_us",
            "plugin.rust.fresh_us_2kb",
            "plugin.rust.fresh_us_27kb",
            "plugin.rust.warm_us_2kb",
            "plugin.rust.size_bytes",
            "plugin.rust.idle_bytes",
        ],
    },
    Language {
        name: "js",
        keys: [
            "plugin.js.instantiate_us",
            "plugin.js.fresh_us_2kb",
            "plugin.js.fresh_us_27kb",
            "plugin.js.warm_us_2kb",
            "plugin.js.size_bytes",
            "plugin.js.idle_bytes",
        ],
    },
    Language {
        name: "python",
        keys: [
            "plugin.python.instantiate_us",
            "plugin.python.fresh_us_2kb",
            "plugin.python.fresh_us_27kb",
            "plugin.python.warm_us_2kb",
            "plugin.python.size_bytes",
            "plugin.python.idle_bytes",
        ],
    },
];
/// What the keys of a language are, in their order.
const WHAT: [&str; 6] = [
    "cold instance, us",
    "call in a fresh instance, 2 KB pod, us",
    "call in a fresh instance, 27 KB pod, us",
    "second call of an instance, 2 KB pod, us",
    "component, bytes",
    "memory of an idle plugin, bytes",
];

struct Language {
    name: &'static str,
    keys: [&'static str; 6],
}

/// Measures the calls of each language.
pub(crate) async fn calls(binaries: &Binaries, report: &mut Report) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let small = write(scratch.path(), "small.yaml", &pod(2_000))?;
    let large = write(scratch.path(), "large.yaml", &pod(27_000))?;
    let settings = write(scratch.path(), "settings.yaml", &json!({"team": "web"}))?;
    for language in &LANGUAGES {
        let component = match component(language.name, scratch.path()).await? {
            Guest::Built(path) => path,
            Guest::Skipped(why) => {
                report.note(format!("{} is not measured: {why}", language.name));
                continue;
            }
        };
        say(&format!("calling the plugin in {}", language.name));
        let of_small = bench(&binaries.weft, &component, &small, &settings).await?;
        let of_large = bench(&binaries.weft, &component, &large, &settings).await?;
        let values = [
            number(&of_small, "/instantiateUs/p50")?,
            number(&of_small, "/freshUs/p50")?,
            number(&of_large, "/freshUs/p50")?,
            number(&of_small, "/warmUs/p50")?,
            number(&of_small, "/sizeBytes")?,
            number(&of_small, "/idleBytes")?,
        ];
        for ((key, what), value) in language.keys.into_iter().zip(WHAT).zip(values) {
            let limits = match key {
                "plugin.rust.fresh_us_2kb" => vec![Limit::AtMost { must: 100.0, aim: 50.0 }],
                _ => Vec::new(),
            };
            report.add(Row { key, what, values: vec![("value", value)], pods: 1, limits });
        }
        if language.name == "rust" {
            let native = number(&of_small, "/nativeUs/p50")?;
            let what = "built-in rules, whole translation, 2 KB, us";
            report.add(Row::plain("plugin.native_us_2kb", what, native, 1));
        }
    }
    Ok(())
}

/// Measures bursts with none, one and three plugins on Pod, and the time from saving to effect.
pub(crate) async fn syncing(bench: &Bench, pods: u32, rounds: u32, report: &mut Report) -> Result<()> {
    let folders = [0, 1, 3].map(|plugins| bench.dir().join(format!("plugins-{plugins}")));
    let [none, one, three] = &folders;
    for folder in &folders {
        fs::create_dir_all(folder)?;
    }
    let names = ["team-label", "second-label", "third-label"];
    for name in names {
        let component = labelling(bench.dir(), name, "bench").await?;
        for folder in [one, three].into_iter().filter(|folder| *folder == three || name == "team-label") {
            fs::write(folder.join(format!("{name}.wasm")), &component)?;
        }
    }
    let mut rates = [Rates::default(), Rates::default(), Rates::default()];
    say("warming up");
    configure(bench, none)?;
    throughput::with_syncer(bench, "warm", pods, &mut Rates::default()).await?;
    for round in 0..rounds.max(2) {
        for (folder, rates) in folders.iter().zip(&mut rates) {
            configure(bench, folder)?;
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            throughput::with_syncer(bench, &format!("{name}-{round}"), pods, rates).await?;
        }
    }
    let [none, one_plugin, three_plugins] = rates.each_ref().map(Rates::median_of_syncer);
    report.add(Row {
        key: "throughput_ratio_1_plugins",
        what: "burst: one plugin on Pod against none",
        values: vec![("value", one_plugin / none)],
        pods,
        limits: vec![Limit::AtLeast { must: 0.9, aim: 0.97 }],
    });
    let what = "burst: three plugins on Pod against none";
    report.add(Row::plain("throughput_ratio_3_plugins", what, three_plugins / none, pods));
    save_to_effect(bench, one, report).await
}

/// Saves versions of a plugin and waits until a running pod shows each of them on the host.
async fn save_to_effect(bench: &Bench, folder: &Path, report: &mut Report) -> Result<()> {
    say("saving versions of a plugin");
    let versions = [
        labelling(bench.dir(), "team-label", "red").await?,
        labelling(bench.dir(), "team-label", "blue").await?,
    ];
    configure(bench, folder)?;
    bench.start_syncer().await?;
    let mut observation = bench.observe("saved", 1, Watched::Both).await?;
    let ledger = observation.ledger.clone();
    bench.create(&ledger, Pace::Burst).await?;
    observation.until("the pod is ready", |life| life.r#virtual.ready.is_some()).await?;
    let host = ledger.each(|life| Some(life.host.name.clone()));
    let host = host.first().context("the ledger is empty")?.clone();
    let path = format!("/api/v1/namespaces/{}/pods/{host}", bench.tenant.namespace());
    let mut took = Vec::new();
    for (version, color) in versions.iter().zip(["red", "blue"]).cycle().take(SAVES) {
        let saved = Instant::now();
        let part = folder.join(".team-label.part");
        fs::write(&part, version)?;
        fs::rename(&part, folder.join("team-label.wasm"))?;
        while bench.host.get(&path).await?.pointer("/metadata/labels/color") != Some(&Value::from(color)) {
            ensure!(saved.elapsed() < SOON, "the pod on the host never became {color}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        took.push(saved.elapsed().as_secs_f64() * 1e3);
    }
    report.add(Row {
        key: "save_to_effect_ms",
        what: "from saving a plugin to its effect, ms",
        values: vec![("value", median(&took))],
        pods: 1,
        limits: vec![Limit::AtMost { must: 1000.0, aim: 300.0 }],
    });
    report.note(format!("save to effect, each time, ms: {took:.0?}"));
    bench.delete(&ledger, Pace::Burst).await?;
    eventually("both sides are empty", SOON, async || bench.empty().await).await?;
    bench.tenant.stop_syncer().await
}

fn configure(bench: &Bench, folder: &Path) -> Result<()> {
    let load = json!({
        "team-label": {"settings": {"team": "web"}}, "second-label": {"settings": {"team": "web"}},
        "third-label": {"settings": {"team": "web"}},
    });
    let present = |(name, _): &(String, Value)| folder.join(format!("{name}.wasm")).is_file();
    let load: serde_json::Map<String, Value> =
        load.as_object().cloned().unwrap_or_default().into_iter().filter(present).collect();
    bench.tenant.configure(&json!({"plugins": {"folder": folder, "grants": "requested", "load": load}}))
}

/// The example in Rust under another name, that sets the label `color` as well.
async fn labelling(scratch: &Path, name: &str, color: &str) -> Result<Vec<u8>> {
    let folder = scratch.join(format!("{name}-{color}"));
    let label = r#"draft.set_label("team", &self.team);"#;
    rust::edited(
        "rust-team-label",
        &folder,
        label,
        &format!("{label} draft.set_label(\"color\", {color:?});"),
    )?;
    let source = folder.join("src/lib.rs");
    let text = fs::read_to_string(&source)?;
    let named = text.replace(r#"Descriptor::new("team-label""#, &format!("Descriptor::new({name:?}"));
    fs::write(&source, named)?;
    rust::component(&folder).await
}

async fn component(language: &str, scratch: &Path) -> Result<Guest> {
    let example = |name: &str| rust::root().join("examples").join(name);
    match language {
        "rust" => {
            let file = scratch.join("team-label.wasm");
            fs::write(&file, rust::example("rust-team-label").await?)?;
            Ok(Guest::Built(file))
        }
        "js" => {
            tokio::task::spawn_blocking(move || toolchains::javascript(&example("js-team-label"))).await?
        }
        _ => tokio::task::spawn_blocking(move || toolchains::python(&example("python-team-label"))).await?,
    }
}

async fn bench(weft: &Path, component: &Path, pod: &Path, settings: &Path) -> Result<Value> {
    let mut command = Command::new(weft);
    command.args(["plugin", "bench"]).arg(component).arg("--file").arg(pod).arg("--settings").arg(settings);
    let output = command.args(["--runs", RUNS, "--output", "json"]).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} cannot be measured: {said}", component.display());
    serde_json::from_slice(&output.stdout).context("`weft plugin bench` prints no JSON")
}

fn number(measured: &Value, pointer: &str) -> Result<f64> {
    measured.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("{measured} has no {pointer}"))
}

/// A pod of about this many bytes.
fn pod(bytes: usize) -> Value {
    let variable = |number: usize| json!({"name": format!("VARIABLE_{number}"), "value": "v".repeat(40)});
    let env: Vec<Value> = (0..bytes / 85).map(variable).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "measured", "namespace": "bench", "labels": {"app": "measured"}},
        "spec": {"containers": [{"name": "main", "image": "nginx", "env": env}]},
    })
}

fn write(folder: &Path, name: &str, value: &Value) -> Result<PathBuf> {
    let file = folder.join(name);
    fs::write(&file, value.to_string())?;
    Ok(file)
}
