//! What the benches measure with: input of a realistic shape, made here.

/// A label set of the shape that a scraped host has: ten labels, some 180 bytes of text. Label sets
/// of one `host` differ by `metric`.
pub fn labels(host: usize, metric: usize) -> Vec<(String, String)> {
    let family = ["cpu_seconds", "disk_io_time", "filesystem_avail", "network_receive"][metric % 4];
    [
        ("__name__", format!("node_{family}_{:03}_total", metric / 16)),
        ("cluster", format!("eu-west-{}", host % 4)),
        ("container", "node-exporter".to_owned()),
        ("device", format!("nvme{}n1p{}", metric % 16, metric % 3)),
        ("instance", format!("host-{host:05}.example.com:9100")),
        ("job", "node".to_owned()),
        ("mode", ["idle", "system", "user", "iowait"][metric / 4 % 4].to_owned()),
        ("namespace", "monitoring".to_owned()),
        ("region", "europe-west".to_owned()),
        ("team", "infrastructure".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::labels;

    #[test]
    fn label_sets_are_sorted_differ_and_are_of_the_size_that_is_said() {
        let sets: Vec<_> = (0..2000).map(|metric| labels(7, metric)).collect();
        assert!(sets.iter().all(|set| set.is_sorted() && set.len() == 10));
        assert_eq!(sets.iter().collect::<HashSet<_>>().len(), sets.len());
        let bytes: usize = sets.iter().flatten().map(|(n, v)| n.len() + v.len()).sum();
        assert!((160..220).contains(&(bytes / sets.len())), "{}", bytes / sets.len());
    }
}
