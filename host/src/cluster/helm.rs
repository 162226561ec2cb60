//! Runs the person's Helm, which owns the release: its templates, its values and its history.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::process::Command;

use crate::cluster::host::Host;
use crate::cluster::values::Values;
use crate::cluster::{CHART, Place};

/// The first release with all that is used here; 4 has it too.
const OLDEST: (u32, u32) = (3, 14);
const INSTALLATION: &str = "https://helm.sh/docs/intro/install/";
/// Without hooks and waiting, Helm makes some twenty requests.
const TIMEOUT: Duration = Duration::from_mins(2);

/// A release that was not there before the installation was begun by somebody else meanwhile.
#[derive(Debug, thiserror::Error)]
#[error("somebody else has created {0} meanwhile")]
pub struct NameInUse(Place);

/// Helm, and the host cluster that it works on.
pub struct Helm {
    version: String,
    host: Vec<OsString>,
}

/// A release that is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Release {
    /// The chart and its version: `weft-0.1.0`.
    chart: String,
    /// Such as `deployed` or `pending-install`.
    pub status: String,
    /// How often it was installed or upgraded, as a number.
    revision: String,
}

impl Release {
    /// The version of our chart, if this is a release of it.
    pub fn version(&self) -> Option<&str> {
        let version = self.chart.strip_prefix(CHART)?.strip_prefix('-')?;
        version.starts_with(|first: char| first.is_ascii_digit()).then_some(version)
    }

    /// Whether it never became whole. An upgrade that failed leaves the release of before.
    pub fn is_half_made(&self) -> bool {
        let has_failed_upgrade = self.status == "failed" && self.revision != "1";
        self.status != "deployed" && !has_failed_upgrade
    }

    /// The chart and its version.
    pub fn chart(&self) -> &str {
        &self.chart
    }
}

