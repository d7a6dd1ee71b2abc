//! The program `agent-log`: see the library.

fn main() -> std::process::ExitCode {
    piece::main(agent_log::run::run)
}
