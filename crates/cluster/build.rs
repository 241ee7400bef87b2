//! Makes the service of `proto/peer.proto`, without `protoc`; its messages are those of `wire`.

use std::error::Error;

const FOLDER: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let files = protox::compile(["peer.proto"], [FOLDER])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .extern_path(".rangekeeper.peer", "::rangekeeper_wire::proto::peer")
        .compile_fds(files)?;
    Ok(())
}
