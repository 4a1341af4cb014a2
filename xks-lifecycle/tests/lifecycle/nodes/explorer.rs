//! Goes through all states that there are, nearest first, and says how it came to a wrong one.

use std::{
    cell::Cell,
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    ops::Deref,
    rc::Rc,
};

/// What is explored.
pub(crate) trait Model {
    type State: Clone + Hash;
    type Step: Clone + fmt::Debug;

    fn start(&self) -> Self::State;

    /// All that may happen next.
    fn steps(&self, state: &Self::State) -> Vec<(Self::Step, Self::State)>;

    /// Says what is wrong with a state.
    fn check(&self, state: &Self::State) -> Result<(), String>;
}

/// What was found.
pub(crate) struct Explored<M: Model> {
    pub(crate) states: usize,
    /// What is wrong with the nearest wrong state, and how it comes to it.
    pub(crate) wrong: Option<(String, Vec<M::Step>)>,
}

/// A state by its hash: of ten million states two have the same in one of 400 000 runs.
fn hash(state: &impl Hash) -> u64 {
    let mut hasher = Words(0);
    state.hash(&mut hasher);
    hasher.finish()
}

/// Hashes words of 64 bits, by the steps of MurmurHash3's end. Without optimization it is much faster than
/// the hasher of the standard library.
struct Words(u64);

impl Hasher for Words {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mut hash = (self.0 ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        self.0 = (hash ^ hash >> 33).wrapping_add(1);
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

/// A part of a state that many states have in common. It is copied and hashed when it is changed.
#[derive(Debug)]
pub(crate) struct Shared<T>(Rc<T>, Cell<Option<u64>>);

impl<T: Clone + Hash> Shared<T> {
    pub(crate) fn new(part: T) -> Self {
        Self(Rc::new(part), Cell::default())
    }

    pub(crate) fn change(&mut self) -> &mut T {
        self.1 = Cell::default();
        Rc::make_mut(&mut self.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0), self.1.clone())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let known = self.1.get().unwrap_or_else(|| hash(&*self.0));
        self.1.set(Some(known));
        hasher.write_u64(known);
    }
}

/// For keys that are hashes already.
#[derive(Clone, Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

type Known<Step> = HashMap<u64, Option<(u64, Step)>, BuildHasherDefault<Same>>;

/// Explores all states, and calls `visit` with each.
pub(crate) fn explore<M: Model>(model: &M, mut visit: impl FnMut(&M::State)) -> Explored<M> {
    let start = model.start();
    let mut known = Known::<M::Step>::default();
    known.insert(hash(&start), None);
    let mut layer = vec![start];
    while !layer.is_empty() {
        let mut next = Vec::new();
        for state in layer {
            let place = hash(&state);
            visit(&state);
            if let Err(problem) = model.check(&state) {
                return Explored {
                    states: known.len(),
                    wrong: Some((problem, way(&known, place))),
                };
            }
            for (step, state) in model.steps(&state) {
                if let Entry::Vacant(entry) = known.entry(hash(&state)) {
                    entry.insert(Some((place, step)));
                    next.push(state);
                }
            }
        }
        layer = next;
    }
    Explored {
        states: known.len(),
        wrong: None,
    }
}

fn way<Step: Clone>(known: &Known<Step>, mut place: u64) -> Vec<Step> {
    let mut way = Vec::new();
    while let Some((before, step)) = &known[&place] {
        way.push(step.clone());
        place = *before;
    }
    way.reverse();
    way
}
