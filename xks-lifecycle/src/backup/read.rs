//! The way of a backup into an empty store.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    APART, BackupError, FORMAT, LineProblem,
    line::{Line, RowLine, split},
};
use crate::{
    Event, EventText, Material, Object, Outcome, Repository, RepositoryError, Restore, Snapshot, Timestamp,
    commands::Actor,
    counts::MAX_ENCRYPTIONS,
    record::{RowError, decode, encode},
    repository::unwrap,
    seal::{DataKey, Root, Wrapped},
    store::{ChangeSet, Claim, ClaimKind, Head, Revision, Row, RowCode, Scope, Store, Table},
};

/// Longer than any line that is written.
const LONGEST: u64 = 1 << 22;

/// Restores a backup into a store that nothing was committed to, and opens it. It is one commit: all of it,
/// or nothing.
///
/// All of the backup stands in memory meanwhile. [What a restore changes](crate::backup) the module says.
///
/// # Errors
/// [`RepositoryError::Exists`] when the store is not empty; [`RepositoryError::NoRoot`] when none of the
/// roots opens the backup; and what is wrong with the backup, or with the store.
pub async fn restore(
    path: &Path,
    store: Arc<dyn Store>,
    roots: &[Root],
    actor: &Actor,
    now: Timestamp,
) -> Result<(Repository, Snapshot), BackupError> {
    let found = store.load(Scope::Table(Table::Roots), Box::new(|_| {})).await?;
    if found.revision != Revision::ZERO {
        return Err(RepositoryError::Exists(found.revision).into());
    }
    let mut file = Lines::open(path)?;
    let first = file.first()?;
    // What opens the backup comes first. It is authenticated with the rest, once it has been opened.
    let mut before = Vec::new();
    let mut wrapped = Vec::new();
    while let Some(raw) = file.next()? {
        let root = match Line::read(split(&raw).map_or(&raw[..], |(content, _)| content)) {
            Some(Line::Row(row)) => row.read().filter(|row| row.table == Table::Roots),
            _ => None,
        };
        before.push(raw);
        let Some(row) = root else { break };
        wrapped.push(decode::<Wrapped>(None, &row).map_err(|problem| RowError::new(row.table, &row.id, problem)));
    }
    let key = unwrap(wrapped, roots).await?;
    let mut state = State::new(&key, first);
    for raw in std::mem::take(&mut file.first).into_iter().chain(before) {
        state.take(&raw)?;
    }
    while let Some(raw) = file.next()? {
        state.take(&raw)?;
    }
    let changes = state.finish(actor, now)?;
    store.commit(changes).await?;
    let repository = Repository::with_key(store, key);
    let snapshot = repository.load().await?;
    Ok((repository, snapshot))
}

/// The lines of a file.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    /// The first line, once it is read.
    first: Option<Vec<u8>>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(|reason| BackupError::file(path, "cannot be read", reason))?;
        Ok(Self {
            path: path.into(),
            reader: BufReader::new(file),
            first: None,
        })
    }

    /// The next line, without its end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let mut line = Vec::new();
        let read = self.reader.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        read.map_err(|reason| BackupError::file(&self.path, "cannot be read", reason))?;
        // A line without its end was cut off, and counts as missing.
        Ok((line.pop() == Some(b'\n')).then_some(line))
    }

    fn first(&mut self) -> Result<(Head, Timestamp), BackupError> {
        let path = self.path.clone();
        let raw = self.next()?.unwrap_or_default();
        let line = Line::read(split(&raw).map_or(&raw[..], |(content, _)| content));
        let Some(Line::Backup(first)) = line else {
            return Err(BackupError::NotABackup { path });
        };
        if first.format != FORMAT {
            let (found, known) = (first.format, FORMAT);
            return Err(BackupError::NewerFormat { found, known });
        }
        self.first = Some(raw);
        first.read().ok_or(BackupError::NotABackup { path })
    }
}

/// What was read of a backup.
struct State<'k> {
    key: &'k DataKey,
    head: Head,
    /// When the backup was made.
    time: Timestamp,
    code: RowCode,
    lines: u64,
    is_whole: bool,
    snapshot: Snapshot,
    rows: Vec<Row<'static>>,
    claims: Vec<Claim>,
    events: Vec<Event>,
}

