//! Faults that only the twin can be given.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_coordination::memory::MemoryEnsemble;
use rangekeeper_coordination::{Assignment, Membership, Role, SessionState, Version};
use tokio::time::Instant;

use crate::stage::{Cast, Stage, registered, until};
use crate::twin::check;

#[test]
fn a_session_that_was_replaced_in_silence_is_noticed() {
    check("replaced", |cast| {
        Box::pin(async move {
            cast.operator().await;
            let a = cast.start("a");
            let mut membership = a.register("a", 1, 1);
            let first = registered(&mut membership).await;
            cast.stage.replace_session(&a.name);
            until(
                &mut membership,
                "another registration",
                |now| matches!(now, Membership::Registered(again) if again.0 > first),
            )
            .await;
            // It belongs to the session that the handle has, so it goes with it.
            a.handle.close().await;
            assert_eq!(cast.stage.read(&cast.path("/nodes/a")), None);
        })
    });
}

#[test]
fn a_server_that_lags_changes_nothing() {
    check("lags", |cast| {
        Box::pin(async move {
            cast.operator().await;
            let (a, b) = (cast.start("a"), cast.start("b"));
            until(&mut b.handle.session(), "b", |state| *state == SessionState::Connected).await;
            cast.stage.lag(&b.name);
            let term = a.handle.try_lead(&a.candidate()).await.unwrap().unwrap();
            a.handle.publish(term, Version(0), &Bytes::from_static(b"map 1")).await.unwrap();
            a.handle.resign().await.unwrap();
            // What b reads is of the time before, but what it writes meets what is.
            let mut assignment = b.handle.assignment();
            let seen = until(&mut assignment, "a map", Option::is_some).await;
            assert_eq!(seen, Some(Assignment::Unpublished(Version(0))));
            assert!(b.handle.try_lead(&b.candidate()).await.is_err(), "what it reads stays old");
            cast.stage.catch_up(&b.name);
            let next = b.handle.try_lead(&b.candidate()).await.unwrap().unwrap();
            assert!(next > term);
            until(&mut assignment, "the map", |now| {
                matches!(now, Some(Assignment::Published { version: Version(1), .. }))
            })
            .await;
        })
    });
}

#[test]
fn events_that_do_not_come_are_not_waited_for() {
    check("held", |cast| {
        Box::pin(async move {
            let a = cast.operator().await;
            let mut settings = cast.settings();
            settings.reread_interval = Duration::from_mins(1);
            let b = cast.start_with("b", settings);
            let mut assignment = b.handle.assignment();
            until(&mut assignment, "a map", Option::is_some).await;
            cast.stage.hold_watches(&b.name);
            let term = a.handle.try_lead(&a.candidate()).await.unwrap().unwrap();
            a.handle.publish(term, Version(0), &Bytes::from_static(b"map 1")).await.unwrap();
            let wait = async {
                let waited = assignment.wait_for(|now| {
                    matches!(now, Some(Assignment::Published { version: Version(1), .. }))
                });
                waited.await.map(drop)
            };
            tokio::time::timeout(Duration::from_secs(61), wait).await.unwrap().unwrap();
        })
    });
}

#[test]
fn an_expiry_by_the_servers_is_heard_at_once() {
    check("expired", |cast| {
        Box::pin(async move {
            cast.operator().await;
            let a = cast.start("a");
            let mut membership = a.register("a", 1, 1);
            let first = registered(&mut membership).await;
            let (term, mut role) = a.lead().await;
            let started = Instant::now();
            cast.stage.expire(&a.name);
            until(
                &mut membership,
                "another registration",
                |now| matches!(now, Membership::Registered(again) if again.0 > first),
            )
            .await;
            let leads = |role: &Role| matches!(role, Role::Leading(again) if *again > term);
            until(&mut role, "leading again", leads).await;
            assert!(started.elapsed() < cast.stage.session_timeout());
        })
    });
}

