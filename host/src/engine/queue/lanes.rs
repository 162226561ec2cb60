//! Keys that are ready, in turn by virtual namespace; of some kinds only so many may be in flight at once.
//!
//! Rules that may take long run on threads of their own, but the worker waits for them. A kind with such
//! rules has lanes of its own, which are parked while enough of it is in flight: it cannot take every worker,
//! and its keys cost nothing while they wait.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use weft_core::object::{Key, Kind};

/// How many keys may be in flight at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of each of these kinds; of all others any number.
    pub(crate) kinds: BTreeMap<Kind, usize>,
    /// Of all these kinds together.
    pub(crate) together: usize,
}

/// The ready keys.
#[derive(Default)]
pub(super) struct Lanes {
    keys: HashMap<Lane, VecDeque<Key>>,
    /// Lanes with keys, in the order of their turns.
    turns: VecDeque<Lane>,
    /// Lanes with keys of kinds of which enough is in flight.
    parked: BTreeMap<Kind, VecDeque<Lane>>,
    ready: HashSet<Key>,
    limits: Limits,
    /// Keys in flight, of the limited kinds.
    in_flight: BTreeMap<Kind, usize>,
}

/// Whose turn it is: a virtual namespace, and there each limited kind for itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Lane {
    limited: Option<Kind>,
    namespace: String,
}

impl Lanes {
    /// Adds a key, once.
    pub(super) fn push(&mut self, key: Key) {
        if !self.ready.insert(key.clone()) {
            return;
        }
        let lane = self.lane(&key);
        let keys = self.keys.entry(lane.clone()).or_default();
        if keys.is_empty() {
            self.turns.push_back(lane);
        }
        keys.push_back(key);
    }

    /// The first key of the lane whose turn it is. It is in flight until [`Self::release`].
    pub(super) fn take(&mut self) -> Option<Key> {
        let lane = self.next_lane()?;
        let keys = self.keys.get_mut(&lane)?;
        let key = keys.pop_front()?;
        if keys.is_empty() {
            self.keys.remove(&lane);
        } else {
            self.turns.push_back(lane);
        }
        self.ready.remove(&key);
        if self.limits.kinds.contains_key(&key.kind) {
            *self.in_flight.entry(key.kind.clone()).or_default() += 1;
        }
        Some(key)
    }

    /// Ends the flight of a key of this kind: a parked lane may have its turn.
    pub(super) fn release(&mut self, kind: &Kind) {
        let Some(count) = self.in_flight.get_mut(kind) else { return };
        *count = count.saturating_sub(1);
        // The room may be for any of them: all together are limited too.
        let waiting: Vec<Kind> = self.parked.keys().cloned().collect();
        for kind in waiting.into_iter().filter(|kind| !is_full(&self.limits, &self.in_flight, kind)) {
            let Some(lanes) = self.parked.get_mut(&kind) else { continue };
            self.turns.extend(lanes.pop_front());
            if lanes.is_empty() {
                self.parked.remove(&kind);
            }
        }
    }

    /// Sets the limits, given the keys that are in flight now.
    pub(super) fn limit<'a>(&mut self, limits: Limits, in_flight: impl Iterator<Item = &'a Key>) {
        self.in_flight.clear();
        for key in in_flight.filter(|key| limits.kinds.contains_key(&key.kind)) {
            *self.in_flight.entry(key.kind.clone()).or_default() += 1;
        }
        self.limits = limits;
        let order: Vec<Lane> =
            self.turns.drain(..).chain(std::mem::take(&mut self.parked).into_values().flatten()).collect();
        self.ready.clear();
        let mut keys = std::mem::take(&mut self.keys);
        for lane in order {
            keys.remove(&lane).into_iter().flatten().for_each(|key| self.push(key));
        }
    }

    /// Drops every key of a kind.
    pub(super) fn forget(&mut self, kind: &Kind) {
        self.ready.retain(|key| key.kind != *kind);
        for keys in self.keys.values_mut() {
            keys.retain(|key| key.kind != *kind);
        }
        self.keys.retain(|_, keys| !keys.is_empty());
        let keys = &self.keys;
        self.turns.retain(|lane| keys.contains_key(lane));
        self.parked.remove(kind);
    }

    /// Whether the key is ready.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.ready.contains(key)
    }

    /// Whether no key is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether [`Self::take`] may have a key to return.
    pub(super) fn has_turn(&self) -> bool {
        !self.turns.is_empty()
    }

    /// The next lane of which a key may be taken; those before it that may not are parked.
    fn next_lane(&mut self) -> Option<Lane> {
        loop {
            let lane = self.turns.pop_front()?;
            match &lane.limited {
                Some(kind) if is_full(&self.limits, &self.in_flight, kind) => {
                    self.parked.entry(kind.clone()).or_default().push_back(lane);
                }
                _ => return Some(lane),
            }
        }
    }

    fn lane(&self, key: &Key) -> Lane {
        let limited = self.limits.kinds.contains_key(&key.kind).then(|| key.kind.clone());
        Lane { limited, namespace: key.name.namespace.clone() }
    }
}

