//! What becomes of requests, watches and names when connections and sessions go.

use std::time::Duration;

use rangekeeper_coordination::memory::Fate;
use rangekeeper_coordination::{
    Assignment, Error, Intent, Membership, Role, SessionState, Version,
};
use rangekeeper_model::Term;
use tokio::time::Instant;

use crate::promises::bytes;
use crate::stage::{Cast, Stage, cluster, node, registered, until};

pub async fn lost_answers_are_settled<S: Stage>(cast: &Cast<S>) {
    let a = cast.start("a");
    let mut session = a.handle.session();
    until(&mut session, "a session", |state| *state == SessionState::Connected).await;
    cast.lose_next_answer(&a, Fate::Applied);
    a.handle.init(&cluster(1)).await.unwrap();
    assert_eq!(a.handle.cluster().await.unwrap().0, cluster(1));
    let mut boot = 0;
    let mut version = Version(0);
    for fate in [Fate::Applied, Fate::Lost, Fate::Applied, Fate::Lost] {
        boot += 1;
        cast.lose_next_answer(&a, fate);
        let term = a.handle.try_lead(&a.candidate()).await.unwrap().expect("nobody else leads");
        assert_eq!(term, Term(boot), "a term is begun once");
        cast.lose_next_answer(&a, fate);
        let next = a.handle.publish(term, version, &bytes(&format!("map {boot}"))).await.unwrap();
        assert_eq!(next, Version(version.0 + 1), "a map is published once");
        version = next;
        let intent = Intent::Drain(node("x"));
        cast.lose_next_answer(&a, fate);
        a.handle.declare(&intent, &bytes(&boot.to_string())).await.unwrap();
        let path = cast.path("/intent/drain/x");
        assert_eq!(cast.stage.read(&path).await, Some(bytes(&boot.to_string())));
        cast.lose_next_answer(&a, fate);
        a.handle.withdraw(&intent).await.unwrap();
        assert_eq!(cast.stage.read(&path).await, None);
        let b = cast.start(&format!("b{boot}"));
        let mut session = b.handle.session();
        until(&mut session, "a session", |state| *state == SessionState::Connected).await;
        cast.lose_next_answer(&b, fate);
        registered(&mut b.register("b", 1, boot)).await;
        a.handle.resign().await.unwrap();
    }
}

pub async fn what_follows_sees_the_newest_after_a_reconnect<S: Stage>(cast: &Cast<S>) {
    let a = cast.operator().await;
    let b = cast.start("b");
    let (term, _role) = a.lead().await;
    let mut assignment = b.handle.assignment();
    let mut members = b.handle.members();
    let mut intents = b.handle.intents();
    let mut leader = b.handle.leader();
    until(&mut assignment, "the map", Option::is_some).await;
    until(&mut members, "nobody", Option::is_some).await;
    until(&mut intents, "nothing", Option::is_some).await;
    until(&mut leader, "the leader", |l| l.as_ref().is_some_and(Option::is_some)).await;
    let mut session = b.handle.session();
    let mut version = Version(0);
    // What is changed during a cut, and what is changed after it: a watch that is not set again
    // misses the second.
    for round in 0..2 {
        cast.cut(&b);
        until(&mut session, "the cut", |state| *state == SessionState::Disconnected).await;
        for step in 0..3 {
            let payload = bytes(&format!("map {round}.{step}"));
            version = a.handle.publish(term, version, &payload).await.unwrap();
        }
        let name = format!("n{round}");
        let new = cast.start(&name);
        registered(&mut new.register(&name, 1, 1)).await;
        a.handle.declare(&Intent::Drain(node(&name)), &bytes("")).await.unwrap();
        assert!(assignment.borrow().is_some(), "the last one stays");
        cast.mend(&b);
        let wanted = version;
        until(
            &mut assignment,
            "the newest map",
            |now| matches!(now, Some(Assignment::Published { version, .. }) if *version == wanted),
        )
        .await;
        until(&mut members, "the new member", |now| {
            now.as_ref().is_some_and(|now| now.members.contains_key(&node(&name)))
        })
        .await;
        until(&mut intents, "the new intent", |now| {
            now.as_ref().is_some_and(|now| now.contains_key(&Intent::Drain(node(&name))))
        })
        .await;
        let payload = bytes(&format!("map {round} after"));
        version = a.handle.publish(term, version, &payload).await.unwrap();
        let after = Some(Assignment::Published { version, payload });
        until(&mut assignment, "the map after that", |now| *now == after).await;
        a.handle.withdraw(&Intent::Drain(node(&name))).await.unwrap();
        until(&mut intents, "no intent", |now| {
            now.as_ref().is_some_and(std::collections::BTreeMap::is_empty)
        })
        .await;
    }
    a.handle.close().await;
    until(&mut leader, "no leader", |leader| *leader == Some(None)).await;
    assert_eq!(b.metric("rangekeeper_coordination_sessions_total"), 1, "by watches alone");
}

