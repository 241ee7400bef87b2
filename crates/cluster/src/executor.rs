//! Where the tasks of connections run: in a set that is awaited in the end.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs what a connection starts, until it is stopped.
#[derive(Clone)]
pub(crate) struct Tasks {
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // Both may be dropped: that is how the connection ends.
            tokio::select! {
                () = stop.cancelled() => {}
                _ = future => {}
            }
        });
    }
}
