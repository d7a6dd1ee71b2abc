//! The program `branch-run`: see the library's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    piece::main(branch_run::run)
}