impl Helm {
    /// Finds a Helm that is new enough.
    pub async fn find(host: Option<&Host>) -> Result<Self> {
        let mut helm = Self { version: String::new(), host: host.map(flags).unwrap_or_default() };
        let version = helm.run(&["version".into(), "--short".into()]).await?;
        version.trim().clone_into(&mut helm.version);
        if number(&helm.version).is_none_or(|number| number < OLDEST) {
            let (major, minor) = OLDEST;
            bail!("helm is {}, and {major}.{minor} or newer is needed; see {INSTALLATION}", helm.version);
        }
        Ok(helm)
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The chart's manifests.
    pub async fn template(&self, place: &Place, chart: &Path, values: &Values) -> Result<String> {
        self.run(&of_chart(&["template", "--skip-tests"], place, chart, values)).await
    }

    /// Installs the release, without waiting for anything to run.
    ///
    /// # Errors
    /// [`NameInUse`] if there has come to be a release of that name, which is then somebody else's.
    pub async fn install(&self, place: &Place, chart: &Path, values: &Values) -> Result<()> {
        match self.run(&of_chart(&["install"], place, chart, values)).await {
            Err(error) if is_in_use(&error.to_string()) => Err(NameInUse(place.clone()).into()),
            installed => installed.map(drop),
        }
    }

    /// Upgrades the release; values of before stay unless others are given.
    pub async fn upgrade(&self, place: &Place, chart: &Path, values: &Values) -> Result<()> {
        self.run(&of_chart(&["upgrade", "--reset-then-reuse-values"], place, chart, values)).await.map(drop)
    }

    /// The values that the release was given so far, as YAML.
    pub async fn values(&self, place: &Place) -> Result<String> {
        let arguments =
            ["get", "values", "--output", "yaml", "--namespace", &place.namespace, "--", &place.name];
        self.run(&arguments.map(OsString::from)).await
    }

    /// The manifests of the release, by which Helm removes it.
    pub async fn manifest(&self, place: &Place) -> Result<String> {
        let arguments = ["get", "manifest", "--namespace", &place.namespace, "--", &place.name];
        self.run(&arguments.map(OsString::from)).await
    }

    /// Removes the release, whatever its state; there may be none.
    pub async fn uninstall(&self, place: &Place) -> Result<()> {
        let arguments =
            ["uninstall", "--ignore-not-found", "--namespace", &place.namespace, "--", &place.name];
        self.run(&arguments.map(OsString::from)).await.map(drop)
    }

    /// The release of this name, in whatever state.
    pub async fn release(&self, place: &Place) -> Result<Option<Release>> {
        let filter = format!("^{}$", place.name);
        let arguments = ["list", "--namespace", &place.namespace, "--filter", &filter, "--output", "json"];
        let states = ["--deployed", "--failed", "--pending", "--uninstalling", "--uninstalled"];
        let arguments: Vec<OsString> = arguments.into_iter().chain(states).map(OsString::from).collect();
        let output = self.run(&arguments).await?;
        let mut found: Vec<Release> = serde_json::from_str(&output).context("helm list printed no JSON")?;
        Ok(found.pop())
    }

    async fn run(&self, arguments: &[OsString]) -> Result<String> {
        let verb = arguments.first().and_then(|verb| verb.to_str()).unwrap_or_default();
        let mut command = Command::new("helm");
        command.args(&self.host).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        // Ctrl-C is for us: a release that Helm gives up halfway is harder to remove than a whole one.
        let output = tokio::time::timeout(TIMEOUT, command.process_group(0).output()).await;
        let output = match output {
            Err(_) => bail!("helm {verb} did not end within {} s", TIMEOUT.as_secs()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("helm is not installed, or not in PATH; see {INSTALLATION}")
            }
            Ok(output) => output.context("failed to run helm")?,
        };
        if !output.status.success() {
            bail!("helm {verb} failed: {}", reason(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn flags(host: &Host) -> Vec<OsString> {
    let mut flags = Vec::new();
    if let Some(file) = host.files.explicit() {
        flags.extend(["--kubeconfig".into(), file.as_os_str().to_owned()]);
    }
    if let Some(context) = &host.context {
        flags.extend(["--kube-context".into(), context.into()]);
    }
    flags
}

fn of_chart(verb: &[&str], place: &Place, chart: &Path, values: &Values) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = verb.iter().map(OsString::from).collect();
    arguments.extend(["--namespace".into(), place.namespace.clone().into()]);
    for file in values.files() {
        arguments.extend(["--values".into(), file.as_os_str().to_owned()]);
    }
    for set in values.sets() {
        arguments.extend(["--set".into(), set.into()]);
    }
    arguments.extend(["--".into(), place.name.clone().into(), chart.as_os_str().to_owned()]);
    arguments
}

/// Helm's two ways to say that there is a release of that name: when it looks, and when it writes.
fn is_in_use(error: &str) -> bool {
    // Helm 3 writes "re-use", Helm 4 "reuse".
    error.contains("a name that is still in use") || error.contains("release: already exists")
}

/// What Helm says went wrong, without its warnings.
fn reason(errors: &str) -> String {
    let errors = errors.split_once("Error: ").map_or(errors, |(_, reason)| reason);
    errors.trim().to_owned()
}

fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v')?.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(number("v3.22.0+gabc"), Some((3, 22)));
        assert!(number("v4.0.0").unwrap() > OLDEST && number("v3.9.4").unwrap() < OLDEST);
        assert_eq!(number("helm"), None);
    }

    #[test]
    fn a_release_of_another_chart_is_not_ours() {
        let release = |chart: &str| Release {
            chart: chart.to_owned(),
            status: "deployed".to_owned(),
            revision: "1".to_owned(),
        };
        assert_eq!(release("weft-0.1.0").version(), Some("0.1.0"));
        assert_eq!(release("weft-agent-0.1.0").version(), None);
        assert_eq!(release("nginx-0.1.0").version(), None);
    }

    #[test]
    fn a_name_in_use_is_not_confused_with_an_object_that_exists() {
        for said in [
            "cannot re-use a name that is still in use",
            "cannot reuse a name that is still in use",
            "release: already exists",
        ] {
            assert!(is_in_use(&format!("helm install failed: INSTALLATION FAILED: {said}")), "{said}");
        }
        assert!(!is_in_use("Service \"a\" in namespace \"b\" exists and cannot be imported"));
    }

    #[test]
    fn a_reason_has_none_of_helms_warnings() {
        assert_eq!(reason("WARNING: group-readable\nError: no such chart\n"), "no such chart");
    }
}
