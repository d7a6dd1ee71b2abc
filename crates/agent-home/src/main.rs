//! See the library.

fn main() -> std::process::ExitCode {
    piece::main(agent_home::run)
}
