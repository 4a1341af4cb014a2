//! The file that a state is kept in: JSON, readable for its owner alone, since secrets and key material stand
//! in it.
//!
//! It begins with a whole state of all Regions, and each change adds a line with what has changed, by Region.
//! When the lines are longer than the state, the file is replaced. So what is written for a change does not
//! grow with the state. A line is safe from the end of the process, not from that of the machine.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    access_keys::AccessKey,
    key::Key,
    key_store::KeyStore,
    principals::Principal,
    seal::KeyMaterial,
    state::{Alias, State},
    world::World,
};

/// The length in bytes that the lines may have in any case.
const SHORT: usize = 64 * 1024;

/// The error of a double that cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The state file cannot be read or written.
    #[error("{0}: {1}")]
    StateFile(PathBuf, io::Error),
    /// A file that TLS needs is not there.
    #[error(transparent)]
    Endpoint(#[from] crate::wire::EndpointError),
}

/// The file, and what is in it.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    saved: World,
    /// The lengths in bytes of the state and of the lines behind it; none where a line may be torn, so that
    /// none can follow.
    lengths: Option<(usize, usize)>,
}

/// What has changed in a Region. Lists that are not long are there as a whole.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Change {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Arc<Key>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed_keys: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<Arc<Alias>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed_aliases: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_stores: Option<Arc<Vec<KeyStore>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principals: Option<Arc<Vec<Principal>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_keys: Option<Arc<Vec<AccessKey>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_secret: Option<KeyMaterial>,
}

impl StateFile {
    /// Reads the file; where there is none yet, it is made with the first change.
    pub(crate) fn open(path: &Path) -> Result<Self, BuildError> {
        let failed = |error| BuildError::StateFile(path.to_owned(), error);
        let empty = Self {
            path: path.to_owned(),
            saved: World::default(),
            lengths: None,
        };
        let text = match std::fs::read(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(empty),
            Err(error) => return Err(failed(error)),
        };
        let not_a_state = |error: serde_json::Error| {
            let place = format!("not a state file: line {}, column {}", error.line(), error.column());
            failed(io::Error::new(ErrorKind::InvalidData, place))
        };
        let mut reader = serde_json::Deserializer::from_slice(&text);
        let mut saved = World::deserialize(&mut reader).map_err(not_a_state)?;
        let mut changes = reader.into_iter::<Line>();
        let whole = changes.byte_offset();
        let lengths = loop {
            match changes.next() {
                Some(Ok(line)) => apply(line, &mut saved),
                // The process ended while it was written: the change was confirmed to no caller.
                Some(Err(error)) if error.is_eof() => break None,
                Some(Err(error)) => return Err(not_a_state(error)),
                None => break Some((whole, text.len().saturating_sub(whole))),
            }
        };
        Ok(Self {
            saved,
            lengths,
            ..empty
        })
    }

    pub(crate) fn world(&self) -> &World {
        &self.saved
    }

    /// Keeps a state. When that fails, the former one is kept.
    pub(crate) fn save(&mut self, world: &World) -> io::Result<()> {
        let lengths = match self.lengths.take() {
            Some((whole, lines)) if lines <= whole.max(SHORT) => {
                let line = line(&self.saved, world)?;
                append(&self.path, &line)?;
                (whole, lines + line.len())
            }
            _ => (replace(&self.path, world)?, 0),
        };
        self.lengths = Some(lengths);
        self.saved = world.clone().seen_as(None);
        Ok(())
    }
}

impl Change {
    fn between(former: &State, state: &State) -> Self {
        let keys = state.keys().since(former.keys());
        let aliases = state.aliases().since(former.aliases());
        let if_new = |is_known: bool| (!is_known).then_some(());
        Self {
            keys: keys.put,
            removed_keys: keys.removed,
            aliases: aliases.put,
            removed_aliases: aliases.removed,
            key_stores: if_new(Arc::ptr_eq(&state.key_stores, &former.key_stores)).map(|()| state.key_stores.clone()),
            principals: if_new(Arc::ptr_eq(&state.principals, &former.principals)).map(|()| state.principals.clone()),
            access_keys: if_new(Arc::ptr_eq(&state.access_keys, &former.access_keys))
                .map(|()| state.access_keys.clone()),
            // It is made once.
            token_secret: if_new(former.token_secret.is_some()).and_then(|()| state.token_secret.clone()),
        }
    }

    fn is_empty(&self) -> bool {
        let is_short = self.keys.is_empty() && self.removed_keys.is_empty() && self.aliases.is_empty();
        let is_none = self.key_stores.is_none() && self.principals.is_none() && self.access_keys.is_none();
        is_short && is_none && self.removed_aliases.is_empty() && self.token_secret.is_none()
    }

