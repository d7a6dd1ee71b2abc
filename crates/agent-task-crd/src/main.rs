//! The program `agent-task`: see the library.

fn main() -> std::process::ExitCode {
    piece::main(agent_task_crd::run::run)
}
