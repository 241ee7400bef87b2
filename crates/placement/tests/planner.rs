//! Plans: balanced to the quota, apart by zones, and as few moves as must be.
//! `RANGEKEEPER_SEED` repeats a run, `RANGEKEEPER_SOAK` makes it longer.

use rangekeeper_model::Zone;
use rangekeeper_placement::{NodeIndex, Owners, Plan, PlanNode, Replication, plan};

fn node(zone: usize, weight: u32) -> PlanNode {
    PlanNode { zone: Zone::new(&format!("z{zone}")).unwrap(), weight }
}

fn even(count: usize, zones: usize) -> Vec<PlanNode> {
    (0..count).map(|number| node(number % zones, 100)).collect()
}

fn holes(shards: usize) -> Vec<Owners> {
    vec![Box::default(); shards]
}

/// Copies of each node, without the witnesses.
fn loads(plan: &Plan, nodes: usize) -> Vec<usize> {
    let mut loads = vec![0; nodes];
    for owners in &plan.owners {
        for owner in owners.iter().take(plan.quorum.copies()) {
            loads[owner.unwrap().index()] += 1;
        }
    }
    loads
}

/// How many copies changed their owner, and how many had to: what was kept cannot be more than
/// each node's final load, nor more than it held.
fn moves(before: &[Owners], after: &Plan, nodes: &[PlanNode]) -> (usize, usize) {
    let copies = after.quorum.copies();
    let mut moved = 0;
    let mut held = vec![0; nodes.len()];
    for (before, after) in before.iter().zip(&after.owners) {
        let before: Vec<_> = before.iter().take(copies).flatten().collect();
        let kept = after.iter().take(copies).flatten().filter(|node| before.contains(node));
        moved += copies - kept.count();
        before.iter().filter(|n| nodes[n.index()].weight > 0).for_each(|n| held[n.index()] += 1);
    }
    let stay: usize = loads(after, nodes.len()).iter().zip(held).map(|(l, h)| (*l).min(h)).sum();
    (moved, after.owners.len() * copies - stay)
}

fn assert_sound(plan: &Plan, nodes: &[PlanNode]) {
    let zones: std::collections::BTreeSet<_> =
        nodes.iter().filter(|node| node.weight > 0).map(|node| &node.zone).collect();
    for owners in &plan.owners {
        assert_eq!(owners.len(), plan.quorum.places());
        let mut owners: Vec<NodeIndex> = owners.iter().map(|owner| owner.unwrap()).collect();
        assert!(owners.iter().all(|owner| nodes[owner.index()].weight > 0));
        let mut used: Vec<_> = owners.iter().map(|owner| &nodes[owner.index()].zone).collect();
        used.sort();
        used.dedup();
        if zones.len() >= owners.len() {
            assert_eq!(used.len(), owners.len(), "a zone holds two of {owners:?}");
        }
        owners.sort();
        owners.dedup();
        assert_eq!(owners.len(), plan.quorum.places(), "a node twice");
    }
}

#[test]
fn a_node_more_or_less_or_a_zone_moves_as_little_as_the_bound() {
    let scenarios = [(1024, 100, 3), (1024, 100, 5), (4096, 100, 4), (1024, 6, 3)];
    for (shards, count, zones) in scenarios {
        let nodes = even(count, zones);
        let first = plan(&nodes, Replication::Three, &holes(shards)).unwrap();
        assert_sound(&first, &nodes);
        let spread = loads(&first, count);
        // Zones that do not have the same number of nodes share evenly, so their nodes differ.
        for zone in 0..zones {
            let of: Vec<_> = spread.iter().skip(zone).step_by(zones).collect();
            let (least, most) = (of.iter().min().unwrap(), of.iter().max().unwrap());
            assert!(**most - **least <= 1, "{of:?}");
        }
        let again = plan(&nodes, Replication::Three, &first.owners).unwrap();
        assert_eq!(again, first, "a plan of a plan changes nothing");

        let mut more = nodes.clone();
        more.push(node(count % zones, 100));
        let after = plan(&more, Replication::Three, &first.owners).unwrap();
        assert_sound(&after, &more);
        let (moved, bound) = moves(&first.owners, &after, &more);
        assert_eq!(moved, bound, "{shards} shards, {count} nodes, {zones} zones, one more");

        let mut less = nodes.clone();
        less[0].weight = 0;
        let after = plan(&less, Replication::Three, &first.owners).unwrap();
        assert_sound(&after, &less);
        let (moved, bound) = moves(&first.owners, &after, &less);
        assert_eq!(moved, bound, "{shards} shards, {count} nodes, {zones} zones, one less");

        if zones > 3 {
            let mut lost = nodes.clone();
            lost.iter_mut().filter(|n| n.zone.as_str() == "z0").for_each(|n| n.weight = 0);
            let after = plan(&lost, Replication::Three, &first.owners).unwrap();
            assert_sound(&after, &lost);
            let (moved, bound) = moves(&first.owners, &after, &lost);
            assert!(moved <= bound + 2, "{shards} shards, {zones} zones: {moved} of {bound}");
        }
    }
}

