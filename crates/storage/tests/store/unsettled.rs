//! What is not known to be at all places is never forgotten: not by settling something else, not by
//! checkpoints, crashes and restarts, not while it moves; and what is settled goes.
//!
//! `RANGEKEEPER_SEED` runs one seed, `RANGEKEEPER_SOAK=1` runs many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rangekeeper_model::Epoch;
use rangekeeper_model::{
    DAY_MS, Day, Labels, MatchOp, Matcher, ShardId, TenantId, TimeRange, WINDOW_MS, Window,
};
use rangekeeper_placement::{Place, UnsettledKey};
use rangekeeper_storage::db::never;
use rangekeeper_storage::log::Position;
use rangekeeper_storage::oracle::{Batch, Row};

use crate::copies::{Copy, all_in, unite, view};
use crate::keeper::{Point, Rows, TestClock};
use crate::workload::{Workload, seeds};

const T0: i64 = 20_000 * DAY_MS + DAY_MS / 3;
const REACH_MS: i64 = 2 * DAY_MS;
const STEPS: usize = 60;
const AGE: Duration = Duration::from_secs(10);

/// A write that is not settled.
#[derive(Clone)]
struct Unsettled {
    position: Position,
    tenant: TenantId,
    /// Labels and time of each sample, by chunk, and of each exemplar.
    parts: BTreeMap<Part, BTreeSet<(Labels, i64)>>,
}

/// A shard, and what of it.
type Part = (ShardId, UnsettledKey);

/// One copy, and what it must not forget.
struct Alone {
    copy: Copy,
    clock: TestClock,
    workload: Workload,
    must: Vec<Unsettled>,
    /// Parts that may be unsettled: of writes that were not settled, or not noted to be.
    may: BTreeSet<Part>,
    /// Parts of what was settled since the account was last written.
    recent: BTreeSet<Part>,
    /// Shards that have metadata.
    told: BTreeSet<ShardId>,
    most_chunks: usize,
}

impl Alone {
    fn new(seed: u64) -> Self {
        let mut workload = Workload::new(seed);
        let clock = TestClock::at(T0);
        let random = &mut workload.random;
        let most_chunks = [3, 4096][random.usize(..2)];
        let shards = 1 << random.u32(..6);
        let flush_samples = [3, 60][random.usize(..2)];
        let copy = Copy::new(&clock, shards, |options| {
            options.unsettled_chunks = most_chunks;
            options.unsettled_age = AGE;
            options.flush_samples = flush_samples;
        });
        let (may, recent, told) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { copy, clock, workload, must: Vec::new(), may, recent, told, most_chunks }
    }