impl<'k> State<'k> {
    fn new(key: &'k DataKey, (head, time): (Head, Timestamp)) -> Self {
        Self {
            key,
            head,
            time,
            code: RowCode::default(),
            lines: 0,
            is_whole: false,
            snapshot: Snapshot::default(),
            rows: Vec::new(),
            claims: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Takes in the next line, if it is the one that was written there.
    fn take(&mut self, raw: &[u8]) -> Result<(), BackupError> {
        let number = self.lines + 1;
        let (content, code) = split(raw).unwrap_or((raw, RowCode::default()));
        let line = Line::read(content);
        let problem = |problem| {
            let name = line.as_ref().and_then(Line::name);
            Err(BackupError::Line { number, name, problem })
        };
        if self.is_whole {
            return problem(LineProblem::AfterTheEnd);
        }
        if !self.key.is_line(&self.code, content, &code) {
            return problem(LineProblem::Edited);
        }
        let Some(line) = line else {
            return problem(LineProblem::Syntax);
        };
        let name = line.name();
        let syntax = |name| {
            let problem = LineProblem::Syntax;
            BackupError::Line { number, name, problem }
        };
        match line {
            Line::Backup(_) if number == 1 => {}
            Line::Row(row) => self.take_row(number, row, name)?,
            Line::Claim(claim) => self.claims.push(claim.read().ok_or_else(|| syntax(name))?),
            Line::Event(event) => self.events.push(event.read().map_err(|_| syntax(name))?),
            Line::End { lines } if lines == self.lines => self.is_whole = true,
            Line::Backup(_) | Line::End { .. } => return Err(syntax(name)),
        }
        self.code = code;
        self.lines = number;
        Ok(())
    }

    fn take_row(&mut self, number: u64, line: RowLine, name: Option<String>) -> Result<(), BackupError> {
        let problem = LineProblem::Unknown;
        let row = line.read().ok_or(BackupError::Line { number, name, problem })?;
        let taken = self.snapshot.take(self.key, &row);
        taken.map_err(|error| BackupError::Row { number, error })?;
        self.rows.push(row);
        Ok(())
    }

    /// The commit that restores it.
    fn finish(self, actor: &Actor, now: Timestamp) -> Result<ChangeSet, BackupError> {
        if !self.is_whole {
            return Err(BackupError::CutOff { lines: self.lines });
        }
        let Self {
            key,
            head,
            time: backup_time,
            snapshot,
            mut rows,
            claims,
            mut events,
            ..
        } = self;
        if !key.is_head(&head, snapshot.sum()) {
            return Err(BackupError::Head(head.revision));
        }
        let made = snapshot.versions.values().map(|version| version.created).max();
        let restore = Restore {
            revision: Revision::new(head.revision.get().saturating_add(APART)),
            // A clock that has gone back since leaves none of the keys out.
            time: now.max(backup_time).max(made.unwrap_or(now)),
            backup_revision: head.revision,
            backup_time,
        };
        let (row, sum) = encode(key, &restore, restore.revision).map_err(RepositoryError::from)?;
        let mut total = snapshot.sum();
        total.toggle(sum);
        rows.push(row);
        events.push(Event {
            time: now,
            actor: actor.text().clone(),
            command: EventText::cut("restore"),
            object: EventText::cut(&Object::new(Table::Restores, &restore.revision).to_string()),
            outcome: Outcome::Done,
            revision: None,
            reason: None,
            before: None,
            after: EventText::json(&restore),
        });
        let mut changes = ChangeSet::new(Revision::ZERO, key.head(restore.revision, total).code);
        changes.next = restore.revision;
        changes.rows = rows;
        changes.claims = all_claims(&snapshot, claims);
        changes.events = events;
        Ok(changes)
    }
}

/// What is claimed in the restored state: all encryptions of every version that has material. The usage of
/// versions and credentials is as it was.
fn all_claims(snapshot: &Snapshot, former: Vec<Claim>) -> Vec<Claim> {
    let with_material = snapshot
        .versions
        .values()
        .filter(|version| version.material != Material::Gone);
    let counts =
        with_material.map(|version| Claim::new(ClaimKind::Count, &version.id.to_string(), "", MAX_ENCRYPTIONS, ""));
    let is_use = |claim: &Claim| matches!(claim.kind, ClaimKind::Usage | ClaimKind::Credential);
    counts.chain(former.into_iter().filter(is_use)).collect()
}
