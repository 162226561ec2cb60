//! Which host names tenants may claim.

use serde::Deserialize;
use weft_plugin::{Object, Problem, Result, Verdict, problem, reject};

/// Every host name, in place of one.
const ANY: &str = "*";

/// The operator's list; nothing is allowed if it is empty, and everything by `*`.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// Problems of the list.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let wrong = self.0.iter().enumerate().filter(|(_, pattern)| !is_pattern(pattern));
        wrong
            .map(|(index, pattern)| {
                let message = format!("{pattern:?} is no host name; write shop.example.com or *.example.com");
                problem("InvalidHost", message).at(format!("/hosts/{index}"))
            })
            .collect()
    }

    /// Passes if every host that the rules and certificates claim is allowed.
    pub(crate) fn allow_spec(&self, draft: &Object) -> Result {
        if self.is_any() {
            return Ok(());
        }
        if draft.get("/spec/defaultBackend").is_some_and(|backend| !backend.is_null()) {
            return Err(self.refuse_any("/spec/defaultBackend", "a default backend"));
        }
        for (pointer, rule) in draft.find("/spec/rules/*") {
            match rule.get("host").and_then(|host| host.as_str()).filter(|host| !host.is_empty()) {
                Some(host) => self.allow(host, &format!("{pointer}/host"))?,
                None => return Err(self.refuse_any(&pointer, "a rule without host")),
            }
        }
        for (pointer, host) in draft.find("/spec/tls/*/hosts/*") {
            self.allow(host.as_str().unwrap_or_default(), &pointer)?;
        }
        Ok(())
    }

    /// Passes if every host of a list with commas is allowed.
    pub(crate) fn allow_list(&self, list: &str, pointer: &str) -> Result {
        let mut hosts = list.split(',').map(str::trim).filter(|host| !host.is_empty());
        hosts.try_for_each(|host| self.allow(host, pointer))
    }

    /// Passes if the host is allowed.
    pub(crate) fn allow(&self, host: &str, pointer: &str) -> Result {
        let host = host.to_ascii_lowercase();
        if self.is_any() || self.0.iter().any(|pattern| covers(pattern, &host)) {
            return Ok(());
        }
        let message = format!("{host:?} is not one of the host names of this cluster: {}", self.list());
        Err(reject("HostNotAllowed", message).at(pointer))
    }

    fn refuse_any(&self, pointer: &str, what: &str) -> Verdict {
        let message = format!("{what} answers for every host name; name one of: {}", self.list());
        reject("HostRequired", message).at(pointer)
    }

    fn is_any(&self) -> bool {
        self.0.iter().any(|pattern| pattern == ANY)
    }

    /// The list, for people.
    fn list(&self) -> String {
        if self.0.is_empty() {
            "the operator lists none in the plugin's `hosts`".to_owned()
        } else {
            self.0.join(", ")
        }
    }
}

/// `*.example.com` covers every name below `example.com`, at any depth, and itself as a wildcard.
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => host.len() > end.len() && host.ends_with(end),
        None => pattern == host,
    }
}

fn is_pattern(pattern: &str) -> bool {
    if pattern == ANY {
        return true;
    }
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use weft_plugin::json;

    use super::*;

    fn hosts(patterns: &[&str]) -> Hosts {
        Hosts(patterns.iter().map(|&pattern| pattern.to_owned()).collect())
    }

    #[test]
    fn a_wildcard_covers_what_is_below_it() {
        let hosts = hosts(&["*.example.com", "shop.example.org"]);
        let is_allowed = |host| hosts.allow(host, "").is_ok();
        assert!(is_allowed("a.example.com") && is_allowed("a.b.example.com") && is_allowed("*.example.com"));
        assert!(is_allowed("shop.example.org") && is_allowed("SHOP.example.org"));
        assert!(
            !is_allowed("example.com") && !is_allowed("badexample.com") && !is_allowed(".example.com.evil")
        );
        assert!(!is_allowed("a.shop.example.org") && !is_allowed("*.example.org") && !is_allowed(""));
    }

    #[test]
    fn a_claim_on_every_host_is_refused_if_there_is_a_list() {
        let refused = |spec| {
            let draft = Object::from(json!({"spec": spec}));
            hosts(&["*.example.com"]).allow_spec(&draft).unwrap_err().problem().field.clone()
        };
        assert_eq!(refused(json!({"defaultBackend": {}})).as_deref(), Some("/spec/defaultBackend"));
        assert_eq!(
            refused(json!({"rules": [{"host": "a.example.com"}, {"http": {}}]})).as_deref(),
            Some("/spec/rules/1")
        );
        assert_eq!(
            refused(json!({"tls": [{"hosts": ["a.example.com", "b.org"]}]})).as_deref(),
            Some("/spec/tls/0/hosts/1")
        );
    }

    #[test]
    fn an_empty_list_allows_nothing_and_a_star_everything() {
        let spec =
            json!({"spec": {"defaultBackend": {}, "rules": [{"http": {}}, {"host": "a.example.com"}]}});
        assert!(hosts(&["*"]).allow_spec(&Object::from(spec)).is_ok());
        let refused = hosts(&[]).allow("a.example.com", "/spec/rules/0/host").unwrap_err();
        assert!(refused.problem().message.contains("`hosts`"), "{}", refused.problem().message);
    }

    #[test]
    fn patterns_are_checked() {
        let problems = hosts(&["*.example.com", "*", "a.*.com", "https://a", "b"]).check();
        let places: Vec<_> = problems.into_iter().filter_map(|problem| problem.field).collect();
        assert_eq!(places, ["/hosts/2", "/hosts/3"]);
    }
}