    fn step(&mut self) -> &'static str {
        match self.workload.random.u8(..100) {
            0..50 => self.write(),
            50..60 => self.settle_an_old_one(),
            60..70 => self.crash(),
            70..75 => {
                self.copy.restart();
                self.age();
                "restart"
            }
            75..85 => {
                self.copy.store().checkpoint().unwrap();
                self.account_is_written();
                "checkpoint"
            }
            85..88 => {
                self.copy.store().seal_all().unwrap();
                self.account_is_written();
                "seal"
            }
            88..94 => {
                let by_ms = self.workload.random.i64(1..WINDOW_MS);
                self.clock.set(self.clock.now_ms() + by_ms);
                self.age();
                "time goes on"
            }
            _ => self.deliver(),
        }
    }

    fn write(&mut self) -> &'static str {
        let (tenant, batch) = self.workload.batch(self.clock.now_ms(), REACH_MS);
        let Some(position) = self.copy.put(&tenant, &batch) else { return "write nothing" };
        let store = self.copy.store();
        let shard_of = |family: &String| store.family_shard(&tenant, family).unwrap();
        self.told.extend(batch.metadata.iter().map(|(family, _)| shard_of(family)));
        let mut unsettled = self.unsettled(position, &tenant, &batch);
        let settled = match self.workload.random.u8(..10) {
            0..6 => self.settle(&mut unsettled, None),
            6..8 => {
                let shards = self.some_shards();
                self.settle(&mut unsettled, Some(&shards))
            }
            _ => BTreeSet::new(),
        };
        self.recent.extend(settled);
        self.must.push(unsettled);
        self.must.retain(|write| !write.parts.is_empty());
        "write"
    }

    fn unsettled(&self, position: Position, tenant: &TenantId, batch: &Batch) -> Unsettled {
        let mut parts: BTreeMap<Part, BTreeSet<_>> = BTreeMap::new();
        for row in &batch.rows {
            let id = self.copy.id_of(tenant, &row.labels);
            let floats = row.floats.iter().map(|(at_ms, ..)| *at_ms);
            for at_ms in floats.chain(row.histograms.iter().map(|sample| sample.timestamp_ms)) {
                let chunk = UnsettledKey::Chunk(Window::of(at_ms), id);
                let of_chunk = parts.entry((id.shard(), chunk)).or_default();
                of_chunk.insert((row.labels.clone(), at_ms));
            }
            for (at_ms, ..) in &row.exemplars {
                let exemplars = UnsettledKey::Exemplars(Day::of(*at_ms), id);
                let of_day = parts.entry((id.shard(), exemplars)).or_default();
                of_day.insert((row.labels.clone(), *at_ms));
            }
        }
        Unsettled { position, tenant: tenant.clone(), parts }
    }

    fn some_shards(&mut self) -> Vec<ShardId> {
        let shards = self.copy.options.cluster.unwrap().shards;
        shards.iter().filter(|_| self.workload.random.bool()).collect()
    }

    /// Settles a write, or its part in some shards; returns the parts of that.
    fn settle(&self, write: &mut Unsettled, shards: Option<&[ShardId]>) -> BTreeSet<Part> {
        self.copy.store().settle(write.position, shards);
        let is_settled = |shard: ShardId| shards.is_none_or(|shards| shards.contains(&shard));
        let (settled, left) = std::mem::take(&mut write.parts)
            .into_iter()
            .partition(|((shard, _), _)| is_settled(*shard));
        write.parts = left;
        settled.into_keys().collect()
    }

    /// A word that comes late, maybe after the record became entries.
    fn settle_an_old_one(&mut self) -> &'static str {
        if self.must.is_empty() {
            return "settle nothing";
        }
        let at = self.workload.random.usize(..self.must.len());
        let mut write = self.must.swap_remove(at);
        let settled = self.settle(&mut write, None);
        self.recent.extend(settled);
        "settle an old one"
    }

    /// Now it says what is settled, up to the first record that is not.
    fn account_is_written(&mut self) {
        if self.copy.store().unsettled_stats().records == 0 {
            self.recent.clear();
        }
    }

    fn age(&mut self) {
        self.may.extend(self.must.iter().flat_map(|write| write.parts.keys()));
    }

    fn crash(&mut self) -> &'static str {
        self.copy.crash();
        self.age();
        self.may.append(&mut self.recent);
        "crash"
    }

    /// Some of the entries are delivered to all places.
    fn deliver(&mut self) -> &'static str {
        let by_ms = i64::try_from(AGE.as_millis()).unwrap();
        self.clock.set(self.clock.now_ms() + by_ms);
        self.age();
        let store = self.copy.store();
        store.checkpoint().unwrap();
        assert_eq!(store.unsettled_stats().records, 0, "they are all too old");
        self.recent.clear();
        self.check_exemplars();
        let store = self.copy.store();
        let view = view();
        for (shard, count) in store.unsettled_shards() {
            let most = self.workload.random.usize(..=count);
            for (key, mark, _) in store.undelivered(shard, most) {
                let places = (0..3).map(Place);
                let settled: Vec<bool> = places
                    .map(|place| store.delivered(shard, key, mark, place, Epoch(1), &view))
                    .collect();
                assert_eq!(settled, [false, false, true]);
                let is_of = |part: &Part| {
                    let of_day = part.1.within().map(UnsettledKey::Day);
                    part.0 == shard && (part.1 == key || of_day == Some(key))
                };
                for write in &mut self.must {
                    write.parts.retain(|part, _| !is_of(part));
                }
                // Until the account is written, a crash brings them back.
                let (gone, left) = std::mem::take(&mut self.may).into_iter().partition(is_of);
                self.may = left;
                self.recent.extend::<BTreeSet<_>>(gone);
            }
        }
        "deliver"
    }

    /// Whoever delivers everything brings the exemplars of all writes that are not settled.
    fn check_exemplars(&self) {
        let store = self.copy.store();
        let mut found = BTreeSet::new();
        for (shard, _) in store.unsettled_shards() {
            let entries = store.undelivered(shard, usize::MAX);
            let keys: Vec<_> = entries.iter().map(|(key, ..)| *key).collect();
            let bundle = store.read_unsettled(shard, &keys, &never).unwrap();
            found.extend(bundle.exemplars.iter().map(|e| (e.id, e.timestamp_ms)));
        }
        for ((_, key), of_part) in self.must.iter().flat_map(|write| &write.parts) {
            if let UnsettledKey::Exemplars(_, id) = key {
                for (labels, at_ms) in of_part {
                    assert!(found.contains(&(*id, *at_ms)), "{labels} at {at_ms} is forgotten");
                }
            }
        }
    }

    fn check(&self) {
        let stats = self.copy.store().unsettled_stats();
        assert_eq!(stats.oldest_ms.is_some(), stats.records + stats.chunks + stats.days > 0);
        if self.most_chunks > self.may.len() {
            let (may, told) = (self.may.len(), self.told.len());
            assert!(stats.chunks <= may && stats.days <= told, "{stats:?}, of at most {may}");
        }
        for (shard, _) in self.must.iter().flat_map(|write| write.parts.keys()) {
            assert!(!self.copy.store().is_settled_for(*shard, Place(1)));
        }
        for tenant in self.workload.tenants() {
            let mine = self.must.iter().filter(|write| write.tenant == *tenant);
            let must: BTreeSet<_> = mine
                .flat_map(|write| &write.parts)
                .filter(is_chunk)
                .flat_map(|(_, of)| of)
                .collect();
            let ask = |is_full| {
                let scope = all_in(&self.copy.options, is_full);
                let found = self.copy.select_in(tenant, &[], TimeRange::ALL, &scope);
                by_time(unite(&[found], TimeRange::ALL))
            };
            let (all, unsettled) = (ask(true), ask(false));
            let has_nothing = self.copy.has_nothing_unsettled(tenant, &[], TimeRange::ALL);
            assert!(!has_nothing || unsettled.is_empty(), "{tenant:?} has something unsettled");
            assert!(has_nothing || stats.oldest_ms.is_some(), "there is nothing to be found");
            for sample in must {
                assert!(all.contains_key(sample), "it was written");
                assert_eq!(unsettled.get(sample), all.get(sample), "{sample:?} is forgotten");
            }
            assert!(unsettled.keys().all(|sample| all.contains_key(sample)), "none is invented");
        }
    }
}

