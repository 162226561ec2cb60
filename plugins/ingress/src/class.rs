//! Sets the class, and so the controller, of an Ingress on the host.

use weft_plugin::{Object, Result, Verdict, pointer, reject};

/// The field that names a class.
const FIELD: &str = "/spec/ingressClassName";
/// The annotation from before the field existed. Controllers still read it.
const ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Every class, in place of one.
const ANY: &str = "*";

/// Passes if the classes that the Ingress names are among `allowed`, and replaces them by `replacement`, if there is one. With a
/// replacement and without a list, it may name any.
pub(crate) fn apply(allowed: &[String], replacement: Option<&str>, draft: &mut Object) -> Result {
    let by_field = draft.get_str(FIELD).map(|class| (class, FIELD.to_owned()));
    let by_annotation = draft
        .annotation(ANNOTATION)
        .map(|class| (class, pointer::below("/metadata/annotations", ANNOTATION)));
    let named: Vec<_> = by_field.into_iter().chain(by_annotation).collect();
    let is_free = allowed.iter().any(|class| class == ANY) || (allowed.is_empty() && replacement.is_some());
    if !is_free {
        for (class, at) in &named {
            if !allowed.iter().any(|allowed| allowed == class) {
                return Err(refuse(&format!("class {class:?} is not offered here"), allowed, at));
            }
        }
        if named.is_empty() && replacement.is_none() {
            return Err(refuse("the class is missing", allowed, FIELD));
        }
    }
    if let Some(class) = replacement {
        draft.remove_annotation(ANNOTATION);
        draft.set(FIELD, class);
    }
    Ok(())
}

fn refuse(what: &str, allowed: &[String], at: &str) -> Verdict {
    let offered = if allowed.is_empty() {
        "the operator lists none in the plugin's `classes`".to_owned()
    } else {
        format!("name one of: {}", allowed.join(", "))
    };
    reject("ClassNotAllowed", format!("{what}; {offered}")).at(at)
}

#[cfg(test)]
mod tests {
    use weft_plugin::{Value, json};

    use super::*;

    fn after(allowed: &[&str], replacement: Option<&str>, ingress: Value) -> Result<Value> {
        let allowed: Vec<String> = allowed.iter().map(|&class| class.to_owned()).collect();
        let mut draft = Object::from(ingress);
        apply(&allowed, replacement, &mut draft)?;
        Ok(draft.to_value())
    }

    #[test]
    fn a_class_is_replaced_wherever_it_is_named() {
        let ingress = json!({"metadata": {"annotations": {ANNOTATION: "nginx"}}, "spec": {}});
        assert_eq!(
            after(&[], Some("shared"), ingress).unwrap(),
            json!({"metadata": {"annotations": {}}, "spec": {"ingressClassName": "shared"}})
        );
    }

    #[test]
    fn a_class_that_is_not_in_the_list_is_refused() {
        let by_annotation =
            json!({"metadata": {"annotations": {ANNOTATION: "alb"}}, "spec": {"ingressClassName": "nginx"}});
        let refused = after(&["nginx"], None, by_annotation).unwrap_err();
        assert_eq!(
            refused.problem().field.as_deref(),
            Some("/metadata/annotations/kubernetes.io~1ingress.class")
        );
        assert!(after(&["nginx"], None, json!({"spec": {}})).is_err());
        assert!(after(&["nginx"], Some("shared"), json!({"spec": {}})).is_ok());
        assert!(after(&["nginx"], None, json!({"spec": {"ingressClassName": "nginx"}})).is_ok());
        for ingress in [json!({"spec": {}}), json!({"spec": {"ingressClassName": "nginx"}})] {
            assert!(after(&[], None, ingress.clone()).is_err(), "nothing is listed");
            assert!(after(&["*"], None, ingress).is_ok());
        }
    }
}
