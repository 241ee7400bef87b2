//! Compiles the messages of `proto/` without `protoc`.

use std::error::Error;

const FILES: [&str; 2] = ["remote_write_1.proto", "remote_write_2.proto"];
const FOLDER: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let files = protox::compile(FILES, [FOLDER])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
