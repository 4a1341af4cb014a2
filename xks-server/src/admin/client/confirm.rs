//! Confirmation of what makes something unusable: its name is typed, or given with `--yes`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use super::failure::Failure;

/// What AWS goes on to do when a key is not served any more.
pub(super) const DATA_KEYS: &str = "AWS services that hold a data key (S3 bucket keys, attached volumes, caching \
                                    clients) go on until they ask again.";

#[derive(Debug, Args)]
pub(crate) struct Confirm {
    /// The name of the object, instead of typing it when asked
    #[arg(long, value_name = "NAME")]
    yes: Option<String>,
}

impl Confirm {
    /// Asks for the name of an object, after saying what becomes of it. Returns the name.
    pub(super) fn ask(&self, what: &str, name: &str) -> Result<String, Failure> {
        let typed = match &self.yes {
            Some(name) => name.clone(),
            None => read(what, name)?,
        };
        match typed == name {
            true => Ok(typed),
            false => Err(Failure::NotConfirmed(format!(
                "not done: the name is {name:?}, and {typed:?} was given"
            ))),
        }
    }
}

fn read(what: &str, name: &str) -> Result<String, Failure> {
    let unreadable = |error: io::Error| Failure::Other(format!("cannot ask for a confirmation: {error}"));
    if !io::stdin().is_terminal() {
        let text = format!("{what}\nNot done: to confirm it without a terminal, give --yes {name:?}");
        return Err(Failure::Usage(text));
    }
    let mut out = io::stderr().lock();
    write!(out, "{what}\nType the name to go on, which is {name:?}: ")
        .and_then(|()| out.flush())
        .map_err(unreadable)?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).map_err(unreadable)?;
    Ok(typed.trim_end_matches(['\n', '\r']).to_owned())
}
