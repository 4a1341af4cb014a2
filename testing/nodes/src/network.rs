//! A network of this run alone: a bridge with the database and the driver, and a namespace for each node.
//!
//! The driver runs itself once more in namespaces of its own (network, mounts, processes): so nothing of it
//! is seen outside, two runs do not meet, and all that it has started ends with it, however that ends.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    fs,
    net::Ipv4Addr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

/// Set for the driver inside: its folder.
const INSIDE: &str = "XKS_NODES_INSIDE";

/// The addresses are of the network for tests of networks (RFC 2544).
pub(crate) const NETWORK: &str = "198.18.0.0/24";
/// Where the database and the driver are.
pub(crate) const HUB: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The address of a node.
pub(crate) const fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, 11 + node as u8)
}

fn namespace(node: usize) -> String {
    format!("node-{node}")
}

/// Which packets of a node do not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Those to the database, and those from it.
    Both,
    /// Those from the database: what the node asks for is done, and it does not learn it.
    Incoming,
    /// Those to the database.
    Outgoing,
}

/// Where the files of a driver are, if this process is the one inside.
pub(crate) fn inside() -> Option<PathBuf> {
    env::var_os(INSIDE).map(PathBuf::from)
}

/// Becomes the driver inside of its namespaces, with these arguments behind its own. Returns if it cannot.
///
/// # Errors
/// The machine does not let this process make namespaces: then nothing can be tried.
pub(crate) fn enter(folder: &Path, arguments: &[OsString]) -> anyhow::Result<Infallible> {
    let why = "partitions need namespaces of networks, which root may make where the machine allows it";
    let tried = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "true"])
        .output()
        .with_context(|| format!("no unshare: {why}"))?;
    if !tried.status.success() {
        bail!("{}: {why}", String::from_utf8_lossy(&tried.stderr).trim());
    }
    let error = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ])
        // The first process of a namespace has to take in the end of those that no other process waits for.
        .args(["sh", "-c", "\"$0\" \"$@\"; exit $?"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .args(arguments)
        .env(INSIDE, folder)
        .env("TMPDIR", folder)
        .exec();
    Err(error).context("unshare")
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{command:?} ends with {}: {}", output.status, said.trim());
    }
    Ok(())
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

/// Makes the bridge and the namespaces of so many nodes.
pub(crate) fn make(nodes: usize) -> anyhow::Result<()> {
    // Names of namespaces are files there; these are seen in here alone.
    fs::create_dir_all("/run/netns")?;
    run(Command::new("mount").args(["-t", "tmpfs", "none", "/run/netns"]))?;
    ip("link set lo up")?;
    ip("link add hub type bridge")?;
    ip(&format!("addr add {HUB}/24 dev hub"))?;
    ip("link set hub up")?;
    for node in 0..nodes {
        let (name, address) = (namespace(node), address(node));
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add to-{node} type veth peer name eth0 netns {name}"))?;
        ip(&format!("link set to-{node} master hub up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        nft(node, "add table inet faults")?;
        for (chain, hook) in [("incoming", "input"), ("outgoing", "output")] {
            let rule = format!("add chain inet faults {chain} {{ type filter hook {hook} priority 0; }}");
            nft(node, &rule)?;
        }
    }
    Ok(())
}

/// Runs a program where a node is.
pub(crate) fn command(node: usize, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespace(node)]).arg(program.as_ref());
    command
}

fn nft(node: usize, rule: &str) -> anyhow::Result<()> {
    run(command(node, "nft").arg(rule).stdin(Stdio::null()))
}

/// Loses the packets between a node and the database's ports from now on.
pub(crate) fn part(node: usize, lost: Lost, ports: &[u16]) -> anyhow::Result<()> {
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    let ports = ports.join(", ");
    if lost != Lost::Outgoing {
        nft(
            node,
            &format!("add rule inet faults incoming tcp sport {{ {ports} }} drop"),
        )?;
    }
    if lost != Lost::Incoming {
        nft(
            node,
            &format!("add rule inet faults outgoing tcp dport {{ {ports} }} drop"),
        )?;
    }
    Ok(())
}

/// Lets all packets of a node through again.
pub(crate) fn join(node: usize) -> anyhow::Result<()> {
    nft(node, "flush table inet faults")
}
