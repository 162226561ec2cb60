//! Where objects select pods, as data: the guard judges every kind by it.

/// One place where objects of a kind select pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Path to the selector, with `*` for every element: `/spec/topologySpreadConstraints/*/labelSelector`.
    pub path: String,
    /// How it is written there.
    pub form: Form,
    /// What a missing one means.
    pub missing: Missing,
}

/// How a selector of pods is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Labels by key, as in a Service. An empty map selects no pods.
    Labels,
    /// A `LabelSelector`. An empty one selects all pods.
    LabelSelector,
    /// A term of pod affinity: a `labelSelector`, and the namespaces that it is for.
    AffinityTerm,
    /// Which namespaces are meant beside the object's own: a selector or a list, and on the host none.
    Namespaces,
}

/// What it means that a selector is missing or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It selects no pods.
    NoPods,
    /// It selects all pods.
    AllPods,
    /// Nobody here knows: an extension must not remove the one that is there.
    Unknown,
}

impl Selector {
    /// A `LabelSelector` at `path`.
    pub fn label_selector(path: &str) -> Self {
        Self::new(path, Form::LabelSelector)
    }

    /// A `LabelSelector` at `path` of a kind that weft does not know.
    pub fn declared(path: &str) -> Self {
        Self { missing: Missing::Unknown, ..Self::label_selector(path) }
    }

    /// Labels by key at `path`.
    pub fn labels(path: &str) -> Self {
        Self::new(path, Form::Labels)
    }

    /// A term of pod affinity at `path`.
    pub fn affinity_term(path: &str) -> Self {
        Self::new(path, Form::AffinityTerm)
    }

    fn new(path: &str, form: Form) -> Self {
        Self { path: path.to_owned(), form, missing: Missing::NoPods }
    }
}
