//! The `retentiond` program: reads the command line, sets up logging, and leaves the rest to the library.

use std::process::ExitCode;

use clap::Parser;
use retentiond::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let in_journal = retentiond::logging::init(cli.log_format(), cli.log_filter());
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("retentiond: the runtime cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(cli.execute());
    // A scan that was told to stop may still be reading; nobody waits for it.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if in_journal {
                tracing::error!("{error}");
            } else {
                eprintln!("{error}");
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}
