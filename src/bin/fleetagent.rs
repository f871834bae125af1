//! The daemon on a node.

fn main() -> std::process::ExitCode {
    fleetman::cli::fleetagent::main(std::env::args_os())
}
