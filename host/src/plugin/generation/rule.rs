//! The rule of a plugin for one kind: makes requests of objects, calls a fresh instance, and counts the call.

use std::sync::Arc;
use std::time::Instant;

use weft_core::context::Ctx;
use weft_core::extension::{Answer, Direction, Extension, Failure, Request, Terms};
use weft_core::object::Fields;
use weft_core::verdict::Word;

use super::Generation;
use crate::plugin::bindings::exports::weft::mapping::mapper;
use crate::plugin::convert;
use crate::registry::descriptor::Mapping;

/// A rule of a plugin for one kind.
pub(super) struct Rule {
    generation: Arc<Generation>,
    mapping: Mapping,
    terms: Terms,
}

impl Rule {
    pub(super) fn new(generation: Arc<Generation>, mapping: Mapping) -> Self {
        let terms = Terms {
            to_host: mapping.to_host,
            to_virtual: mapping.to_virtual,
            host_writes: mapping.host_writes.clone(),
            virtual_writes: mapping.virtual_writes.clone(),
            on_failure: generation.entry.on_failure.into(),
        };
        Self { generation, mapping, terms }
    }

    fn request(&self, ctx: &Ctx<'_>, request: &Request<'_>) -> mapper::Request {
        let json = |fields: &Fields| serde_json::to_string(fields).unwrap_or_default();
        let wants_host = self.mapping.wants_host || request.direction == Direction::ToVirtual;
        mapper::Request {
            context: convert::context(ctx, self.generation.loaded.descriptor.uses_time),
            kind: convert::kind_record(&self.mapping.resource),
            virtual_object: self.mapping.wants_virtual.then(|| json(request.virtual_object.fields())),
            host_object: request.host_object.filter(|_| wants_host).map(|object| json(object.fields())),
            draft: json(request.draft),
        }
    }

    fn answer(&self, ctx: &Ctx<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
        let generation = &self.generation;
        let asked = self.request(ctx, request);
        let object = request.virtual_object;
        let about = format!("{} {}/{}", self.mapping.resource.kind, object.namespace(), object.name());
        let imports = generation.imports(&about).about_kind(&self.mapping.resource.kind());
        let imports = imports.open(ctx.names.clone(), ctx.lookup.shared(), generation.permissions.clone());
        let (outcome, reads) = generation.run(request.direction, &asked, imports);
        let answer = outcome.and_then(|outcome| convert::answer(&generation.name, &outcome));
        if let Ok(answer) = &answer {
            generation.recorder.record(request.direction, asked, reads, answer);
        }
        answer
    }
}

impl Extension for Rule {
    fn name(&self) -> &str {
        &self.generation.name
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn call(&self, ctx: &Ctx<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
        let generation = &self.generation;
        if !generation.breaker.lets_pass() {
            return Err(Failure::new(
                "PluginPaused",
                "it failed so often that it is not called for a while; the log of the syncer says why",
            ));
        }
        let start = Instant::now();
        let answer = self.answer(ctx, request);
        let verdict = answer
            .as_ref()
            .map_or_else(|failure| failure.reason, |answer| Word::of(&answer.verdict).as_str());
        let kind = self.mapping.resource.kind();
        generation.metrics.called(&generation.name, kind.as_str(), verdict, start.elapsed());
        generation.breaker.called(answer.as_ref().err());
        answer
    }

    fn refused(&self, failure: &Failure) {
        let generation = &self.generation;
        generation.metrics.refused(&generation.name, root(failure.field.as_deref()));
        generation.breaker.refused(failure);
    }
}

/// The field of an object that another one lies in. Plugins can make up names, so only these are counted.
fn root(field: Option<&str>) -> &'static str {
    let roots = ["apiVersion", "kind", "metadata", "spec", "data", "status"];
    let root = field.and_then(|field| field.split(['.', '[']).next());
    roots.into_iter().find(|known| Some(*known) == root).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use weft_core::chain::Chain;
    use weft_core::extension::OnFailure;
    use weft_core::kinds;
    use weft_core::object::Kind;

    use super::*;
    use crate::config::grants::{Entry, FailurePolicy};
    use crate::plugin::testing::{component, generation, pod_to_host, team};
    use crate::registry::Plugin as _;

    fn pods(generation: &Arc<Generation>) -> Chain {
        let builtin = kinds::builtin();
        let pods = builtin.iter().find(|mapper| mapper.spec().resource.kind() == Kind::new("v1/Pod"));
        let mut chain = Chain::new(pods.unwrap().clone());
        chain.followed_by(generation.clone().extension(&generation.loaded.descriptor.mappings[0]));
        chain
    }

    #[test]
    fn a_call_is_answered_counted_and_remembered() {
        let generation = Arc::new(generation(&component(), team("web")).unwrap());
        let pod = pod_to_host(&pods(&generation)).unwrap();
        assert_eq!(pod.label("team"), Some("web"));
        assert_eq!(generation.breaker.failures(), "0 of 1 calls, first with none");
        let calls = generation.recorder.calls();
        assert_eq!(calls.len(), 1);
        assert!(calls[0].to_request().draft.contains("nginx"));
        assert_eq!(calls[0].to_request().kind.kind, "Pod");
    }

    #[test]
    fn an_answer_that_the_guard_refuses_counts_as_a_failure() {
        let generation = Arc::new(generation(&component(), team("no label value")).unwrap());
        let rule = generation.clone().extension(&generation.loaded.descriptor.mappings[0]);
        assert!(pod_to_host(&pods(&generation)).is_ok(), "whether it is one is for the API server to say");
        rule.refused(&Failure::new("PluginRefused", "").about("spec.hostNetwork"));
        assert_eq!(
            generation.breaker.failures(),
            "1 of 1 calls, first with PluginRefused at spec.hostNetwork"
        );
    }

    #[test]
    fn a_plugin_that_is_paused_is_not_called() {
        let generation = Arc::new(generation(&component(), team("web")).unwrap());
        (0..10).for_each(|_| generation.breaker.called(Some(&Failure::new("PluginTrapped", ""))));
        let hold = pod_to_host(&pods(&generation)).unwrap_err();
        assert_eq!(hold.problem().reason, "PluginPaused");
        assert!(generation.recorder.calls().is_empty());
    }

    #[test]
    fn the_terms_of_a_rule_are_those_of_its_mapping_and_of_its_entry() {
        let entry = Entry { on_failure: FailurePolicy::Deny, ..team("web") };
        let generation = Arc::new(generation(&component(), entry).unwrap());
        let mapping = generation.loaded.descriptor.mappings[0].clone();
        let expected = Terms {
            to_host: true,
            to_virtual: mapping.to_virtual,
            host_writes: mapping.host_writes.clone(),
            virtual_writes: mapping.virtual_writes.clone(),
            on_failure: OnFailure::Deny,
        };
        let rule = generation.extension(&mapping);
        assert_eq!((rule.name(), rule.terms()), ("team-label", &expected));
    }

    #[test]
    fn refusals_are_counted_by_a_field_of_every_object() {
        let roots = [Some("spec.volumes[2].hostPath"), Some("data[x]"), Some("made.up"), None].map(root);
        assert_eq!(roots, ["spec", "data", "other", "other"]);
    }
}