#[test]
fn random_plans_are_balanced_and_near_the_bound() {
    let seed = std::env::var("RANGEKEEPER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("RANGEKEEPER_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let rounds = if std::env::var_os("RANGEKEEPER_SOAK").is_some() { 18_000 } else { 3_000 };
    let (mut moved_in_all, mut bound_in_all) = (0, 0);
    for round in 0..rounds {
        let replication =
            [Replication::One, Replication::Two, Replication::Three][random.usize(0..3)];
        let zones = random.usize(1..=5);
        let count = random.usize(replication.quorum().places()..=24);
        let mut nodes: Vec<PlanNode> =
            (0..count).map(|_| node(random.usize(0..zones), random.u32(50..=250))).collect();
        let shards = 1 << random.usize(4..8);
        let first = plan(&nodes, replication, &holes(shards)).unwrap();
        assert_sound(&first, &nodes);
        match random.u8(0..3) {
            0 => nodes.push(node(random.usize(0..zones), random.u32(50..=250))),
            1 if count > replication.quorum().places() => nodes[random.usize(0..count)].weight = 0,
            _ => nodes[random.usize(0..count)].weight = random.u32(50..=250),
        }
        let after = plan(&nodes, replication, &first.owners).unwrap();
        let eligible = nodes.iter().filter(|node| node.weight > 0).count();
        if eligible > 1 {
            assert_sound(&after, &nodes);
        }
        if after.quorum == first.quorum {
            let (moved, bound) = moves(&first.owners, &after, &nodes);
            assert!(moved <= 2 * bound + 2, "round {round} of seed {seed}: {moved} of {bound}");
            moved_in_all += moved;
            bound_in_all += bound;
        }
        let again = plan(&nodes, replication, &after.owners).unwrap();
        assert_eq!(again, after, "round {round} of seed {seed}");
    }
    println!("{moved_in_all} moves, bound {bound_in_all}");
    assert!(moved_in_all * 100 <= bound_in_all * 105, "{moved_in_all} of {bound_in_all}");
}

#[test]
fn weights_share_in_proportion() {
    let nodes: Vec<_> = [100, 100, 200].map(|weight| node(0, weight)).into();
    let shares = plan(&nodes, Replication::One, &holes(1024)).unwrap();
    assert_eq!(loads(&shares, 3), [256, 256, 512]);
}

#[test]
fn witnesses_lie_on_a_third_node_and_in_a_third_zone() {
    for (count, zones) in [(3, 1), (3, 3), (7, 2), (9, 3)] {
        let nodes = even(count, zones);
        let plan = plan(&nodes, Replication::Two, &holes(256)).unwrap();
        assert_sound(&plan, &nodes);
        let mut witnesses = vec![0; count];
        plan.owners.iter().for_each(|owners| witnesses[owners[2].unwrap().index()] += 1);
        let (least, most) = (witnesses.iter().min().unwrap(), witnesses.iter().max().unwrap());
        assert!(most - least <= 256 / count + 1, "{witnesses:?}");
    }
}

#[test]
fn too_few_nodes_are_no_plan_and_one_alone_has_one_place() {
    for (replication, count) in
        [(Replication::Two, 2), (Replication::Three, 2), (Replication::Five, 4)]
    {
        let error = plan(&even(count, 1), replication, &holes(16)).unwrap_err();
        assert_eq!((error.nodes, error.places), (count, replication.quorum().places()));
    }
    for replication in [Replication::Two, Replication::Five] {
        let alone = plan(&even(1, 1), replication, &holes(16)).unwrap();
        assert_eq!(alone.quorum.places(), 1);
        assert!(alone.owners.iter().all(|owners| **owners == [Some(NodeIndex(0))]));
    }
    assert!(plan(&[], Replication::One, &holes(16)).is_err());
}