/// Whether enough of a limited kind is in flight.
fn is_full(limits: &Limits, in_flight: &BTreeMap<Kind, usize>, kind: &Kind) -> bool {
    let held = in_flight.get(kind).copied().unwrap_or_default();
    limits.kinds.get(kind).is_some_and(|limit| held >= *limit)
        || in_flight.values().sum::<usize>() >= limits.together
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_core::object::VirtualName;

    fn key(kind: &str, namespace: &str, name: &str) -> Key {
        Key { kind: Kind::new(kind), name: VirtualName::new(namespace, name) }
    }

    /// Two of `v1/Slow` and one of `v1/Lame` may be in flight, two together.
    fn limited() -> Lanes {
        let mut lanes = Lanes::default();
        let kinds = [(Kind::new("v1/Slow"), 2), (Kind::new("v1/Lame"), 1)].into();
        lanes.limit(Limits { kinds, together: 2 }, std::iter::empty());
        lanes
    }

    fn take(lanes: &mut Lanes) -> Option<String> {
        lanes.take().map(|key| key.name.to_string())
    }

    #[test]
    fn a_limited_kind_leaves_its_turn_to_others() {
        let mut lanes = limited();
        (0..9).for_each(|number| lanes.push(key("v1/Slow", "storm", &number.to_string())));
        lanes.push(key("v1/Slow", "calm", "slow"));
        lanes.push(key("v1/Pod", "storm", "pod"));
        let taken: Vec<_> = std::iter::from_fn(|| take(&mut lanes)).collect();
        assert_eq!(taken, ["storm/0", "calm/slow", "storm/pod"]);
        lanes.release(&Kind::new("v1/Slow"));
        assert_eq!(take(&mut lanes).as_deref(), Some("storm/1"));
        assert_eq!(take(&mut lanes), None);
        assert!(!lanes.is_empty());
    }

    #[test]
    fn limited_kinds_together_leave_room_as_well() {
        let mut lanes = limited();
        lanes.push(key("v1/Slow", "a", "1"));
        lanes.push(key("v1/Lame", "a", "2"));
        lanes.push(key("v1/Slow", "a", "3"));
        lanes.push(key("v1/Lame", "a", "4"));
        assert_eq!([take(&mut lanes), take(&mut lanes)].map(Option::unwrap), ["a/1", "a/2"]);
        assert_eq!(take(&mut lanes), None);
        // The room that one kind leaves may be for the other.
        lanes.release(&Kind::new("v1/Lame"));
        assert!(take(&mut lanes).is_some());
        assert_eq!(take(&mut lanes), None);
        lanes.release(&Kind::new("v1/Slow"));
        lanes.release(&Kind::new("v1/Slow"));
        assert!(take(&mut lanes).is_some());
    }

    #[test]
    fn keys_keep_their_place_when_limits_change() {
        let mut lanes = limited();
        for name in ["1", "2", "3", "4"] {
            lanes.push(key("v1/Slow", "a", name));
        }
        let held: Vec<Key> = std::iter::from_fn(|| lanes.take()).collect();
        assert_eq!(held.len(), 2);
        lanes.limit(Limits::default(), held.iter());
        assert_eq!([take(&mut lanes), take(&mut lanes)].map(Option::unwrap), ["a/3", "a/4"]);
        lanes.release(&Kind::new("v1/Slow"));
        assert_eq!((take(&mut lanes), lanes.is_empty()), (None, true));
    }

    #[test]
    fn a_forgotten_kind_leaves_nothing_behind() {
        let mut lanes = limited();
        for name in ["1", "2", "3", "4"] {
            lanes.push(key("v1/Slow", "a", name));
        }
        lanes.push(key("v1/Pod", "a", "pod"));
        assert_eq!(take(&mut lanes).as_deref(), Some("a/1"));
        lanes.forget(&Kind::new("v1/Slow"));
        assert_eq!(take(&mut lanes).as_deref(), Some("a/pod"));
        assert_eq!((take(&mut lanes), lanes.is_empty(), lanes.has_turn()), (None, true, false));
    }
}
