//! Creates an object.

use serde_json::Value;

use super::call::Call;
use super::kinds::Kind;
use super::metadata;
use super::object::{fields, metadata, text};
use super::refusal::Refusal;
use super::rules::generated;
use super::server::Server;
use super::storage::Key;

impl Server {
    pub(super) fn create(&mut self, call: &Call) -> Result<Value, Refusal> {
        let mut object = call.body.clone();
        metadata::check_place(&mut object, call)?;
        metadata::clear(&mut object);
        let name = self.name(&object)?;
        self.check_namespace(call, &name)?;
        metadata(&mut object).insert("name".into(), name.clone().into());
        if call.kind.is_custom {
            fields(&mut object).remove("status");
        }
        let subject = self.subject(call.kind, &name);
        if name.is_empty() {
            return Err(subject.required("metadata.name", "name or generateName is required"));
        }
        metadata::validate(&object, &subject)?;
        (call.kind.rules.create)(&mut object, &subject)?;
        let key = Key::new(call.kind, &call.namespace, &name);
        if self.storage.get(&key).is_some() {
            return Err(Refusal::already_exists(call.kind, &name));
        }
        self.stamp(&mut object, call.kind);
        Ok(self.store(call, key, object))
    }

    fn name(&mut self, object: &Value) -> Result<String, Refusal> {
        let name = text(object, "/metadata/name");
        if !text(object, "/metadata/resourceVersion").is_empty() {
            return Err(Refusal::internal("resourceVersion should not be set on objects to be created"));
        }
        let base = text(object, "/metadata/generateName");
        Ok(match name {
            "" if !base.is_empty() => generated(base, &mut self.identifiers),
            name => name.to_owned(),
        })
    }

    /// What is created must have a namespace that stays.
    fn check_namespace(&self, call: &Call, name: &str) -> Result<(), Refusal> {
        let Some(namespaces) = Kind::core("namespaces").filter(|_| call.kind.is_namespaced) else {
            return Ok(());
        };
        let found = self.storage.get(&Key::new(namespaces, "", &call.namespace));
        let namespace = found.ok_or_else(|| Refusal::not_found(namespaces, &call.namespace))?;
        if namespace.pointer("/metadata/deletionTimestamp").is_some() {
            let why = "its namespace is being terminated";
            let refusal = Refusal::forbidden(call.kind, name, why);
            return Err(refusal.and("metadata.namespace", "NamespaceTerminating", why));
        }
        Ok(())
    }

    /// Sets what the server sets.
    pub(super) fn stamp(&mut self, object: &mut Value, kind: &Kind) {
        let (uid, now) = (self.identifiers.uid(), self.clock.timestamp(0));
        let fields = metadata(object);
        fields.insert("uid".into(), uid.into());
        fields.insert("creationTimestamp".into(), now.into());
        if kind.has_generation {
            fields.insert("generation".into(), 1.into());
        }
    }
}
