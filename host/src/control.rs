//! The control plane of a virtual cluster: its keys, its address ranges, and how each of its programs is started.
//!
//! `weft init` prepares everything before the containers start, `weft launch` becomes one of the programs, and the
//! running syncer renews certificates.

mod addresses;
mod credentials;
mod files;
pub mod init;
mod kubeconfig;
pub mod launch;
mod pki;
pub mod renew;
mod service_range;
mod version;
mod writer;

/// Port of the API server in its pod; an unprivileged process may listen there.
const API_PORT: u16 = 6443;
