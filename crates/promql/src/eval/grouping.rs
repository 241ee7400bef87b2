//! Which series fall into one group.

use hashbrown::HashMap;
use rangekeeper_model::{Labels, METRIC_NAME};

use super::column::{is_metadata, without_metadata};
use super::pipeline::label;
use crate::ast::{Aggregate, VectorMatching};

/// Separates the parts of a key: it occurs in no UTF-8 text.
const SEPARATOR: u8 = 0xff;

/// The labels that make a group.
#[derive(Clone, Debug)]
pub(crate) struct Grouping {
    names: Vec<String>,
    without: bool,
}

/// Numbers groups by their labels without making labels of each series.
#[derive(Debug, Default)]
pub(crate) struct GroupNumbers {
    by_key: HashMap<Box<[u8]>, usize>,
    key: Vec<u8>,
}

impl Grouping {
    /// The grouping of an aggregation, with `also` among the labels.
    pub fn of(aggregate: &Aggregate, also: Option<&str>) -> Self {
        let mut names = aggregate.grouping.clone();
        names.extend(also.map(str::to_owned));
        Self::new(names, aggregate.without)
    }

    /// The grouping that the matching of two vectors goes by.
    pub fn of_matching(matching: &VectorMatching) -> Self {
        Self::new(matching.labels.clone(), !matching.on)
    }

    fn new(mut names: Vec<String>, without: bool) -> Self {
        names.sort();
        names.dedup();
        Self { names, without }
    }

    /// Whether everything is one group.
    pub fn is_single(&self) -> bool {
        !self.without && self.names.is_empty()
    }

    /// Writes what tells the group of a series from others. `dropped` says that name, type and unit
    /// are gone although the labels still have them.
    pub fn key(&self, labels: &Labels, dropped: bool, key: &mut Vec<u8>) {
        key.clear();
        if self.without {
            for (name, value) in labels {
                if self.keeps(name) && !(dropped && is_metadata(name)) {
                    append(key, name);
                    append(key, value);
                }
            }
            return;
        }
        for name in &self.names {
            append(key, label(labels, name, dropped));
        }
    }

    /// The labels of the group of a series.
    pub fn labels(&self, labels: &Labels, dropped: bool) -> Labels {
        if self.is_single() {
            return Labels::empty();
        }
        let labels = labels.retain(|name| self.keeps(name));
        if dropped { without_metadata(&labels) } else { labels }
    }

    fn keeps(&self, name: &str) -> bool {
        let named = self.names.binary_search_by(|n| n.as_str().cmp(name)).is_ok();
        if self.without { !named && name != METRIC_NAME } else { named }
    }
}

fn append(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(text.as_bytes());
    key.push(SEPARATOR);
}

impl GroupNumbers {
    /// The number of the group whose key `write` writes, and whether it is new.
    pub fn number(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> (usize, bool) {
        write(&mut self.key);
        if let Some(number) = self.by_key.get(self.key.as_slice()) {
            return (*number, false);
        }
        let number = self.by_key.len();
        self.by_key.insert(self.key.as_slice().into(), number);
        (number, true)
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The keys with their numbers.
    pub fn into_keys(self) -> impl Iterator<Item = (Box<[u8]>, usize)> {
        self.by_key.into_iter()
    }
}
