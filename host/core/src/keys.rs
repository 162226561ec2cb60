//! Every label key, annotation key and name in the domain `weft.dev`, and every other name that is the syncer's own: what
//! it says, who writes it, and where.
//!
//! The chart has two more that no code reads: the label `weft.dev/control-plane`, by which its Services find their pod,
//! and the annotation `weft.dev/restart-digest` of that pod, which changes with the settings that need another one.

/// The domain of weft's keys. Its subdomains are weft's as well.
pub const DOMAIN: &str = "weft.dev";
/// The prefix of every key that is directly in [`DOMAIN`].
pub const PREFIX: &str = "weft.dev/";

// Labels and annotations of host objects.

/// Label of every host object: the virtual cluster that it belongs to. Translation writes it.
pub const CLUSTER_LABEL: &str = "weft.dev/cluster";
/// Label of host objects: the virtual namespace that they belong to. Translation writes it.
pub const NAMESPACE_LABEL: &str = "weft.dev/namespace";
/// Annotation of every host object of a pair: the [`crate::names::Identity`] of the virtual object, as JSON.
/// Translation writes it.
pub const IDENTITY: &str = "weft.dev/identity";
/// Annotation of every host object of a pair: digest of what was last written. Translation writes it. On a Secret with
/// tokens the engine writes it.
pub const DIGEST: &str = "weft.dev/digest";
/// Annotation of host pods: what the tenant wanted, when they were last written, of the fields that can still change, as
/// JSON. Translation writes it.
pub const WANTED: &str = "weft.dev/wanted";
/// Annotation of every host object of a pair: the tenant's label and annotation keys that were last written, as
/// JSON. Translation writes it. On a mirrored virtual Node the engine writes it: the host's keys, and the spec.
pub const APPLIED: &str = "weft.dev/applied";
/// Prefix of annotations of host pods: answers of the downward API in virtual terms. The mapper of pods writes
/// them, and plugins may.
pub const DOWNWARD_PREFIX: &str = "downward.weft.dev/";
/// Domain of labels of host pods: the labels of the pod's virtual Namespace, so that selectors of namespaces can
/// become selectors of pods. Translation writes them.
pub const NAMESPACE_LABELS_DOMAIN: &str = "ns.weft.dev";
/// Ends the prefix of a tenant's key that lies in weft's domain, on host objects: `weft.dev.tenant.weft.dev/cluster`; and of
/// one that controllers of the host would obey: `sidecar.istio.io.tenant.weft.dev/inject`. Translation writes it, so that
/// virtual clusters can be nested and command nothing outside of them.
pub const TENANT_SUFFIX: &str = ".tenant.weft.dev";
/// Label of host objects that belong to no pair: what they are for, such as `token`. The engine writes it, so that
/// people and tools find them.
pub const PURPOSE_LABEL: &str = "weft.dev/purpose";
/// Annotation of a host Secret with tokens: when they are refreshed, in seconds since 1970. The engine writes it.
pub const TOKEN_REFRESH: &str = "weft.dev/token-refresh";
/// Annotation of a host Secret with tokens: the [`crate::names::Identity`] of the virtual pod that they are bound to, as
/// JSON. The engine writes it.
pub const TOKEN_POD: &str = "weft.dev/token-pod";
/// Annotation of the virtual cluster's own Service on the host: the UID of the virtual Namespace `kube-system`, which
/// is as old as the virtual cluster's storage. The engine writes it.
pub const VIRTUAL_CLUSTER_UID: &str = "weft.dev/virtual-cluster-uid";
/// Annotation of the same Service: UIDs of virtual pods that the host has placed, and that could not be bound in the
/// virtual cluster. The engine writes and removes it.
pub const PLACED: &str = "weft.dev/placed";
/// Annotation of the host Secret with the virtual cluster's keys: the address ranges of Services, with commas between. `weft init` writes it.
pub const SERVICE_RANGES: &str = "weft.dev/service-ranges";

/// Annotation of a host Namespace that `weft create` made: the virtual cluster that it was made for. `weft delete` deletes
/// the Namespace with it.
pub const CREATED_NAMESPACE: &str = "weft.dev/created-for";
/// Name of the init container that completes the hosts file of a host pod, and of the volume that holds the file. The
/// mapper of pods writes them; nobody sees them in the virtual cluster.
pub const HOSTS_FILE: &str = "weft-hosts";

// Labels, annotations and names of virtual objects.

/// Annotation of a virtual Service that is being moved to another address: what it gets back at the end, as JSON.
/// The mapper of Services writes and removes it.
pub const MOVING: &str = "weft.dev/moving";
/// External name of a virtual or host Service that is halfway through such a move.
pub const MOVING_NAME: &str = "moving.weft.dev";
/// Annotation of the virtual pods of CoreDNS: digest of the authority that signs the API server's certificate. The syncer
/// writes it, so that another authority, which a program reads once, comes with new pods.
pub const AUTHORITY: &str = "weft.dev/authority";
/// Label of virtual PersistentVolumes that mirror the volume of a host claim, and of virtual Nodes that mirror one of the
/// host. The engine writes it, and changes and deletes only what has it.
pub const MIRRORED_LABEL: &str = "weft.dev/mirrored";
/// Name of the CSI driver of such volumes, which exists nowhere.
pub const MIRRORED_DRIVER: &str = "mirrored.weft.dev";
/// Label of virtual Nodes that stand for a host node without showing it. The engine writes it.
pub const FAKE_NODE_LABEL: &str = "weft.dev/fake-node";
/// Label of virtual Events that were mirrored from the host. The engine writes it.
pub const FROM_HOST_LABEL: &str = "weft.dev/from-host";
/// Annotation of virtual `CustomResourceDefinition`s that were installed from the host: which one they were made from,
/// as JSON. The engine writes it, and updates only definitions that have it.
pub const DEFINITION: &str = "weft.dev/definition";
/// Annotation of virtual objects that the syncer applies by itself, such as those of CoreDNS: digest of what was last
/// applied. The engine writes it.
pub const ADDON: &str = "weft.dev/addon";
/// Ends the prefix of the types of plugins' conditions in `status.conditions` of virtual objects:
/// `<plugin>.plugins.weft.dev/<name>`. Planning writes them.
pub const PLUGIN_CONDITIONS: &str = ".plugins.weft.dev/";
