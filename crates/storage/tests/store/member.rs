//! A store as a member of a cluster: who it is, whether it can be trusted, which days it drops, and
//! what it does about damage that a lone node would step over.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rangekeeper_chunk::{Decoder, encode};
use rangekeeper_model::{
    DAY_MS, Day, ErrorClass, Labels, Samples, ShardCount, TenantId, TimeRange, WindowInDay,
};
use rangekeeper_storage::UnsettledStats;
use rangekeeper_storage::db::{Entry, never};
use rangekeeper_storage::log::Durability;
use rangekeeper_storage::oracle::{Batch, Row};
use rangekeeper_storage::{
    ClusterIdentity, ReadLimits, RetentionBy, Store, StoreError, StoreOptions,
};
use uuid::Uuid;

use crate::copies::{Copy, identity, quorum};
use crate::keeper::{TestClock, options, try_put};

const T0: i64 = 20_000 * DAY_MS + DAY_MS / 3;

fn tenant() -> TenantId {
    TenantId::default()
}

fn labels(host: u32) -> Labels {
    let host = format!("h{host}");
    Labels::from_pairs([("__name__", "up"), ("instance", host.as_str())]).unwrap()
}

fn batch(hosts: std::ops::Range<u32>, at_ms: i64) -> Batch {
    let row = |host| Row { floats: vec![(at_ms, 0, f64::from(host))], ..Row::new(labels(host)) };
    Batch { rows: hosts.map(row).collect(), metadata: vec![] }
}

fn open(options: &StoreOptions) -> Result<Store, Arc<StoreError>> {
    Store::open(options.clone(), TestClock::at(T0).clock())
}

fn words(error: &StoreError) -> String {
    let first: &(dyn Error + 'static) = error;
    let causes = std::iter::successors(Some(first), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn refusal(options: &StoreOptions) -> String {
    words(&open(options).expect_err("it is refused"))
}

#[test]
fn a_folder_keeps_its_cluster_and_refuses_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.cluster = Some(identity(8));
    let store = open(&options).unwrap();
    let who = store.identity().unwrap();
    let ClusterIdentity { cluster, seed, shards } = identity(8);
    assert_eq!((who.cluster, who.seed, who.shards), (Some(cluster), seed, shards));
    assert_eq!((who.boot, who.is_suspect), (1, false));
    let hasher = store.hasher(&tenant()).unwrap();
    let hash = hasher.hash(b"up");
    assert_eq!(store.family_shard(&tenant(), "up").unwrap(), shards.of(hash));
    assert_eq!(store.write(&tenant()).unwrap().shard_of(hash), shards.of(hash));
    store.close();

    let other = Uuid::from_u128(5);
    options.cluster = Some(ClusterIdentity { cluster: other, ..identity(8) });
    let refused = refusal(&options);
    assert!(refused.contains(&other.to_string()) && refused.contains(&cluster.to_string()));
    options.cluster = Some(ClusterIdentity { seed: 7, ..identity(8) });
    assert!(refusal(&options).contains("0x0000000000000007"));
    options.cluster = Some(identity(16));
    assert!(refusal(&options).contains("8 shards, not 16"));
    options.cluster = None;
    let alone = refusal(&options);
    assert!(alone.contains(&cluster.to_string()) && alone.contains("--zookeeper"), "{alone}");

    options.cluster = Some(identity(8));
    let again = open(&options).unwrap();
    let now = again.identity().unwrap();
    assert!(now.store == who.store && now.boot > who.boot);
    assert_eq!(now.lineage.runs(), [who.lineage.run(), now.lineage.run()]);
    again.close();
}

#[test]
fn a_lone_folder_joins_the_cluster_that_has_its_seed_and_shards() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    let store = open(&options).unwrap();
    try_put(&store, &tenant(), &batch(0..20, T0)).unwrap();
    let who = store.identity().unwrap();
    assert_eq!(who.cluster, None);
    store.close();
    let cluster = Uuid::from_u128(8);
    let of = |seed, shards| Some(ClusterIdentity { cluster, seed, shards });
    options.cluster = of(who.seed + 1, who.shards);
    refusal(&options);
    options.cluster = of(who.seed, ShardCount::new(2).unwrap());
    refusal(&options);
    options.cluster = of(who.seed, who.shards);
    options.replicated = Some(quorum());
    let store = open(&options).unwrap();
    let now = store.identity().unwrap();
    assert_eq!((now.cluster, now.store), (Some(cluster), who.store));
    let found = store.select(&tenant(), &[], TimeRange::ALL, ReadLimits::NONE).unwrap();
    assert_eq!(found.len(), 20);
    drop(found);
    store.close();
    options.cluster = None;
    refusal(&options);
}

#[test]
fn a_store_that_did_not_sync_is_suspect_after_the_machine_went_down() {
    let run = |durability, boots: &[&str], is_closed: bool| {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.durability = durability;
        let mut suspect = Vec::new();
        for boot in boots {
            options.machine_boot = Some((*boot).to_owned());
            let store = open(&options).unwrap();
            try_put(&store, &tenant(), &batch(0..3, T0)).unwrap();
            suspect.push(store.identity().unwrap().is_suspect);
            if is_closed { store.close() } else { store.abandon() }
        }
        let store = open(&options).unwrap();
        store.clear_suspect().unwrap();
        assert!(!store.identity().unwrap().is_suspect);
        store.abandon();
        drop(store);
        assert!(!open(&options).unwrap().identity().unwrap().is_suspect, "it was made good");
        suspect
    };
    let boots = ["a", "a", "b", "b"];
    assert_eq!(run(Durability::Flush, &boots, false), [false, false, true, true]);
    assert_eq!(run(Durability::Flush, &boots, true), [false; 4]);
    assert_eq!(run(Durability::Sync, &boots, false), [false; 4]);
}

#[test]
fn a_store_that_was_opened_with_a_loss_is_suspect() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    // No checkpoint lets the log go before a file of it is lost.
    options.flush_samples = 1_000_000;
    let store = open(&options).unwrap();
    for tick in 0..500 {
        try_put(&store, &tenant(), &batch(0..50, T0 + tick * 1000)).unwrap();
    }
    store.abandon();
    drop(store);
    options.accept_loss = true;
    let store = open(&options).unwrap();
    assert!(!store.identity().unwrap().is_suspect, "nothing was lost");
    store.abandon();
    drop(store);
    let mut files: Vec<_> =
        fs::read_dir(dir.path().join("log")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 2);
    fs::remove_file(&files[1]).unwrap();
    let store = open(&options).unwrap();
    assert!(store.identity().unwrap().is_suspect);
    store.close();
    options.accept_loss = false;
    assert!(open(&options).unwrap().identity().unwrap().is_suspect, "until it is made good");
}

