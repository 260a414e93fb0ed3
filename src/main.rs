//! kvmc: a whole multi-VM cluster on one Linux machine, straight on QEMU/KVM.
//!
//! The house is drawn in docs/ARCHITECTURE.md.

mod cli;
mod cluster;
mod commands;
mod failpoint;
#[cfg(test)]
mod fuzz;
mod host;
mod ids;
mod image;
mod interrupt;
mod keeper;
mod model;
mod network;
mod node;
mod output;
mod plan;
mod spec;
mod state;
mod warm;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _until_the_end = fail::FailScenario::setup();
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(commands::run(cli)));
    match result {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}
