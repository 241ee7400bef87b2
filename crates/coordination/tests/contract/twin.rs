//! The twin in memory as a stage.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use rangekeeper_coordination::Ensemble;
use rangekeeper_coordination::memory::{Fate, MemoryEnsemble};

use crate::stage::{Cast, Stage};

/// Runs of each promise, each with a seed of its own.
const SEEDS: u64 = 20;

const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// A promise as it is played here. Behind a pointer: the whole runtime is not compiled anew for
/// each of them.
pub type Promise = for<'a> fn(&'a Cast<MemoryEnsemble>) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

impl Stage for MemoryEnsemble {
    fn ensemble(&self, process: &str, root: &str) -> Ensemble {
        let address = format!("twin:1{root}").parse().unwrap();
        self.client(process, &address, SESSION_TIMEOUT)
    }

    fn session_timeout(&self) -> Duration {
        SESSION_TIMEOUT
    }

    fn cut(&self, process: &str) {
        Self::cut(self, process);
    }

    fn mend(&self, process: &str) {
        Self::mend(self, process);
    }

    fn lose_next_answer(&self, process: &str, fate: Fate) {
        Self::lose_next_answer(self, process, fate);
    }

    async fn read(&self, path: &str) -> Option<Bytes> {
        Self::read(self, path)
    }

    async fn delete(&self, path: &str) -> bool {
        Self::delete(self, path)
    }

    async fn create(&self, path: &str, data: &[u8]) {
        Self::create(self, path, data);
    }

    async fn kill_all(&self) {
        Self::kill_all(self);
    }

    async fn start_all(&self) {
        Self::start_all(self);
    }

    async fn stop_all(&self) {
        Self::stop_all(self);
    }

    async fn resume_all(&self) {
        Self::resume_all(self);
    }
}

/// The seeds that a test is run under.
pub fn seeds() -> Vec<u64> {
    match std::env::var("RANGEKEEPER_SEED") {
        Ok(seed) => vec![seed.parse().expect("RANGEKEEPER_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    }
}

/// Plays a promise on the twin, under a clock that stands still while anything runs.
pub fn check(name: &str, promise: Promise) {
    for seed in seeds() {
        println!("seed {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        fastrand::seed(seed);
        runtime.block_on(async {
            let cast = Cast::new(MemoryEnsemble::new(seed), name);
            promise(&cast).await;
            cast.end().await;
        });
    }
}
