//! How a cluster begins, and which one it is.

use rangekeeper_coordination::{
    Assignment, Error, Intent, Membership, Refusal, SessionState, Version,
};
use rangekeeper_model::Term;
use uuid::Uuid;

use crate::promises::bytes;
use crate::stage::{Cast, Stage, cluster, node, registered, until};

pub async fn init_is_refused_where_a_cluster_is<S: Stage>(cast: &Cast<S>) {
    let operator = cast.start("operator");
    operator.handle.init(&cluster(1)).await.unwrap();
    // An operator who does not know whether it worked does it again.
    operator.handle.init(&cluster(1)).await.unwrap();
    let (found, version) = operator.handle.cluster().await.unwrap();
    assert_eq!((found, version), (cluster(1), Version(0)));
    let other = cast.start("other");
    let root = cast.root();
    assert_eq!(
        other.handle.init(&cluster(2)).await,
        Err(Error::AlreadyInitialized { root, uuid: Uuid::from_u128(1) })
    );
    assert_eq!(operator.handle.cluster().await.unwrap().0, cluster(1));
}

pub async fn one_of_two_inits_wins<S: Stage>(cast: &Cast<S>) {
    let (a, b) = (cast.start("a"), cast.start("b"));
    let (one, two) = (cluster(1), cluster(2));
    let (first, second) = tokio::join!(a.handle.init(&one), b.handle.init(&two));
    let winner = match (first, second) {
        (Ok(()), Err(Error::AlreadyInitialized { .. })) => one,
        (Err(Error::AlreadyInitialized { .. }), Ok(())) => two,
        both => panic!("{both:?}"),
    };
    assert_eq!(cast.start("c").handle.cluster().await.unwrap().0, winner);
}

pub async fn nothing_is_made_where_no_cluster_is<S: Stage>(cast: &Cast<S>) {
    let a = cast.start("a");
    let error = Error::NotInitialized { root: cast.root() };
    assert_eq!(a.handle.cluster().await, Err(error.clone()));
    assert_eq!(a.handle.try_lead(&a.candidate()).await, Err(error.clone()));
    let intent = Intent::Drain(node("a"));
    assert_eq!(a.handle.declare(&intent, &bytes("now")).await, Err(error.clone()));
    let published = a.handle.publish(Term(1), Version(0), &bytes("map")).await;
    assert_eq!(published, Err(error.clone()));
    let mut membership = a.register("a", 1, 1);
    let refused = until(&mut membership, "refusal", |m| *m != Membership::Pending).await;
    assert_eq!(refused, Membership::Refused(error.into()));
    assert_eq!(cast.stage.read(&cast.root()).await, None);
    // It goes on by itself once there is one.
    cast.operator().await;
    registered(&mut membership).await;
}

pub async fn another_cluster_is_refused<S: Stage>(cast: &Cast<S>) {
    let operator = cast.operator().await;
    let mut settings = cast.settings();
    settings.cluster = Some(Uuid::from_u128(9));
    let stranger = cast.start_with("stranger", settings);
    let error = Error::OtherCluster {
        root: cast.root(),
        expected: Uuid::from_u128(9),
        found: Uuid::from_u128(1),
    };
    let mut session = stranger.handle.session();
    let membership = stranger.register("a", 1, 1);
    let state =
        until(&mut session, "refusal", |state| matches!(state, SessionState::Refused(_))).await;
    assert_eq!(state, SessionState::Refused(error.clone().into()));
    let published = stranger.handle.publish(Term(0), Version(0), &bytes("map")).await;
    assert_eq!(published, Err(error));
    assert_eq!(*membership.borrow(), Membership::Pending);
    let mut assignment = operator.handle.assignment();
    let seen = until(&mut assignment, "the map", Option::is_some).await;
    assert_eq!(seen, Some(Assignment::Unpublished(Version(0))));
    // The same for whoever learns later where it belongs.
    assert_eq!(operator.handle.belong(Uuid::from_u128(1)), Ok(()));
    let late = operator.handle.belong(Uuid::from_u128(9));
    assert!(matches!(late, Err(Error::OtherCluster { .. })), "{late:?}");
}

pub async fn a_cluster_that_is_gone_is_not_made_again<S: Stage>(cast: &Cast<S>) {
    let operator = cast.operator().await;
    let a = cast.start("a");
    let mut membership = a.register("a", 1, 1);
    registered(&mut membership).await;
    assert!(cast.stage.delete(&cast.path("/cluster")).await);
    cast.expire(&a).await;
    let error = Error::NotInitialized { root: cast.root() };
    let mut session = a.handle.session();
    until(&mut session, "refusal", |s| *s == SessionState::Refused(error.clone().into())).await;
    assert_eq!(*membership.borrow(), Membership::Pending);
    // What is left of it is nothing to build a cluster upon.
    let again = operator.handle.init(&cluster(1)).await;
    let refused = Err(Refusal::NodeExists);
    assert_eq!(
        again.map_err(|error| match error {
            Error::Refused { refusal, .. } => refusal,
            error => panic!("{error}"),
        }),
        refused
    );
}

pub async fn a_change_of_the_cluster_meets_what_was_read<S: Stage>(cast: &Cast<S>) {
    let operator = cast.operator().await;
    let (mut now, version) = operator.handle.cluster().await.unwrap();
    now.format_level = 2;
    let next = operator.handle.change_cluster(version, &now).await.unwrap();
    assert_eq!(operator.handle.cluster().await.unwrap(), (now.clone(), next));
    now.format_level = 3;
    assert_eq!(
        operator.handle.change_cluster(version, &now).await,
        Err(Error::Conflict { path: cast.path("/cluster"), expected: version })
    );
}

pub async fn the_self_test_names_what_is_missing<S: Stage>(cast: &Cast<S>) {
    let a = cast.start("a");
    let missing = Error::NotInitialized { root: cast.root() };
    assert_eq!(a.handle.self_test().await, Err(missing));
    cast.operator().await;
    a.handle.self_test().await.unwrap();
    cast.cut(&a);
    until(&mut a.handle.session(), "the cut", |s| *s != SessionState::Connected).await;
    let error = a.handle.self_test().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}
