use sandbox::{Piece, Sandbox};

const BINARY: &str = env!("CARGO_BIN_EXE_open-pr");

pub(crate) fn open_pr() -> Piece {
    Piece::new(BINARY)
}

pub(crate) fn shell(script: &str) -> Piece {
    Piece::shell(BINARY, script)
}

/// To the sandbox's GitHub, with this token.
pub(crate) fn to_github(sandbox: &Sandbox, token: &str) -> Piece {
    open_pr().env("GITHUB_API_URL", &sandbox.github().api_url()).env("GITHUB_TOKEN", token)
}