#[test]
fn a_client_gives_up_after_one_and_two_fifths_of_its_timeout() {
    check("gives-up", |cast| {
        Box::pin(async move {
            cast.operator().await;
            let a = cast.start("a");
            let mut session = a.handle.session();
            until(&mut session, "a session", |state| *state == SessionState::Connected).await;
            let started = Instant::now();
            cast.stage.kill_all();
            until(&mut session, "the end", |state| *state == SessionState::Connecting).await;
            let timeouts = started.elapsed().div_duration_f64(cast.stage.session_timeout());
            assert!((1.4..1.41).contains(&timeouts), "{timeouts}");
        })
    });
}

#[test]
fn an_interruption_costs_no_session() {
    check("interrupted", |cast| {
        Box::pin(async move {
            cast.operator().await;
            let a = cast.start("a");
            let mut membership = a.register("a", 1, 1);
            let first = registered(&mut membership).await;
            for _ in 0..50 {
                cast.stage.interrupt(&a.name);
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..100))).await;
            }
            assert_eq!(registered(&mut membership).await, first);
            assert_eq!(a.metric("rangekeeper_coordination_sessions_total"), 1);
        })
    });
}

#[test]
fn the_metrics_say_how_old_the_assignment_may_be() {
    const AGE: &str = "rangekeeper_coordination_assignment_age_seconds";
    const CONNECTED: &str = "rangekeeper_coordination_session_state{state=\"connected\"}";
    check("age", |cast| {
        Box::pin(async move {
            cast.operator().await;
            let a = cast.start("a");
            let mut assignment = a.handle.assignment();
            until(&mut assignment, "the map", Option::is_some).await;
            tokio::time::sleep(Duration::from_mins(1)).await;
            assert_eq!((a.reading(AGE), a.reading(CONNECTED)), ("0".to_owned(), "1".to_owned()));
            cast.stage.kill_all();
            let mut session = a.handle.session();
            until(&mut session, "the outage", |state| *state == SessionState::Disconnected).await;
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let age: f64 = a.reading(AGE).parse().unwrap();
            assert!((10.0..10.1).contains(&age), "{age}");
            assert_eq!(a.reading(CONNECTED), "0");
            cast.stage.start_all();
            until(&mut session, "a session", |state| *state == SessionState::Connected).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!((a.reading(AGE), a.reading(CONNECTED)), ("0".to_owned(), "1".to_owned()));
        })
    });
}

/// What three candidates and a publisher see of each other under random faults, as text.
fn trace(seed: u64) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    fastrand::seed(seed);
    runtime.block_on(async {
        let cast: Cast<MemoryEnsemble> = Cast::new(MemoryEnsemble::new(seed), "trace");
        let operator = cast.operator().await;
        let started = Instant::now();
        let mut leader = operator.handle.leader();
        let processes: Vec<_> = ["a", "b", "c"].map(|name| cast.start(name)).into();
        let roles: Vec<_> = processes.iter().map(|p| p.handle.campaign(p.candidate())).collect();
        let mut trace = String::new();
        for _ in 0..20 {
            let victim = &processes[fastrand::usize(..processes.len())];
            match fastrand::u8(..3) {
                0 => cast.stage.interrupt(&victim.name),
                1 => cast.stage.expire(&victim.name),
                _ => cast.cut(victim),
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..8000))).await;
            cast.mend(victim);
            let now = until(&mut leader, "a leader", |l| matches!(l, Some(Some(_)))).await;
            let at = started.elapsed();
            let roles: Vec<_> = roles.iter().map(|role| role.borrow().clone()).collect();
            writeln!(trace, "{at:?} {now:?} {roles:?}").unwrap();
        }
        cast.end().await;
        trace
    })
}

#[test]
fn equal_seeds_give_equal_runs() {
    let first = trace(7);
    assert_eq!(first, trace(7));
    assert_ne!(first, trace(8));
}
