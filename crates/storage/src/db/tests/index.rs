//! Numbers, postings and names against a naive filter over all series.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rangekeeper_model::{MatchOp, Matcher};

use super::*;

fn found(db: &Db, tenant: &TenantId, day: Day, matchers: &[Matcher]) -> BTreeSet<String> {
    let numbers = db.find(tenant, day, matchers, &never).unwrap();
    let ids = db.ids(day, &numbers).unwrap();
    assert_eq!(ids.len() as u64, numbers.len());
    let mut texts = BTreeSet::new();
    db.read_labels(day, &ids, &never, |_, owner, labels| {
        assert_eq!(owner, tenant);
        assert!(texts.insert(labels.to_string()));
        true
    })
    .unwrap();
    assert_eq!(texts.len(), ids.len());
    texts
}

fn naive(series: &[Series], tenant: &TenantId, matchers: &[Matcher]) -> BTreeSet<String> {
    let passes = |s: &&Series| {
        let value = |m: &Matcher| s.labels.value(m.name()).unwrap_or_default().to_owned();
        s.tenant == *tenant && matchers.iter().all(|m| m.matches(&value(m)))
    };
    series.iter().filter(passes).map(|s| s.labels.to_string()).collect()
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    let value = prop_oneof![
        Just(String::new()),
        "[ab\u{0}]{1,2}",
        Just(".*".to_owned()),
        Just(".+".to_owned()),
        Just("a|b".to_owned()),
        Just("a|".to_owned()),
        Just("a.*".to_owned()),
        Just("(a|b)[ab]?".to_owned()),
        Just("[^a].*".to_owned()),
        Just("(?i)A.*".to_owned()),
    ];
    ("[xyz]", op, value).prop_map(|(name, op, value)| Matcher::new(op, &name, &value).unwrap())
}