fn is_chunk((part, _): &(&Part, &BTreeSet<(Labels, i64)>)) -> bool {
    matches!(part.1, UnsettledKey::Chunk(..))
}

fn by_time(rows: Rows) -> BTreeMap<(Labels, i64), Point> {
    let points = |(labels, points): (Labels, Vec<Point>)| {
        points.into_iter().map(move |point| ((labels.clone(), point.0), point))
    };
    rows.into_iter().flat_map(points).collect()
}

#[test]
fn nothing_unsettled_is_forgotten_and_what_is_settled_goes() {
    for seed in seeds(6) {
        println!("RANGEKEEPER_SEED={seed}");
        let mut run = Alone::new(seed);
        for number in 0..STEPS {
            let step = run.step();
            println!("{number}: {step}");
            run.check();
        }
        run.copy.store().close();
    }
}

/// Readers while records become entries, and samples go from the head to the database.
#[test]
fn what_is_unsettled_is_seen_wherever_it_is_at_the_moment() {
    const WRITES: i64 = 300;
    let clock = TestClock::at(T0);
    let copy = Copy::new(&clock, 4, |options| {
        options.unsettled_age = Duration::from_millis(500);
        options.unsettled_chunks = 40;
    });
    let tenant = TenantId::default();
    let written = AtomicI64::new(0);
    let labels = |host: i64| {
        let host = format!("h{host}");
        Labels::from_pairs([("__name__", "up"), ("instance", host.as_str())]).unwrap()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..WRITES {
                let at_ms = T0 + number * WINDOW_MS;
                let row = |host| Row { floats: vec![(at_ms, 0, 1.0)], ..Row::new(labels(host)) };
                let rows = (0..20).map(row).collect();
                copy.put(&tenant, &Batch { rows, metadata: vec![] });
                written.store(number + 1, Ordering::SeqCst);
                clock.set(at_ms);
            }
        });
        scope.spawn(|| {
            while written.load(Ordering::SeqCst) < WRITES {
                copy.store().checkpoint().unwrap();
            }
        });
        let matchers = [Matcher::new(MatchOp::Equal, "__name__", "up").unwrap()];
        let scope = all_in(&copy.options, false);
        let mut acknowledged = 0;
        while acknowledged < WRITES {
            acknowledged = written.load(Ordering::SeqCst);
            let has_nothing = copy.has_nothing_unsettled(&tenant, &matchers, TimeRange::ALL);
            assert!(!has_nothing || acknowledged == 0, "{acknowledged} are not settled");
            let found = copy.select_in(&tenant, &matchers, TimeRange::ALL, &scope);
            let rows = unite(&[found], TimeRange::ALL);
            assert!(rows.len() == 20 || acknowledged == 0, "{acknowledged}: {}", rows.len());
            for (labels, points) in rows {
                let count =
                    points.iter().filter(|(at_ms, ..)| *at_ms < T0 + acknowledged * WINDOW_MS);
                assert_eq!(i64::try_from(count.count()).unwrap(), acknowledged, "of {labels}");
            }
        }
    });
}
