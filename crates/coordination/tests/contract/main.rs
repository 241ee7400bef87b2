//! What coordination promises, checked on ZooKeeper and on its twin in memory.
//!
//! Each promise is a function in `promises` (faults of single processes) or `outages` (faults of
//! the whole ensemble). On the twin each is a test of its own, run under several seeds
//! (`RANGEKEEPER_SEED` takes one) and under a paused clock. On ZooKeeper all of them share one
//! ensemble of three real servers, which needs Java and Debian's `libzookeeper-java`
//! (`make tools`); where they are not, that test says that it is skipped.

mod faults;
mod figures;
mod outages;
mod promises;
mod relay;
mod servers;
mod stage;
mod twin;
mod zookeeper;

/// Makes a list of promises and, for each, a test on the twin.
macro_rules! promises {
    ($module:ident: $list:ident, $tests:ident: $($name:ident),* $(,)?) => {
        fn $list() -> Vec<(&'static str, zookeeper::Promise)> {
            vec![$((stringify!($name), |cast| {
                Box::pin(crate::$module::$name(cast))
            })),*]
        }

        mod $tests {
            $(
                #[test]
                fn $name() {
                    crate::twin::check(stringify!($name), |cast| {
                        Box::pin(crate::$module::$name(cast))
                    });
                }
            )*
        }
    };
}

promises! { promises: all_promises, twin_keeps:
    init_is_refused_where_a_cluster_is,
    one_of_two_inits_wins,
    nothing_is_made_where_no_cluster_is,
    another_cluster_is_refused,
    a_cluster_that_is_gone_is_not_made_again,
    a_change_of_the_cluster_meets_what_was_read,
    the_self_test_names_what_is_missing,
    each_registration_has_a_greater_incarnation,
    a_deleted_registration_is_made_again,
    its_own_earlier_session_is_replaced,
    a_name_of_another_store_is_refused,
    a_copied_folder_is_refused,
    an_older_process_gives_way,
    members_come_and_go,
    one_candidate_leads_and_after_it_another,
    who_resigns_leads_no_more,
    a_leader_that_was_away_cannot_publish,
    a_publish_meets_what_was_read,
    lost_answers_are_settled,
    what_follows_sees_the_newest_after_a_reconnect,
    intents_come_and_go,
    what_is_too_large_is_not_sent,
    an_expired_session_is_replaced,
    closing_frees_the_name_at_once,
    nothing_is_written_without_a_connection,
}

promises! { outages: all_outages, twin_outlives:
    an_ensemble_that_was_away_longer_than_sessions_last,
    an_ensemble_that_stood_still_longer_than_sessions_last,
}

#[test]
fn zookeeper_keeps_them_all() {
    zookeeper::check(&all_promises(), &all_outages());
}
