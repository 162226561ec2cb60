//! The inputs of a rule beside the draft, and its events and conditions.

use std::cell::RefCell;

use crate::bindings::exports::weft::mapping::mapper::Request;
use crate::bindings::weft::mapping::types::{Condition, Context, Event};
use crate::{Kind, Object, Result, Severity, fail};

/// One object to map.
#[derive(Debug)]
pub struct Call {
    context: Context,
    kind: Kind,
    virtual_object: Option<Object>,
    host_object: Option<Object>,
    effects: RefCell<Effects>,
}

/// Events and conditions of the rule, in order.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) events: Vec<Event>,
    pub(crate) conditions: Vec<Condition>,
}

impl Call {
    /// Splits a request into the call and the draft.
    pub(crate) fn new(request: Request) -> (Self, Object) {
        let call = Self {
            context: request.context,
            kind: request.kind,
            virtual_object: request.virtual_object.map(Object::from_json),
            host_object: request.host_object.map(Object::from_json),
            effects: RefCell::default(),
        };
        (call, Object::from_json(request.draft))
    }

    /// The kind of the object, one of those that the plugin maps.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The tenant's object. Only set if the mapping requests it with [`crate::Mapping::with_virtual_object`].
    pub fn virtual_object(&self) -> Result<&Object> {
        let missing = || fail("MissingInput", "the mapping does not request the virtual object");
        self.virtual_object.as_ref().ok_or_else(missing)
    }

    /// The current host object, if it exists and the mapping requests it with [`crate::Mapping::with_host_object`]. For
    /// [`crate::Plugin::to_virtual`] it always exists.
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

    /// Milliseconds since 1970-01-01T00:00:00Z, the same for the whole reconcile; 0 unless the descriptor sets
    /// [`crate::Descriptor::uses_time`].
    pub fn now(&self) -> u64 {
        self.context.now
    }

    /// Emits a Normal event on the tenant's object.
    pub fn event(&self, reason: impl Into<String>, message: impl Into<String>) {
        self.push_event(Severity::Normal, reason.into(), message.into());
    }

    /// Emits a Warning event on the tenant's object.
    pub fn warn(&self, reason: impl Into<String>, message: impl Into<String>) {
        self.push_event(Severity::Warning, reason.into(), message.into());
    }

    fn push_event(&self, severity: Severity, reason: String, message: String) {
        self.effects.borrow_mut().events.push(Event { severity, reason, message });
    }

    /// Sets a condition of the tenant's object, if its kind has a status. `None` means `Unknown`. A condition that
    /// the next call does not set is removed.
    pub fn condition(
        &self,
        name: impl Into<String>,
        status: Option<bool>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        let condition =
            Condition { name: name.into(), status, reason: reason.into(), message: message.into() };
        self.effects.borrow_mut().conditions.push(condition);
    }

    /// Events and conditions of the rule.
    pub(crate) fn into_effects(self) -> Effects {
        self.effects.into_inner()
    }
}
