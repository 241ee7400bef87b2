//! Where everything lies below the cluster's root.

use rangekeeper_model::NodeId;

/// The paths of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) root: String,
    pub(crate) cluster: String,
    pub(crate) nodes: String,
    pub(crate) term: String,
    pub(crate) leader: String,
    pub(crate) assignment: String,
    pub(crate) intent: String,
    pub(crate) drain: String,
}

impl Paths {
    pub(crate) fn new(root: &str) -> Self {
        Self {
            root: root.to_owned(),
            cluster: format!("{root}/cluster"),
            nodes: format!("{root}/nodes"),
            term: format!("{root}/term"),
            leader: format!("{root}/leader"),
            assignment: format!("{root}/assignment"),
            intent: format!("{root}/intent"),
            drain: format!("{root}/intent/drain"),
        }
    }

    pub(crate) fn node(&self, node: &NodeId) -> String {
        format!("{}/{node}", self.nodes)
    }

    /// The root's parents from the top, and the root itself.
    pub(crate) fn root_and_above(&self) -> impl Iterator<Item = &str> {
        let ends = self.root.match_indices('/').map(|(at, _)| at).skip(1);
        ends.chain([self.root.len()]).map(|end| &self.root[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_from_the_top_to_the_root() {
        let paths = Paths::new("/rangekeeper/prod/eu");
        let found: Vec<_> = paths.root_and_above().collect();
        assert_eq!(found, ["/rangekeeper", "/rangekeeper/prod", "/rangekeeper/prod/eu"]);
    }
}
