//! The person's kubeconfig files: which of them is changed, and how, so that nothing else in them is lost.

mod edit;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cluster::context::{self, Link};

/// The files that kubectl would use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    paths: Vec<PathBuf>,
    /// Named by a flag, not by the environment.
    is_explicit: bool,
}

impl Files {
    /// `flag`, else the list in KUBECONFIG, else the file in the home folder.
    pub fn find(flag: Option<PathBuf>) -> Result<Self> {
        if let Some(path) = flag {
            return Ok(Self { paths: vec![path], is_explicit: true });
        }
        let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
        let mut paths: Vec<PathBuf> =
            std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
        if paths.is_empty() {
            let home = std::env::home_dir()
                .context("neither KUBECONFIG nor HOME is set; give `--kubeconfig FILE`")?;
            paths.push(home.join(".kube/config"));
        }
        Ok(Self { paths, is_explicit: false })
    }

    /// The files that are there. A list may name files that are not, as for kubectl.
    pub fn existing(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path).filter(|path| self.is_explicit || path.exists())
    }

    /// All files, for another program.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The file that a flag named.
    pub fn explicit(&self) -> Option<&Path> {
        self.paths.first().filter(|_| self.is_explicit).map(PathBuf::as_path)
    }

    /// Adds the context of a virtual cluster and makes it the current one. Its link's previous context is set here.
    pub fn connect(&self, name: &str, cluster: &Value, user: &Value, link: &Link) -> Result<()> {
        let mut link = link.clone();
        link.previous_context = self.previous(name)?;
        let target = self.target();
        for file in self.existing().filter(|file| *file != target) {
            if !context::has(&edit::read(file)?, name) {
                continue;
            }
            edit::edit(file, |config| context::remove(config, name).is_some())?;
        }
        edit::edit(target, |config| {
            context::add(config, name, cluster.clone(), user.clone(), &link);
            context::select(config, name);
            true
        })
    }

    /// Removes the context of a virtual cluster; if it is the current one, the one before it becomes current.
    /// `None` if there is no such context.
    pub fn disconnect(&self, name: &str) -> Result<Option<Disconnected>> {
        let was_current = self.current()?.as_deref() == Some(name);
        let mut removed = None;
        for file in self.existing() {
            // Not even locked: others may not be ours to write.
            if !context::has(&edit::read(file)?, name) {
                continue;
            }
            edit::edit(file, |config| {
                let link = context::remove(config, name);
                let is_changed = link.is_some();
                removed = removed.take().or(link);
                is_changed
            })?;
        }
        let Some(link) = removed else { return Ok(None) };
        let current = if was_current { Some(self.go_back(name, &link)?) } else { None };
        Ok(Some(Disconnected { link, current: current.flatten() }))
    }

    /// The contexts of virtual clusters in all files.
    pub fn links(&self) -> Result<Vec<(String, Link)>> {
        let mut found = Vec::new();
        for file in self.existing() {
            found.extend(context::links(&edit::read(file)?));
        }
        Ok(found)
    }

    /// The current context: the first file that names one decides.
    pub fn current(&self) -> Result<Option<String>> {
        for file in self.existing() {
            if let Some(name) = context::current(&edit::read(file)?) {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    /// What to go back to after `name`.
    fn previous(&self, name: &str) -> Result<Option<String>> {
        let current = self.current()?;
        if current.as_deref() != Some(name) {
            return Ok(current);
        }
        let mut links = self.links()?.into_iter();
        Ok(links.find(|(own, _)| own == name).and_then(|(_, link)| link.previous_context))
    }

    fn go_back(&self, name: &str, link: &Link) -> Result<Option<String>> {
        let mut back = None;
        // Where no context was current, none is chosen now: it might be one that is dangerous to be in.
        let previous = link.previous_context.as_ref();
        for candidate in previous.into_iter().chain(previous.and(link.host_context.as_ref())) {
            if back.is_none() && self.has(candidate)? {
                back = Some(candidate.clone());
            }
        }
        for file in self.existing() {
            if context::current(&edit::read(file)?) != Some(name) {
                continue;
            }
            edit::edit(file, |config| {
                let is_set = context::current(config) == Some(name);
                if is_set {
                    context::select(config, back.as_deref().unwrap_or_default());
                }
                is_set
            })?;
        }
        Ok(back)
    }

    fn has(&self, name: &str) -> Result<bool> {
        for file in self.existing() {
            if context::has(&edit::read(file)?, name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where kubectl writes new entries: the first file that is there, else the last of the list.
    fn target(&self) -> &Path {
        let last = || self.paths.last().map_or(Path::new("kubeconfig"), PathBuf::as_path);
        self.existing().next().unwrap_or_else(last)
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
        f.write_str(&paths.join(":"))
    }
}

/// What a disconnection did.
#[derive(Debug, PartialEq, Eq)]
pub struct Disconnected {
    /// What the context remembered.
    pub link: Link,
    /// The context that became current, if one did.
    pub current: Option<String>,
}

/// A kubeconfig with one context.
pub fn single(name: &str, cluster: &Value, user: &Value) -> Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    });
    edit::to_yaml(&config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "apiVersion: v1\nkind: Config\ncurrent-context: kind\ncontexts:\n- {name: kind, context: {cluster: kind, user: kind}}\n";
    const NAME: &str = "weft_team-a_one";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            Self(folder)
        }

        fn files(&self, names: &[&str]) -> Files {
            let paths = names.iter().map(|name| self.0.path().join(name)).collect();
            Files { paths, is_explicit: false }
        }

        fn read(&self, name: &str) -> Value {
            edit::read(&self.0.path().join(name)).unwrap()
        }
    }

    fn link() -> Link {
        Link {
            cluster: "one".to_owned(),
            namespace: "team-a".to_owned(),
            host_context: Some("kind".to_owned()),
            previous_context: None,
        }
    }

    fn connect(files: &Files) {
        files
            .connect(NAME, &json!({"server": "https://127.0.0.1:1"}), &json!({"token": "yes"}), &link())
            .unwrap();
    }

    #[test]
    fn connecting_twice_and_disconnecting_gives_the_context_from_before() {
        let folder = Folder::with(&[("config", HOST)]);
        let files = folder.files(&["config"]);
        connect(&files);
        connect(&files);
        assert_eq!(files.current().unwrap().as_deref(), Some(NAME));
        let done = files.disconnect(NAME).unwrap().unwrap();
        assert_eq!(done.current.as_deref(), Some("kind"));
        assert_eq!(files.current().unwrap().as_deref(), Some("kind"));
        assert_eq!(files.links().unwrap(), []);
        assert_eq!(files.disconnect(NAME).unwrap(), None);
    }

    #[test]
    fn another_choice_in_between_is_left_alone() {
        let folder = Folder::with(&[("config", HOST)]);
        let files = folder.files(&["config"]);
        connect(&files);
        edit::edit(&folder.0.path().join("config"), |config| {
            context::select(config, "mine");
            true
        })
        .unwrap();
        assert_eq!(files.disconnect(NAME).unwrap().unwrap().current, None);
        assert_eq!(files.current().unwrap().as_deref(), Some("mine"));
    }

    #[test]
    fn of_a_list_the_first_file_that_is_there_is_written() {
        let folder = Folder::with(&[("second", "current-context: kind"), ("third", HOST)]);
        let files = folder.files(&["first", "second", "third"]);
        connect(&files);
        assert!(context::has(&folder.read("second"), NAME) && !context::has(&folder.read("third"), NAME));
        assert_eq!(files.disconnect(NAME).unwrap().unwrap().current.as_deref(), Some("kind"));
        assert!(!folder.0.path().join("first").exists());
        let files = folder.files(&["none", "new/config"]);
        connect(&files);
        assert!(context::has(&folder.read("new/config"), NAME));
    }
}
