//! What the misbehaving guest does to objects, and what the tenant reads of it: one row each.

/// What an object's mapping is made to do, and the event that says what came of it.
pub(super) struct Deed {
    pub(super) title: &'static str,
    pub(super) on: On,
    pub(super) action: &'static str,
    pub(super) with: &'static str,
    pub(super) reason: &'static str,
    pub(super) words: &'static [&'static str],
}

/// The kind of the object.
#[derive(Clone, Copy)]
pub(super) enum On {
    Pod,
    Secret,
    Slice,
    Claim,
}

const fn deed(title: &'static str, action: &'static str, reason: &'static str) -> Deed {
    Deed { title, on: On::Pod, action, with: "", reason, words: &[] }
}

const fn edit(title: &'static str, on: On, with: &'static str, words: &'static [&'static str]) -> Deed {
    Deed { title, on, action: "merge", with, reason: "PluginRefused", words }
}

/// What others must not see changed.
pub(super) const EDITS: &[Deed] = &[
    edit(
        "a Secret for a token of the host",
        On::Secret,
        r#"{"type":"kubernetes.io/service-account-token"}"#,
        &["type", "make it \"Opaque\""],
    ),
    edit(
        "a Secret of a ServiceAccount of the host",
        On::Secret,
        r#"{"metadata":{"annotations":{"kubernetes.io/service-account.name":"default"}}}"#,
        &["kubernetes.io/service-account.name", "it ties the Secret to a ServiceAccount"],
    ),
    edit(
        "an EndpointSlice of the Service of others",
        On::Slice,
        r#"{"metadata":{"labels":{"kubernetes.io/service-name":"my-vcluster"}}}"#,
        &["kubernetes.io/service-name", "is not the host name of an object of this virtual cluster"],
    ),
    edit(
        "a claim of the volume of others",
        On::Claim,
        r#"{"spec":{"volumeName":"pv-of-others"}}"#,
        &["spec.volumeName", "must not name its volume"],
    ),
    edit(
        "a claim that is a copy from another namespace",
        On::Claim,
        r#"{"spec":{"dataSourceRef":{"kind":"PersistentVolumeClaim","name":"data-x-shop-x-trial","namespace":"kube-system"}}}"#,
        &["spec.dataSourceRef.namespace", "remove it"],
    ),
    edit(
        "a claim on a node of its choice",
        On::Claim,
        r#"{"metadata":{"annotations":{"volume.kubernetes.io/selected-node":"node-0"}}}"#,
        &["volume.kubernetes.io/selected-node", "controllers of the host"],
    ),
    edit(
        "another namespace",
        On::Pod,
        r#"{"metadata":{"namespace":"kube-system"}}"#,
        &["metadata.namespace", "must not change it"],
    ),
    edit("a power", On::Pod, r#"{"spec":{"hostNetwork":true}}"#, &["spec.hostNetwork"]),
    edit(
        "the Secret of the control plane",
        On::Pod,
        r#"{"spec":{"imagePullSecrets":[{"name":"vc-my-vcluster"}]}}"#,
        &["spec.imagePullSecrets", "is not the host name"],
    ),
    edit(
        "a label of ours",
        On::Pod,
        r#"{"metadata":{"labels":{"weft.dev/cluster":"other"}}}"#,
        &["metadata.labels", "syncer's own"],
    ),
];

/// What the process must not take part in.
pub(super) const EXCESSES: &[Deed] = &[
    deed("no end", "spin", "PluginTimeout"),
    deed("no end of memory", "grow", "PluginMemory"),
    deed("no end of stack", "deep-recursion", "PluginTrapped"),
    deed("a panic", "panic", "PluginTrapped"),
    deed("an answer of 9 MiB", "huge-answer", "PluginTrapped"),
    deed("no JSON", "not-json", "PluginEditUnreadable"),
    deed("copies of copies", "patch-bomb", "PluginEditTooLarge"),
    deed("9000 copies of a long text", "byte-bomb", "PluginEditTooLarge"),
    deed("400000 values", "value-bomb", "PluginEditTooLarge"),
    deed("insertions before a long list", "shift-bomb", "PluginEditTooLarge"),
    deed("moves of a large value", "move-bomb", "PluginEditTooLarge"),
    Deed { with: "db", ..deed("a Secret in the log", "log-secret", "Requested") },
    Deed { with: "db", ..deed("a Secret in a panic", "panic-secret", "PluginTrapped") },
    deed("control characters", "ugly", "Sync2J0owned31mfakelineRefusedRefusedRefusedRefusedRefusedRefuse"),
    Deed { words: &["0 failed"], ..deed("20000 small prints", "print-flood", "Requested") },
    Deed { words: &["0 failed"], ..deed("a printed line of 5 MiB", "print-long-line", "Requested") },
    Deed { words: &["permits 4096"], ..deed("5 MiB printed at once", "print-at-once", "PluginTrapped") },
    Deed { words: &["permits 4096"], ..deed("2^63 zeroes", "huge-zeroes", "PluginTrapped") },
    Deed { words: &["closed"], ..deed("2^63 bytes spliced", "splice", "Requested") },
    Deed { words: &["65536 are given"], ..deed("2^63 random bytes", "huge-random-bytes", "PluginTrapped") },
    Deed { words: &["handle limit"], ..deed("streams without end", "streams", "PluginTrapped") },
];
