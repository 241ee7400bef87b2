//! Three real servers as a stage, and everything that is played on them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rangekeeper_coordination::memory::Fate;
use rangekeeper_coordination::{
    Credentials, Ensemble, Error, Figures, Refusal, ServerRole, Version, ZooKeeper,
};
use zookeeper_client as zk;

use crate::relay::Relay;
use crate::servers::{Programs, Servers};
use crate::stage::{Cast, Stage, cluster, registered};

/// A promise, as it is played here.
pub type Promise = for<'a> fn(&'a Cast<RealStage<'a>>) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Twenty ticks are the most that the servers give.
const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// Promises played at the same time. They mostly wait.
const TOGETHER: usize = 6;

/// The servers, with a relay for each process.
pub struct RealStage<'a> {
    servers: &'a Mutex<Servers>,
    relays: Rc<RefCell<HashMap<String, Relay>>>,
}

impl<'a> RealStage<'a> {
    fn new(servers: &'a Mutex<Servers>) -> Self {
        Self { servers, relays: Rc::default() }
    }

    fn relay(&self, process: &str) -> Relay {
        let start = || Relay::start(self.ports());
        self.relays.borrow_mut().entry(process.to_owned()).or_insert_with(start).clone()
    }

    fn ports(&self) -> Vec<u16> {
        self.servers.lock().unwrap().ports()
    }

    /// All servers, past all relays.
    fn addresses(&self) -> String {
        let servers: Vec<_> = self.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
        servers.join(",")
    }

    /// A client past all that is tested.
    async fn client(&self) -> zk::Client {
        let client = zk::Client::connect(&self.addresses()).await.unwrap();
        // What others wrote before has to be seen.
        client.sync("/").await.unwrap();
        client
    }
}

