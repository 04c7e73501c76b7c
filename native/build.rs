//! Compiles dataflows/contracts/vitals.proto without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = "../dataflows/contracts/vitals.proto";
    println!("cargo:rerun-if-changed={proto}");
    let descriptors = protox::compile([proto], ["../dataflows/contracts"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
