//! Who is a member.

use rangekeeper_coordination::{Error, Membership};
use rangekeeper_model::{Incarnation, Lineage, RunId};
use tokio::time::Instant;
use uuid::Uuid;

use crate::stage::{Cast, Stage, node, registered, run, until};

pub async fn each_registration_has_a_greater_incarnation<S: Stage>(cast: &Cast<S>) {
    let operator = cast.operator().await;
    let mut members = operator.handle.members();
    let mut last = 0;
    for boot in 1..=3 {
        let a = cast.start(&format!("a{boot}"));
        let incarnation = registered(&mut a.register("a", 1, boot)).await;
        assert!(incarnation > last, "{incarnation} after {last}");
        last = incarnation;
        until(&mut members, "the member", |members| {
            let member = members.as_ref().and_then(|m| m.members.get(&node("a")));
            member.is_some_and(|m| m.incarnation.0 == last && m.registration.boot == boot)
        })
        .await;
        a.handle.close().await;
    }
}

pub async fn a_deleted_registration_is_made_again<S: Stage>(cast: &Cast<S>) {
    cast.operator().await;
    let a = cast.start("a");
    let mut membership = a.register("a", 1, 1);
    let first = registered(&mut membership).await;
    assert!(cast.stage.delete(&cast.path("/nodes/a")).await);
    until(
        &mut membership,
        "another incarnation",
        |now| matches!(now, Membership::Registered(again) if again.0 > first),
    )
    .await;
}

pub async fn its_own_earlier_session_is_replaced<S: Stage>(cast: &Cast<S>) {
    cast.operator().await;
    let before = cast.start("before");
    let first = registered(&mut before.register("a", 1, 1)).await;
    // The machine went down: nobody says goodbye, so the name is held until the session times out.
    cast.cut(&before);
    let started = Instant::now();
    let after = cast.start("after");
    let second = registered(&mut after.register("a", 1, 2)).await;
    assert!(second > first);
    assert!(started.elapsed() < cast.stage.session_timeout(), "it waited for the timeout");
}

pub async fn a_name_of_another_store_is_refused<S: Stage>(cast: &Cast<S>) {
    cast.operator().await;
    let (a, b) = (cast.start("a"), cast.start("b"));
    let mut first = a.register("x", 1, 5);
    let incarnation = registered(&mut first).await;
    let mut second = b.register("x", 2, 9);
    let refused = until(&mut second, "refusal", |now| *now != Membership::Pending).await;
    let error = Error::NodeTaken {
        node: node("x"),
        store: Uuid::from_u128(1),
        address: "127.0.0.1:9005".to_owned(),
    };
    assert_eq!(refused, Membership::Refused(error.into()));
    assert_eq!(registered(&mut first).await, incarnation);
    // Once the name is free it is had.
    a.handle.close().await;
    assert!(registered(&mut second).await > incarnation);
}

pub async fn a_copied_folder_is_refused<S: Stage>(cast: &Cast<S>) {
    cast.operator().await;
    let (a, b, c) = (cast.start("a"), cast.start("b"), cast.start("c"));
    let mut first = a.register("x", 1, 5);
    let incarnation = registered(&mut first).await;
    // Copied before the last start, and started once, or more often than the original.
    let copied = |starts: u128| {
        let runs = (1..5).map(|start| run(1, start)).chain((0..starts).map(RunId::of));
        Lineage::of(runs.collect()).unwrap()
    };
    for (copy, starts) in [(&b, 1), (&c, 4)] {
        let mut membership = copy.register_as("x", 1, copied(starts));
        let refused = until(&mut membership, "refusal", |now| *now != Membership::Pending).await;
        let address = "127.0.0.1:9005".to_owned();
        let boot = 4 + u64::try_from(starts).unwrap();
        let error = Error::FolderCopied { node: node("x"), address, found: 5, boot };
        assert_eq!(refused, Membership::Refused(error.into()));
    }
    assert_eq!(*first.borrow(), Membership::Registered(Incarnation(incarnation)));
}

pub async fn an_older_process_gives_way<S: Stage>(cast: &Cast<S>) {
    cast.operator().await;
    let (old, new) = (cast.start("old"), cast.start("new"));
    let mut first = old.register("x", 1, 1);
    registered(&mut first).await;
    registered(&mut new.register("x", 1, 2)).await;
    let refused = until(&mut first, "refusal", |now| matches!(now, Membership::Refused(_))).await;
    let Membership::Refused(error) = refused else { unreachable!("waited for") };
    assert!(matches!(*error, Error::FolderCopied { found: 2, boot: 1, .. }), "{error}");
}

pub async fn members_come_and_go<S: Stage>(cast: &Cast<S>) {
    let operator = cast.operator().await;
    let mut members = operator.handle.members();
    let processes: Vec<_> = ["a", "b", "c"].map(|name| cast.start(name)).into();
    for (process, name) in processes.iter().zip(["a", "b", "c"]) {
        registered(&mut process.register(name, 1, 1)).await;
    }
    let all = until(&mut members, "three", |m| m.as_ref().is_some_and(|m| m.members.len() == 3));
    assert!(all.await.unwrap().unreadable.is_empty());
    processes[1].handle.close().await;
    let two =
        until(&mut members, "two", |m| m.as_ref().is_some_and(|m| m.members.len() == 2)).await;
    assert!(!two.unwrap().members.contains_key(&node("b")));
    // What a newer build writes is named, and costs nothing else.
    cast.stage.create(&cast.path("/nodes/z"), br#"{"format":2}"#).await;
    let seen = until(&mut members, "what cannot be read", |members| {
        members.as_ref().is_some_and(|members| !members.unreadable.is_empty())
    })
    .await
    .unwrap();
    assert_eq!(seen.members.len(), 2);
    assert!(seen.unreadable["z"].to_string().contains("format 2"), "{:?}", seen.unreadable);
}
