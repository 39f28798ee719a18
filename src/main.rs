//! The command line: parse, call the command, print the error's chain once, choose the exit code.

use std::{env, process::ExitCode};

use anyhow::{Result, bail};
use clap::Parser as _;
use headwater::{
    check,
    cli::{Cli, Command, LogFormat, LogOptions},
    config::ConfigError,
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    // Exits by itself: 2 for a wrong command line, 0 for --help and --version.
    let cli = Cli::parse();
    start_log(&cli.log);
    match run(&cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ConfigError>() => {
            eprintln!("error: the configuration is wrong\n{error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: &Command) -> Result<()> {
    match command {
        Command::Run(_) => bail!("not wired yet"),
        Command::Check(options) => check::run(options, &|name| env::var(name).ok()).await,
        Command::Demo(_) => bail!("not wired yet"),
        Command::Backtest(_) => bail!("not wired yet"),
        Command::Incidents(_) => bail!("not wired yet"),
        Command::Export(_) => bail!("not wired yet"),
    }
}

/// Our own lines at the level asked for; of our libraries only what is grave.
fn start_log(options: &LogOptions) {
    let filter = EnvFilter::new(format!("warn,headwater={}", options.log_level.name()));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
