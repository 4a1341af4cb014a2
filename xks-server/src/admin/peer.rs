//! Who is at the other end of the socket, and whether he may give commands.

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};
use std::ffi::CString;
use tokio::net::unix::UCred;
use xks_lifecycle::commands::Actor;

/// The group whose members may give commands.
#[derive(Clone, Debug)]
pub(super) struct AdminGroup {
    pub(super) name: String,
    pub(super) id: Gid,
}

impl AdminGroup {
    /// Asks the system for a group. None if there is no such group.
    pub(super) fn find(name: &str) -> nix::Result<Option<Self>> {
        let group = Group::from_name(name)?;
        Ok(group.map(|group| Self {
            name: group.name,
            id: group.gid,
        }))
    }
}

/// A process that has connected.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) actor: Actor,
    pub(super) may_command: bool,
}

impl Peer {
    /// Asks the system who it is. Blocks: users may be kept on another machine.
    pub(super) fn of(credentials: UCred, group: Option<&AdminGroup>) -> Option<Self> {
        let uid = Uid::from_raw(credentials.uid());
        let user = User::from_uid(uid).ok().flatten();
        let is_member = |group: &AdminGroup| {
            let of_process = Gid::from_raw(credentials.gid()) == group.id;
            of_process || user.as_ref().is_some_and(|user| has_group(user, group.id))
        };
        let number = format!("uid:{uid}");
        let named = user.as_ref().map(|user| format!("{number}({})", user.name));
        let actor = named.and_then(|named| Actor::new(&named).ok());
        Some(Self {
            // A name that is no name of an actor is left out.
            actor: actor.or_else(|| Actor::new(&number).ok())?,
            may_command: uid.is_root() || uid == geteuid() || group.is_some_and(is_member),
        })
    }
}

fn has_group(user: &User, group: Gid) -> bool {
    let name = CString::new(user.name.as_str()).ok();
    let groups = name.and_then(|name| getgrouplist(&name, user.gid).ok());
    groups.is_some_and(|groups| groups.contains(&group))
}
