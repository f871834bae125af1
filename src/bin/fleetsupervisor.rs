//! The supervisor of one cell, which agents start for it.

fn main() -> std::process::ExitCode {
    fleetman::supervise::detached::main("fleetsupervisor", std::env::args_os().skip(1))
}
