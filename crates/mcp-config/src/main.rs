//! `mcp-config`: see the library.

fn main() -> std::process::ExitCode {
    piece::main(mcp_config::run)
}
