//! Compiles the messages of `proto/` without `protoc`.

use std::error::Error;

const FILES: [&str; 2] = ["remote_write_1.proto", "remote_write_2.proto"];
const FOLDER: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let files = protox::compile(FILES, [FOLDER])?;
    tonic_prost_build::configure().compile_fds(files)?;
    // What is large is given out as it came, without a copy. The service is made in `cluster`.
    let peer = protox::compile(["peer.proto"], [FOLDER])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .bytes(".rangekeeper.peer")
        .compile_fds(peer)?;
    Ok(())
}
