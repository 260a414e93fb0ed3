//! kvmc: runs multi-VM clusters on one Linux machine, straight on QEMU/KVM.
//!
//! docs/ARCHITECTURE.md describes the structure.

mod api;
mod cli;
mod codes;
mod commands;
mod convert;
mod engine;
mod failpoint;
#[cfg(test)]
mod fuzz;
mod hint;
mod host;
#[cfg(test)]
mod house_tests;
mod ids;
mod image;
mod interrupt;
mod keeper;
mod model;
mod network;
mod node;
mod output;
mod plan;
mod project;
#[cfg(test)]
mod readme_tests;
#[cfg(test)]
mod samples;
mod snapshot;
mod spec;
mod state;
mod steps;
mod trace;
mod warm;

use std::process::ExitCode;

use crate::model::{Exit, Interrupted, NothingThere, Usage};
use crate::spec::SpecError;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _until_the_end = kvmc_failpoint::Scenario::setup();
    host::complete_path();
    if commands::answer() {
        return ExitCode::SUCCESS;
    }
    let cli = cli::parse();
    output::set_manners(cli.color, cli.quiet);
    commands::begin_trace(&cli);
    let mut cli = Some(cli);
    let verb = || {
        let cli = cli.take().unwrap_or_else(cli::parse);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build()?.block_on(commands::run(cli))
    };
    let result = host::check_descriptors()
        .and_then(|()| state::until_entered(verb))
        .and_then(|exit| output::unwritten().map(|()| exit));
    let exit = result.unwrap_or_else(|error| {
        let exit = exit_of(&error);
        trace::verbose(|| format!("error: {error:#}"));
        output::error(&error);
        exit
    });
    trace::verbose(|| format!("ends with {}", exit.code()));
    exit.into()
}

/// The exit code for an error.
fn exit_of(error: &anyhow::Error) -> Exit {
    if hint::find::<Interrupted>(error).is_some() {
        Exit::Interrupted
    } else if hint::find::<NothingThere>(error).is_some() {
        Exit::NothingThere
    } else if hint::find::<SpecError>(error).is_some() || hint::find::<Usage>(error).is_some() {
        Exit::Usage
    } else {
        Exit::Failed
    }
}
