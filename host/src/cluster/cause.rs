//! Says why a virtual cluster is not ready: which container is at fault, with what it logged last, or what is waited for.

use crate::cluster::host::Host;
use crate::cluster::progress::{Seen, Step};
use crate::cluster::{Place, logs};

/// What SQLite says of a damaged file; its words are part of its interface (<https://www.sqlite.org/rescode.html>).
const DAMAGED: &str = "database disk image is malformed";
/// What to do then.
const RESTORE: &str = "restore all files of the volume from a backup, or delete the volume to begin with an empty virtual cluster";

/// Why `step` is not done, as far as that can be seen.
pub async fn of(host: &Host, place: &Place, seen: &Seen, step: Step) -> Option<String> {
    let failures = seen.failures();
    if !failures.is_empty() {
        return Some(with_advice(failures.join("; ")));
    }
    let why = seen.waiting_for(step)?;
    // A damaged database does not always end its store.
    if step == Step::ApiServer {
        for container in ["store", "api"] {
            if let Some(line) = logs::last_with(host, place, container, DAMAGED).await {
                return Some(with_advice(line));
            }
        }
    }
    // A syncer that cannot work runs on, and logs why.
    if step == Step::Syncer && seen.runs("syncer") {
        return Some(logs::last_warning(host, place, "syncer").await.unwrap_or(why));
    }
    Some(why)
}

/// Other people's programs say what is wrong, and not what to do.
fn with_advice(why: String) -> String {
    if why.contains(DAMAGED) { format!("{why}: {RESTORE}") } else { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_database_comes_with_what_to_do() {
        let why = with_advice("kine: database disk image is malformed (11)".to_owned());
        assert!(why.contains("malformed (11): restore all files"), "{why}");
        assert_eq!(with_advice("kine: no space".to_owned()), "kine: no space");
    }
}