    fn apply(self, state: &mut State) {
        // Aliases go with their key, unless they have moved to another.
        for alias in self.aliases {
            state.put_alias(Alias::clone(&alias));
        }
        for name in self.removed_aliases {
            state.remove_alias(&name);
        }
        for id in self.removed_keys {
            state.remove_key(&id);
        }
        for key in self.keys {
            state.put_key(Key::clone(&key));
        }
        if let Some(key_stores) = self.key_stores {
            state.key_stores = key_stores;
        }
        if let Some(principals) = self.principals {
            state.principals = principals;
        }
        if let Some(access_keys) = self.access_keys {
            state.access_keys = access_keys;
        }
        state.token_secret = self.token_secret.or_else(|| state.token_secret.take());
    }
}

/// What has changed, by Region.
type Line = BTreeMap<String, Change>;

fn line(former: &World, world: &World) -> io::Result<Zeroizing<Vec<u8>>> {
    let change = |(region, state): (&str, &State)| (region.to_owned(), Change::between(former.region(region), state));
    let changes = world.iter().map(change).filter(|(_, change)| !change.is_empty());
    let mut line = Zeroizing::new(serde_json::to_vec(&changes.collect::<Line>())?);
    line.push(b'\n');
    Ok(line)
}

fn apply(line: Line, world: &mut World) {
    for (region, change) in line {
        change.apply(world.region_mut(&region));
        world.share_account_of(&region);
    }
}

fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    OpenOptions::new().append(true).open(path)?.write_all(line)
}

/// Puts a state in the place of the file at one moment. Returns its length.
fn replace(path: &Path, world: &World) -> io::Result<usize> {
    let mut text = Zeroizing::new(serde_json::to_vec(world)?);
    text.push(b'\n');
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let mut file = for_owner_alone(Path::new(&name))?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&name, path)?;
    Ok(text.len())
}

fn for_owner_alone(path: &Path) -> io::Result<File> {
    // One that was left behind could have other permissions.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: &str = "us-east-1";

    /// A file in a folder that goes with this.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("kms-double-{}", super::super::uuid().unwrap()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("state")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn with_alias(world: &World, number: u32) -> World {
        let mut world = world.clone();
        world.region_mut(REGION).put_alias(Alias {
            name: format!("alias/{number}"),
            key_id: "key".into(),
            created: 0.0,
            updated: 0.0,
        });
        world
    }

    #[test]
    fn what_is_written_does_not_grow_with_the_state() {
        let folder = Folder::new();
        let mut file = StateFile::open(&folder.file()).unwrap();
        let (mut state, mut written, mut before) = (World::default(), 0, 0);
        for number in 0..4000 {
            state = with_alias(&state, number);
            file.save(&state).unwrap();
            let after = std::fs::metadata(folder.file()).unwrap().len();
            written += after.checked_sub(before).unwrap_or(after); // it was replaced
            before = after;
        }
        let whole = serde_json::to_vec(&state).unwrap().len() as u64;
        assert!(written < 6 * whole, "{written} of {whole}");
        let again = StateFile::open(&folder.file()).unwrap();
        assert_eq!(
            serde_json::to_value(again.world()).unwrap(),
            serde_json::to_value(&state).unwrap()
        );
        assert_eq!(again.world().region(REGION).aliases_of("key").len(), 4000);
    }

    #[test]
    fn a_torn_line_is_left_out_and_written_over() {
        let folder = Folder::new();
        let mut file = StateFile::open(&folder.file()).unwrap();
        let first = with_alias(&World::default(), 1);
        file.save(&first).unwrap();
        let whole = std::fs::read(folder.file()).unwrap();
        file.save(&with_alias(&first, 2)).unwrap();
        let text = std::fs::read(folder.file()).unwrap();
        for length in whole.len()..text.len() - 1 {
            std::fs::write(folder.file(), &text[..length]).unwrap();
            let mut file = StateFile::open(&folder.file()).unwrap();
            assert_eq!(file.world().region(REGION).aliases().len(), 1, "{length}");
            file.save(&with_alias(&first, 3)).unwrap();
            let again = StateFile::open(&folder.file()).unwrap();
            assert!(
                again.world().region(REGION).alias("alias/3").is_some()
                    && again.world().region(REGION).alias("alias/2").is_none()
            );
        }
        std::fs::write(folder.file(), [&whole[..], b"]\n", &text[whole.len()..]].concat()).unwrap();
        let error = StateFile::open(&folder.file()).unwrap_err();
        assert!(error.to_string().contains("not a state file: line 2"), "{error}");
    }
}