#[test]
fn days_go_when_the_cluster_says_so_and_not_before() {
    let clock = TestClock::at(T0);
    let copy = Copy::new(&clock, 4, |options| options.retention_ms = 2 * DAY_MS);
    let store = copy.store();
    assert_eq!(copy.options.retention_by, RetentionBy::Cluster);
    assert_eq!(store.due_floor(), Day(0), "there is nothing to drop");
    let today = Day::of(T0);
    for back in 0..5 {
        copy.put(&tenant(), &batch(0..5, T0 - back * DAY_MS));
    }
    store.confirm_time().unwrap();
    assert_eq!(store.due_floor(), Day(today.0 - 2));
    let days = || store.days().unwrap();
    assert_eq!(days().len(), 5);
    store.raise_floor(Day(today.0 - 1)).unwrap();
    assert_eq!(days(), [Day(today.0 - 1), today]);
    store.raise_floor(Day(today.0 - 3)).unwrap();
    assert_eq!(store.stats().unwrap().floor_ms, Day(today.0 - 1).start_ms(), "it only rises");
    assert_eq!(store.due_floor(), Day(today.0 - 1));

    clock.set(T0 + 3 * DAY_MS);
    copy.put(&tenant(), &batch(0..5, T0 + 3 * DAY_MS));
    assert_eq!(store.due_floor(), Day(today.0 - 1), "time jumped");
    store.confirm_time().unwrap();
    assert_eq!(store.due_floor(), today.next());
    assert!(days().contains(&today), "asking drops nothing");
    // What is unsettled goes with its days.
    clock.set(T0 + 3 * DAY_MS + 11_000);
    store.checkpoint().unwrap();
    assert!(store.unsettled_stats().chunks > 0);
    store.raise_floor(Day(today.0 + 4)).unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.unsettled_stats(), UnsettledStats::default());
    assert_eq!(days(), []);
}

/// A lone store with a chunk of host 1 whose frame is damaged; its identity.
fn with_a_damaged_chunk(dir: &Path) -> ClusterIdentity {
    let store = open(&options(dir)).unwrap();
    try_put(&store, &tenant(), &batch(0..3, T0)).unwrap();
    let who = store.identity().unwrap();
    let entry = entry(&store, 1, T0 + 1);
    store.ingest(Day::of(T0), &[damaged(entry)]).unwrap();
    store.close();
    ClusterIdentity { cluster: Uuid::from_u128(3), seed: who.seed, shards: who.shards }
}

