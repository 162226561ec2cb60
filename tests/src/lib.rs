//! Real control planes on this machine, and a syncer between them, for tests and for the demo.
//!
//! [`world::World`] is the entry point: a host plane with fake nodes, a virtual plane, and a tenant whose
//! syncer can be started, stopped and killed. Everything runs on loopback, without containers.

pub mod arguments;
pub mod audit;
pub mod binaries;
pub mod cargo;
pub mod eventually;
pub mod fault_proxy;
pub mod guests;
pub mod image;
pub mod installed;
pub mod kubeconfig;
pub mod model;
pub mod node;
pub mod nodes;
pub mod pairs;
mod permissions;
pub mod pki;
pub mod planes;
pub mod plugin_folder;
pub mod ports;
pub mod process;
pub mod progress;
pub mod schema;
pub mod scratch;
pub mod shared;
pub mod simulation;
pub mod tenant;
pub mod world;
