//! `sandbox`: see [`sandbox::command`].

fn main() -> std::process::ExitCode {
    piece::main(sandbox::command::run)
}