/// A chunk of a host with one sample.
fn entry(store: &Store, host: u32, at_ms: i64) -> Entry {
    let labels = labels(host);
    let hasher = store.hasher(&tenant()).unwrap();
    let shards = store.identity().unwrap().shards;
    let id = hasher.id(hasher.hash(labels.as_bytes()), "up", shards);
    let mut samples = Samples::default();
    samples.floats.push(at_ms, 0, 5.0);
    let window = rangekeeper_model::Window::of(at_ms).in_day();
    Entry { id, tenant: tenant(), labels, window, value: encode(&samples) }
}

fn damaged(mut entry: Entry) -> Entry {
    *entry.value.last_mut().unwrap() ^= 1;
    entry
}

#[test]
fn what_is_damaged_fails_a_read_where_other_copies_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    let cluster = with_a_damaged_chunk(dir.path());
    let read = |store: &Store| -> Vec<Result<usize, StoreError>> {
        let found = store.select(&tenant(), &[], TimeRange::ALL, ReadLimits::NONE).unwrap();
        let mut samples = Samples::default();
        let mut read = |index| {
            found.read(index, &mut Decoder::default(), &mut samples).map(|()| samples.len())
        };
        (0..found.len()).map(&mut read).collect()
    };
    let store = open(&options).unwrap();
    assert!(read(&store).into_iter().all(|count| count.unwrap() == 1), "a lone node goes on");
    store.close();

    options.cluster = Some(cluster);
    options.replicated = Some(quorum());
    let store = open(&options).unwrap();
    assert_eq!(store.damaged_shards().unwrap(), []);
    let mut results = read(&store);
    let error = results.remove(1).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Internal);
    assert!(error.to_string().contains("h1"), "{error}");
    assert!(results.into_iter().all(|count| count.unwrap() == 1));
    let shard = entry(&store, 1, T0).id.shard();
    assert_eq!(store.damaged_shards().unwrap(), [shard]);
    assert!(store.digest(shard, Day::of(T0), &never).is_err());
    let refused = store.ingest(Day::of(T0), &[damaged(entry(&store, 2, T0 + 1))]).unwrap_err();
    assert!(refused.to_string().contains("h2"), "{refused}");
    store.close();
}

#[test]
fn a_lost_table_names_the_shards_whose_data_it_held() {
    let clock = TestClock::at(T0);
    let mut copy = Copy::new(&clock, 4, |options| options.seal = false);
    copy.put(&tenant(), &batch(0..500, T0));
    copy.store().seal_all().unwrap();
    let db = copy.options.dir.join("db");
    // A table names the family that it belongs to.
    let is_of_chunks = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(6).any(|name| name == b"chunks")
    };
    let files = fs::read_dir(&db).unwrap().map(|file| file.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|ext| ext == "sst"));
    let table = tables.filter(|path| is_of_chunks(path)).last().expect("chunks lie in a table");
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x55;
    copy.crash_with(|| fs::write(&table, &bytes).unwrap());
    let found = copy.store().select(&tenant(), &[], TimeRange::ALL, ReadLimits::NONE);
    assert!(found.is_err(), "a checksum does not match");
    assert!(!copy.store().damaged_shards().unwrap().is_empty(), "at once");
    copy.crash();
    let shards = copy.store().damaged_shards().unwrap();
    assert!(!shards.is_empty(), "and after the table was set aside");
    assert!(shards.iter().all(|shard| shard.0 < 4));
}

#[test]
fn an_import_is_unsettled_as_long_as_whoever_delivered_it_does_not_say_otherwise() {
    let clock = TestClock::at(T0);
    let mut copy = Copy::new(&clock, 4, |_| ());
    let day = Day::of(T0);
    let new = entry(copy.store(), 1, T0);
    let shard = new.id.shard();
    let keys = copy.store().ingest(day, std::slice::from_ref(&new)).unwrap();
    assert_eq!((keys.len(), copy.store().unsettled_shards()), (1, vec![(shard, 1)]));
    assert_eq!(copy.store().ingest(day, &[new]).unwrap(), [], "it brings nothing new");
    copy.crash();
    assert_eq!(copy.store().unsettled_shards(), [(shard, 1)]);
    let (key, mark) = keys[0];
    copy.store().settle_chunk(shard, key, mark);
    assert_eq!(copy.store().unsettled_shards(), [(shard, 1)], "the mark is of another boot");

    let more = entry(copy.store(), 1, T0 + 1);
    assert_eq!(copy.store().ingest(day, &[more]).unwrap(), [], "something else is unsettled too");
    let mark = copy.store().undelivered(shard, 1)[0].1;
    copy.store().settle_chunk(shard, key, mark);
    let more = entry(copy.store(), 1, T0 + 2);
    let whole_day = Entry { window: WindowInDay(12), ..more };
    let keys = copy.store().ingest(day, &[whole_day]).unwrap();
    assert_eq!(keys.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [key]);
    copy.store().settle_chunk(shard, key, keys[0].1);
    assert_eq!(copy.store().unsettled_shards(), []);
}