impl Stage for RealStage<'_> {
    fn ensemble(&self, process: &str, root: &str) -> Ensemble {
        Ensemble::zookeeper(ZooKeeper {
            address: format!("127.0.0.1:{}{root}", self.relay(process).port).parse().unwrap(),
            session_timeout: SESSION_TIMEOUT,
            credentials: None,
        })
    }

    fn session_timeout(&self) -> Duration {
        SESSION_TIMEOUT
    }

    fn cut(&self, process: &str) {
        self.relay(process).cut();
    }

    fn mend(&self, process: &str) {
        self.relay(process).mend();
    }

    fn lose_next_answer(&self, process: &str, fate: Fate) {
        self.relay(process).lose_next_answer(fate);
    }

    async fn read(&self, path: &str) -> Option<Bytes> {
        match self.client().await.get_data(path).await {
            Ok((data, _)) => Some(data.into()),
            Err(zk::Error::NoNode) => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn delete(&self, path: &str) -> bool {
        match self.client().await.delete(path, None).await {
            Ok(()) => true,
            Err(zk::Error::NoNode) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn create(&self, path: &str, data: &[u8]) {
        let options = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all());
        self.client().await.create(path, data, &options).await.unwrap();
    }

    async fn kill_all(&self) {
        self.servers.lock().unwrap().kill_all();
    }

    async fn start_all(&self) {
        self.servers.lock().unwrap().start_all();
    }

    async fn stop_all(&self) {
        self.servers.lock().unwrap().stop_all();
    }

    async fn resume_all(&self) {
        self.servers.lock().unwrap().resume_all();
    }
}

/// Plays everything, or says why not.
pub fn check(promises: &[(&'static str, Promise)], outages: &[(&'static str, Promise)]) {
    let programs = match Programs::find() {
        Ok(programs) => programs,
        Err(missing) => {
            println!("skipped: {missing}");
            // Where everything is provided, that would hide a failure.
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            return;
        }
    };
    let started = Instant::now();
    let servers = Mutex::new(Servers::start(programs));
    println!("three servers serve after {:.1?}", started.elapsed());
    play_together(&servers, promises);
    // What starts servers has to be in this thread: they end with the one that started them.
    for (name, outage) in outages {
        play(&servers, name, *outage);
        servers.lock().unwrap().wait();
    }
    play(&servers, "the_death_of_the_leading_server_costs_no_session", |cast| {
        Box::pin(the_death_of_the_leading_server_costs_no_session(cast))
    });
    servers.lock().unwrap().start_all();
    servers.lock().unwrap().wait();
    for (name, promise) in REAL_ALONE {
        play(&servers, name, *promise);
    }
    println!("all of it took {:.1?}", started.elapsed());
}

/// What the twin has not: permissions, and the servers' own figures.
const REAL_ALONE: &[(&str, Promise)] = &[
    ("strangers_are_kept_out", |cast| Box::pin(strangers_are_kept_out(cast))),
    ("servers_tell_their_figures", |cast| Box::pin(servers_tell_their_figures(cast))),
];

/// Plays promises some at a time, each in a thread and a runtime of its own; names all that failed.
fn play_together(servers: &Mutex<Servers>, promises: &[(&'static str, Promise)]) {
    let queue = Mutex::new(promises.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().next();
                    let Some((name, promise)) = next else { return };
                    let played = std::panic::catch_unwind(|| play(servers, name, *promise));
                    if played.is_err() {
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "not kept by ZooKeeper: {failed:?}");
}

fn play(servers: &Mutex<Servers>, name: &str, promise: Promise) {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cast = Cast::new(RealStage::new(servers), name);
        promise(&cast).await;
        cast.end().await;
    });
    println!("{name}: {:.1?}", started.elapsed());
}

async fn the_death_of_the_leading_server_costs_no_session(cast: &Cast<RealStage<'_>>) {
    cast.operator().await;
    let (a, b) = (cast.start("a"), cast.start("b"));
    let mut first = a.register("a", 1, 1);
    let mut second = b.register("b", 2, 1);
    let before = (registered(&mut first).await, registered(&mut second).await);
    let (term, _role) = a.lead().await;
    let servers = cast.stage.servers;
    let leader = servers.lock().unwrap().leader();
    servers.lock().unwrap().kill(leader);
    // While a new leader is found nothing can be written; after that, in the same sessions.
    let mut version = Version(0);
    for map in 0..10 {
        let payload = Bytes::from(format!("map {map}"));
        version = loop {
            match a.handle.publish(term, version, &payload).await {
                Ok(version) => break version,
                Err(Error::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
    }
    assert_eq!(version, Version(10));
    assert_eq!((registered(&mut first).await, registered(&mut second).await), before);
    for process in [&a, &b] {
        assert_eq!(process.metric("rangekeeper_coordination_sessions_total"), 1);
    }
}

async fn strangers_are_kept_out(cast: &Cast<RealStage<'_>>) {
    let start = |name: &str, password: Option<&str>| {
        let ensemble = Ensemble::zookeeper(ZooKeeper {
            address: format!("{}{}", cast.stage.addresses(), cast.root()).parse().unwrap(),
            session_timeout: SESSION_TIMEOUT,
            credentials: password.map(|password| Credentials {
                user: "cluster".to_owned(),
                password: password.to_owned(),
            }),
        });
        cast.start_on(ensemble, name, cast.settings())
    };
    let ours = start("ours", Some("s3cret"));
    ours.handle.init(&cluster(1)).await.unwrap();
    ours.handle.self_test().await.unwrap();
    registered(&mut ours.register("a", 1, 1)).await;
    ours.lead().await;
    for (name, password) in [("nobody", None), ("wrong", Some("guess"))] {
        let stranger = start(name, password);
        let error = stranger.handle.self_test().await.unwrap_err();
        let Error::Refused { refusal: Refusal::NoAuth, path, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(path, cast.path("/cluster"), "what it looks at first");
    }
    // Past what the handle does: each node, and the root itself.
    let client = cast.stage.client().await;
    for below in ["", "/cluster", "/nodes", "/nodes/a", "/term", "/leader", "/assignment"] {
        let path = cast.path(below);
        assert_eq!(client.get_data(&path).await.unwrap_err(), zk::Error::NoAuth, "{path}");
        let set = client.set_data(&path, b"x", None).await;
        assert_eq!(set.unwrap_err(), zk::Error::NoAuth, "{path}");
    }
}

async fn servers_tell_their_figures(cast: &Cast<RealStage<'_>>) {
    let operator = cast.operator().await;
    let mut assignment = operator.handle.assignment();
    crate::stage::until(&mut assignment, "the map", Option::is_some).await;
    let mut roles = Vec::new();
    for port in cast.stage.ports() {
        let figures = Figures::ask(&format!("127.0.0.1:{port}")).await.unwrap();
        assert!(figures.znodes > 5, "{figures:?}");
        assert_eq!(figures.synced_followers.is_some(), figures.role == ServerRole::Leader);
        roles.push(figures.role);
    }
    roles.sort_by_key(|role| *role != ServerRole::Leader);
    assert_eq!(roles, [ServerRole::Leader, ServerRole::Follower, ServerRole::Follower]);
}
