//! `weft hosts`: completes a pod's hosts file; an init container of pods with a subdomain runs it.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

/// What kubelets write before the `hostAliases` of a pod, which stay as they are.
const ALIASES: &str = "# Entries added by HostAliases.";

#[derive(Debug, Args)]
pub(super) struct Hosts {
    /// Host name of the pod, without its domain.
    #[arg(long)]
    name: String,
    /// Domain of the host name.
    #[arg(long)]
    domain: String,
    /// Addresses of the pod, with commas between.
    #[arg(long, env = "POD_IPS", value_name = "ADDRESSES", value_delimiter = ',')]
    addresses: Vec<IpAddr>,
    /// The file that the kubelet has written.
    #[arg(long, value_name = "FILE", default_value = "/etc/hosts")]
    from: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

impl Hosts {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let (from, to) = (&self.from, &self.to);
        let text = fs::read_to_string(from).with_context(|| format!("failed to read {}", from.display()))?;
        // In place: when a pod's network is made again, containers have mounted this very file already.
        fs::write(to, self.completed(&text)).with_context(|| format!("failed to write {}", to.display()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// `text` with the full name, and then the short one, for each address of the pod, in the place where a kubelet has
    /// its line.
    fn completed(&self, text: &str) -> String {
        let (own, aliases) = text.split_at(text.find(ALIASES).unwrap_or(text.len()));
        let is_kept = |line: &&str| !address(line).is_some_and(|address| self.addresses.contains(&address));
        let mut lines: Vec<String> = own.trim_end().lines().filter(is_kept).map(str::to_owned).collect();
        lines.extend(self.addresses.iter().map(|ip| format!("{ip}\t{0}.{1}\t{0}", self.name, self.domain)));
        let separator = if aliases.is_empty() { "" } else { "\n" };
        format!("{}\n{separator}{aliases}", lines.join("\n"))
    }
}

/// The address of a line.
fn address(line: &str) -> Option<IpAddr> {
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(addresses: &[&str]) -> Hosts {
        Hosts {
            name: "db-0".to_owned(),
            domain: "db.shop.svc.cluster.local".to_owned(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            from: PathBuf::new(),
            to: PathBuf::new(),
        }
    }

    const LOOPBACK: &str =
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n";
    const FULL: &str = "db-0.db.shop.svc.cluster.local\tdb-0\n";

    #[test]
    fn the_lines_of_the_pods_addresses_get_the_full_name_and_all_others_stay() {
        let kubelets = format!("{LOOPBACK}10.244.0.7\tdb-0\nfd00::7\tdb-0\n");
        let wanted = format!("{LOOPBACK}10.244.0.7\t{FULL}fd00::7\t{FULL}");
        assert_eq!(hosts(&["10.244.0.7", "fd00::7"]).completed(&kubelets), wanted);
    }

    #[test]
    fn aliases_stay_though_they_are_of_the_pods_address() {
        let aliases =
            "\n# Entries added by HostAliases.\n10.244.0.7\ta.example\tdb-0\n192.0.2.1\tb.example\n";
        let kubelets = format!("{LOOPBACK}10.244.0.7\tdb-0\n{aliases}");
        let wanted = format!("{LOOPBACK}10.244.0.7\t{FULL}{aliases}");
        assert_eq!(hosts(&["10.244.0.7"]).completed(&kubelets), wanted);
    }

    #[test]
    fn an_address_that_the_kubelet_has_left_out_is_added() {
        assert_eq!(hosts(&["10.244.0.7"]).completed(LOOPBACK), format!("{LOOPBACK}10.244.0.7\t{FULL}"));
        assert_eq!(hosts(&["10.244.0.7"]).completed(""), format!("10.244.0.7\t{FULL}"));
    }

    #[test]
    fn the_file_is_written_again_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, LOOPBACK).unwrap();
        fs::write(&to, "of before, and longer than what is written now\n".repeat(9)).unwrap();
        fs::hard_link(&to, folder.path().join("mounted")).unwrap();
        Hosts { from, to, ..hosts(&["10.244.0.7"]) }.run().unwrap();
        let mounted = fs::read_to_string(folder.path().join("mounted")).unwrap();
        assert_eq!(mounted, format!("{LOOPBACK}10.244.0.7\t{FULL}"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Hosts { from: "/no/such/file".into(), ..hosts(&[]) }.run().unwrap_err();
        assert_eq!(error.to_string(), "failed to read /no/such/file");
    }
}
