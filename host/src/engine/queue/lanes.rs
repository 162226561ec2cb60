//! Keys that are ready, in turn by virtual namespace and kind; of each namespace, of each kind and of each kind in a namespace
//! only so many may be in flight at once.
//!
//! A worker waits for what it has asked a server, and a server may not answer: an admission webhook hangs, in one namespace or
//! for one kind. Rules that may take long are waited for as well. A lane that has enough in flight, or whose namespace or kind has, is
//! parked: it cannot take every worker, and its keys cost nothing while they wait.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use weft_core::object::{Key, Kind};

/// How many keys may be in flight at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Of a virtual namespace.
    pub(crate) namespace: usize,
    /// Of a kind.
    pub(crate) kind: usize,
    /// Of a kind in a namespace.
    pub(crate) lane: usize,
    /// Of each of these kinds, whose rules may take long.
    pub(crate) kinds: BTreeMap<Kind, usize>,
    /// Of all those together.
    pub(crate) together: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let all = usize::MAX;
        Self { namespace: all, kind: all, lane: all, kinds: BTreeMap::new(), together: all }
    }
}

/// The ready keys.
#[derive(Default)]
pub(super) struct Lanes {
    keys: HashMap<Lane, VecDeque<Key>>,
    /// Lanes with keys, in the order of their turns.
    turns: VecDeque<Lane>,
    /// Lanes with keys that wait for room, by where.
    parked: BTreeMap<Bound, VecDeque<Lane>>,
    ready: HashSet<Key>,
    limits: Limits,
    in_flight: HashMap<Bound, usize>,
}

/// Whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Lane {
    namespace: String,
    kind: Kind,
}

/// What only so many keys may be in flight of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Bound {
    Namespace(String),
    Kind(Kind),
    /// A kind in a namespace.
    Lane(Lane),
    /// All kinds whose rules may take long.
    Together,
}

impl Lanes {
    /// Adds a key, once.
    pub(super) fn push(&mut self, key: Key) {
        if !self.ready.insert(key.clone()) {
            return;
        }
        let lane = Lane::of(&key);
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
        for bound in self.limits.bounds(&lane) {
            *self.in_flight.entry(bound).or_default() += 1;
        }
        if keys.is_empty() {
            self.keys.remove(&lane);
        } else {
            self.turns.push_back(lane);
        }
        self.ready.remove(&key);
        Some(key)
    }

    /// Ends the flight of a key: lanes that were parked for want of its room may have their turn.
    pub(super) fn release(&mut self, key: &Key) {
        for bound in self.limits.bounds(&Lane::of(key)) {
            if let Some(count) = self.in_flight.get_mut(&bound) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.in_flight.remove(&bound);
                }
            }
            self.unpark(&bound);
        }
    }

    /// Sets the limits, given the keys that are in flight now.
    pub(super) fn limit<'a>(&mut self, limits: Limits, in_flight: impl Iterator<Item = &'a Key>) {
        self.limits = limits;
        self.in_flight.clear();
        for bound in in_flight.flat_map(|key| self.limits.bounds(&Lane::of(key))) {
            *self.in_flight.entry(bound).or_default() += 1;
        }
        self.unpark_all();
    }

    /// Drops every key of a kind.
    pub(super) fn forget(&mut self, kind: &Kind) {
        self.ready.retain(|key| key.kind != *kind);
        self.keys.retain(|lane, _| lane.kind != *kind);
        // A lane that goes leaves its room to those that wait.
        self.unpark_all();
        self.turns.retain(|lane| lane.kind != *kind);
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
            let bounds = self.limits.bounds(&lane);
            let Some(full) = bounds.iter().position(|bound| self.is_full(bound)) else { return Some(lane) };
            for (place, bound) in bounds.into_iter().enumerate() {
                if place == full {
                    self.parked.entry(bound).or_default().push_back(lane.clone());
                } else if !self.is_full(&bound) {
                    // It had its turn for the room here, and leaves it to the next.
                    self.unpark(&bound);
                }
            }
        }
    }

    fn is_full(&self, bound: &Bound) -> bool {
        self.in_flight.get(bound).is_some_and(|count| *count >= self.limits.of(bound))
    }

    /// Gives one lane that is parked for want of room here its turn.
    fn unpark(&mut self, bound: &Bound) {
        let Some(lanes) = self.parked.get_mut(bound) else { return };
        self.turns.extend(lanes.pop_front());
        if lanes.is_empty() {
            self.parked.remove(bound);
        }
    }

    fn unpark_all(&mut self) {
        let parked = std::mem::take(&mut self.parked);
        self.turns.extend(parked.into_values().flatten());
    }
}

impl Lane {
    fn of(key: &Key) -> Self {
        Self { namespace: key.name.namespace.clone(), kind: key.kind.clone() }
    }
}

impl Limits {
    /// What a key of this lane counts towards.
    fn bounds(&self, lane: &Lane) -> Vec<Bound> {
        let (namespace, kind) = (lane.namespace.clone(), lane.kind.clone());
        let mut bounds = vec![Bound::Namespace(namespace), Bound::Kind(kind), Bound::Lane(lane.clone())];
        if self.kinds.contains_key(&lane.kind) {
            bounds.push(Bound::Together);
        }
        bounds
    }

