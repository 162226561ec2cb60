//! Does a pattern such as `*.example.com/*` mean the key of a label or an annotation?

/// Any key at all.
pub const ANY: &str = "*";
/// Begins a pattern that means subdomains as well.
const BELOW: &str = "*.";

/// Whether `pattern` means `key`: `example.com/name`, `example.com/*`, `example.com/begin*`, or with `*.` in front the same
/// for the domain and all below it; `name` or `begin*` for keys without a domain; `*` for every key.
pub fn means(pattern: &str, key: &str) -> bool {
    if pattern == ANY {
        return true;
    }
    match (pattern.split_once('/'), key.split_once('/')) {
        (Some((domain, name)), Some((of_key, name_of_key))) => {
            is_domain(domain, of_key) && is_name(name, name_of_key)
        }
        (None, None) => is_name(pattern, key),
        _ => false,
    }
}

/// Whether `text` is a pattern, or what is wrong with it.
///
/// # Errors
/// A sentence that ends what `"<pattern>" ` begins.
pub fn check(text: &str) -> Result<(), &'static str> {
    if text == ANY {
        return Ok(());
    }
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    if let Some(domain) = domain {
        let domain = domain.strip_prefix(BELOW).unwrap_or(domain);
        let is_part =
            |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"-.".contains(&letter);
        if domain.is_empty() || !domain.bytes().all(is_part) {
            return Err(
                "must begin with a domain in lower case, or with `*.` and a domain, before its slash",
            );
        }
    }
    let name = if domain.is_some() && name == ANY { "a" } else { name.strip_suffix('*').unwrap_or(name) };
    let is_part = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
    if name.is_empty() || !name.bytes().all(is_part) {
        return Err("must end with a name, the beginning of one and `*`, or after a domain with `/*`");
    }
    Ok(())
}

fn is_domain(pattern: &str, domain: &str) -> bool {
    match pattern.strip_prefix(BELOW) {
        Some(above) => domain.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
        None => pattern == domain,
    }
}

fn is_name(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_key_a_domain_or_all_below_it() {
        for (pattern, key) in [
            ("example.com/a", "example.com/a"),
            ("example.com/*", "example.com/a"),
            ("example.com/a*", "example.com/abc"),
            ("*.example.com/*", "example.com/a"),
            ("*.example.com/a", "b.c.example.com/a"),
            ("app", "app"),
            ("app*", "app-name"),
            ("*", "app"),
            ("*", "example.com/a"),
        ] {
            assert!(means(pattern, key), "{pattern} {key}");
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
        for (pattern, key) in [
            ("example.com/a", "example.com/ab"),
            ("example.com/*", "b.example.com/a"),
            ("*.example.com/*", "notexample.com/a"),
            ("*.example.com/*", "example.com"),
            ("app*", "example.com/app"),
            ("example.com/app", "app"),
        ] {
            assert!(!means(pattern, key), "{pattern} {key}");
        }
    }

    #[test]
    fn what_could_be_meant_otherwise_is_no_pattern() {
        for text in [
            "",
            "/",
            "/a",
            "example.com/",
            "*/a",
            "*.*/a",
            "Example.com/a",
            "a*b",
            "example.com/a/b",
            "**",
            "a b",
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }
}
