//! The program `spawn-job`: see the library.

fn main() -> std::process::ExitCode {
    piece::main(spawn_job::run::run)
}
