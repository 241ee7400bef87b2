//! What the node needs at the edge: a million series, a start after a kill, and the memory that
//! ended series give back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::load::{Generator, Shape, folder};
use super::system::{replay, resident_mib};
use crate::interrupt;
use crate::node::Setup;

/// A million series for six minutes.
const MANY_SERIES: Shape = Shape { hosts: 600, ticks: 24, prefix: "h" };

/// A hundred thousand series for an hour, twice, under two names.
const FIRST_GENERATION: Shape = Shape { hosts: 60, ticks: 240, prefix: "h" };
const SECOND_GENERATION: Shape = Shape { hosts: 60, ticks: 240, prefix: "g" };

/// Time without a sample after which a series leaves the memory, made short for the measurement.
const IDLE: Duration = Duration::from_mins(1);

/// Measures both and prints the figures.
pub fn measure(generator: &Generator) -> Result<()> {
    many_series(generator)?;
    generations(generator)
}

fn many_series(generator: &Generator) -> Result<()> {
    let load = generator.load(&MANY_SERIES)?;
    let data = tempfile::tempdir_in(folder()?).context("failed to make a folder for the data")?;
    let setup = Setup::new(&data.path().join("data"))?;
    let mut node = setup.start_ready()?;
    println!("a million series: {} samples", load.samples);
    let taken = replay(generator, &load, &node.api, node.process.pid())?;
    node.process.kill()?;
    let started = Instant::now();
    let node = setup.start_ready()?;
    println!(
        "a million series: {:.0} MiB resident, at most {:.0}; ready {:.2} s after a kill -9, then \
         {:.0} MiB",
        taken.memory_mib,
        taken.peak_mib,
        started.elapsed().as_secs_f64(),
        resident_mib(node.process.pid())?,
    );
    Ok(())
}

fn generations(generator: &Generator) -> Result<()> {
    let first = generator.load(&FIRST_GENERATION)?;
    let second = generator.load(&SECOND_GENERATION)?;
    let data = tempfile::tempdir_in(folder()?).context("failed to make a folder for the data")?;
    let mut setup = Setup::new(&data.path().join("data"))?;
    // A series leaves the memory once what it holds there has been written out.
    setup.settings =
        ["idle", "flush_age"].map(|key| format!("head.{key}={}s", IDLE.as_secs())).to_vec();
    let node = setup.start_ready()?;
    let pid = node.process.pid();
    let before = resident_mib(pid)?;
    let one = replay(generator, &first, &node.api, pid)?.memory_mib;
    interrupt::pass(3 * IDLE)?;
    let idle = resident_mib(pid)?;
    let two = replay(generator, &second, &node.api, pid)?.memory_mib;
    interrupt::pass(3 * IDLE)?;
    println!(
        "generations of series: {before:.0} MiB empty, {one:.0} after the first, {idle:.0} once it \
         has ended, {two:.0} after the second, {:.0} once that has ended",
        resident_mib(pid)?
    );
    Ok(())
}