    fn of(&self, bound: &Bound) -> usize {
        match bound {
            Bound::Namespace(_) => self.namespace,
            Bound::Kind(kind) => self.kinds.get(kind).copied().unwrap_or(self.kind),
            Bound::Lane(_) => self.lane,
            Bound::Together => self.together,
        }
    }
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
        lanes.limit(Limits { kinds, together: 2, ..Limits::default() }, std::iter::empty());
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
        lanes.release(&key("v1/Slow", "storm", "0"));
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
        lanes.release(&key("v1/Lame", "a", "0"));
        assert!(take(&mut lanes).is_some());
        assert_eq!(take(&mut lanes), None);
        lanes.release(&key("v1/Slow", "a", "0"));
        lanes.release(&key("v1/Slow", "a", "0"));
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
        lanes.release(&key("v1/Slow", "a", "0"));
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

    fn bounded(namespace: usize, kind: usize) -> Lanes {
        let mut lanes = Lanes::default();
        lanes.limit(Limits { namespace, kind, ..Limits::default() }, std::iter::empty());
        lanes
    }

    #[test]
    fn a_namespace_whose_keys_do_not_come_back_leaves_room_for_others() {
        let mut lanes = bounded(2, 9);
        (0..9).for_each(|number| lanes.push(key("v1/Pod", "hung", &number.to_string())));
        lanes.push(key("v1/Service", "hung", "web"));
        lanes.push(key("v1/Pod", "calm", "1"));
        let taken: Vec<_> = std::iter::from_fn(|| take(&mut lanes)).collect();
        assert_eq!(taken, ["hung/0", "hung/web", "calm/1"]);
        lanes.push(key("v1/Pod", "calm", "2"));
        assert_eq!(take(&mut lanes).as_deref(), Some("calm/2"));
        lanes.release(&key("v1/Service", "hung", "web"));
        assert_eq!([take(&mut lanes), take(&mut lanes)], [Some("hung/1".to_owned()), None]);
    }

    #[test]
    fn a_kind_whose_keys_do_not_come_back_leaves_room_for_others_of_its_namespace() {
        let mut lanes = Lanes::default();
        lanes.limit(Limits { namespace: 3, lane: 2, ..Limits::default() }, std::iter::empty());
        (0..9).for_each(|number| lanes.push(key("v1/Slow", "a", &number.to_string())));
        assert_eq!(std::iter::from_fn(|| take(&mut lanes)).count(), 2);
        lanes.push(key("v1/Pod", "a", "web"));
        assert_eq!([take(&mut lanes), take(&mut lanes)], [Some("a/web".to_owned()), None]);
        lanes.release(&key("v1/Slow", "a", "0"));
        assert_eq!([take(&mut lanes), take(&mut lanes)], [Some("a/2".to_owned()), None]);
    }

    #[test]
    fn a_kind_whose_keys_do_not_come_back_leaves_room_for_others() {
        let mut lanes = bounded(9, 3);
        (0..9).for_each(|number| lanes.push(key("v1/Pod", &format!("ns-{number}"), "web")));
        lanes.push(key("v1/Service", "calm", "web"));
        assert_eq!(std::iter::from_fn(|| take(&mut lanes)).count(), 4);
        lanes.release(&key("v1/Pod", "ns-1", "web"));
        assert_eq!([take(&mut lanes), take(&mut lanes)], [Some("ns-3/web".to_owned()), None]);
    }

    #[test]
    fn room_that_a_lane_cannot_use_is_left_to_the_next() {
        let mut lanes = bounded(1, 2);
        for (namespace, name) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
            lanes.push(key("v1/Pod", namespace, name));
        }
        lanes.push(key("v1/Service", "a", "web"));
        assert_eq!([take(&mut lanes), take(&mut lanes)].map(Option::unwrap), ["a/1", "b/1"]);
        assert_eq!(take(&mut lanes), None);
        // Both the kind and the namespace of `a/2` were full; `c/1` waits for the kind alone.
        lanes.release(&key("v1/Pod", "b", "1"));
        assert_eq!(take(&mut lanes).as_deref(), Some("c/1"));
        lanes.release(&key("v1/Pod", "a", "1"));
        let mut left = [take(&mut lanes), take(&mut lanes)].map(Option::unwrap_or_default);
        left.sort();
        assert!(left == ["", "a/2"] || left == ["", "a/web"], "{left:?}");
    }

    #[test]
    fn every_key_comes_out_in_whatever_order_keys_come_back() {
        for seed in 0..500_usize {
            let mut lanes = bounded(1 + seed % 3, 1 + seed % 4);
            lanes.limits.lane = 1 + seed % 2;
            let (mut random, mut held, mut seen) = (seed, Vec::new(), 0);
            for number in 0..60_usize {
                let kind = ["v1/Pod", "v1/Service", "v1/Secret"][number % 3];
                lanes.push(key(kind, &format!("ns-{}", number % 5), &number.to_string()));
            }
            while seen < 60 {
                while let Some(key) = lanes.take() {
                    held.push(key);
                    seen += 1;
                }
                assert!(seen == 60 || !held.is_empty(), "seed {seed}: stuck after {seen}");
                random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345) % 2_147_483_648;
                if !held.is_empty() {
                    lanes.release(&held.swap_remove(random % held.len()));
                }
            }
            assert!(lanes.is_empty() && !lanes.has_turn());
        }
    }
}