fn any_series() -> impl Strategy<Value = Series> {
    let labels = proptest::collection::btree_map("[xyz]", "[ab\u{0}]{0,2}", 0..4);
    ("[tu]", labels).prop_map(|(tenant, pairs)| {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        Series::new(&tenant, &pairs)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn finds_what_a_naive_filter_finds(
        batches in proptest::collection::vec(proptest::collection::vec(any_series(), 0..12), 1..4),
        queries in proptest::collection::vec(proptest::collection::vec(matcher(), 0..4), 24),
        reopen: bool,
    ) {
        let fixture = Fixture::new();
        let mut db = fixture.open();
        for batch in &batches {
            register(&db, DAY, batch);
        }
        if reopen {
            drop(db);
            db = fixture.open();
        }
        let all: Vec<_> = batches.concat();
        for tenant in [TenantId::new("t").unwrap(), TenantId::new("u").unwrap()] {
            for matchers in &queries {
                let expected = naive(&all, &tenant, matchers);
                prop_assert_eq!(found(&db, &tenant, DAY, matchers), expected, "{:?}", matchers);
            }
        }
    }
}

#[test]
fn many_values_are_answered_from_few_candidates() {
    let fixture = Fixture::new();
    let db = fixture.open();
    let series = numbered(3_000);
    register(&db, DAY, &series);
    let tenant = TenantId::default();
    let matchers = [
        Matcher::new(MatchOp::Regex, "host", "h1|h22|h2999|nobody").unwrap(),
        Matcher::new(MatchOp::Regex, "host", ".*2.*").unwrap(),
        Matcher::new(MatchOp::NotRegex, "host", ".*99.*").unwrap(),
    ];
    assert_eq!(found(&db, &tenant, DAY, &matchers), naive(&series, &tenant, &matchers));
}

#[test]
fn numbers_are_given_once_a_day_in_the_order_of_series() {
    let fixture = Fixture::new();
    let series = numbered(50);
    let db = fixture.open();
    let give = |db: &Db, day: Day, series: &[Series]| -> Vec<u32> {
        let mut batch = db.batch();
        let mut registrations: Vec<_> = series
            .iter()
            .map(|s| Registration {
                id: s.id,
                tenant: &s.tenant,
                labels: s.labels.as_bytes(),
                number: None,
            })
            .collect();
        db.register(&mut batch, day, &mut registrations).unwrap();
        db.write(batch).unwrap();
        assert!(registrations.is_sorted_by_key(|r| r.id));
        registrations.iter().map(|r| r.number.unwrap()).collect()
    };
    let first: Vec<u32> = (0..30).collect();
    assert_eq!(give(&db, DAY, &series[..30]), first);
    assert_eq!(give(&db, DAY, &series[..30]), first);
    // A batch that is not written gives numbers that nobody else gets.
    let mut lost = db.batch();
    let other = &series[40];
    let mut registration = [Registration {
        id: other.id,
        tenant: &other.tenant,
        labels: other.labels.as_bytes(),
        number: None,
    }];
    db.register(&mut lost, DAY, &mut registration).unwrap();
    drop(lost);
    drop(db);
    let db = fixture.open();
    let later = give(&db, DAY, &series[30..]);
    assert!(later.is_sorted() && later[0] >= 30, "{later:?}");
    assert_eq!(give(&db, DAY.next(), &series[..3]), [0, 1, 2]);
    assert_eq!(found(&db, &TenantId::default(), DAY, &[]).len(), 50);
}

#[test]
fn registering_at_once_gives_one_number_a_series() {
    let fixture = Fixture::new();
    let db = fixture.open();
    let series = numbered(400);
    std::thread::scope(|scope| {
        for part in [0..300, 100..400, 0..400, 50..350] {
            let (db, some) = (&db, &series[part]);
            scope.spawn(move || some.chunks(37).for_each(|some| register(db, DAY, some)));
        }
    });
    let numbers = db.find(&TenantId::default(), DAY, &[], &never).unwrap();
    let mut ids = db.ids(DAY, &numbers).unwrap();
    ids.dedup();
    assert_eq!((ids.len(), numbers.len()), (400, 400));
}

#[test]
fn names_values_and_cardinality_are_those_of_the_series() {
    let fixture = Fixture::new();
    let db = fixture.open();
    let series = numbered(700);
    register(&db, DAY, &series[..500]);
    register(&db, DAY.next(), &series[400..]);
    let (tenant, days) = (TenantId::default(), [DAY, DAY.next()]);
    let is = |name: &str, value: &str| Matcher::new(MatchOp::Equal, name, value).unwrap();
    let names = |matchers: &[Matcher], limit| {
        db.label_names(&tenant, &days, matchers, limit, &never).unwrap()
    };
    let values = |name: &str, matchers: &[Matcher], limit| {
        db.label_values(&tenant, &days, name, matchers, limit, &never).unwrap()
    };
    assert_eq!(names(&[], 99), [METRIC_NAME, "host", "job"]);
    assert_eq!(names(&[], 1), [METRIC_NAME, "host"]);
    assert_eq!(names(&[is("host", "h699")], 99), [METRIC_NAME, "host", "job"]);
    assert_eq!(names(&[is("host", "nobody")], 99), Vec::<String>::new());
    assert_eq!(values("host", &[], 9999).len(), 700);
    assert_eq!(values("host", &[], 2), ["h0", "h1", "h10"]);
    assert_eq!(values("host", &[is(METRIC_NAME, "m1")], 9999).len(), 100);
    assert_eq!(values(METRIC_NAME, &[is("host", "h8")], 99), ["m1"]);
    let counted = db.cardinality(&tenant, DAY, 2, &never).unwrap();
    assert_eq!((counted.series, counted.label_names), (500, 3));
    assert_eq!(counted.label_pairs, 500 + 7 + 1);
    assert_eq!(counted.by_metric, [("m0".to_owned(), 72), ("m1".to_owned(), 72)]);
    assert_eq!(counted.by_pair[0], ("job=node".to_owned(), 500));
    assert_eq!(counted.values_by_label[0], ("host".to_owned(), 500));
}

#[test]
fn numbers_are_looked_up_until_loading_them_all_is_cheaper() {
    let fixture = Fixture::new();
    let db = fixture.open();
    let series = numbered(2_000);
    register(&db, DAY, &series);
    let matcher = [Matcher::new(MatchOp::Equal, "host", "h1234").unwrap()];
    let numbers = db.find(&TenantId::default(), DAY, &matcher, &never).unwrap();
    let first = db.ids(DAY, &numbers).unwrap();
    assert_eq!((first.len(), db.days.bytes()), (1, 0));
    let mut rounds = 1;
    while db.days.bytes() == 0 {
        assert_eq!(db.ids(DAY, &numbers).unwrap(), first);
        rounds += 1;
    }
    assert!((20..200).contains(&rounds), "loaded in round {rounds}");
    assert_eq!(db.ids(DAY, &numbers).unwrap(), first);
}
