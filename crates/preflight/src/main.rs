//! See the library.

fn main() -> std::process::ExitCode {
    piece::main(preflight::run)
}
