//! The nodes, and what a transaction does to them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::znodes::{Failure, Lifetime, Operation, Refusal, Stat};

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Znode {
    pub(super) data: Bytes,
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) version: i32,
    /// Changes of the set of children.
    pub(super) cversion: i32,
    pub(super) owner: i64,
}

impl Znode {
    pub(super) fn stat(&self) -> Stat {
        Stat { czxid: self.czxid, version: self.version, owner: self.owner }
    }
}

/// All nodes by path.
pub(super) type Nodes = BTreeMap<String, Znode>;

/// The state that the ensemble agrees on.
pub(super) struct Tree {
    pub(super) nodes: Nodes,
    /// The number of the last transaction.
    pub(super) zxid: i64,
}

impl Tree {
    pub(super) fn new() -> Self {
        let root =
            Znode { data: Bytes::new(), czxid: 0, mzxid: 0, version: 0, cversion: 0, owner: 0 };
        Self { nodes: BTreeMap::from([("/".to_owned(), root)]), zxid: 0 }
    }

    /// Does all of `operations` or nothing, for the session `owner`.
    pub(super) fn commit(&mut self, operations: &[Operation], owner: i64) -> Result<(), Failure> {
        let zxid = self.zxid + 1;
        let mut nodes = self.nodes.clone();
        for (index, operation) in operations.iter().enumerate() {
            apply(&mut nodes, zxid, owner, operation)
                .map_err(|refusal| Failure::Refused { index, refusal })?;
        }
        self.nodes = nodes;
        self.zxid = zxid;
        Ok(())
    }

    /// Deletes what belongs to a session that is over.
    pub(super) fn end(&mut self, owner: i64) {
        self.zxid += 1;
        let ended: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.owner == owner)
            .map(|(path, _)| path.clone())
            .collect();
        for path in ended {
            self.nodes.remove(&path);
            touch_parent(&mut self.nodes, &path);
        }
    }
}

/// The names of the children of `path`.
pub(super) fn children(nodes: &Nodes, path: &str) -> Vec<String> {
    let prefix = if path == "/" { path.to_owned() } else { format!("{path}/") };
    nodes
        .range(prefix.clone()..)
        .map_while(|(path, _)| path.strip_prefix(&prefix))
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .map(str::to_owned)
        .collect()
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(end) => &path[..end],
    }
}

fn touch_parent(nodes: &mut Nodes, path: &str) {
    if let Some(parent) = nodes.get_mut(parent(path)) {
        parent.cversion += 1;
    }
}

fn at_version<'a>(
    nodes: &'a mut Nodes,
    path: &str,
    version: i32,
) -> Result<&'a mut Znode, Refusal> {
    let node = nodes.get_mut(path).ok_or(Refusal::NoNode)?;
    if node.version == version { Ok(node) } else { Err(Refusal::BadVersion) }
}

fn apply(nodes: &mut Nodes, zxid: i64, session: i64, operation: &Operation) -> Result<(), Refusal> {
    match operation {
        Operation::Check { path, version } => {
            at_version(nodes, path, *version)?;
        }
        Operation::Create { path, data, lifetime } => {
            let above = nodes.get(parent(path)).ok_or(Refusal::NoNode)?;
            if above.owner != 0 {
                return Err(Refusal::ChildOfEphemeral);
            }
            if nodes.contains_key(path) {
                return Err(Refusal::NodeExists);
            }
            let owner = if *lifetime == Lifetime::Ephemeral { session } else { 0 };
            let node = Znode {
                data: data.clone(),
                czxid: zxid,
                mzxid: zxid,
                version: 0,
                cversion: 0,
                owner,
            };
            nodes.insert(path.clone(), node);
            touch_parent(nodes, path);
        }
        Operation::Set { path, data, version } => {
            let node = at_version(nodes, path, *version)?;
            node.data = data.clone();
            node.version += 1;
            node.mzxid = zxid;
        }
        Operation::Delete { path, version } => {
            at_version(nodes, path, *version)?;
            if !children(nodes, path).is_empty() {
                return Err(Refusal::NotEmpty);
            }
            nodes.remove(path);
            touch_parent(nodes, path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(path: &str, lifetime: Lifetime) -> Operation {
        Operation::create(path, Bytes::from_static(b"x"), lifetime)
    }

    #[test]
    fn does_all_of_a_transaction_or_nothing() {
        let mut tree = Tree::new();
        let operations = [create("/a", Lifetime::Persistent), create("/b/c", Lifetime::Persistent)];
        let failure = tree.commit(&operations, 1).unwrap_err();
        assert_eq!(failure, Failure::Refused { index: 1, refusal: Refusal::NoNode });
        assert!(!tree.nodes.contains_key("/a"));
    }

    #[test]
    fn a_transaction_sees_what_it_did_itself() {
        let mut tree = Tree::new();
        tree.commit(&[create("/a", Lifetime::Persistent)], 1).unwrap();
        let again = [Operation::delete("/a", 0), create("/a", Lifetime::Ephemeral)];
        tree.commit(&again, 7).unwrap();
        let node = &tree.nodes["/a"];
        assert_eq!((node.version, node.owner, node.czxid), (0, 7, 2));
        assert_eq!(tree.nodes["/"].cversion, 3);
    }

    #[test]
    fn what_belongs_to_a_session_goes_with_it() {
        let mut tree = Tree::new();
        let operations = [create("/a", Lifetime::Persistent), create("/a/b", Lifetime::Ephemeral)];
        tree.commit(&operations, 7).unwrap();
        let below = tree.commit(&[create("/a/b/c", Lifetime::Persistent)], 7).unwrap_err();
        assert_eq!(below, Failure::refused(Refusal::ChildOfEphemeral));
        let above = tree.commit(&[Operation::delete("/a", 0)], 7).unwrap_err();
        assert_eq!(above, Failure::refused(Refusal::NotEmpty));
        assert_eq!(children(&tree.nodes, "/a"), ["b"]);
        tree.end(7);
        assert!(children(&tree.nodes, "/a").is_empty());
        tree.commit(&[Operation::delete("/a", 0)], 7).unwrap();
    }
}
