//! What a rule is told beside the draft, and what it tells beside its verdict.

use std::cell::RefCell;

use crate::bindings::exports::weft::mapping::mapper::Request;
use crate::bindings::weft::mapping::types::{Condition, Context, Event};
use crate::{Kind, Object, Result, Severity, fail};

/// One decision.
#[derive(Debug)]
pub struct Call {
    context: Context,
    kind: Kind,
    virtual_object: Option<Object>,
    host_object: Option<Object>,
    told: RefCell<Told>,
}

/// What the rule told, in order.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) events: Vec<Event>,
    pub(crate) conditions: Vec<Condition>,
}

impl Call {
    /// Takes a request apart.
    pub(crate) fn new(request: Request) -> (Self, Object) {
        let call = Self {
            context: request.context,
            kind: request.kind,
            virtual_object: request.virtual_object.map(Object::from_text),
            host_object: request.host_object.map(Object::from_text),
            told: RefCell::default(),
        };
        (call, Object::from_text(request.draft))
    }

    /// Which of the plugin's kinds it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The tenant's object as it is. Only there if the mapping asks for it with
    /// [`crate::Mapping::with_virtual_object`].
    pub fn virtual_object(&self) -> Result<&Object> {
        let missing = || fail("MissingInput", "the mapping does not ask for the virtual object");
        self.virtual_object.as_ref().ok_or_else(missing)
    }

    /// The host object as it is now, if there is one and the mapping asks for it with
    /// [`crate::Mapping::with_host_object`]. On the way to the virtual cluster there always is one.
    pub fn host_object(&self) -> Option<&Object> {
        self.host_object.as_ref()
    }

    /// Name of the virtual cluster.
    pub fn cluster(&self) -> &str {
        &self.context.cluster
    }

    /// The host namespace that holds its objects.
    pub fn host_namespace(&self) -> &str {
        &self.context.host_namespace
    }

    /// DNS domain of the virtual cluster, usually `cluster.local`.
    pub fn cluster_domain(&self) -> &str {
        &self.context.cluster_domain
    }

    /// Addresses of the virtual cluster's DNS, the preferred one first.
    pub fn dns(&self) -> &[String] {
        &self.context.dns
    }

    /// Addresses of the virtual API server as pods reach it, the preferred one first.
    pub fn api_servers(&self) -> &[String] {
        &self.context.api_servers
    }

    /// `major.minor` of the host.
    pub fn host_version(&self) -> &str {
        &self.context.host_version
    }

    /// `major.minor` of the virtual cluster.
    pub fn virtual_version(&self) -> &str {
        &self.context.virtual_version
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, frozen for this decision; 0 unless the descriptor says
    /// [`crate::Descriptor::uses_time`].
    pub fn now(&self) -> u64 {
        self.context.now
    }

    /// Tells something on the tenant's object with a Normal event.
    pub fn tell(&self, reason: impl Into<String>, message: impl Into<String>) {
        self.event(Severity::Normal, reason.into(), message.into());
    }

    /// Tells something on the tenant's object with a Warning event.
    pub fn warn(&self, reason: impl Into<String>, message: impl Into<String>) {
        self.event(Severity::Warning, reason.into(), message.into());
    }

    fn event(&self, severity: Severity, reason: String, message: String) {
        self.told.borrow_mut().events.push(Event { severity, reason, message });
    }

    /// Sets a condition of the tenant's object, if its kind has a status. `None` stands for `Unknown`. Conditions that
    /// are not set again the next time are removed.
    pub fn condition(
        &self,
        name: impl Into<String>,
        status: Option<bool>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        let condition =
            Condition { name: name.into(), status, reason: reason.into(), message: message.into() };
        self.told.borrow_mut().conditions.push(condition);
    }

    /// What was told.
    pub(crate) fn into_told(self) -> Told {
        self.told.into_inner()
    }
}
