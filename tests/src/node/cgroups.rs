//! Makes and removes the control groups that the pods of one machine are in.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

const ROOT: &str = "/sys/fs/cgroup";
/// Only with version 2 is this at the root.
const UNIFIED: &str = "cgroup.controllers";
/// What the kubelet limits pods by, where the kernel has it.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// How long the kernel may take to notice that a group is empty.
const EMPTY: Duration = Duration::from_secs(10);

/// Makes the group `name` in every hierarchy; two kubelets in one group would kill each other's pods.
pub(super) fn create(name: &str) -> Result<()> {
    remove(name)?;
    if Path::new(ROOT).join(UNIFIED).exists() {
        return create_unified(&Path::new(ROOT).join(name));
    }
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        fs::create_dir(&group).with_context(|| format!("failed to create {}", group.display()))?;
        // A new group has no processors, and none may enter it before it has.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(hierarchy.join(file)) {
                write(&group.join(file), value.trim())?;
            }
        }
    }
    Ok(())
}

/// Removes the group `name` with those in it, which must be without processes.
pub(super) fn remove(name: &str) -> Result<()> {
    for group in of(name)? {
        let started = Instant::now();
        while group.exists() {
            remove_tree(&group);
            ensure!(started.elapsed() < EMPTY, "the control group {} cannot be removed", group.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Where the group `name` is, in each hierarchy.
pub(super) fn of(name: &str) -> Result<Vec<PathBuf>> {
    Ok(hierarchies()?.into_iter().map(|hierarchy| hierarchy.join(name)).collect())
}

/// With version 2 a group hands a controller on only where it is written down.
fn create_unified(group: &Path) -> Result<()> {
    fs::create_dir(group).with_context(|| format!("failed to create {}", group.display()))?;
    for parent in [Path::new(ROOT), group] {
        let available = fs::read_to_string(parent.join(UNIFIED))?;
        for controller in
            CONTROLLERS.iter().filter(|wanted| available.split_whitespace().any(|one| one == **wanted))
        {
            write(&parent.join("cgroup.subtree_control"), &format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// The folder of each hierarchy; with version 2 there is one.
fn hierarchies() -> Result<Vec<PathBuf>> {
    if Path::new(ROOT).join(UNIFIED).exists() {
        return Ok(vec![ROOT.into()]);
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(ROOT).context("there are no control groups at /sys/fs/cgroup")? {
        let entry = entry?;
        // Two controllers that share a hierarchy have a link each.
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// Deepest first, as the kernel wants it. What is still in use stays for the next attempt.
fn remove_tree(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("failed to write {value:?} to {}", path.display()))
}
