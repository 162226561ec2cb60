//! Which names a store has: all, those of a namespace, those that begin alike. What is looked for is all that is visited.

use std::sync::Arc;

use weft_core::object::Object;

use super::{Entry, State, Store};

/// `namespace/name`, or `name`.
pub(super) type Name = Box<str>;

impl<S> Store<S> {
    /// Calls `visit` with each object of a namespace, or with all for an empty one.
    pub(crate) fn each(&self, namespace: &str, visit: &mut dyn FnMut(&Arc<Object<S>>)) {
        // Trees made for this visit only are not kept.
        let names: Vec<Name> =
            self.lock().beginning_with(&join(namespace, "")).map(|(name, _)| name.clone()).collect();
        for name in names {
            let object = self.lock().objects.get(&name).and_then(Entry::peek);
            if let Some(object) = object {
                visit(&object);
            }
        }
    }

    /// The names of the objects of a namespace that begin with `prefix`.
    pub(crate) fn names_in(&self, namespace: &str, prefix: &str) -> Vec<String> {
        let state = self.lock();
        let prefix = join(namespace, prefix);
        let found = state.beginning_with(&prefix).map(|(name, _)| split(name));
        found.filter(|(found, _)| *found == namespace).map(|(_, name)| name.to_owned()).collect()
    }

    /// The names of all objects, as `(namespace, name)`.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        self.lock().objects.keys().map(owned).collect()
    }

    /// How many objects were visited so far to find those of some names.
    #[cfg(test)]
    pub(crate) fn visited(&self) -> usize {
        self.lock().visited.get()
    }
}

impl<S> State<S> {
    /// The objects whose joined names begin with `prefix`.
    fn beginning_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Name, &'a Entry<S>)> {
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        let visited = self.objects.range::<str, _>(from);
        #[cfg(test)]
        let visited = visited.inspect(|_| self.visited.set(self.visited.get() + 1));
        visited.take_while(move |(name, _)| name.starts_with(prefix))
    }
}

/// The name under which a store has an object.
pub(super) fn join(namespace: &str, name: &str) -> Name {
    if namespace.is_empty() { name.into() } else { format!("{namespace}/{name}").into() }
}

/// Namespace and name of an object by the name under which a store has it.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("", name))
}

/// The same, owned.
pub(super) fn owned(name: &Name) -> (String, String) {
    let (namespace, name) = split(name);
    (namespace.to_owned(), name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;
    use weft_core::object::{Virtual, VirtualObject};

    /// Three objects in each of many namespaces, some of whose names begin like those of others; two without a namespace.
    fn store() -> Store<Virtual> {
        let store = Store::default();
        let namespaces = (0..300).map(|number| format!("n-{number}"));
        for namespace in namespaces.chain(["shop", "shop-2", "shop.a", "shop0", "sho"].map(String::from)) {
            for name in ["web", "web-1", "db"] {
                let json = json!({"metadata": {"namespace": namespace, "name": name}});
                store.put(Arc::new(VirtualObject::from_json(json).unwrap()));
            }
        }
        for name in ["shop", "node"] {
            store.put(Arc::new(VirtualObject::from_json(json!({"metadata": {"name": name}})).unwrap()));
        }
        store
    }

    #[test]
    fn the_names_of_a_namespace_are_found_without_a_visit_of_others() {
        let store = store();
        assert_eq!(store.names_in("shop", ""), ["db", "web", "web-1"]);
        assert_eq!(store.names_in("shop", "web-"), ["web-1"]);
        assert_eq!(store.names_in("absent", ""), Vec::<String>::new());
        // Each time one more, which ends the search.
        assert_eq!(store.visited(), 4 + 2 + 1, "see State::beginning_with");
        assert_eq!(store.names_in("", "s"), ["shop"], "without a namespace");
    }

    #[test]
    fn each_object_of_a_namespace_is_visited_and_of_all_for_none() {
        let store = store();
        let mut found = Vec::new();
        store.each("shop", &mut |object| found.push(object.name().to_owned()));
        assert_eq!((found, store.visited()), (vec!["db".into(), "web".into(), "web-1".into()], 4));
        let mut count = 0;
        store.each("", &mut |_| count += 1);
        assert_eq!(count, store.names().len());
    }
}
