//! Which version of Kubernetes may take over the storage of which
//! (<https://kubernetes.io/releases/version-skew-policy/>).

use crate::config::control_plane::minor;

/// Why a version cannot take over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Objects may be stored in a form that the older one does not know.
    #[error(
        "this virtual cluster was run by Kubernetes {before}, and {wanted} is older: set `controlPlane.version` and the \
             image to {before} or newer, or delete the virtual cluster with its volume"
    )]
    Older {
        /// The version that wrote the storage.
        before: String,
        /// The version that is configured.
        wanted: String,
    },
    /// Upgrades are tested from one minor version to the next.
    #[error(
        "this virtual cluster was run by Kubernetes {before}, and {wanted} is more than one minor version newer: upgrade \
             one minor version at a time"
    )]
    Jump {
        /// The version that wrote the storage.
        before: String,
        /// The version that is configured.
        wanted: String,
    },
}

/// Passes if a cluster that ran `before`, if any, may be run by `wanted` now.
pub(super) fn step(before: Option<&String>, wanted: &str) -> Result<(), Error> {
    let Some(before) = before else { return Ok(()) };
    let (Some(old), Some(new)) = (minor(before), minor(wanted)) else { return Ok(()) };
    let (before, wanted) = (before.clone(), wanted.to_owned());
    if new < old {
        return Err(Error::Older { before, wanted });
    }
    if new > old + 1 {
        return Err(Error::Jump { before, wanted });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_version_up_is_a_step_and_neither_down_nor_more() {
        let step = |before: &str, wanted| step(Some(&before.to_owned()), wanted);
        step("v1.36.3", "v1.36.1").unwrap();
        step("v1.36.3", "v1.37.2").unwrap();
        assert!(matches!(step("v1.36.3", "v1.35.4"), Err(Error::Older { .. })));
        assert!(matches!(step("v1.35.4", "v1.37.2"), Err(Error::Jump { .. })));
    }
}
