//! The binary `rangekeeper`.

use std::env;
use std::process::ExitCode;

use clap::Parser;
use rangekeeper_node::cli::Cli;
use rangekeeper_node::command;
use rangekeeper_node::open::open;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How jemalloc is set up; it looks for this symbol when it starts. Pages that were freed go back
/// to the operating system within a second (muzzy pages would still count as resident), and a
/// thread of its own sees to that, so that it costs neither a write nor a query its time.
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: &[u8; 60] =
    b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Names and values that are not UTF-8 cannot be ours.
    let environment = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    command::run(cli, environment.collect(), open)
}
