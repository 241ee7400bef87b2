//! Who leads, and what a leader can write.

use bytes::Bytes;
use rangekeeper_coordination::{Assignment, Error, Intent, Refusal, Role, Version};
use rangekeeper_model::Term;

use crate::promises::bytes;
use crate::stage::{Cast, Stage, until};

pub async fn one_candidate_leads_and_after_it_another<S: Stage>(cast: &Cast<S>) {
    let operator = cast.operator().await;
    let processes: Vec<_> = ["a", "b", "c"].map(|name| cast.start(name)).into();
    let roles: Vec<_> = processes.iter().map(|p| p.handle.campaign(p.candidate())).collect();
    let mut leader = operator.handle.leader();
    let mut last = 0;
    let mut gone = Vec::new();
    for _ in 0..3 {
        let now = until(&mut leader, "a leader", |leader| {
            leader.as_ref().is_some_and(|l| l.as_ref().is_some_and(|l| l.term > last))
        })
        .await
        .flatten()
        .unwrap();
        last = now.term;
        let index = ["a", "b", "c"].iter().position(|name| *name == now.node.as_str()).unwrap();
        until(&mut roles[index].clone(), "leading", |r| *r == Role::Leading(Term(last))).await;
        for (other, role) in roles.iter().enumerate() {
            if other != index && !gone.contains(&other) {
                let follows = Role::Following(Some(now.clone()));
                until(&mut role.clone(), "following", |role| *role == follows).await;
            }
        }
        gone.push(index);
        processes[index].handle.close().await;
    }
    until(&mut leader, "nobody", |leader| *leader == Some(None)).await;
}

pub async fn who_resigns_leads_no_more<S: Stage>(cast: &Cast<S>) {
    cast.operator().await;
    let (a, b) = (cast.start("a"), cast.start("b"));
    let term = a.handle.try_lead(&a.candidate()).await.unwrap().unwrap();
    // Asked again it knows that it leads; another is told that it does not.
    assert_eq!(a.handle.try_lead(&a.candidate()).await, Ok(Some(term)));
    assert_eq!(b.handle.try_lead(&b.candidate()).await, Ok(None));
    b.handle.resign().await.unwrap();
    assert_eq!(b.handle.try_lead(&b.candidate()).await, Ok(None));
    a.handle.resign().await.unwrap();
    let next = b.handle.try_lead(&b.candidate()).await.unwrap().unwrap();
    assert!(next > term);
    let published = a.handle.publish(term, Version(0), &bytes("map")).await;
    assert_eq!(published, Err(Error::NotLeader { term: term.0 }));
}

pub async fn a_leader_that_was_away_cannot_publish<S: Stage>(cast: &Cast<S>) {
    cast.operator().await;
    let (a, b) = (cast.start("a"), cast.start("b"));
    let (first, mut role) = a.lead().await;
    let version = a.handle.publish(first, Version(0), &bytes("map 1")).await.unwrap();
    cast.cut(&a);
    until(&mut role, "suspension", |role| *role == Role::Suspended(first)).await;
    let (second, _role) = b.lead().await;
    assert!(second > first);
    cast.mend(&a);
    // Nothing was published meanwhile, so nothing but the term is in its way, once it is back.
    let late = loop {
        match a.handle.publish(first, version, &bytes("map of the past")).await {
            Err(Error::Unavailable { .. }) => {}
            late => break late,
        }
    };
    assert_eq!(late, Err(Error::NotLeader { term: first.0 }));
    let version = b.handle.publish(second, version, &bytes("map 2")).await.unwrap();
    assert_eq!(version, Version(2));
    assert_eq!(cast.stage.read(&cast.path("/assignment")).await, Some(bytes("map 2")));
    until(
        &mut role,
        "following",
        |role| matches!(role, Role::Following(Some(leader)) if leader.term == second.0),
    )
    .await;
}

pub async fn a_publish_meets_what_was_read<S: Stage>(cast: &Cast<S>) {
    let operator = cast.operator().await;
    let mut assignment = operator.handle.assignment();
    until(&mut assignment, "the beginning", |a| *a == Some(Assignment::Unpublished(Version(0))))
        .await;
    let a = cast.start("a");
    let (term, _role) = a.lead().await;
    let first = a.handle.publish(term, Version(0), &bytes("map 1")).await.unwrap();
    let payload = bytes("map 1");
    let published = Some(Assignment::Published { version: first, payload });
    until(&mut assignment, "the first map", |a| *a == published).await;
    assert_eq!(operator.handle.read_assignment().await.ok(), published);
    let path = cast.path("/assignment");
    assert_eq!(
        a.handle.publish(term, Version(0), &bytes("map 2")).await,
        Err(Error::Conflict { path: path.clone(), expected: Version(0) })
    );
    for term in [term.0 - 1, term.0 + 1] {
        assert_eq!(
            a.handle.publish(Term(term), first, &bytes("map 2")).await,
            Err(Error::NotLeader { term })
        );
    }
    assert_eq!(cast.stage.read(&path).await, Some(bytes("map 1")));
    // A map that is lost is said to be, and nobody makes another.
    assert!(cast.stage.delete(&path).await);
    until(&mut assignment, "the loss", |a| *a == Some(Assignment::Missing)).await;
    assert_eq!(operator.handle.read_assignment().await, Ok(Assignment::Missing));
    let error = a.handle.publish(term, first, &bytes("map 2")).await.unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::NoNode, .. }), "{error}");
}

pub async fn what_is_too_large_is_not_sent<S: Stage>(cast: &Cast<S>) {
    const LIMIT: usize = 512 * 1024;
    cast.operator().await;
    let a = cast.start("a");
    let (term, _role) = a.lead().await;
    let large = Bytes::from(vec![7; LIMIT + 1]);
    let path = cast.path("/assignment");
    assert_eq!(
        a.handle.publish(term, Version(0), &large).await,
        Err(Error::TooLarge { path: path.clone(), bytes: LIMIT + 1, limit: LIMIT })
    );
    let error = a.handle.declare(&Intent::Config, &large).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let fits = large.slice(1..);
    assert_eq!(a.handle.publish(term, Version(0), &fits).await, Ok(Version(1)));
    assert_eq!(cast.stage.read(&path).await, Some(fits));
    assert_eq!(a.metric("rangekeeper_coordination_oversize_writes_total"), 2);
    assert_eq!(a.metric("rangekeeper_coordination_sessions_total"), 1);
}
