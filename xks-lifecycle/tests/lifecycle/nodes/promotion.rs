//! All ways in which a version can be published and promoted while a node is synchronised late: the rule is
//! that what is promoted works on the node.

use std::collections::BTreeSet;

use xks_lifecycle::{
    KeyVersionId, VersionId,
    nodes::{Confirming, Life, Moment, NodeRow, Step, Terms, Usability},
    store::Revision,
};

use super::explorer::{Explored, Model, explore};

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twin {
    /// A node that serves the revision is taken for one that can use what was published.
    ServesForUses,
    /// A node says that it has tried all of the revision at which a trial ends, not of that which it took in.
    TriesWhatCameLater,
    /// What does not work is left out of the row.
    SaysNothingOfFailures,
    /// The commander waits for a revision before that of the publication.
    WaitsForAnEarlierRevision,
    /// The versions that a row has no room to name count as usable.
    TakesTheUnnamedForUsable,
}

struct Promotion {
    twin: Option<Twin>,
    /// How many versions are published, one after the other.
    versions: u8,
}

/// The store, a node with its key manager, and a commander that promotes the last version.
#[derive(Clone, Hash)]
struct World {
    /// How many versions are published: each by one revision.
    published: u8,
    /// Which of them the key manager of the node has.
    has: BTreeSet<u8>,
    /// What the node has taken in.
    taken_in: u8,
    usability: Usability,
    /// What it tries at the moment.
    trying: Option<u8>,
    row: NodeRow,
    confirming: Option<Confirming>,
    is_promoted: bool,
}

#[derive(Clone, Debug)]
enum Happens {
    Publishes,
    Synchronises,
    TakesIn,
    Tries,
    Tried,
    Renews,
    Asks,
}

fn version(number: u8) -> KeyVersionId {
    KeyVersionId::new("key".parse().unwrap(), VersionId::from_bytes([0, 0, 0, number]))
}

fn first_row() -> NodeRow {
    let terms = Terms::new(std::time::Duration::from_secs(1));
    match Life::new(terms, "node", "process").next(Moment::new(std::time::Duration::ZERO), Revision::ZERO) {
        Step::Insert(row) => row,
        step => panic!("{step:?}"),
    }
}

impl Promotion {
    fn is(&self, twin: Twin) -> bool {
        self.twin == Some(twin)
    }

    fn take_in(&self, world: &mut World) {
        world.taken_in = world.published;
        let published = (1..=world.published).map(version).collect();
        world
            .usability
            .take_in(Revision::new(world.published.into()), published);
    }

    fn row(&self, world: &World) -> NodeRow {
        let mut usable = world.usability.usable();
        if self.is(Twin::SaysNothingOfFailures) {
            usable.failed.clear();
            usable.more = 0;
        }
        if self.is(Twin::TakesTheUnnamedForUsable) {
            usable.more = 0;
        }
        if self.is(Twin::ServesForUses) {
            usable.tried = Some(Revision::new(world.taken_in.into()));
        }
        let mut row = world.row.clone();
        row.served = Some(Revision::new(world.taken_in.into()));
        row.usable = usable.into();
        row
    }
}

impl Model for Promotion {
    type State = World;
    type Step = Happens;

    fn start(&self) -> World {
        World {
            published: 0,
            has: BTreeSet::new(),
            taken_in: 0,
            usability: Usability::default(),
            trying: None,
            row: first_row(),
            confirming: None,
            is_promoted: false,
        }
    }

    fn steps(&self, world: &World) -> Vec<(Happens, World)> {
        let mut steps = Vec::new();
        let mut step = |happens, change: &dyn Fn(&mut World)| {
            let mut next = world.clone();
            change(&mut next);
            steps.push((happens, next));
        };
        if world.published < self.versions {
            step(Happens::Publishes, &|next| next.published += 1);
        }
        if let Some(missing) = (1..=self.versions).find(|number| !world.has.contains(number)) {
            step(Happens::Synchronises, &|next| next.has.extend([missing]));
        }
        if world.taken_in < world.published {
            step(Happens::TakesIn, &|next| self.take_in(next));
        }
        if world.trying.is_none() {
            let to_try = (1..=world.taken_in).filter(|number| {
                let version = version(*number);
                world
                    .usability
                    .untried()
                    .chain(world.usability.failed())
                    .any(|known| *known == version)
            });
            for number in to_try {
                step(Happens::Tries, &|next| next.trying = Some(number));
            }
        }
        if let Some(number) = world.trying {
            let outcome = match world.has.contains(&number) {
                true => Ok(()),
                false => Err("it is not there".to_owned()),
            };
            step(Happens::Tried, &|next| {
                next.trying = None;
                next.usability.tried(&version(number), outcome.clone());
                if self.is(Twin::TriesWhatCameLater) {
                    let before = (1..=world.taken_in).map(version).collect();
                    next.usability.take_in(Revision::new(next.published.into()), before);
                }
            });
        }
        let row = self.row(world);
        if row != world.row {
            step(Happens::Renews, &|next| next.row = row.clone());
        }
        if world.published == self.versions && !world.is_promoted {
            step(Happens::Asks, &|next| {
                let early = u64::from(self.is(Twin::WaitsForAnEarlierRevision));
                let revision = Revision::new(u64::from(self.versions) - early);
                let wanted = BTreeSet::from([version(self.versions).to_string().into()]);
                let confirming = next.confirming.get_or_insert(Confirming::uses(revision, Some(wanted)));
                next.is_promoted = confirming.observe(std::slice::from_ref(&next.row));
            });
        }
        steps
    }

    fn check(&self, world: &World) -> Result<(), String> {
        match world.is_promoted && !world.has.contains(&self.versions) {
            true => Err("a version is promoted that the node cannot use".to_owned()),
            false => Ok(()),
        }
    }
}

fn explored(twin: Option<Twin>, versions: u8) -> (Explored<Promotion>, bool) {
    let mut is_promoted = false;
    let explored = explore(&Promotion { twin, versions }, |world| is_promoted |= world.is_promoted);
    (explored, is_promoted)
}

#[test]
fn what_is_promoted_works_on_the_node() {
    for versions in [1, 2, 3] {
        let (Explored { states, wrong }, is_promoted) = explored(None, versions);
        println!("{versions} versions: {states} states");
        assert!(wrong.is_none(), "{wrong:?}");
        assert!(is_promoted);
    }
}

#[test]
fn each_broken_rule_is_found() {
    let twins = [
        (Twin::ServesForUses, 1),
        (Twin::TriesWhatCameLater, 2),
        (Twin::SaysNothingOfFailures, 1),
        (Twin::WaitsForAnEarlierRevision, 2),
    ];
    for (twin, versions) in twins {
        let (Explored { wrong, .. }, _) = explored(Some(twin), versions);
        assert!(wrong.is_some(), "{twin:?} was not found");
    }
    // A row names four.
    let named = 5;
    let (Explored { wrong, .. }, _) = explored(Some(Twin::TakesTheUnnamedForUsable), named);
    assert!(wrong.is_some(), "what is not named");
}