pub async fn intents_come_and_go<S: Stage>(cast: &Cast<S>) {
    let operator = cast.operator().await;
    let a = cast.start("a");
    let mut intents = a.handle.intents();
    let all = [Intent::Drain(node("n1")), Intent::Freeze, Intent::Confirm, Intent::Config];
    for text in ["one", "two"] {
        for intent in &all {
            operator.handle.declare(intent, &bytes(text)).await.unwrap();
            until(&mut intents, "the intent", |now| {
                now.as_ref().is_some_and(|now| now.get(intent) == Some(&bytes(text)))
            })
            .await;
        }
    }
    for (index, intent) in all.iter().enumerate() {
        operator.handle.withdraw(intent).await.unwrap();
        operator.handle.withdraw(intent).await.unwrap();
        until(&mut intents, "fewer", |now| {
            now.as_ref().is_some_and(|now| now.len() == all.len() - index - 1)
        })
        .await;
    }
}

pub async fn an_expired_session_is_replaced<S: Stage>(cast: &Cast<S>) {
    let operator = cast.operator().await;
    let a = cast.start("a");
    let mut membership = a.register("a", 1, 1);
    let first = registered(&mut membership).await;
    let (term, mut role) = a.lead().await;
    let mut members = operator.handle.members();
    let mut assignment = a.handle.assignment();
    let version = operator.handle.publish(term, Version(0), &bytes("map 1")).await.unwrap();
    until(&mut assignment, "the map", Option::is_some).await;
    cast.cut(&a);
    until(&mut members, "nobody", |m| m.as_ref().is_some_and(|m| m.members.is_empty())).await;
    until(&mut role, "no role", |role| *role == Role::Following(None)).await;
    until(&mut membership, "no registration", |now| *now == Membership::Pending).await;
    cast.mend(&a);
    assert!(registered(&mut membership).await > first);
    until(&mut role, "leading again", |r| matches!(r, Role::Leading(again) if *again > term)).await;
    until(&mut members, "one", |m| m.as_ref().is_some_and(|m| m.members.len() == 1)).await;
    let payload = bytes("map 1");
    let published = Some(Assignment::Published { version, payload });
    until(&mut assignment, "the map", |now| *now == published).await;
    assert!(a.metric("rangekeeper_coordination_sessions_total") > 1);
}

pub async fn closing_frees_the_name_at_once<S: Stage>(cast: &Cast<S>) {
    cast.operator().await;
    let (a, b) = (cast.start("a"), cast.start("b"));
    registered(&mut a.register("x", 1, 1)).await;
    a.lead().await;
    let mut role = b.handle.campaign(b.candidate());
    until(&mut role, "following", |r| matches!(r, Role::Following(Some(_)))).await;
    a.handle.close().await;
    let closed = Instant::now();
    assert_eq!(cast.stage.read(&cast.path("/nodes/x")).await, None);
    assert_eq!(*a.handle.session().borrow(), SessionState::Closed);
    registered(&mut b.register("x", 2, 1)).await;
    until(&mut role, "leading", |role| matches!(role, Role::Leading(_))).await;
    assert!(closed.elapsed() < cast.stage.session_timeout(), "it waited for the timeout");
    let operation = "publish";
    let late = a.handle.publish(Term(1), Version(0), &bytes("map")).await;
    assert_eq!(late, Err(Error::Closed { operation }));
}

pub async fn nothing_is_written_without_a_connection<S: Stage>(cast: &Cast<S>) {
    cast.operator().await;
    let mut settings = cast.settings();
    // Less than the session lasts: it has to survive.
    settings.request_timeout = Duration::from_millis(500);
    let a = cast.start_with("a", settings);
    let mut session = a.handle.session();
    until(&mut session, "a session", |state| *state == SessionState::Connected).await;
    cast.cut(&a);
    until(&mut session, "the cut", |state| *state == SessionState::Disconnected).await;
    let error = a.handle.declare(&Intent::Freeze, &bytes("late")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    cast.mend(&a);
    until(&mut session, "a connection", |state| *state == SessionState::Connected).await;
    // In the same session, so after anything that was kept back.
    a.handle.declare(&Intent::Confirm, &bytes("now")).await.unwrap();
    assert_eq!(cast.stage.read(&cast.path("/intent/freeze")).await, None);
}
