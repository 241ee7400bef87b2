//! `make compare`: the node beside today's peers, on the same machine, with the same data and in
//! the same run, and one table of what each of them needed. Everything that was started is stopped
//! at the end; the load itself is kept in the cache folder, outside of the repository.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use rangekeeper_system_tests::comparison::load::{self, Generator, Shape};
use rangekeeper_system_tests::comparison::queries::{Timing, agreement, time_queries};
use rangekeeper_system_tests::comparison::system::{Cost, Kind, System};
use rangekeeper_system_tests::comparison::{limits, table};
use rangekeeper_system_tests::interrupt;

/// Measures the node beside Prometheus and VictoriaMetrics.
#[derive(Debug, Parser)]
struct Options {
    /// The load generator
    #[arg(long)]
    rwbench: PathBuf,
    /// The folder of shared data that holds its trace and its queries
    #[arg(long)]
    shared: PathBuf,
    /// Simulated hosts, 1,669 series each
    #[arg(long, default_value_t = 60)]
    hosts: u32,
    /// Scrapes of a host, 15 s apart
    #[arg(long, default_value_t = 240)]
    ticks: u32,
    /// Runs of a query; the median counts
    #[arg(long, default_value_t = 9)]
    runs: u32,
    /// Which of them to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    systems: Vec<Kind>,
    /// Measure what a million series need, a start after a kill, and the memory of ended series
    #[arg(long)]
    limits: bool,
}

fn main() -> Result<()> {
    interrupt::watch()?;
    let options = Options::parse();
    let generator = Generator { program: options.rwbench.clone(), shared: options.shared.clone() };
    if options.limits {
        return limits::measure(&generator);
    }
    let shape = Shape { hosts: options.hosts, ticks: options.ticks, prefix: "h" };
    let input = generator.load(&shape)?;
    let folder =
        tempfile::tempdir_in(load::folder()?).context("failed to make a folder for the data")?;

    let mut systems: Vec<(System, Cost)> = Vec::new();
    for &kind in &options.systems {
        interrupt::check()?;
        println!("{kind}: starting, {} samples to take", input.samples);
        let system = System::start(kind, folder.path())?;
        // The others hold their data for the queries; frozen they take no CPU time.
        for (other, _) in &systems {
            other.process().pause()?;
        }
        let cost = system.take(&generator, &input);
        for (other, _) in &systems {
            other.process().resume()?;
        }
        systems.push((system, cost?));
    }

    let running: Vec<&System> = systems.iter().map(|(system, _)| system).collect();
    println!("asking the queries, {} times each", options.runs);
    let timings: Vec<Timing> = time_queries(&generator, &running, &input, options.runs)?;
    let agreements = agreement(&generator, &running, &input)?;
    println!("\n{}", table::render(&systems, &timings));
    for line in agreements {
        println!("{line}");
    }
    Ok(())
}
