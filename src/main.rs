//! The command line: parse, call the command, print the error's chain once, choose the exit code.

use std::{
    env,
    io::{IsTerminal as _, stderr},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser as _;
use headwater::{
    backtest, check,
    cli::{Cli, Command, LogFormat, LogOptions},
    config::ConfigError,
    daemon, demo, diagnosis,
    serve::client,
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    // Exits by itself: 2 for a wrong command line, 0 for --help and --version.
    let cli = Cli::parse();
    start_log(&cli.log, &cli.command);
    match run(&cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ConfigError>() => {
            eprintln!("error: the configuration is wrong\n{error}");
            ExitCode::from(2)
        }
        Err(error) => match error.downcast::<clap::Error>() {
            // What the command line's definition could not refuse by itself.
            Ok(wrong) => wrong.exit(),
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

async fn run(command: &Command) -> Result<()> {
    let environment = |name: &str| env::var(name).ok();
    match command {
        Command::Run(options) => daemon::run_command(options, &environment).await,
        Command::Check(options) => check::run(options, &environment).await,
        Command::Demo(options) => demo::run_command(options).await,
        Command::Backtest(options) => backtest::run_command(options, &environment).await,
        Command::Diagnose(options) => diagnosis::run_command(options),
        Command::Incidents(options) => client::incidents_command(options).await,
        Command::Export(options) => client::export_command(options, &environment).await,
    }
}

/// Our own lines at the level asked for; of our libraries only what is grave.
fn start_log(options: &LogOptions, command: &Command) {
    let level = options.level_for(command).name();
    let filter = EnvFilter::new(format!("warn,headwater={level}"));
    // Colours are for terminals: in a file or a journal they are noise that no search finds.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr);
    match options.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
