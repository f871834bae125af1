//! The controller and its command line.

fn main() -> std::process::ExitCode {
    fleetman::cli::fleetman::main(std::env::args_os())
}
