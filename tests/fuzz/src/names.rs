//! Host names, whatever virtual ones are: each is a DNS name of 63 characters at most, its own, and read back as it was
//! made; and no string that flows back shows one.

use weft_core::names::{Names, is_dns_label, is_dns_subdomain};
use weft_core::object::VirtualName;

/// Lines: the cluster, two namespaces with a name each, and a string of the host about the first.
pub(crate) fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(6, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let Ok(names) = Names::new(line(), "team-a") else { return };
    let pair = [VirtualName::new(line(), line()), VirtualName::new(line(), line())];
    if pair.iter().any(|one| !is_dns_label(&one.namespace) || !is_dns_subdomain(&one.name)) {
        return;
    }
    let [first, second] = pair;
    for derive in [Names::host_name, |names: &Names, name: &VirtualName| names.derived("tokens", name)] {
        let (of_first, of_second) = (derive(&names, &first), derive(&names, &second));
        assert_eq!(
            of_first == of_second,
            first == second,
            "{first:?} and {second:?} are {of_first} and {of_second}"
        );
        assert!(of_first.as_str().len() <= 63 && names.is_ours(of_first.as_str()), "{first:?} is {of_first}");
    }
    let host_name = names.host_name(&first);
    let read = names.virtual_name(host_name.as_str());
    assert!(read.is_none_or(|read| read == first), "{host_name} is of {first:?}");
    check_text(&names, &first, line());
}

fn check_text(names: &Names, name: &VirtualName, text: &str) {
    let host_name = names.host_name(name);
    let shown = names.to_virtual_text(&format!("{text} \"{host_name}\""), &name.namespace);
    let is_shown = shown.contains(host_name.as_str()) && !text.contains(host_name.as_str());
    assert!(!is_shown, "{text:?} is shown as {shown:?}");
}
