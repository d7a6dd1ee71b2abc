//! The program `mint-gh-token`; all of it is in the library.

fn main() -> std::process::ExitCode {
    piece::main(mint_gh_token::run)
}
