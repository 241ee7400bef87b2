//! A network of its own, in which links between nodes can be cut: each node in a namespace, the
//! test and ZooKeeper in another one that routes between them. Nothing outside is touched, and no
//! privilege is needed where the kernel lets users make namespaces.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::folder::Folder;
use crate::namespaces;
use crate::trio::{self, Place, Trio};
use crate::zookeeper::Ensemble;

/// The nodes' names; each has a namespace of that name.
const NAMES: &[&str] = trio::NAMES.split_at(3).0;

/// The address of ZooKeeper.
const ZOOKEEPER: &str = "10.99.9.1";

/// The ports of every node; nobody else is at its address.
const PORTS: [u16; 2] = [9920, 9921];

/// An end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A node by its number.
    Node(usize),
    /// All of ZooKeeper.
    ZooKeeper,
}

impl End {
    fn address(self) -> String {
        match self {
            Self::Node(at) => format!("10.99.{}.2", at + 1),
            Self::ZooKeeper => ZOOKEEPER.to_owned(),
        }
    }
}

/// The network.
#[derive(Debug)]
pub struct Links(());

/// Runs `body` in a network of its own, with `test` as the only test.
pub fn in_own_network(test: &str, body: impl FnOnce(Links) -> Result<()>) -> Result<()> {
    namespaces::inside(test, &["--net", "--mount"], &["ip", "link"], || body(Links::make()?))
}

impl Links {
    fn make() -> Result<Self> {
        run("ip link set lo up")?;
        run(&format!("ip addr add {ZOOKEEPER}/32 dev lo"))?;
        run("mount -t tmpfs none /run")?;
        for (at, name) in NAMES.iter().enumerate() {
            let net = format!("10.99.{}", at + 1);
            run(&format!("ip netns add {name}"))?;
            run(&format!("ip link add v{name} type veth peer name e0 netns {name}"))?;
            run(&format!("ip addr add {net}.1/30 dev v{name}"))?;
            run(&format!("ip link set v{name} up"))?;
            run(&format!("ip -n {name} addr add {net}.2/30 dev e0"))?;
            run(&format!("ip -n {name} link set e0 up"))?;
            run(&format!("ip -n {name} link set lo up"))?;
            run(&format!("ip -n {name} route add default via {net}.1"))?;
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to let it route")?;
        // What is ours comes after what is cut.
        run("ip rule add pref 100 lookup local")?;
        run("ip rule del pref 0")?;
        Ok(Self(()))
    }

    /// A cluster in it.
    pub fn trio(&self, folder: &Folder, replication: u8) -> Result<Option<Trio>> {
        let Some(ensemble) = Ensemble::start_on(folder.path(), 1, ZOOKEEPER)? else {
            return Ok(None);
        };
        let place = |at: usize| {
            let host = End::Node(at).address();
            let wrapper = ["ip", "netns", "exec", NAMES[at]].map(Into::into).to_vec();
            let [listen, peer] = PORTS.map(|port| format!("{host}:{port}"));
            Place { listen, peer, wrapper }
        };
        let places = [place(0), place(1), place(2)];
        Trio::around(folder.path(), ensemble, replication, &places).map(Some)
    }

    /// Whatever goes from one end to the other is lost without a word.
    pub fn cut_one_way(&self, from: End, to: End) -> Result<()> {
        run(&format!("ip rule add pref 50 {} blackhole", between(from, to)))
    }

    /// Nothing arrives in either direction.
    pub fn cut(&self, one: End, other: End) -> Result<()> {
        self.cut_one_way(one, other)?;
        self.cut_one_way(other, one)
    }

    /// All links work again.
    pub fn heal(&self) -> Result<()> {
        while run("ip rule del pref 50").is_ok() {}
        Ok(())
    }
}

fn between(from: End, to: End) -> String {
    format!("from {} to {}", from.address(), to.address())
}

fn run(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let program = words.next().context("a program")?;
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("failed to run {line}"))?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
